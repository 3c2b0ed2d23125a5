"""The trained generator of a run, loaded from a checkpoint for drawing."""

import copy
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from gandist.cli.arguments import BEST
from gandist.conditions.condition import Condition
from gandist.conditions.sample import OfSample
from gandist.config import extensions
from gandist.config.methods import latents_of
from gandist.config.run import RunConfig, parse, validate
from gandist.config.sample import condition_of, medium_of, shapes
from gandist.data import dataset
from gandist.distributed.captured import captured
from gandist.distributed.randomness import philox
from gandist.errors import CheckpointError, ConfigError, GandistError
from gandist.gan.networks import NETWORKS
from gandist.gan.players import Players, load_weights
from gandist.media.medium import Medium
from gandist.run import checkpoint, evaluations, published
from gandist.run.checkpoint import Checkpoint
from gandist.run.examples import ExampleConditions, open_examples
from gandist.storage import hub
from gandist.storage.remote import is_remote, local_path
from gandist.storage.storage import Storage

BATCH = 25
"""Samples per batch of G, always: on a CPU larger batches are no faster, and a small draw finishes sooner."""


Conditions = Tensor | ExampleConditions
"""Conditions (N, ...) that can be indexed."""


@cache
def drawing_stream(device: torch.device) -> torch.cuda.Stream:
    """One stream for all evaluations: torch has 32, then reuses the first ones, including the feed's."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Trained:
    """G's running average, in evaluation mode."""

    config: RunConfig
    G: nn.Module
    images_seen: int
    device: torch.device
    encoder: str = ""
    """Id of the text encoder of its training captions."""

    @cached_property
    def medium(self) -> Medium:
        """The medium of the samples."""
        return medium_of(self.config)

    @cached_property
    def condition(self) -> Condition:
        """The condition that G takes."""
        return condition_of(self.config)

    @cached_property
    def _draw(self) -> Callable[..., Tensor]:
        """G, captured on a GPU: for small batches kernel launches take longer than the kernels."""
        if self.device.type != "cuda":
            return self.G
        return captured(self.G, drawing_stream(self.device))

    def latents(self, n: int, seed: int = 0, truncation: float = 1.0) -> Tensor:
        """z (n, latents); sample i is the same for any n. Truncation below 1 trades variety for typicality."""
        z = philox(seed, "sample/z").standard_normal((n, latents_of(self.config)), dtype=np.float32)
        return torch.from_numpy(z).to(self.device) * truncation

    def conditions(self, n: int, seed: int = 0) -> Tensor | None:
        """Random classes, or captions of training samples (n, ...); None for an unconditional G.

        Raises:
            DataError: the training set is needed and cannot be read.
        """
        found = self.condition.any(n, philox(seed, "sample/y"), lambda: dataset.open_index(self.config))
        return None if found is None else self.told(found)

    def random_conditions(self, n: int, seed: int = 0) -> Conditions | None:
        """As `conditions`, or made of random training samples if G is given samples.

        Raises:
            DataError: the training set is needed and cannot be read.
        """
        if not isinstance(self.condition, OfSample):
            return self.conditions(n, seed)
        examples = open_examples(self.config, self.device)
        return ExampleConditions(examples, philox(seed, "sample/y").integers(examples.n, size=n))

    def told(self, stored: np.ndarray) -> Tensor | None:
        """Stored conditions (n, ...) in the form that G takes."""
        return self.condition.to_network(torch.from_numpy(np.ascontiguousarray(stored)).to(self.device))

    def captions(self, n: int, seed: int = 0) -> list[str]:
        """The captions (n,) of the vectors from `conditions`, for a run with text."""
        captions = dataset.open_index(self.config).captions
        numbers = philox(seed, "sample/y").integers(len(captions), size=n)
        return [captions[number] or "" for number in numbers]

    @torch.no_grad()
    def samples(self, z: Tensor, y: Conditions | None) -> np.ndarray:
        """G's samples for latents and conditions, as rows of the medium (n, *row.shape).

        The first samples are the same, bit for bit, regardless of those that follow.
        """
        slices = [slice(first, first + BATCH) for first in range(0, len(z), BATCH)]
        return np.concatenate([self._batch(z[part], None if y is None else y[part]) for part in slices])

    def _batch(self, z: Tensor, y: Tensor | None) -> np.ndarray:
        # Padded with existing rows, because products with fewer rows are summed in another order.
        rows = torch.arange(BATCH, device=z.device) % len(z)
        x = self._draw(z[rows].to(self.device), None if y is None else y[rows].to(self.device))
        return np.ascontiguousarray(self.medium.from_network(x[: len(z)]).cpu().numpy())

    def draw(self, n: int, seed: int = 0) -> np.ndarray:
        """n random samples, as rows of the medium (n, *row.shape)."""
        return self.samples(self.latents(n, seed), self.random_conditions(n, seed))

    def at(self, temperature: float) -> Self:
        """A copy whose G draws symbols at a temperature: below 1 likely ones are drawn more often.

        Raises:
            ConfigError: G draws none.
        """
        G: Any = copy.deepcopy(self.G)
        if not hasattr(G, "temperature"):
            raise ConfigError(f"--temperatures: G of {self.config.model.name} draws no symbols; leave it out")
        G.temperature = temperature
        return replace(self, G=G)

    def on(self, device: torch.device) -> Self:
        """A copy on another device."""
        return replace(self, G=copy.deepcopy(self.G).to(device), device=device)


def open_run(run: str, files: Sequence[str] = published.TO_DRAW) -> Storage:
    """The storage of the run, or the published model, at the folder or address `run`.

    Args:
        files: patterns of the files to fetch of a model on the Hub.

    Raises:
        ConfigError: there is no such run.
        GandistError: it is on the Hub, which cannot be reached or refuses.
    """
    if hub.is_address(run):
        storage = Storage(str(hub.fetched(run, files)))
        if not published.is_published(storage):
            raise ConfigError(f"{run}: is no model of gandist: it has no {published.MANIFEST}")
        return storage
    if not is_remote(run) and not local_path(run, "RUN").is_dir():  # `Storage` would create it
        raise ConfigError(f"{run}: is no run: there is no such folder")
    storage = Storage(run if is_remote(run) else str(local_path(run, "RUN").resolve()))
    if not storage.exists("config.yaml"):
        raise ConfigError(f"{run}: is no run: it has no config.yaml")
    return storage


def samples_of(run: str) -> str:
    """`data.medium` of a run; `image` if there is no such run: opening it then fails with the reason."""
    try:
        storage = open_run(run)
        tree = parse(storage.read_bytes("config.yaml") or b"", run)
    except GandistError:
        return "image"
    return str((tree.get("data") or {}).get("medium", "image"))


def open_trained(run: str, device: torch.device, images_seen: int | str | None = None, trust: bool = False) -> Trained:
    """The generator of the run at the folder or address `run`: from its newest sound checkpoint, the one at
    `images_seen`, or the `best` by the run's evaluations; or that of a published model.

    Args:
        trust: whether the Python files of a published model may run.

    Raises:
        ConfigError: there is no such run, or a published model brings Python files and is not trusted.
        CheckpointError: the run has no sound checkpoint, or not the requested one; or the published model is damaged.
        GandistError: it is on the Hub, which cannot be reached or refuses.
    """
    storage = open_run(run)
    if published.is_published(storage):
        model = published.read(storage, run)
        model.check_images_seen(images_seen)
        config, weights, encoder = model.config(trust), model.tensors("G_ema"), model.encoder
        seen = model.images_seen
    else:
        config, found = open_checkpoint(storage, images_seen)
        weights, encoder, seen = found.tensors("G_ema"), found.manifest.get("encoder") or "", found.images_seen
    G = NETWORKS[config.model.name].generator(shapes(config)[0])
    load_weights(G, weights, "G_ema")
    return Trained(config, G.to(device).eval(), seen, device, encoder)


def open_checkpoint(storage: Storage, images_seen: int | str | None = None) -> tuple[RunConfig, Checkpoint]:
    """The configuration of a run, and its newest sound checkpoint, the one at `images_seen`, or the `best`.

    Raises:
        ConfigError: its configuration is not valid.
        CheckpointError: the run has no sound checkpoint, or not the requested one.
    """
    source = storage.uri("config.yaml")
    tree = parse(storage.read_bytes("config.yaml") or b"", source)
    there = [int(name) for name in checkpoint.names(storage)]
    if images_seen == BEST and (images_seen := evaluations.best(evaluations.read(storage))) is None:
        raise CheckpointError(
            f"{storage.uri(evaluations.FILE)}: the run was not measured while it trained, so no checkpoint is the "
            "best; leave out --images-seen best"
        )
    if images_seen is not None and images_seen not in there:
        raise CheckpointError(
            f"{storage.uri(checkpoint.FOLDER)}: none of {images_seen} images; there are {', '.join(map(str, there))}"
        )
    found = checkpoint.newest(storage) if images_seen is None else checkpoint.read(storage, f"{images_seen:08d}")
    _run_imports(storage, tree.get("imports", ()), found.manifest.get("imports", {}) if found else {})
    config = validate(tree, source)
    if found is None:
        raise CheckpointError(f"{storage.uri(checkpoint.FOLDER)}: no checkpoint yet; train the run further")
    return config, found


def _run_imports(storage: Storage, paths: Iterable[str], expected: Mapping[str, str]) -> None:
    """Execute the run's stored copies of the plug-in files that it imports.

    Raises:
        CheckpointError: a file differs from the one that the checkpoint was trained with.
    """
    for path in paths:
        name = Path(path).name
        kept = storage.read_bytes(f"{extensions.FOLDER}/{name}")
        where = storage.uri(f"{extensions.FOLDER}/{name}")
        if kept is None:
            raise CheckpointError(f"{where}: is missing: the run imports it")
        if (sha256 := hashlib.sha256(kept).hexdigest()) != expected.get(name):
            raise CheckpointError(f"{where}: damaged: its sha256 is {sha256}, the checkpoint has {expected.get(name)}")
        extensions.run({path: kept.decode()})


def check_stage_1(config: RunConfig) -> Trained | None:
    """The first stage of a second-stage run, after comparing their sizes; None if there is no second stage.

    Raises:
        ConfigError: that run does not exist, or has another network or other sizes; the message names the field.
        CheckpointError: that run has no sound checkpoint.
    """
    run = config.model.stage_1
    if run is None:
        return None
    try:
        first = open_trained(run, torch.device("cpu"))
    except (ConfigError, CheckpointError) as error:
        raise type(error)(f"model.stage_1: {error}") from error
    with torch.device("meta"):
        wanted = NETWORKS[config.model.name].generator(shapes(config)[0]).get_submodule("stage_1")
    if type(first.G) is not type(wanted):
        raise ConfigError(
            f"model.stage_1: {run} is a run of {first.config.model.name}; {config.model.name} continues one of its "
            "own first stage"
        )
    ours, theirs = shapes(config)[0], shapes(first.config)[0]
    expected = ours._replace(resolution=ours.stage_1_resolution, stage_1_resolution=0, minibatch_std=0, sample=())
    its_shape = theirs._replace(minibatch_std=0, sample=())
    for field, mine, its in zip(ours._fields, expected, its_shape, strict=True):
        if mine != its:
            path = {"channels": "data.channels", "resolution": "model.stage_1_resolution"}.get(field, f"model.{field}")
            raise ConfigError(f"{path}: {run} was trained with {its}; set {path}={its}, not {mine}")
    return first


def take_stage_1(config: RunConfig, players: Players) -> None:
    """Give a new second stage the running average of its first stage's generator: permanently, in G and G_ema."""
    if (first := check_stage_1(config)) is not None:
        for net in (players.G.net, players.G_ema):
            load_weights(net.get_submodule("stage_1"), dict(first.G.state_dict()), "stage_1")
