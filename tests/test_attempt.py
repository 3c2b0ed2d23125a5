"""One attempt at a run: numbered, and told when a later one has taken over."""

from pathlib import Path

from gandist.attempt import Attempt, ask_to_stop, forget_stop, stop_asked
from gandist.storage import Storage


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
    forget_stop(storage)
    forget_stop(storage)
    assert not stop_asked(storage)
