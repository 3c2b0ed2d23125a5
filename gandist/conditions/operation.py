"""The interface of operations that degrade images, and their helpers.

Inside an operation images are levels: 0 to 255, floats that need not be whole.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from gandist.conditions.making import Group
from gandist.gan.penalties import Noise
from gandist.options import Options

WHITE = 255.0
TIE = 2**-8
"""Added to a half before rounding down. The last bits of a sum depend on the device and its batch; a value halfway
between two levels, as means of whole levels often are, must not be decided by them."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""
THIRDS = 3


def _both_ends(value: object) -> object:
    return (value, value) if isinstance(value, int | float) else value


def _ordered(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"[{ends[0]:g}, {ends[1]:g}] ends below its start; write the smaller number first")
    return ends


Range = Annotated[tuple[float, float], BeforeValidator(_both_ends), AfterValidator(_ordered)]
"""[low, high], from which a number is drawn uniformly for each image; one number stands for itself."""


def within(low: float, high: float) -> AfterValidator:
    """Both ends of a range lie between these, inclusive."""

    def check(ends: tuple[float, float]) -> tuple[float, float]:
        if not low <= ends[0] <= ends[1] <= high:
            raise ValueError(f"[{ends[0]:g}, {ends[1]:g}] is not within {low:g} and {high:g}")
        return ends

    return AfterValidator(check)


def drawn(ends: tuple[float, float], u: Tensor) -> Tensor:
    """Uniform in the range, from u in [0, 1]."""
    return ends[0] + (ends[1] - ends[0]) * u


def drawn_whole(ends: tuple[float, float], u: Tensor) -> Tensor:
    """A whole number, all within the range equally likely, from u in [0, 1]."""
    low, high = -int(-ends[0] // 1), int(ends[1] // 1)
    return (low + (high + 1 - low) * u).floor().clamp(max=high)


def picked(weights: tuple[float, ...], u: Tensor) -> Tensor:
    """An index (N,) for each u (N,) in [0, 1], drawn by weight."""
    total, below, index = sum(weights), 0.0, torch.zeros_like(u, dtype=torch.long)
    for weight in weights[:-1]:
        below += weight
        index = index + (u >= below / total)
    return index


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """One number for each image (N,), in the type of `like` and broadcastable to (N, C, H, W)."""
    return values.to(like.dtype)[:, None, None, None]


def to_whole(levels: Tensor) -> Tensor:
    """The nearest whole levels; halves go up."""
    return (levels + (0.5 + TIE)).floor()


def grey_of(levels: Tensor) -> Tensor:
    """(N, 1, H, W): luma of three channels; the mean of another number of them."""
    if levels.shape[1] != len(LUMA):
        return levels.mean(1, keepdim=True)
    return sum((weight * levels[:, k : k + 1] for k, weight in enumerate(LUMA)), torch.zeros_like(levels[:, :1]))


class Strength(NamedTuple):
    """The range that says how much an operation changes an image."""

    field: str
    column: int
    """Its number among those that `Operation.apply` takes."""


class Operation(Options, ABC):
    """A random change of images. Its options are its fields; ranges are uniform, drawn for each image on its own.

    A new one is a class and a row in `gandist.conditions.operations.OPERATIONS`.
    """

    strength: ClassVar[Strength | None] = None
    """None: no single range says how much an image is changed."""

    p: float = Field(1.0, ge=0, le=1)
    """Probability with which an image is changed."""

    def uniforms(self) -> int:
        """Numbers in [0, 1) that `apply` needs for one image."""
        return 0

    def further(self) -> dict[str, Noise]:
        """Random numbers beside the uniform ones, by name."""
        return {}

    @abstractmethod
    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        """Change all images.

        Args:
            levels: (N, C, H, W) from 0 to 255, float32 or float64.
            u: (N, uniforms) in [0, 1], float64.
            further: the numbers that `further` describes, (N, ...), in the type of `levels`.

        Returns:
            (N, C, H, W); what lies outside of 0 to 255 is cut off. Image n depends on row n alone.
        """

    def noise(self) -> dict[str, Noise]:
        """The random numbers of this operation, its p included."""
        count = 1 + self.uniforms()
        return {"uniform": Noise("uniform", lambda sample: (count,)), **self.further()}

    def run(self, levels: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """Change each image with probability p; the arguments and result are those of `apply`, `numbers` of `noise`."""
        u = numbers["uniform"].double()
        further = {name: value.to(levels.dtype) for name, value in numbers.items() if name != "uniform"}
        changed = self.apply(levels, u[:, 1:], further).clamp(0, WHITE)
        return changed if self.p == 1 else torch.where(self.changes(u)[:, None, None, None], changed, levels)

    def changes(self, u: Tensor) -> Tensor:
        """Whether each image is changed (N,), by the numbers (N, 1 + uniforms) of `noise`."""
        return (u[:, 0] < self.p) | (self.p == 1)

    def groups(self, name: str, numbers: Mapping[str, Tensor]) -> Iterator[Group]:
        """The images that the operation of this name changes, and those of each third of its strength's range."""
        u = numbers["uniform"].double()
        changed = self.changes(u)
        yield Group("operation", name, changed)
        if self.strength is None:
            return
        low, high = getattr(self, self.strength.field)
        if low < high:
            third = (THIRDS * u[:, 1 + self.strength.column]).floor().clamp(max=THIRDS - 1)
            for k in range(THIRDS):
                ends = (drawn((low, high), torch.tensor(end / THIRDS)) for end in (k, k + 1))
                said = " to ".join(f"{float(end):.3g}" for end in ends)
                yield Group("strength", f"{name} {self.strength.field} {said}", changed & (third == k))


def under(prefix: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The entries below `prefix/`, without it."""
    return {name.removeprefix(f"{prefix}/"): value for name, value in numbers.items() if name.startswith(f"{prefix}/")}
