import logging
import os
import pty
import re
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from gandist.cli.terminal import Counter, Progress, duration, line, waiting

ROW = {"images_seen": 30_000, "loss/D": 1.25, "loss/G": 0.5, "img_per_s": 4000.0, "verdict": "healthy"}


@pytest.fixture
def screen() -> Iterator[tuple[TextIO, int]]:
    """A real pseudo-terminal: the stream to write to, and the descriptor that reads what it shows."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 160))
    with os.fdopen(follower, "w") as stream:
        yield stream, leader
    os.close(leader)


@pytest.fixture
def off_screen(tmp_path: Path) -> Iterator[TextIO]:
    with (tmp_path / "err").open("w") as stream:
        yield stream


@pytest.fixture(autouse=True)
def messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="gandist")


def shown_on(leader: int, until: str) -> list[str]:
    text = ""
    while not text.endswith(until):
        text += os.read(leader, 1 << 16).decode()
    return text.split("\r")


def test_a_terminal_shows_a_bar(screen: tuple[TextIO, int], caplog: pytest.LogCaptureFixture) -> None:
    stream, leader = screen
    progress = Progress(60_000, images_seen=15_000, stream=stream)
    progress.tick({**ROW, "quality/fd-classifier": 3.456})
    progress.close()
    shown = shown_on(leader, "\n")
    assert re.search(r" 25%\|.*\| 15.0k of 60.0k images", shown[1])
    last = [text for text in shown if "img/s" in text][-1]
    assert re.search(r" 50%\|.*\| 30.0k of 60.0k images", last)
    assert "4,000 img/s, 0:08 left, D 1.25, G 0.5, fd-classifier 3.46, healthy" in last
    assert not caplog.records


def test_elsewhere_a_line_of_at_most_eight_fields(off_screen: TextIO, caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress(60_000, stream=off_screen)
    progress.tick({**ROW, "quality/fd-classifier": 3.456, "quality/kid": 1.0, "grad_norm/D": 2.0})
    progress.close()
    assert Path(off_screen.name).read_text() == ""
    assert [(record.name, record.levelname) for record in caplog.records] == [("gandist", "INFO")]
    fields = caplog.records[0].getMessage().split("  ")
    assert fields == [
        "30,000 of 60,000 images",
        "50%",
        "4,000 img/s",
        "0:08 left",
        "D 1.25",
        "G 0.5",
        "fd-classifier 3.46",
        "healthy",
    ]


def test_rows_in_quick_succession_share_a_line(off_screen: TextIO, caplog: pytest.LogCaptureFixture) -> None:
    """But for the first, one with an evaluation, one with another verdict, and the last."""
    progress = Progress(9000, stream=off_screen)
    news: dict[int, dict[str, Any]] = {
        3: {"quality/fd-classifier": 9.0},
        5: {"verdict": "collapsing"},
        6: {"verdict": "collapsing"},
    }
    for i in range(1, 10):
        progress.tick({"images_seen": 1000 * i, "verdict": "healthy", **news.get(i, {})})
    told = [record.getMessage().split(" ")[0] for record in caplog.records]
    assert told == ["1,000", "3,000", "5,000", "7,000", "9,000"]
    assert "fd-classifier 9" in caplog.records[-1].getMessage(), "the newest distance stays"


def test_a_line_is_due_after_a_while(
    off_screen: TextIO, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress, now = Progress(9000, stream=off_screen), [0.0]
    monkeypatch.setattr("gandist.cli.terminal.time.monotonic", lambda: now[0])
    for now[0] in (1.0, 10.5, 11.5, 22.0):
        progress.tick({"images_seen": int(now[0] * 100)})
    assert [record.getMessage().split(" ")[0] for record in caplog.records] == ["100", "1,150", "2,200"]


def test_every_row_in_full_at_level_debug(off_screen: TextIO, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="gandist")
    progress = Progress(60_000, stream=off_screen, rows=False)
    progress.tick({"images_seen": 20_000, "loss/D": 1.3862943, "loss/G": float("nan")})
    assert [record.getMessage() for record in caplog.records] == [
        "tick images_seen=20000 loss/D=1.3863 loss/G=nan total_images=60000"
    ]


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(10).close()
    assert not sys.stderr.isatty()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("speed", [0.0, float("nan"), 1e-320])
def test_a_speed_without_a_meaning_gives_no_eta(
    speed: float, off_screen: TextIO, caplog: pytest.LogCaptureFixture
) -> None:
    Progress(60_000, stream=off_screen).tick({"images_seen": 1, "img_per_s": speed})
    assert len(caplog.records) == 1
    assert "left" not in caplog.text


def test_counting_off_a_terminal(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("gandist.cli.terminal.time.monotonic", lambda: now[0])
    with Counter("decoding", 4000) as counter:
        for now[0] in (1.0, 10.0, 19.0, 30.0):
            counter.add(1000)
    assert [record.getMessage() for record in caplog.records] == [
        "decoding: 2,000 of 4,000 images, 0:10 left",
        "decoding: 4,000 of 4,000 images, 0:00 left",
    ]


def test_counting_towards_what_is_not_known(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("gandist.cli.terminal.time.monotonic", lambda: now[0])
    with Counter("indexing", None, "samples") as counter, Counter("packing", 9, shown=False) as silent:
        now[0] = 10.0
        counter.add(7)
        silent.add(7)
    assert [record.getMessage() for record in caplog.records] == ["indexing: 7 samples"]


def test_counting_on_a_terminal(
    screen: tuple[TextIO, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream, leader = screen
    monkeypatch.setattr(sys, "stderr", stream)
    with Counter("packing", 10) as counter:
        counter.add(10)
    assert any("packing 100%" in text for text in shown_on(leader, "\n"))
    assert not caplog.records


def test_waiting_off_a_terminal(off_screen: TextIO, caplog: pytest.LogCaptureFixture) -> None:
    with waiting(lambda: "waiting for 2 workers", off_screen, every_s=0.05):
        deadline = time.monotonic() + 60
        while len(caplog.records) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    first, second, *_ = (record.getMessage() for record in caplog.records)
    assert (first, second) == ("waiting for 2 workers", "waiting for 2 workers (0:00)")
    n = len(caplog.records)
    time.sleep(0.15)
    assert len(caplog.records) == n


def test_waiting_on_a_terminal(screen: tuple[TextIO, int], caplog: pytest.LogCaptureFixture) -> None:
    stream, leader = screen
    with waiting(lambda: "waiting for 2 workers", stream):
        assert any(text.startswith("waiting for 2 workers (00:0") for text in shown_on(leader, ")"))
    assert not caplog.records


def test_line_keeps_whole_numbers_whole() -> None:
    assert line({"images_seen": 12_345_678, "lr/G": 2e-4, "name": "a"}) == "images_seen=12345678 lr/G=0.0002 name=a"


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (125.4, "2:05"), (3725, "1:02:05")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
