"""Ctrl-C in every command: one line, status 130, nothing half-done; also while a command still imports."""

import argparse
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from gandist.__main__ import COMMANDS
from gandist.__main__ import main as gandist
from tests.helpers.small_datasets import make_set

LINE = "gandist: interrupted\n"


@pytest.mark.parametrize("name", [*COMMANDS, "classifier", "quality.classifier"])
def test_in_every_command(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    main = import_module(f"gandist.{name}").main
    for method in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, method, interrupted)
    assert main([]) == 130
    assert capsys.readouterr().err == LINE
    if name in COMMANDS:
        monkeypatch.setattr(sys, "argv", ["gandist", name])
        assert gandist() == 130
        assert capsys.readouterr().err == LINE


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said


def test_while_it_packs(tmp_path: Path) -> None:
    index = make_set(tmp_path, 20, size=256)
    image = next((tmp_path / "images").rglob("*.png"))
    for number in range(4000):
        os.link(image, image.with_name(f"more-{number}.png"))
    command = [
        "-m",
        "gandist.pack",
        str(tmp_path / "images"),
        str(tmp_path / "dest"),
        "--size",
        "128",
        "--workers",
        "1",
    ]
    process = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (tmp_path / "dest/.packing/000000.tar").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert ended(process) == (130, LINE)
    assert not list((tmp_path / "dest").iterdir())
    assert Path(index.base).is_dir()


@pytest.mark.parametrize("name", ["pack", "train", "sample", "report"])
def test_while_it_imports(name: str, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", f"gandist.{name}"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    assert ended(process) == (130, LINE)


def test_while_a_command_that_has_begun_imports_torch(tmp_path: Path) -> None:
    """torch swallows an exception while it imports NumPy."""
    swallows = "import time\nprint('here', flush=True)\nwhile True:\n    try:\n        time.sleep(60)\n"
    (tmp_path / "torch.py").write_text(swallows + "    except BaseException:\n        pass\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "gandist.train"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    assert ended(process) == (130, LINE)


def test_other_errors_keep_their_traceback(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('none here')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "gandist.pack"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ImportError: none here\n")
