"""One Ray cluster for all tests that need no cluster of their own, and a process that survives SIGTERM."""

import logging
import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_head() -> Iterator[str]:
    """Address of a Ray on this machine with two CPUs, which lasts as long as the tests' process."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        # Nobody reads what Ray's monitor of all workers' logs tells, which looks at each file ten times a second.
        small = {"include_dashboard": False, "include_log_monitor": False}
        head = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, **small})
    yield head.address
    head.shutdown()


@pytest.fixture(scope="module")
def ray_here(ray_head: str) -> Iterator[str]:
    """The same address, while this process is connected to it."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        # As on a cluster that a run starts for itself; on nodes, in jobs and on Slurm there is one.
        patch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        ray.init(address=ray_head, log_to_driver=False, logging_level=logging.WARNING)
        yield ray_head
        ray.shutdown()


@pytest.fixture
def spared() -> Iterator[None]:
    """SIGTERM ends nothing but what listens to it."""
    usual = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, usual)
