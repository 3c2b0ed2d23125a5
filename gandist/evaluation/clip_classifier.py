"""A small classifier of clips, trained where it is needed: its features compare sets, and it sees classes, such as
motions."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.config.run import RunConfig
from gandist.config.sample import medium_of
from gandist.config.sections import DataSection
from gandist.data import dataset
from gandist.distributed.randomness import key, philox
from gandist.errors import ConfigError
from gandist.evaluation.learning import config_of, kept, kimg_shown, labelled, learn, learn_and_test, one_thread
from gandist.gan.networks.classifier import Facts, save
from gandist.gan.networks.clip_classifier import ClipClassifier
from gandist.media.video import Video

BATCH = 64
LR = 4e-3
EPOCHS, KIMG = 4, (16.0, 100.0)
"""Times that each clip is shown in training, within these bounds in thousands of clips."""
SHIFT = 2
"""Maximum shift of training clips, in pixels of 32 a side; all frames alike."""
NOISE = (0.003, 0.3)
"""Standard deviation of the white noise in training clips, of values from -1 to 1. Without it a classifier of clean
frames goes by what a generator leaves in the background."""
BYTES_MAX = 2**31
VERSION = "clips-1"
"""Changes whenever the same set gives another classifier."""


@one_thread()
def train(
    rows: np.ndarray, labels: np.ndarray, medium: Video, *, seed: int = 0, kimg: float | None = None
) -> ClipClassifier:
    """A classifier of clips (n, *medium.row.shape) by `labels` (n,); deterministic on one machine.

    It sees shifted and noisy clips, and another part of each if the medium cuts them at random. 18 kimg of 8 frames at
    32 pixels take 25 s on one core.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key(seed, "clips/weights") % 2**63)
        net = ClipClassifier(medium.channels, int(labels.max()) + 1)
    changes = philox(seed, "clips/changes")

    def inputs(at: np.ndarray) -> Tensor:
        taken = torch.from_numpy(changes.random((len(medium.uniforms), len(at)), dtype=np.float32))
        x = medium.to_network(torch.from_numpy(rows[at]), dict(zip(medium.uniforms, taken, strict=True)))
        down, right = changes.integers(-SHIFT, SHIFT, 2, endpoint=True).tolist()
        return noisy(shifted(net.averaged(x), down, right), changes)

    kimg = kimg_shown(len(rows), EPOCHS, KIMG) if kimg is None else kimg
    return learn(net, inputs, labels, seed=seed, kimg=kimg, batch=BATCH, lr=LR)


def noisy(x: Tensor, generator: np.random.Generator) -> Tensor:
    """Clips (N, C, F, H, W) with white noise, each with its own standard deviation."""
    low, high = NOISE
    deviations = (low * (high / low) ** generator.random(len(x))).astype(np.float32)
    noise = generator.standard_normal(tuple(x.shape), dtype=np.float32)
    return x + torch.from_numpy(noise * deviations[:, None, None, None, None])


def shifted(x: Tensor, down: int, right: int) -> Tensor:
    """Clips (N, C, F, H, W) moved by so many pixels; black fills the gap."""
    return F.pad(x, (right, -right, down, -down), value=-1.0)


def fit(config: RunConfig, *, seed: int = 0, kimg: float | None = None) -> tuple[ClipClassifier, Facts]:
    """Train on nine tenths of a run's labelled set of clips, and test on the last.

    Raises:
        DataError: the set cannot be read, is too small, or has no labels.
        ConfigError: an option of the medium is invalid.
    """
    medium = clips_of(config)
    found = labelled(config, seed, BYTES_MAX)
    classifier, facts = learn_and_test(
        found, medium, lambda rows, labels: train(rows, labels, medium, seed=seed, kimg=kimg)
    )
    return classifier, facts._replace(medium="video", frames=medium.frames, stride=medium.stride, fps=medium.fps)


def clips_of(config: RunConfig) -> Video:
    """The medium of a set of clips.

    Raises:
        ConfigError: an option is invalid, or the set holds something else.
    """
    medium = medium_of(config)
    if not isinstance(medium, Video):
        raise ConfigError(
            f"data.medium: a classifier of clips needs video, not {config.data.medium}; set data.medium=video"
        )
    return medium


def classifier_of(config: RunConfig) -> Path:
    """The file of the classifier of a run's labelled set: trained at first use and kept in this node's cache.

    Raises:
        DataError: the set cannot be read, is too small, or has no labels.
    """
    alone = config_of(config.data, config.model.resolution)
    medium = clips_of(alone)
    facts = [medium.name, medium.frames, *medium.uniforms, medium.decoder]
    identity = json.dumps([dataset.open_index(alone).fingerprint, *facts])
    name = f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}-{VERSION}.safetensors"
    return kept(alone, name, lambda path: save(path, *fit(alone)))


def data_of(path: str, channels: int, frames: int, stride: int) -> DataSection:
    """A set of clips, as the section `data` of a configuration names it."""
    return DataSection.model_validate(
        {"path": path, "medium": "video", "channels": channels, "options": {"frames": frames, "stride": stride}}
    )
