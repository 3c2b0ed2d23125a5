"""What classifiers of all media share when they learn: a labelled set, one thread, and a place in this node's cache."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from gandist.config.run import RunConfig, validate
from gandist.config.sections import DataSection
from gandist.data import dataset
from gandist.data.index import Index
from gandist.data.order import Order
from gandist.errors import DataError
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
