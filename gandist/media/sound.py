"""Decode and encode sounds: WAV, FLAC, Ogg and MP3, by libsndfile; resampled by soxr."""

import io
from typing import Any

import numpy as np

from gandist.errors import DataError, GandistError

EXTENSIONS = ("wav", "flac", "ogg", "mp3")
FULL_SCALE = 32768
"""Steps of 16 bits from 0 to 1."""


def library() -> Any:
    """The library `soundfile`.

    Raises:
        GandistError: it is not installed.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise GandistError("data.medium: audio needs soundfile and soxr; pip install 'gandist[audio]'") from error
    return soundfile


def decode(data: bytes, sample_rate: int, channels: int) -> np.ndarray:
    """A file's sound (T, channels) float32 in [-1, 1] at this rate.

    Raises:
        DataError: it is no complete sound.
    """
    soundfile = library()
    import soxr

    try:
        sound, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise DataError(str(error)) from error
    if sound.shape[1] != channels:
        sound = sound.mean(1, keepdims=True).repeat(channels, 1)
    return np.asarray(sound if rate == sample_rate else soxr.resample(sound, rate, sample_rate))


def as_int16(sound: np.ndarray) -> np.ndarray:
    """Sound in [-1, 1] as int16; what is louder is clipped."""
    return (sound * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def wav_bytes(sound: np.ndarray, sample_rate: int) -> bytes:
    """Sound (T, C) int16 as a WAV file of 16 bits; equal sounds give equal bytes."""
    sink = io.BytesIO()
    library().write(sink, sound, sample_rate, format="WAV", subtype="PCM_16")
    return sink.getvalue()
