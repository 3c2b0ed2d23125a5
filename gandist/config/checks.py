"""Checks that networks, objective, penalties and samples fit each other, before a worker starts. They import torch."""

from collections.abc import Iterable

from torch import nn

from gandist.config.fields import choice
from gandist.config.sample import check_axes, condition_of, medium_of, mel_of_loss, shapes
from gandist.config.schedule import least, peak
from gandist.config.sections import Tree
from gandist.errors import ConfigError
from gandist.gan.augment import AUGMENTATIONS
from gandist.gan.elbo import ELBO
from gandist.gan.likelihood import LIKELIHOOD, METHOD
from gandist.gan.networks import NETWORKS, Pair
from gandist.gan.networks.norms import has_batch_norm
from gandist.gan.networks.sketch import sketched
from gandist.gan.networks.tape import is_piecewise_linear
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.penalties import PENALTIES, Penalty, offers_terms
from gandist.gan.supervised import NONE
from gandist.media.kinds import MEDIA


def check(config: Tree) -> None:
    """Refuse methods that are in no table, or that do not fit each other.

    Raises:
        ConfigError: naming the field and the fix.
    """
    choice("augment.kind", config.augment.kind, ["none", *AUGMENTATIONS])
    choice("data.medium", config.data.medium, MEDIA)
    medium_of(config)
    if (kind := config.augment.kind) != "none":
        check_axes(f"augment.kind: {kind}", AUGMENTATIONS[kind].axes, config, AUGMENTATIONS)
    choice("model.name", config.model.name, NETWORKS)
    _shape(config, NETWORKS[config.model.name])
    _game(config, NETWORKS[config.model.name])


def warnings(config: Tree) -> list[str]:
    """Warnings about allowed settings that are known to fail."""
    game = config.game
    penalties = [PENALTIES[name] for name in game.penalties]
    sloped = any(penalty.slopes for penalty in penalties)
    kept_lipschitz = sloped or peak(game.clip) > 0 or shapes(config)[1].norm == "spectral"
    found = []
    if game.objective == "wasserstein" and not kept_lipschitz:
        found.append(
            "game.objective: nothing keeps the critic of wasserstein Lipschitz, so its scores can grow without bound; "
            "set game.penalties.gp.weight=10, game.clip=0.01 or model.norm_D=spectral"
        )
    if config.augment.target is not None and game.objective in OBJECTIVES and not OBJECTIVES[game.objective].centred:
        found.append(
            f"augment.target: 0 is not where scores of {game.objective} tell real from fake, so that their sign does "
            "not tell overfitting and p will climb to 1; leave augment.target out and give augment.p a number or a "
            "schedule"
        )
    return found


def _shape(config: Tree, pair: Pair) -> None:
    model, name = config.model, config.model.name
    if config.data.medium != pair.medium:
        raise ConfigError(f"model.name: {name} makes samples of data.medium={pair.medium}, not {config.data.medium}")
    if "resolution" in MEDIA[pair.medium].model_fields and model.resolution not in pair.resolutions:
        raise ConfigError(f"model.resolution: {name} is built for {_one_of(pair.resolutions)}, got {model.resolution}")
    if model.classes and model.text_dim:
        raise ConfigError("model.text_dim: a pair is conditioned on classes or on captions, not on both; set one to 0")
    condition = condition_of(config)
    if condition.kind not in pair.conditions:
        raise ConfigError(
            f"{condition.key}: {name} is conditioned on {_one_of(pair.conditions)}, not on {condition.kind}"
        )
    if condition.kind == "sample":
        _of_sample(config, pair)
    G, D = shapes(config)
    if condition.kind != "sample" and not pair.latents(G):
        raise ConfigError(
            "model.z_dim: without latents a G that is given no sample makes the same result always; set it above 0"
        )
    if G.norm not in pair.norms_G:
        fix = "; set model.norm_D=spectral" if G.norm == "spectral" else ""
        raise ConfigError(f"model.norm: the generator of {name} has {_one_of(pair.norms_G)}, not {G.norm!r}{fix}")
    if D.norm not in pair.norms_D:
        raise ConfigError(
            f"model.norm_D: the discriminator of {name} has {_one_of(pair.norms_D)}, not {D.norm!r}; "
            f"set model.norm_D={pair.norms_D[0]}"
        )
    if model.widths and not pair.levels:
        raise ConfigError(f"model.widths: {name} is built by model.width; leave model.widths out")
    if model.minibatch_std and not pair.minibatch_std:
        raise ConfigError(
            f"model.minibatch_std: the discriminator of {name} has no minibatch standard deviation; set it to 0"
        )
    if pair.second_stage:
        if model.stage_1 is None or not 0 < model.stage_1_resolution < model.resolution:
            raise ConfigError(
                f"model.stage_1: {name} continues a run of the first stage; set model.stage_1=runs/NAME and "
                f"model.stage_1_resolution to that run's model.resolution, below {model.resolution}"
            )
    elif model.stage_1 is not None or model.stage_1_resolution:
        raise ConfigError(f"model.stage_1: {name} is no second stage; leave it and model.stage_1_resolution out")


def _of_sample(config: Tree, pair: Pair) -> None:
    """Refuse what does not fit a G that is given samples."""
    model, (G, _) = config.model, shapes(config)
    if model.classes or model.text_dim:
        raise ConfigError(f"model.classes, model.text_dim: set both to 0 with condition.kind={config.condition.kind}")
    if len(G.sample) == 3 and (factor := G.sample[-1] // G.y[-1]) not in pair.scales:  # of pictures alone
        raise ConfigError(
            f"condition.options.scale: {model.name} enlarges {_one_of(pair.scales)} times, not {factor} times"
        )


def _supervised(config: Tree) -> None:
    """Refuse what a G without a critic cannot have."""
    game = config.game
    of_D = [name for name in game.penalties if PENALTIES[name].of == "D" or PENALTIES[name].features]
    if again := [name for name in game.penalties if PENALTIES[name].again]:
        raise ConfigError(f"game.penalties.{again[0]}: without a critic nothing bounds it; leave it out")
    if of_D or game.n_critic > 1 or config.augment.kind != "none" or peak(game.clip) > 0:
        raise ConfigError(
            f"game.objective: {NONE} has no D: leave out game.n_critic, game.clip, augment"
            + (f" and the penalties {', '.join(of_D)}" if of_D else "")
        )
    always = [name for name, term in game.penalties.items() if term.interval == 1]
    if not always:
        raise ConfigError(
            f"game.penalties: with game.objective={NONE} G learns from them alone; set one with interval 1, such as l1"
        )


def _likelihood(config: Tree) -> None:
    """Refuse what a G that learns from its likelihood alone cannot have."""
    game = config.game
    of_games = game.n_critic > 1 or config.augment.kind != "none" or peak(game.clip) > 0 or game.temperature != 1
    if game.penalties or of_games:
        raise ConfigError(
            f"game.objective: {LIKELIHOOD} is no game: leave out game.n_critic, game.clip, game.temperature, augment "
            "and every penalty"
        )


def _temperature(config: Tree, G: nn.Module) -> None:
    """Refuse a temperature that nothing would have, or that is 0 in some step."""
    if (temperature := config.game.temperature) == 1:
        return
    if not hasattr(G, "softness"):
        raise ConfigError(
            f"game.temperature: G of {config.model.name} draws no symbols; leave it out, or set model.name=relgan"
        )
    if least(temperature) <= 0:
        raise ConfigError(f"game.temperature: must be positive in every step, got {temperature}")


ALONE = (ELBO, NONE, LIKELIHOOD)
"""Objectives without a critic."""


def _game(config: Tree, pair: Pair) -> None:
    game, model = config.game, config.model
    choice("game.objective", game.objective, [*OBJECTIVES, *ALONE])
    if pair.encodes != (game.objective == ELBO):
        raise ConfigError(
            f"game.objective: {model.name} has an encoder in D's place; set game.objective={ELBO}"
            if pair.encodes
            else f"game.objective: {ELBO} needs an encoder in D's place; set model.name=vae"
        )
    if game.label_smoothing and (game.objective in ALONE or OBJECTIVES[game.objective].smoothing is None):
        labelled = [name for name, objective in OBJECTIVES.items() if objective.smoothing]
        raise ConfigError(
            f"game.label_smoothing: {game.objective} has no labels; set it to 0, or game.objective to "
            f"{_one_of(labelled)}"
        )
    for name in game.penalties:
        choice("game.penalties", name, PENALTIES)
    if game.objective in ALONE and (game.adaptive or game.weight_G != 1):
        raise ConfigError(f"game.adaptive, game.weight_G: {game.objective} has no critic to weigh; leave them out")
    if game.objective == ELBO:
        _elbo(config)
    if game.objective == NONE:
        _supervised(config)
    if game.objective == LIKELIHOOD:
        _likelihood(config)
    of_G, of_D = shapes(config)
    with sketched():
        try:
            G, D = pair.generator(of_G), pair.discriminator(of_D)
        except ValueError as error:
            raise ConfigError(f"model: {error}") from error
        except Exception as error:  # a user's network may raise anything
            raise ConfigError(f"model.name: {model.name} cannot be built on the meta device: {error}") from error
    if config.augment.kind != "none" and condition_of(config).kind == "sample" and getattr(D, "sees_y", True):
        raise ConfigError(
            "augment.kind: D would see an augmented sample beside the condition it was made from; set "
            "model.options.sees_y=false, or augment.kind=none"
        )
    if game.objective == LIKELIHOOD and not hasattr(G, METHOD):
        raise ConfigError(
            f"game.objective: {LIKELIHOOD} needs a G with the method {METHOD!r}, which says how likely a sample is; "
            f"G of {model.name} has none; set model.name=relgan"
        )
    _temperature(config, G)
    if game.adaptive:
        _adaptive(config, G)
    for name in getattr(G, "needs", ()):
        if name not in game.penalties or game.penalties[name].interval > 1:
            raise ConfigError(
                f"game.penalties.{name}: some weights of {model.name} learn from it alone; set it with interval 1"
            )
    for name in game.penalties if game.objective != ELBO else ():
        penalty = PENALTIES[name]
        path = f"game.penalties.{name}"
        check_axes(path, penalty.axes, config, PENALTIES)
        if penalty.mel:
            mel_of_loss(config)
        net = G if penalty.of == "G" else D
        if penalty.method and not hasattr(net, penalty.method) and penalty.method not in offers_terms(net):
            raise ConfigError(
                f"{path}: {penalty.of} of {model.name} has no method {penalty.method!r}, which it needs; leave it out"
            )
        condition = condition_of(config)
        if penalty.conditional and condition.kind not in ("class", "text"):
            raise ConfigError(f"{path}: needs classes or captions; set model.classes or model.text_dim")
        if penalty.compares and condition.pairing != "same_sample":
            raise ConfigError(
                f"{path}: compares each fake with the real sample that its condition comes from; set condition.kind"
            )
        if penalty.again and not pair.latents(shapes(config)[0]):
            raise ConfigError(f"{path}: compares samples of other latents, and G has none; set model.z_dim, such as 64")
        if penalty.features and not hasattr(D, "scores_and_features"):
            other = "hifigan" if pair.medium == "audio" else "unet"
            raise ConfigError(
                f"{path}: D of {model.name} gives no features of its layers; leave it out, or set model.name={other}"
            )
        if penalty.slopes:
            _slopes(path, penalty, config, D)


def _adaptive(config: Tree, G: nn.Module) -> None:
    """Refuse an adaptive weight of the objective that is not what it says."""
    game = config.game
    if not hasattr(G, "last_layer"):
        raise ConfigError(
            f"game.adaptive: G of {config.model.name} names no last layer, whose gradients it compares; leave it out, "
            "or set model.name=autoencoder"
        )
    compared = {name: term.interval for name, term in game.penalties.items() if PENALTIES[name].compares}
    if not compared or max(compared.values()) > 1:
        raise ConfigError(
            "game.adaptive: weighs the objective in each update against penalties that compare with a target; set one, "
            "such as game.penalties.l1=1, and give none an interval"
        )
    if config.train.accumulate > 1:
        raise ConfigError(
            f"game.adaptive: compares gradients of the whole batch, not of {config.train.accumulate} micro-batches; "
            "set train.accumulate=1"
        )
    if config.precision == "fp16":
        raise ConfigError("game.adaptive: fp16 needs scaled gradients, and these are not; set precision=bf16")


def _elbo(config: Tree) -> None:
    game = config.game
    others = [name for name in game.penalties if name != "kl"]
    if others or game.n_critic > 1 or config.augment.kind != "none" or peak(game.clip) > 0:
        raise ConfigError(
            f"game.objective: {ELBO} is no game: leave out game.n_critic, game.clip, augment and every penalty but kl"
        )
    if any(term.interval > 1 for term in game.penalties.values()):
        raise ConfigError(
            "game.penalties.kl.interval: the lower bound contains the divergence in every update; set it to 1"
        )
    if config.precision == "fp16":
        raise ConfigError(
            f"precision: fp16 scales a loss of each player, and {ELBO} has one loss for both; set precision=bf16"
        )


def _slopes(path: str, penalty: Penalty, config: Tree, D: nn.Module) -> None:
    """Refuse slopes of D that cannot be differentiated as configured, or that are undefined for single images."""
    if config.game.differentiate == "double":
        if config.precision == "fp16" and has_batch_norm(D):
            raise ConfigError(
                f"{path}: a second backward pass of BatchNorm takes the cube of 1/sigma, which fp16 cannot hold; set "
                "precision=bf16, or model.norm_D=group"
            )
        return
    way = config.game.differentiate
    if way == "linear" and not is_piecewise_linear(D):
        raise ConfigError(
            f"{path}: game.differentiate=linear needs a piecewise-linear D, and that of {config.model.name} is none "
            "with these options; set game.differentiate=auto, or model.name=r3gan"
        )
    if has_batch_norm(D):
        raise ConfigError(
            f"{path}: game.differentiate={way} cannot pass the running statistics of BatchNorm in D; set "
            "model.norm_D=none (or spectral, group), or game.differentiate=double"
        )
    if penalty.mixes and config.model.minibatch_std:
        raise ConfigError(
            f"{path}: with model.minibatch_std an image's slope depends on its batch, which "
            f"game.differentiate={way} cannot tell apart; set game.differentiate=double, or model.minibatch_std=0"
        )


def _one_of(values: Iterable[object]) -> str:
    return " or ".join(str(value) for value in values)
