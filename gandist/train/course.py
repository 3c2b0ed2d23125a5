"""The course of a run from its start to its results, as the process that was started sees it."""

import logging
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import yaml

from gandist.cli.text import number
from gandist.conditions.condition import Condition
from gandist.conditions.kinds import PAIRED
from gandist.conditions.sample import OfSample
from gandist.config import checks
from gandist.config.run import RunConfig, load
from gandist.config.sample import condition_of, medium_of
from gandist.distributed.consensus import Outcome
from gandist.errors import ConfigError, GandistError, RunError
from gandist.evaluation.evaluator import on_another_set
from gandist.launch.driver import launch
from gandist.launch.fork import fork
from gandist.launch.ray_output import ray_output
from gandist.launch.resumption import Resume, prepare, run_root
from gandist.run import checkpoint, evaluations
from gandist.run.checkpoint import FOLDER, Checkpoints
from gandist.run.messages import kept
from gandist.run.progress import METRICS_FILE
from gandist.storage import hub
from gandist.storage.remote import is_remote
from gandist.storage.storage import Storage

log = logging.getLogger("gandist")

REPORT = "report.html"


def show(config: RunConfig) -> None:
    """Print what would run."""
    from gandist.launch.summary import describe  # counting operations takes long to import

    print(yaml.safe_dump(config.resolved(), sort_keys=False))  # noqa: T201
    print(describe(config))  # noqa: T201
    for warning in checks.warnings(config):
        log.warning(warning)


def begin(config: RunConfig, resume: Resume, source: str | None = None) -> Checkpoints:
    """Check all that the driver can check; return the run's checkpoints. `source`, RUN or RUN@IMAGES_SEEN, names
    another run whose checkpoint starts this one if it has none; or a published model, hf://OWNER/NAME[@REVISION].

    Raises:
        GandistError: the run cannot start, or not from that checkpoint.
    """
    if not source:
        return prepare(config, resume)
    path, at, seen = ("", "", "") if hub.is_address(source) else source.rpartition("@")
    if at and not seen.isdigit():
        raise ConfigError(f"--from {source}: write RUN or RUN@IMAGES_SEEN")
    checkpoints = prepare(config, resume)
    if checkpoint.names(checkpoints.storage):
        return checkpoints
    fork(config, checkpoints.storage, path if at else source, int(seen) if at else None)
    return prepare(config, "must")


def run(config: RunConfig, resume: Resume, source: str | None = None, profile: int = 0) -> int:
    """Check the run, start the ranks, and wait; return the exit status. `profile`: steps to profile."""
    if int(os.environ.get("RANK", "0")):
        return _status(launch(config, Checkpoints(Storage(run_root(config))), profile))
    checkpoints = begin(config, resume, source)
    storage = checkpoints.storage
    with kept(storage) as messages, ray_output() if config.launch.kind == "ray" else nullcontext():
        for warning in checks.warnings(config):
            log.warning(warning)
        before = storage.read_bytes(METRICS_FILE)
        outcome = launch(config, checkpoints, profile)
        status = _status(outcome)
        log.info("%s run=%s images_seen=%d", outcome.status, config.run.name, outcome.images_seen)
        nothing_new = storage.read_bytes(METRICS_FILE) == before
        # Not after a stop: the machine may disappear within seconds.
        has_report = outcome.status == "done" and ((nothing_new and storage.exists(REPORT)) or _report(storage))
        for text in found(storage, has_report, medium_of(config).nouns[1]):
            log.info("  %s", text)
        if nothing_new:
            messages.discard()
    return status


def found(storage: Storage, has_report: bool, many: str = "images") -> Iterator[str]:
    """The results of a run and the places of its files, one line each; `many`: what samples are called."""
    if measured := evaluations.read(storage):
        newest, best = measured[-1], evaluations.best(measured)
        name, value = evaluations.score(newest)
        at_best = next(evaluations.score(each)[1] for each in measured if each["images_seen"] == best)
        since = "its best" if best == newest["images_seen"] else f"its best: {number(at_best)} at {best:,} {many}"
        yield f"{name} {number(value)} at {newest['images_seen']:,} {many} ({since})"
    names = {"pictures" if many == "images" else many: "samples", "metrics": METRICS_FILE, "checkpoints": FOLDER}
    names |= {"report": REPORT} if has_report else {}
    for what, name in names.items():
        yield f"{what:11} {storage.uri(name)}"


def next_steps(config_name: str, overrides: Sequence[str], config: RunConfig) -> Iterator[str]:
    """Commands to run after training; `config_name` and `overrides` are those of this run, whose `config` they make."""
    root = Path(run_root(config))
    if not is_remote(config.run.dir) and root.is_relative_to(Path.cwd()):
        root = root.relative_to(Path.cwd())
    bin_folder = Path(sys.executable).parent
    if Path(shutil.which("python") or "/").parent != bin_folder and (bin_folder / "activate").exists():
        yield f". {os.path.relpath(bin_folder / 'activate')}"
    condition, medium = condition_of(config), medium_of(config)
    many = medium.nouns[1].upper()
    if isinstance(condition, OfSample):
        yield f"python -m gandist.apply {root} {many} --out {config.run.name}-outputs"
    else:
        chosen = f" {condition.example()}" if condition.example() else ""
        n, suffix = (8, ".wav") if ".wav" in medium.kinds else (36, medium.kinds[0])
        yield f"python -m gandist.sample {root} --n {n}{chosen} --out {config.run.name}{suffix}"
    changes, conditioned = _on_own_samples(config_name, overrides, condition)
    samples = f"FOLDER_OF_{many}"
    if config.condition.kind == PAIRED:
        samples = "--pairs FOLDER_OF_INPUTS FOLDER_OF_TARGETS"
    elif conditioned and condition.kind == "class":
        samples = f"FOLDER_OF_{condition.count}_CLASSES"
    captions = " --captions" if conditioned and condition.kind == "text" else ""
    yield f"python -m gandist.pack {samples} data/mine {medium.packing}{captions}"
    yield f"python -m gandist.train {shlex.join([config_name, *changes])}"


def _on_own_samples(config_name: str, overrides: Sequence[str], condition: Condition) -> tuple[list[str], bool]:
    """Overrides by which the configuration trains on other samples, without classes and captions if its networks and
    penalties can do without; and whether they cannot."""
    changes = [*overrides, "run.name=mine", "data.path=data/mine"]
    conditioned = condition.kind in ("class", "text")
    if conditioned:
        with suppress(ConfigError):
            load(config_name, [*changes, f"{condition.key}=0"])
            changes.append(f"{condition.key}=0")
            conditioned = False
    changes += on_another_set(load(config_name, changes), labelled=conditioned and condition.kind == "class")
    last = {item.partition("=")[0]: item for item in changes}
    return [item for item in changes if last[item.partition("=")[0]] is item], conditioned


def _status(outcome: Outcome) -> int:
    """The exit status of an outcome.

    Raises:
        GandistError, RunError: the run was refused, or its health ended it.
    """
    if outcome.message:
        raise (GandistError if outcome.status == "refused" else RunError)(outcome.message)
    return 143 if outcome.status == "stopped" else 0


def _report(storage: Storage) -> bool:
    """Write the run's page; return whether that succeeded. A failure here does not fail the run, which is done."""
    try:
        from gandist.report.page import page  # drawing is needed only at a run's end

        storage.write_bytes(REPORT, page([storage.root]).encode())
    except Exception as error:
        log.warning("no report: %s: %s; python -m gandist.report %s", type(error).__name__, error, storage.root)
        return False
    return True
