"""What does not go together is refused in one line, with the field and the fix; and the fix, or a neighbour, goes."""

from pathlib import Path
from typing import Any

import pytest

from gandist.config.checks import warnings
from gandist.config.run import RunConfig, override, validate
from gandist.config.sample import shapes
from gandist.errors import ConfigError
from gandist.gan.networks import NETWORKS
from gandist.train import course
from tests.helpers.train_on_ranks import tiny

Fields = dict[str, Any]
"""Values by dotted path."""

CLASSES: Fields = {"model.classes": 10}
VAE: Fields = {"model.name": "vae", "game.objective": "elbo"}
STAGE_2: Fields = {**CLASSES, "model.name": "stackgan-2", "model.resolution": 64, "model.norm_D": "none"}
STAGE_1: Fields = {"model.stage_1": "runs/first", "model.stage_1_resolution": 32}
FILLING: Fields = {"model.name": "unet", "condition.kind": "masked", "model.z_dim": 0}
ENLARGING: Fields = {"model.name": "resnet", "condition.kind": "degraded", "condition.options": {"scale": 4}}
SUPERVISED: Fields = {**FILLING, "game.objective": "none", "game.penalties": {"l1": 1.0}}
AUTOENCODER: Fields = {"model.name": "autoencoder", "condition.kind": "itself", "game.penalties.l1": 1}
VQ: Fields = {**AUTOENCODER, "model.options": {"bottleneck": "vq"}, "game.penalties.codebook": 1}
ADAPTIVE: Fields = {**AUTOENCODER, "game.adaptive": True}
SOUNDS: Fields = {"data.medium": "audio", "data.options.samples": 4096}
WAVEGAN: Fields = {**SOUNDS, "model.name": "wavegan"}
VOCODER: Fields = {**SOUNDS, "model.name": "hifigan", "condition.kind": "mel", "model.z_dim": 0}
TEXTS: Fields = {"data.medium": "text", "data.options.symbols": "abc", "data.options.length": 8}
LIKELY: Fields = {**TEXTS, "model.name": "relgan", "game.objective": "likelihood"}
COOLING: Fields = {"game.temperature": {"start": 1, "end": 0.1, "over_kimg": 5}}
BATCH_WISE: Fields = {"model.norm": "none", "model.minibatch_std": 4}


def configured(fields: Fields) -> RunConfig:
    tree: dict[str, Any] = {"model": {"width": 4}}
    for path, value in fields.items():
        override(tree, path, value)
    return validate(tree)


# What is refused, the words of the message, and what has to change for it to go.
REFUSED: list[tuple[Fields, list[str], Fields]] = [
    # Optimisers
    ({"optim.lr_G": 0}, ["optim.lr_G: must be positive"], {"optim.lr_G": 1e-9}),
    (
        {"optim.lr_D": {"start": 0, "end": 0, "over_kimg": 1}},
        ["optim.lr_D: must be positive"],
        {"optim.lr_D": {"start": 0, "end": 1, "over_kimg": 1}},
    ),
    (
        {"optim.betas": [0.5, {"start": 0.9, "end": 1.0, "over_kimg": 1}]},
        ["optim.betas: beta2 must stay below 1"],
        {"optim.betas": [0.5, {"start": 0.9, "end": 0.999, "over_kimg": 1}]},
    ),
    # Workers
    ({"launch.workers": [3, 2]}, ["launch.workers: need 1 <= min <= max"], {"launch.workers": [2, 3]}),
    (
        {"launch.workers": 3, "train.batch": 128},
        ["train.batch: 128 images", "3 workers", "set train.batch=129"],
        {"train.batch": 129},
    ),
    (
        {"launch.kind": "local", "train.accumulate": 3, "train.batch": 128},
        ["train.batch: 128 images", "train.accumulate=3", "multiple"],
        {"train.batch": 126},
    ),
    # Augmentation
    ({"augment.kind": "adda"}, ["augment.kind: unknown", "did you mean 'ada'"], {"augment.kind": "ada"}),
    ({"augment.kind": "ada", "augment.p": 1.1}, ["augment.p", "at most 1, got 1.1"], {"augment.p": 1}),
    (
        {"augment.kind": "ada", "augment.p": {"start": 0, "end": 2, "over_kimg": 1}},
        ["augment.p", "at most 1"],
        {"augment.p": {"start": 0, "end": 1, "over_kimg": 1}},
    ),
    ({"augment.target": 0.6}, ["augment.target", "set augment.kind=ada"], {"augment.kind": "ada"}),
    # Shapes
    ({"model.name": "sngam"}, ["model.name: unknown", "did you mean 'sngan'"], {"model.name": "sngan"}),
    (
        {"model.name": "mlp", "model.resolution": 128},
        ["model.resolution: mlp is built for 32 or 64, got 128"],
        {"model.resolution": 64},
    ),
    (
        {**CLASSES, "model.text_dim": 8},
        ["model.text_dim", "classes or on captions", "set one to 0"],
        {"model.classes": 0},
    ),
    ({"model.name": "stackgan-1"}, ["model.classes: stackgan-1 is conditioned on class or text"], CLASSES),
    ({"model.name": "mlp", "model.text_dim": 8}, ["model.text_dim: mlp", "none or class"], {"model.name": "dcgan"}),
    (
        {"model.norm": "spectral"},
        ["model.norm: the generator of dcgan has batch or sync or group or none"],
        {"model.norm": None, "model.norm_D": "spectral"},
    ),
    (
        {"model.name": "sngan", "model.norm": "batch"},
        ["model.norm_D: the discriminator of sngan", "set model.norm_D=spectral"],
        {"model.norm_D": "spectral"},
    ),
    (
        {"model.name": "sngan", "model.minibatch_std": 4},
        ["model.minibatch_std: the discriminator of sngan has no minibatch standard", "set it to 0"],
        {"model.minibatch_std": 0},
    ),
    ({"model.name": "r3gan", "model.widths": [8, 8]}, ["model.widths names 2 levels"], {"model.widths": [8] * 4}),
    (STAGE_2, ["model.stage_1: stackgan-2", "model.stage_1=runs/NAME", "below 64"], STAGE_1),
    (
        {**STAGE_2, **STAGE_1, "model.stage_1_resolution": 64},
        ["model.stage_1", "model.stage_1_resolution", "below 64"],
        {"model.stage_1_resolution": 32},
    ),
    (
        {"model.stage_1": "runs/first"},
        ["model.stage_1: dcgan is no second stage", "leave it"],
        {"model.stage_1": None},
    ),
    (
        {"model.stage_1_resolution": 32},
        ["dcgan is no second stage", "model.stage_1_resolution out"],
        {"model.stage_1_resolution": 0},
    ),
    # Conditions that are samples
    (
        {**FILLING, "condition.kind": "maskd"},
        ["condition.kind: unknown", "did you mean 'masked'"],
        {"condition.kind": "masked"},
    ),
    (
        {**FILLING, "condition.options": {"kind": []}},
        ["condition.options.kind: unknown key; there are: kinds"],
        {"condition.options": {}},
    ),
    ({"condition.options": {"scale": 2}}, ["condition.options", "set condition.kind"], ENLARGING),
    ({"model.name": "unet"}, ["unet is conditioned on sample, not on none"], FILLING),
    (
        {"model.name": "dcgan", "condition.kind": "masked"},
        ["condition.kind: dcgan is conditioned on", "not on sample"],
        {"model.name": "unet"},
    ),
    ({**FILLING, **CLASSES}, ["model.classes", "set both to 0"], {"model.classes": 0}),
    (
        {**ENLARGING, "condition.options": {"scale": 4}, "model.name": "ffc"},
        ["condition.options.scale: ffc enlarges 1 times, not 4 times"],
        {"condition.options": {"scale": 1}},
    ),
    ({"model.z_dim": 0}, ["model.z_dim", "set it above 0"], {"model.z_dim": 1}),
    (
        {**FILLING, "augment.kind": "color"},
        ["augment.kind", "set model.options.sees_y=false"],
        {"model.options": {"sees_y": False}},
    ),
    ({"game.penalties": {"l1": 1}}, ["game.penalties.l1: compares", "set condition.kind"], FILLING),
    (
        {**FILLING, "game.penalties": {"mismatch": 1}},
        ["game.penalties.mismatch: needs classes or captions"],
        {"game.penalties": {}},
    ),
    # Without a critic
    (
        {**SUPERVISED, "game.penalties": {"l1": 1, "r1": 1, "features": 1}},
        ["game.objective: none has no D", "the penalties r1, features"],
        {"game.penalties": {"l1": 1}},
    ),
    (
        {**SUPERVISED, "game.penalties": {"l1": 1, "modes": 1}},
        ["game.penalties.modes: without a critic nothing bounds it"],
        {"game.penalties": {"l1": 1}},
    ),
    (
        {**FILLING, "game.penalties": {"l1": 1, "modes": 1}},
        ["game.penalties.modes: compares samples of other latents", "set model.z_dim"],
        {"model.z_dim": 8},
    ),
    (
        {**SUPERVISED, "game.penalties": {"l1": {"interval": 2}}},
        ["game.penalties: with game.objective=none G learns from them alone", "with interval 1"],
        {"game.penalties": {"l1": 1}},
    ),
    ({**SUPERVISED, "game.n_critic": 2}, ["game.objective: none has no D"], {"game.n_critic": 1}),
    # Game
    ({"game.objective": "hinges"}, ["game.objective: unknown", "did you mean 'hinge'"], {"game.objective": "hinge"}),
    (
        {"game.objective": "elbo"},
        ["game.objective: elbo needs an encoder", "set model.name=vae"],
        {"model.name": "vae"},
    ),
    (
        {"model.name": "vae"},
        ["game.objective: vae has an encoder", "set game.objective=elbo"],
        {"game.objective": "elbo"},
    ),
    (
        {"game.objective": "hinge", "game.label_smoothing": 0.1},
        ["game.label_smoothing: hinge has no labels", "minimax or ns or ls"],
        {"game.objective": "ls"},
    ),
    ({**VAE, "game.label_smoothing": 0.1}, ["game.label_smoothing: elbo"], {"game.label_smoothing": 0}),
    (
        {"game.penalties.lecan": 1},
        ["game.penalties: unknown value 'lecan'", "did you mean 'lecam'"],
        {"game.penalties": {"lecam": 1}},
    ),
    (
        {"game.penalties.lecam.wieght": 1},
        ["game.penalties.lecam.wieght: unknown key", "did you mean 'weight'"],
        {"game.penalties": {"lecam": {"weight": 1}}},
    ),
    (
        {"game.penalties.kl": 1},
        ["game.penalties.kl: G of dcgan has no method 'kl'", "leave it out"],
        {**CLASSES, "model.name": "stackgan-1"},
    ),
    ({"game.penalties.mismatch": 1}, ["game.penalties.mismatch", "set model.classes or model.text_dim"], CLASSES),
    (
        {"game.penalties.r1": 1},
        ["game.penalties.r1", "BatchNorm in D", "model.norm_D=none", "game.differentiate=double"],
        {"game.differentiate": "double"},
    ),
    (
        {"game.penalties.r1": 1, "model.norm_D": "group", "game.differentiate": "linear"},
        ["game.penalties.r1", "game.differentiate=linear needs a piecewise-linear D", "set game.differentiate=auto"],
        {"game.differentiate": "auto"},
    ),
    (
        {"game.penalties.r1": 1, "game.differentiate": "double", "precision": "fp16"},
        ["game.penalties.r1", "BatchNorm", "set precision=bf16", "model.norm_D=group"],
        {"model.norm_D": "group"},
    ),
    (
        {"game.penalties.gp": 1, **BATCH_WISE},
        ["game.penalties.gp", "set game.differentiate=double", "model.minibatch_std=0"],
        {"model.minibatch_std": 0},
    ),
    # What is no game
    ({**VAE, "game.penalties.r1": 1}, ["game.objective: elbo", "every penalty but kl"], {"game.penalties": {"kl": 1}}),
    ({**VAE, "game.n_critic": 2}, ["game.objective: elbo", "leave out game.n_critic"], {"game.n_critic": 1}),
    ({**VAE, "game.clip": 0.1}, ["game.objective: elbo", "game.clip"], {"game.clip": 0}),
    ({**VAE, "augment.kind": "ada"}, ["game.objective: elbo", "augment"], {"augment.kind": "none"}),
    (
        {**VAE, "game.penalties.kl": {"weight": 0.1, "interval": 2}},
        ["game.penalties.kl.interval", "set it to 1"],
        {"game.penalties.kl": {"weight": 0.1, "interval": 1}},
    ),
    ({**VAE, "precision": "fp16"}, ["precision: fp16 scales a loss", "set precision=bf16"], {"precision": "bf16"}),
    ({**VAE, "game.weight_G": 0.5}, ["game.weight_G: elbo has no critic"], {"game.weight_G": 1}),
    (
        {**ADAPTIVE, "game.objective": "none"},
        ["game.adaptive, game.weight_G: none has no critic", "leave them out"],
        {"game.adaptive": False},
    ),
    # Autoencoders
    (
        {**VQ, "game.penalties": {"l1": 1}},
        ["game.penalties.codebook: some weights of autoencoder learn from it alone", "interval 1"],
        {"game.penalties": {"l1": 1, "codebook": 1}},
    ),
    (
        {**VQ, "game.penalties.codebook": {"weight": 1, "interval": 2}},
        ["game.penalties.codebook", "interval 1"],
        {"game.penalties.codebook": 1},
    ),
    (
        {**VQ, "game.penalties.kl": 1},
        ["game.penalties.kl: G of autoencoder has no"],
        {"model.options": {}, "game.penalties": {"kl": 1}},
    ),
    (
        {**AUTOENCODER, "model.options": {"multiples": [1, 2]}},
        ["model: options.multiples has 2 numbers"],
        {"model.options": {"multiples": [1, 2, 2]}},
    ),
    (
        {**ADAPTIVE, "model.name": "resnet"},
        ["game.adaptive: G of resnet names no last layer", "model.name=autoencoder"],
        {"game.adaptive": False},
    ),
    (
        {**ADAPTIVE, "game.penalties": {"kl": 1}},
        ["game.adaptive: weighs the objective in each update against penalties", "game.penalties.l1=1"],
        {"game.penalties": {"kl": 1, "l1": 1}},
    ),
    (
        {**ADAPTIVE, "game.penalties.l1": {"weight": 1, "interval": 2}},
        ["game.adaptive", "give none an interval"],
        {"game.penalties.l1": 1},
    ),
    ({**ADAPTIVE, "train.accumulate": 2}, ["game.adaptive", "set train.accumulate=1"], {"train.accumulate": 1}),
    ({**ADAPTIVE, "precision": "fp16"}, ["game.adaptive", "set precision=bf16"], {"precision": "bf16"}),
    # Sounds
    (
        {"model.name": "wavegan"},
        ["model.name: wavegan makes samples of data.medium=audio, not image"],
        {"data.medium": "audio"},
    ),
    (
        {**WAVEGAN, "data.options.samples": 16_000},
        ["model: wavegan makes 16 to 63 times a power of 4 samples, not 16,000", "set data.options.samples=15872"],
        {"data.options.samples": 15_872},
    ),
    (
        {**SOUNDS, "model.name": "specgan", "data.options.samples": 16_000},
        ["model: specgan halves 128 frequencies and the frames of 128 samples", "set data.options.samples=16384"],
        {"data.options.samples": 16_384},
    ),
    (
        {**WAVEGAN, "game.penalties.features": 1},
        ["game.penalties.features: compares each fake with the real sample", "set condition.kind"],
        {**VOCODER, "game.penalties.features": 1},
    ),
    ({**WAVEGAN, "model.norm_D": "group"}, ["model.norm_D", "set model.norm_D=none"], {"model.norm_D": "none"}),
    (
        {**VOCODER, "condition.options": {"hop": 128}},
        ["model: hifigan makes 256 samples of each frame", "model.options.strides", "condition.options.hop"],
        {"model.options.strides": [8, 8, 2]},
    ),
    (
        {**VOCODER, "model.options": {"block_kernels": [3, 4], "dilations": [[1], [1]]}},
        ["model.options", "block_kernels: must be odd, not 4"],
        {"model.options": {"block_kernels": [3, 5], "dilations": [[1], [1]]}},
    ),
    ({**VOCODER, "condition.kind": "auto", "model.z_dim": 4}, ["is conditioned on sample"], VOCODER),
    ({**VOCODER, "model.norm": "batch"}, ["the generator of hifigan has weight or none"], {"model.norm": "none"}),
    (
        {**WAVEGAN, "augment.kind": "ada"},
        ["augment.kind: ada takes pictures", "data.medium=audio", "these fit: sound"],
        {"augment.kind": "sound"},
    ),
    ({"augment.kind": "sound"}, ["augment.kind: sound takes sounds", "these fit: diffaugment"], WAVEGAN),
    (
        {**WAVEGAN, "game.penalties": {"bcr": 10}},
        ["game.penalties.bcr takes pictures", "these fit: r1, r2, gp"],
        {"game.penalties": {"lecam": 1}},
    ),
    (
        {**WAVEGAN, "game.penalties": {"mel": 45}},
        ["game.penalties.mel: compares each fake with the real sample", "set condition.kind"],
        VOCODER,
    ),
    (
        {**FILLING, "game.penalties": {"stft": 1}},
        ["game.penalties.stft takes sounds", "data.medium=image", "perceptual"],
        {"game.penalties": {"l1": 1}},
    ),
    ({**FILLING, "game.penalties": {"mel": 1}}, ["game.penalties.mel takes sounds"], {"game.penalties": {"l1": 1}}),
    (
        {**VOCODER, "game.penalties": {"perceptual": 1}},
        ["game.penalties.perceptual takes pictures", "mel, stft"],
        {"game.penalties": {"mel": 45}},
    ),
    (
        {**VOCODER, "condition.kind": "masked", "condition.options": {}},
        ["condition.kind: masked takes pictures", "these fit: paired, itself, mel"],
        {"condition.kind": "mel"},
    ),
    (
        {**FILLING, "condition.kind": "mel"},
        ["condition.kind: mel takes sounds", "these fit: degraded, masked, paired, itself"],
        {"condition.kind": "masked"},
    ),
    (
        {**VOCODER, "condition.options.high_hz": 9000},
        ["condition.options.high_hz: 9000 Hz is above half", "set at most 8000"],
        {"condition.options.high_hz": 8000},
    ),
    (
        {**VOCODER, "condition.options.hop": 100},
        ["condition.options.hop: 100 does not divide sounds of 4096 samples", "4000 or 4100"],
        {"condition.options.hop": 256},
    ),
    ({**VOCODER, **CLASSES}, ["model.classes", "set both to 0 with condition.kind=mel"], {"model.classes": 0}),
    # Texts
    (
        {**LIKELY, "model.name": "textgan"},
        ["game.objective: likelihood needs a G", "G of textgan has none", "set model.name=relgan"],
        {"model.name": "relgan"},
    ),
    *[
        ({**LIKELY, **fields}, [f"likelihood {words}"], mended)
        for fields, words, mended in (
            ({"game.penalties.r1": 1}, "is no game: leave out", {"game.penalties": {}}),
            ({"game.n_critic": 2}, "is no game: leave out game.n_critic", {"game.n_critic": 1}),
            (COOLING, "is no game: leave out", {"game.temperature": 1}),
            ({"game.label_smoothing": 0.1}, "has no labels", {"game.label_smoothing": 0}),
        )
    ],
    (
        {**TEXTS, "model.name": "textgan", **COOLING},
        ["game.temperature: G of textgan draws no symbols", "set model.name=relgan"],
        {"model.name": "relgan"},
    ),
    (
        {**TEXTS, "model.name": "relgan", "game.temperature": 0},
        ["game.temperature: must be positive in every step"],
        COOLING,
    ),
    ({**LIKELY, "data.options.length": 4}, ["options.kernels: are from 1 to 4"], {"model.options.kernels": [2, 4]}),
    (
        {**TEXTS, "model.name": "textgan", "augment.kind": "sound"},
        ["augment.kind: sound takes sounds", "data.medium=text", "these fit: none"],
        {"augment.kind": "none"},
    ),
    (
        {**TEXTS, "model.name": "textgan", "game.penalties": {"stft": 1}},
        ["game.penalties.stft takes sounds", "data.medium=text", "these fit: r1, r2, gp"],
        {"game.penalties": {"gp": 10}},
    ),
    (
        {**TEXTS, "model.name": "textgan", "condition.kind": "mel"},
        ["condition.kind: mel takes sounds", "these fit: paired, itself"],
        {"condition.kind": "auto"},
    ),
    ({**TEXTS, "model.name": "textgan", "model.z_dim": 0}, ["model.z_dim: without latents"], {"model.z_dim": 1}),
]


@pytest.mark.parametrize(("fields", "words", "mended"), REFUSED, ids=lambda value: str(value)[:60])
def test_refused_in_one_line_and_mended(fields: Fields, words: list[str], mended: Fields) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(fields)
    message = str(caught.value)
    assert message.count("\n") == 0
    for word in words:
        assert word in message
    configured({**fields, **mended})


@pytest.mark.parametrize(
    "fields",
    [
        # Forward mode is refused for what needs it alone.
        {"game.penalties": {"lecam": 1, "bcr": 10}},
        {"game.penalties.r1": 1, "model.norm_D": "spectral"},
        {"game.penalties.r1": 1, "model.norm_D": "group"},
        {"game.penalties.r1": 1, **BATCH_WISE},
        {"game.penalties.gp": 1, **BATCH_WISE, "game.differentiate": "double"},
        {"game.penalties.dragan": 1, "model.norm": "batch", "game.differentiate": "double"},
        {"game.penalties.mismatch": 1, "model.text_dim": 8},
        # Every weight, interval, bound and probability may be a schedule or, of an interval, a number above 1.
        {"game.penalties.lecam": {"weight": {"start": 1, "end": 0, "over_kimg": 5}, "interval": 4}},
        {"game.clip": {"start": 0.1, "end": 0.01, "over_kimg": 5}},
        {"augment.kind": "diffaugment", "augment.target": 0.6},
        {**VAE, "model.text_dim": 8},
        {**VAE, "precision": "fp64", "train.accumulate": 2},
        {**STAGE_2, **STAGE_1, "game.penalties.kl": 1},
        {"launch.kind": "local", "launch.workers": 3, "train.batch": 128},
        # D of a vocoder does not see y, so that what it sees may be augmented.
        {**VOCODER, "augment.kind": "sound", "game.penalties": {"mel": 45, "features": 2, "stft": 1, "l1": 1}},
        {**VOCODER, "game.objective": "none", "game.penalties": {"stft": 1}},
        {**WAVEGAN, "game.penalties": {"gp": 10, "dragan": 1, "r1": 1, "lecam": 1}, "augment.kind": "sound"},
        # The noise of symbols is all that a G that draws them needs.
        {**LIKELY, "model.z_dim": 0, **CLASSES},
    ],
    ids=lambda fields: str(fields)[:60],
)
def test_what_goes_together(fields: Fields) -> None:
    configured(fields)


@pytest.mark.parametrize("name", [name for name, pair in NETWORKS.items() if "class" in pair.conditions])
def test_every_pair_begins_as_its_paper_has_it(name: str) -> None:
    """With no normalisation named, G and D have each their own."""
    pair = NETWORKS[name]
    fields: Fields = {"model.name": name, "data.medium": pair.medium, **CLASSES}
    if pair.encodes:
        fields |= VAE
    if pair.medium == "audio":
        fields |= {"data.medium": "audio"}
    if pair.second_stage:
        fields |= {**STAGE_2, **STAGE_1, "model.norm_D": None}
    G, D = shapes(configured(fields))
    assert (G.norm, D.norm) == (pair.norms_G[0], pair.norms_D[0])
    assert G._replace(norm="") == D._replace(norm="")


def test_one_normalisation_is_for_both_and_two_for_each() -> None:
    for fields, norms in (
        ({"model.norm": "group"}, ("group", "group")),
        ({"model.norm": "group", "model.norm_D": "none"}, ("group", "none")),
        ({"model.norm_D": "spectral"}, ("batch", "spectral")),
    ):
        assert tuple(shape.norm for shape in shapes(configured(fields))) == norms


@pytest.mark.parametrize(
    ("fields", "warned"),
    [
        ({}, True),
        ({"game.penalties.bcr": 10, "game.penalties.lecam": 1}, True),
        ({"game.penalties.gp": 10, "game.differentiate": "double"}, False),
        ({"game.clip": 0.01}, False),
        ({"model.norm_D": "spectral"}, False),
        ({"game.objective": "rp"}, False),
    ],
)
def test_a_critic_that_nothing_keeps_lipschitz_is_warned_of(fields: Fields, warned: bool) -> None:
    told = warnings(configured({"game.objective": "wasserstein", **fields}))
    assert len(told) == warned
    for message in told:
        for word in ("game.objective", "game.penalties.gp.weight=10", "game.clip=0.01", "model.norm_D=spectral"):
            assert word in message


def test_a_warning_is_told_before_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gandist")
    assert course.run(tiny(tmp_path, "free", game__objective="wasserstein", train__total_kimg=0.012), "auto") == 0
    assert course.run(tiny(tmp_path, "kept", game__objective="ns", train__total_kimg=0.012), "auto") == 0
    messages = [record.getMessage() for record in caplog.records if record.name == "gandist"]
    messages = [message for message in messages if not message.startswith("decoding")]  # where that takes its time
    told = [number for number, message in enumerate(messages) if "Lipschitz" in message]
    assert len(told) == 1
    assert messages[told[0] + 1].startswith("data=mapped n=10000")
    assert messages[told[0] + 2].startswith("training run=free")
