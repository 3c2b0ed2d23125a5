"""The table of operations, chains of them, and operations made of others."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Self

import torch
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator
from torch import Tensor

from gandist.conditions.blurs import Blur, Motion, Sinc
from gandist.conditions.jpeg import Jpeg
from gandist.conditions.making import Group
from gandist.conditions.named import as_mapping, from_mapping, name_of
from gandist.conditions.operation import Operation, picked, under
from gandist.conditions.pixelwise import Gaussian, Grey, Poisson, Quantise
from gandist.conditions.resampling import Resize
from gandist.gan.penalties import Noise

Named = Annotated[
    Operation,
    BeforeValidator(lambda value: from_mapping(value, OPERATIONS, "an operation")),
    PlainSerializer(lambda operation: as_mapping(operation, OPERATIONS)),
    WithJsonSchema({"type": "object", "minProperties": 1, "maxProperties": 1}),
]
"""An operation, written as a mapping from its name to its options."""


def noise_of(chain: Sequence[Operation]) -> dict[str, Noise]:
    """The random numbers of a chain, below each operation's position and name: `0/blur/uniform`."""
    return {
        f"{position}/{name_of(operation, OPERATIONS)}/{name}": noise
        for position, operation in enumerate(chain)
        for name, noise in operation.noise().items()
    }


def groups_of(chain: Sequence[Operation], numbers: Mapping[str, Tensor]) -> Iterator[Group]:
    """The images that each operation changes; `numbers` as `noise_of` names them, of which uniform ones suffice."""
    for position, operation in enumerate(chain):
        name = name_of(operation, OPERATIONS)
        yield from operation.groups(name, under(f"{position}/{name}", numbers))


def run_one(chain: Sequence[Operation], position: int, levels: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
    operation = chain[position]
    return operation.run(levels, under(f"{position}/{name_of(operation, OPERATIONS)}", numbers))


def run_in_turn(chain: Sequence[Operation], levels: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
    """(N, C, H, W) -> (N, C, H, W); `numbers` as `noise_of` names them."""
    for position in range(len(chain)):
        levels = run_one(chain, position, levels, numbers)
    return levels


def run_shuffled(chain: Sequence[Operation], levels: Tensor, numbers: Mapping[str, Tensor], order: Tensor) -> Tensor:
    """Each image in its own order, in which `order` (N, K) sorts the K operations; takes K^2 of them."""
    orders = order.argsort(dim=1, stable=True)
    for turn in orders.unbind(1):
        before = levels
        for position in range(len(chain)):
            changed = run_one(chain, position, before, numbers)
            levels = torch.where((turn == position)[:, None, None, None], changed, levels)
    return levels


class Compound(Operation):
    """An operation made of others."""

    of: tuple[Named, ...] = Field(min_length=1)
    """The operations."""

    def further(self) -> dict[str, Noise]:
        return noise_of(self.of)

    def groups(self, name: str, numbers: Mapping[str, Tensor]) -> Iterator[Group]:
        """Those of its operations."""
        u = numbers["uniform"].double()
        for position in range(len(self.of)):
            does = self.changes(u) & self._does(position, u[:, 1:])
            one = name_of(self.of[position], OPERATIONS)
            for group in self.of[position].groups(one, under(f"{position}/{one}", numbers)):
                yield group._replace(members=group.members & does)

    def _does(self, position: int, u: Tensor) -> Tensor:
        """Whether each image (N,) gets this operation, by the numbers of `apply`."""
        return torch.ones(len(u), dtype=torch.bool, device=u.device)


class Either(Compound):
    """One of several operations, drawn for each image. All are computed."""

    weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """How likely each operation is, relative to the others; equally if empty."""

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        if self.weights and len(self.weights) != len(self.of):
            raise ValueError(f"weights: {len(self.weights)} of them for {len(self.of)} operations; write one for each")
        return self

    def uniforms(self) -> int:
        return 1

    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        out = levels
        for position in range(len(self.of)):
            changed = run_one(self.of, position, levels, further)
            out = torch.where(self._does(position, u)[:, None, None, None], changed, out)
        return out

    def _does(self, position: int, u: Tensor) -> Tensor:
        return picked(self.weights or (1.0,) * len(self.of), u[:, 0]) == position


class Shuffled(Compound):
    """Several operations in a random order, drawn for each image. K operations cost as much as K^2."""

    def uniforms(self) -> int:
        return len(self.of)

    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        return run_shuffled(self.of, levels, further, u)


OPERATIONS: dict[str, type[Operation]] = {
    "blur": Blur,
    "motion": Motion,
    "sinc": Sinc,
    "resize": Resize,
    "noise": Gaussian,
    "poisson": Poisson,
    "jpeg": Jpeg,
    "grey": Grey,
    "quantise": Quantise,
    "either": Either,
    "shuffled": Shuffled,
}
