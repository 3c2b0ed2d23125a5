"""`python -m gandist.tune` on a real Ray cluster: sweeps that end, fail in part, are killed and go on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from gandist import train
from gandist.config.run import leaves, load
from gandist.run.progress import decode
from gandist.tune import main
from tests.helpers.checkout_copy import ROOT
from tests.helpers.slow_loss import slow_loss
from tests.helpers.train_on_ranks import TINY

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.filterwarnings("default")]

BASE = {
    **TINY,
    "precision": "fp32",
    "train": {**TINY["train"], "tick_kimg": 0.024, "total_kimg": 0.096},
    "eval": {"every_kimg": 0.024, "n": 24, "extractor": "classifier"},
    "telemetry": {"enabled": True},
    "track": {"tensorboard": False},
}
METRIC = "quality/fd-classifier"
QUICK = {"health.collapsing": "ignore", "health.diverged": "ignore", "optim.ema_half_life_kimg": 0.01}
"""What shows a difference between rates after eight steps."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    return tmp_path


def sweep(folder: Path, name: str, space: dict[str, Any], **changes: Any) -> str:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"name": name, "config": "base.yaml", "space": space, **changes}))
    return str(file)


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "sweeps" / name / "trials.parquet").to_pylist()
    return rows


def run_of(folder: Path, name: str, trial: str) -> Path:
    return folder / "sweeps" / name / "trials" / trial


BROKEN = """
import torch
from gandist.gan.objectives import OBJECTIVES, Objective

def fail(real, fake):
    raise RuntimeError("this loss was never finished")

OBJECTIVES["broken"] = Objective(fail, fail)
"""


def test_a_sweep_goes_on_past_trials_that_fail(ray_here: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.py").write_text(BROKEN)
    space = {"game.objective": {"choice": ["ns", "broken"]}, "optim.lr_G": {"choice": [1e-3, 1e30]}}
    changes = {"searcher": "grid", "concurrent": 1, "set": {"imports": ["broken.py"], "optim.lr_D": 1e-3}}
    assert main([sweep(folder, "mixed", space, **changes)]) == 0
    rows = rows_of(folder, "mixed")
    ends = {(row["game.objective"], row["optim.lr_G"]): row for row in rows}
    assert len(rows) == len(ends) == 4
    assert ends["ns", 1e-3]["state"] == "done"
    assert ends["ns", 1e30]["state"] == "diverged"
    assert ends["ns", 1e30]["reason"]
    for rate in (1e-3, 1e30):
        assert ends["broken", rate]["state"] == "crashed"
        assert "never finished" in ends["broken", rate]["reason"]
        assert ends["broken", rate][METRIC] is None
    best = rows[0]
    assert (best["game.objective"], best["images"]) == ("ns", 96)
    last = decode((run_of(folder, "mixed", best["trial"]) / "metrics.jsonl").read_bytes())[-1]
    assert best[METRIC] == last[METRIC]
    table = capsys.readouterr().out
    assert "diverged" in table
    assert "optim.lr_G" in table
    assert (folder / "sweeps/mixed/report.html").stat().st_size > 1000
    config = load(str(folder / "sweeps/mixed/best.yaml"))
    assert (config.game.objective, config.optim.lr_G, config.optim.lr_D) == ("ns", 1e-3, 1e-3)
    assert (config.run.dir, config.run.name) == ("runs", "mixed-best")
    unsearched = dict(leaves(load(str(folder / "base.yaml"), ["imports=[broken.py]"]).resolved()))
    differing = {path for path, value in leaves(config.resolved()) if unsearched[path] != value}
    assert differing <= {"game.objective", "optim.lr_G", "optim.lr_D", "run.name"}, "complete, and nothing else changed"
    assert train.main([str(folder / "sweeps/mixed/best.yaml"), "train.total_kimg=0.024"]) == 0
    assert not placement_groups()


def placement_groups() -> list[str]:
    """Names and states of placement groups that still reserve something."""
    until = time.monotonic() + 20
    while True:
        table = ray.util.placement_group_table()
        found = [f"{key} {group['state']}" for key, group in table.items() if group["state"] != "REMOVED"]
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.5)


@pytest.mark.nightly
@pytest.mark.parametrize(("workers", "trials"), [(1, 3), (2, 2)])
def test_trials_of_ray_workers_take_turns(ray_here: str, folder: Path, workers: int, trials: int) -> None:
    """More workers than the cluster has room for at once: nothing waits for ever, and nothing stays reserved."""
    changes = {"trials": trials, "set": {"launch.kind": "ray", "launch.workers": workers, "train.total_kimg": 0.048}}
    name = f"turns-{workers}"
    assert main([sweep(folder, name, {"optim.lr_G": {"loguniform": [1e-4, 1e-2]}}, **changes)]) == 0
    rows = rows_of(folder, name)
    assert [row["state"] for row in rows] == ["done"] * trials
    for row in rows:
        last = decode((run_of(folder, name, row["trial"]) / "metrics.jsonl").read_bytes())[-1]
        assert (last["world_size"], last["images_seen"]) == (workers, 48)
    assert not placement_groups()


def test_what_does_not_fit_is_told_at_once(ray_here: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = sweep(folder, "wide", {"optim.lr_G": {"choice": [1e-3]}}, set={"launch.kind": "ray", "launch.workers": 3})
    start = time.monotonic()
    assert main([file]) == 2
    assert time.monotonic() - start < 20
    assert "needs 3 x 1 CPU, each on one node; the cluster has 2 CPU on 1 node" in capsys.readouterr().err


def test_a_population_takes_over_the_weights_of_its_best(ray_here: str, folder: Path) -> None:
    space = {"optim.lr_G": {"choice": [1e-3, 2e-3, 1e-9]}}
    changes = {
        "trials": 3,
        "set": {"optim.lr_D": 1e-3, "train.total_kimg": 0.144, "eval.every_kimg": 0.048},
        "scheduler": {"kind": "pbt", "interval_kimg": 0.048, "quantile": 0.5, "resample": 0},
    }
    assert main([sweep(folder, "population", space, **changes)]) == 0
    rows = {row["trial"]: row for row in rows_of(folder, "population")}
    assert {row["state"] for row in rows.values()} == {"done"}
    lineages = {
        name: decode(file.read_bytes())
        for name in rows
        if (file := run_of(folder, "population", name) / "lineage.jsonl").exists()
    }
    assert lineages, "the worst of the three took over another's weights"
    for name, lineage in lineages.items():
        for taken in lineage:
            at = f"{taken['images_seen']:08d}"
            mine, theirs = (
                json.loads((run_of(folder, "population", who) / "checkpoints" / at / "manifest.json").read_text())
                for who in (name, taken["donor"])
            )
            assert mine["files"] == theirs["files"], "sha256 of weights, optimisers and state"
            assert mine["forked_from"]["images_seen"] == taken["images_seen"]
            assert mine["config"]["optim"]["lr_G"] == taken["params"]["optim.lr_G"]
        assert rows[name]["optim.lr_G"] == lineage[-1]["params"]["optim.lr_G"]
        assert decode((run_of(folder, "population", name) / "metrics.jsonl").read_bytes())[-1]["images_seen"] == 144


@pytest.mark.nightly
def test_the_searcher_learns_and_two_metrics_have_a_front(ray_here: str, folder: Path) -> None:
    space = {"optim.lr_G": {"loguniform": [1e-5, 1e-1]}, "model.width": {"integer": [2, 6]}}
    changes = {
        "trials": 5,
        "searcher": "tpe",
        "metric": {METRIC: "min", "train_s": "min"},
        "set": {"train.total_kimg": 0.048},
    }
    assert main([sweep(folder, "front", space, **changes)]) == 0
    rows = rows_of(folder, "front")
    assert [row["state"] for row in rows] == ["done"] * 5
    assert len({row["optim.lr_G"] for row in rows}) == 5
    assert all(row["train_s"] > 0 for row in rows)


@pytest.mark.parametrize(
    "kind", ["asha", *(pytest.param(kind, marks=pytest.mark.nightly) for kind in ("hyperband", "median"))]
)
def test_schedulers_stop_what_is_worse(ray_here: str, folder: Path, kind: str) -> None:
    """Rates of nearly nothing, or of so much that the images are lost, against one that learns."""
    changes = {"searcher": "grid", "scheduler": kind, "set": {"optim.lr_D": 1e-3, **QUICK}}
    space = {"optim.lr_G": {"choice": [1e-8, 1e-9, 5e-3, 1.0]}}
    assert main([sweep(folder, kind, space, **changes)]) == 0
    rows = rows_of(folder, kind)
    assert "stopped" in {row["state"] for row in rows}
    assert "done" in {row["state"] for row in rows}
    # A run goes on until it hears that it is stopped, which one so short may do too late.
    assert sum(row["images"] for row in rows) < 4 * 96


def driver(folder: Path, file: str, address: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    with (folder / "driver.log").open("ab") as out:
        command = [sys.executable, "-m", "gandist.tune", file]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)


def wait_for_ends(folder: Path, name: str, n: int, alive: Callable[[], bool]) -> list[str]:
    """Names of the trials that have ended, once there are at least n."""
    until = time.monotonic() + 300
    while time.monotonic() < until and alive():
        if (folder / "sweeps" / name / "trials.parquet").exists():
            ended = [row["trial"] for row in rows_of(folder, name) if row["state"] == "done"]
            if len(ended) >= n:
                return ended
        time.sleep(0.2)
    raise AssertionError((folder / "driver.log").read_text())


def wait_for_copy(folder: Path, name: str, ended: list[str]) -> None:
    """Returns when the copy of Ray Tune's state says of each of these trials that it has ended."""
    until = time.monotonic() + 60
    while True:
        assert time.monotonic() < until, "the copy has not been brought up to date for a minute"
        for file in (folder / "sweeps" / name / "ray-copy").glob("experiment_state*"):
            trials = [json.loads(trial) for trial, _ in json.loads(file.read_bytes())["trial_data"]]
            states = {trial["trial_id"].rpartition("_")[2]: trial["status"] for trial in trials}
            if all(states.get(trial) == "TERMINATED" for trial in ended):
                return
        time.sleep(0.1)


def cut_off_state(folder: Path, name: str) -> None:
    """What a driver leaves that is killed while it writes Ray Tune's state."""
    newest = max((folder / "sweeps" / name / "ray").glob("experiment_state*"))
    newest.write_bytes(newest.read_bytes()[:8192])


def test_a_sweep_that_is_killed_and_one_that_is_stopped_go_on_without_doing_again_what_is_done(
    ray_here: str, folder: Path, spared: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each trial takes two seconds and more, in which it mostly waits."""
    slow = {path.replace("__", "."): value for path, value in slow_loss(folder, 0.25).items()}
    fixed = {**slow, "eval.every_kimg": 0.048, "health.collapsing": "ignore"}
    changes = {"trials": 4, "concurrent": 1, "set": fixed}
    file = sweep(folder, "twice", {"optim.lr_G": {"loguniform": [1e-4, 1e-2]}}, **changes)
    killed = driver(folder, file, ray_here)
    ended = wait_for_ends(folder, "twice", 1, lambda: killed.poll() is None)
    wait_for_copy(folder, "twice", ended)
    killed.kill()
    killed.wait()
    cut_off_state(folder, "twice")
    written = {name: (run_of(folder, "twice", name) / "metrics.jsonl").stat().st_mtime_ns for name in ended}

    main_thread = threading.main_thread()

    def stop_in_the_last_trial() -> None:
        wait_for_ends(folder, "twice", 3, main_thread.is_alive)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_in_the_last_trial, daemon=True).start()
    assert main([file]) == 143
    told = capsys.readouterr().err
    assert "is incomplete: the sweep resumes from" in told
    assert "the same command goes on with it" in told
    assert "stopped" not in {row["state"] for row in rows_of(folder, "twice")}, "no scheduler ended it"

    assert main([file]) == 0
    rows = rows_of(folder, "twice")
    assert sorted(row["trial"] for row in rows) == [f"{number:05d}" for number in range(4)]
    assert [row["state"] for row in rows] == ["done"] * 4
    for name, when in written.items():
        assert (run_of(folder, "twice", name) / "metrics.jsonl").stat().st_mtime_ns == when
        assert json.loads((run_of(folder, "twice", name) / "attempt.json").read_text())["attempt"] == 1
    assert main([file]) == 0, "a sweep that is done says so again"
    assert [row["images"] for row in rows_of(folder, "twice")] == [96] * 4


def test_another_sweep_of_the_same_name_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "sweeps/small").mkdir(parents=True)
    space = {"optim.lr_G": {"choice": [1e-3]}}
    from gandist.tune.drive import prepare
    from gandist.tune.sweep import read

    file = sweep(folder, "small", space)
    prepare(read(file), "auto")
    assert main([sweep(folder, "small", space, trials=7)]) == 2
    assert "was started as another sweep: trials;" in capsys.readouterr().err
    file = sweep(folder, "small", space)
    assert main([file, "train.total_kimg=1"]) == 2
    assert "another sweep: train.total_kimg;" in capsys.readouterr().err
    assert main([file, "--resume", "must", "name=none"]) == 2
    assert "no sweep to resume" in capsys.readouterr().err
