"""Kinds of conditions, as a file of `imports`, for small runs that enlarge, colour and fill."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.conditions.kinds import MAKERS, Itself


class Smaller(Itself):
    """y is x at a quarter of its height and width."""

    def shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        return sample[0], sample[1] // 4, sample[2] // 4

    def make(self, x: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        return F.avg_pool2d(x, 4)

    def picture(self, y: Tensor, sample: tuple[int, ...]) -> Tensor:
        return F.interpolate(y, scale_factor=4.0)


class Coloured(Itself):
    """y is x without its colours."""

    operations: tuple[dict[str, Any], ...] = ({"grey": {"p": 1.0}},)

    def make(self, x: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        return x.mean(1, keepdim=True).expand_as(x)


class Holed(Itself):
    """y is x without its right half."""

    def shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        return sample[0] + 1, *sample[1:]

    def make(self, x: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        mask = torch.zeros_like(x[:, :1])
        mask[..., x.shape[-1] // 2 :] = 1
        return torch.cat([x * (1 - mask), mask], dim=1)

    def picture(self, y: Tensor, sample: tuple[int, ...]) -> Tensor:
        return y[:, : sample[0]]


MAKERS["smaller"] = Smaller
MAKERS["coloured"] = Coloured
MAKERS.setdefault("masked", Holed)
