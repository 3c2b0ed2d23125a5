"""Philox 4x64-10 as a Triton kernel. Imports Triton: `gandist.distributed.philox.draw` imports it only on a GPU."""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCKS = 128
"""Blocks of eight numbers per program."""
KINDS = {"bits": 0, "uniform": 1, "normal": 2}
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}


@triton.jit
def pair(word, at, inside, column, width, KIND: tl.constexpr):
    """Store two numbers from the halves of a 64-bit word, the lower half first."""
    a, b = (word & 0xFFFFFFFF).to(tl.uint32), (word >> 32).to(tl.uint32)
    if KIND == 0:
        x, y = a.to(tl.int64), b.to(tl.int64)
    elif KIND == 1:
        x, y = (a >> 8).to(tl.float32) * 5.9604644775390625e-08, (b >> 8).to(tl.float32) * 5.9604644775390625e-08
    else:
        radius = tl.sqrt(-2 * tl.log((a.to(tl.float32) + 0.5) * 2.3283064365386963e-10))
        angle = b.to(tl.float32) * 1.4629180792671596e-09
        x, y = radius * tl.cos(angle), radius * tl.sin(angle)
    tl.store(at + column, x, inside & (column < width))
    tl.store(at + column + 1, y, inside & (column + 1 < width))


@triton.jit(do_not_specialize=["key_0", "key_1", "sub"])
def philox_kernel(
    out, images_seen, key_0, key_1, sub, first, step, n_rows, width, n_blocks, KIND: tl.constexpr, BLOCKS: tl.constexpr
):
    g = tl.program_id(0).to(tl.int64) * BLOCKS + tl.arange(0, BLOCKS)
    row, block = g // n_blocks, g % n_blocks
    zero = tl.zeros([BLOCKS], tl.uint64)
    c0 = ((first + row * step) * n_blocks + block + 1).to(tl.uint64)
    c1, c2, c3 = zero + tl.load(images_seen).to(tl.uint64), zero + sub.to(tl.uint64), zero
    k0, k1 = zero + key_0.to(tl.uint64), zero + key_1.to(tl.uint64)
    m0, m1 = zero + 0xD2E7470EE14C6C93, zero + 0xCA5A826395121157
    for _ in tl.static_range(10):
        a_high, a_low = tl.umulhi(m0, c0), m0 * c0
        b_high, b_low = tl.umulhi(m1, c2), m1 * c2
        c0, c1, c2, c3 = b_high ^ c1 ^ k0, b_low, a_high ^ c3 ^ k1, a_low
        k0, k1 = k0 + 0x9E3779B97F4A7C15, k1 + 0xBB67AE8584CAA73B
    at, column, inside = out + row * width, 8 * block, row < n_rows
    pair(c0, at, inside, column, width, KIND)
    pair(c1, at, inside, column + 2, width, KIND)
    pair(c2, at, inside, column + 4, width, KIND)
    pair(c3, at, inside, column + 6, width, KIND)


def draw(out: Tensor, kind: str, key: tuple[int, int], images_seen: Tensor, sub: int, rows: range) -> None:
    """Fill the contiguous `out` (len(rows), width) as `gandist.distributed.philox.draw` does."""
    n_rows, width = out.shape
    n_blocks = triton.cdiv(width, 8)
    # Triton takes integers from 2^63 on as another type, and would compile again for them.
    key_0, key_1 = (word - 2**64 if word >= 2**63 else word for word in key)
    if n_rows * n_blocks == 0:
        return
    with torch.cuda.device_of(out):
        philox_kernel[triton.cdiv(n_rows * n_blocks, BLOCKS),](
            out, images_seen, key_0, key_1, sub, rows.start, rows.step, n_rows, width, n_blocks,
            KIND=KINDS[kind], BLOCKS=BLOCKS, **OPTIONS,
        )  # fmt: skip
