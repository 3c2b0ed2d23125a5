"""Bilinear resampling by two: `up2` and `down2`, each the other's derivative.

The filter is [1, 2, 1] / 4 in each direction. `down2` applies it at every second pixel:
y[i] = (x[2i-1] + 2 x[2i] + x[2i+1]) / 4. `up2` is its adjoint times four (two in each direction), which is linear
interpolation: y[2i] = x[i], y[2i+1] = (x[i] + x[i+1]) / 2. So up2 = 4 down2^T, and each backpropagates by the other:
derivatives of every order, in either mode, are `up2` and `down2` again.

Images are padded with zeros, as in the convolutions around these layers: only zero padding makes the two adjoint.
(The adjoint of replicated padding counts border pixels more than once.) Constants stay constant except at the
border: `down2` gives 3/4 of them in the first row and column, `up2` 1/2 in the last ones.

On a GPU both are Triton kernels, which sum in float32 and write each pixel once (`gandist.gan.kernels`). Elsewhere
plain torch runs: `down2` as a depthwise convolution, `up2` as shifted sums. On one core, in channels_last, forward and
backward at (64, 64, 32, 32) take 2 to 3 ms in float32 and 1.6 in bfloat16. Sums for both take twice that; a transposed
convolution for `up2` takes the same in float32, but over 50 ms in bfloat16.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.gan.kernels import usable
from gandist.gan.networks.norms import layout
from gandist.gan.spectra import exactly


def up2(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2H, 2W), in x's dtype and memory format, under autocast too."""
    with exactly(x):
        y: Tensor = _Up.apply(x)  # type: ignore[no-untyped-call]
    return y


def down2(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H / 2, W / 2), in x's dtype and memory format, under autocast too. H and W are even."""
    with exactly(x):
        y: Tensor = _Down.apply(x)  # type: ignore[no-untyped-call]
    return y


def _up(x: Tensor) -> Tensor:
    if usable(x):
        from gandist.gan.kernels import device

        return device.up(x)
    y = F.interpolate(x, scale_factor=2.0)
    y[:, :, 1:-1:2].lerp_(y[:, :, 2::2], 0.5)
    y[:, :, -1] *= 0.5
    y[..., 1:-1:2].lerp_(y[..., 2::2], 0.5)
    y[..., -1] *= 0.5
    return y


def _down(x: Tensor) -> Tensor:
    if usable(x):
        from gandist.gan.kernels import device

        return device.down(x)
    # Filled on the device: a CUDA graph cannot capture a copy from the host.
    kernel = x.new_full((x.shape[1], 1, 3, 3), 1 / 16)
    kernel[:, :, 1] *= 2
    kernel[..., 1] *= 2
    return F.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _up(x)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        """Linear: no context to save."""

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        return 4 * down2(grad)

    @staticmethod
    def jvp(ctx: torch.autograd.function.FunctionCtx, tangent: Tensor) -> Tensor:
        return up2(tangent)


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _down(x)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        """Linear: no context to save."""

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        return up2(grad / 4)

    @staticmethod
    def jvp(ctx: torch.autograd.function.FunctionCtx, tangent: Tensor) -> Tensor:
        return down2(tangent)


def bilinear2(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2H, 2W) by torch's bilinear interpolation, which repeats the border.

    From sums: on a GPU gradients of `F.interpolate` are summed in random order, and a resumed run would differ.
    """
    memory_format = layout(x)
    for dim in (2, 3):
        n = x.shape[dim]
        before = torch.cat([x.narrow(dim, 0, 1), x.narrow(dim, 0, n - 1)], dim)
        after = torch.cat([x.narrow(dim, 1, n - 1), x.narrow(dim, n - 1, 1)], dim)
        x = torch.stack([before.lerp(x, 0.75), after.lerp(x, 0.75)], dim + 1).flatten(dim, dim + 1)
    return x.contiguous(memory_format=memory_format)


def reflected(x: Tensor, pixels: int) -> Tensor:
    """(N, C, H, W), padded by reflection on all sides; H and W exceed `pixels`. Its gradients are summed in a fixed
    order, unlike those of `F.pad` on a GPU."""
    memory_format = layout(x)
    for dim in (2, 3):
        n = x.shape[dim]
        before, after = x.narrow(dim, 1, pixels).flip(dim), x.narrow(dim, n - 1 - pixels, pixels).flip(dim)
        x = torch.cat([before, x, after], dim)
    return x.contiguous(memory_format=memory_format)
