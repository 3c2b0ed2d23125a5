"""Small sounds, and files of them."""

import io

import numpy as np
import soundfile


def sine(hertz: float, rate: int, n: int) -> np.ndarray:
    """A tone (n,) with an amplitude of 0.5."""
    return np.asarray(0.5 * np.sin(2 * np.pi * hertz * np.arange(n) / rate))


def encoded(sound: np.ndarray, rate: int, format: str = "WAV", subtype: str | None = None) -> bytes:
    """A file of a sound (T,) or (T, C)."""
    sink = io.BytesIO()
    soundfile.write(sink, sound, rate, format=format, subtype=subtype)
    return sink.getvalue()
