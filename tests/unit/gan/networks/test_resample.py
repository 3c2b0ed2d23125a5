"""Resampling by two: the stencil of the text, the exact adjoint, derivatives of every kind, dtypes and layouts."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.gan.networks.resample import bilinear2, down2, reflected, up2

# The first forward-mode derivative of a process imports parts of torch that use its own deprecated jit.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")

Resampling = Callable[[Tensor], Tensor]
BOTH = pytest.mark.parametrize("resample", [up2, down2])


def matrix(resample: Resampling, height: int, width: int) -> Tensor:
    """The linear map on images (height, width) as a matrix (outputs, inputs), float64."""
    basis = torch.eye(height * width, dtype=torch.float64).view(-1, 1, height, width)
    return resample(basis).flatten(1).T


def test_the_stencil() -> None:
    row = torch.tensor([8.0, 16.0, 0.0, 4.0])
    image = row.expand(1, 1, 4, 4)
    across = down2(image)[0, 0]
    torch.testing.assert_close(across[1], torch.tensor([8.0, (16 + 0 + 4) / 4]), rtol=0, atol=0)
    torch.testing.assert_close(across[0], 0.75 * across[1], rtol=0, atol=0)
    across = up2(image)[0, 0]
    torch.testing.assert_close(across[0], torch.tensor([8.0, 12.0, 16.0, 8.0, 0.0, 2.0, 4.0, 2.0]), rtol=0, atol=0)
    torch.testing.assert_close(across[-1], 0.5 * across[0], rtol=0, atol=0)


@BOTH
def test_both_directions_are_alike(resample: Resampling) -> None:
    x = torch.randn(2, 3, 6, 8)
    torch.testing.assert_close(resample(x).mT, resample(x.mT))


def test_up_is_four_times_the_adjoint_of_down() -> None:
    assert torch.equal(matrix(up2, 3, 5), 4 * matrix(down2, 6, 10).T)


def test_constants_stay_constant_but_at_the_border() -> None:
    ones = torch.ones(1, 2, 8, 8)
    down, up = down2(ones), up2(ones)
    assert bool((down[:, :, 1:, 1:] == 1).all())
    assert bool((down[:, :, 0, 1:] == 0.75).all())
    assert float(down[0, 0, 0, 0]) == 0.75**2
    assert bool((up[:, :, :-1, :-1] == 1).all())
    assert bool((up[:, :, -1, :-1] == 0.5).all())
    assert float(up[0, 0, -1, -1]) == 0.25


@pytest.mark.slow
@BOTH
def test_derivatives_in_float64(resample: Resampling) -> None:
    x = torch.randn(1, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(resample, x, check_forward_ad=True)
    # The map is linear: squared, so that there is a second derivative to check.
    assert torch.autograd.gradgradcheck(lambda x: resample(x).square(), x, check_fwd_over_rev=True)


@BOTH
def test_under_torch_func(resample: Resampling) -> None:
    x = torch.randn(2, 3, 4, 6)
    y, tangent = torch.func.jvp(resample, (x,), (2 * x,))[:2]
    assert torch.equal(y, resample(x))
    assert torch.equal(tangent, resample(2 * x))
    pullback = torch.func.vjp(resample, x)[1]
    (back,) = pullback(y)
    torch.testing.assert_close((back * x).sum(), y.square().sum())


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_precision_and_layout_stay(
    resample: Resampling, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    x = torch.randn(2, 6, 8, 8).to(dtype).contiguous(memory_format=memory_format).requires_grad_()
    expected = resample(x.detach().double())
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = resample(x)
            (grad,) = torch.autograd.grad(y, x, y.detach())
        assert y.dtype == grad.dtype == dtype
        assert y.is_contiguous(memory_format=memory_format)
        assert grad.is_contiguous(memory_format=memory_format)
        # Two roundings to the dtype, one for each direction.
        torch.testing.assert_close(y.detach().double(), expected, rtol=0, atol=4 * torch.finfo(dtype).eps)


@BOTH
def test_shapes_are_told_on_the_meta_device(resample: Resampling) -> None:
    x = torch.randn(2, 6, 8, 8)
    assert resample(x.to("meta")).shape == resample(x).shape


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 2, 5, 2)])
def test_bilinear2_and_reflected_are_torchs(shape: tuple[int, ...]) -> None:
    """Gradients too, in both memory formats."""
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(shape, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
        for ours, theirs in (
            (bilinear2(x), F.interpolate(x, scale_factor=2.0, mode="bilinear")),
            (reflected(x, 1), F.pad(x, (1, 1, 1, 1), mode="reflect")),
        ):
            torch.testing.assert_close(ours, theirs)
            assert ours.is_contiguous(memory_format=memory_format)
            weights = torch.randn_like(theirs)
            gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, theirs)]
            torch.testing.assert_close(*gradients)
