"""Perceptual path length: how far the features move when the latent moves a little."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gandist.gallery import slerp

EPSILON = 1e-4


@torch.no_grad()
def path_length(
    see: Callable[[Tensor, Tensor | None], Tensor], a: Tensor, b: Tensor, t: Tensor, y: Tensor | None, batch: int = 100
) -> float:
    """E[|f(slerp(a, b; t)) - f(slerp(a, b; t + epsilon))|^2] / epsilon^2 (Karras et al. 2019, arXiv:1812.04948,
    eq. 2), with Euclidean distances between features in the place of LPIPS.

    Args:
        see: latents (n, Z) and conditions -> features (n, F) of their images.
        a, b: the paths' ends (N, Z).
        t: where on them (N, 1), uniform in [0, 1).
        y: conditions (N, ...), or None.
    """
    total = 0.0
    for at in range(0, len(a), batch):
        part = slice(at, at + batch)
        condition = None if y is None else y[part]
        here, there = (see(slerp(a[part], b[part], t[part] + shift), condition) for shift in (0, EPSILON))
        total += float((there.double() - here.double()).square().sum())
    return total / len(a) / math.pow(EPSILON, 2)
