"""Start a run from another's checkpoint: same networks, whatever else the configuration now says."""

import json
import logging

import torch

from gandist.config import extensions
from gandist.config.methods import new_players
from gandist.config.run import RunConfig, completed, leaves
from gandist.data import dataset
from gandist.errors import CheckpointError, ConfigError
from gandist.run import checkpoint
from gandist.run.checkpoint import FOLDER, MANIFEST
from gandist.run.trained import open_run
from gandist.storage.storage import Storage

log = logging.getLogger("gandist")


def fork(config: RunConfig, storage: Storage, source: str, images_seen: int | None = None) -> int:
    """Write a checkpoint of the run `source` to that of `config`, whose newest it becomes; the images seen there.

    The state is the other's whole: weights, optimisers, averages, and the position in the run. Learning rates,
    objective, data and lengths are those of `config` from there on.

    Args:
        storage: of the run of `config`; what it has from later than that checkpoint is deleted.
        source: folder or address of the other run.
        images_seen: at the checkpoint that is taken (default: the newest).

    Raises:
        ConfigError: `source` is no run, or its networks are others.
        CheckpointError: it has no such checkpoint, or that is damaged.
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
    free = ("model.stage_1",)
    differing = [f"{k}: {before.get(k)!r} -> {v!r}" for k, v in now.items() if before.get(k) != v and k not in free]
    if differing:
        raise ConfigError(f"{source}: its networks are others: {'; '.join(differing)}")
    found.restore(new_players(config, torch.device("cpu")))  # the optimisers, and what penalties keep, fit too
    facts = {
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
