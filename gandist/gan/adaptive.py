"""The objective's weight in the loss of a G that also compares: VQGAN's ratio of gradients.

Esser et al. 2021 (arXiv:2012.09841, eq. 7): lambda = |grad L_rec| / (|grad L_gan| + delta), where both gradients are
those of the weights of the decoder's last layer, so that critic and comparison pull at G alike, whatever the scales of
their losses. The paper's delta is 1e-6; this is 1e-4, and lambda is at most 1e4.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

DELTA, MOST = 1e-4, 1e4


def adaptive_weight(compared: Tensor, judged: Tensor, G: nn.Module, average: Callable[[Tensor], Tensor]) -> Tensor:
    """The factor () of the objective, detached; all on the device.

    Args:
        compared: the weighted sum () of the penalties that compare, L_rec.
        judged: the objective () in G's loss, L_gan.
        G: names its last layer by the method `last_layer`, which returns its weights.
        average: the mean of a tensor over the ranks, in place. Gradients are averaged before their norms are taken, so
            that any number of ranks finds the ratio of the whole batch.
    """
    net: Any = G
    last: Tensor = net.last_layer()
    gradients = [torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (compared, judged)]
    of_compared, of_judged = average(torch.stack(gradients)).flatten(1).norm(dim=1).unbind()
    ratio: Tensor = of_compared / (of_judged + DELTA)
    return ratio.clamp(0, MOST).detach()
