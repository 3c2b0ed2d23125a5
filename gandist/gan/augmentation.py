"""The interface of augmentations of D's inputs: pure functions of samples and of uniforms drawn outside the step."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Uniforms = int | Callable[[tuple[int, ...]], int]
"""Numbers in [0, 1) for a sample: a count, or a function of the sample's shape, such as (C, T)."""


class Augmentation(NamedTuple):
    """A random transformation of samples; the caller supplies the random numbers."""

    uniforms: Uniforms
    """Numbers that one sample needs: see `count`."""
    apply: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(samples x in [-1, 1], uniforms u (N, count) in [0, 1), probability p ()) -> samples of x's shape: images
    (N, C, H, W) or clips (N, C, F, H, W), with C 1 or 3, or sounds (N, C, T).

    The result is float64 if x is, else float32. Sample n depends on x[n], u[n] and p alone; at p = 0 it equals x[n].
    """
    axes: int = 0
    """Axes of the samples' rows: 1 for texts, 2 for sounds, 3 for pictures, 4 for clips, 0 for any samples."""

    def count(self, sample: tuple[int, ...]) -> int:
        """Numbers in [0, 1) that a sample of this shape, without N, needs."""
        return counted(self.uniforms, sample)


def counted(uniforms: Uniforms, sample: tuple[int, ...]) -> int:
    return uniforms if isinstance(uniforms, int) else uniforms(sample)


Transform = Callable[[Tensor, Tensor], Tensor]
"""(samples x (N, ...), u (N, uniforms) float64) -> samples of x's shape."""


def in_full_precision(apply: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """`apply` outside autocast, on samples in float32 or wider and uniforms in float64."""

    def exact(x: Tensor, u: Tensor, p: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            # In float32 a product with u could round up to the end of its range, and TF32 would blur the matrices.
            return apply(x.to(torch.promote_types(x.dtype, torch.float32)), u.double(), p)

    return exact


def all_or_none(*transforms: tuple[Uniforms, Transform], axes: int) -> Augmentation:
    """Apply (uniforms, transform) pairs in order: with probability p all of them, else none."""

    def apply(x: Tensor, u: Tensor, p: Tensor) -> Tensor:
        changed, first = x, 1
        for uniforms, transform in transforms:
            after = first + counted(uniforms, tuple(x.shape[1:]))
            changed = transform(changed, u[:, first:after])
            first = after
        return torch.where(each(u[:, 0], x, u.dtype) < p, changed, x)

    def uniforms(sample: tuple[int, ...]) -> int:
        return 1 + sum(counted(uniforms, sample) for uniforms, _ in transforms)

    alike = all(isinstance(uniforms, int) for uniforms, _ in transforms)
    return Augmentation(uniforms(()) if alike else uniforms, in_full_precision(apply), axes)


def each(values: Tensor, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """One number per sample (N,), broadcastable to x (N, ...), in x's type or in `dtype`."""
    return values.to(dtype or x.dtype).view(-1, *[1] * (x.dim() - 1))


def normal(u: Tensor) -> Tensor:
    """N(0, 1) by its quantile function; u = 0, which float32 draws now and then, counts as 2^-25."""
    return 2**0.5 * (2 * u - 1).clamp(min=2**-24 - 1).erfinv()
