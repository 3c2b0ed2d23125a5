"""Kinds of holes in images, drawn from uniform numbers."""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from gandist.conditions.operation import Range, drawn, drawn_whole, picked, within
from gandist.options import Options


class Hole(Options, ABC):
    """A kind of hole. Ranges are uniform, drawn for each image on its own.

    A new one is a class and a row in `gandist.conditions.holes.HOLES`.
    """

    weight: float = Field(1.0, gt=0)
    """How likely this kind is, relative to the others."""

    def called(self, name: str) -> str:
        """What measures call holes of this kind, whose name in the table is given."""
        return name

    @abstractmethod
    def uniforms(self) -> int:
        """Numbers in [0, 1) that one hole needs."""

    @abstractmethod
    def hole(self, u: Tensor, height: int, width: int) -> Tensor:
        """Whether each pixel lies in the hole: (N, height, width) bool, for u (N, uniforms) float64. Row n depends on
        u[n] alone."""


def _places(size: int, u: Tensor) -> Tensor:
    return torch.arange(size, device=u.device)


def _interval(size: int, length: Tensor, u: Tensor) -> Tensor:
    """Whether each place lies in an interval of a whole length (N,), anywhere inside: (N, size)."""
    first = (u * (size - length + 1)).floor().minimum(size - length)[:, None]
    places = _places(size, u)
    return (places >= first) & (places < first + length[:, None])


def _window(rows: Tensor, columns: Tensor) -> Tensor:
    return rows[:, :, None] & columns[:, None, :]


class Box(Hole):
    """A rectangle, anywhere inside the image."""

    area: Annotated[Range, within(0.001, 0.99)] = (0.1, 0.5)
    """Share of the image's area."""
    aspect: Annotated[Range, within(1, 100)] = (1.0, 2.0)
    """How many times longer one side is than the other, as far as the image has room; either may be the longer one."""

    def uniforms(self) -> int:
        return 5

    def hole(self, u: Tensor, height: int, width: int) -> Tensor:
        area, aspect, upright, top, left = u.unbind(1)
        pixels = drawn(self.area, area) * height * width
        ratio = drawn(self.aspect, aspect)
        tall = (pixels * torch.where(upright < 0.5, ratio, 1 / ratio)).sqrt().clamp(max=height)
        wide = (pixels / tall).clamp(max=width)
        tall = (pixels / wide).round().clamp(1, height)
        wide = (pixels / tall).round().clamp(1, width)
        return _window(_interval(height, tall, top), _interval(width, wide, left))


Side = Literal["left", "right", "top", "bottom"]


class Half(Hole):
    """One half of the image."""

    sides: tuple[Literal["left", "right", "top", "bottom"], ...] = Field(
        ("left", "right", "top", "bottom"), min_length=1
    )
    """The halves that may be missing, all equally likely."""

    def uniforms(self) -> int:
        return 1

    def hole(self, u: Tensor, height: int, width: int) -> Tensor:
        down, right = (_places(size, u) for size in (height, width))
        left, above = 2 * right < width, 2 * down < height
        halves = {"left": left, "right": ~left, "top": above[:, None], "bottom": ~above[:, None]}
        side = picked((1.0,) * len(self.sides), u[:, 0])[:, None, None]
        hole = torch.zeros(len(u), height, width, dtype=torch.bool, device=u.device)
        for k, name in enumerate(self.sides):
            hole = hole | ((side == k) & halves[name])
        return hole


class Border(Hole):
    """Everything but a window, so that G continues the image to the outside."""

    window: Annotated[Range, within(0.05, 0.95)] = (0.4, 0.8)
    """Height and width of the window, relative to the image's."""
    centred: bool = False
    """Whether the window lies in the middle, else anywhere."""

    def uniforms(self) -> int:
        return 3

    def hole(self, u: Tensor, height: int, width: int) -> Tensor:
        share = drawn(self.window, u[:, 0])
        # Not the whole image: one pixel of the longer axis stays outside.
        most = (height - (height >= width), width - (width > height))
        sides = [
            (share * size).round().clamp(min=1, max=max(1, at_most))
            for size, at_most in zip((height, width), most, strict=True)
        ]
        places = (torch.full_like(u[:, 1:], 0.5) if self.centred else u[:, 1:]).unbind(1)
        rows, columns = (
            _interval(size, side, place) for size, side, place in zip((height, width), sides, places, strict=True)
        )
        return ~_window(rows, columns)


class Strokes(Hole):
    """Free-form strokes: polygonal chains of random thickness, in the manner of LaMa (Suvorov et al. 2021,
    arXiv:2109.07161, section 2.3). Lengths are relative to the image's shorter side."""

    style: Literal["wide", "narrow"] = "wide"
    """Decides the fields below that are not given: few thick strokes, or many thin ones."""
    chains: Annotated[Range, within(1, 20)] = (1.0, 4.0)
    """How many chains: whole numbers."""
    segments: Annotated[Range, within(1, 20)] = (2.0, 5.0)
    """How many segments a chain has: whole numbers. The largest product with `chains` is what a mask costs."""
    length: Annotated[Range, within(0, 2)] = (0.1, 0.6)
    """Length of a segment; a chain stays inside the image."""
    thickness: Annotated[Range, within(0, 1)] = (0.1, 0.35)
    """Thickness of a chain, at least a pixel and a half."""
    turn: float = Field(120.0, ge=0, le=180)
    """Largest turn from one segment to the next, in degrees."""

    @model_validator(mode="before")
    @classmethod
    def _of_style(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("style"), str):
            return STYLES.get(given["style"], {}) | given
        return given

    def called(self, name: str) -> str:
        return f"{name}-{self.style}"

    def _most(self) -> tuple[int, int]:
        return int(self.chains[1]), int(self.segments[1])

    def uniforms(self) -> int:
        chains, segments = self._most()
        return 1 + chains * (5 + 2 * segments)

    def hole(self, u: Tensor, height: int, width: int) -> Tensor:
        chains, segments = self._most()
        side = min(height, width)
        count = drawn_whole(self.chains, u[:, 0])
        of_chains = u[:, 1:].reshape(len(u), chains, 5 + 2 * segments)
        start, (turned, many, thick) = of_chains[:, :, :2], of_chains[:, :, 2:5].unbind(2)
        turns, lengths = of_chains[:, :, 5 : 5 + segments], of_chains[:, :, 5 + segments :]
        many = torch.where(torch.arange(chains, device=u.device) < count[:, None], drawn_whole(self.segments, many), 0)
        half = (drawn(self.thickness, thick) * side / 2).clamp(min=0.75)
        turns = math.radians(self.turn) * (2 * turns - 1)
        direction = 2 * math.pi * turned[:, :, None] + turns.cumsum(2) - turns[:, :, :1]
        steps = torch.stack([direction.sin(), direction.cos()], 3) * (drawn(self.length, lengths) * side)[..., None]
        last = u.new_zeros(2)
        last[0].fill_(height - 1)
        last[1].fill_(width - 1)
        here, hole = start * last, torch.zeros(len(u), height, width, dtype=torch.bool, device=u.device)
        for k in range(segments):
            there = torch.minimum((here + steps[:, :, k]).clamp(min=0), last)
            for chain in range(chains):
                near = within_reach(here[:, chain], there[:, chain], half[:, chain], height, width)
                hole = hole | (near & (k < many[:, chain])[:, None, None])
            here = there
        return hole


def within_reach(a: Tensor, b: Tensor, reach: Tensor, height: int, width: int) -> Tensor:
    """Whether each pixel's centre is that near to a segment: (N, height, width).

    Args:
        a, b: (N, 2), the segment's ends: rows and columns of pixels.
        reach: (N,), in pixels.
    """
    a, b, reach = a.float(), b.float(), reach.float()
    down = torch.arange(height, device=a.device)[:, None] - a[:, 0, None, None]
    right = torch.arange(width, device=a.device) - a[:, 1, None, None]
    way_down, way_right = (b - a)[:, :, None, None].unbind(1)
    way = way_down.square() + way_right.square()
    t = ((down * way_down + right * way_right) / way.clamp(min=1e-6)).clamp(0, 1)
    distance = (down - t * way_down).square() + (right - t * way_right).square()
    return distance <= reach.square()[:, None, None]


STYLES: dict[str, dict[str, Any]] = {
    "wide": {},
    "narrow": {"chains": (2, 6), "segments": (3, 6), "length": (0.05, 0.3), "thickness": (0.02, 0.08)},
}
"""Fields of `Strokes` that a style changes."""

HOLES: dict[str, type[Hole]] = {"box": Box, "half": Half, "strokes": Strokes, "border": Border}
