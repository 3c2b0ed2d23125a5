"""Resizing by products with a matrix for each axis; antialiased, as Pillow resizes."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator, BeforeValidator
from torch import Tensor

from gandist.conditions.operation import Operation, Range, Strength, drawn, picked, within

Filter = Literal["bicubic", "bilinear", "area", "nearest"]


def _bicubic(t: Tensor) -> Tensor:
    """The cubic convolution kernel with a = -1/2, Pillow's (Keys 1981)."""
    t = t.abs()
    near, far = (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
    return torch.where(t < 1, near, torch.where(t < 2, far, 0.0))


def matrices(sources: Tensor, results: Tensor, columns: int, rows: int, kind: Filter) -> Tensor:
    """Matrices that resize one axis, each for its own pair of lengths: (N, rows, columns), float64.

    Args:
        sources: lengths (N,) of what is resized, whole numbers up to `columns`; columns beyond one are 0.
        results: lengths (N,) of the result, up to `rows`; what rows beyond one hold has no meaning.
    """
    sources, results = sources.double()[:, None, None], results.double()[:, None, None]
    step = sources / results
    i = torch.arange(rows, dtype=torch.float64, device=sources.device)[:, None]
    j = torch.arange(columns, dtype=torch.float64, device=sources.device)[None, :]
    i = torch.minimum(i, results - 1)
    inside, centre = j < sources, (i + 0.5) * step
    match kind:
        case "nearest":
            weights = (j == centre.floor()).double()
        case "area":
            weights = (torch.minimum(j + 1, (i + 1) * step) - torch.maximum(j, i * step)).clamp(min=0)
        case "bilinear":
            weights = (1 - ((j + 0.5 - centre) / step.clamp(min=1)).abs()).clamp(min=0)
        case "bicubic":
            weights = _bicubic((j + 0.5 - centre) / step.clamp(min=1))
    weights = torch.where(inside, weights, 0.0)
    return weights / weights.sum(2, keepdim=True)


@cache
def matrix(source: int, result: int, kind: Filter, device: torch.device) -> Tensor:
    """The matrix (result, source) that resizes an axis of `source` pixels, float64."""
    lengths = torch.full((1,), source, device=device), torch.full((1,), result, device=device)
    return matrices(*lengths, source, result, kind)[0]


def resized(levels: Tensor, height: int, width: int, kind: Filter) -> Tensor:
    """(N, C, H, W) -> (N, C, height, width)."""
    of_rows = matrix(levels.shape[2], height, kind, levels.device)
    of_columns = matrix(levels.shape[3], width, kind, levels.device)
    return (of_rows @ levels.double() @ of_columns.mT).to(levels.dtype)


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _not_empty(value: tuple[Filter, ...]) -> tuple[Filter, ...]:
    if not value:
        raise ValueError("is empty; name at least one filter")
    return value


Filters = Annotated[tuple[Filter, ...], BeforeValidator(_one_or_more), AfterValidator(_not_empty)]
"""One filter, or several of which each image draws one."""


class Resize(Operation):
    """Down by a factor and back up to the same size.

    Operations after it work at the full size again, whereas a chain that goes on at the small size would have coarser
    noise and blocks: a device cannot hold images of several sizes in one tensor. `finish` works at y's size.
    """

    strength: ClassVar = Strength("factor", 0)

    factor: Annotated[Range, within(1, 64)] = (1.0, 4.0)
    """How many times smaller the image is in between; its sides are rounded to whole pixels, at least one."""
    filter: Filters = ("bicubic",)
    """Filter of the way down: `bicubic`, `bilinear`, `area` or `nearest`, or several, of which each image draws one."""
    back: Filters = ("bicubic",)
    """Filter of the way back up, likewise."""

    def uniforms(self) -> int:
        return 3

    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        factor, which_down, which_up = drawn(self.factor, u[:, 0]), *u[:, 1:].unbind(1)
        height, width = levels.shape[2:]
        of_rows, of_columns = (self._there_and_back(size, factor, which_down, which_up) for size in (height, width))
        changed = of_rows[:, None] @ levels.double() @ of_columns[:, None].mT
        return changed.to(levels.dtype)

    def _there_and_back(self, size: int, factor: Tensor, which_down: Tensor, which_up: Tensor) -> Tensor:
        """(N, size, size)."""
        small, full = (size / factor).round().clamp(min=1), torch.full_like(factor, size)

        def chosen(kinds: tuple[Filter, ...], which: Tensor, sources: Tensor, results: Tensor) -> Tensor:
            index = picked((1.0,) * len(kinds), which)[:, None, None]
            of_kinds = [matrices(sources, results, size, size, kind) for kind in kinds]
            return sum((of_kind * (index == k) for k, of_kind in enumerate(of_kinds)), torch.zeros_like(of_kinds[0]))

        return chosen(self.back, which_up, small, full) @ chosen(self.filter, which_down, full, small)
