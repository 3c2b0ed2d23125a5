"""Bias and leaky ReLU in one pass: y = leaky_relu(x + b[c]), differentiable to every order in either mode.

The function is piecewise linear, so two maps give all its derivatives. With a fixed gate y > 0, `_Gated` maps (x, b)
to x + b or slope (x + b), pixel by pixel. Its adjoint, `_Summed`, maps g to g or slope g, and to the channel sums of
that. Each is the other's backward derivative, and its own forward derivative. The gate is read from the result, so x
is not stored. At 0 the slope is that of the negative side, as in torch. `gated` is that map alone, for a given gate and
biases of each sample too.

A convolution that adds its own bias needs two passes; this needs one. The same pass that computes the gradient of x
also sums that of b. The plain-torch twin is for tests: off the GPU, torch's in-place operation is faster.
"""

import torch
from torch import Tensor

from gandist.gan.kernels import usable
from gandist.gan.networks.norms import at_least_float32, frame_by_frame

Context = torch.autograd.function.FunctionCtx


def bias_leaky_relu(x: Tensor, b: Tensor, slope: float) -> Tensor:
    """x: (N, C, H, W), b: (C,) -> (N, C, H, W), in x's dtype and memory format; computed in float32 or wider. Clips
    (N, C, F, H, W) give clips.

    Raises:
        ValueError: slope < 0; the result would no longer show the sign of x + b.
    """
    if slope < 0:
        raise ValueError(f"a leaky ReLU's slope is not negative, as {slope} is")

    def of_pictures(x: Tensor) -> Tensor:
        y: Tensor = _Gated.apply(x, b, None, slope)  # type: ignore[no-untyped-call]
        return y

    return frame_by_frame(of_pictures, x)


def gated(x: Tensor, b: Tensor | None, gate: Tensor | None, slope: float) -> Tensor:
    """x + b where gate > 0, else slope (x + b); without a gate, x + b is the gate. Without derivatives.

    x, gate: (N, C, H, W), b: (C,), or (N, C) for a bias of each sample -> (N, C, H, W), in x's dtype; or clips.
    """
    if x.dim() == 5:
        flat = None if gate is None else gate.flatten(2, 3)
        return frame_by_frame(lambda x: gated(x, b, flat, slope), x)
    if usable(x):
        from gandist.gan.kernels import device

        return device.gated(x, b, gate, slope)
    h = at_least_float32(x)
    if b is not None:
        h = h + b[..., None, None].to(h.dtype)
    sign = h if gate is None else gate.to(h.dtype)
    # One pass: slope h where sign <= 0. `torch.where` would need three.
    y: Tensor = torch.ops.aten.leaky_relu_backward(h, sign, slope, True)
    return y.to(x.dtype)


def _summed(x: Tensor, gate: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    if usable(x):
        from gandist.gan.kernels import device

        return device.summed(x, gate, slope)
    h = at_least_float32(x)
    h = torch.where(gate > 0, h, slope * h)
    return h.to(x.dtype), h.sum((0, 2, 3))


class _Gated(torch.autograd.Function):
    """(x, b or None, gate or None, slope) -> y. Without a gate, the sign of y is the gate."""

    @staticmethod
    def forward(x: Tensor, b: Tensor | None, gate: Tensor | None, slope: float) -> Tensor:
        return gated(x, b, gate, slope)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Tensor, Tensor | None, Tensor | None, float], output: Tensor) -> None:
        _, b, gate, slope = inputs
        _keep(ctx, output if gate is None else gate, slope)
        ctx.b_dtype = None if b is None else b.dtype  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: Context, g: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        gate, slope = _kept(ctx)
        if g is None:
            return None, None, None, None
        if ctx.needs_input_grad[1]:  # type: ignore[attr-defined]
            dx, db = _Summed.apply(g, gate, slope)  # type: ignore[no-untyped-call]
            return dx, db.to(ctx.b_dtype), None, None  # type: ignore[attr-defined]
        return _Gated.apply(g, None, gate, slope), None, None, None  # type: ignore[no-untyped-call]

    @staticmethod
    def jvp(ctx: Context, x: Tensor | None, b: Tensor | None, *_: object) -> Tensor:
        gate, slope = _kept(ctx)
        y: Tensor = _Gated.apply(_or_zeros(x, gate), b, gate, slope)  # type: ignore[no-untyped-call]
        return y


class _Summed(torch.autograd.Function):
    """(x, gate, slope) -> y (N, C, H, W) and its sums by channel (C,)."""

    @staticmethod
    def forward(x: Tensor, gate: Tensor, slope: float) -> tuple[Tensor, Tensor]:
        return _summed(x, gate, slope)

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Tensor, Tensor, float], output: tuple[Tensor, Tensor]) -> None:
        _keep(ctx, *inputs[1:])

    @staticmethod
    def backward(ctx: Context, g: Tensor | None, g_sums: Tensor | None) -> tuple[Tensor, None, None]:
        gate, slope = _kept(ctx)
        return _Gated.apply(_or_zeros(g, gate), g_sums, gate, slope), None, None  # type: ignore[no-untyped-call]

    @staticmethod
    def jvp(ctx: Context, x: Tensor | None, *_: object) -> tuple[Tensor, Tensor]:
        gate, slope = _kept(ctx)
        both: tuple[Tensor, Tensor] = _Summed.apply(_or_zeros(x, gate), gate, slope)  # type: ignore[no-untyped-call]
        return both


def _keep(ctx: Context, gate: Tensor, slope: float) -> None:
    ctx.save_for_backward(gate)
    ctx.save_for_forward(gate)
    ctx.slope = slope  # type: ignore[attr-defined]
    # The gradient of the sums is mostly absent, and b's tangent always: do not allocate zeros for them.
    ctx.set_materialize_grads(False)


def _kept(ctx: Context) -> tuple[Tensor, float]:
    """Detach the gate: its derivative is zero, and walking a graph behind it would be wasted work."""
    (gate,) = ctx.saved_tensors  # type: ignore[attr-defined]
    return gate.detach(), ctx.slope  # type: ignore[attr-defined]


def _or_zeros(x: Tensor | None, gate: Tensor) -> Tensor:
    return torch.zeros_like(gate) if x is None else x
