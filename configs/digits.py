"""The ten digits, spoken by Debian's espeak-ng: as SC09, at 16,000 Hz and 16,384 samples, but free and made here.

    apt-get install espeak-ng
    python configs/digits.py data/digits

Makes DEST/train and DEST/test, packed, with the classes zero to nine. 52 speakers with seven accents of English
differ in pitch and tempo from clip to clip; seven of the speakers are in test/ alone. The same command gives the same
bytes. 10,000 clips take two minutes of CPU time and 110 MB (and 270 MB while they are spoken).
"""

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gandist.cli.terminal import Counter
from gandist.data.packing import pack
from gandist.distributed.randomness import philox
from gandist.media.sound import library

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-gb", "en-us", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029")
SPEAKERS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"),
    *("adam", "Alex", "Alicia", "Andrea", "Andy", "Annie", "antonio", "aunty", "belinda", "benjamin", "boris"),
    *("caleb", "david", "Denis", "Diogo", "ed", "edward", "edward2", "Gene", "Gene2", "Henrique", "Hugo"),
    *("Jacky", "john", "Lee", "linda", "marcelo", "Marco", "max", "Michael", "michel", "miguel", "Mike"),
    *("pablo", "paul", "pedro", "quincy", "steph", "travis"),
)
"""Voices that espeak-ng calls variants: those that sound like people."""
HELD_OUT = ("m4", "f4", "Andrea", "david", "linda", "Michael", "pedro")
TESTED = 10
"""One clip in this many is of the speakers held out."""
PITCH, WORDS_A_MINUTE = (25, 75), (110, 220)
LEAD_S = 0.15
"""A clip begins with up to this much silence, if there is room."""
QUIET = 1e-3
"""Level below which a clip's end is silence, of full scale."""


class Clip(NamedTuple):
    """How a digit is spoken; `lead` is a share of LEAD_S."""

    digit: int
    accent: str
    speaker: str
    pitch: int
    tempo: int
    lead: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dest", type=Path, metavar="DEST", help="new folder")
    parser.add_argument("--n", type=int, default=10_000, help="clips, at least 100 (default: %(default)s)")
    parser.add_argument("--sample-rate", type=int, default=16_000, metavar="HZ", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=1.024, metavar="S", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()
    if options.n < 10 * TESTED:
        parser.error(f"--n {options.n}: give at least {10 * TESTED}, ten of each digit")
    if shutil.which("espeak-ng") is None:
        parser.error("espeak-ng is not installed: apt-get install espeak-ng")
    known = subprocess.run(["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True).stdout
    if missing := [name for name in SPEAKERS if f"!v/{name} " not in known]:
        parser.error(f"espeak-ng lacks the voices {', '.join(missing)}; install Debian's espeak-ng-data")
    trained = tuple(name for name in SPEAKERS if name not in HELD_OUT)
    n_test = 10 * (options.n // (10 * TESTED))
    for part, n, speakers in (("train", options.n - n_test, trained), ("test", n_test, HELD_OUT)):
        folder = options.dest / part
        spoken = options.dest / f".{part}"
        shutil.rmtree(spoken, ignore_errors=True)
        speak(spoken, clips(n, speakers, options.seed, part), options.seconds)
        index, left_out = pack(
            str(spoken),
            str(folder),
            sample_rate=options.sample_rate,
            seconds=options.seconds,
            channels=1,
            seed=options.seed,
            class_names=WORDS,
            progress=True,
        )
        shutil.rmtree(spoken)
        cut = sum(count for how, count in left_out.fitted.items() if how.startswith("longer"))
        print(f"{folder}: {index.n:,} clips of {len(speakers)} speakers; {cut} were longer and cut")  # noqa: T201


def clips(n: int, speakers: Sequence[str], seed: int, part: str) -> list[Clip]:
    """n clips, the digits in turn, with all else drawn."""
    words = np.asarray(philox(seed, f"digits-{part}").bit_generator.random_raw(4 * n))
    shares = ((words >> 11) * 2.0**-53).reshape(n, 4)
    voices = list(product(ACCENTS, speakers))

    def between(share: float, ends: tuple[int, int]) -> int:
        return round(ends[0] + share * (ends[1] - ends[0]))

    return [
        Clip(i % 10, *voices[int(a * len(voices))], between(b, PITCH), between(c, WORDS_A_MINUTE), d)
        for i, (a, b, c, d) in enumerate(shares.tolist())
    ]


def speak(folder: Path, clips: Sequence[Clip], seconds: float) -> None:
    """Write clips as WAV files, with their digits in dataset.json."""
    folder.mkdir(parents=True)
    names = [f"{i:06d}.wav" for i in range(len(clips))]
    with ThreadPoolExecutor(os.cpu_count()) as pool, Counter("speaking", len(clips), "clips") as bar:
        for _ in pool.map(lambda name, clip: spoken(folder / name, clip, seconds), names, clips):
            bar.add()
    labels = [[name, clip.digit] for name, clip in zip(names, clips, strict=True)]
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))


def spoken(path: Path, clip: Clip, seconds: float) -> None:
    voice = f"{clip.accent}+{clip.speaker}"
    command = ["espeak-ng", "-z", "-v", voice, "-p", str(clip.pitch), "-s", str(clip.tempo), "-w", str(path)]
    subprocess.run([*command, WORDS[clip.digit]], check=True)
    sound, rate = library().read(path, dtype="float32")
    loud = np.flatnonzero(np.abs(sound) > QUIET)
    sound = sound[loud[0] : loud[-1] + 1]
    room = max(0.0, seconds - len(sound) / rate)
    sound = np.pad(sound, (round(clip.lead * min(LEAD_S, room) * rate), 0))
    library().write(path, sound, rate, subtype="PCM_16")


if __name__ == "__main__":
    main()
