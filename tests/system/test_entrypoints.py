"""What the pods of `k8s/` would run, run for real: each RayJob's command with its files, on a Ray cluster."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cluster.local import free_port
from gandist import train, tune
from tests.helpers.kubernetes_manifests import load
from tests.helpers.kubernetes_pods import command

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.filterwarnings("default")]

# `gandist`, which is elastic, first: after another run it may wait for that one's request of resources to expire.
JOBS = {each.name: each for each in sorted(load(), key=lambda each: each.name != "gandist") if each.kind == "RayJob"}
MAINS = {"gandist.train": train.main, "gandist.tune": tune.main}
SMALLER = ["launch.resources={CPU: 1}"]
ON_CPU = ["device=cpu", "precision=fp32"]
R3GAN = ["model.widths=[8,8,8,8]", "train.batch=16", "train.total_kimg=0.064"]
MEASURED = ["eval.n=24", "eval.every_kimg=0.064"]
CALM = ["health.collapsing=ignore", "health.diverged=ignore"]
BRIEF = {
    "gandist": [*R3GAN, "launch.workers=[1,2]"],
    "gandist-queued": [*R3GAN, "launch.workers=1"],
    "gandist-demo": ["model.width=4", "train.total_kimg=0.128"],
    "gandist-sweep": [*CALM, *MEASURED, "trials=1", "scheduler=none", "model.width=4", "train.total_kimg=0.064"],
}
"""Overrides for two CPUs and a few steps; all else is the manifest's."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """As in the manifests: a head without CPUs, and a worker with room for two ranks."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        # With a short name: Ray keeps sockets there, and the address by which others would find this cluster.
        home = tempfile.mkdtemp(prefix="gandist-")
        patch.setenv("RAY_TMPDIR", home)
        here = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "dashboard_port": free_port()})
        here.add_node(wait=False, num_cpus=2)
        here.wait_for_nodes(timeout=120)
        ray.init(address=here.address, log_to_driver=False)
        yield here
        ray.shutdown()
        here.shutdown()
        shutil.rmtree(home, ignore_errors=True)


def run(name: str, folder: Path, *options: str) -> None:
    """A job's command with its files, below `folder` in place of the pod's mounts."""
    (folder / "etc").mkdir()
    _, _, module, *words = command(JOBS[name], list(load()), folder / "etc")
    folders = [f"telemetry.dir={folder / 'metrics'}", f"telemetry.port={free_port()}"]
    is_sweep = module == "gandist.tune"
    folders += [f"dir={folder}/sweeps"] if is_sweep else [f"run.dir={folder}/runs"]
    on_cpu = [f"set.{each}" if is_sweep else each for each in ON_CPU]
    assert MAINS[module]([*words, *SMALLER, *on_cpu, *BRIEF[name], *folders, *options]) == 0


@pytest.mark.parametrize("name", JOBS)
def test_each_job_is_accepted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its command with its files, up to where it would start: jobs run by night, since runs and sweeps on Ray, which
    differ from them in their configurations alone, are tested in every run (test_ray_job, test_launch, test_tune)."""
    monkeypatch.chdir(tmp_path)
    run(name, tmp_path, "--dry-run")
    said = {"gandist-sweep": "\n1 trials, "}.get(name, f"dir: {tmp_path}/runs\n")
    assert said in capsys.readouterr().out
    assert not [*tmp_path.glob("runs"), *tmp_path.glob("sweeps")]


@pytest.mark.nightly
@pytest.mark.parametrize("name", JOBS)
def test_entrypoint(name: str, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(name, tmp_path)
    if name == "gandist-sweep":
        rows = pq.read_table(tmp_path / "sweeps/garments/trials.parquet").to_pylist()
        assert [row["state"] for row in rows] == ["done"]
        return
    (trained,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert trained.name == {"gandist": "garments", "gandist-queued": "queued", "gandist-demo": "demo"}[name]
    images = 128 if name == "gandist-demo" else 64
    assert [each.name for each in (trained / "checkpoints").iterdir()] == [f"{images:08d}"]
    assert (tmp_path / "metrics").is_dir()
