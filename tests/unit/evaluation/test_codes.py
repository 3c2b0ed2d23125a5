"""How a codebook is used: by counts, over any number of ranks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from gandist.distributed.ranks import Ranks
from gandist.evaluation.codes import code_use
from gandist.evaluation.restoration import Restoration

CPU = torch.device("cpu")


def test_use_by_hand() -> None:
    assert code_use(torch.tensor([5, 5, 5, 5])) == {"codebook_perplexity": pytest.approx(4), "codebook_used": 1}
    assert code_use(torch.tensor([0, 9, 0, 0])) == {"codebook_perplexity": pytest.approx(1), "codebook_used": 0.25}
    found = code_use(torch.tensor([3, 1, 0, 0]))
    assert found["codebook_perplexity"] == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))
    assert found["codebook_used"] == 0.5


class Coded:
    """Its codes are the values of the images."""

    def code_counts(self, y: Tensor) -> Tensor:
        return torch.bincount(y.flatten().long(), minlength=7)


def restoration(rank: int, world_size: int) -> Restoration:
    """One of a run whose samples are their numbers modulo 7."""
    found = Restoration.__new__(Restoration)
    found.ranks, found.numbers = Ranks(rank, world_size, CPU), np.arange(100)[::-1]
    found.examples = SimpleNamespace(of=lambda numbers: (None, torch.from_numpy(numbers % 7)[:, None]))  # type: ignore[assignment]
    return found


def test_each_sample_counts_once_on_any_number_of_ranks() -> None:
    trained = SimpleNamespace(G=Coded())
    alone = restoration(0, 1).code_counts(trained, 60)  # type: ignore[arg-type]
    assert alone is not None
    assert torch.equal(alone, torch.bincount(torch.arange(40, 100) % 7))
    for world in (2, 70):
        parts = [restoration(rank, world).code_counts(trained, 60) for rank in range(world)]  # type: ignore[arg-type]
        assert torch.equal(sum(part for part in parts if part is not None), alone)  # type: ignore[arg-type]


def test_without_codes_there_is_nothing_to_count() -> None:
    assert restoration(0, 1).code_counts(SimpleNamespace(G=object()), 60) is None  # type: ignore[arg-type]
