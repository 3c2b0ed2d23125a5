"""The pitch of a sound by YIN (de Cheveigné & Kawahara 2002), which shares nothing with what the networks see."""

import numpy as np

from gandist.data.tones import SAMPLE_RATE, frequency

THRESHOLD = 0.15
"""Of the normalised difference: the first dip below it is the period."""


def pitch_hz(sound: np.ndarray, sample_rate: int, low_hz: float = 100.0, high_hz: float = 1000.0) -> float:
    """The fundamental of a sound (T,); NaN if it is silent or has no period between these bounds."""
    x = sound.astype(np.float64) - sound.mean()
    longest, shortest = int(sample_rate / low_hz), int(sample_rate / high_hz)
    width = len(x) - longest - 2
    if not x.any() or width < 2 * longest:
        return float("nan")
    # The difference of the sound to itself, `lag` samples later, over all places
    lags = np.arange(1, longest + 2)
    difference = np.array([np.square(x[:width] - x[lag : lag + width]).sum() for lag in lags])
    normalised = difference * lags / np.maximum(np.cumsum(difference), 1e-12)
    # The first lag at the bottom of a dip
    for k in range(max(shortest, 2) - 1, longest - 1):
        if normalised[k] < THRESHOLD and normalised[k] <= normalised[k + 1]:
            before, here, after = normalised[k - 1 : k + 2]
            curve = before - 2 * here + after
            return float(sample_rate / (lags[k] + (0.5 * (before - after) / curve if curve > 0 else 0.0)))
    return float("nan")


def semitones(hertz: float, reference_hz: float) -> float:
    """How far one frequency lies above another."""
    return float(12 * np.log2(hertz / reference_hz))


EACH, HALF = 25, 0.5
"""Notes of each class, and semitones by which one may be off."""


def in_tune(sounds: np.ndarray) -> np.ndarray:
    """Whether each of `builtin:tones` (classes * EACH, T, 1), `EACH` of each class in turn, has its class's pitch."""
    found = [pitch_hz(sound[:, 0], SAMPLE_RATE) for sound in sounds]
    return np.array([abs(semitones(hertz, frequency(i // EACH))) < HALF for i, hertz in enumerate(found)])
