"""Augmentation of the clips that D sees: DiffAugment (Zhao et al. 2020, arXiv:2006.10738), all frames of a clip alike.

A frame that moved alone would be motion. A quarter of the clips is mirrored: of a half, D could not tell which half was
real, and G would learn to mirror.
"""

import torch
from torch import Tensor

from gandist.gan.augment_image import COLOR, cutout, translation
from gandist.gan.augmentation import Transform, all_or_none, each

MIRRORED = 0.25
"""Share of the clips."""


def mirror(x: Tensor, u: Tensor) -> Tensor:
    """Mirror a quarter of the clips left to right."""
    return torch.where(each(u[:, 0], x, u.dtype) < MIRRORED, x.flip(-1), x)


def frames_alike(of_pictures: Transform) -> Transform:
    """The transformation of clips (N, C, F, H, W) that changes each frame by the numbers of its clip."""

    def of_clips(x: Tensor, u: Tensor) -> Tensor:
        frames = x.shape[2]
        # In channels_last_3d a view: frames are pictures in channels_last
        pictures = x.transpose(1, 2).flatten(0, 1)
        changed = of_pictures(pictures, u[:, None].expand(-1, frames, -1).flatten(0, 1))
        return changed.view(len(x), frames, *changed.shape[1:]).transpose(1, 2)

    return of_clips


CLIP = all_or_none(*COLOR, (1, mirror), (2, frames_alike(translation)), (2, frames_alike(cutout)), axes=4)
