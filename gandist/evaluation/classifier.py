"""A small classifier of images, trained where it is needed: it counts modes, and its features compare sets.

`python -m gandist.classifier DATA OUT` trains one on any labelled set of shards, of images, sounds or
clips.
"""

import argparse
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.cli.arguments import positive
from gandist.cli.command import command
from gandist.config.sections import DataSection, ModelSection
from gandist.data import dataset
from gandist.distributed.randomness import key, philox
from gandist.errors import ConfigError
from gandist.evaluation import clip_classifier, sound_classifier
from gandist.evaluation.learning import config_of, kept, labelled, learn, learn_and_test, one_thread
from gandist.gan.networks.classifier import RESOLUTION, Classifier, Facts, load, save
from gandist.gan.networks.clip_classifier import ClipClassifier
from gandist.gan.networks.sound_classifier import SoundClassifier
from gandist.media.decode import DECODER
from gandist.media.image import Image

BATCH = 128
LR = 6e-3
KIMG = 200.0
SHIFT = 2
"""Maximum shift of training images, in pixels."""
IMAGES = Image()
"""Of any size and any number of channels: as a network sees them, they differ in nothing else."""


@one_thread()
def train_classifier(images: np.ndarray, labels: np.ndarray, *, seed: int = 0, kimg: float = KIMG) -> Classifier:
    """A classifier of `images` (n, R, R, C) uint8 by `labels` (n,); deterministic on one machine.

    It sees shifted images. 200 kimg at 32 pixels take 45 s on one core.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key(seed, "classifier/weights") % 2**63)
        net = Classifier(images.shape[3], int(labels.max()) + 1)
    changes = philox(seed, "classifier/shifts")

    def inputs(at: np.ndarray) -> Tensor:
        down, right = changes.integers(-SHIFT, SHIFT, 2, endpoint=True).tolist()
        return F.pad(IMAGES.to_network(torch.from_numpy(images[at])), (right, -right, down, -down), value=-1.0)

    return learn(net, inputs, labels, seed=seed, kimg=kimg, batch=BATCH, lr=LR)


def fit(
    data: DataSection, resolution: int = RESOLUTION, *, seed: int = 0, kimg: float = KIMG
) -> tuple[Classifier, Facts]:
    """Train on nine tenths of a labelled set, decoded at `resolution`, and test on the last.

    Raises:
        DataError: the set cannot be read, is too small, or has no labels.
    """
    found = labelled(config_of(data, resolution), seed)
    return learn_and_test(found, IMAGES, lambda rows, labels: train_classifier(rows, labels, seed=seed, kimg=kimg))


def classifier_of(data: DataSection, resolution: int = RESOLUTION) -> tuple[Classifier, Facts]:
    """The classifier of a labelled set: trained at first use and kept in this node's cache.

    Raises:
        DataError: the set cannot be read, is too small, or has no labels.
    """
    config = config_of(data)
    name = f"{dataset.open_index(config).fingerprint[:32]}-{resolution}px-{data.channels}ch-{DECODER}.safetensors"
    return load(kept(config, name, lambda path: save(path, *fit(data, resolution))))


@command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m gandist.classifier", description=__doc__)
    add = parser.add_argument
    add("data", metavar="DATA", help="folder or URL of indexed, labelled shards, or builtin:NAME")
    add("out", metavar="OUT", type=Path, help="file to write (.safetensors)")
    add(
        "--channels",
        type=int,
        choices=(1, 3),
        default=3,
        help="channels of images and clips: 1 (grey) or 3 (RGB) (default: 3)",
    )
    add("--sample-rate", type=positive, metavar="HZ", help="for sounds: their rate, as data.options.sample_rate")
    add("--samples", type=positive, metavar="N", help="for sounds: their length, as data.options.samples")
    add("--frames", type=positive, metavar="N", help="for clips: their frames, as data.options.frames")
    add("--stride", type=positive, metavar="N", default=1, help="for clips: as data.options.stride (default: 1)")
    sizes = get_args(ModelSection.model_fields["resolution"].annotation)
    add("--resolution", type=int, choices=sizes, help=f"for clips: as model.resolution (default: {RESOLUTION})")
    each = {"sounds": sound_classifier, "clips": clip_classifier}
    default = "".join(f"; of {many} {of.EPOCHS} times each, at least {of.KIMG[0]:g}" for many, of in each.items())
    add("--kimg", type=float, metavar="KIMG", help=f"thousands of samples to train on (default: {KIMG:g}{default})")
    add("--seed", type=int, default=0, metavar="S", help="seed of weights and order (default: %(default)s)")
    options = parser.parse_args(argv)
    if (options.sample_rate is None) != (options.samples is None):
        raise ConfigError("--sample-rate, --samples: sounds need both; give both, or for images neither")
    if options.frames and options.samples:
        raise ConfigError("--frames, --samples: DATA holds clips or sounds; give one of them")
    if not options.frames and (options.stride != 1 or options.resolution):
        raise ConfigError("--stride, --resolution: are for clips; give --frames too, or leave them out")
    classifier: Classifier | SoundClassifier | ClipClassifier
    with dataset.told_as("DATA"):
        if options.frames:
            data = clip_classifier.data_of(options.data, options.channels, options.frames, options.stride)
            config = config_of(data, options.resolution or RESOLUTION)
            classifier, facts = clip_classifier.fit(config, seed=options.seed, kimg=options.kimg)
        elif options.samples is None:
            data = DataSection(path=options.data, channels=options.channels)
            classifier, facts = fit(data, seed=options.seed, kimg=options.kimg or KIMG)
        else:
            sounds = {"sample_rate": options.sample_rate, "samples": options.samples}
            data = DataSection(path=options.data, medium="audio", options=sounds)
            classifier, facts = sound_classifier.fit(data, seed=options.seed, kimg=options.kimg)
    save(options.out, classifier, facts)
    many = {"image": "images", "audio": "sounds", "video": "clips"}[facts.medium]
    print(f"{options.out}: {facts.classes} classes, accuracy {facts.accuracy:.3f} on {facts.n_test} held out {many}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
