"""Philox 4x64-10 on any device: random numbers as a function of a key, counters, the row of a batch and the position.

Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3". A counter of four words and a key of two give a block
of four 64-bit numbers, used as eight of 32 bits. The counter's words are the block's number within the *global* batch
plus one, the images seen, the sub-update, and 0: neither a restart nor another number of workers changes the numbers
of a row. The images seen are read on the device, so a captured step draws new numbers at every replay.

On a CPU numpy's generator draws, which is this Philox, in C. On a GPU a Triton kernel draws (`philox_device`), or its
twin in plain torch where Triton does not work. Integers and uniforms are equal on all devices, bit for bit; normals are
equal on one kind of device, and up to rounding across kinds.
"""

import math
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gandist.distributed import kernels

MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
ROUNDS = 10
LOW = 0xFFFFFFFF
BLOCK = 8
"""32-bit numbers in a block. Each row begins with a new one."""
SKIPPED = 128
"""Up to this many blocks between two rows, numpy draws them faster than it skips them."""

DrawKind = Literal["bits", "uniform", "normal"]
Key = tuple[int, int]
DTYPES = {"bits": torch.int64, "uniform": torch.float32, "normal": torch.float32}


def draw(kind: DrawKind, key: Key, images_seen: Tensor, sub: int, rows: range, width: int) -> Tensor:
    """(len(rows), width) random numbers on the device of `images_seen`.

    Args:
        kind: "bits", int64 from 0 to 2^32 - 1; "uniform", float32 in [0, 1); "normal", float32, by Box and Muller
            (1958).
        key: two words of 64 bits, one key per purpose of a run.
        images_seen: a number, int64.
        sub: number of the sub-update.
        rows: rows of the global batch.
        width: numbers a row.
    """
    if not images_seen.is_cuda:
        numbers = _from_numpy(key, int(images_seen), sub, rows, blocks_of(width))
        return torch.from_numpy(_shaped(kind, numbers)[:, :width].copy())
    if not kernel_works():
        return twin(kind, key, images_seen, sub, rows, width)
    from gandist.distributed import philox_device

    out = torch.empty((len(rows), width), dtype=DTYPES[kind], device=images_seen.device)
    philox_device.draw(out, kind, key, images_seen, sub, rows)
    return out


def blocks_of(width: int) -> int:
    """Blocks in a row of `width` numbers."""
    return -(-width // BLOCK)


def _from_numpy(key: Key, images_seen: int, sub: int, rows: range, blocks: int) -> np.ndarray:
    """(len(rows), 8 blocks) uint32."""
    philox, at = np.random.Philox(key=np.array(key, np.uint64), counter=[0, images_seen, sub, 0]), 0

    def stretch(start: int, n: int) -> np.ndarray:
        nonlocal at
        philox.advance(start - at)
        at = start + n
        return philox.random_raw(n * BLOCK // 2).view(np.uint32)

    if not rows or not blocks:
        return np.empty((len(rows), blocks * BLOCK), np.uint32)
    if (rows.step - 1) * blocks > SKIPPED:
        return np.stack([stretch(row * blocks, blocks) for row in rows])
    whole = stretch(rows[0] * blocks, (rows[-1] + 1 - rows[0]) * blocks)
    return whole.reshape(-1, blocks * BLOCK)[:: rows.step]


def _shaped(kind: DrawKind, bits: np.ndarray) -> np.ndarray:
    if kind == "bits":
        return bits.astype(np.int64)
    if kind == "uniform":
        return (bits >> 8).astype(np.float32) * np.float32(2.0**-24)
    u = bits.astype(np.float32)
    radius = np.sqrt(-2 * np.log((u[:, ::2] + np.float32(0.5)) * np.float32(2.0**-32)))
    angle = u[:, 1::2] * np.float32(2.0**-32 * 2 * math.pi)
    np.multiply(radius, np.cos(angle), out=u[:, ::2])
    np.multiply(radius, np.sin(angle), out=u[:, 1::2])
    return u


@cache
def kernel_works() -> bool:
    """Whether Triton draws on a GPU here."""

    def probe() -> None:
        from gandist.distributed import philox_device

        zero = torch.zeros((), dtype=torch.int64, device="cuda")
        philox_device.draw(torch.empty((1, 1), dtype=torch.int64, device="cuda"), "bits", (0, 0), zero, 0, range(1))

    return kernels.works(probe, "random numbers are drawn more slowly")


def twin(kind: DrawKind, key: Key, images_seen: Tensor, sub: int, rows: range, width: int) -> Tensor:
    """`draw` in plain torch operations, on any device."""
    device, blocks = images_seen.device, blocks_of(width)
    row = torch.arange(rows.start, rows.stop, rows.step, device=device)[:, None]
    number = row * blocks + torch.arange(blocks, device=device) + 1
    zero = torch.zeros_like(number)
    four = torch.stack(block((number, zero + images_seen, zero + sub, zero), key), -1)
    words = torch.stack([four & LOW, four >> 32 & LOW], -1).flatten(1)
    if kind == "bits":
        numbers = words
    elif kind == "uniform":
        numbers = (words >> 8).float() * 2.0**-24
    else:
        u = words.float()
        radius = (-2 * ((u[:, ::2] + 0.5) * 2.0**-32).log()).sqrt()
        angle = u[:, 1::2] * (2.0**-32 * 2 * math.pi)
        numbers = torch.stack([radius * angle.cos(), radius * angle.sin()], -1).flatten(1)
    return numbers[:, :width].contiguous()


def block(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: Key) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four 64-bit numbers for each counter, in int64, which torch multiplies modulo 2^64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        (a_high, a_low), (b_high, b_low) = (_product(c, m) for c, m in zip((c0, c2), MULTIPLIERS, strict=True))
        c0, c1, c2, c3 = b_high ^ c1 ^ signed(k0), b_low, a_high ^ c3 ^ signed(k1), a_low
        k0, k1 = ((k + w) % 2**64 for k, w in zip((k0, k1), WEYL, strict=True))
    return c0, c1, c2, c3


def _product(a: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """The high and the low 64 bits of an unsigned product, by its parts of 32 bits."""
    a_high, a_low, m_high, m_low = a >> 32 & LOW, a & LOW, m >> 32, m & LOW
    low, mixed, other = a_low * m_low, a_low * m_high, a_high * m_low
    carried = (low >> 32 & LOW) + (mixed & LOW) + (other & LOW)
    return a_high * m_high + (mixed >> 32 & LOW) + (other >> 32 & LOW) + (carried >> 32), a * signed(m)


def signed(word: int) -> int:
    """The int64 with the bits of an unsigned word."""
    return word - 2**64 if word >= 2**63 else word
