"""The HiFi-GAN pair (Kong, Kim, Bae 2020, arXiv:2010.05646): G makes a sound of its mel spectrogram.

A convolution of kernel 7 takes the mels; each transposed convolution then multiplies the rate by its stride, halves the
channels, and is followed by residual blocks of several kernels and dilations, whose results are averaged; a last
convolution of kernel 7 and tanh make the sound (sections 2.2 and 3, appendix A.1). `model.width` is the number of
channels at the rate of the sound. The published sizes:

- V1: width 32 and the default options, 13.92 M parameters; V2: width 8, 0.92 M;
- V3: width 32, strides 8, 8, 4, block 2, block_kernels 3, 5, 7, dilations (1, 2), (2, 6), (3, 12), 1.46 M.

The paper truncates, and counts without the gains of weight norm. D has its published size at width_D 32.

All is convolution over time: y may have any number of frames. Features are (N, C, 1, T) with channels last: faster than
torch's convolutions of (N, C, T), on one core up to several times.
"""

from itertools import pairwise
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from gandist.gan.networks.norms import at_least_float32, weight_norm
from gandist.gan.networks.shape import Shape, options_of
from gandist.gan.networks.sound_d import Natural, SoundOptions
from gandist.gan.spectra import exactly

SLOPE = 0.1


class HiFiOptions(SoundOptions):
    """Options of HiFi-GAN; the defaults are those of V1 and V2."""

    strides: tuple[Natural, ...] = Field((8, 8, 2, 2), min_length=1)
    """Factors of the rate, from y to the sound: their product is `condition.options.hop`."""
    kernels: tuple[Natural, ...] = ()
    """Kernels of the transposed convolutions, none below its stride (default: twice the strides)."""
    block: Literal[1, 2] = 1
    """Kind of residual block: a second convolution without dilation after each one (1), or none (2)."""
    block_kernels: tuple[Natural, ...] = Field((3, 7, 11), min_length=1)
    """Kernels of the residual blocks that are averaged; odd."""
    dilations: tuple[tuple[Natural, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    """Dilations of the convolutions of each block."""

    @model_validator(mode="after")
    def _check(self) -> "HiFiOptions":
        if self.kernels and len(self.kernels) != len(self.strides):
            raise ValueError(f"{len(self.strides)} strides need as many kernels, not {len(self.kernels)}")
        for kernel, stride in zip(self.kernels, self.strides, strict=False):
            if kernel < stride:
                raise ValueError(f"kernels: {kernel} leaves gaps at a stride of {stride}; set at least {stride}")
        if len(self.dilations) != len(self.block_kernels):
            raise ValueError(f"{len(self.block_kernels)} block_kernels need as many lists of dilations")
        if even := [kernel for kernel in self.block_kernels if kernel % 2 == 0]:
            raise ValueError(f"block_kernels: must be odd, not {even[0]}")
        return self


class Block(nn.Module):
    """Residual convolutions of one kernel: (N, C, 1, T) -> (N, C, 1, T)."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], undilated: bool) -> None:
        """`undilated`: whether a second convolution follows each one, without dilation."""
        super().__init__()
        pairs = [(dilation, 1) if undilated else (dilation,) for dilation in dilations]
        self.steps = nn.ModuleList(
            nn.ModuleList(convolution(channels, channels, kernel, dilation) for dilation in step) for step in pairs
        )

    def begin(self) -> None:
        """Make what is added small."""
        for step in self.steps:
            assert isinstance(step, nn.ModuleList)
            initialise(step[-1], 0.2)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            assert isinstance(step, nn.ModuleList)
            h = x
            for layer in step:
                h = layer(F.leaky_relu(h, SLOPE))
            x = x + h
        return x


class Exact(nn.Conv2d):
    """A convolution in float32 or wider even under autocast: the 8 bits of bfloat16 are noise that can be heard, and
    that a log-mel loss sees where a sound is quiet."""

    exact = True

    def forward(self, x: Tensor) -> Tensor:
        with exactly(x):
            return super().forward(at_least_float32(x))


class Generator(nn.Module):
    """z: (N, z_dim), y: (N, mels, frames) -> sounds (N, C, frames * hop) in [-1, 1], for any number of frames.

    The noise z, if there is any, is repeated over the frames, as z_dim channels beside the mels. The sounds are float32
    even under autocast.
    """

    def __init__(self, shape: Shape) -> None:
        """Raises ValueError if the strides do not lead from y to the sound."""
        super().__init__()
        options, (channels, length) = options_of(shape, HiFiOptions), shape.sample
        if len(shape.y) != 2 or shape.y[1] * prod(options.strides) != length:
            raise ValueError(
                f"hifigan makes {prod(options.strides)} samples of each frame, the product of model.options.strides, "
                f"and not {length} samples of {shape.y}: set condition.kind=mel and condition.options.hop to this, or "
                "other strides"
            )
        widths = [shape.width * 2**k for k in reversed(range(len(options.strides) + 1))]
        kernels = options.kernels or [2 * stride for stride in options.strides]
        blocks = list(zip(options.block_kernels, options.dilations, strict=True))
        self.first = convolution(shape.y[0] + shape.z_dim, widths[0], 7)
        self.ups = nn.ModuleList(
            up(before, after, kernel, stride)
            for (before, after), kernel, stride in zip(pairwise(widths), kernels, options.strides, strict=True)
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(Block(after, kernel, dilations, options.block == 1) for kernel, dilations in blocks)
            for after in widths[1:]
        )
        self.last = Exact(widths[-1], channels, (1, 7), padding=(0, 3))
        self._begin()
        weight_norm(self, shape.norm)

    def _begin(self) -> None:
        """Features keep their size at every width, and blocks begin near the identity; the paper does not say."""
        he = (2 / (1 + SLOPE**2)) ** 0.5
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                initialise(module, he * module.stride[1] ** 0.5)
            elif isinstance(module, nn.Conv2d):
                initialise(module, he)
        initialise(self.first, 1.0)
        initialise(self.last, 0.1)
        for block in self.modules():
            if isinstance(block, Block):
                block.begin()

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        h = y[:, :, None]
        if z.shape[1]:
            h = torch.cat([h, z.to(y.dtype)[:, :, None, None].expand(-1, -1, 1, y.shape[2])], dim=1)
        h = self.first(h.contiguous(memory_format=torch.channels_last))
        for larger, blocks in zip(self.ups, self.blocks, strict=True):
            assert isinstance(blocks, nn.ModuleList)
            h = larger(F.leaky_relu(h, SLOPE))
            made = [block(h) for block in blocks]
            h = sum(made[1:], made[0]) / len(made)
        sounds: Tensor = torch.tanh(self.last(F.leaky_relu(h, SLOPE)))
        return sounds.squeeze(2)


def initialise(layer: nn.Module, gain: float) -> None:
    """Weights of which a unit of input makes `gain` of output, and no biases."""
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    nn.init.normal_(layer.weight, 0.0, gain / (layer.in_channels * layer.kernel_size[1]) ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def convolution(before: int, after: int, kernel: int, dilation: int = 1) -> nn.Conv2d:
    """A convolution over time that keeps the length."""
    return nn.Conv2d(before, after, (1, kernel), padding=(0, dilation * (kernel // 2)), dilation=(1, dilation))


def up(before: int, after: int, kernel: int, stride: int) -> nn.ConvTranspose2d:
    """A transposed convolution over time that multiplies the length by its stride."""
    padding = (kernel - stride + 1) // 2
    return nn.ConvTranspose2d(
        before, after, (1, kernel), (1, stride), (0, padding), output_padding=(0, 2 * padding - (kernel - stride))
    )
