"""DiffAugment's transformations of pictures (Zhao et al. 2020, arXiv:2006.10738); those of colour are of clips, too."""

import torch
from torch import Tensor

from gandist.gan.augmentation import each


def moved(size: int, u: Tensor) -> Tensor:
    """Source index of each place for a shift by whole pixels, up to an eighth of the size each way: (N, size)."""
    reach = int(size / 8 + 0.5)
    return torch.arange(size, device=u.device) - ((u * (2 * reach + 1)).long()[:, None] - reach)


def take(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x[n, :, rows[n], columns[n]] for rows (N, H) and columns (N, W)."""
    _, channels, height, width = x.shape
    x = x.gather(2, rows[:, None, :, None].expand(-1, channels, -1, width))
    return x.gather(3, columns[:, None, None, :].expand(-1, channels, height, -1))


def brightness(x: Tensor, u: Tensor) -> Tensor:
    """Add a number from [-0.5, 0.5)."""
    return x + each(u[:, 0] - 0.5, x)


def saturation(x: Tensor, u: Tensor) -> Tensor:
    """Scale each pixel's distance to its grey by a number from [0, 2); images of one channel stay unchanged."""
    grey = x.mean(1, keepdim=True)
    return grey + (x - grey) * each(2 * u[:, 0], x)


def contrast(x: Tensor, u: Tensor) -> Tensor:
    """Scale the distance to each sample's mean by a number from [0.5, 1.5)."""
    mean = x.mean(tuple(range(1, x.dim())), keepdim=True)
    return mean + (x - mean) * each(u[:, 0] + 0.5, x)


def translation(x: Tensor, u: Tensor) -> Tensor:
    """Shift by whole pixels, up to an eighth of the size each way, and pad with zeros."""
    sources = [moved(size, u[:, axis]) for axis, size in enumerate(x.shape[2:])]
    rows, columns = (source.clamp(0, size - 1) for source, size in zip(sources, x.shape[2:], strict=True))
    inside = (rows == sources[0])[:, None, :, None] & (columns == sources[1])[:, None, None, :]
    return take(x, rows, columns) * inside


def cutout(x: Tensor, u: Tensor) -> Tensor:
    """Zero a square of half the image's size, centred anywhere in the image; it may extend past the border."""
    rows, columns = (_covered(size, u[:, axis]) for axis, size in enumerate(x.shape[2:]))
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])


def _covered(size: int, u: Tensor) -> Tensor:
    """Whether each place lies in an interval of half the size, (N, size)."""
    side = int(size / 2 + 0.5)
    first = (u * (size + 1 - side % 2)).long()[:, None] - side // 2
    place = torch.arange(size, device=u.device)
    return (place >= first) & (place < first + side)


COLOR = ((1, brightness), (1, saturation), (1, contrast))
