"""What classifiers of all media share: a labelled set, how they learn and are tested, a place in this node's cache."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn

from gandist.config.run import RunConfig, validate
from gandist.config.sections import DataSection
from gandist.data import dataset
from gandist.data.index import Index
from gandist.data.order import Order
from gandist.errors import DataError
from gandist.gan.adam import FusedAdam
from gandist.gan.networks.classifier import Facts
from gandist.media.medium import Medium

log = logging.getLogger("gandist")

HELD_OUT = 10
"""One sample in `HELD_OUT` is kept to test accuracy."""
SAMPLES_MAX = 50_000
"""Maximum number of samples used from a set: training would not show more often enough to justify their memory."""


class Labelled(NamedTuple):
    """A labelled set in memory, in random order."""

    rows: np.ndarray
    """(n, *row.shape)."""
    labels: np.ndarray
    """(n,) int64; from 0 on without gaps, if the set's are far apart."""
    fingerprint: str
    """Fingerprint of the set's index."""

    @property
    def n_test(self) -> int:
        """The first samples are held out."""
        return len(self.rows) // HELD_OUT


Net = TypeVar("Net", bound=nn.Module)


def config_of(data: DataSection, resolution: int = 32) -> RunConfig:
    """A configuration without networks for this set, which need not fill a batch."""
    config = validate({"model": {"resolution": resolution}, "train": {"batch": 1}})
    return config.model_copy(update={"data": data})


def labelled(config: RunConfig, seed: int, bytes_max: float = math.inf) -> Labelled:
    """The samples of a labelled set, or a random part of a large one: `SAMPLES_MAX`, and no more than `bytes_max`.

    Raises:
        DataError: the set cannot be read, is too small, or has no labels.
    """
    index = dataset.open_index(config)
    if not is_labelled(index):
        raise DataError(
            f"data.path: {config.data.path}: {index.n} samples of {index.classes} classes: a classifier learns from "
            "labelled samples alone"
        )
    samples = dataset.open_set(config, index)
    most = min(index.n, SAMPLES_MAX, bytes_max // samples.medium.row.n_bytes)
    rows, labels = samples.gather(Order([index.n], seed).take(0, int(most)))
    if index.classes > index.n:  # the network would get an output for each number up to the largest label
        labels = np.unique(labels, return_inverse=True)[1]
    return Labelled(rows, labels, index.fingerprint)


def is_labelled(index: Index) -> bool:
    """Whether a classifier can learn from a set."""
    return index.classes >= 2 and index.n >= 2 * HELD_OUT and min(index.samples["label"].to_pylist()) >= 0


def kimg_shown(n: int, epochs: int, bounds: tuple[float, float]) -> float:
    """Thousands of samples that show each of n samples `epochs` times, within bounds."""
    return min(max(epochs * n / 1000, bounds[0]), bounds[1])


def learn(
    net: Net,
    inputs: Callable[[np.ndarray], Tensor],
    labels: np.ndarray,
    *,
    seed: int,
    kimg: float,
    batch: int,
    lr: float,
) -> Net:
    """Train `net` on `kimg` thousand samples by `labels` (n,); it is then in evaluation mode.

    AdamW with a linear warm-up and decay, and label smoothing (Szegedy et al. 2016, arXiv:1512.00567).

    Args:
        inputs: the samples of some rows (B,), augmented, as the network sees them. Called once a step.
        batch: samples of a step; all, if there are fewer.
    """
    optimizer = FusedAdam(net.parameters(), lr=lr, weight_decay=0.01, fused=True)
    order, batch = Order([len(labels)], seed), min(batch, len(labels))
    steps = max(1, round(kimg * 1000 / batch))
    for step in range(steps):
        rows = order.take(step * batch, batch)
        progress = step / steps
        optimizer.param_groups[0]["lr"] = lr * min(1.0, 5 * progress) * (1 - progress)
        y = torch.from_numpy(labels[rows].astype(np.int64))
        loss = F.cross_entropy(net(inputs(rows)), y, label_smoothing=0.1)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return net.eval()


def learn_and_test(
    found: Labelled, medium: Medium, train: Callable[[np.ndarray, np.ndarray], Net]
) -> tuple[Net, Facts]:
    """Train on nine tenths of a set, by `train(rows, labels)`, and test on the last; the facts lack the medium's."""
    n_test = found.n_test
    classifier = train(found.rows[n_test:], found.labels[n_test:])
    right = classify(classifier, found.rows[:n_test], medium, torch.device("cpu")) == found.labels[:n_test]
    return classifier, Facts(
        accuracy=float(right.mean()),
        n_test=n_test,
        n_train=len(found.rows) - n_test,
        channels=found.rows.shape[-1],
        classes=int(found.labels[n_test:].max()) + 1,
        data_fingerprint=found.fingerprint,
    )


def batches(rows: np.ndarray, medium: Medium, device: torch.device, size: int = 250) -> Iterator[Tensor]:
    """Rows (n, *medium.row.shape) as networks see them, `size` at a time, on the device."""
    for at in range(0, len(rows), size):
        yield medium.to_network(torch.from_numpy(np.ascontiguousarray(rows[at : at + size])).to(device))


@torch.inference_mode()
def classify(classifier: nn.Module, rows: np.ndarray, medium: Medium, device: torch.device) -> np.ndarray:
    """The most likely class (n,) int64 of each sample (n, *medium.row.shape)."""
    return torch.cat([classifier(x).argmax(1) for x in batches(rows, medium, device)]).cpu().numpy()


def kept(config: RunConfig, name: str, learn: Callable[[Path], object]) -> Path:
    """The file `name` of a classifier in this node's cache; `learn` writes it at first use.

    Raises:
        DataError: `learn` does, or the cache cannot be written to.
    """
    folder = dataset.cache_dir(config)
    path = folder / "classifiers" / name
    with dataset.cached(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                log.info("training a classifier of %s, once: a minute or more", config.data.path)
                learn(path)
    return path


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread: equal weights on any number of cores. So small a network gains nothing from a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
