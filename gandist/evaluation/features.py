"""One pass of an extractor over samples. The features of real samples are kept in this node's cache."""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from gandist.config.run import RunConfig
from gandist.config.sample import condition_of, medium_of
from gandist.data import dataset
from gandist.data.order import Order
from gandist.distributed.ranks import Ranks
from gandist.evaluation.extractor import Extractor
from gandist.evaluation.motion import VERSION, moves_of, width_of
from gandist.evaluation.statistics import Moments, Predictions
from gandist.media.medium import Medium
from gandist.storage.storage import Storage

log = logging.getLogger("gandist")

N_REAL = 50_000
"""Maximum number of real samples in an evaluation."""
AT_A_TIME = 250
CLIPS_VALUES = 2**24
"""Values of clips that are looked at together: 64 MB."""


class Seen(NamedTuple):
    """The output of an extractor on n samples."""

    h: Tensor
    """Features (n, F) float32, on the device: 4 n F bytes, the largest part of the memory."""
    predictions: Predictions
    moves: Tensor = torch.empty(0, 0)
    """How each clip moves (n, K) float32 (`evaluation.motion`), on the device; (n, 0) of samples without frames."""
    parts: int = 1
    """`Extractor.parts`."""

    @property
    def moments(self) -> Moments:
        return moments_of(self.h, self.parts)


def moments_of(h: Tensor, parts: int = 1) -> Moments:
    """The moments of features (n, F), added step by step; `parts`: those of each sample's that are samples here."""
    h = h.reshape(len(h) * parts, -1)
    moments = Moments(h.shape[1], h.device)
    for at in range(0, len(h), 4096):
        moments.add(h[at : at + 4096])
    return moments


@torch.no_grad()
def look(extractor: Extractor, medium: Medium, parts: Iterable[np.ndarray], n: int, device: torch.device) -> Seen:
    """One pass over n samples, whose rows come in parts (any, *medium.row.shape)."""
    h, at = torch.empty(n, extractor.dim, device=device), 0
    moves = torch.empty(n, width_of(medium), device=device)
    predictions = Predictions(extractor.classes, device)
    for part in parts:
        x = medium.to_network(torch.from_numpy(np.ascontiguousarray(part)).to(device, non_blocking=True))
        seen = extractor.features(x)
        predictions.add(extractor.probabilities(x, seen))
        h[at : at + len(seen)] = seen
        moves[at : at + len(seen)] = moves_of(medium, x)
        at += len(seen)
    assert at == n
    return Seen(h, predictions, moves, extractor.parts)


def look_together(
    extractor: Extractor, medium: Medium, rows_of: Callable[[np.ndarray], np.ndarray], n: int, ranks: Ranks
) -> Seen:
    """One pass over samples 0 to n - 1, split among the ranks: the main rank gets all results, the others none.

    Args:
        rows_of: numbers (any,) -> rows (any, *medium.row.shape).
    """
    numbers = np.arange(ranks.rank, n, ranks.world_size)
    size = at_a_time(medium)
    parts = (rows_of(numbers[at : at + size]) for at in range(0, len(numbers), size))
    mine = look(extractor, medium, parts, len(numbers), ranks.device)
    predictions = Predictions(extractor.classes, ranks.device)
    for sums in ranks.gather(mine.predictions.sums.cpu()):
        predictions.sums += sums.to(ranks.device)
    h = ranks.interleave(mine.h, n)
    moves = ranks.interleave(mine.moves, n) if width_of(medium) else h.new_empty(len(h), 0)
    return Seen(h, predictions, moves, extractor.parts)


def at_a_time(medium: Medium) -> int:
    """Samples that are looked at together: fewer clips, the larger they are."""
    values = math.prod(medium.network_shape)
    return min(AT_A_TIME, max(1, CLIPS_VALUES // values)) if len(medium.network_shape) == 4 else AT_A_TIME


class RealFeatures(NamedTuple):
    """Features of a set's real samples, in a fixed random order."""

    seen: Seen
    """All features on the main rank; none on the others."""
    numbers: np.ndarray
    """Numbers (n,) of these samples in the set."""
    labels: np.ndarray
    """(n,) int64; -1 for none."""
    conditions: np.ndarray
    """Conditions of the whole set: labels, or vectors of captions."""
    fingerprint: str
    """Fingerprint of the set's index."""


def real_features(config: RunConfig, extractor: Extractor, ranks: Ranks, n_max: int = N_REAL) -> RealFeatures:
    """The features of at most n_max samples of the set in `config`: computed once, by all ranks.

    Raises:
        DataError: the set cannot be read, or does not fit the configuration.
    """
    index = dataset.open_index(config)
    numbers = Order([index.n], 0).take(0, min(index.n, n_max))
    medium = medium_of(config)
    facts = [index.fingerprint, medium.name, medium.decoder, len(numbers)]
    # What is cut of a row is not in its name; those of images stay as they were
    facts += [*medium.network_shape] if len(medium.network_shape) != 3 else []
    facts += [VERSION] if width_of(medium) else []
    identity = json.dumps([*facts, extractor.name, extractor.resize, extractor.sha256])
    folder = dataset.cache_dir(config)
    path = folder / "features" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.safetensors"
    with dataset.cached(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
    # Several runs may want the same features at once: the first computes them, the others wait.
    with dataset.cached(folder), FileLock(path.with_suffix(".lock")) if ranks.is_main else nullcontext():
        seen = _kept(path, extractor, ranks.device) if ranks.is_main else None
        if not ranks.gather(seen is not None)[0]:
            if ranks.is_main:
                said = len(numbers), medium.nouns[1], config.data.path, extractor.name
                log.info("computing features of %d %s of %s with %s, once", *said)
            samples = dataset.open_set(config, index, medium)
            seen = look_together(extractor, medium, lambda at: samples.gather(numbers[at])[0], len(numbers), ranks)
            if ranks.is_main:
                _keep(path, seen)
    seen = seen or Seen(torch.empty(0, extractor.dim), Predictions(extractor.classes))
    return RealFeatures(seen, numbers, index.labels[numbers], condition_of(config).stored(index), index.fingerprint)


def _keep(path: Path, seen: Seen) -> None:
    tensors = {"h": seen.h.cpu(), "predictions": seen.predictions.sums.cpu()}
    tensors |= {"moves": seen.moves.cpu()} if seen.moves.numel() else {}
    Storage(str(path.parent)).write_bytes(path.name, save_tensors(tensors, {"sha256": _digest(tensors)}))


def _kept(path: Path, extractor: Extractor, device: torch.device) -> Seen | None:
    """The cached features; None if they are missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            notes, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    if _digest(tensors) != notes["sha256"]:
        return None
    predictions = Predictions(len(tensors["predictions"]) - 2, device)
    predictions.sums += tensors["predictions"].to(device)
    h = tensors["h"].to(device)
    moves = tensors["moves"].to(device) if "moves" in tensors else h.new_empty(len(h), 0)
    return Seen(h, predictions, moves, extractor.parts)


def _digest(tensors: dict[str, Tensor]) -> str:
    return hashlib.sha256(save_tensors(tensors)).hexdigest()
