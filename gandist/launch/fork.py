"""Start a run from another run's checkpoint: the networks are the same, the rest of the configuration may differ."""

import json
import logging

import torch

from gandist.config import extensions
from gandist.config.methods import new_players
from gandist.config.run import RunConfig, completed, leaves
from gandist.data import dataset
from gandist.errors import CheckpointError, ConfigError
from gandist.gan.networks import NETWORKS
from gandist.run import checkpoint
from gandist.run.checkpoint import FOLDER, FORMAT_VERSION, MANIFEST
from gandist.run.trained import open_run
from gandist.storage.storage import Storage

log = logging.getLogger("gandist")


def fork(config: RunConfig, storage: Storage, source: str, images_seen: int | None = None) -> int:
    """Copy a checkpoint of the run `source` to the run of `config`, as its newest; returns the images seen there.

    The whole state is copied: weights, optimisers, averages, and the position in the run. Learning rates, objective,
    data and lengths come from `config` from then on.

    Args:
        storage: storage of the run of `config`; its files from after that checkpoint are deleted.
        source: folder or address of the other run.
        images_seen: images seen at the checkpoint to copy (default: the newest).

    Raises:
        ConfigError: `source` is not a run, or has other networks.
        CheckpointError: that checkpoint is missing or damaged.
    """
    theirs = open_run(source)
    if images_seen is None:
        found = checkpoint.newest(theirs)
        if found is None:
            raise CheckpointError(f"{theirs.uri(FOLDER)}: no checkpoint to start from")
    else:
        found = checkpoint.read(theirs, f"{images_seen:08d}")
    before, now = (
        dict(leaves({"model": tree["model"]})) for tree in (completed(found.manifest["config"]), config.resolved())
    )
    beside = NETWORKS[config.model.name].options.beside_weights
    free = ("model.stage_1", *(f"model.options.{name}" for name in beside))
    differing = [f"{k}: {before.get(k)!r} -> {v!r}" for k, v in now.items() if before.get(k) != v and k not in free]
    if differing:
        raise ConfigError(f"{source}: its networks are others: {'; '.join(differing)}")
    found.restore(new_players(config, torch.device("cpu")))  # also checks that optimisers and penalties' memory fit
    facts = {
        "format_version": FORMAT_VERSION,
        "config": config.resolved(),
        "config_fingerprint": config.fingerprint(),
        "data_fingerprint": dataset.open_index(config).fingerprint,
        "imports": extensions.digests(config.imports),
        "forked_from": {"run": theirs.root, "images_seen": found.images_seen},
    }
    files = {**found.files, MANIFEST: json.dumps({**found.manifest, **facts}, indent=1).encode()}
    for name in checkpoint.names(storage):
        if int(name) > found.images_seen:
            storage.delete_folder(f"{FOLDER}/{name}", last=MANIFEST)
    storage.write_folder(f"{FOLDER}/{found.name}", files, last=MANIFEST)
    log.info("fork run=%s from=%s images_seen=%d", config.run.name, theirs.root, found.images_seen)
    return found.images_seen
