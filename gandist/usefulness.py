"""`python -m gandist.usefulness RUN --test DATA`: do generated samples help a classifier of real ones?

A small classifier of the run's medium is trained on real samples, on real and generated ones, and on generated ones
alone (the classification accuracy score of Ravuri & Vinyals 2019, arXiv:1905.10887). Each is tested on real samples
that neither the classifier nor the generator was trained on.
"""

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from gandist.cli.arguments import natural, positive, which
from gandist.cli.command import command
from gandist.conditions.sample import OfSample
from gandist.config.run import RunConfig
from gandist.data import dataset
from gandist.data.order import Order
from gandist.distributed.randomness import philox
from gandist.distributed.ranks import pick_device
from gandist.errors import ConfigError, DataError
from gandist.evaluation.learners import LEARNERS, learner_of
from gandist.evaluation.learning import SAMPLES_MAX, classify
from gandist.media.medium import Medium
from gandist.run.published import TRUST
from gandist.run.trained import Trained, open_trained

REAL, BOTH, GENERATED = "real", "real and generated", "generated"
SHARE = 0.5
"""Share of real samples in the mixture of real and generated ones."""
LEAST = 2
"""Samples of the smallest set that a classifier can learn from: BatchNorm needs two."""
N_FAKE, N_TEST = 10_000, 10_000
GATHERED = 1000
"""Samples in memory at a time while their digests are computed, or parts of them cut."""


class LabelledSamples(NamedTuple):
    rows: np.ndarray
    """(n, *row.shape) of the medium."""
    labels: np.ndarray
    """int64 (n,)."""


class Usefulness(NamedTuple):
    accuracy: dict[str, list[float]]
    """Share of the test samples classified correctly, by training set: one value per seed."""
    protocol: dict[str, Any]


def usefulness(
    trained: Trained,
    test: str,
    *,
    data: str | None = None,
    n_real: int | None = None,
    n_fake: int = N_FAKE,
    seeds: Sequence[int] = (0, 1, 2),
    kimg: float | None = None,
) -> Usefulness:
    """Accuracy of classifiers on the real samples of the set `test`; all are trained on the same number of samples.

    Args:
        data: labelled real samples to train on (default: the training set of the run).
        n_real: number of real samples, drawn anew for each seed (default: all, at most `SAMPLES_MAX`).
        n_fake: number of generated samples; their classes are drawn uniformly.
        kimg: thousands of samples shown to each classifier (default: that of the medium in `LEARNERS`).

    Raises:
        ConfigError: the run's medium has no classifier, the run has no classes, or its G is given samples.
        DataError: a set cannot be read, is too small, or has no samples outside the training set.
    """
    config, medium = trained.config, trained.medium
    many = medium.nouns[1]
    try:
        learner = learner_of(medium)
    except ConfigError as error:
        raise ConfigError(f"{config.run.name}: {error}") from error
    if kimg is None:
        kimg = learner.kimg
    if isinstance(trained.condition, OfSample):
        raise ConfigError(
            f"{config.run.name}: its G is given samples (condition.kind={config.condition.kind}) and draws none of a "
            "class; python -m gandist.evaluate compares its outputs with their targets"
        )
    if not trained.condition.count:
        raise ConfigError(f"{config.run.name}: has no classes (model.classes=0) for a classifier of {many} to learn")
    key, data = "--data" if data else "data.path:", data or config.data.path
    real, tested = dataset.with_images_at(config, data), dataset.with_images_at(config, test)
    with dataset.told_as("--test"):
        dataset.open_index(tested)
    with dataset.told_as(key):
        there = dataset.open_index(real).n
    n = min(there, SAMPLES_MAX) if n_real is None else n_real
    if n > there:
        raise DataError(f"{data}: holds {there} {many}; --real {n} are more")
    if min(n, n_fake) < LEAST:
        raise ConfigError(f"--real {n}, --fake {n_fake}: a classifier learns from at least {LEAST} {many}")
    seen = set[bytes]().union(*(digests_of(dataset.with_images_at(config, path)) for path in {data, config.data.path}))
    proof, left_out = unseen(take(tested, N_TEST, 0), seen)
    if not len(proof.labels):
        raise DataError(f"{test}: all its {many} are among those that were trained on; give others as --test")
    proof = as_drawn(proof, medium, 0)
    accuracy: dict[str, list[float]] = {REAL: [], BOTH: [], GENERATED: []}
    for seed in seeds:
        reals, fakes = as_drawn(take(real, n, seed), medium, seed), generated(trained, n_fake, seed)
        for name, learnt in {REAL: reals, BOTH: together(reals, fakes), GENERATED: fakes}.items():
            classifier = learner.train(learnt.rows, learnt.labels, medium.drawn, seed=seed, kimg=kimg)
            found = classify(classifier.to(trained.device), proof.rows, medium.drawn, trained.device)
            right = found == proof.labels
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
        "resize": learner.resize(medium),
        "seeds": list(seeds),
    }
    return Usefulness(accuracy, protocol)


def take(config: RunConfig, n: int, seed: int) -> LabelledSamples:
    """Draw n samples of a set by `seed`, or all if there are fewer."""
    index = dataset.open_index(config)
    return LabelledSamples(*dataset.open_set(config, index).gather(Order([index.n], seed).take(0, min(n, index.n))))


def generated(trained: Trained, n: int, seed: int) -> LabelledSamples:
    """n samples of the run with their requested classes."""
    y = trained.conditions(n, seed)
    assert y is not None
    return LabelledSamples(trained.draw(n, seed), y.cpu().numpy())


def together(reals: LabelledSamples, fakes: LabelledSamples) -> LabelledSamples:
    """Both sets; the real samples are repeated until `SHARE` of all are real."""
    again = np.resize(np.arange(len(reals.labels)), round(len(fakes.labels) * SHARE / (1 - SHARE)))
    return LabelledSamples(*(np.concatenate([real[again], fake]) for real, fake in zip(reals, fakes, strict=True)))


def as_drawn(reals: LabelledSamples, medium: Medium, seed: int) -> LabelledSamples:
    """Real samples in the form of generated ones: of each a random part, if the medium cuts such parts in training."""
    if medium.drawn is medium:
        return reals
    chance = philox(seed, "usefulness/parts")
    rows: list[np.ndarray] = []
    for part in np.split(reals.rows, range(GATHERED, len(reals.rows), GATHERED)):
        uniforms = {name: torch.from_numpy(chance.random(len(part))) for name in medium.uniforms}
        rows.append(medium.from_network(medium.to_network(torch.from_numpy(part), uniforms)).contiguous().numpy())
    return LabelledSamples(np.concatenate(rows), reals.labels)


def digest(row: np.ndarray) -> bytes:
    return hashlib.blake2b(row.tobytes(), digest_size=16).digest()


def digests_of(config: RunConfig) -> set[bytes]:
    """A digest of each decoded sample of a set."""
    index = dataset.open_index(config)
    samples = dataset.open_set(config, index)
    parts = np.split(np.arange(index.n), range(GATHERED, index.n, GATHERED))
    return {digest(row) for part in parts for row in samples.gather(part)[0]}


def unseen(proof: LabelledSamples, seen: set[bytes]) -> tuple[LabelledSamples, int]:
    """The samples whose digests are not in `seen`, and the number of samples left out."""
    new = np.array([digest(row) not in seen for row in proof.rows], bool)
    return LabelledSamples(proof.rows[new], proof.labels[new]), int((~new).sum())


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
        description="Train a small classifier on real images, sounds or clips, on real and generated ones, and on "
        "generated ones alone; its accuracy on real ones that neither it nor the generator was trained on.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="folder or address of a run with classes, or of such a published model")
    add("--test", required=True, metavar="DATA", help="labelled real samples to test on: indexed shards")
    add("--data", metavar="DATA", help="labelled real samples to learn from (default: those of the run)")
    add("--real", type=positive, metavar="N", help="learn from N of them (default: all)")
    add("--fake", type=positive, default=N_FAKE, metavar="N", help="generated samples (default: %(default)s)")
    default = ", ".join(f"of {each().nouns[1]} {learner.kimg:g}" for each, learner in LEARNERS.items())
    add("--kimg", type=float, help=f"thousands of samples shown to each classifier (default: {default})")
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
