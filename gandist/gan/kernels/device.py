"""Kernels for the device. Imports Triton: check `gandist.gan.kernels.usable` before importing this module.

All kernels walk over tiles of ROWS x COLS elements. In channels_last, a row is a pixel and its columns are channels; in
NCHW, a row is a row of pixels and its columns are pixels. Tensors are read by their strides, in any layout, expanded
ones included. Sums use float32 (float64 for float64) in a fixed order, so results repeat bit for bit.

Tiles have a fixed size. Tuning is impossible while a CUDA graph is captured, and would gain little: with some hundred
bytes in flight per thread, these kernels are bound by memory. 1024 elements over 128 threads are 8 each: in bfloat16,
the 16 bytes that one instruction loads.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 1024
"""Elements of a tile."""
OPTIONS = {"num_warps": 4, "enable_fp_fusion": False}
"""Products are rounded before they are added, as torch rounds them; Triton's default differs between versions."""
STEPS = 8
"""Stacked tiles that a program sums in channels_last. A larger value gives 4x4 images too few programs."""


@triton.jit
def places(step, N, C, H, W, LAST: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr):
    """(n, c, h, w) in the step-th tile of (N, C, H, W), as [ROWS, 1] or [1, COLS], and the mask of valid ones."""
    r = (step * ROWS + tl.arange(0, ROWS))[:, None]
    k = (tl.program_id(1) * COLS + tl.arange(0, COLS))[None, :]
    if LAST:
        n, c, h, w = r // (H * W), k, r // W % H, r % W
        inside = (r < N * H * W) & (k < C)
    else:
        n, c, h, w = r // (C * H), r // H % C, r % H, k
        inside = (r < N * C * H) & (k < W)
    # Offsets may exceed 2^31.
    return n.to(tl.int64), c.to(tl.int64), h.to(tl.int64), w.to(tl.int64), inside


@triton.jit
def up_kernel(
    x, y, N, C, H, W, xn, xc, xh, xw, yn, yc, yh, yw,
    T: tl.constexpr, LAST: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Each pixel of x with its right and lower neighbours makes four pixels of y; H and W are x's."""
    n, c, h, w, inside = places(tl.program_id(0), N, C, H, W, LAST, ROWS, COLS)
    right, below = inside & (w + 1 < W), inside & (h + 1 < H)
    at = x + n * xn + c * xc + h * xh + w * xw
    x00 = tl.load(at, inside, other=0).to(T)
    x01 = tl.load(at + xw, right, other=0).to(T)
    x10 = tl.load(at + xh, below, other=0).to(T)
    x11 = tl.load(at + xh + xw, right & below, other=0).to(T)
    to = y + n * yn + c * yc + 2 * h * yh + 2 * w * yw
    tl.store(to, x00, inside)
    tl.store(to + yw, (x00 + x01) * 0.5, inside)
    tl.store(to + yh, (x00 + x10) * 0.5, inside)
    tl.store(to + yh + yw, ((x00 + x01) + (x10 + x11)) * 0.25, inside)


@triton.jit
def down_kernel(
    x, y, N, C, H, W, xn, xc, xh, xw, yn, yc, yh, yw, H_in, W_in,
    T: tl.constexpr, LAST: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """H and W are y's."""
    n, c, h, w, inside = places(tl.program_id(0), N, C, H, W, LAST, ROWS, COLS)
    total = tl.zeros([ROWS, COLS], T)
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            p, q = 2 * h + (i - 1), 2 * w + (j - 1)
            there = inside & (p >= 0) & (p < H_in) & (q >= 0) & (q < W_in)
            value = tl.load(x + n * xn + c * xc + p * xh + q * xw, there, other=0)
            total += value.to(T) * ((1 + i % 2) * (1 + j % 2) / 16)
    tl.store(y + n * yn + c * yc + h * yh + w * yw, total, inside)


@triton.jit
def gated_kernel(
    x, b, gate, y, N, C, H, W, xn, xc, xh, xw, bn, bc, gn, gc, gh, gw, yn, yc, yh, yw,
    BY_SAMPLE: tl.constexpr, SLOPE: tl.constexpr, T: tl.constexpr,
    LAST: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """y = x + b where gate > 0, else SLOPE (x + b). Without b, y = x or SLOPE x; without a gate, x + b is the gate."""
    n, c, h, w, inside = places(tl.program_id(0), N, C, H, W, LAST, ROWS, COLS)
    value = tl.load(x + n * xn + c * xc + h * xh + w * xw, inside, other=0).to(T)
    if BY_SAMPLE:
        value += tl.load(b + n * bn + c * bc, inside, other=0).to(T)
    elif b is not None:
        value += tl.load(b + c * bc, c < C, other=0).to(T)
    if gate is not None:
        positive = tl.load(gate + n * gn + c * gc + h * gh + w * gw, inside, other=0).to(T) > 0
    else:
        positive = value > 0
    tl.store(y + n * yn + c * yc + h * yh + w * yw, tl.where(positive, value, value * SLOPE), inside)


@triton.jit
def summed_kernel(
    x, gate, y, sums, N, C, H, W, xn, xc, xh, xw, gn, gc, gh, gw, yn, yc, yh, yw,
    SLOPE: tl.constexpr, T: tl.constexpr, STEPS: tl.constexpr,
    LAST: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """y = x where gate > 0, else SLOPE x; the sums are of y before rounding.

    In channels_last each program sums STEPS tiles down their columns, to sums (programs, C). In NCHW each program sums
    one tile along its rows, to sums (N C H, tiles in a row).
    """
    step = tl.program_id(0) * STEPS
    total = tl.zeros([ROWS, COLS], T)
    for k in range(STEPS):
        n, c, h, w, inside = places(step + k, N, C, H, W, LAST, ROWS, COLS)
        value = tl.load(x + n * xn + c * xc + h * xh + w * xw, inside, other=0).to(T)
        positive = tl.load(gate + n * gn + c * gc + h * gh + w * gw, inside, other=0).to(T) > 0
        value = tl.where(positive, value, value * SLOPE)
        tl.store(y + n * yn + c * yc + h * yh + w * yw, value, inside)
        total += value
    if LAST:
        c = tl.program_id(1) * COLS + tl.arange(0, COLS)
        tl.store(sums + tl.program_id(0).to(tl.int64) * C + c, tl.sum(total, 0), c < C)
    else:
        r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        at = sums + r.to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
        tl.store(at, tl.sum(total, 1), r < N * C * H)


def up(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2H, 2W): `gandist.gan.networks.resample.up2`."""
    N, C, H, W = x.shape
    last = channels_last(x)
    y = empty(x, (N, C, 2 * H, 2 * W), last)
    launch(up_kernel, x.shape, last, x, y, *x.shape, *x.stride(), *y.stride(), T=accumulator(x))
    return y


def down(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H / 2, W / 2): `gandist.gan.networks.resample.down2`."""
    N, C, H, W = x.shape
    last = channels_last(x)
    y = empty(x, (N, C, (H + 1) // 2, (W + 1) // 2), last)
    launch(down_kernel, y.shape, last, x, y, *y.shape, *x.stride(), *y.stride(), H, W, T=accumulator(x))
    return y


def gated(x: Tensor, b: Tensor | None, gate: Tensor | None, slope: float) -> Tensor:
    """x + b where gate > 0, else slope (x + b), (N, C, H, W), b: (C,) or (N, C); without a gate, x + b is the gate."""
    like = x if gate is None else gate
    last = channels_last(like)
    y = empty(x, x.shape, last)
    by_sample = b is not None and b.dim() == 2
    bias_strides = (0, 0) if b is None else b.stride() if by_sample else (0, *b.stride())
    gate_strides = (0,) * 4 if gate is None else gate.stride()
    launch(
        gated_kernel, x.shape, last, x, b, gate, y, *x.shape, *x.stride(), *bias_strides, *gate_strides, *y.stride(),
        BY_SAMPLE=by_sample, SLOPE=slope, T=accumulator(x),
    )  # fmt: skip
    return y


def summed(x: Tensor, gate: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    """`gated(x, None, gate, slope)` (N, C, H, W) and its sums by channel (C,), float32 or float64."""
    N, C, H, _ = x.shape
    last = channels_last(gate)
    y = empty(x, x.shape, last)
    steps = STEPS if last else 1
    programs, across = grid(x.shape, last, steps)
    like = torch.float64 if x.dtype == torch.float64 else torch.float32
    sums = torch.empty((programs, C) if last else (N, C, H * across), dtype=like, device=x.device)
    launch(
        summed_kernel, x.shape, last, x, gate, y, sums, *x.shape, *x.stride(), *gate.stride(), *y.stride(),
        steps=steps, SLOPE=slope, T=accumulator(x), STEPS=steps,
    )  # fmt: skip
    return y, sums.sum(0) if last else sums.sum((0, 2))


def channels_last(x: Tensor) -> bool:
    """Whether torch sees channels_last in the strides: also for slices; not for C = 1, where the layouts coincide."""
    return 0 < x.stride(1) < x.stride(3)


def empty(x: Tensor, shape: tuple[int, ...], last: bool) -> Tensor:
    memory_format = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)


def accumulator(x: Tensor) -> tl.dtype:
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def tile(columns: int) -> tuple[int, int]:
    """Rows and columns of a tile: 32 to 128 columns if that divides evenly, else enough for all, at most 128."""
    k = math.gcd(columns, 128)
    if k < 32:
        k = min(triton.next_power_of_2(columns), 128)
    return TILE // k, k


def grid(shape: tuple[int, ...], last: bool, steps: int) -> tuple[int, int]:
    """Programs down and across (N, C, H, W), each with `steps` stacked tiles."""
    N, C, H, W = shape
    rows, columns = (N * H * W, C) if last else (N * C * H, W)
    ROWS, COLS = tile(columns)
    return triton.cdiv(rows, ROWS * steps), triton.cdiv(columns, COLS)


def launch(kernel, shape: tuple[int, ...], last: bool, *arguments, steps: int = 1, **constants) -> None:
    """Run a kernel over the tiles of (N, C, H, W); no launch if it is empty. The first argument is on the device."""
    if 0 in shape:
        return
    ROWS, COLS = tile(shape[1] if last else shape[3])
    with torch.cuda.device_of(arguments[0]):  # Triton launches on the current device
        kernel[grid(shape, last, steps)](*arguments, **constants, LAST=last, ROWS=ROWS, COLS=COLS, **OPTIONS)


def probe(device: str) -> None:
    """Run a kernel.

    Raises:
        Exception: any error of Triton or of a missing part.
    """
    up(torch.zeros(1, 1, 1, 1, device=device))
