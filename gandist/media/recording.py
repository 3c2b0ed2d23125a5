"""Prepare a sound for a shard: decoded, resampled, cut at silences or to a length, scaled, encoded in 16 bits."""

import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from gandist.errors import DataError
from gandist.media.sound import as_int16, decode, library, probe

ENCODINGS = {"flac": "FLAC", "wav": "WAV"}
FRAME_S = 0.01
"""A sound's level is that of frames this long."""
PAUSE_S = 0.3
"""Shorter silences do not part a recording."""
SILENCE_DB = 40.0
"""Default of how far below the loudest frame silence begins."""
MARGIN_S = 0.05
"""Of the silence around a part, what is kept."""
SHORTEST_S = 0.1
"""Shorter parts are left out, as clicks are."""


class Recording(NamedTuple):
    """Format of each written sound.

    Attributes:
        sample_rate: in Hz; None keeps each file's own.
        seconds: length: a longer sound is cut, a shorter one is followed by silence. None keeps them.
        split_silence: part each file where it is silent: more than this many dB below its loudest frame of 10 ms.
        loudness: level (root mean square) in dB of full scale to scale each sound to, or as near as its peak allows.
        channels: 1 averages all, 2 is for mono and stereo; None keeps them.
    """

    sample_rate: int | None = None
    seconds: float | None = None
    split_silence: float | None = None
    loudness: float | None = None
    channels: int | None = None
    format: str = "flac"

    def encoded(self, given: bytes | np.ndarray, note: Callable[[str], None]) -> list[bytes]:
        """The files that one file becomes: one, or as many as it has parts between silences.

        Args:
            note: is told of each written sound what was done to it, such as "longer than 1 s and cut".

        Raises:
            DataError: it is no whole sound, or holds none.
        """
        data = given if isinstance(given, bytes) else given.tobytes()
        rate, held, _ = probe(data)
        rate, channels = self.sample_rate or rate, self.channels or held
        if channels > 2:
            raise DataError(f"has {channels} channels, where 1 or 2 are packed; pass --channels 1 to average them")
        wanted = None if self.seconds is None else round(self.seconds * rate)
        if self.split_silence is None:
            parts = [decode(data, rate, channels, None if wanted is None else wanted + 1)]
        else:
            parts = list(_between_silences(decode(data, rate, channels), rate, self.split_silence, note))
        return [self._written(part, rate, wanted, note) for part in parts]

    def encode_pair(self, input: bytes | np.ndarray, target: bytes | np.ndarray) -> tuple[bytes, bytes]:
        """Pairs are made of images alone."""
        raise DataError("--pairs and --pairs-halves are for images")

    def _written(self, sound: np.ndarray, rate: int, wanted: int | None, note: Callable[[str], None]) -> bytes:
        if wanted is not None and len(sound) > wanted:
            note(f"longer than {self.seconds:g} s and cut")
            sound = sound[:wanted]
        if self.loudness is not None:
            sound = _scaled(sound, self.loudness, note)
        peak = float(np.abs(sound).max())
        if peak > 1:
            note("louder than full scale and clipped there")
        values = as_int16(sound)
        if not values.any():
            note("silent throughout")
        if wanted is not None and len(values) < wanted:
            note(f"shorter than {self.seconds:g} s and followed by silence")
            values = np.pad(values, ((0, wanted - len(values)), (0, 0)))
        sink = io.BytesIO()
        library().write(sink, values, rate, format=ENCODINGS[self.format], subtype="PCM_16")
        return sink.getvalue()


def _scaled(sound: np.ndarray, loudness: float, note: Callable[[str], None]) -> np.ndarray:
    """The sound at this level, or at a lower one where its peak would exceed full scale."""
    peak, power = float(np.abs(sound).max()), float(np.einsum("ij,ij->", sound, sound, dtype=np.float64)) / sound.size
    if not power:
        return sound
    scale = 10 ** (loudness / 20) / power**0.5
    if scale * peak > 1:
        note(f"quieter than {loudness:g} dB, where its peak is full scale")
        scale = 1 / peak
    return sound * np.float32(scale)


def _between_silences(
    sound: np.ndarray, rate: int, threshold: float, note: Callable[[str], None]
) -> Iterator[np.ndarray]:
    """The parts of a sound (T, C) that are louder than `threshold` dB below its loudest frame.

    Raises:
        DataError: no part is long enough.
    """
    size = max(1, round(FRAME_S * rate))
    frames = sound[: len(sound) // size * size].reshape(-1, size * sound.shape[1])
    power = np.einsum("ij,ij->i", frames, frames)
    loud = np.flatnonzero((power > power.max(initial=0) * 10 ** (-threshold / 10)) & (power > 0))
    # Runs of loud frames, parted by pauses of more than PAUSE_S.
    runs = np.split(loud, np.flatnonzero(np.diff(loud) > PAUSE_S / FRAME_S) + 1)
    long = [run for run in runs if len(run) and (run[-1] + 1 - run[0]) * FRAME_S >= SHORTEST_S]
    if not long:
        raise DataError(f"holds no part of {SHORTEST_S:g} s that is louder than its silence; leave out --split-silence")
    for _ in range(len(runs) - len(long)):
        note(f"parts of less than {SHORTEST_S:g} s left out")
    margin = round(MARGIN_S * rate)
    for run in long:
        yield sound[max(0, int(run[0]) * size - margin) : (int(run[-1]) + 1) * size + margin]
