"""Lines as Ray 2.60 prints them, and what becomes of each."""

import io
import logging
import sys

import pytest

from gandist.cli.logs import show_messages, terminal
from gandist.launch.ray_output import RayOutput, ray_output

WORKER = "(RayTrainWorker pid=3646) "
CONTROLLER = "(TrainController pid=3518) "
CLEANER = "(PlacementGroupCleaner pid=11339) "


@pytest.mark.parametrize(
    ("printed", "level", "message"),
    [
        (f"{WORKER}gandist INFO training run=demo", "INFO", "training run=demo"),
        ("(RayTrainWorker pid=1, ip=10.0.0.2) gandist WARNING skipped: a.tar", "WARNING", "skipped: a.tar"),
        (
            f"{WORKER}gandist INFO data=mapped [repeated 3x across cluster] (Ray deduplicates logs by default.)",
            "INFO",
            "data=mapped",
        ),
        (
            "2026-11-26 23:58:56,504\tWARNING authentication_token_setup.py:85 -- Token authentication is enabled for "
            "this Ray cluster.",
            "DEBUG",
            None,
        ),
        (
            f"{CONTROLLER}[2026-11-26 23:59:13,638 E 3518 3550] core_worker.cc:2465: Actor with class name: "
            "'PreemptionWatcher' and ID: '21a9' has constructor arguments in the object store",
            "DEBUG",
            None,
        ),
        (f"{WORKER}printed by a plug-in", "INFO", None),
        (f"{WORKER}RuntimeError: a real one", "INFO", None),
        ("(raylet) The node is dead.", "INFO", None),
    ],
)
def test_line(printed: str, level: str, message: str | None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gandist")
    RayOutput().write(f"{printed}\n")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [(level, message or printed)]


TRACEBACK = ["Traceback (most recent call last):", '  File "a.py", line 1, in f', "    self.run()", "ValueError: why"]


@pytest.mark.parametrize(
    ("source", "first"),
    [
        (CONTROLLER, "Failed to send resource request for train-1. If this only happens transiently, ignore this."),
        (CLEANER, "Exception in thread PlacementGroupCleanerMonitor:"),
        ("", "2026-11-28 17:09:00,990	WARNING backend_setup.py:29 -- Graceful shutdown of backend failed."),
    ],
)
def test_a_harmless_traceback_goes_with_its_message(source: str, first: str, caplog: pytest.LogCaptureFixture) -> None:
    """Between its lines those of others are shown, and what its source says after it."""
    caplog.set_level(logging.DEBUG, "gandist")
    out = RayOutput()
    chain = [
        first,
        *TRACEBACK,
        "",
        "During handling of the above exception, another exception occurred:",
        *TRACEBACK,
        "The actor is dead",
    ]
    for text in chain:
        out.write(f"{source}{text}\n{WORKER}Traceback of another process\n")
    out.write(f"{source}A message\n{source}{TRACEBACK[0]}\n")
    told = [(r.levelname, r.getMessage()) for r in caplog.records]
    assert [text for level, text in told if level == "DEBUG"] == [source + text for text in chain if text]
    shown = [text for level, text in told if level == "INFO"]
    assert shown == [f"{WORKER}Traceback of another process"] * len(chain) + [
        f"{source}A message",
        f"{source}{TRACEBACK[0]}",
    ]


def test_within_it_stands_for_both_streams(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, "gandist")
    with ray_output():
        print("one\ntw", end="")
        print("other", file=sys.stderr, flush=True)
        print("o")
        print("without an end", end="")
    print("after")
    assert [r.getMessage() for r in caplog.records] == ["one", "other", "two", "without an end"]
    assert capsys.readouterr() == ("after\n", "")


def test_a_terminal_that_is_gone_is_no_endless_loop(capfd: pytest.CaptureFixture[str]) -> None:
    """Why a message cannot be shown goes to the process's own standard error, not to the stream that leads back."""
    gone = io.StringIO()
    show_messages()
    shown = terminal()
    assert shown is not None
    shown.stream = gone
    gone.close()
    with ray_output():
        print("one")
    assert capfd.readouterr().err.count("I/O operation on closed file") == 1
