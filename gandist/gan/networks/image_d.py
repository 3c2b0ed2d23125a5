"""The discriminator of all pairs whose condition is an image: of patches or of pixels, at one scale or several."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gandist.gan.networks import patch, unet_d
from gandist.gan.networks.norms import layout
from gandist.gan.networks.shape import Shape, options_of
from gandist.options import Options


class ImageOptions(Options):
    """Options of the discriminator, which all these pairs share."""

    discriminator: Literal["patch", "unet"] = "patch"
    """Whether D scores patches (PatchGAN) or pixels (Real-ESRGAN's U-Net)."""
    layers_D: int = Field(3, ge=1, le=6)
    """Halvings of the resolution in D of patches: 3 scores 70x70 pixels, 4 scores 142x142. That of pixels has 3."""
    width_D: int = Field(0, ge=0)
    """Channels of D's first layer; 0 for model.width."""
    scales_D: int = Field(1, ge=1, le=4)
    """Number of D's: of x, of x at half its size, at a quarter, ... (Wang et al. 2018, pix2pixHD, arXiv:1711.11585)."""
    sees_y: bool = True
    """Whether D sees y beside x, as in pix2pix; else D judges x alone, as in Real-ESRGAN and LaMa."""


class Discriminator(nn.Module):
    """x: (N, C, H, W), y: (N, Cy, h, w) -> scores (N, h', w') in float32 even under autocast, or a tuple of several.

    y is resized to x by nearest neighbours. Of several D's each has its own weights; the first takes the full size.
    """

    def __init__(self, shape: Shape) -> None:
        """Raises ValueError if the images are too small for the layers or scales."""
        super().__init__()
        options = options_of(shape, ImageOptions)
        of_patches = options.discriminator == "patch"
        side = shape.resolution >> options.scales_D - 1
        least = patch.smallest(options.layers_D) if of_patches else 1 << unet_d.HALVINGS
        if side < least:
            fix = "model.options.layers_D or model.options.scales_D" if of_patches else "model.options.scales_D"
            raise ValueError(f"the smallest images that D sees have {side} pixels, fewer than {least}; lower {fix}")
        self.sees_y = options.sees_y
        channels = shape.channels + (shape.y[0] if options.sees_y else 0)
        width = options.width_D or shape.width
        self.nets = nn.ModuleList(
            patch.PatchNet(channels, width, options.layers_D, shape.norm)
            if of_patches
            else unet_d.UNetNet(channels, width, shape.norm)
            for _ in range(options.scales_D)
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor | tuple[Tensor, ...]:
        scores, _ = self.scores_and_features(x, y)
        return scores[0] if len(scores) == 1 else scores

    def scores_and_features(self, x: Tensor, y: Tensor) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """The scores of each scale, and the activations after each layer: shallow to deep, scale by scale."""
        h = beside(x, y) if self.sees_y else x
        scores: list[Tensor] = []
        features: list[Tensor] = []
        for k, net in enumerate(self.nets):
            h = F.avg_pool2d(h, 2) if k else h
            found, of_layers = net(h)
            scores.append(found)
            features += of_layers
        return tuple(scores), features


def beside(x: Tensor, y: Tensor) -> Tensor:
    """x (N, C, H, W) and y (N, Cy, h, w), resized by nearest neighbours -> (N, C + Cy, H, W), in x's layout."""
    return stacked(layout(x), [x, F.interpolate(y, x.shape[2:]) if y.shape[2:] != x.shape[2:] else y])


def stacked(order: torch.memory_format, images: Sequence[Tensor]) -> Tensor:
    """The channels of all images, in one layout; the first one's only if all have it."""
    return torch.cat([image.contiguous(memory_format=order) for image in images], dim=1)
