"""What a card says of a run, gathered from its files."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gandist import __version__
from gandist.conditions.condition import Condition
from gandist.conditions.kinds import MASKED
from gandist.conditions.sample import OfSample
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of, medium_of
from gandist.config.shared import shareable
from gandist.data import dataset
from gandist.errors import GandistError
from gandist.gan.objectives import OBJECTIVES
from gandist.media.medium import STILL
from gandist.run import evaluations, previews
from gandist.run.checkpoint import Checkpoint
from gandist.run.evaluations import Evaluation
from gandist.storage.remote import is_remote
from gandist.storage.storage import Storage
from gandist.training.grid import ROWS

log = logging.getLogger("gandist")

CAPTIONS = f"{previews.FOLDER}/captions.txt"


@dataclass(frozen=True)
class Data:
    """The training set, as far as it is known."""

    path: str
    """Without credentials."""
    n: int | None
    """Samples; None if the set is out of reach."""
    class_names: tuple[str, ...] = ()

    @property
    def is_builtin(self) -> bool:
        return self.path.startswith("builtin:")

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Record:
    """A run at one checkpoint."""

    config: RunConfig
    images_seen: int
    torch_version: str
    nouns: tuple[str, str]
    """What a sample is called, and several."""
    shape: tuple[int, ...]
    """Of a sample, as networks see it."""
    kinds: tuple[str, ...]
    """Suffixes of the files that samples can be drawn to."""
    condition: Condition
    data: Data
    evaluation: Evaluation | None
    """The newest up to the checkpoint."""
    samples: dict[str, bytes]
    """Files of a preview, by name."""
    samples_seen: int
    """Images seen when it was drawn."""
    rows: tuple[str, ...]
    """What its rows, or its sounds, show; empty if they have no names."""
    gandist_version: str = __version__

    @property
    def name(self) -> str:
        return self.config.run.name

    @property
    def given(self) -> str:
        """`condition.kind` if G is given samples, else empty."""
        return self.config.condition.kind if isinstance(self.condition, OfSample) else ""

    @property
    def fills_holes(self) -> bool:
        return self.given == MASKED

    @property
    def shows_data(self) -> bool:
        """Whether its samples show data of the set: inputs and targets, or captions."""
        return bool(self.samples) and self.condition.kind in ("sample", "text")

    @property
    def is_adversarial(self) -> bool:
        return self.config.game.objective in OBJECTIVES

    @property
    def sounds(self) -> list[str]:
        return sorted((name for name in self.samples if name.endswith(".wav")), key=lambda name: (len(name), name))

    @property
    def picture(self) -> str:
        """Name of the preview's file; empty without one."""
        return next((name for name in self.samples if "/" not in name), "")


def record(storage: Storage, config: RunConfig, found: Checkpoint, with_samples: bool = True) -> Record:
    """Gather what is known of a run at a checkpoint. Only data of this machine are opened, to be counted."""
    medium, condition = medium_of(config), condition_of(config)
    measured = [each for each in evaluations.read(storage) if each["images_seen"] <= found.images_seen]
    evaluation = measured[-1] if measured else None
    data = _data(config, evaluation)
    samples, seen = _samples(storage, found.images_seen) if with_samples else ({}, 0)
    return Record(
        config,
        found.images_seen,
        str(found.manifest.get("torch_version", "")),
        medium.nouns,
        medium.network_shape,
        medium.kinds,
        condition,
        data,
        evaluation,
        samples,
        seen,
        _rows(storage, condition, data),
    )


def _data(config: RunConfig, evaluation: Evaluation | None) -> Data:
    shown: str = shareable(config.resolved())[0]["data"]["path"]
    protocol: dict[str, Any] = evaluation["protocol"] if evaluation and config.eval.data is None else {}
    if not is_remote(config.data.path):
        try:
            index = dataset.open_index(config)
            return Data(shown, index.n, tuple(index.class_names))
        except GandistError as error:
            log.warning("the card does not list the classes: %s", error)
    return Data(shown, protocol.get("n_real"))


def _samples(storage: Storage, images_seen: int) -> tuple[dict[str, bytes], int]:
    """The files of the newest preview up to a checkpoint, under the names that they are published by, and when it was
    drawn."""
    there = {seen: each for seen, each in previews.listed(storage).items() if seen <= images_seen}
    if not there:
        return {}, 0
    seen = max(there)
    preview = previews.read(storage, there[seen].file)
    files = {f"samples{Path(there[seen].file).suffix}": preview.content}
    files |= {f"samples/{number}.wav": sound for number, sound in enumerate(preview.sounds)}
    return files | ({f"samples/{STILL}": preview.still} if preview.still else {}), seen


def _rows(storage: Storage, condition: Condition, data: Data) -> tuple[str, ...]:
    if isinstance(condition, OfSample):
        return ()
    if condition.kind == "text":
        return tuple((storage.read_bytes(CAPTIONS) or b"").decode(errors="replace").splitlines())
    named = (f"class {k}" if k >= len(data.class_names) else data.class_names[k] for k in range(condition.count))
    return tuple(named)[:ROWS] if condition.kind == "class" else ()
