"""Ray Train's trainer for a run, with as few processes beside the workers as a run needs: each takes seconds to start.

It replaces private methods of Ray Train 2.60: tests/system/test_launch.py and test_resume_on_ray.py see whether Ray
still calls them.
"""

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private.ray_constants import env_bool
from ray.train import Result
from ray.train.constants import RAY_TRAIN_ENABLE_STATE_TRACKING
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import (
    ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR,
    HEALTH_CHECK_INTERVAL_S_ENV_VAR,
    WORKER_GROUP_START_TIMEOUT_S_ENV_VAR,
)
from ray.train.v2._internal.execution.callback import RayTrainCallback
from ray.train.v2._internal.execution.context import TrainRunContext
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import (
    FixedScalingPolicy,
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
)
from ray.train.v2._internal.execution.worker_group import (
    Worker,
    WorkerGroup,
    WorkerGroupPollStatus,
    WorkerGroupState,
)

ELASTIC_START_S = 10
"""Seconds that an elastic run waits for room for the workers that Ray has counted, until it counts again. For some 20 s
after a node was lost Ray counts it still. Ray's own 60 s, in which a node can be added, are for a fixed number."""


class Workers(WorkerGroup):  # type: ignore[misc]
    """Workers whose controller is not an actor."""

    def _init_train_context_on_workers(
        self, workers: list[Worker], sync_actor: ray.actor.ActorHandle, train_context_args: dict[str, list[Any]]
    ) -> None:
        # Workers would ask the controller for the checkpoints that they reported; gandist's report none.
        started = [
            worker.actor.init_train_context.remote(
                train_run_context=self._train_run_context,
                distributed_context=worker.distributed_context,
                synchronization_actor=sync_actor,
                storage_context=self._storage_context,
                worker_callbacks=self._worker_callbacks_to_propagate,
                controller_actor=None,
                **{name: values[number] for name, values in train_context_args.items()},
            )
            for number, worker in enumerate(workers)
        ]
        ray.get(started)


class Controller(TrainController):  # type: ignore[misc]
    worker_group_cls = Workers


class Unshared(FixedScalingPolicy):  # type: ignore[misc]
    """A fixed number of workers on a cluster that nobody else uses: no actor has to know what they need."""

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        pass

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        return ResizeDecision(
            num_workers=self.scaling_config.num_workers,
            resources_per_worker=self.scaling_config._resources_per_worker_not_none,
        )

    def make_decision_for_running_worker_group(
        self, worker_group_state: WorkerGroupState, worker_group_status: WorkerGroupPollStatus
    ) -> ScalingDecision:
        return NoopDecision()


class Trainer(TorchTrainer):  # type: ignore[misc]
    """Ray Train's trainer, whose controller runs in the process that calls `fit`."""

    def __init__(self, *arguments: Any, unshared: bool, **options: Any) -> None:
        """`unshared`: nobody else uses the cluster, which ends with this process."""
        super().__init__(*arguments, **options)
        self.unshared = unshared

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        idle: tuple[type[RayTrainCallback], ...] = (DatasetsCallback,)  # serves Ray's datasets, which no run has
        if ray.get_runtime_context().get_actor_id() is None:
            # Frees what a lost controller has reserved: here the driver then ends, and with it what it has reserved.
            # A trial of a sweep is an actor whose driver goes on.
            idle += (PlacementGroupCleanerCallback,)
        return [each for each in super()._create_default_callbacks() if not isinstance(each, idle)]

    def _initialize_and_run_controller(self, **parts: Any) -> Result:
        settings = {HEALTH_CHECK_INTERVAL_S_ENV_VAR: "1"}  # notices a lost worker or a finished run sooner
        if self.scaling_config.elasticity_enabled:
            settings[WORKER_GROUP_START_TIMEOUT_S_ENV_VAR] = str(ELASTIC_START_S)
        elif self.unshared:
            parts["scaling_policy"] = Unshared(self.scaling_config)
        with defaults(settings):
            if env_bool(RAY_TRAIN_ENABLE_STATE_TRACKING, False):  # Ray's records of a run name its controller's actor
                return super()._initialize_and_run_controller(**parts)
            # Ray's own logging would close this process's log files.
            logging.getLogger("ray.train").setLevel(self.run_config.logging_config.log_level)
            with defaults({ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR: "0"}):
                return asyncio.run(_run(parts))


async def _run(parts: dict[str, Any]) -> Result:
    controller = Controller(**parts)
    await controller.run()
    return controller.get_result()


@contextmanager
def defaults(settings: dict[str, str]) -> Iterator[None]:
    """Environment variables, where the user has set none, for as long as the controller reads them."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
