"""Perceptual path length: the change of features for a small step of the latent."""

from collections.abc import Callable

import torch
from torch import Tensor

from gandist.media.gallery import slerp

EPSILON = 1e-4


@torch.no_grad()
def path_lengths(
    see: Callable[[Tensor, Tensor | None], Tensor], a: Tensor, b: Tensor, t: Tensor, y: Tensor | None, batch: int = 100
) -> Tensor:
    """|f(slerp(a, b; t)) - f(slerp(a, b; t + epsilon))|^2 / epsilon^2 of each path (N,), float64. Their mean is the
    perceptual path length (Karras et al. 2019, arXiv:1812.04948, eq. 2), with Euclidean distances between features
    instead of LPIPS.

    Args:
        see: latents (n, Z) and conditions -> features (n, F) of their samples.
        a, b: end points of the paths (N, Z).
        t: positions on the paths (N, 1), uniform in [0, 1).
        y: conditions (N, ...), or None.
    """
    found = [torch.zeros(0, dtype=torch.float64, device=a.device)]
    for at in range(0, len(a), batch):
        # The last batch is padded: a network's rounding depends on the batch size, and the difference is small.
        part = torch.arange(at, at + batch, device=a.device) % len(a)
        condition = None if y is None else y[part]
        here, there = (see(slerp(a[part], b[part], t[part] + shift), condition) for shift in (0, EPSILON))
        found.append((there.double() - here.double()).square().sum(1)[: len(a) - at])
    return torch.cat(found) / EPSILON**2
