import json
import logging
import os
import pty
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from gandist.progress import Progress, RunLog, decode, encode, line
from gandist.storage import Storage


@pytest.fixture
def terminal() -> Iterator[tuple[TextIO, int]]:
    """A real pseudo-terminal: the stream to write to, and the descriptor that reads what it shows."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 120))
    with os.fdopen(follower, "w") as stream:
        yield stream, leader
    os.close(leader)


@pytest.fixture(params=["folder", "object store"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "run"))
    if request.param == "object store":
        # Without a local folder nothing may append: every byte goes through read_bytes and write_bytes.
        storage.local = None
    return storage


def row(images_seen: int, **more: Any) -> dict[str, Any]:
    return {"images_seen": images_seen, "loss/D": 1.25, **more}


def seen(storage: Storage) -> list[int]:
    data = storage.read_bytes("metrics.jsonl")
    assert data is not None
    return [json.loads(text)["images_seen"] for text in data.splitlines()]


def test_a_terminal_shows_a_bar(terminal: tuple[TextIO, int], caplog: pytest.LogCaptureFixture) -> None:
    stream, leader = terminal
    caplog.set_level(logging.INFO)
    progress = Progress(60_000, images_seen=15_000, stream=stream)
    progress.update(20_000)
    progress.tick({"images_seen": 30_000, "loss/D": 1.25, "loss/G": 0.5, "img_per_s": 4000.0})
    progress.close()
    shown = ""
    while not shown.endswith("\n"):
        shown += os.read(leader, 1 << 16).decode()
    first, last = shown.split("\r")[1], [text for text in shown.split("\r") if "img/s" in text][-1]
    assert " 25%" in first
    assert "15.0k/60.0k" in first
    assert " 50%" in last
    assert "30.0k/60.0k" in last
    assert "D=1.250, G=0.500" in last
    assert not caplog.records


def test_elsewhere_a_line_a_tick(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="gandist")
    with (tmp_path / "err").open("w") as stream:
        progress = Progress(60_000, stream=stream)
        progress.update(10_000)
        progress.tick({"images_seen": 20_000, "loss/D": 1.3862943, "loss/G": float("nan"), "img_per_s": 4000.0})
        progress.tick({"images_seen": 30_000})
        progress.close()
    assert (tmp_path / "err").read_text() == ""
    assert [(record.name, record.levelname) for record in caplog.records] == [("gandist", "INFO")] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "tick images_seen=20000 loss/D=1.3863 loss/G=nan img_per_s=4000 total_images=60000 eta_s=10",
        "tick images_seen=30000 total_images=60000",
    ]


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(10).close()
    assert not sys.stderr.isatty()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("speed", [0.0, float("nan"), 1e-320])
def test_a_speed_without_a_meaning_gives_no_eta(speed: float, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="gandist")
    with Path(os.devnull).open("w") as stream:
        Progress(60_000, stream=stream).tick({"images_seen": 1, "img_per_s": speed})
    assert len(caplog.records) == 1
    assert "eta_s" not in caplog.text


def test_line_keeps_whole_numbers_whole() -> None:
    assert line({"images_seen": 12_345_678, "lr/G": 2e-4, "name": "a"}) == "images_seen=12345678 lr/G=0.0002 name=a"


def test_rows_are_strict_json() -> None:
    text = encode({"images_seen": 1, "loss/D": float("nan"), "loss/G": float("-inf"), "lr/D": 2e-4})
    assert text == b'{"images_seen": 1, "loss/D": null, "loss/G": null, "lr/D": 0.0002}\n'


def test_every_row_is_there_at_once(storage: Storage) -> None:
    log = RunLog(storage)
    for n in (100, 200, 300):
        log.append(row(n))
        assert seen(storage)[-1] == n
    log.close()
    assert seen(storage) == [100, 200, 300]


def test_resuming_drops_what_will_come_again(storage: Storage) -> None:
    log = RunLog(storage)
    for n in (100, 200, 300):
        log.append(row(n, attempt=1))
    log.close()
    log = RunLog(storage, images_seen=200)
    assert seen(storage) == [100, 200]
    log.append(row(300, attempt=2))
    log.close()
    rows = decode(storage.read_bytes("metrics.jsonl") or b"")
    assert [(r["images_seen"], r["attempt"]) for r in rows] == [(100, 1), (200, 1), (300, 2)]


def test_a_torn_line_is_dropped(storage: Storage) -> None:
    whole = encode(row(100)) + encode(row(200))
    for end in range(1, len(encode(row(200)))):
        storage.write_bytes("metrics.jsonl", whole[:-end])
        log = RunLog(storage, images_seen=1000)
        log.append(row(300))
        log.close()
        # Torn by its last byte alone, a line has lost no more than its end.
        assert seen(storage) == ([100, 200, 300] if end == 1 else [100, 300])


def test_a_run_from_the_beginning_starts_an_empty_file(storage: Storage) -> None:
    log = RunLog(storage)
    log.append(row(100))
    log.close()
    RunLog(storage).close()
    assert storage.read_bytes("metrics.jsonl") == b""


def test_an_attempt_that_was_replaced_adds_nothing(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    old = RunLog(storage)
    old.append(row(100))
    old.append(row(200))
    new = RunLog(storage, images_seen=100)
    old.append(row(300))
    new.append(row(200))
    for log in (old, new):
        log.close()
    assert seen(storage) == [100, 200]


def test_rows_of_damaged_files_are_skipped() -> None:
    assert decode(b'{"images_seen": 1}\n\xff\xfe\n[]\n{"loss/D": 1}\n{"images_seen": null}\n{"images_seen": 2}\n') == [
        {"images_seen": 1},
        {"images_seen": 2},
    ]
