"""Blur: one kernel for each image."""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from gandist.conditions.operation import Operation, Range, Strength, drawn, picked, within

LEAST_SIGMA = 1e-3


def convolve(levels: Tensor, kernels: Tensor) -> Tensor:
    """Each image with its own kernel, reflected at the border.

    Args:
        levels: (N, C, H, W).
        kernels: (N, k, k), k odd; each is divided by its sum.
    """
    n, channels, height, width = levels.shape
    radius = kernels.shape[-1] // 2
    kernels = (kernels / kernels.sum((1, 2), keepdim=True)).to(levels.dtype)
    # Reflection needs a pixel more than it adds.
    inner = min(radius, height - 1, width - 1)
    padded = F.pad(F.pad(levels, [inner] * 4, mode="reflect"), [radius - inner] * 4, mode="replicate")
    groups = padded.reshape(1, n * channels, *padded.shape[2:]).contiguous()
    # cuDNN would multiply in TF32.
    with torch.backends.cudnn.flags(enabled=False):
        out = F.conv2d(groups, kernels[:, None].repeat_interleave(channels, 0), groups=n * channels)
    return out.view(levels.shape)


def offsets(radius: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels right of and below a kernel's centre, (1, k) and (k, 1), float64."""
    place = torch.arange(-radius, radius + 1, dtype=torch.float64, device=like.device)
    return place[None, :], place[:, None]


def sinc_kernels(cutoff: Tensor, radius: int) -> Tensor:
    """The ideal circular low-pass filters, which ring: (N, k, k), for `cutoff` (N,) in radians per pixel.

    Its transform is 1 inside of a circle and 0 outside, so that it is c J1(c r) / (2 pi r).
    """
    right, down = offsets(radius, cutoff)
    distance = (right.square() + down.square()).sqrt()
    c = cutoff[:, None, None]
    ring = c * torch.special.bessel_j1(c * distance) / (2 * math.pi * distance.clamp(min=0.5))
    return torch.where(distance == 0, c.square() / (4 * math.pi), ring)


class Blur(Operation):
    """Gaussian blur and its relatives (Wang et al. 2021, arXiv:2107.10833, section 3.2): with S the kernel's covariance
    and q = d^T S^-1 d at the distance d from its centre, a Gaussian exp(-q/2), a generalised one exp(-q^beta / 2), or a
    plateau 1 / (1 + q^beta)."""

    strength: ClassVar = Strength("sigma", 1)

    sigma: Annotated[Range, within(0, 100)] = (0.2, 3.0)
    """Standard deviation in pixels. The kernel reaches three times the largest one."""
    anisotropic: float = Field(0.0, ge=0, le=1)
    """Probability that the kernel is an ellipse: two standard deviations, at any angle."""
    generalised: float = Field(0.0, ge=0, le=1)
    """Probability of a generalised Gaussian, flatter or more pointed."""
    beta: Annotated[Range, within(0.05, 20)] = (0.5, 4.0)
    """Exponent of the generalised Gaussian; 1 is the Gaussian."""
    plateau: float = Field(0.0, ge=0, le=1)
    """Probability of a plateau-shaped kernel."""
    plateau_beta: Annotated[Range, within(0.05, 20)] = (1.0, 2.0)
    """Exponent of the plateau-shaped kernel."""
    sinc: float = Field(0.0, ge=0, le=1)
    """Probability of a sinc filter in place of these, which makes rings at edges."""
    cutoff: Annotated[Range, within(0.1, math.pi)] = (math.pi / 3, math.pi)
    """The highest frequency that a sinc filter leaves, in radians per pixel."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.generalised + self.plateau + self.sinc > 1 + 1e-9:
            raise ValueError("generalised, plateau and sinc together are above 1; what they leave is the Gaussian's")
        return self

    def uniforms(self) -> int:
        return 7

    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        return convolve(levels, self.kernels(u))

    def kernels(self, u: Tensor) -> Tensor:
        """(N, k, k) from (N, 7) uniform numbers."""
        ellipse, first, second, turn, kind, exponent, cutoff = u.unbind(1)
        radius = max(1, math.ceil(3 * self.sigma[1]))
        right, down = offsets(radius, u)
        sigma = drawn(self.sigma, first).clamp(min=LEAST_SIGMA)
        other = torch.where(ellipse < self.anisotropic, drawn(self.sigma, second).clamp(min=LEAST_SIGMA), sigma)
        angle = (math.pi * turn)[:, None, None]
        along, across = angle.cos() * right + angle.sin() * down, angle.cos() * down - angle.sin() * right
        q = (along / sigma[:, None, None]).square() + (across / other[:, None, None]).square()
        shares = (1 - self.generalised - self.plateau - self.sinc, self.generalised, self.plateau, self.sinc)
        kind = picked(shares, kind)[:, None, None]
        beta, plateau_beta = (drawn(ends, exponent)[:, None, None] for ends in (self.beta, self.plateau_beta))
        kernels = torch.where(kind == 1, -q.pow(beta) / 2, -q / 2).exp()
        kernels = torch.where(kind == 2, 1 / (1 + q.pow(plateau_beta)), kernels)
        return torch.where(kind == 3, sinc_kernels(drawn(self.cutoff, cutoff), radius), kernels)


class Sinc(Operation):
    """A sinc filter, which makes rings at edges as sharpening and compression do (Wang et al. 2021, section 3.4)."""

    strength: ClassVar = Strength("cutoff", 0)

    cutoff: Annotated[Range, within(0.1, math.pi)] = (math.pi / 3, math.pi)
    """The highest frequency that it leaves, in radians per pixel."""
    radius: int = Field(10, ge=1, le=50)
    """Pixels from the kernel's centre to its border."""

    def uniforms(self) -> int:
        return 1

    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        return convolve(levels, sinc_kernels(drawn(self.cutoff, u[:, 0]), self.radius))


class Motion(Operation):
    """Motion blur along a straight line."""

    strength: ClassVar = Strength("length", 0)

    length: Annotated[Range, within(0, 200)] = (3.0, 15.0)
    """Length of the way in pixels."""
    angle: Annotated[Range, within(-360, 360)] = (0.0, 180.0)
    """Direction in degrees, from right towards down."""

    def uniforms(self) -> int:
        return 2

    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        half = drawn(self.length, u[:, 0])[:, None, None] / 2
        angle = torch.deg2rad(drawn(self.angle, u[:, 1]))[:, None, None]
        right, down = offsets(1 + math.ceil(self.length[1] / 2), u)
        along, across = angle.cos() * right + angle.sin() * down, angle.cos() * down - angle.sin() * right
        beyond = (along.abs() - half).clamp(min=0)
        return convolve(levels, (1 - (beyond.square() + across.square()).sqrt()).clamp(min=0))
