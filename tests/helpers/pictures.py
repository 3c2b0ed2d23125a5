"""Pictures with edges, gradients and texture, and the random numbers of conditions made from them."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from gandist.gan.penalties import Noise


def picture(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """(H, W, C) uint8."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [127 + 120 * np.sin(9 * x + 4 * y + seed), 127 + 100 * np.cos(21 * y * x), 255 * (x + y) / 2]
    image = np.stack(waves[:channels], -1)
    image[height // 4 : height // 2, width // 4 : width // 2] = [250, 20, 30][:channels]
    image += np.random.default_rng(seed).normal(0, 8, image.shape)
    return image.clip(0, 255).astype(np.uint8)


def as_x(*images: np.ndarray) -> Tensor:
    """(H, W, C) uint8 as networks see them: (N, C, H, W) in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def pictures(n: int, size: int = 24, channels: int = 3) -> Tensor:
    """(N, C, size, size) in [-1, 1]."""
    return as_x(*(picture(size, size, channels, seed) for seed in range(n)))


def numbers_for(noise: Mapping[str, Noise], sample: tuple[int, ...], n: int, seed: int = 0) -> dict[str, Tensor]:
    """What a run would draw for n samples of this shape, float32."""
    generator = torch.Generator().manual_seed(seed)

    def draw(kind: Noise) -> Tensor:
        drawn = torch.rand if kind.kind == "uniform" else torch.randn
        return drawn((n, *kind.shape(sample)), generator=generator)

    return {name: draw(kind) for name, kind in noise.items()}


def rows(numbers: Mapping[str, Tensor], chosen: slice) -> dict[str, Tensor]:
    """The numbers of some samples."""
    return {name: value[chosen] for name, value in numbers.items()}
