"""Philox 4x32-10 as a Triton kernel. Imports Triton: `gandist.distributed.philox.draw` imports it only on a GPU."""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCKS = 256
"""Blocks of four numbers per program."""
KINDS = {"bits": 0, "uniform": 1, "normal": 2}
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}


@triton.jit
def normals(a, b):
    """Box and Muller: two 32-bit numbers -> two normal ones."""
    radius = tl.sqrt(-2 * tl.log((a.to(tl.float32) + 0.5) * 2.3283064365386963e-10))
    angle = b.to(tl.float32) * 1.4629180792671596e-09
    return radius * tl.cos(angle), radius * tl.sin(angle)


@triton.jit(do_not_specialize=["key_0", "key_1"])
def philox_kernel(
    out, images_seen, key_0, key_1, sub, first, step, n_rows, width, n_blocks, KIND: tl.constexpr, BLOCKS: tl.constexpr
):
    g = tl.program_id(0).to(tl.int64) * BLOCKS + tl.arange(0, BLOCKS)
    row, block = g // n_blocks, g % n_blocks
    seen = tl.load(images_seen)
    zero = tl.zeros([BLOCKS], tl.uint32)
    c0, c1 = block.to(tl.uint32), (first + row * step).to(tl.uint32)
    c2 = zero + (seen & 0xFFFFFFFF).to(tl.uint32)
    c3 = zero + (((seen >> 32) << 16) | sub).to(tl.uint32)
    k0, k1 = zero + key_0.to(tl.uint32), zero + key_1.to(tl.uint32)
    m0, m1 = zero + 0xD2511F53, zero + 0xCD9E8D57
    for _ in tl.static_range(10):
        a_high, a_low = tl.umulhi(m0, c0), m0 * c0
        b_high, b_low = tl.umulhi(m1, c2), m1 * c2
        c0, c1, c2, c3 = b_high ^ c1 ^ k0, b_low, a_high ^ c3 ^ k1, a_low
        k0, k1 = k0 + 0x9E3779B9, k1 + 0xBB67AE85
    at, column = out + row * width + 4 * block, 4 * block
    if KIND == 0:
        x0, x1, x2, x3 = c0.to(tl.int64), c1.to(tl.int64), c2.to(tl.int64), c3.to(tl.int64)
    elif KIND == 1:
        x0, x1 = (c0 >> 8).to(tl.float32) * 5.9604644775390625e-08, (c1 >> 8).to(tl.float32) * 5.9604644775390625e-08
        x2, x3 = (c2 >> 8).to(tl.float32) * 5.9604644775390625e-08, (c3 >> 8).to(tl.float32) * 5.9604644775390625e-08
    else:
        x0, x1 = normals(c0, c1)
        x2, x3 = normals(c2, c3)
    inside = row < n_rows
    tl.store(at, x0, inside & (column < width))
    tl.store(at + 1, x1, inside & (column + 1 < width))
    tl.store(at + 2, x2, inside & (column + 2 < width))
    tl.store(at + 3, x3, inside & (column + 3 < width))


def draw(out: Tensor, kind: str, key: tuple[int, int], images_seen: Tensor, sub: int, rows: range) -> None:
    """Fill the contiguous `out` (len(rows), width) as `gandist.distributed.philox.draw` does."""
    n_rows, width = out.shape
    n_blocks = triton.cdiv(width, 4)
    if n_rows * n_blocks == 0:
        return
    # As signed words: Triton takes an integer past 2^31 as 64 bits, and would compile again for it.
    key_0, key_1 = (word - (1 << 32) if word >= 1 << 31 else word for word in key)
    with torch.cuda.device_of(out):
        philox_kernel[triton.cdiv(n_rows * n_blocks, BLOCKS),](
            out, images_seen, key_0, key_1, sub, rows.start, rows.step, n_rows, width, n_blocks,
            KIND=KINDS[kind], BLOCKS=BLOCKS, **OPTIONS,
        )  # fmt: skip
