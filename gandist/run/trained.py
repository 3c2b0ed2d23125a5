"""The generator of a run, as a checkpoint has it: what is drawn from after training."""

import copy
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from gandist.cli.arguments import BEST
from gandist.conditions.condition import Condition
from gandist.config import extensions
from gandist.config.methods import latents_of
from gandist.config.run import RunConfig, parse, validate
from gandist.config.sample import condition_of, medium_of, shapes
from gandist.data import dataset
from gandist.distributed.captured import captured
from gandist.distributed.randomness import philox
from gandist.errors import CheckpointError, ConfigError
from gandist.gan.networks import NETWORKS
from gandist.gan.players import Players, load_weights
from gandist.media.medium import Medium
from gandist.run import checkpoint, evaluations
from gandist.storage.remote import is_remote, local_path
from gandist.storage.storage import Storage

BATCH = 25
"""Samples that G draws at a time, always: on a CPU as fast as more of them, and who wants one waits for few."""


@cache
def drawing_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all evaluations: torch has 32 streams, then gives the first ones out again, the feed's among them."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Trained:
    """G's running average, in evaluation mode."""

    config: RunConfig
    G: nn.Module
    images_seen: int
    device: torch.device
    encoder: str = ""
    """What embedded the captions that it was trained on."""

    @cached_property
    def medium(self) -> Medium:
        """What a sample is."""
        return medium_of(self.config)

    @cached_property
    def condition(self) -> Condition:
        """What G is told."""
        return condition_of(self.config)

    @cached_property
    def _draw(self) -> Callable[..., Tensor]:
        """G, on a GPU captured: of so few samples the launches take longer than what they launch."""
        if self.device.type != "cuda":
            return self.G
        return captured(self.G, drawing_stream(self.device))

    def latents(self, n: int, seed: int = 0, truncation: float = 1.0) -> Tensor:
        """z (n, latents); sample i has the same under any n. Truncation below 1 trades variety for typicality."""
        z = philox(seed, "sample/z").standard_normal((n, latents_of(self.config)), dtype=np.float32)
        return torch.from_numpy(z).to(self.device) * truncation

    def conditions(self, n: int, seed: int = 0) -> Tensor | None:
        """Conditions (n, ...) drawn at random: classes, or the captions of training samples; None without.

        Raises:
            DataError: the training set is needed, and cannot be read.
        """
        found = self.condition.any(n, philox(seed, "sample/y"), lambda: dataset.open_index(self.config))
        return None if found is None else self.told(found)

    def told(self, stored: np.ndarray) -> Tensor | None:
        """Conditions as they are stored (n, ...) as G takes them."""
        return self.condition.to_network(torch.from_numpy(np.ascontiguousarray(stored)).to(self.device))

    def captions(self, n: int, seed: int = 0) -> list[str]:
        """The captions (n,) whose vectors `conditions` gives, of a run that has text."""
        captions = dataset.open_index(self.config).captions
        numbers = philox(seed, "sample/y").integers(len(captions), size=n)
        return [captions[number] or "" for number in numbers]

    @torch.no_grad()
    def samples(self, z: Tensor, y: Tensor | None) -> np.ndarray:
        """What G makes of latents and conditions, as rows of the medium (n, *row.shape).

        The first ones are the same, bit for bit, whatever comes after them.
        """
        slices = [slice(first, first + BATCH) for first in range(0, len(z), BATCH)]
        return np.concatenate([self._batch(z[part], None if y is None else y[part]) for part in slices])

    def _batch(self, z: Tensor, y: Tensor | None) -> np.ndarray:
        # Filled up with what is there, for products of fewer rows are summed in another order.
        rows = torch.arange(BATCH, device=z.device) % len(z)
        x = self._draw(z[rows].to(self.device), None if y is None else y[rows].to(self.device))
        return np.ascontiguousarray(self.medium.from_network(x[: len(z)]).cpu().numpy())

    def draw(self, n: int, seed: int = 0) -> np.ndarray:
        """n samples at random, as rows of the medium (n, *row.shape)."""
        return self.samples(self.latents(n, seed), self.conditions(n, seed))

    def on(self, device: torch.device) -> Self:
        """A copy of it on another device."""
        return replace(self, G=copy.deepcopy(self.G).to(device), device=device)


def open_run(run: str) -> Storage:
    """The storage of the run in the folder or at the address `run`.

    Raises:
        ConfigError: there is none.
    """
    if not is_remote(run) and not local_path(run, "RUN").is_dir():  # which `Storage` would make
        raise ConfigError(f"{run}: is no run: there is no such folder")
    storage = Storage(run if is_remote(run) else str(local_path(run, "RUN").resolve()))
    if not storage.exists("config.yaml"):
        raise ConfigError(f"{run}: is no run: it has no config.yaml")
    return storage


def open_trained(run: str, device: torch.device, images_seen: int | str | None = None) -> Trained:
    """The generator of the run in the folder or at the address `run`: of its newest sound checkpoint, of that at
    `images_seen`, or of the `best` that was measured while it trained.

    Raises:
        ConfigError: there is no run.
        CheckpointError: it has no sound checkpoint, or not the one asked for.
    """
    storage = open_run(run)
    source = storage.uri("config.yaml")
    tree = parse(storage.read_bytes("config.yaml") or b"", source)
    there = [int(name) for name in checkpoint.names(storage)]
    if images_seen == BEST and (images_seen := evaluations.best(evaluations.read(storage))) is None:
        raise CheckpointError(f"{storage.uri(evaluations.FILE)}: the run was not measured while it trained")
    if images_seen is not None and images_seen not in there:
        raise CheckpointError(
            f"{storage.uri(checkpoint.FOLDER)}: none of {images_seen} images; there are {', '.join(map(str, there))}"
        )
    found = checkpoint.newest(storage) if images_seen is None else checkpoint.read(storage, f"{images_seen:08d}")
    _run_imports(storage, tree.get("imports", ()), found.manifest.get("imports", {}) if found else {})
    config = validate(tree, source)
    if found is None:
        raise CheckpointError(f"{storage.uri(checkpoint.FOLDER)}: no checkpoint yet")
    G = NETWORKS[config.model.name].generator(shapes(config)[0])
    load_weights(G, found.tensors("G_ema"), "G_ema")
    return Trained(config, G.to(device).eval(), found.images_seen, device, found.manifest.get("encoder") or "")


def _run_imports(storage: Storage, paths: Iterable[str], expected: Mapping[str, str]) -> None:
    """Run the files that a run imports, as it has kept them.

    Raises:
        CheckpointError: one is not what the checkpoint was trained with.
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
    """The first stage that a second one builds on, its sizes compared; None where there is no second stage.

    Raises:
        ConfigError: that run is not there, of another network, or of other sizes; the message names the field.
        CheckpointError: it has no sound checkpoint.
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
    """Give a second stage that starts the generator of its first, the running average: for good, in G and G_ema."""
    if (first := check_stage_1(config)) is not None:
        for net in (players.G.net, players.G_ema):
            load_weights(net.get_submodule("stage_1"), dict(first.G.state_dict()), "stage_1")
