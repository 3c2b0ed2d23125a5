"""Drums, one stroke each: 182 recordings of two Debian packages, acoustic and electronic, in seven classes.

    apt-get install hydrogen-data sonic-pi-samples
    python configs/hits.py data/hits

Makes DEST/train and DEST/test, packed, at 16,000 Hz and 16,384 samples. Each clip is a recording, up to three semitones
higher or lower, at a level of its own, faded out where it is longer. Every eighth recording is in test/ alone. The same
command gives the same bytes. 4,000 clips take half a minute of CPU time and 45 MB. Their licences are GPL and Creative
Commons (/usr/share/doc/hydrogen-data/copyright, and so for the other).
"""

import argparse
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soxr

from gandist.cli.terminal import Counter
from gandist.data.packing import pack
from gandist.distributed.randomness import philox
from gandist.media.sound import library

FOLDERS = (Path("/usr/share/hydrogen/data/drumkits"), Path("/usr/share/sonic-pi/samples"))
CLASSES = {
    "kick": r"kick|^bd_",
    "snare": r"snare|^sn_|sidestick",
    "hat": r"hat|drum_cymbal_(closed|open|pedal)",
    "cymbal": r"crash|ride|splash|cymbal",
    "tom": r"tom|conga",
    "tabla": r"^tabla",
    "bell": r"bell|clap|clave|shaker|triangle|elec_(wood|tick|ping|plip|blip|pop)",
}
"""What files' names begin with or hold; the first that fits."""
HELD_OUT, TESTED = 8, 10
"""One recording in 8 is held out, and one clip in 10 is of those."""
SEMITONES, LEVELS_DB = 3, (-12, -1)
FADE_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dest", type=Path, metavar="DEST", help="new folder")
    parser.add_argument("--n", type=int, default=4000, help="clips, at least 100 (default: %(default)s)")
    parser.add_argument("--sample-rate", type=int, default=16_000, metavar="HZ", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=1.024, metavar="S", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()
    if options.n < 100:
        parser.error(f"--n {options.n}: give at least 100")
    found = recordings()
    if len(found) < len(CLASSES) or not all(folder.is_dir() for folder in FOLDERS):
        parser.error("the recordings are not installed: apt-get install hydrogen-data sonic-pi-samples")
    for part in ("train", "test"):
        n_test = options.n // TESTED
        chosen = {
            name: [path for i, path in enumerate(paths) if (i % HELD_OUT == HELD_OUT // 2) == (part == "test")]
            for name, paths in found.items()
        }
        played = options.dest / f".{part}"
        shutil.rmtree(played, ignore_errors=True)
        play(played, list(chosen.values()), n_test if part == "test" else options.n - n_test, part, options)
        folder = options.dest / part
        index, _ = pack(
            str(played),
            str(folder),
            sample_rate=options.sample_rate,
            seconds=options.seconds,
            channels=1,
            seed=options.seed,
            class_names=tuple(CLASSES),
            progress=True,
        )
        shutil.rmtree(played)
        print(f"{folder}: {index.n:,} clips of {sum(map(len, chosen.values()))} recordings")  # noqa: T201


def recordings() -> dict[str, list[Path]]:
    """The recordings of each class that has any, by their names."""
    found: dict[str, list[Path]] = {}
    paths = (path for folder in FOLDERS for path in folder.rglob("*") if path.suffix in (".wav", ".flac"))
    for path in sorted(paths, key=lambda path: path.name):
        fits = (name for name, pattern in CLASSES.items() if re.search(pattern, path.stem.lower()))
        if name := next(fits, None):
            found.setdefault(name, []).append(path)
    return {name: found[name] for name in CLASSES if name in found}


def play(folder: Path, chosen: Sequence[Sequence[Path]], n: int, part: str, options: argparse.Namespace) -> None:
    """Write n clips as WAV files, the classes in turn, with their numbers in dataset.json."""
    folder.mkdir(parents=True)
    words = np.asarray(philox(options.seed, f"hits-{part}").bit_generator.random_raw(3 * n))
    shares = ((words >> 11) * 2.0**-53).reshape(n, 3)
    labels, length = [], round(options.seconds * options.sample_rate)
    with Counter("playing", n, "clips") as bar:
        for i, (which, pitch, level) in enumerate(shares.tolist()):
            paths = chosen[i % len(chosen)]
            sound, rate = library().read(paths[int(which * len(paths))], dtype="float32", always_2d=True)
            # Taken for a recording of another rate, it is heard at another pitch.
            higher = 2 ** (SEMITONES * (2 * pitch - 1) / 12)
            sound = soxr.resample(sound.mean(1), rate * higher, options.sample_rate)[:length]
            fade = min(len(sound), round(FADE_S * options.sample_rate))
            sound[len(sound) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
            decibels = LEVELS_DB[0] + level * (LEVELS_DB[1] - LEVELS_DB[0])
            sound *= 10 ** (decibels / 20) / np.abs(sound).max()
            library().write(folder / f"{i:06d}.wav", sound, options.sample_rate, subtype="PCM_16")
            labels.append([f"{i:06d}.wav", i % len(chosen)])
            bar.add()
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))


if __name__ == "__main__":
    main()
