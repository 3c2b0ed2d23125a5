"""Philox 4x32-10 on any device: random numbers as a function of a key, counters, the row of a batch and the position.

Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3". A counter of four words and a key of two give a block
of four 32-bit numbers. The counter's words are the block's number within its row, the row of the *global* batch, the
images seen, and the sub-update: neither a restart nor another number of workers changes the numbers of a row. The
images seen are read on the device, so a captured step draws new numbers at every replay.

On a GPU a Triton kernel draws (`philox_device`), elsewhere its twin in plain torch. Integers and uniforms are equal on
all devices, bit for bit; normals are equal on one kind of device, and up to rounding across kinds.

Runs still draw with `gandist.distributed.randomness`: other numbers would change them.
"""

from typing import Literal

import torch
from torch import Tensor

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
MASK = 0xFFFFFFFF
SUB_BITS = 16
"""Bits of the fourth word for the sub-update; its other bits extend the images seen beyond 2^32."""

DrawKind = Literal["bits", "uniform", "normal"]
DTYPES = {"bits": torch.int64, "uniform": torch.float32, "normal": torch.float32}


def block(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four 32-bit numbers for each counter: int64 below 2^32, which torch multiplies modulo 2^64.

    Args:
        counter: four words, of shapes that broadcast.
        key: two words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        a, b = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (b >> 32 & MASK) ^ c1 ^ k0, b & MASK, (a >> 32 & MASK) ^ c3 ^ k1, a & MASK
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


def draw(kind: DrawKind, key: int, images_seen: Tensor, sub: int, rows: range, width: int) -> Tensor:
    """(len(rows), width) random numbers on the device of `images_seen`.

    Args:
        kind: "bits", int64 from 0 to 2^32 - 1; "uniform", float32 in [0, 1); "normal", float32, by Box and Muller
            (1958).
        key: 64 bits, one key per purpose of a run.
        images_seen: a number, int64, below 2^48.
        sub: number of the sub-update, below 2^16.
        rows: rows of the global batch.
        width: numbers a row.

    Raises:
        ValueError: `sub` has too many bits for the counter.
    """
    if not 0 <= sub < 1 << SUB_BITS:
        raise ValueError(f"sub-update {sub}: the counter holds numbers from 0 to {(1 << SUB_BITS) - 1}")
    words = key & MASK, key >> 32 & MASK
    if images_seen.is_cuda:
        from gandist.distributed import philox_device

        out = torch.empty((len(rows), width), dtype=DTYPES[kind], device=images_seen.device)
        philox_device.draw(out, kind, words, images_seen, sub, rows)
        return out
    return twin(kind, words, images_seen, sub, rows, width)


def twin(kind: DrawKind, key: tuple[int, int], images_seen: Tensor, sub: int, rows: range, width: int) -> Tensor:
    """`draw` in plain torch operations, on any device."""
    device = images_seen.device
    row = torch.arange(rows.start, rows.stop, rows.step, device=device)[:, None]
    blocks = torch.arange(-(-width // 4), device=device)[None, :]
    high = (images_seen >> 32) << SUB_BITS | sub
    four = block((blocks, row, images_seen & MASK, high & MASK), key)
    if kind == "bits":
        numbers = torch.stack(four, -1)
    elif kind == "uniform":
        numbers = (torch.stack(four, -1) >> 8).float() * 2.0**-24
    else:
        numbers = torch.stack([*_normals(four[0], four[1]), *_normals(four[2], four[3])], -1)
    return numbers.flatten(1)[:, :width].contiguous()


def _normals(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    radius = (-2 * ((a.float() + 0.5) * 2.0**-32).log()).sqrt()
    angle = b.float() * (2.0**-32 * 2 * torch.pi)
    return radius * angle.cos(), radius * angle.sin()
