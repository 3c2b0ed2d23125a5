"""One attempt at a run: numbered, and told when a later one has taken over."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gandist.errors import OvertakenError
from gandist.run.attempt import RESIZE_FILE, Attempt, ask_to_stop, clear_stop, overtaken, stop_asked
from gandist.run.progress import RunLog, decode
from gandist.storage.storage import Storage


def test_attempts_are_numbered(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    attempts = [Attempt(storage) for _ in range(3)]
    assert [each.number for each in attempts] == [1, 2, 3]
    assert [each.restarts for each in attempts] == [0, 1, 2]


def test_an_older_attempt_knows_that_it_is_superseded(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    first = Attempt(storage)
    assert first.superseded() is None
    second = Attempt(storage)
    assert first.superseded() == "attempt 2"
    assert second.superseded() is None


def test_of_two_that_start_together_one_gives_way(tmp_path: Path) -> None:
    """Both took the number 1, but only one of them can have written last."""
    storage = Storage(str(tmp_path))
    first = Attempt(storage)
    storage.delete("attempt.json")
    second = Attempt(storage)
    assert first.number == second.number
    assert first.superseded() == "attempt 1"
    assert second.superseded() is None


def test_asked_to_stop(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    assert not stop_asked(storage)
    ask_to_stop(storage)
    assert stop_asked(Storage(str(tmp_path)))
    clear_stop(storage)
    clear_stop(storage)
    assert not stop_asked(storage)


def test_a_start_that_was_overtaken_takes_no_further_attempt(tmp_path: Path) -> None:
    """A driver that was cut off restarts its workers once it is back: by then the run may be another's."""
    storage = Storage(str(tmp_path))
    Attempt(storage, "one")
    again = Attempt(storage, "one")
    assert again.number == 2
    assert not overtaken(storage, "one")
    other = Attempt(storage, "two")
    assert overtaken(storage, "one")
    with pytest.raises(OvertakenError, match="attempt 3, of a later start, has taken over"):
        Attempt(storage, "one")
    other.check()


def test_an_overtaken_attempt_changes_nothing(tmp_path: Path) -> None:
    """Nor does it leave the half of anything behind, or clear away what a later one has begun."""
    storage = Storage(str(tmp_path))
    older = Attempt(storage).fenced
    older.write_bytes("file", b"1")
    older.write_folder("checkpoints/00000001", {"a": b"1", "manifest.json": b"{}"}, last="manifest.json")
    rows = RunLog(older)
    rows.append({"images_seen": 1})
    Attempt(storage)
    (tmp_path / "checkpoints/.begun").mkdir()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    changes: list[Callable[[], object]] = [
        lambda: older.write_bytes("file", b"2"),
        lambda: older.write_folder("checkpoints/00000001", {"a": b"2"}, last="a"),
        lambda: older.write_folder("checkpoints/00000002", {"a": b"2"}, last="a"),
        lambda: older.delete("file"),
        lambda: older.delete_folder("checkpoints/00000001", last="manifest.json"),
        lambda: older.sweep("checkpoints"),
        lambda: rows.append({"images_seen": 2}),
    ]
    for change in changes:
        with pytest.raises(OvertakenError, match="attempt 2 has taken over this run; attempt 1 ends"):
            change()
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert after.keys() == before.keys()
    assert {path for path in before if path.is_file() and after[path] != before[path]} == set()


def test_what_an_older_attempt_still_appends_goes_nowhere(tmp_path: Path) -> None:
    """Even past the check: a later attempt has put a file of its own in the place of the one that it holds open."""
    storage = Storage(str(tmp_path))
    older = RunLog(storage)
    older.append({"images_seen": 1})
    newer = RunLog(storage, images_seen=1)
    older.append({"images_seen": 2})
    newer.append({"images_seen": 3})
    assert [row["images_seen"] for row in decode(storage.read_bytes("metrics.jsonl") or b"")] == [1, 3]
    older.close()
    newer.close()


def test_a_request_to_stop_may_be_for_a_change_of_workers(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    ask_to_stop(storage, RESIZE_FILE)
    assert stop_asked(storage)
    ask_to_stop(storage)
    clear_stop(storage, RESIZE_FILE)
    assert stop_asked(storage), "what a person asked for stands"
