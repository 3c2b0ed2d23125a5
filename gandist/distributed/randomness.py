"""All random numbers of a run, drawn outside the step and keyed by their purpose.

A draw depends only on (seed, purpose, images_seen, sub-update) and the row of the *global* batch: neither a restart
nor another number of workers changes the noise of an image. Each rank draws its own rows and skips the others. A
counter-based generator skips cheaply, so a draw costs no more with more workers.
"""

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

from gandist.distributed.background import to_device

BLOCK = 8
"""32-bit numbers in a block: Philox 4x64 makes this many at a time, and `advance` skips as many."""
SKIPPED = 1024
"""Up to this many numbers between two rows, drawing is faster than skipping."""


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


def bits(philox: np.random.Philox, rows: range, width: int) -> np.ndarray:
    """Rows (N, width) uint32 of the stream from its current position, seen as a matrix with `width` columns."""
    at = 0

    def stretch(start: int, n: int) -> np.ndarray:
        nonlocal at
        first, before = divmod(start, BLOCK)
        blocks = -(-(before + n) // BLOCK)
        philox.advance(first - at)
        at = first + blocks
        return philox.random_raw(blocks * BLOCK // 2).view(np.uint32)[before : before + n]

    if (rows.step - 1) * width > SKIPPED:
        return np.stack([stretch(row * width, width) for row in rows])
    return stretch(rows[0] * width, (rows[-1] + 1 - rows[0]) * width).reshape(-1, width)[:: rows.step]


class Draws:
    """A run's keyed draws: this rank's rows, on its device."""

    def __init__(self, seed: int, device: torch.device, rank: int = 0, world_size: int = 1) -> None:
        self.seed, self.device = seed, device
        self.rank, self.world_size = rank, world_size

    def _bits(self, purpose: str, images_seen: int, sub: int, batch: int, width: int) -> np.ndarray:
        rows = range(batch)[split(batch, self.rank, self.world_size)]
        return bits(np.random.Philox(key=key(self.seed, purpose, images_seen, sub)), rows, width)

    def _sent(self, values: np.ndarray, *shape: int) -> Tensor:
        return to_device(torch.from_numpy(values.reshape(len(values), *shape)), self.device)

    def normal(self, purpose: str, images_seen: int, sub: int, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32; `shape` is (global batch, ...), the result holds this rank's rows.

        Uses Box and Muller (1958): two inputs make two outputs, so rows can be skipped.
        """
        batch, *each = shape
        pairs = -(-math.prod(each) // 2)
        u = self._bits(purpose, images_seen, sub, batch, 2 * pairs).astype(np.float32)
        u += 0.5  # above 0, up to 1
        u *= 2.0**-32
        radius, angle = np.sqrt(-2 * np.log(u[:, :pairs])), 2 * np.float32(np.pi) * u[:, pairs:]
        z = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return self._sent(z[:, : math.prod(each)], *each)

    def uniform(self, purpose: str, images_seen: int, sub: int, shape: tuple[int, ...]) -> Tensor:
        """Uniform float32 in [0, 1); `shape` is (global batch, ...), the result holds this rank's rows."""
        batch, *each = shape
        drawn = self._bits(purpose, images_seen, sub, batch, math.prod(each))
        return self._sent((drawn >> 8).astype(np.float32) * np.float32(2.0**-24), *each)

    def fixed_normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32 of this shape, equal on every rank and during the whole run."""
        return torch.from_numpy(philox(self.seed, purpose).standard_normal(shape, dtype=np.float32)).to(self.device)

    def numbers(self, purpose: str, images_seen: int, sub: int, batch: int, n: int) -> np.ndarray:
        """Uniform numbers below `n` (int64) for this rank's rows, on the CPU; the bias is at most n in 2^32."""
        drawn = self._bits(purpose, images_seen, sub, batch, 1)[:, 0]
        return (drawn.astype(np.uint64) * np.uint64(n) >> np.uint64(32)).astype(np.int64)

    def labels(self, purpose: str, images_seen: int, sub: int, batch: int, classes: int) -> Tensor:
        """Uniform class labels (int64) for this rank's rows."""
        return self._sent(self.numbers(purpose, images_seen, sub, batch, classes))
