"""Progress of a sweep: lines on the terminal, its table and a copy of its state on storage, metrics for Prometheus."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ray import tune

from gandist.cli.terminal import line
from gandist.monitoring.telemetry import SweepTelemetry
from gandist.storage.storage import Storage
from gandist.tune.results import Tuned, findings, write_table
from gandist.tune.search import KIMG
from gandist.tune.state import StateCopy
from gandist.tune.sweep import Plan
from gandist.tune.trial import run_name
from gandist.tune.trials import Findings

log = logging.getLogger("gandist")


class Watch(tune.Callback):  # type: ignore[misc]
    """Ray Tune's callback.

    `tuned` are the trials of the latest call, `interrupted` the ids of those that had not ended when the driver was
    stopped: Ray Tune itself then marks them as ended.
    """

    def __init__(self, plan: Plan, storage: Storage, telemetry: SweepTelemetry | None) -> None:
        self.plan, self.storage, self.telemetry = plan, storage, telemetry
        self.tuned: Sequence[Tuned] = ()
        self.unfinished: set[str] = set()
        self.interrupted: set[str] = set()
        self.state_copy = StateCopy(storage)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.state_copy.update()
        self.unfinished = {trial.trial_id for trial in trials if not trial.is_finished()}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._tell(trials)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        metrics = {metric: float(result[metric]) for metric in self.plan.metrics}
        log.info(
            "trial=%s %s", run_name(trial.trial_id), line({"state": result["state"], KIMG: result[KIMG], **metrics})
        )
        if result["reason"]:
            log.warning("trial=%s %s", run_name(trial.trial_id), result["reason"])
        self.tuned = trials

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trials)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trials)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self.interrupted = self.unfinished
        self._tell(trials)

    def _ended(self, trials: list[Any]) -> None:
        found, states = self._tell(trials)
        write_table(found, self.storage)
        best = found.best()
        told: dict[str, object] = {state: n for state, n in states.items() if n}
        if best is not None:
            told |= {"best": best.name, found.metric: best.value(found.metric)}
        log.info("sweep=%s %s", self.plan.sweep.name, line(told))

    def _tell(self, trials: list[Any]) -> tuple[Findings, Counter[str]]:
        """The results so far, and the number of trials by state, including future ones; both also go to Prometheus."""
        self.tuned = trials
        found = findings(self.plan, self.storage, trials, self.interrupted)
        states: Counter[str] = Counter(trial.state for trial in found.trials)
        states["pending"] += self.plan.trials - len(found.trials)
        if self.telemetry is not None:
            best = found.best()
            self.telemetry.tell(states, found.images(), best.value(found.metric) if best else None)
        return found, states
