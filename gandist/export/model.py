"""The averaged generator as a function of plain tensors, which is what a file of another format can hold."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gandist.config.sample import shapes
from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.networks.autoencoder import Autoencoder
from gandist.media.audio import Audio
from gandist.media.medium import Medium
from gandist.media.text import Text
from gandist.run.trained import Trained

BATCHES = (1, 7)
"""Batch sizes with which a file is compared with the network."""
TOLERANCE = 1e-4
"""Largest difference between a file's numbers and the network's."""
STEPS, STEPS_SOUND, STEPS_TEXT = 1, 4, 0
"""The same in levels of 255, in levels of 16 bits, and in numbers of symbols."""
TRACED = 3
"""Batch size of the example that networks are followed with: none of the above."""
BATCH = "batch"
SIDES = ("height", "width")
CODES, CODE_SIDES = "codes", ("rows", "columns")
FRAMES = "frames"

Sizes = tuple[int, ...]
Apart = Callable[[tuple[Tensor, ...], Tensor, Tensor], float]


def difference(given: tuple[Tensor, ...], expected: Tensor, found: Tensor) -> float:
    """The largest difference between two results of the same inputs."""
    return float((found.double() - expected.double()).abs().max())


@dataclass(frozen=True)
class Input:
    """An input of the exported network."""

    name: str
    kind: str
    """What it holds: `normal` numbers, `classes`, `vectors`, `pictures`, `masks`, `mels` or `codes`."""
    shape: tuple[int | str, ...]
    """A name stands where the size is the reader's choice."""
    below: int = 0
    """Of whole numbers, such as classes: how many there are; 0 for other numbers."""

    @property
    def dtype(self) -> torch.dtype:
        return torch.int64 if self.below else torch.float32

    @property
    def dynamic(self) -> dict[int, str]:
        """The axes whose size is the reader's choice, by number."""
        return {axis: size for axis, size in enumerate(self.shape) if isinstance(size, str)}

    def example(self, batch: int, sizes: Sizes, generator: torch.Generator) -> Tensor:
        """Random values; `sizes`: of the axes behind the batch that have names."""
        left = iter(sizes)
        shape = [batch, *(next(left) if isinstance(size, str) else size for size in self.shape[1:])]
        if self.below:
            return torch.randint(self.below, shape, generator=generator)
        if self.kind == "pictures":
            return torch.rand(shape, generator=generator) * 2 - 1
        if self.kind == "masks":
            return (torch.rand(shape, generator=generator) > 0.5).float()
        numbers = torch.randn(shape, generator=generator)
        return nn.functional.normalize(numbers, dim=1) if self.kind == "vectors" else numbers


@dataclass(frozen=True)
class Model:
    """What is exported."""

    network: str
    """The pair's name."""
    net: nn.Module
    """A function of the `inputs`, in their order; its forward takes `*given`."""
    inputs: tuple[Input, ...]
    output: str
    """Name of what `net` gives."""
    sizes: tuple[Sizes, ...]
    """Sizes of the named axes with which a file is compared; () where only the batch has a name."""
    multiple: int
    """Sizes that `net` takes are multiples of this."""
    tolerance: float = TOLERANCE
    """Largest difference between a file's results and those of `net`."""
    apart: Apart = difference
    """The difference between what `net` and a file make of the same inputs, in this order."""

    @property
    def integers(self) -> bool:
        """Whether `net` gives rows as files hold them; else what networks see."""
        return self.tolerance != TOLERANCE

    def example(self, batch: int, sizes: Sizes) -> tuple[Tensor, ...]:
        """Values for the inputs, always the same ones."""
        generator = torch.Generator().manual_seed(batch)
        return tuple(each.example(batch, sizes, generator) for each in self.inputs)

    def traced(self) -> tuple[Tensor, ...]:
        """The example that the network is followed with."""
        return self.example(TRACED, self.sizes[-1])

    def examples(self) -> Iterator[tuple[Tensor, ...]]:
        """Those that a file is compared with."""
        for sizes in self.sizes:
            for batch in BATCHES:
                yield self.example(batch, sizes)


class Plain(nn.Module):
    """G with its inputs one after the other: latents, if it takes any, and those of its condition."""

    def __init__(self, G: nn.Module, latents: bool, masked: bool, medium: Medium | None) -> None:
        """`medium`: turns what G gives into rows."""
        super().__init__()
        self.G, self.latents, self.masked, self.medium = G, latents, masked, medium

    def forward(self, *given: Tensor) -> Tensor:
        z, of_condition = (given[0], given[1:]) if self.latents else (None, given)
        y = of_condition[0] if of_condition else None
        if self.masked:
            picture, mask = of_condition
            y = torch.cat([picture * (1 - mask), mask], dim=1)
        made = self._made(z, y)
        return made if self.medium is None else self.medium.from_network(made)

    def _made(self, z: Tensor | None, y: Tensor | None) -> Tensor:
        if not isinstance(self.G, Autoencoder):
            assert z is not None or y is not None
            made: Tensor = self.G(y.new_zeros(y.shape[0], 0) if z is None and y is not None else z, y)
            return made
        assert y is not None
        images = self.G.decode(self.G.encode(y))  # of a Gaussian code its mean: there is no noise
        return torch.where(y[:, -1:] > 0.5, images, y[:, : self.G.channels]) if self.masked else images


def model_of(trained: Trained, integers: bool = False) -> Model:
    """The generator of a run as it is exported, on the CPU; `integers`: it gives rows as files hold them."""
    medium = trained.medium
    model = model_for(trained.config.model.name, trained.G, shapes(trained.config)[0], medium if integers else None)
    return replace(model, output=medium.nouns[1], tolerance=tolerance_of(medium) if integers else TOLERANCE)


def tolerance_of(medium: Medium) -> int:
    """The largest difference between rows as files hold them."""
    return STEPS_SOUND if isinstance(medium, Audio) else STEPS_TEXT if isinstance(medium, Text) else STEPS


def model_for(name: str, G: nn.Module, shape: Shape, medium: Medium | None = None) -> Model:
    """A generator of the pair `name`, built to this shape, as it is exported, on the CPU.

    Args:
        medium: turns what G gives into rows.
    """
    pair = NETWORKS[name]
    latents = 0 if isinstance(G, Autoencoder) else pair.latents(shape)
    inputs = [*([Input("latents", "normal", (BATCH, latents))] if latents else []), *_of_condition(shape)]
    unit = pair.multiple(shape)
    sizes: tuple[Sizes, ...] = ((),)
    if len(inputs[-1].dynamic) > 1:
        sizes = two_sizes(shape.y[1:], unit)
    net = Plain(_without_parametrisations(G), bool(latents), shape.masked, medium).eval().requires_grad_(False)
    return Model(name, net, tuple(inputs), "samples", sizes, unit)


def two_sizes(first: Sizes, multiple: int) -> tuple[Sizes, Sizes]:
    """`first`, and sizes beyond it by multiples."""
    return first, tuple(size + multiple * (2 - axis) for axis, size in enumerate(first))


def _of_condition(shape: Shape) -> list[Input]:
    """The inputs that the condition takes."""
    if shape.classes:
        return [Input("labels", "classes", (BATCH,), shape.classes)]
    if shape.text_dim:
        return [Input("captions", "vectors", (BATCH, shape.text_dim))]
    if not shape.y:
        return []
    if len(shape.y) == 2:
        return [Input("mels", "mels", (BATCH, shape.y[0], FRAMES))]
    pictures = Input("pictures", "pictures", (BATCH, shape.y[0] - shape.masked, *SIDES))
    return [pictures, Input("masks", "masks", (BATCH, 1, *SIDES))] if shape.masked else [pictures]


def _without_parametrisations(G: nn.Module) -> nn.Module:
    """A copy on the CPU whose weights are computed once, not in each pass."""
    found: Any = copy.deepcopy(G).cpu()
    for module in found.modules():
        for name in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return found  # type: ignore[no-any-return]
