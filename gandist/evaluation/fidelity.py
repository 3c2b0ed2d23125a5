"""How near outputs are to their targets, image by image; how much outputs differ; and means over a set.

Images a and b are (N, C, H, W) in [-1, 1], as networks have them. Measures give one number for each pair, (N,) float64.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.distributed.ranks import Ranks
from gandist.errors import DataError
from gandist.gan.perceptual import Features

PSNR_MAX = 100.0
"""PSNR in dB of equal images: by its formula it is infinite, and so would be the mean of a set that has one such pair.
What is nearer, such as a level of 256 in one value of 160,000, counts as equal."""
WINDOW, SIGMA = 11, 1.5
"""Height, width and standard deviation of SSIM's Gaussian window, in pixels."""
K1, K2 = 0.01, 0.03
HALF = WINDOW // 2


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB (N,): 10 log10(4 / mean squared difference), at most `PSNR_MAX`.

    The peak is 2, from black to white, so images in 8 bits have the same with a peak of 255. A set's PSNR is the mean
    over its pairs, not the PSNR of its mean error.

    Raises:
        ValueError: the shapes differ.
    """
    a, b = _pairs(a, b)
    error = (a - b).square().flatten(1).mean(1)
    return 10 * torch.log10(4 / error.clamp(min=4 * 10 ** (-PSNR_MAX / 10)))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (N,), at most 1, that of equal images; averaged over pixels and channels.

    Wang et al. 2004 (https://doi.org/10.1109/TIP.2003.819861), with their window and constants, on intensities from 0
    to 1. Images are reflected at their borders and all pixels count, as in torchmetrics; implementations that leave out
    the border's five pixels give other values.

    Raises:
        DataError: the images are smaller than the window.
        ValueError: the shapes differ.
    """
    return _similarity(a, b).flatten(1).mean(1)


def l1_within(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference (N,) within a hole, from 0 to 2.

    Args:
        mask: (N, 1, H, W), 1 or True within the hole, else 0.

    Raises:
        DataError: a hole is empty.
        ValueError: the shapes differ.
    """
    a, b = _pairs(a, b)
    return _mean_within((a - b).abs(), mask)


def ssim_within(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """`ssim` (N,), averaged over the pixels of a hole; windows at its rim also see what surrounds it.

    Args:
        mask: (N, 1, H, W), 1 or True within the hole, else 0.

    Raises:
        DataError: a hole is empty, or the images are smaller than the window.
        ValueError: the shapes differ.
    """
    return _mean_within(_similarity(a, b), mask)


@torch.no_grad()
def variety(features: Features, a: Tensor, b: Tensor) -> Tensor:
    """Perceptual distance (N,) between two outputs for each condition, whose mean tells how much z changes.

    0 if outputs depend on the condition alone (Zhu et al. 2017, arXiv:1711.11586, section 4). Noise raises it as well
    as meaning does, so compare it with that of real pairs.

    Args:
        a, b: outputs (N, C, H, W) for the same N conditions and other z.
    """
    return features.distance(a, b).double()


class Sums:
    """Sums and counts of values by name, from which follow means over a set that is measured in parts or by ranks.

    Attributes:
        totals: by name, the sum of the values and their number, (2,) float64 on the values' device.
    """

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Add values (N,), one for each pair; waits for no device."""
        total = values.sum(dtype=torch.float64)
        self._add(name, torch.stack([total, torch.full_like(total, values.numel())]))

    def _add(self, name: str, total: Tensor) -> None:
        self.totals[name] = self.totals[name] + total if name in self.totals else total

    def __add__(self, other: Sums) -> Sums:
        both = Sums()
        for name, total in (*self.totals.items(), *other.totals.items()):
            both._add(name, total)
        return both

    def gathered(self, ranks: Ranks) -> Sums:
        """Those of all ranks, on each rank; every rank must call this. Ranks may have different names."""
        every = Sums()
        for totals in ranks.gather({name: total.tolist() for name, total in self.totals.items()}):
            for name, total in totals.items():
                every._add(name, torch.tensor(total, dtype=torch.float64))
        return every

    @property
    def means(self) -> dict[str, float]:
        """The mean of each name that has values."""
        pairs = {name: total.tolist() for name, total in self.totals.items()}
        return {name: total / n for name, (total, n) in pairs.items() if n}


def _pairs(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape:
        raise ValueError(f"images {tuple(a.shape)} and {tuple(b.shape)} are no pairs")
    return a.double(), b.double()


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """SSIM's map (N, C, H, W)."""
    # In float64: a variance is the difference of two means, of which little is left where an image is flat.
    a, b = ((1 + x) / 2 for x in _pairs(a, b))
    if min(a.shape[2:]) < WINDOW:
        height, width = a.shape[2:]
        raise DataError(
            f"SSIM's window has {WINDOW} pixels, images {height} x {width}: measure larger images, or by PSNR alone"
        )
    mean_a, mean_b, aa, bb, ab = _blurred(torch.cat([a, b, a * a, b * b, a * b])).chunk(5)
    variances = (aa - mean_a.square()).clamp(min=0) + (bb - mean_b.square()).clamp(min=0)
    covariance = ab - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + K1**2) / (mean_a.square() + mean_b.square() + K1**2)
    return luminance * (2 * covariance + K2**2) / (variances + K2**2)


def _blurred(x: Tensor) -> Tensor:
    """Means over the window around each pixel: (N, C, H, W) -> (N, C, H, W)."""
    # By matrices: a CPU has no fast convolution in float64.
    down, across = (_window(n, x.device) for n in x.shape[2:])
    return down.T @ (x @ across)


@cache
def _window(n: int, device: torch.device) -> Tensor:
    """Weights (n, n) of n pixels in the mean around each, reflected at the ends."""
    at = torch.arange(-HALF, HALF + 1, dtype=torch.float64)
    kernel = torch.softmax(-at.square() / (2 * SIGMA**2), 0)
    pixels = F.pad(torch.eye(n, dtype=torch.float64)[:, None], (HALF, HALF), mode="reflect")
    return F.conv1d(pixels, kernel.view(1, 1, -1))[:, 0].to(device)


def _mean_within(values: Tensor, mask: Tensor) -> Tensor:
    """The mean (N,) of values (N, C, H, W) where the mask (N, 1, H, W) is 1."""
    n, _, height, width = values.shape
    if mask.shape != (n, 1, height, width):
        raise ValueError(f"images {tuple(values.shape)} have no masks {tuple(mask.shape)}")
    weights = mask.to(values.dtype)
    sizes = weights.sum((1, 2, 3))
    if bool((sizes == 0).any()):
        raise DataError("a mask is 0 everywhere: there is no hole to measure in; leave this image out")
    return (values.mean(1, keepdim=True) * weights).sum((1, 2, 3)) / sizes
