"""Convolutions that halve clips and transposed ones that double them: in time, height and width, or frame by frame.

A kernel of 4 with stride 2 is one of 2 with stride 1 on pixels taken two by two as channels (Shi et al. 2016,
arXiv:1609.05158, which does it the other way round). The sums are the same, so the results agree to rounding. torch is
slow where a clip of few channels is made, or the gradient of one of one channel: on one core, for 32 clips of 8 frames
of 32 pixels at width 16, the last layer of G takes 3 ms instead of 13, and both passes of D's first layer 8 instead of
18.

Where the frames stay as many, they are pictures. A kernel of 3 in time would see little more where they are two, and
the gradient of its weights is wrong in bfloat16 on a CPU (torch 2.13, oneDNN).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW = 4
"""Channels made up to which a transposed convolution is faster so; a convolution is for one alone."""


def _kernel(times: int) -> tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]:
    """Kernel, stride and padding where there are 1 or 2 `times` as many frames on one side as on the other."""
    return ((4, 4, 4), (2, 2, 2), (1, 1, 1)) if times == 2 else ((1, 4, 4), (1, 2, 2), (0, 1, 1))


class Halving(nn.Conv3d):
    """(N, before, F, H, W) -> (N, after, F / times, H / 2, W / 2)."""

    def __init__(self, before: int, after: int, times: int, bias: bool) -> None:
        super().__init__(before, after, *_kernel(times), bias=bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.stride[0] == 1:
            return _frames(F.conv2d(_pictures(input), weight.squeeze(2), bias, 2, 1), input)
        if self.in_channels == 1:
            return F.conv3d(_by_eights(F.pad(input, (1, 1) * 3)), _by_eights(weight), bias)
        return F.conv3d(input, weight, bias, 2, 1)


class Doubling(nn.ConvTranspose3d):
    """(N, before, F, H, W) -> (N, after, times F, 2 H, 2 W)."""

    def __init__(self, before: int, after: int, times: int, bias: bool) -> None:
        super().__init__(before, after, *_kernel(times), bias=bias)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if self.stride[0] == 1:
            made = F.conv_transpose2d(_pictures(input), self.weight.squeeze(2), self.bias, 2, 1)
            return _frames(made, input)
        if self.out_channels > FEW:
            return F.conv_transpose3d(input, self.weight, self.bias, 2, 1)
        before, after, *_ = self.weight.shape
        n, _, frames, height, width = input.shape
        # A kernel's places by their parity; in a convolution, unlike in a transposed one, they are mirrored
        parts = self.weight.reshape(before, after, 2, 2, 2, 2, 2, 2).flip(2, 4, 6)
        kernels = parts.permute(3, 5, 7, 1, 0, 2, 4, 6).reshape(8 * after, before, 2, 2, 2)
        bias = None if self.bias is None else self.bias.repeat(8)
        made = F.conv3d(input, kernels.contiguous(memory_format=torch.channels_last_3d), bias, padding=1)
        # Eight channels are two by two by two pixels, of which those at the border are no more than padding
        made = made.permute(0, 2, 3, 4, 1).reshape(n, frames + 1, height + 1, width + 1, 2, 2, 2, after)
        made = made.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(n, 2 * frames + 2, 2 * height + 2, 2 * width + 2, after)
        return made[:, 1:-1, 1:-1, 1:-1].contiguous().permute(0, 4, 1, 2, 3)


def _by_eights(x: Tensor) -> Tensor:
    """(N, C, F, H, W) -> (N, 8 C, F / 2, H / 2, W / 2) in channels_last_3d."""
    n, _, frames, height, width = x.shape
    x = x.reshape(n, -1, frames // 2, 2, height // 2, 2, width // 2, 2)
    return x.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4).permute(0, 4, 1, 2, 3)


def _pictures(x: Tensor) -> Tensor:
    """(N, C, F, H, W) -> (N F, C, H, W), of channels_last_3d a view."""
    return x.transpose(1, 2).flatten(0, 1)


def _frames(pictures: Tensor, of: Tensor) -> Tensor:
    """(N F, C, H, W) -> (N, C, F, H, W), as the clips `of`."""
    return pictures.view(of.shape[0], -1, *pictures.shape[1:]).transpose(1, 2)
