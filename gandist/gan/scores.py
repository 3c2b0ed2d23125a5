"""D's scores of samples: one tensor, or several of any shape (patches, scales, periods).

A loss is computed on each tensor and averaged, so a D of several networks is still one player.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gandist.gan.networks.norms import at_least_float32

Scores = tuple[Tensor, ...]
"""Tensors (N, ...)."""


def as_scores(found: Tensor | Sequence[Tensor]) -> Scores:
    """D's result as a tuple, in float32 or wider."""
    return tuple(map(at_least_float32, (found,) if isinstance(found, Tensor) else found))


def over(loss: Callable[..., Tensor], *scores: Scores) -> Tensor:
    """Mean () of a loss over corresponding tensors: `over(objective.critic, real, fake)`."""
    terms = [loss(*each) for each in zip(*scores, strict=True)]
    return terms[0] if len(terms) == 1 else torch.stack(terms).mean()


def of_sample(scores: Scores) -> Tensor:
    """One score per sample (N,): the mean over its scores in each tensor, then over the tensors."""
    means = [each if each.dim() == 1 else each.flatten(1).mean(1) for each in scores]
    return means[0] if len(means) == 1 else torch.stack(means).mean(0)


def split(scores: Scores, parts: int) -> list[Scores]:
    """Split scores of `parts` equal batches, which went through D together."""
    return list(zip(*(each.chunk(parts) for each in scores), strict=True))
