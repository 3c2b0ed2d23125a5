"""configs/digits.py with Debian's espeak-ng."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gandist.data.index_files import read_index
from gandist.data.sets import open_samples
from gandist.media.audio import Audio
from tests.helpers.checkout_copy import ROOT
from tests.helpers.scripts import python

N = 100
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def run(*arguments: str | Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    return python(str(ROOT / "configs/digits.py"), *map(str, arguments), PATH=path)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("espeak-ng") is None:
        pytest.skip("Debian's espeak-ng is not installed: make debian")
    folder = tmp_path_factory.mktemp("digits") / "digits"
    done = run(folder, "--n", str(N))
    assert done.returncode == 0, done.stderr
    assert f"{folder}/train: 90 clips of 45 speakers; 0 were longer and cut" in done.stdout
    assert f"{folder}/test: 10 clips of 7 speakers; 0 were longer and cut" in done.stdout
    return folder


def test_every_digit_is_spoken_as_often(digits: Path) -> None:
    for part, n in (("train", 9), ("test", 1)):
        index = read_index(str(digits / part))
        assert index.class_names == WORDS
        assert np.bincount(index.labels).tolist() == [n] * 10
    assert sorted(path.name for path in digits.iterdir()) == ["test", "train"]


def test_clips_are_heard(digits: Path, tmp_path: Path) -> None:
    """Of a plausible length, with silence around it, neither faint nor twice the same, in the middle of the range."""
    for part in ("train", "test"):
        index = read_index(str(digits / part))
        samples = open_samples(index, Audio(), cache_dir=tmp_path)
        rows = samples.gather(np.arange(index.n))[0][..., 0] / 32768
        assert rows.shape == (index.n, 16_384)
        assert samples.fitted == {}
        loud = np.abs(rows) > 1e-3
        first, last = loud.argmax(1) / 16_000, (rows.shape[1] - loud[:, ::-1].argmax(1)) / 16_000
        assert first.max() < 0.17
        assert 0.1 < (last - first).min() < np.median(last - first) < 0.6
        assert np.abs(rows).max(1).min() > 0.05
        assert np.abs(rows.mean(1)).max() < 0.01
        assert len({row.tobytes() for row in rows}) == index.n


@pytest.mark.slow
def test_same_command_same_bytes(digits: Path, tmp_path: Path) -> None:
    def sums(folder: Path) -> dict[str, str]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert run(tmp_path / "again", "--n", str(N)).returncode == 0
    assert sums(tmp_path / "again") == sums(digits)
    done = run(tmp_path / "short", "--n", "100", "--seed", "1", "--seconds", ".3", "--sample-rate", "8000")
    assert done.returncode == 0
    assert not done.stdout.startswith(f"{tmp_path}/short/train: 90 clips of 45 speakers; 0 were")
    assert sums(tmp_path / "short") != sums(digits)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    done = run(tmp_path / "out", path=str(tmp_path))
    assert done.returncode == 2
    assert "apt-get install espeak-ng" in done.stderr
    done = run(tmp_path / "out", "--n", "5")
    assert done.returncode == 2
    assert not (tmp_path / "out").exists()
