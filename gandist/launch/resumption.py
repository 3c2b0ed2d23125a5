"""Decide whether a start resumes an existing run, begins a new one, or is refused."""

import logging
from typing import Any, Literal

from gandist.config import extensions
from gandist.config.methods import check_perceptual
from gandist.config.run import RunConfig, completed, differences
from gandist.data import dataset
from gandist.errors import CheckpointError, ConfigError, DataError
from gandist.evaluation.evaluator import check_evaluation
from gandist.monitoring.trackers import check_trackers
from gandist.run import attempt
from gandist.run.checkpoint import FOLDER, Checkpoints
from gandist.run.trained import check_stage_1
from gandist.storage.remote import is_remote, local_path
from gandist.storage.storage import Storage

log = logging.getLogger("gandist")

Resume = Literal["auto", "never", "must"]


def prepare(config: RunConfig, resume: Resume) -> Checkpoints:
    """Check configuration, data and the run's folder, before a worker starts.

    `auto` resumes if there is a checkpoint, `must` requires one, `never` begins a new run: the old one is kept under
    another name.

    Returns:
        The checkpoints of the run, on its storage; the newest, if any, is in memory.

    Raises:
        ConfigError: the run in the folder has another configuration (the message names the fields), or the folder
            cannot be written to.
        DataError: the data cannot be used, or differs from the data that the run was trained on.
        GandistError: a network for evaluation or a tracker is unavailable.
        CheckpointError: `must` without a checkpoint; all are damaged; or an earlier version wrote them.
    """
    index = dataset.open_index(config)
    check_evaluation(config, index)
    check_perceptual(config)
    check_trackers(config)
    root = run_root(config)
    if resume == "never":
        set_aside(writable(root))
    storage = writable(root)
    attempt.clear_stop(storage)
    checkpoints = Checkpoints(storage)
    found = checkpoints.newest()
    if found is None:
        if resume == "must":
            raise CheckpointError(
                f"{storage.uri(FOLDER)}: no checkpoint to resume from (--resume must); leave this out to begin the run"
            )
        check_stage_1(config)
        return checkpoints
    if not found.resumable:
        raise CheckpointError(
            f"{storage.uri(FOLDER)}: written by an earlier version, which drew other random numbers, so the run cannot "
            f"be resumed; start another run from it with --from {storage.root} run.name=OTHER, or start anew "
            "with --resume never. You can still sample from this run and evaluate it"
        )
    _compare(config, found.manifest, index.fingerprint, storage)
    log.info("resume run=%s images_seen=%d", config.run.name, found.images_seen)
    return checkpoints


def writable(root: str) -> Storage:
    """The storage of a run or a sweep, tested for writing: workers should not be the first to miss a bucket."""
    try:
        storage = Storage(root)
        storage.write_bytes(".trial", b"")
        storage.delete(".trial")
    except (OSError, NotImplementedError) as error:  # the second for http, which is read-only
        raise ConfigError(f"run.dir: {root} cannot be written to: {error}") from error
    except DataError as error:
        raise ConfigError(f"run.dir: {error}") from error
    return storage


def run_root(config: RunConfig) -> str:
    """RUN: `run.dir/run.name`, absolute."""
    if is_remote(config.run.dir):
        base, question, options = config.run.dir.partition("?")
        return f"{base.rstrip('/')}/{config.run.name}{question}{options}"
    return str(local_path(config.run.dir, "run.dir").resolve() / config.run.name)


def _compare(config: RunConfig, manifest: dict[str, Any], data_fingerprint: str, storage: Storage) -> None:
    way_out = "change them back, choose another run.name, or begin anew with --resume never"
    if differing := differences(completed(manifest["config"]), config.resolved()):
        raise ConfigError(f"{storage.root}: was started with another configuration: {'; '.join(differing)}; {way_out}")
    before, now = manifest.get("imports", {}), extensions.digests(config.imports)
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed:
        raise ConfigError(f"imports: {', '.join(changed)}: changed since {storage.root} was started; {way_out}")
    if manifest["data_fingerprint"] != data_fingerprint:
        raise ConfigError(
            f"data.path: {config.data.path} does not hold the images that {storage.root} was trained on; {way_out}"
        )


def set_aside(storage: Storage) -> None:
    """Move the contents of a run's or a sweep's folder to another name.

    Raises:
        ConfigError: the folder is in an object store, which cannot rename.
    """
    if not storage.folders("") and not storage.exists("config.yaml"):
        return
    if storage.local is None:
        raise ConfigError(
            f"{storage.root}: is not empty, and an object store cannot rename it; choose another run.name"
        )
    number = 1
    while (aside := storage.local.with_name(f"{storage.local.name}.{number}")).exists():
        number += 1
    storage.local.rename(aside)
    log.warning("kept the run that was there as %s", aside)
