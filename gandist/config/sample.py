"""From a configuration to its medium, its condition and the shapes of its networks."""

from collections.abc import Mapping
from operator import attrgetter
from typing import Protocol, TypeVar, cast

from pydantic import ValidationError

from gandist.conditions.captions import Captions
from gandist.conditions.classes import Classes
from gandist.conditions.condition import Condition, Nothing
from gandist.conditions.kinds import AUTO, MAKERS, MASKED, PAIRED
from gandist.conditions.mel import Mel
from gandist.conditions.sample import Maker, OfPair, OfSample
from gandist.config.fields import choice
from gandist.config.sections import Tree
from gandist.errors import ConfigError
from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.spectra import MelScale, scale_for
from gandist.media.audio import Audio
from gandist.media.kinds import MEDIA
from gandist.media.medium import Medium
from gandist.media.paired import Paired
from gandist.options import Options

Kind = TypeVar("Kind", bound=Options)
SAID = 400
"""Characters of a value that messages show."""


def medium_of(config: Tree) -> Medium:
    """The medium, with `data.options` and those options that have fields of their own.

    Raises:
        ConfigError: an option is unknown, or its value is invalid.
    """
    medium = MEDIA[config.data.medium]
    for name in config.data.options:
        if name in medium.fields_of_config:
            raise ConfigError(f"data.options.{name}: has a field of its own; set {medium.fields_of_config[name]}")
    known = {name: attrgetter(path)(config) for name, path in medium.fields_of_config.items()}
    return _validated("data.options", medium, known | config.data.options)


def rows_of(config: Tree) -> Medium:
    """The medium of the stored rows: both pictures of a pair, or the samples themselves."""
    medium = medium_of(config)
    return Paired(medium) if config.condition.kind == PAIRED else medium


def condition_of(config: Tree) -> Condition:
    """The condition of G.

    Raises:
        ConfigError: `condition.kind` is unknown, it has no such option, or it does not fit the medium.
    """
    kind, options = config.condition.kind, config.condition.options
    choice("condition.kind", kind, [AUTO, *MAKERS])
    if kind != AUTO:
        medium = medium_of(config)
        check_axes(f"condition.kind: {kind}", MAKERS[kind].axes, config, MAKERS)
        maker = cast(Maker, _validated("condition.options", MAKERS[kind], options).fitted(medium))
        return (OfPair if kind == PAIRED else OfSample)(maker, kind == MASKED)
    if options:
        raise ConfigError("condition.options: classes and captions have none; set condition.kind, or leave them out")
    if config.model.classes:
        return Classes(config.model.classes)
    return Captions(config.model.text_dim) if config.model.text_dim else Nothing()


def mel_of_loss(config: Tree) -> MelScale:
    """The mel spectrogram of the penalty `mel`: that of the condition, or else HiFi-GAN's with frames that fit the
    sounds, up to half the sample rate in either case.

    Raises:
        ConfigError: the medium has no sample rate.
    """
    condition, medium = condition_of(config), medium_of(config)
    if not isinstance(medium, Audio):
        raise ConfigError("game.penalties.mel: needs a sample rate; set data.medium=audio, or the penalty stft")
    if isinstance(condition, OfSample) and isinstance(condition.maker, Mel):
        return condition.maker.scale._replace(high_hz=medium.sample_rate / 2)
    return scale_for(medium.sample_rate, medium.samples)


FORMS = {
    1: "texts (symbols)",
    2: "sounds (channels, samples)",
    3: "pictures (channels, height, width)",
    4: "clips (channels, frames, height, width)",
}
"""Samples by the axes of their rows."""


class Form(Protocol):
    """A row of a table that takes samples of one form, or all if `axes` is 0."""

    @property
    def axes(self) -> int: ...


def check_axes(named: str, axes: int, config: Tree, others: Mapping[str, Form]) -> None:
    """Refuse what takes samples of another form than the medium's, and list the `others` that fit.

    Raises:
        ConfigError: `named`, a field and its value, takes samples with another number of axes.
    """
    there = len(medium_of(config).row.shape)
    if axes not in (0, there):
        fit = ", ".join(name for name, other in others.items() if other.axes in (0, there)) or "none"
        raise ConfigError(
            f"{named} takes {FORMS[axes]}, which samples of data.medium={config.data.medium} are not; these fit: {fit}"
        )


def shapes(config: Tree) -> tuple[Shape, Shape]:
    """The shapes of G and D, which differ in their normalisation.

    Raises:
        ConfigError: the pair has no such option, or the value is invalid.
    """
    model, pair, sample = config.model, NETWORKS[config.model.name], medium_of(config).network_shape
    shape = Shape(
        resolution=model.resolution,
        channels=config.data.channels,
        z_dim=model.z_dim,
        width=model.width,
        classes=model.classes,
        text_dim=model.text_dim,
        widths=model.widths,
        minibatch_std=model.minibatch_std,
        stage_1_resolution=model.stage_1_resolution,
        sample=sample,
        y=condition_of(config).shape(sample),
        masked=config.condition.kind == MASKED,
        options=_validated("model.options", pair.options, model.options),
    )
    norm_G, norm_D = model.norm or pair.norms_G[0], model.norm_D or model.norm or pair.norms_D[0]
    return shape._replace(norm=norm_G), shape._replace(norm=norm_D)


def complete_options(config: Tree) -> None:
    """Fill the defaults into `data.options` and `model.options`, in place, so that a run records all of them."""
    medium = medium_of(config)
    options = medium.model_dump(mode="json", exclude=set(medium.fields_of_config))
    config.data.options.update(options)
    kind = config.condition.kind
    if kind != AUTO:
        maker = _validated("condition.options", MAKERS[kind], config.condition.options)
        config.condition.options.update(maker.model_dump(mode="json"))
    pair = _validated("model.options", NETWORKS[config.model.name].options, config.model.options)
    config.model.options.update(pair.model_dump(mode="json"))


def _validated(path: str, kind: type[Kind], values: dict[str, object]) -> Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join([path, *map(str, fault["loc"])])
        if fault["type"] == "extra_forbidden":
            elsewhere = kind.fields_of_config if issubclass(kind, Medium) else {}
            there = ", ".join(name for name in kind.model_fields if name not in elsewhere) or "none"
            raise ConfigError(f"{key}: unknown key; there are: {there}") from error
        raise ConfigError(
            f"{key}: {fault['msg'][0].lower()}{fault['msg'][1:]}, got {_short(fault['input'])}"
        ) from error


def _short(value: object) -> str:
    said = repr(value)
    return said if len(said) <= SAID else f"{said[:SAID]}..."
