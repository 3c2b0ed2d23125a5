"""What the two players minimise, by name (Goodfellow et al. 2014, arXiv:1406.2661, and after).

One-sided label smoothing (Salimans et al. 2016, arXiv:1606.03498, section 3.4) is a term added to D's loss.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Objective(NamedTuple):
    """What each player minimises, from the scores D gives: logits, the higher the more real."""

    critic: Callable[[Tensor, Tensor], Tensor]
    """(D(x), D(G(z))) -> D's loss."""
    generator: Callable[[Tensor, Tensor], Tensor]
    """(D(x), D(G(z))) -> G's loss. Most look at the second alone."""
    paired: bool = False
    """Whether G's loss looks at D(x): it is computed for G's update only where it does."""
    centred: bool = True
    """Whether 0 lies between real and generated scores. Where only differences count, or scores go to 0 and 1, their
    sign says nothing."""
    grows: float = 0.0
    """By which power of the number of an image's values its losses grow: 0 for logits and for scores with a target, a
    half for distances between images, which D's scores differ by where its slope is bounded. Limits of health grow
    alike."""
    smoothing: Callable[[Tensor, float], Tensor] | None = None
    """(D(x), s) -> what it adds to D's loss that real images are labelled 1 - s; None where there are no labels."""


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """-E log sigmoid(D(x)) - E log(1 - sigmoid(D(G(z)))): the value function of the 2014 paper, negated."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _softer_cross_entropy(real: Tensor, s: float) -> Tensor:
    """Of -(1 - s) E log sigmoid(D(x)) - s E log(1 - sigmoid(D(x))), what s contributes: s E D(x)."""
    return s * real.mean()


OBJECTIVES: dict[str, Objective] = {
    # Eq. 1 of the 2014 paper: G minimises E log(1 - sigmoid(D(G(z)))). Its gradient fades where D is sure.
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
    # The critic of WGAN (Arjovsky et al. 2017, arXiv:1701.07875): it has to be kept Lipschitz by other means.
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
