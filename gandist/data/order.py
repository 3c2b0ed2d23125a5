"""The order of the samples: one endless sequence, a function of (seed, position) alone."""

from functools import lru_cache

import numpy as np

from gandist.distributed.randomness import philox

GROUP = 1 << 16
"""Minimum samples in a shuffled group: enough to mix well, few enough for their shards to fit a cache."""


def permutation(bits: np.random.BitGenerator, n: int) -> np.ndarray:
    """The numbers below n in random order, (n,) int64.

    It uses the generator's raw stream: numpy may change `Generator.permutation`, but an epoch must survive an upgrade.
    """
    return np.argsort(np.asarray(bits.random_raw(n)), kind="stable")


def shuffled(parts: list[np.ndarray], bits: np.random.BitGenerator) -> np.ndarray:
    joined = np.concatenate(parts)
    return np.asarray(joined[permutation(bits, len(joined))])


class Order:
    """An endless sequence of shuffled epochs.

    Each epoch permutes the shards, then shuffles the samples within groups of neighbouring shards (at least
    `group` samples each). The global batch at `images_seen` is the next B samples of the sequence: a batch may straddle
    two epochs, no sample is dropped, and each epoch holds each sample once.
    """

    def __init__(self, shard_sizes: list[int], seed: int, group: int = GROUP) -> None:
        self.sizes = np.asarray(shard_sizes, dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self.n = int(self.starts[-1])
        self.seed, self.group = seed, group
        self._epoch = lru_cache(maxsize=2)(self._compute)

    def _compute(self, epoch: int) -> np.ndarray:
        bits = philox(self.seed, "order", epoch).bit_generator
        parts: list[np.ndarray] = []
        pending: list[np.ndarray] = []
        count = 0
        for shard in permutation(bits, len(self.sizes)):
            pending.append(np.arange(self.starts[shard], self.starts[shard + 1]))
            count += int(self.sizes[shard])
            if count >= self.group:
                parts.append(shuffled(pending, bits))
                pending, count = [], 0
        if pending:
            parts.append(shuffled(pending, bits))
        return np.concatenate(parts)

    def take(self, start: int, count: int) -> np.ndarray:
        """Sample numbers (count,) int64 at positions [start, start + count) of the sequence."""
        parts = []
        while count > 0:
            epoch, at = divmod(start, self.n)
            part = self._epoch(epoch)[at : at + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
