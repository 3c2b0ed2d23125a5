"""The losses of the two players, by name (Goodfellow et al. 2014, arXiv:1406.2661, and later).

One-sided label smoothing (Salimans et al. 2016, arXiv:1606.03498, section 3.4) is a term added to D's loss.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Objective(NamedTuple):
    """The loss of each player, as a function of D's scores: logits, higher for real."""

    critic: Callable[[Tensor, Tensor], Tensor]
    """(D(x), D(G(z))) -> D's loss."""
    generator: Callable[[Tensor, Tensor], Tensor]
    """(D(x), D(G(z))) -> G's loss. Most use the second argument alone."""
    paired: bool = False
    """Whether G's loss depends on D(x), which is computed for G's update only then."""
    centred: bool = True
    """Whether 0 separates real from generated scores. If only differences count, or scores tend to 0 and 1, the sign
    of a score carries no information."""
    grows: float = 0.0
    """Exponent by which the losses grow with the number of values of an image: 0 for logits and scores with a target;
    a half if D's slope is bounded, for scores then differ by the distance between images. Health limits grow alike."""
    smoothing: Callable[[Tensor, float], Tensor] | None = None
    """(D(x), s) -> the term that labelling real images 1 - s adds to D's loss; None for objectives without labels."""


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """-E log sigmoid(D(x)) - E log(1 - sigmoid(D(G(z)))): the value function of the 2014 paper, negated."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _softer_cross_entropy(real: Tensor, s: float) -> Tensor:
    """The contribution of s to -(1 - s) E log sigmoid(D(x)) - s E log(1 - sigmoid(D(x))): s E D(x)."""
    return s * real.mean()


OBJECTIVES: dict[str, Objective] = {
    # Eq. 1 of the 2014 paper: G minimises E log(1 - sigmoid(D(G(z)))). The gradient vanishes when D is confident.
    "minimax": Objective(_cross_entropy, lambda real, fake: -F.softplus(fake).mean(), smoothing=_softer_cross_entropy),
    # The same game with the non-saturating loss of the paper's section 3: G maximises E log sigmoid(D(G(z))).
    "ns": Objective(_cross_entropy, lambda real, fake: F.softplus(-fake).mean(), smoothing=_softer_cross_entropy),
    # Least squares with a=0, b=c=1 (Mao et al. 2017, arXiv:1611.04076, eq. 2 and 9).
    "ls": Objective(
        lambda real, fake: 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean(),
        lambda real, fake: 0.5 * (fake - 1).square().mean(),
        centred=False,
        smoothing=lambda real, s: s * (real - 1).mean() + 0.5 * s**2,
    ),
    # The critic of WGAN (Arjovsky et al. 2017, arXiv:1701.07875): a penalty or clipping must keep it Lipschitz.
    "wasserstein": Objective(
        lambda real, fake: fake.mean() - real.mean(),
        lambda real, fake: -fake.mean(),
        centred=False,
        grows=0.5,
    ),
    # Hinge (Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957, eq. 16 and 17).
    "hinge": Objective(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), lambda real, fake: -fake.mean()
    ),
    # Relativistic pairing (Jolicoeur-Martineau 2019, arXiv:1807.00734; Huang et al. 2024, arXiv:2501.05441):
    # each fake is compared with one real image.
    "rp": Objective(
        lambda real, fake: F.softplus(fake - real).mean(),
        lambda real, fake: F.softplus(real - fake).mean(),
        paired=True,
        centred=False,
    ),
}
