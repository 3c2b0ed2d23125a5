"""Start a run from another run's checkpoint, or with the players of a published model: the networks are the same, the
rest of the configuration may differ."""

import json
import logging
from typing import Any

import torch

from gandist.config import extensions
from gandist.config.methods import new_players
from gandist.config.run import RunConfig, completed, leaves
from gandist.data import dataset
from gandist.errors import CheckpointError, ConfigError
from gandist.gan.networks import NETWORKS
from gandist.gan.players import load_weights
from gandist.run import checkpoint, published
from gandist.run.checkpoint import FOLDER, FORMAT_VERSION, MANIFEST
from gandist.run.trained import open_run
from gandist.storage.storage import Storage

log = logging.getLogger("gandist")


def fork(config: RunConfig, storage: Storage, source: str, images_seen: int | None = None) -> int:
    """Copy a checkpoint of the run `source` to the run of `config`, as its newest; returns the images seen there.

    The whole state is copied: weights, optimisers, averages, and the position in the run. Learning rates, objective,
    data and lengths come from `config` from then on. A published model has its players alone, so that the run begins
    at 0 images seen: G and its average are the published average, D is the published D, the rest is new.

    Args:
        storage: storage of the run of `config`; its files from after that checkpoint are deleted.
        source: folder or address of the other run, or of a published model.
        images_seen: images seen at the checkpoint to copy (default: the newest).

    Raises:
        ConfigError: `source` is not a run, or has other networks.
        CheckpointError: that checkpoint is missing or damaged.
        GandistError: it is on the Hub, which cannot be reached or refuses.
    """
    theirs = open_run(source, published.TO_BEGIN)
    if published.is_published(theirs):
        files, begun = _of_published(config, theirs, source, images_seen)
    else:
        files, begun = _of_checkpoint(config, theirs, source, images_seen)
    for name in checkpoint.names(storage):
        if int(name) > begun:
            storage.delete_folder(f"{FOLDER}/{name}", last=MANIFEST)
    storage.write_folder(f"{FOLDER}/{begun:08d}", files, last=MANIFEST)
    log.info("fork run=%s from=%s images_seen=%d", config.run.name, source, begun)
    return begun


Files = dict[str, bytes | memoryview]


def _of_checkpoint(config: RunConfig, theirs: Storage, source: str, images_seen: int | None) -> tuple[Files, int]:
    """The files of a run's checkpoint as one of the run of `config`, and the images seen there."""
    if images_seen is None:
        found = checkpoint.newest(theirs)
        if found is None:
            raise CheckpointError(f"{theirs.uri(FOLDER)}: no checkpoint to start from; give a run that has one")
    else:
        found = checkpoint.read(theirs, f"{images_seen:08d}")
    _check_networks(config, found.manifest["config"], source)
    found.restore(new_players(config, torch.device("cpu")))  # also checks that optimisers and penalties' memory fit
    facts = _facts(config, theirs.root, found.images_seen)
    return {**found.files, MANIFEST: json.dumps({**found.manifest, **facts}, indent=1).encode()}, found.images_seen


def _of_published(config: RunConfig, theirs: Storage, source: str, images_seen: int | None) -> tuple[Files, int]:
    """The files of a checkpoint of the run of `config`, at its start, with a published model's players."""
    model = published.read(theirs, source, ("G_ema", "D"))
    model.check_images_seen(images_seen)
    _check_networks(config, model.tree, source)
    players = new_players(config, torch.device("cpu"))
    for net in (players.G.net, players.G_ema):
        load_weights(net, model.tensors("G_ema"), "G_ema")
    load_weights(players.D.net, model.tensors("D"), "D")
    facts = {"encoder": model.encoder, **_facts(config, source, model.images_seen)}
    return checkpoint.files_of(players.tensors(), players.scalars(), facts), players.images_seen


def _check_networks(config: RunConfig, theirs: dict[str, Any], source: str) -> None:
    """Refuse a configuration with other networks.

    Raises:
        ConfigError: naming the fields.
    """
    before, now = (dict(leaves({"model": tree["model"]})) for tree in (completed(theirs), config.resolved()))
    beside = NETWORKS[config.model.name].options.beside_weights
    free = ("model.stage_1", *(f"model.options.{name}" for name in beside))
    differing = [f"{k}: {before.get(k)!r} -> {v!r}" for k, v in now.items() if before.get(k) != v and k not in free]
    if differing:
        raise ConfigError(
            f"{source}: its networks differ: {'; '.join(differing)}; set these fields as that run has them"
        )


def _facts(config: RunConfig, source: str, images_seen: int) -> dict[str, Any]:
    """What the manifest says of the run that begins."""
    return {
        "format_version": FORMAT_VERSION,
        "config": config.resolved(),
        "config_fingerprint": config.fingerprint(),
        "data_fingerprint": dataset.open_index(config).fingerprint,
        "imports": extensions.digests(config.imports),
        "forked_from": {"run": source, "images_seen": images_seen},
    }
