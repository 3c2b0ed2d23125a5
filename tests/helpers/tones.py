"""Small sets of real shards that hold sounds: tones with overtones, each class a semitone above the one before."""

from pathlib import Path

import numpy as np

from gandist.data.index import Index
from gandist.data.making import making, members, write_shard
from gandist.media.sound import EXTENSIONS, as_int16, wav_bytes

RATE, SAMPLES = 8000, 2048
SOUNDS = {"medium": "audio", "options": {"sample_rate": RATE, "samples": SAMPLES}}
"""Of a configuration's section `data`."""


def tone(number: int, semitones: float, samples: int = SAMPLES) -> np.ndarray:
    """Sound `number`, so many semitones above 220 Hz: (samples, 1) int16, of its own timbre, loudness and decay."""
    chance = np.random.default_rng(number)
    pitch = 220 * 2 ** ((semitones + chance.uniform(-0.1, 0.1)) / 12)
    times = np.arange(samples) / RATE
    overtones = np.arange(1, 6)[:, None]
    waves = np.sin(2 * np.pi * (overtones * pitch * times + chance.random((5, 1))))
    sound = (chance.random((5, 1)) ** 2 * waves).sum(0) * np.exp(-8 * chance.random() * times)
    return as_int16(sound / np.abs(sound).max() * chance.uniform(0.1, 0.9))[:, None]


def make_tones(
    folder: Path, n: int = 40, *, classes: int = 2, first: float = 0, labels: bool = True, samples: int = SAMPLES
) -> Index:
    """n sounds in one shard in `folder`/tones; sound i is of class i % classes, `first` semitones above 220 Hz and
    more."""

    def sample(i: int) -> tuple[str, dict[str, bytes]]:
        label = i % classes
        wav = wav_bytes(tone(i, first + label, samples), RATE)
        return f"{i:06d}", members(wav, "wav", label if labels else -1, None)

    with making(str(folder / "tones")) as made:
        path = made.work / "000000.tar"
        write_shard(path, map(sample, range(n)))
        names = [f"+{label}" for label in range(classes)] if labels else ()
        return made.finish([path], class_names=names, workers=1, extensions=EXTENSIONS)
