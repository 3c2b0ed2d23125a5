"""The steps of a piecewise-linear network, so that a pass can be recorded and replayed (`gandist.gan.judged`)."""

from collections.abc import Callable
from functools import partial
from typing import TypeGuard

from torch import Tensor, nn

from gandist.gan.kernels import usable
from gandist.gan.networks.activation import bias_leaky_relu

Convolution = nn.Conv2d | nn.Conv3d


class Tape:
    """Does the steps that have parameters or a gate, and keeps nothing: an ordinary forward pass."""

    def linear(self, operation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """operation(x), which is linear in x (N, ...), without a constant, sample by sample; it may have parameters."""
        return operation(x)

    def activated(self, conv: Convolution, act: nn.LeakyReLU, x: Tensor) -> Tensor:
        """act(conv(x)); conv has a bias. With kernels the activation adds it, and `forward` of both is bypassed."""
        if not usable(x):
            y: Tensor = act(self.linear(conv, x))
            return y
        assert conv.bias is not None
        return bias_leaky_relu(self.linear(partial(unbiased, conv), x), conv.bias, act.negative_slope)

    def gate(self, act: nn.LeakyReLU, x: Tensor) -> Tensor:
        """act(x), for the result x of a linear step."""
        y: Tensor = act(x)
        return y


SILENT = Tape()


class PiecewiseLinear(nn.Module):
    """A D whose score of a sample is a piecewise linear function of that sample alone.

    `forward(x, y, tape=SILENT)` gives one score per sample (N,), in float32 or wider; `forward(x, y, u, tape=SILENT)`
    if D takes random numbers (`gandist.gan.penalties.uniforms_of`). Every use of a parameter is a step of the tape.
    Between these steps are only maps without parameters that are linear in the features and treat each sample alone,
    such as resampling, sums, and moves by u. The steps do not depend on the features' values. A parameter that is used
    elsewhere would miss its gradient: `gandist.testing.check_pair` notices.
    """

    piecewise_linear = True
    """Whether all of this holds for this instance: it may depend on its options, such as the normalisation."""


def is_piecewise_linear(D: nn.Module) -> TypeGuard[PiecewiseLinear]:
    """Whether D's slopes can be differentiated by `gandist.gan.judged`."""
    return isinstance(D, PiecewiseLinear) and D.piecewise_linear


def unbiased(conv: Convolution, x: Tensor) -> Tensor:
    """The convolution without its bias, by the layer's own way."""
    found: Tensor = conv._conv_forward(x, conv.weight, None)
    return found
