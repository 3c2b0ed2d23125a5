"""`python -m gandist.usefulness RUN --test DATA`: are the images of a run of use to a classifier of real ones?

A small classifier is trained on real images, on real and generated ones, and on generated ones alone (the
classification accuracy score of Ravuri & Vinyals 2019, arXiv:1905.10887). Each is tested on real images that neither it
nor the generator was trained on.
"""

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gandist.config.run import RunConfig
from gandist.data import dataset
from gandist.data.order import Order
from gandist.distributed.ranks import pick_device
from gandist.errors import ConfigError, DataError, GandistError
from gandist.evaluation.classifier import IMAGES_MAX, RESOLUTION, classify, train_classifier
from gandist.interrupts import interruptible
from gandist.logs import show_messages
from gandist.pack import natural, positive
from gandist.run.trained import Trained, open_trained, which

REAL, BOTH, GENERATED = "real", "real and generated", "generated"
SHARE = 0.5
"""Of what is shown where real and generated images are learnt from, so much is real."""
KIMG = 50.0
N_FAKE, N_TEST = 10_000, 10_000
GATHERED = 1000
"""Images that are in memory at a time while they are looked for in others."""


class Labelled(NamedTuple):
    images: np.ndarray
    """uint8 (n, R, R, C)."""
    labels: np.ndarray
    """int64 (n,)."""


class Result(NamedTuple):
    accuracy: dict[str, list[float]]
    """Share of the test images told right, by what was learnt from: one for each seed."""
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
) -> Result:
    """Accuracy on the real images of the set `test` of classifiers that saw as many images each.

    Args:
        data: labelled real images to learn from (default: those that the run was trained on).
        n_real: so many of them, drawn anew for each seed (default: all, at most `IMAGES_MAX`).
        n_fake: generated images, of classes drawn uniformly.
        kimg: thousands of images that each classifier is shown.

    Raises:
        ConfigError: the run has no classes.
        DataError: a set cannot be read, is too small, or has nothing that was not trained on.
    """
    config = trained.config
    if not config.model.classes:
        raise ConfigError(f"{config.run.name}: has no classes (model.classes=0): nothing tells what its images show")
    key, data = "--data" if data else "data.path:", data or config.data.path
    real, tested = reading(config, data), reading(config, test)
    with dataset.told_as("--test"):
        dataset.open_index(tested)
    with dataset.told_as(key):
        there = dataset.open_index(real).n
    n = min(there, IMAGES_MAX) if n_real is None else n_real
    if n > there:
        raise DataError(f"{data}: holds {there} images; --real {n} are more")
    seen = set[bytes]().union(*(digests_of(reading(config, path)) for path in {data, config.data.path}))
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
    return Result(accuracy, protocol)


def reading(config: RunConfig, path: str) -> RunConfig:
    """The configuration, but of the images at `path`, which need not fill a batch."""
    data, train = config.data.model_copy(update={"path": path}), config.train.model_copy(update={"batch": 1})
    return config.model_copy(update={"data": data, "train": train})


def take(config: RunConfig, n: int, seed: int) -> Labelled:
    """n images of a set, or all if there are fewer, drawn by `seed`."""
    index = dataset.open_index(config)
    return Labelled(*dataset.open_set(config, index).gather(Order([index.n], seed).take(0, min(n, index.n))))


def generated(trained: Trained, n: int, seed: int) -> Labelled:
    """n images of the run with the classes that they were asked for."""
    y = trained.conditions(n, seed)
    assert y is not None
    return Labelled(trained.draw(n, seed), y.cpu().numpy())


def together(reals: Labelled, fakes: Labelled) -> Labelled:
    """Both, the real ones repeated until `SHARE` of all are real."""
    again = np.resize(np.arange(len(reals.labels)), round(len(fakes.labels) * SHARE / (1 - SHARE)))
    return Labelled(*(np.concatenate([real[again], fake]) for real, fake in zip(reals, fakes, strict=True)))


def digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def digests_of(config: RunConfig) -> set[bytes]:
    """A digest of the pixels of each image of a set."""
    index = dataset.open_index(config)
    images = dataset.open_set(config, index)
    parts = np.split(np.arange(index.n), range(GATHERED, index.n, GATHERED))
    return {digest(image) for part in parts for image in images.gather(part)[0]}


def unseen(proof: Labelled, seen: set[bytes]) -> tuple[Labelled, int]:
    """The images whose pixels are not among those seen, and how many were."""
    new = np.array([digest(image) not in seen for image in proof.images], bool)
    return Labelled(proof.images[new], proof.labels[new]), int((~new).sum())


def shown(result: Result) -> str:
    """A line for each thing that was learnt from, then the protocol."""
    lines = []
    for name, values in result.accuracy.items():
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        each = " ".join(f"{value:.4f}" for value in values)
        lines.append(f"{name:{len(BOTH)}}  {statistics.mean(values):.4f}{spread}  ({each})")
    return "\n".join([*lines, ", ".join(f"{name} {value}" for name, value in result.protocol.items())])


def as_json(result: Result) -> str:
    accuracy = {
        name: {
            "mean": statistics.mean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "seeds": values,
        }
        for name, values in result.accuracy.items()
    }
    return json.dumps({"accuracy": accuracy, "protocol": result.protocol})


@interruptible
def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 with one message where the run, the sets or the arguments cannot be used."""
    parser = argparse.ArgumentParser(
        prog="gandist usefulness",
        description="Train a small classifier on real images, on real and generated ones, and on generated ones alone; "
        "its accuracy on real images that neither it nor the generator was trained on.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="folder or address of a run by class")
    add("--test", required=True, metavar="DATA", help="labelled real images to test on: indexed shards")
    add("--data", metavar="DATA", help="labelled real images to learn from (default: those of the run)")
    add("--real", type=positive, metavar="N", help="learn from N of them (default: all)")
    add("--fake", type=positive, default=N_FAKE, metavar="N", help="generated images (default: %(default)s)")
    add("--kimg", type=float, default=KIMG, help="thousands of images shown to each classifier (default: %(default)s)")
    add("--seeds", type=natural, nargs="+", default=(0, 1, 2), metavar="N", help="default: 0 1 2")
    add("--images-seen", type=which, metavar="N", help="this checkpoint, or `best` (default: the newest)")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto")
    add("--json", action="store_true", help="print one object")
    options = parser.parse_args(argv)
    show_messages()
    try:
        trained = open_trained(options.run, pick_device(options.device), options.images_seen)
        result = usefulness(
            trained,
            options.test,
            data=options.data,
            n_real=options.real,
            n_fake=options.fake,
            seeds=options.seeds,
            kimg=options.kimg,
        )
    except (GandistError, OSError) as error:
        print(f"gandist: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print((as_json if options.json else shown)(result))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
