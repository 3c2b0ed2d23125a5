"""Augmentation of the sounds that D sees, after DiffAugment's rule (Zhao et al. 2020, arXiv:2006.10738): all or none.

All are affine in the sound. What they change is what an ear overlooks in a short sound: loudness, polarity, a beginning
a little sooner or later, faint noise.
"""

import math

import torch
from torch import Tensor

from gandist.gan.augmentation import all_or_none, each, normal

LOUDEST_NOISE, RANGE_OF_NOISE = 0.01, 100.0
"""Deviation of the noise at most, and how many times smaller it is at least: from -80 to -40 dB of full scale."""


def gain(x: Tensor, u: Tensor) -> Tensor:
    """Scale by a factor from [1/2, 2), its logarithm uniform: 6 dB either way."""
    return x * each(2 ** (2 * u[:, 0] - 1), x)


def polarity(x: Tensor, u: Tensor) -> Tensor:
    """Multiply by -1 with probability one half."""
    return x * each(1 - 2 * (2 * u[:, 0]).floor(), x)


def shift(x: Tensor, u: Tensor) -> Tensor:
    """Move by whole samples, up to an eighth of the length each way, and pad with silence; channels together."""
    length = x.shape[2]
    reach = int(length / 8 + 0.5)
    moved = torch.arange(length, device=x.device) - ((u[:, 0] * (2 * reach + 1)).long()[:, None] - reach)
    source = moved.clamp(0, length - 1)
    # What is read twice is 0 but once, so that its gradient does not depend on the order in which a GPU adds
    return x.gather(2, source[:, None].expand(-1, x.shape[1], -1)) * (source == moved)[:, None]


def noise(x: Tensor, u: Tensor) -> Tensor:
    """Add white noise, its deviation from [0.0001, 0.01), the logarithm uniform."""
    deviation = LOUDEST_NOISE * RANGE_OF_NOISE ** (u[:, 0] - 1)
    return x + each(deviation, x) * normal(u[:, 1:]).reshape(x.shape).to(x.dtype)


def uniforms_of_noise(sample: tuple[int, ...]) -> int:
    """One for the deviation, one for each value."""
    return 1 + math.prod(sample)


SOUND = all_or_none((1, gain), (1, polarity), (1, shift), (uniforms_of_noise, noise), axes=2)
