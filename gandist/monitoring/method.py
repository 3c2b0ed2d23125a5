"""What health has to know of a run's method, from its configuration."""

import math

from gandist.config.methods import latents_of
from gandist.config.run import RunConfig
from gandist.config.sample import medium_of
from gandist.gan.elbo import ELBO
from gandist.gan.objectives import OBJECTIVES
from gandist.monitoring.health import LIMITS, Method

TUNED_AT = 32 * 32
"""Values of the images that limits were set on: 32 x 32 pixels in grey."""


def method_of(config: RunConfig) -> Method:
    """What health has to know of the method, at the size of the run's samples."""
    values = math.prod(medium_of(config).network_shape) / TUNED_AT
    if config.game.objective == ELBO:
        return _of_elbo(values, latents_of(config))
    objective = OBJECTIVES[config.game.objective]
    return Method(objective.centred, dict.fromkeys(LIMITS, values**objective.grows))


def _of_elbo(values: float, latents: int) -> Method:
    """What health has to know of a VAE; `values`: of an image, in units of `TUNED_AT`.

    The reconstruction is a sum over the image's values, and gradients are for the most part its; the divergence is a
    sum over latents. It holds the exponential of what the encoder says of the variance, which one of the first steps
    may throw off by so much that a tick's mean tells of nothing else.
    """
    units = {"loss/D": float(latents), **dict.fromkeys(("loss/G", "grad_norm/D", "grad_norm/G"), values)}
    return Method(centred=False, units=units, ticks=2)
