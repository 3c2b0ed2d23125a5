"""All random numbers of a run, keyed by their purpose.

A draw depends only on (seed, purpose, images_seen, sub-update) and the row of the *global* batch: neither a restart
nor another number of workers changes the noise of an image. Each rank draws its own rows, on its device.
"""

import hashlib
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from gandist.distributed.philox import DrawKind, Key, draw


def key(seed: int, purpose: str, images_seen: int = 0, sub: int = 0) -> int:
    """The 128-bit Philox key of a draw.

    A hash, not a counter: keys that increase by one per batch would give successive batches overlapping noise.
    """
    text = f"{seed}/{purpose}/{images_seen}/{sub}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def philox(seed: int, purpose: str, images_seen: int = 0, sub: int = 0) -> np.random.Generator:
    """A generator at the start of the keyed stream (Salmon et al. 2011, Philox)."""
    return np.random.Generator(np.random.Philox(key=key(seed, purpose, images_seen, sub)))


def split(rows: int, rank: int, world_size: int) -> slice:
    """The rows of a global batch that belong to `rank`: every `world_size`-th."""
    return slice(rank, rows, world_size)


@cache
def words(seed: int, purpose: str) -> Key:
    """The key of a purpose's draws on the device: the two words of `key(seed, purpose)`."""
    whole = key(seed, purpose)
    return whole % 2**64, whole >> 64


class Draws:
    """A run's keyed draws: this rank's rows of a global batch, on its device.

    `images_seen` is an int64 scalar on the device, so that a captured step draws new numbers at every replay.
    """

    def __init__(self, seed: int, device: torch.device, rank: int = 0, world_size: int = 1) -> None:
        self.seed, self.device = seed, device
        self.rank, self.world_size = rank, world_size

    def _drawn(self, kind: DrawKind, purpose: str, images_seen: Tensor, sub: int, shape: tuple[int, ...]) -> Tensor:
        batch, *each = shape
        rows = range(batch)[split(batch, self.rank, self.world_size)]
        drawn = draw(kind, words(self.seed, purpose), images_seen, sub, rows, math.prod(each))
        return drawn.view(len(rows), *each)

    def normal(self, purpose: str, images_seen: Tensor, sub: int, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32; `shape` is (global batch, ...), the result holds this rank's rows."""
        return self._drawn("normal", purpose, images_seen, sub, shape)

    def uniform(self, purpose: str, images_seen: Tensor, sub: int, shape: tuple[int, ...]) -> Tensor:
        """Uniform float32 in [0, 1); `shape` is (global batch, ...), the result holds this rank's rows."""
        return self._drawn("uniform", purpose, images_seen, sub, shape)

    def numbers(self, purpose: str, images_seen: Tensor, sub: int, batch: int, n: int) -> Tensor:
        """Uniform numbers below `n` (int64), such as classes, for this rank's rows; the bias is at most n in 2^32."""
        return self._drawn("bits", purpose, images_seen, sub, (batch,)) * n >> 32

    def fixed_normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32 of this shape, equal on every rank and during the whole run."""
        return torch.from_numpy(philox(self.seed, purpose).standard_normal(shape, dtype=np.float32)).to(self.device)


def drawn_for(kind: DrawKind, seed: int, purpose: str, numbers: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Random numbers (N, *shape) on the CPU for N samples of a set, each a function of its number in the set."""
    zero, width = torch.zeros((), dtype=torch.int64), math.prod(shape)
    rows = [draw(kind, words(seed, purpose), zero, 0, range(number, number + 1), width) for number in numbers]
    return torch.cat(rows).view(len(numbers), *shape)
