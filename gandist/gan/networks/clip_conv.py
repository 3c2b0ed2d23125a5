"""Convolutions that halve clips and transposed ones that double them, by what is fast for few channels.

A kernel of 4 with stride 2 is one of 2 with stride 1 on pixels taken two by two as channels (Shi et al. 2016,
arXiv:1609.05158, which does it the other way round). The sums are the same, so the results agree to rounding. torch is
slow where a clip of few channels is made, or the gradient of one of one channel: on one core, for 32 clips of 8 frames
of 32 pixels at width 16, the last layer of G takes 3 ms instead of 13, and both passes of D's first layer 8 instead of
18.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW = 4
"""Channels made up to which a transposed convolution is faster so; a convolution is for one alone."""


def _kernel(times: int) -> tuple[tuple[int, int, int], tuple[int, int, int], int]:
    """Kernel, stride and padding for `times` as many or as few frames, and twice the height and width or half."""
    return ((4, 4, 4), (2, 2, 2), 1) if times == 2 else ((3, 4, 4), (1, 2, 2), 1)


class Halving(nn.Conv3d):
    """(N, before, F, H, W) -> (N, after, F / times, H / 2, W / 2), with kernels of 4 where it halves, 3 elsewhere."""

    def __init__(self, before: int, after: int, times: int, bias: bool) -> None:
        super().__init__(before, after, *_kernel(times), bias=bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.in_channels > 1:
            found: Tensor = super()._conv_forward(input, weight, bias)
            return found
        x = F.pad(input, (1, 1) * 3)
        if self.stride[0] == 2:
            return F.conv3d(_by_eights(x), _by_eights(weight), bias)
        return F.conv3d(_by_fours(x), _by_fours(weight), bias)


def _by_fours(x: Tensor) -> Tensor:
    """(N, C, F, H, W) -> (N, 4 C, F, H / 2, W / 2) in channels_last_3d."""
    n, _, frames, height, width = x.shape
    x = x.reshape(n, -1, frames, height // 2, 2, width // 2, 2)
    return x.permute(0, 2, 3, 5, 4, 6, 1).flatten(4).permute(0, 4, 1, 2, 3)


def _by_eights(x: Tensor) -> Tensor:
    """(N, C, F, H, W) -> (N, 8 C, F / 2, H / 2, W / 2) in channels_last_3d."""
    n, _, frames, height, width = x.shape
    x = x.reshape(n, -1, frames // 2, 2, height // 2, 2, width // 2, 2)
    return x.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4).permute(0, 4, 1, 2, 3)


class Doubling(nn.ConvTranspose3d):
    """(N, before, F, H, W) -> (N, after, times F, 2 H, 2 W), with kernels of 4 where it doubles, 3 elsewhere."""

    def __init__(self, before: int, after: int, times: int, bias: bool) -> None:
        super().__init__(before, after, *_kernel(times), bias=bias)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.out_channels > FEW:
            return super().forward(input, output_size)
        before, after, *_ = self.weight.shape
        n, _, frames, height, width = input.shape
        # A kernel's places by their parity; in a convolution, unlike in a transposed one, they are mirrored
        if self.stride[0] == 2:
            parts = self.weight.reshape(before, after, 2, 2, 2, 2, 2, 2).flip(2, 4, 6)
            kernels = parts.permute(3, 5, 7, 1, 0, 2, 4, 6).reshape(8 * after, before, 2, 2, 2)
        else:
            parts = self.weight.reshape(before, after, 3, 2, 2, 2, 2).flip(2, 3, 5)
            kernels = parts.permute(4, 6, 1, 0, 2, 3, 5).reshape(4 * after, before, 3, 2, 2)
        bias = None if self.bias is None else self.bias.repeat(len(kernels) // after)
        made = F.conv3d(input, kernels.contiguous(memory_format=torch.channels_last_3d), bias, padding=1)
        made = made.permute(0, 2, 3, 4, 1)
        if self.stride[0] == 2:
            made = made.reshape(n, frames + 1, height + 1, width + 1, 2, 2, 2, after).permute(0, 1, 4, 2, 5, 3, 6, 7)
            made = made.reshape(n, 2 * frames + 2, 2 * height + 2, 2 * width + 2, after)[:, 1:-1]
        else:
            made = made.reshape(n, frames, height + 1, width + 1, 2, 2, after).permute(0, 1, 2, 4, 3, 5, 6)
            made = made.reshape(n, frames, 2 * height + 2, 2 * width + 2, after)
        return made[:, :, 1:-1, 1:-1].permute(0, 4, 1, 2, 3)
