"""A small classifier of sounds, trained where it is needed: its features compare sets, and it hears classes."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.config.sample import medium_of
from gandist.config.sections import DataSection
from gandist.data import dataset
from gandist.distributed.randomness import key, philox
from gandist.errors import ConfigError
from gandist.evaluation.learning import (
    batches,
    config_of,
    kept,
    kimg_shown,
    labelled,
    learn,
    learn_and_test,
    one_thread,
)
from gandist.gan.networks.classifier import Facts, save
from gandist.gan.networks.sound_classifier import SoundClassifier
from gandist.media.audio import Audio

BATCH = 128
LR = 3e-3
EPOCHS, KIMG = 8, (20.0, 200.0)
"""Times that each sound is shown in training, within these bounds in thousands of sounds."""
SHIFT = 1 / 16
"""Maximum shift of training sounds, as a share of their length; silence follows."""
GAIN = 2.0
"""Maximum factor, or divisor, of training sounds' amplitude: 6 dB."""
NOISE_DB = (-80.0, -25.0)
"""Level of the white noise in training sounds, of full scale. Without it a classifier of clean tones goes by silence
between their harmonics, and hears one class in all that a generator makes with some hiss."""
NORMALISED_BY = 1000
"""Training sounds whose spectrograms give mean and deviation of each band."""
BYTES_MAX = 2**31
VERSION = "sounds-2"
"""Changes whenever the same set gives another classifier."""


@one_thread()
def train(
    rows: np.ndarray, labels: np.ndarray, medium: Audio, *, seed: int = 0, kimg: float | None = None
) -> SoundClassifier:
    """A classifier of sounds (n, *medium.row.shape) by `labels` (n,); deterministic on one machine.

    It hears shifted sounds of changed loudness, and another part of each if the medium cuts them at random. 20 kimg of
    4,096 samples at 8,000 Hz take a quarter of a minute on one core.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key(seed, "sounds/weights") % 2**63)
        net = SoundClassifier(medium.sample_rate, medium.samples, int(labels.max()) + 1)
    changes = philox(seed, "sounds/changes")
    some = batches(rows[:NORMALISED_BY], medium, torch.device("cpu"))
    net.normalise_by(torch.cat([net.spectrogram(noisy(x, changes)) for x in some]))

    def inputs(at: np.ndarray) -> Tensor:
        parts, gains, shifts = (torch.from_numpy(each) for each in changes.random((3, len(at)), dtype=np.float32))
        x = medium.to_network(torch.from_numpy(rows[at]), dict.fromkeys(medium.uniforms, parts))
        x = x * GAIN ** (2 * gains - 1)[:, None, None]
        return noisy(shifted(x, round((2 * float(shifts[0]) - 1) * SHIFT * x.shape[2])), changes)

    kimg = kimg_shown(len(rows), EPOCHS, KIMG) if kimg is None else kimg
    return learn(net, inputs, labels, seed=seed, kimg=kimg, batch=BATCH, lr=LR)


def noisy(x: Tensor, generator: np.random.Generator) -> Tensor:
    """Sounds (N, C, T) with white noise, each at a level of its own."""
    low, high = NOISE_DB
    levels = 10 ** ((low + (high - low) * generator.random(len(x), dtype=np.float32)) / 20)
    noise = generator.standard_normal(tuple(x.shape), dtype=np.float32)
    return x + torch.from_numpy(noise * levels[:, None, None])


def shifted(x: Tensor, later: int) -> Tensor:
    """Sounds (N, C, T) that begin `later` samples later, or earlier if that is below 0; silence fills the gap."""
    return F.pad(x, (later, -later))


def fit(data: DataSection, *, seed: int = 0, kimg: float | None = None) -> tuple[SoundClassifier, Facts]:
    """Train on nine tenths of a labelled set of sounds, and test on the last.

    Raises:
        DataError: the set cannot be read, is too small, or has no labels.
        ConfigError: an option of the medium is invalid.
    """
    config = config_of(data)
    medium = sounds_of(data)
    found = labelled(config, seed, BYTES_MAX)
    classifier, facts = learn_and_test(
        found, medium, lambda rows, labels: train(rows, labels, medium, seed=seed, kimg=kimg)
    )
    return classifier, facts._replace(medium="audio", sample_rate=medium.sample_rate, samples=medium.samples)


def sounds_of(data: DataSection) -> Audio:
    """The medium of a set of sounds.

    Raises:
        ConfigError: an option is invalid, or the set holds something else.
    """
    medium = medium_of(config_of(data))
    if not isinstance(medium, Audio):
        raise ConfigError(f"data.medium: a classifier of sounds needs audio, not {data.medium}; set data.medium=audio")
    return medium


def classifier_of(data: DataSection) -> Path:
    """The file of a labelled set's classifier: trained at first use and kept in this node's cache.

    Raises:
        DataError: the set cannot be read, is too small, or has no labels.
    """
    config, medium = config_of(data), sounds_of(data)
    identity = json.dumps([dataset.open_index(config).fingerprint, medium.name, medium.samples, medium.decoder])
    name = f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}-{VERSION}.safetensors"
    return kept(config, name, lambda path: save(path, *fit(data)))
