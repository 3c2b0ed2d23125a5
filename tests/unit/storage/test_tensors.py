"""A file of tensors is byte for byte what the safetensors package writes."""

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from gandist.storage.tensors import NAMES, serialised

SHAPES = ((), (0,), (3,), (2, 3, 5, 7), (1, 1, 1, 1))


def of(dtype: torch.dtype, seed: int = 0) -> dict[str, Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    return {
        f"{name}.{i}": torch.randint(0, 2, shape, generator=numbers).to(dtype)
        for name in ("conv.weight", "a", "Z", 'é "\\')
        for i, shape in enumerate(SHAPES)
    }


def test_every_type_alone_and_all_together() -> None:
    every = {f"{dtype}.{name}": tensor for dtype in NAMES for name, tensor in of(dtype).items()}
    for tensors in ({}, every, *map(of, NAMES)):
        assert bytes(serialised(tensors)) == save(tensors)
    assert all(torch.equal(found, every[name]) for name, found in load(bytes(serialised(every))).items())


def test_whatever_the_layout() -> None:
    rows = {"w": torch.randn(4, 3, 5, 6), "m": torch.randn(6, 4)}
    lying = {"w": rows["w"].to(memory_format=torch.channels_last), "m": rows["m"].T.contiguous().T}
    assert not any(tensor.is_contiguous() for tensor in lying.values())
    assert bytes(serialised(lying)) == save(rows)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.float8_e4m3fn])
def test_types_that_it_does_not_know_are_left_to_the_package(dtype: torch.dtype) -> None:
    tensors = {"a": torch.ones(3).to(dtype), "b": torch.ones(2)}
    assert bytes(serialised(tensors)) == save(tensors)
