"""Data that a rank loads on its own, before the first collective call."""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gandist.config.methods import new_players
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of
from gandist.data import dataset
from gandist.data.feed import Feed
from gandist.data.index import Index
from gandist.data.resident import RawBatch, ResidentSet, place
from gandist.data.sets import SampleSet
from gandist.distributed.randomness import split
from gandist.distributed.ranks import Ranks
from gandist.distributed.threads import set_up
from gandist.evaluation.evaluator import Evaluator
from gandist.gan.players import Players
from gandist.monitoring import signals
from gandist.run.checkpoint import Checkpoints
from gandist.run.examples import Examples, open_examples
from gandist.run.trained import take_stage_1

log = logging.getLogger("gandist")


class Batches:
    """This rank's share of the run's global batches, from a position in the run on, and the set of samples."""

    def __init__(self, config: RunConfig, ranks: Ranks, index: Index, samples: SampleSet, images_seen: int) -> None:
        """Place the samples on the device if they fit, and start the data loader.

        Raises:
            GandistError: the samples cannot be read, or do not fit as the configuration requires.
        """
        self._config, self._ranks, self._order = config, ranks, dataset.order_of(config, index)
        self._samples, self._feed = self._begin(samples, images_seen)

    def _begin(self, samples: SampleSet, images_seen: int) -> tuple[SampleSet, Feed | None]:
        samples, where = place(samples, self._config.data.resident, self._ranks.device)
        if self._ranks.is_main:
            log.info("%s", where)
        if isinstance(samples, ResidentSet):
            return samples, None
        feed = Feed(
            samples,
            self._order,
            batch=self._config.train.batch,
            images_seen=images_seen,
            rank=self._ranks.rank,
            world_size=self._ranks.world_size,
            prefetch=self._config.data.prefetch,
            device=self._ranks.device,
        )
        return samples, feed

    @property
    def resident(self) -> RawBatch | None:
        """All samples, if they are on the device: then the step gathers them there by their `numbers`."""
        return self._samples.whole if isinstance(self._samples, ResidentSet) else None

    def numbers(self, images_seen: int, batches: int) -> np.ndarray:
        """Numbers of this rank's samples in the next global batches, (batches, n) int64."""
        batch = self._config.train.batch
        numbers = self._order.take(images_seen, batches * batch).reshape(batches, batch)
        return numbers[:, split(batch, self._ranks.rank, self._ranks.world_size)]

    def next(self) -> RawBatch:
        """The next batch of samples that are not resident; waits until it is ready.

        Raises:
            DataError: a sample is damaged, and `data.on_damage` is `stop`.
        """
        assert self._feed is not None
        return self._feed.next()

    @property
    def damaged(self) -> int:
        """This rank's damaged samples that were replaced by sound ones."""
        return self._samples.damaged

    def restart(self, images_seen: int) -> None:
        """Continue from another position in the run."""
        self.close()
        self._samples, self._feed = self._begin(self._samples, images_seen)

    def close(self) -> None:
        if self._feed is not None:
            self._feed.close()


@dataclass(frozen=True)
class Loaded:
    """Everything that a rank has loaded."""

    players: Players
    index: Index
    batches: Batches
    examples: Examples
    """The set's samples with their conditions."""
    probed: np.ndarray
    """Numbers of the samples (N,) to compare G's variety with."""
    shown: Examples
    """The samples that a grid shows, if it shows any: those that the run is measured with."""
    evaluator: Evaluator


def load(config: RunConfig, ranks: Ranks, checkpoints: Checkpoints, resume: str, closing: ExitStack) -> Loaded:
    """Load everything for a run: the players from the checkpoint `resume`, or at their start if it is "".

    Makes no collective calls and writes nothing. `closing` ends the opened resources.

    Raises:
        GandistError: the data, the network or the checkpoint cannot be used.
    """
    # The players, and the number of threads that the run has used
    players = new_players(config, ranks.device)
    manifest = _restore(config, checkpoints, resume, players)
    set_up(ranks.device, config.launch.threads, config.tf32, manifest.get("threads"))

    # The data
    index = dataset.open_index(config)
    samples = dataset.open_set(config, index)
    first = dataset.order_of(config, index).take(0, min(signals.CANDIDATES, index.n))
    labels = condition_of(config).labels(index.labels[first])
    probed = first[signals.chosen(labels, len(first))]
    dtype = torch.float64 if config.precision == "fp64" else torch.float32
    examples = shown = Examples(config, samples, ranks.device, dtype)
    if config.eval.data is not None:
        with dataset.told_as("eval.data:"):
            shown = open_examples(dataset.with_images_at(config, config.eval.data), ranks.device, dtype)

    # Samples last: they take the device memory that the networks leave free
    evaluator = Evaluator(config, ranks)
    batches = Batches(config, ranks, index, samples, players.images_seen)
    closing.callback(batches.close)
    return Loaded(players, index, batches, examples, probed, shown, evaluator)


def _restore(config: RunConfig, checkpoints: Checkpoints, resume: str, players: Players) -> dict[str, Any]:
    """Restore the players; returns the checkpoint's manifest. The checkpoint's content is released."""
    if not resume:
        take_stage_1(config, players)
        return {}
    found = checkpoints.read(resume)
    found.restore(players)
    checkpoints.release()
    return found.manifest
