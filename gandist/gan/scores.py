"""What D makes of samples: one tensor of scores, or several of any shape (patches, scales, periods).

Losses are taken of each tensor and averaged, so that a D of several networks is one player still.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gandist.gan.networks.norms import at_least_float32

Scores = tuple[Tensor, ...]
"""Each (N, ...)."""


def as_scores(found: Tensor | Sequence[Tensor]) -> Scores:
    """What a D has returned, as a tuple, in float32 at least."""
    return tuple(map(at_least_float32, (found,) if isinstance(found, Tensor) else found))


def over(loss: Callable[..., Tensor], *scores: Scores) -> Tensor:
    """The mean () over D's tensors of a loss of corresponding ones: `over(objective.critic, real, fake)`."""
    terms = [loss(*each) for each in zip(*scores, strict=True)]
    return terms[0] if len(terms) == 1 else torch.stack(terms).mean()


def of_sample(scores: Scores) -> Tensor:
    """One score for each sample (N,): the mean of its scores in each tensor, and over the tensors."""
    means = [each if each.dim() == 1 else each.flatten(1).mean(1) for each in scores]
    return means[0] if len(means) == 1 else torch.stack(means).mean(0)


def split(scores: Scores, parts: int) -> list[Scores]:
    """The scores of that many batches of one size, which went through D together."""
    return list(zip(*(each.chunk(parts) for each in scores), strict=True))
