"""A run that is judged unwell is taken back to a checkpoint with smaller learning rates, a bounded number of times."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gandist import train
from gandist.config.run import RunConfig, validate
from gandist.distributed.consensus import Host, Outcome
from gandist.launch.resumption import run_root
from gandist.monitoring.health import Method, Verdict
from gandist.run import checkpoint
from gandist.run.checkpoint import Checkpoints
from gandist.run.progress import METRICS_FILE, decode
from gandist.storage.storage import Storage
from gandist.training.worker import train as train_rank
from tests.helpers.forked import on_ranks
from tests.helpers.train_on_ranks import final_digests, tiny

EVERY_STEP = {"train__tick_kimg": 0.012, "train__checkpoint_kimg": 0.024}
Rows = Sequence[Mapping[str, Any]]


def once_at(images_seen: int, state: str = "diverged") -> Any:
    """A judge that finds fault once: with the row at that many images, until the run is rolled back. A row that no
    checkpoint follows is read with the next one, so that the verdict acts there."""

    def judge(rows: Rows, method: Method) -> Verdict:
        ill = rows[-1]["images_seen"] == images_seen and rows[-1]["rollbacks"] == 0
        return Verdict(state, "so says the test") if ill else Verdict()  # type: ignore[arg-type]

    return judge


def run(config: RunConfig) -> tuple[Outcome, Storage, list[dict[str, Any]]]:
    storage = Storage(run_root(config))
    outcome = train_rank(config, Checkpoints(storage), Host())
    return outcome, storage, decode(storage.read_bytes(METRICS_FILE) or b"")


def test_back_to_the_newest_healthy_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gandist.training.main_rank.judge", once_at(84))
    config = tiny(tmp_path, "run", **EVERY_STEP)
    outcome, storage, rows = run(config)
    assert outcome == Outcome("done", 120)
    assert [row["images_seen"] for row in rows] == list(range(12, 121, 12)), "each once"
    assert [row["rollbacks"] for row in rows] == [0] * 6 + [1] * 4
    assert [row["lr/D"] for row in rows] == pytest.approx([1e-3] * 6 + [5e-4] * 4)
    assert [row.get("rollback") for row in rows if "rollback" in row] == ["from 96 images: diverged: so says the test"]
    lost = decode(storage.read_bytes("rolled-back-1.jsonl") or b"")
    assert [(row["images_seen"], row["verdict"]) for row in lost] == [(84, "diverged"), (96, "healthy")]


def test_what_is_rolled_back_is_resumed_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gandist.training.main_rank.judge", once_at(84))
    whole, parts = (tiny(tmp_path, name, **EVERY_STEP) for name in ("whole", "parts"))
    run(whole)
    run(validate({**parts.resolved(), "train": {**parts.resolved()["train"], "total_kimg": 0.096}}))
    assert json.loads(checkpoint.read(Storage(run_root(parts)), "00000072").files["state.json"])["lr_scale"] == 0.5
    run(parts)
    assert final_digests(parts) == final_digests(whole)
    monkeypatch.undo()
    unscathed = tiny(tmp_path, "unscathed", **EVERY_STEP)
    run(unscathed)
    assert final_digests(unscathed) != final_digests(whole)


def test_back_to_the_best_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gandist.training.main_rank.judge", once_at(84))
    evaluation = {"every_kimg": 0.036, "n": 60, "extractor": "classifier"}
    config = tiny(tmp_path, "best", eval=evaluation, **EVERY_STEP)
    monkeypatch.setattr("gandist.run.evaluations.best", lambda all_of_them: 36 if all_of_them else None)
    _, storage, rows = run(config)
    assert [row["images_seen"] for row in rows if row["rollbacks"] == 0] == [12, 24, 36]
    assert [row["images_seen"] for row in rows if "quality/fd-classifier" in row] == [36, 72, 108, 120]
    assert 36 in map(int, checkpoint.names(storage))


@pytest.mark.parametrize(
    ("health", "status", "said"),
    [
        ({"diverged": "stop"}, "stopped", "diverged: so says the test; lower optim.lr_G"),
        ({"max_rollbacks": 0}, "stopped", "again after 0 roll-backs"),
        ({"diverged": "warn"}, "done", ""),
        ({"diverged": "ignore"}, "done", ""),
    ],
)
def test_what_else_is_done(
    health: dict[str, Any],
    status: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("gandist.training.main_rank.judge", once_at(84))
    outcome, storage, rows = run(tiny(tmp_path, "run", health=health, **EVERY_STEP))
    assert outcome.status == status
    assert said in outcome.message
    assert [row["verdict"] for row in rows if row["images_seen"] in (72, 84)] == ["healthy", "diverged"]
    assert rows[-1]["images_seen"] == (96 if status == "stopped" else 120)
    assert ("health=diverged" in caplog.text) == (health != {"diverged": "ignore"})
    if status == "stopped":
        assert "00000096" not in checkpoint.names(storage), "what is no good is not gone on from"


def test_without_a_checkpoint_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gandist.training.main_rank.judge", once_at(12))
    outcome, _, _ = run(tiny(tmp_path, "run", **EVERY_STEP))
    assert "no sound checkpoint to go back to" in outcome.message


def exploding(folder: Path, name: str) -> RunConfig:
    return tiny(folder, name, optim__lr_G=1e200, **{**EVERY_STEP, "train__checkpoint_kimg": 0.012})


def test_a_run_that_really_diverges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first update throws the weights out of all bounds, so that going back to it does not help."""
    file = tmp_path / "alone.yaml"
    file.write_text(json.dumps(exploding(tmp_path, "alone").resolved()))
    assert train.main([str(file)]) == 1
    assert "diverged: loss/D was finite in no step, again after 2 roll-backs" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "alone").glob("rolled-back-*")) == [
        "rolled-back-1.jsonl",
        "rolled-back-2.jsonl",
    ]


def diverge(tree: dict[str, Any]) -> None:
    """Called in each rank."""
    outcome, _, _ = run(validate(tree))
    assert outcome.status == "stopped"


def test_two_ranks_go_back_together(tmp_path: Path) -> None:
    on_ranks(2, tmp_path, diverge, exploding(tmp_path, "two").resolved())
    state = json.loads((tmp_path / "two" / "checkpoints" / "00000012" / "state.json").read_text())
    assert (state["rollbacks"], state["lr_scale"]) == (2, 0.25)
