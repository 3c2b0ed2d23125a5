"""Bias and leaky ReLU as one function: torch's own values, and derivatives of every order in either mode."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.gan.networks.activation import bias_leaky_relu, gated

# The first forward-mode derivative of a process imports parts of torch that use its own deprecated jit.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")


def fused(x: Tensor, b: Tensor) -> Tensor:
    return bias_leaky_relu(x, b, 0.2)


def plain(x: Tensor, b: Tensor) -> Tensor:
    return F.leaky_relu(x + b[:, None, None], 0.2)


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 4, 2, dtype=dtype).requires_grad_(), torch.randn(3, dtype=dtype).requires_grad_()


def test_is_torchs_own() -> None:
    x, b = inputs(torch.float32)
    assert torch.equal(fused(x, b), plain(x, b))
    g = torch.randn_like(x)
    for ours, torchs in zip(
        torch.autograd.grad(fused(x, b), (x, b), g), torch.autograd.grad(plain(x, b), (x, b), g), strict=True
    ):
        torch.testing.assert_close(ours, torchs)


def test_derivatives_in_float64() -> None:
    x, b = inputs()
    assert torch.autograd.gradcheck(fused, (x, b), check_forward_ad=True)
    # Piecewise linear: squared, so that there is a second derivative to check.
    assert torch.autograd.gradgradcheck(lambda x, b: fused(x, b).square(), (x, b), check_fwd_over_rev=True)
    for which in (0, 1):
        one = [t.detach() for t in (x, b)]
        one[which].requires_grad_()
        assert torch.autograd.gradgradcheck(lambda x, b: fused(x, b).pow(3), one)


def test_forward_mode_then_backward() -> None:
    """What gradient penalties do: the tangent differentiated, in x, b, and the directions."""
    x, b = inputs()
    dx, db = torch.randn_like(x).requires_grad_(), torch.randn_like(b).requires_grad_()

    def found(f: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        both = torch.func.jvp(f, (x, b), (dx, db))
        along_x = torch.func.jvp(lambda x: f(x, b), (x,), (dx,))
        along_b = torch.func.jvp(lambda b: f(x, b), (b,), (db,))
        values = [*both, *along_x, *along_b]
        loss = torch.stack([values[0] * tangent for tangent in values[1::2]]).square().sum()
        return [*values, *torch.autograd.grad(loss, (x, b, dx, db))]

    torch.testing.assert_close(found(fused), found(plain))


def test_at_zero_the_slope_is_torchs() -> None:
    x = torch.tensor([0.0, -0.0, 1.0, -1.0]).view(1, 1, 2, 2).requires_grad_()
    b = torch.tensor([-1.0]).requires_grad_()
    for shift in (torch.zeros(1, requires_grad=True), b):
        ours, torchs = (torch.autograd.grad(f(x, shift).sum(), (x, shift)) for f in (fused, plain))
        assert torch.equal(ours[0], torchs[0])
        torch.testing.assert_close(ours[1], torchs[1])
        assert float(ours[0].flatten()[0]) == pytest.approx(0.2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_precision_and_layout_stay(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    """Those of x, whatever the bias has: under autocast a float32 parameter."""
    x = torch.randn(2, 6, 4, 4).to(dtype).contiguous(memory_format=memory_format).requires_grad_()
    b = torch.randn(6).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = fused(x, b)
    dx, db = torch.autograd.grad(y, (x, b), y.detach())
    assert (y.dtype, dx.dtype, db.dtype) == (dtype, dtype, torch.float32)
    for t in (y, dx):
        assert t.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(y, plain(x.double(), b.double()).to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_a_negative_slope_is_refused() -> None:
    with pytest.raises(ValueError, match="not negative, as -1 is"):
        bias_leaky_relu(torch.zeros(1, 1, 1, 1), torch.zeros(1), -1)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last_3d])
def test_clips_are_pictures_whose_frames_lie_one_below_the_other(order: torch.memory_format) -> None:
    x, gate = (torch.randn(2, 6, 3, 4, 5).contiguous(memory_format=order) for _ in range(2))
    b, flat = torch.randn(6, requires_grad=True), x.flatten(2, 3)
    for ours, theirs in (
        (fused(x, b), fused(flat, b)),
        (gated(x, None, gate, 0.2), gated(flat, None, gate.flatten(2, 3), 0.2)),
        (gated(x, b, None, 0.2), gated(flat, b, None, 0.2)),
    ):
        assert torch.equal(ours.flatten(2, 3), theirs)
        assert ours.is_contiguous(memory_format=order)
