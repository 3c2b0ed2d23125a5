"""Evaluation during a run: it measures G's running average, on all ranks, at fixed intervals."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from gandist.config.fields import choice
from gandist.config.run import RunConfig
from gandist.config.sample import medium_of
from gandist.config.schedule import due
from gandist.data import dataset
from gandist.data.index import Index
from gandist.distributed.ranks import Ranks
from gandist.errors import DataError, GandistError
from gandist.evaluation.evaluation import N_MIN, Yardstick, names_of_measures, yardstick
from gandist.evaluation.extractor import Extractor
from gandist.evaluation.extractors import default_extractor, kind_of, kinds_of, open_extractor
from gandist.evaluation.learning import is_labelled
from gandist.gan.players import Players
from gandist.run.evaluations import Result
from gandist.run.trained import Trained
from gandist.storage.remote import local_path

FIELD = "eval.extractor"


def extractor_of(
    config: RunConfig, device: torch.device, weights: Path | None = None, name: str | None = None
) -> Extractor:
    """The extractor for a run's evaluations; `weights` and `name` replace `eval.weights` and `eval.extractor`. One that
    learns from the run's own set does so at first use on this node.

    Raises:
        GandistError: the extractor is not available; the message names the field.
    """
    weights = weights or (None if name else _weights(config))
    field = "--extractor" if name else FIELD
    name, medium = name or config.eval.extractor or default_extractor(config), medium_of(config)
    kind = kind_of(name, medium, field)
    with _told_as(f"{FIELD}: " if field == FIELD else ""):
        if weights is None and kind.learn:
            with _told_as(f"{name}: ", f"; set eval.weights, or eval.extractor={kind.unlearnt}"):
                weights = kind.learn(config)
        return open_extractor(name, weights, medium, device)


def _weights(config: RunConfig) -> Path | None:
    return local_path(config.eval.weights, "eval.weights") if config.eval.weights else None


@contextmanager
def _told_as(before: str, after: str = "") -> Iterator[None]:
    try:
        yield
    except GandistError as error:
        raise type(error)(f"{before}{error}{after}") from error


def check_evaluation(config: RunConfig, index: Index) -> None:
    """Refuse a run whose evaluations would fail during training. Trains no extractor.

    Raises:
        GandistError: the extractor is not available here, or there are too few samples.
    """
    if not evaluates(config):
        return
    name = config.eval.extractor or default_extractor(config)
    kind = kind_of(name, medium_of(config), FIELD)
    learns = kind.learn is not None and _weights(config) is None
    if not learns:
        extractor_of(config, torch.device("cpu"))
    elif not is_labelled(index):
        raise DataError(
            f"eval.extractor: {name}: data.path: {config.data.path}: has no labels to learn from; set eval.weights, or "
            f"eval.extractor={kind.unlearnt}"
        )
    names = names_of_measures(config, name)
    if config.eval.best is not None:
        choice("eval.best", config.eval.best, names)
    if config.eval.data is not None:
        with dataset.told_as("eval.data:"):
            index = dataset.open_index(dataset.with_images_at(config, config.eval.data))
    if index.n < N_MIN:
        raise DataError(
            f"{'eval.data' if config.eval.data else 'data.path'}: {config.eval.data or config.data.path}: {index.n} "
            f"{medium_of(config).nouns[1]}; measures need at least {N_MIN}; set eval.every_kimg=null"
        )


def on_another_set(config: RunConfig, labelled: bool) -> list[str]:
    """Overrides of `eval` by which another set of the run's medium can be measured, of which nothing is held out:
    without labels no extractor learns, and a best checkpoint is selected only by a measure that there is."""
    changes = [] if config.eval.data is None else ["eval.data=null"]
    kinds, name = kinds_of(medium_of(config)), config.eval.extractor or default_extractor(config)
    if name in kinds and kinds[name].learn and not config.eval.weights and not labelled:
        name = kinds[name].unlearnt
        changes.append(f"eval.extractor={name}")
    if name in kinds and config.eval.best not in (None, *names_of_measures(config, name)):
        changes.append("eval.best=null")
    return changes


def evaluates(config: RunConfig) -> bool:
    """Whether the run is long enough for an evaluation."""
    every_kimg = config.eval.every_kimg
    return every_kimg is not None and config.train.total_kimg >= every_kimg


class Evaluator:
    """An extractor and, after the first evaluation, its features of the real samples."""

    def __init__(self, config: RunConfig, ranks: Ranks) -> None:
        """Open the extractor if the run has evaluations.

        Raises:
            GandistError: the extractor is not available.
        """
        self.config, self.ranks = config, ranks
        self.extractor = extractor_of(config, ranks.device) if evaluates(config) else None
        self._against: Yardstick | None = None

    def due(self, before: int, after: int, done: bool) -> bool:
        """Whether an evaluation follows the step from `before` to `after` images."""
        every_kimg = self.config.eval.every_kimg
        return self.extractor is not None and (done or (every_kimg is not None and due(before, after, every_kimg)))

    @property
    def intervals(self) -> list[float]:
        """The interval between evaluations in thousands of images, if there are any."""
        return [every] if self.extractor is not None and (every := self.config.eval.every_kimg) is not None else []

    def evaluate(self, players: Players) -> Result:
        """Measure a copy of the main rank's average of G, so that evaluations do not change training.

        Raises:
            DataError: the real samples cannot be read.
        """
        assert self.extractor is not None
        if self._against is None:
            self._against = yardstick(self.config, self.extractor, self.ranks)
        G = copy.deepcopy(players.G_ema).float().eval()
        self.ranks.broadcast(G)
        trained = Trained(self.config, G, players.images_seen, self.ranks.device)
        return self._against.evaluate(trained, self.config.eval.n)
