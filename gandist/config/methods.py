"""From a configuration to its players and their game, by the names in the tables."""

from collections.abc import Callable

import torch
from torch import Tensor

from gandist.config.run import RunConfig
from gandist.config.sample import mel_of_loss, shapes
from gandist.config.schedule import Ramp, value_at
from gandist.distributed.averaging import Averaging
from gandist.distributed.ranks import Ranks
from gandist.errors import GandistError
from gandist.gan.adversarial import Game, Rules
from gandist.gan.augment import AUGMENTATIONS
from gandist.gan.elbo import ELBO, Elbo
from gandist.gan.likelihood import LIKELIHOOD, Likelihood
from gandist.gan.networks import NETWORKS
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.penalties import PENALTIES
from gandist.gan.perceptual import open_features
from gandist.gan.players import Players, build_players
from gandist.gan.supervised import NONE, Supervised


def latents_of(config: RunConfig) -> int:
    """Random numbers that G takes for each sample."""
    return NETWORKS[config.model.name].latents(shapes(config)[0])


def new_players(config: RunConfig, device: torch.device, on_device: bool | None = None) -> Players:
    """The configured players at the start of a run; `on_device` as in `build_players`."""
    pair, (shape_G, shape_D) = NETWORKS[config.model.name], shapes(config)
    memory: dict[str, tuple[float, ...]] = {}
    for name in config.game.penalties:
        memory |= PENALTIES[name].memory
    if config.augment.kind != "none":
        memory["augment"] = (value_at(config.augment.p, 0), 0.0, 0.0)
    return build_players(
        lambda: pair.generator(shape_G),
        lambda: pair.discriminator(shape_D),
        seed=config.run.seed,
        device=device,
        precision=config.precision,
        betas=(config.optim.betas[0], value_at(config.optim.betas[1], 0)),
        weight_decay=config.optim.weight_decay,
        memory=memory,
        on_device=on_device,
        scheduled_beta2=isinstance(config.optim.betas[1], Ramp),
    )


AnyGame = Game | Elbo | Supervised | Likelihood


def new_game(config: RunConfig, players: Players, ranks: Ranks) -> AnyGame:
    """The configured game, wrapped for the ranks.

    Raises:
        GandistError: the network that a penalty compares features of is not available.
    """
    game, augment, precision = config.game, config.augment, ranks.precision(config.precision)
    averaging = Averaging(config.launch.bucket_mib, config.optim.gradients == "bf16")
    if game.objective in (ELBO, LIKELIHOOD):
        alone = Elbo if game.objective == ELBO else Likelihood
        return alone(players, ranks, precision, config.train.accumulate, averaging)
    supervised = game.objective == NONE
    rules = Rules(
        OBJECTIVES["ns" if supervised else game.objective],
        game.label_smoothing,
        tuple(game.penalties),
        game.differentiate,
        None if augment.kind == "none" else AUGMENTATIONS[augment.kind],
        augment.target,
        augment.speed_kimg,
        config.train.batch,
        _seen_alike(config, ranks.device),
        game.adaptive,
        mel_of_loss(config) if any(PENALTIES[name].mel for name in game.penalties) else None,
        latents_of(config),
    )
    return (Supervised if supervised else Game)(players, rules, ranks, precision, config.train.accumulate, averaging)


def check_perceptual(config: RunConfig) -> None:
    """Refuse a run whose penalty compares features of a network that is not available here.

    Raises:
        GandistError: naming the field and the fix.
    """
    _seen_alike(config, torch.device("cpu"))


def _seen_alike(config: RunConfig, device: torch.device) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The distance by the features of `game.perceptual`, if a penalty needs it."""
    if not any(PENALTIES[name].perceptual for name in config.game.penalties):
        return None
    try:
        return open_features(config.game.perceptual, device).l1
    except GandistError as error:
        raise type(error)(f"game.perceptual: {error}") from error
