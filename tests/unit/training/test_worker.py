"""The rhythm of a run: when rows, pictures and checkpoints come, and how it ends."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from gandist.config.run import RunConfig
from gandist.config.run import load as load_config
from gandist.distributed.consensus import PREEMPTION_POLLS, Consensus, Host, Outcome
from gandist.distributed.ranks import Ranks
from gandist.gan.objectives import OBJECTIVES
from gandist.launch.resumption import run_root
from gandist.monitoring.health import Action
from gandist.run import attempt
from gandist.run.checkpoint import Checkpoints
from gandist.storage.storage import Storage
from gandist.training.loading import load
from gandist.training.loop import build
from gandist.training.worker import train
from tests.helpers.scripts import python
from tests.helpers.train_on_ranks import tiny


def play(config: RunConfig, host: Host | None = None) -> tuple[Outcome, Path]:
    root = Path(run_root(config))
    return train(config, Checkpoints(Storage(str(root))), host or Host()), root


def rows(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


def names(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.iterdir())


def test_events_come_at_the_first_step_that_reaches_them(tmp_path: Path) -> None:
    """Lengths are no multiples of the batch of 12: 100 images are reached after 9 steps, 108 images."""
    config = tiny(
        tmp_path,
        "events",
        train__total_kimg=0.1,
        train__tick_kimg=0.03,
        train__sample_kimg=0.05,
        train__checkpoint_kimg=0.045,
    )
    outcome, root = play(config)
    assert outcome == Outcome("done", 108)
    assert [row["images_seen"] for row in rows(root)] == [36, 60, 96, 108]
    assert names(root / "samples") == [0, 60, 108]
    assert names(root / "checkpoints") == [48, 96, 108]
    assert rows(root)[0]["world_size"] == 1
    assert {"loss/D", "loss/G", "img_per_s", "data_wait_s"} <= rows(root)[0].keys()


def test_a_loop_is_whole_once_it_is_built(tmp_path: Path) -> None:
    """Nothing that it holds comes into being while it runs, a roll-back included."""
    config, ranks = tiny(tmp_path, "whole"), Ranks(0, 1, torch.device("cpu"))
    checkpoints = Checkpoints(Storage(run_root(config)))
    with ExitStack() as closing:
        loaded = load(config, ranks, checkpoints, "", closing)
        loop = build(config, checkpoints.storage, ranks, loaded, "", closing)
        before = [set(vars(each)) for each in (loop, loop.main_rank, loop.batches, loop.tick)]
        assert loop.run(Consensus(ranks, Host())) == Outcome("done", 120)
        loop.roll_back(Action("roll_back", "for the test", 60))
        assert loop.players.images_seen == 60
        assert [set(vars(each)) for each in (loop, loop.main_rank, loop.batches, loop.tick)] == before


def test_images_seen_counts_every_update_of_D(tmp_path: Path) -> None:
    outcome, root = play(tiny(tmp_path, "critic", game__n_critic=3))
    assert outcome.images_seen == 144  # 4 rounds of 3 x 12: the first to reach 120
    assert [row["images_seen"] for row in rows(root)] == [72, 144]


def test_a_run_that_resumes_repeats_no_row(tmp_path: Path) -> None:
    """The rows past the checkpoint are dropped; those before it stay as they were."""
    first, root = play(tiny(tmp_path, "again", train__total_kimg=0.12, train__checkpoint_kimg=0.06))
    assert first.status == "done"
    before = rows(root)
    for file in (root / "checkpoints" / "00000120").iterdir():
        if file.name == "G.safetensors":
            file.write_bytes(file.read_bytes()[:-1])
    second, _ = play(tiny(tmp_path, "again", train__total_kimg=0.12, train__checkpoint_kimg=0.06))
    assert second == Outcome("done", 120)
    after = rows(root)
    assert after[0] == before[0]
    assert [row["images_seen"] for row in after] == [60, 120]
    assert after[1]["loss/D"] == before[1]["loss/D"]
    assert after[1]["time_s"] > before[1]["time_s"]


def test_a_file_named_stop_ends_a_run_after_a_checkpoint(tmp_path: Path) -> None:
    config = tiny(tmp_path, "stopped", train__total_kimg=100, train__checkpoint_kimg=1000)
    attempt.ask_to_stop(Storage(run_root(config)))
    outcome, root = play(config)
    assert outcome.status == "stopped"
    assert 0 < outcome.images_seen < 100_000
    assert names(root / "checkpoints") == [outcome.images_seen]


def test_a_preemption_notice_saves_a_checkpoint_and_the_run_goes_on(tmp_path: Path) -> None:
    class Doomed(Host):
        def __init__(self) -> None:
            self.asked = 0

        def preempted(self) -> bool:
            self.asked += 1
            return True

    host = Doomed()
    # A row that is read is a poll, and every PREEMPTION_POLLS-th poll asks: at step 10, whose own row is read for the
    # checkpoint, so that step 11 has none to read.
    config = tiny(tmp_path, "spot", train__total_kimg=0.252, train__tick_kimg=0.012, train__checkpoint_kimg=1000)
    outcome, root = play(config, host)
    assert host.asked == 20 // PREEMPTION_POLLS
    assert outcome == Outcome("done", 252)
    assert names(root / "checkpoints") == [120, 252]


@pytest.mark.slow
def test_an_older_attempt_that_still_lives_writes_nothing(tmp_path: Path) -> None:
    class Overtaken(Host):
        def report(self, row: dict[str, float]) -> None:
            attempt.Attempt(Storage(run_root(config)))

    config = tiny(tmp_path, "fenced", train__total_kimg=100, train__checkpoint_kimg=1000, train__tick_kimg=1)
    outcome, _ = play(config, Overtaken())
    assert outcome.status == "stopped"
    assert "attempt 2 has taken over" in outcome.message
    assert not list((tmp_path / "fenced").glob("checkpoints/0*"))


def test_what_is_wrong_before_the_first_step_is_an_outcome(tmp_path: Path) -> None:
    outcome, root = play(tiny(tmp_path, "refused", model__classes=7))
    assert outcome.status == "refused"
    assert "model.classes=10" in outcome.message
    assert not (root / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16", "model__norm": "batch"},
        {"precision": "fp16"},
        {"data__flip": True, "data__channels": 3},
        {"model__classes": 0, "optim__weight_decay": 0.01},
        {"train__accumulate": 3, "game__n_critic": 2},
        # By day only as a whole command (tests/unit/test_train.py).
        *(
            pytest.param(changes, marks=pytest.mark.nightly)
            for changes in (
                {"precision": "fp32"},
                {"optim__ema_half_life_kimg": 0},
                {"optim__lr_G": {"start": 1e-3, "end": 1e-4, "over_kimg": 0.1}},
                {"model__resolution": 64},
            )
        ),
    ],
    ids=str,
)
def test_every_kind_of_run_takes_its_steps(tmp_path: Path, changes: dict[str, Any]) -> None:
    outcome, root = play(tiny(tmp_path, "kind", **{"train__total_kimg": 0.036, **changes}))
    assert outcome.status == "done"
    last = rows(root)[-1]
    assert all(isinstance(last[name], float) for name in ("loss/D", "loss/G", "grad_norm/D", "grad_norm/G"))
    assert (root / "samples" / f"{outcome.images_seen:08d}.png").stat().st_size > 1000


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_runs_with_the_demos_own_network(tmp_path: Path, objective: str) -> None:
    small = ["launch.kind=local", "model.width=4", "train.batch=8", "train.total_kimg=0.032"]
    outcome, root = play(load_config("demo", [f"game.objective={objective}", f"run.dir={tmp_path}", *small]))
    assert outcome == Outcome("done", 32)
    assert all(isinstance(rows(root)[-1][name], float) for name in ("loss/D", "loss/G", "grad_norm/D", "grad_norm/G"))


def test_a_rank_needs_neither_ray_nor_prometheus() -> None:
    """They are imported where they are used alone: a rank also runs where they are not installed."""
    code = "import sys, gandist.train.course; sys.exit(sorted({'ray', 'prometheus_client'} & set(sys.modules)) != [])"
    assert python("-c", code).returncode == 0
