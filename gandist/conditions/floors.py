"""What undoes a degradation or fills a hole without learning anything: the floor that a trained G has to exceed.

Each takes y (N, ...) and gives images (N, C, H, W) in [-1, 1], on the device: float64 if y is, else float32.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def upscaled(y: Tensor, scale: int, filter: Literal["bicubic", "nearest"] = "bicubic") -> Tensor:
    """Images (N, C, h, w) enlarged by `scale`: torch's interpolation, cut off at black and white."""
    with torch.autocast(y.device.type, enabled=False):
        y = _wide(y)
        if filter == "nearest":
            return F.interpolate(y, scale_factor=scale, mode="nearest")
        return F.interpolate(y, scale_factor=scale, mode="bicubic", align_corners=False).clamp(-1, 1)


def mean_colour(y: Tensor) -> Tensor:
    """The hole of y (N, C + 1, H, W), as `gandist.conditions.masked` makes it, in the mean colour of its image's known
    pixels; grey where none is known."""
    x, hole = _parts(y)
    known = (~hole).to(x.dtype)
    mean = (x * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(hole, mean, x)


def diffused(y: Tensor, iterations: int = 100) -> Tensor:
    """The harmonic fill: in the hole of y (N, C + 1, H, W) each pixel is the mean of its neighbours, of which it has
    four, or fewer at the image's border.

    Solved by conjugate gradients at half the resolution first, from there up: what is wide is cheap to solve where it
    is small.

    Args:
        iterations: steps at each resolution.
    """
    x, hole = _parts(y)
    return _filled(x, (~hole).to(x.dtype), iterations).clamp(-1, 1)


def _filled(x: Tensor, known: Tensor, iterations: int) -> Tensor:
    """x where known (N, 1, H, W) is above 0, the harmonic fill elsewhere; 0 where nothing is known."""
    height, width = x.shape[2:]
    if max(height, width) == 1:
        return torch.where(known > 0, x, 0.0)
    to_even = (0, width % 2, 0, height % 2)
    weights = F.avg_pool2d(F.pad(known, to_even), 2)
    means = F.avg_pool2d(F.pad(x * known, to_even), 2) / torch.where(weights > 0, weights, 1.0)
    coarse = _filled(means, weights, iterations)
    # Twice the coarse size, which may be a pixel more.
    guess = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[:, :, :height, :width]
    return _solved(torch.where(known > 0, x, guess), (known <= 0).to(x.dtype), iterations)


def _solved(x: Tensor, inside: Tensor, iterations: int) -> Tensor:
    """Conjugate gradients for the pixels where `inside` (N, 1, H, W) is 1, from x."""
    residual = _laplacian(x) * inside
    direction, squared = residual, _dot(residual, residual)
    for _ in range(iterations):
        curved = -_laplacian(direction) * inside
        step = _ratio(squared, _dot(direction, curved))
        x, residual = x + step * direction, residual - step * curved
        before, squared = squared, _dot(residual, residual)
        direction = residual + _ratio(squared, before) * direction
    return x


def _wide(y: Tensor) -> Tensor:
    return y.to(torch.promote_types(y.dtype, torch.float32))


def _parts(y: Tensor) -> tuple[Tensor, Tensor]:
    """The images (N, C, H, W) and whether each pixel is missing (N, 1, H, W)."""
    y = _wide(y)
    return y[:, :-1], y[:, -1:] > 0.5


def _laplacian(x: Tensor) -> Tensor:
    """The sum of the differences to all neighbours."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    across, down = padded[:, :, 1:-1], padded[:, :, :, 1:-1]
    return across[..., :-2] + across[..., 2:] + down[:, :, :-2] + down[:, :, 2:] - 4 * x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Per image and channel, (N, C, 1, 1)."""
    return (a * b).sum((2, 3), keepdim=True)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b; 0 once b vanishes, when the fill is solved."""
    enough = b > torch.finfo(b.dtype).tiny
    return torch.where(enough, a / torch.where(enough, b, 1.0), 0.0)
