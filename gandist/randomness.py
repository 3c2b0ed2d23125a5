"""Everything random in a run, drawn outside the step and keyed by what it is for.

A draw is a function of (seed, purpose, images_seen, sub-update) alone. It is made for the *global* batch, and
each rank takes its rows, so that neither a restart nor another number of workers changes the noise of an image.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor


def key(seed: int, purpose: str, images_seen: int = 0, sub: int = 0) -> int:
    """The 128-bit Philox key of a draw.

    A hash, not a counter: keys that count on by one batch would give successive batches overlapping noise.
    """
    text = f"{seed}/{purpose}/{images_seen}/{sub}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def philox(seed: int, purpose: str, images_seen: int = 0, sub: int = 0) -> np.random.Generator:
    """A generator positioned at the start of the keyed stream (Salmon et al. 2011, Philox)."""
    return np.random.Generator(np.random.Philox(key=key(seed, purpose, images_seen, sub)))


def split(rows: int, rank: int, world_size: int) -> slice:
    """The rows of a global batch that `rank` works on: every `world_size`-th."""
    return slice(rank, rows, world_size)


class Draws:
    """Keyed draws of a run, as this rank's rows on its device."""

    def __init__(self, seed: int, device: torch.device, rank: int = 0, world_size: int = 1) -> None:
        self.seed, self.device = seed, device
        self.rank, self.world_size = rank, world_size

    def _rows(self, values: np.ndarray) -> Tensor:
        mine = values[split(len(values), self.rank, self.world_size)]
        return torch.from_numpy(np.ascontiguousarray(mine)).to(self.device, non_blocking=True)

    def normal(self, purpose: str, images_seen: int, sub: int, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32; `shape` is (global batch, ...), the result holds this rank's rows."""
        generator = philox(self.seed, purpose, images_seen, sub)
        return self._rows(generator.standard_normal(shape, dtype=np.float32))

    def uniform(self, purpose: str, images_seen: int, sub: int, shape: tuple[int, ...]) -> Tensor:
        """Uniform float32 in [0, 1); `shape` is (global batch, ...), the result holds this rank's rows."""
        return self._rows(philox(self.seed, purpose, images_seen, sub).random(shape, dtype=np.float32))

    def fixed_normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32 of this shape on every rank alike, the same during the whole run."""
        return torch.from_numpy(philox(self.seed, purpose).standard_normal(shape, dtype=np.float32)).to(self.device)

    def numbers(self, purpose: str, images_seen: int, sub: int, batch: int, n: int) -> np.ndarray:
        """Uniform numbers below `n` (int64) for this rank's rows, on the CPU."""
        drawn = philox(self.seed, purpose, images_seen, sub).integers(n, size=batch)
        return drawn[split(batch, self.rank, self.world_size)]

    def labels(self, purpose: str, images_seen: int, sub: int, batch: int, classes: int) -> Tensor:
        """Uniform class labels (int64) for this rank's rows."""
        mine = self.numbers(purpose, images_seen, sub, batch, classes)
        return torch.from_numpy(np.ascontiguousarray(mine)).to(self.device, non_blocking=True)
