"""The copy of Ray Tune's state of a sweep, with files named and written as Ray Tune does."""

import contextlib
import json
import pickle
from pathlib import Path

import pytest

from gandist.storage.storage import Storage
from gandist.tune.state import PERIOD_S, StateCopy, resumable

FIRST, SECOND = "2026-01-01_09-59-59", "2026-01-01_10-00-00"


def write_state(folder: Path, began: str, trials: int, cut_off: bool = False) -> None:
    (folder / "ray").mkdir(exist_ok=True)
    state = json.dumps({"trial_data": ["a trial"] * trials})
    (folder / f"ray/experiment_state-{began}.json").write_text(state[:-3] if cut_off else state)
    (folder / f"ray/search_gen_state-{began}.json").write_bytes(pickle.dumps(trials))
    (folder / f"ray/searcher-state-{began}.pkl").write_bytes(pickle.dumps(trials))
    (folder / f"ray/.0c-tmp-searcher-state-{began}.pkl").write_bytes(b"begun")


def trials_in(folder: Path, began: str) -> tuple[int, int, int]:
    """Number of trials that each of the three files of a state knows."""
    listed = json.loads((folder / f"ray/experiment_state-{began}.json").read_bytes())["trial_data"]
    generated = pickle.loads((folder / f"ray/search_gen_state-{began}.json").read_bytes())
    return len(listed), generated, pickle.loads((folder / f"ray/searcher-state-{began}.pkl").read_bytes())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_a_sweep_that_has_not_begun_has_nothing_to_resume(tmp_path: Path) -> None:
    StateCopy(Storage(str(tmp_path))).update()
    assert not resumable(Storage(str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_complete_state_stays_as_it_is(tmp_path: Path, clock: list[float]) -> None:
    write_state(tmp_path, FIRST, 1)
    StateCopy(Storage(str(tmp_path))).update()
    write_state(tmp_path, FIRST, 2)
    assert resumable(Storage(str(tmp_path)))
    assert trials_in(tmp_path, FIRST) == (2, 2, 2)


@pytest.mark.parametrize("broken", ["experiment_state-{}.json", "searcher-state-{}.pkl", "search_gen_state-{}.json"])
def test_an_incomplete_state_is_replaced_whole_by_the_last_complete_one(
    tmp_path: Path, clock: list[float], broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    copy = StateCopy(Storage(str(tmp_path)))
    write_state(tmp_path, FIRST, 1)
    copy.update()
    clock[0] += PERIOD_S
    write_state(tmp_path, FIRST, 2)
    copy.update()
    clock[0] += PERIOD_S
    write_state(tmp_path, FIRST, 3)
    file = tmp_path / "ray" / broken.format(FIRST)
    file.write_bytes(file.read_bytes()[:-2])
    copy.update()
    assert resumable(Storage(str(tmp_path)))
    assert trials_in(tmp_path, FIRST) == (2, 2, 2)
    assert f"experiment_state-{FIRST}.json is incomplete: the sweep resumes from {tmp_path}/ray-copy" in caplog.text


def test_the_incomplete_state_of_a_second_driver_does_not_hide_the_copy(tmp_path: Path, clock: list[float]) -> None:
    write_state(tmp_path, FIRST, 2)
    StateCopy(Storage(str(tmp_path))).update()
    write_state(tmp_path, SECOND, 2, cut_off=True)
    StateCopy(Storage(str(tmp_path))).update()
    assert resumable(Storage(str(tmp_path)))
    assert sorted(file.name for file in (tmp_path / "ray").glob("[!.]*")) == sorted(
        name.format(FIRST) for name in ("experiment_state-{}.json", "search_gen_state-{}.json", "searcher-state-{}.pkl")
    )
    assert trials_in(tmp_path, FIRST) == (2, 2, 2)


@pytest.mark.parametrize("began", [FIRST, SECOND])
@pytest.mark.parametrize("changes", range(4))
def test_a_repair_that_is_interrupted_is_repeated(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch, began: str, changes: int
) -> None:
    write_state(tmp_path, FIRST, 2)
    StateCopy(Storage(str(tmp_path))).update()
    write_state(tmp_path, began, 3, cut_off=True)
    left = iter(range(changes))

    def killed() -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        resumable(Storage(str(tmp_path), check=killed))
    assert resumable(Storage(str(tmp_path)))
    assert trials_in(tmp_path, FIRST) == (2, 2, 2)
    assert not (tmp_path / f"ray/experiment_state-{SECOND}.json").exists()


def test_without_a_copy_the_sweep_begins_again_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_state(tmp_path, FIRST, 1, cut_off=True)
    assert not resumable(Storage(str(tmp_path)))
    assert "there is no copy: the sweep begins again" in caplog.text
    assert not resumable(Storage(str(tmp_path)))


def test_copies_are_made_once_a_period(tmp_path: Path, clock: list[float]) -> None:
    copy = StateCopy(Storage(str(tmp_path)))
    for trials in (1, 2):
        write_state(tmp_path, FIRST, trials)
        copy.update()
    kept = tmp_path / "ray-copy" / f"experiment_state-{FIRST}.json"
    assert len(json.loads(kept.read_bytes())["trial_data"]) == 1
