"""`python -m gandist.usefulness RUN --test DATA`: do generated images help a classifier of real images?

A small classifier is trained on real images, on real and generated images, and on generated images alone (the
classification accuracy score of Ravuri & Vinyals 2019, arXiv:1905.10887). Each is tested on real images that neither
the classifier nor the generator was trained on.
"""

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gandist.cli.arguments import natural, positive, which
from gandist.cli.command import command
from gandist.conditions.sample import OfSample
from gandist.config.run import RunConfig
from gandist.data import dataset
from gandist.data.order import Order
from gandist.distributed.ranks import pick_device
from gandist.errors import ConfigError, DataError
from gandist.evaluation.classifier import classify, train_classifier
from gandist.evaluation.learning import SAMPLES_MAX
from gandist.gan.networks.classifier import RESOLUTION
from gandist.media.image import Image as ImageMedium
from gandist.run.published import TRUST
from gandist.run.trained import Trained, open_trained

REAL, BOTH, GENERATED = "real", "real and generated", "generated"
SHARE = 0.5
"""Share of real images in the mixture of real and generated images."""
KIMG = 50.0
N_FAKE, N_TEST = 10_000, 10_000
GATHERED = 1000
"""Images in memory at a time while their digests are computed."""


class LabelledImages(NamedTuple):
    images: np.ndarray
    """uint8 (n, R, R, C)."""
    labels: np.ndarray
    """int64 (n,)."""


class Usefulness(NamedTuple):
    accuracy: dict[str, list[float]]
    """Share of the test images classified correctly, by training set: one value per seed."""
    protocol: dict[str, Any]


def usefulness(
    trained: Trained,
    test: str,
    *,
    data: str | None = None,
    n_real: int | None = None,
    n_fake: int = N_FAKE,
    seeds: Sequence[int] = (0, 1, 2),
    kimg: float = KIMG,
) -> Usefulness:
    """Accuracy of classifiers on the real images of the set `test`; all are trained on the same number of images.

    Args:
        data: labelled real images to train on (default: the training set of the run).
        n_real: number of real images, drawn anew for each seed (default: all, at most `SAMPLES_MAX`).
        n_fake: number of generated images; their classes are drawn uniformly.
        kimg: thousands of images shown to each classifier.

    Raises:
        ConfigError: the run makes no images, has no classes, or its G is given samples.
        DataError: a set cannot be read, is too small, or has no images outside the training set.
    """
    config = trained.config
    if not isinstance(trained.medium, ImageMedium):
        raise ConfigError(
            f"{config.run.name}: makes {trained.medium.nouns[1]}, and the classifier here is of images; python -m "
            "gandist.evaluate tells whether its classes are recognised"
        )
    if isinstance(trained.condition, OfSample):
        raise ConfigError(
            f"{config.run.name}: its G is given pictures (condition.kind={config.condition.kind}) and draws none of a "
            "class; python -m gandist.evaluate compares its outputs with their targets"
        )
    if not trained.condition.count:
        raise ConfigError(f"{config.run.name}: has no classes (model.classes=0): nothing tells what its images show")
    key, data = "--data" if data else "data.path:", data or config.data.path
    real, tested = dataset.with_images_at(config, data), dataset.with_images_at(config, test)
    with dataset.told_as("--test"):
        dataset.open_index(tested)
    with dataset.told_as(key):
        there = dataset.open_index(real).n
    n = min(there, SAMPLES_MAX) if n_real is None else n_real
    if n > there:
        raise DataError(f"{data}: holds {there} images; --real {n} are more")
    seen = set[bytes]().union(*(digests_of(dataset.with_images_at(config, path)) for path in {data, config.data.path}))
    proof, left_out = unseen(take(tested, N_TEST, 0), seen)
    if not len(proof.labels):
        raise DataError(f"{test}: all its images are among those that were trained on; give others as --test")
    accuracy: dict[str, list[float]] = {REAL: [], BOTH: [], GENERATED: []}
    for seed in seeds:
        reals, fakes = take(real, n, seed), generated(trained, n_fake, seed)
        for name, learnt in {REAL: reals, BOTH: together(reals, fakes), GENERATED: fakes}.items():
            classifier = train_classifier(learnt.images, learnt.labels, seed=seed, kimg=kimg)
            right = classify(classifier.to(trained.device), proof.images, trained.device) == proof.labels
            accuracy[name].append(float(right.mean()))
    protocol = {
        "run": config.run.name,
        "images_seen": trained.images_seen,
        "trained_on": config.data.path,
        "data": data,
        "test": test,
        "n_real": n,
        "n_fake": n_fake,
        "n_test": len(proof.labels),
        "left_out": left_out,
        "share_of_real": SHARE,
        "kimg": kimg,
        "resize": f"{config.model.resolution} px averaged to {RESOLUTION}",
        "seeds": list(seeds),
    }
    return Usefulness(accuracy, protocol)


def take(config: RunConfig, n: int, seed: int) -> LabelledImages:
    """Draw n images of a set by `seed`, or all if there are fewer."""
    index = dataset.open_index(config)
    return LabelledImages(*dataset.open_set(config, index).gather(Order([index.n], seed).take(0, min(n, index.n))))


def generated(trained: Trained, n: int, seed: int) -> LabelledImages:
    """n images of the run with their requested classes."""
    y = trained.conditions(n, seed)
    assert y is not None
    return LabelledImages(trained.draw(n, seed), y.cpu().numpy())


def together(reals: LabelledImages, fakes: LabelledImages) -> LabelledImages:
    """Both sets; the real images are repeated until `SHARE` of all images are real."""
    again = np.resize(np.arange(len(reals.labels)), round(len(fakes.labels) * SHARE / (1 - SHARE)))
    return LabelledImages(*(np.concatenate([real[again], fake]) for real, fake in zip(reals, fakes, strict=True)))


def digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def digests_of(config: RunConfig) -> set[bytes]:
    """A digest of the pixels of each image in a set."""
    index = dataset.open_index(config)
    images = dataset.open_set(config, index)
    parts = np.split(np.arange(index.n), range(GATHERED, index.n, GATHERED))
    return {digest(image) for part in parts for image in images.gather(part)[0]}


def unseen(proof: LabelledImages, seen: set[bytes]) -> tuple[LabelledImages, int]:
    """The images whose pixels are not in `seen`, and the number of images left out."""
    new = np.array([digest(image) not in seen for image in proof.images], bool)
    return LabelledImages(proof.images[new], proof.labels[new]), int((~new).sum())


def shown(result: Usefulness) -> str:
    """A line per training set, then the protocol."""
    lines = []
    for name, values in result.accuracy.items():
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        each = " ".join(f"{value:.4f}" for value in values)
        lines.append(f"{name:{len(BOTH)}}  {statistics.mean(values):.4f}{spread}  ({each})")
    return "\n".join([*lines, ", ".join(f"{name} {value}" for name, value in result.protocol.items())])


def as_json(result: Usefulness) -> str:
    accuracy = {
        name: {
            "mean": statistics.mean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "seeds": values,
        }
        for name, values in result.accuracy.items()
    }
    return json.dumps({"accuracy": accuracy, "protocol": result.protocol})


@command()
def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0, or 2 after one message if the run, the sets or the arguments cannot be used."""
    parser = argparse.ArgumentParser(
        prog="gandist usefulness",
        description="Train a small classifier on real images, on real and generated ones, and on generated ones alone; "
        "its accuracy on real images that neither it nor the generator was trained on.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="folder or address of a run with classes, or of such a published model")
    add("--test", required=True, metavar="DATA", help="labelled real images to test on: indexed shards")
    add("--data", metavar="DATA", help="labelled real images to learn from (default: those of the run)")
    add("--real", type=positive, metavar="N", help="learn from N of them (default: all)")
    add("--fake", type=positive, default=N_FAKE, metavar="N", help="generated images (default: %(default)s)")
    add("--kimg", type=float, default=KIMG, help="thousands of images shown to each classifier (default: %(default)s)")
    add("--seeds", type=natural, nargs="+", default=(0, 1, 2), metavar="N", help="default: 0 1 2")
    add("--images-seen", type=which, metavar="N", help="draw from this checkpoint, or `best` (default: the newest)")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto")
    add("--json", action="store_true", help="print one object")
    add("--trust", action="store_true", help=TRUST)
    options = parser.parse_args(argv)
    trained = open_trained(options.run, pick_device(options.device), options.images_seen, options.trust)
    result = usefulness(
        trained,
        options.test,
        data=options.data,
        n_real=options.real,
        n_fake=options.fake,
        seeds=options.seeds,
        kimg=options.kimg,
    )
    print((as_json if options.json else shown)(result))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
