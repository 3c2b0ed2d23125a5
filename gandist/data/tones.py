"""Musical tones made by code: a small set of sounds whose classes can be heard and measured."""

from pathlib import Path

import numpy as np

from gandist.data.making import making, members, write_shard
from gandist.data.order import permutation
from gandist.distributed.randomness import philox
from gandist.media.sound import EXTENSIONS, as_int16, wav_bytes

SAMPLE_RATE, SAMPLES = 8000, 4096
"""0.512 s."""
NAMES = ("A3", "A#3", "B3", "C4", "C#4", "D4", "D#4", "E4", "F4", "F#4", "G4", "G#4")
"""The classes, from 220 Hz up by semitones."""
PER_CLASS = 200
LOWEST_HZ = 220.0
HARMONICS = 8
"""The highest is at 3.3 kHz, below half the rate."""
VERSION = 1
"""Changes with the sounds."""
SHARD = 1000


def frequency(label: int) -> float:
    """Hz of a class's tone, which its sounds differ from by less than 10 cents."""
    return float(LOWEST_HZ * 2 ** (label / 12))


def tones(label: int, n: int = PER_CLASS) -> np.ndarray:
    """Sounds (n, SAMPLES) int16 of a class, each with its own harmonics, phases, attack, decay, loudness and tuning."""
    # The raw stream, which numpy keeps stable (unlike the methods of `Generator`).
    words = np.asarray(philox(0, f"tones-{label}").bit_generator.random_raw(n * (6 + 2 * HARMONICS)))
    drawn = ((words >> 11) * 2.0**-53).reshape(n, -1, 1)
    cents, slope, attack, decay, loudness, rest = (drawn[:, i] for i in range(6))
    strengths, phases = drawn[:, 6 : 6 + HARMONICS], drawn[:, 6 + HARMONICS :]
    # Harmonics: the first is the strongest, and the higher ones fade by a slope of 3 to 12 dB an octave.
    harmonics = np.arange(1, HARMONICS + 1)[:, None]
    strengths = np.where(harmonics == 1, 1, 0.2 + 0.8 * strengths) / harmonics ** (0.5 + 1.5 * slope)[:, None]
    hertz = frequency(label) * 2 ** ((20 * cents - 10) / 1200)
    t = np.arange(SAMPLES) / SAMPLE_RATE
    sound = np.zeros((n, SAMPLES))
    for i in range(HARMONICS):
        sound += strengths[:, i] * np.sin(2 * np.pi * (harmonics[i] * hertz * t + phases[:, i]))
    # Envelope: up in 5 to 60 ms after up to 20 ms of silence, down by half every 0.1 to 0.6 s, out in the last 20 ms.
    since = t - 0.02 * rest
    rising = (since / (0.005 + 0.055 * attack)).clip(0, 1)
    sound *= rising * 2.0 ** (-since / (0.1 + 0.5 * decay)) * ((t[-1] - t) / 0.02).clip(0, 1)
    peak = 10 ** (-(1 + 11 * loudness) / 20)  # -1 to -12 dB of full scale
    return as_int16(sound * (peak / np.abs(sound).max(1, keepdims=True)))


def make_tones(dest: Path) -> None:
    """Write all tones as shards of WAV files, shuffled, to the new folder `dest`."""
    sounds = np.concatenate([tones(label) for label in range(len(NAMES))])
    order = permutation(philox(0, "tones-order").bit_generator, len(sounds))
    with making(str(dest)) as made:
        written = []
        for number, part in enumerate(np.split(order, range(SHARD, len(order), SHARD))):
            files = ((i, wav_bytes(sounds[i], SAMPLE_RATE)) for i in part.tolist())
            path = made.work / f"{number:06d}.tar"
            write_shard(path, ((f"{i:08d}", members(wav, "wav", i // PER_CLASS, None)) for i, wav in files))
            written.append(path)
        made.finish(written, class_names=NAMES, extensions=EXTENSIONS)
