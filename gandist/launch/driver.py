"""Start the ranks of a run: this process as one of them, or workers on Ray. Forward signals and show progress."""

import os
import threading
from contextlib import ExitStack
from typing import Any

from gandist.cli.terminal import Progress
from gandist.config.run import RunConfig
from gandist.distributed import flight_recorder
from gandist.distributed.consensus import Host, Outcome
from gandist.errors import ConfigError, GandistError
from gandist.launch.supervise import open_progress, read_rows, stop_on_signals
from gandist.run.checkpoint import Checkpoints
from gandist.training.worker import train


def launch(config: RunConfig, checkpoints: Checkpoints, profile: int = 0) -> Outcome:
    """Run to the end: as the only rank, as one of `torchrun`'s ranks, or on Ray if `launch.kind` is `ray`.

    Args:
        profile: steps to profile; 0 for none.

    Raises:
        GandistError: data or storage failed in mid-run.
        RunError: the workers failed more often than `launch.max_failures`.
    """
    if config.launch.kind == "ray":
        return _on_ray(config, checkpoints, profile)
    if config.device != "cpu" and int(os.environ.get("WORLD_SIZE", "1")) > 1 and checkpoints.storage.local is not None:
        os.environ.update(flight_recorder.variables(checkpoints.storage.local))
    is_main = int(os.environ.get("RANK", "0")) == 0
    progress = open_progress(config, read_rows(checkpoints.storage)) if is_main else None
    with ExitStack() as closing:
        if progress is not None:
            closing.callback(progress.close)
        return train(config, checkpoints, ThisProcess(progress, closing, profile))


class ThisProcess(Host):
    """The environment of a rank that is this process: its signals and its terminal."""

    def __init__(self, progress: Progress | None, closing: ExitStack, profile: int) -> None:
        self.profile = profile
        self._progress, self._closing, self._asked = progress, closing, threading.Event()

    def joined(self) -> None:
        # Not before: a rank that still waits for the others has nothing to save, and must end at once.
        self._closing.enter_context(stop_on_signals(self._asked.set))

    def stopping(self) -> bool:
        return self._asked.is_set()

    def report(self, row: dict[str, Any]) -> None:
        if self._progress is not None:
            self._progress.tick(row)


def _on_ray(config: RunConfig, checkpoints: Checkpoints, profile: int) -> Outcome:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError("launch.kind: ray starts its own workers; under torchrun set launch.kind=local")
    try:
        from gandist.launch.ray import launch_ray  # slow to import, and optional
    except ImportError as error:
        raise GandistError(
            f"launch.kind: ray is not installed ({error}); pip install 'ray[train,tune,default]', "
            "or set launch.kind=local"
        ) from error
    return launch_ray(config, checkpoints, profile)
