"""Facts about a run's method that its health needs, from its configuration."""

import math

from gandist.config.methods import latents_of
from gandist.config.run import RunConfig
from gandist.config.sample import medium_of
from gandist.gan.elbo import ELBO
from gandist.gan.likelihood import LIKELIHOOD
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.supervised import NONE
from gandist.monitoring.health import LIMITS, Method

TUNED_AT = 32 * 32
"""Number of values in the images that the limits were tuned on: 32 x 32 pixels in grey."""


def method_of(config: RunConfig) -> Method:
    """The facts about the method that health needs, for the run's sample size."""
    medium = medium_of(config)
    if config.game.objective == LIKELIHOOD:  # a sum over the places of a text
        facts = Method(centred=False, units=dict.fromkeys(("loss/G", "grad_norm/G"), float(medium.row.values)))
    else:
        facts = _of_game(config, math.prod(medium.network_shape) / TUNED_AT)
    return facts._replace(samples=medium.nouns[1])


def _of_game(config: RunConfig, values: float) -> Method:
    """The facts but for the medium's; `values`: values of a sample, in units of `TUNED_AT`."""
    if config.game.objective == ELBO:
        return _of_elbo(values, latents_of(config))
    if config.game.objective == NONE:
        return Method(centred=False)
    objective = OBJECTIVES[config.game.objective]
    return Method(objective.centred, dict.fromkeys(LIMITS, values**objective.grows))


def _of_elbo(values: float, latents: int) -> Method:
    """The facts about a VAE that health needs; `values`: values of an image, in units of `TUNED_AT`.

    The reconstruction error is a sum over an image's values, and dominates the gradients. The divergence is a sum over
    latents. It contains the exponential of the encoder's log variance: a single early step can make that so large that
    it dominates a tick's mean.
    """
    units = {"loss/D": float(latents), **dict.fromkeys(("loss/G", "grad_norm/D", "grad_norm/G"), values)}
    return Method(centred=False, units=units, ticks=2)
