"""`python -m gandist.apply` for the run of a vocoder: sounds and log-mel spectrograms become sounds."""

import argparse
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from gandist.apply.heard import comparison
from gandist.apply.inputs import SOUNDS, Input, find_inputs, result_of
from gandist.apply.page import FILE
from gandist.apply.vocoder import FRAMES, Vocoder, mel_of, real_time, vocoder_of
from gandist.apply.work import deterministic
from gandist.cli.command import FAILED
from gandist.errors import ConfigError, DataError
from gandist.media.sound import library, streamed
from gandist.run.drawing import devices_of
from gandist.run.trained import open_trained
from gandist.storage.atomic import write_atomically, written_atomically

log = logging.getLogger("gandist")

OF_PICTURES = ("mask", "scale", "watch", "encode", "decode", "half")
"""Options that say nothing to a vocoder."""
WAV_BYTES = (1 << 32) - 4096
"""A WAV file's sizes are numbers of 32 bits."""


class Outcome(NamedTuple):
    """What became of an input."""

    source: Input
    seconds: float = 0.0
    """Of the sound that was made."""
    error: str = ""
    """Why there is no result; empty if there is."""


def apply_to_sounds(options: argparse.Namespace, out: Path) -> int:
    """Run the command. Return 0; 1 if inputs could not be used.

    Raises:
        GandistError: the run or the arguments cannot be used.
    """
    given = [f"--{name}" for name in OF_PICTURES if getattr(options, name)]
    if given:
        raise ConfigError(f"{', '.join(given)}: for pictures only, and {options.run} makes sounds; leave it out")
    sources = find_inputs(options.inputs, out, SOUNDS)
    trained = open_trained(options.run, devices_of(options.device)[0], options.images_seen, options.trust)
    vocoder = vocoder_of(trained, options.run, options.seed)
    frames = FRAMES if options.tile is None else options.tile or None
    out.mkdir(parents=True, exist_ok=True)
    begun, done = time.perf_counter(), list[Outcome]()
    with deterministic(), tqdm(total=len(sources), unit=" sounds", desc="apply", disable=None) as bar:
        for source in sources:
            done.append(outcome(vocoder, source, out, frames))
            bar.update()
    told = real_time(sum(each.seconds for each in done), time.perf_counter() - begun)
    sound = [each.source for each in done if not each.error]
    if options.compare and sound:
        write_atomically(out / FILE, comparison(vocoder, options.run, out, sound).encode())
    if frames and vocoder.radius is None:
        log.info(
            "the network sees the whole sound at once, so each sound was made in one piece; long ones take much memory"
        )
    if broken := [each for each in done if each.error]:
        listing = "\n".join(f"  {each.error}" for each in broken)
        log.error("%d of %d inputs could not be used:\n%s", len(broken), len(done), listing)
    seen = f"{trained.images_seen} sounds seen"
    print(f"{len(done) - len(broken)} sounds by {options.run} at {seen}: {out} ({told})")  # noqa: T201
    return FAILED if broken else 0


def outcome(vocoder: Vocoder, source: Input, out: Path, frames: int | None) -> Outcome:
    """Write the result of one input."""
    try:
        if source.path.suffix.lower() == ".npy":
            rows = vocoder.of_mel(mel_of(source.path, vocoder.maker.mels), frames)
        else:
            rows = vocoder.of_sound(streamed(source.path, vocoder.medium.sample_rate, 1), frames)
        n = _write(result_of(source, out, SOUNDS), rows, vocoder.medium.sample_rate, vocoder.medium.channels)
    except (DataError, OSError) as error:
        return Outcome(source, error=f"{source.path}: {error}")
    return Outcome(source, n / vocoder.medium.sample_rate)


def _write(path: Path, parts: Iterator[np.ndarray], sample_rate: int, channels: int) -> int:
    """Write parts (any, C) int16 as a WAV file of 16 bits, as they come; return the number of samples."""
    n = 0
    with written_atomically(path) as scratch:
        wav = {"format": "WAV", "subtype": "PCM_16"}
        with library().SoundFile(scratch, "w", sample_rate, channels, **wav) as file:
            for part in parts:
                n += len(part)
                if 2 * n * channels > WAV_BYTES:
                    raise DataError("its result is more than the 4 GiB of a WAV file; cut it")
                file.write(part)
    return n
