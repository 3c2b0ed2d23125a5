"""Checks of fields that need no table of methods, and so not torch: contradictions, and names that are in no table."""

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path

from gandist.config.schedule import peak
from gandist.config.sections import Tree
from gandist.errors import ConfigError
from gandist.storage.remote import is_remote

SHIPPED = {
    "data.medium": ("image", "audio", "video", "text"),
    "condition.kind": ("auto", "degraded", "masked", "paired", "itself", "mel"),
    "model.name": (
        *("mlp", "dcgan", "sngan", "r3gan", "stackgan-1", "stackgan-2", "vae"),
        *("unet", "resnet", "rrdb", "ffc", "autoencoder"),
        *("wavegan", "hifigan", "specgan", "vgan", "mocogan"),
        *("textgan", "relgan"),
    ),
    "game.objective": ("minimax", "ns", "ls", "wasserstein", "hinge", "rp", "elbo", "none", "likelihood"),
    "game.penalties": (
        *("r1", "r2", "gp", "dragan", "lecam", "bcr", "mismatch", "kl", "codebook", "mask", "modes"),
        *("l1", "charbonnier", "features", "perceptual", "mel", "stft"),
    ),
    "augment.kind": ("none", "diffaugment", "color", "translation", "cutout", "ada", "shift", "sound", "clip"),
}
"""The names in the tables of media and methods, before a file of `imports` adds to them."""


def check(config: Tree) -> None:
    """Refuse fields that contradict each other.

    Raises:
        ConfigError: naming the field and the fix.
    """
    _imports(config)
    _optimisers(config)
    _workers(config)
    _telemetry(config)
    _augmentation(config)
    if "torch" not in sys.modules:  # so that nothing can have added to the tables, which import it
        _names(config)


def choice(path: str, value: str, choices: Iterable[str]) -> None:
    """Raise ConfigError unless `value` is one of `choices`."""
    choices = sorted(choices)
    if value not in choices:
        raise ConfigError(f"{path}: unknown value {value!r}; one of {', '.join(choices)}{hint(value, choices)}")


def hint(word: str, choices: Iterable[str]) -> str:
    match = difflib.get_close_matches(word, list(choices), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def _imports(config: Tree) -> None:
    names = [Path(path).name for path in config.imports]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(
            f"imports: a run keeps these files by their names, and two are called {min(twice)}; rename one"
        )


def _optimisers(config: Tree) -> None:
    optim = config.optim
    for path, value in (("optim.lr_G", optim.lr_G), ("optim.lr_D", optim.lr_D)):
        if peak(value) <= 0:
            raise ConfigError(f"{path}: must be positive somewhere in the run, got {value}")
    if peak(optim.betas[1]) >= 1:
        raise ConfigError(f"optim.betas: beta2 must stay below 1, got {optim.betas[1]}")


def _workers(config: Tree) -> None:
    train, (low, high) = config.train, config.worker_range
    if not 1 <= low <= high:
        raise ConfigError(f"launch.workers: need 1 <= min <= max, got [{low}, {high}]")
    if config.launch.kind == "ray":
        step = low * train.accumulate
        if train.batch % step:
            nearest = max(step, round(train.batch / step) * step)
            raise ConfigError(
                f"train.batch: {train.batch} images do not divide into {low} workers x "
                f"{train.accumulate} micro-batches (train.accumulate); set train.batch={nearest}"
            )
    elif train.batch % train.accumulate:
        raise ConfigError(
            f"train.batch: {train.batch} images do not divide into train.accumulate="
            f"{train.accumulate} micro-batches; make train.batch a multiple of it"
        )


def _telemetry(config: Tree) -> None:
    telemetry = config.telemetry
    if telemetry.dir is None:
        return
    if not telemetry.port:
        raise ConfigError("telemetry.dir: all processes of a machine share one fixed port; set telemetry.port=9464")
    if is_remote(telemetry.dir):
        raise ConfigError(
            "telemetry.dir: must be a folder on the disk of each machine; set telemetry.dir=/tmp/gandist-metrics"
        )


def _augmentation(config: Tree) -> None:
    augment = config.augment
    if peak(augment.p) > 1:
        raise ConfigError(f"augment.p: must be a probability, at most 1, got {augment.p}")
    if augment.kind == "none" and augment.target is not None:
        raise ConfigError("augment.target: there is no augmentation to adapt; set augment.kind=ada")


def _names(config: Tree) -> None:
    named = {
        "augment.kind": [config.augment.kind],
        "data.medium": [config.data.medium],
        "condition.kind": [config.condition.kind],
        "model.name": [config.model.name],
        "game.objective": [config.game.objective],
        "game.penalties": config.game.penalties,
    }
    for path, names in named.items():
        for name in names:
            choice(path, name, SHIPPED[path])
