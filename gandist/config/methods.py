"""From a configuration to its players and their game, by the names in the tables."""

import torch

from gandist.config.run import RunConfig
from gandist.config.sample import shapes
from gandist.config.schedule import Ramp, value_at
from gandist.distributed.averaging import Averaging
from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Game, Rules
from gandist.gan.augment import AUGMENTATIONS
from gandist.gan.elbo import ELBO, Elbo
from gandist.gan.networks import NETWORKS
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.penalties import PENALTIES
from gandist.gan.players import Players, build_players


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


def new_game(config: RunConfig, players: Players, ranks: Ranks) -> Game | Elbo:
    """The configured game, wrapped for the ranks."""
    game, augment, precision = config.game, config.augment, ranks.precision(config.precision)
    averaging = Averaging(config.launch.bucket_mib, config.optim.gradients == "bf16")
    if game.objective == ELBO:
        return Elbo(players, ranks, precision, config.train.accumulate, averaging)
    rules = Rules(
        OBJECTIVES[game.objective],
        game.label_smoothing,
        tuple(game.penalties),
        game.differentiate,
        None if augment.kind == "none" else AUGMENTATIONS[augment.kind],
        augment.target,
        augment.speed_kimg,
        config.train.batch,
    )
    return Game(players, rules, ranks, precision, config.train.accumulate, averaging)
