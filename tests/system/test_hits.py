"""configs/hits.py with the recordings of Debian's hydrogen-data and sonic-pi-samples."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from gandist.data.index_files import read_index
from gandist.data.sets import open_samples
from gandist.media.audio import Audio
from tests.helpers.checkout_copy import ROOT
from tests.helpers.scripts import python

FOLDERS = (Path("/usr/share/hydrogen/data/drumkits"), Path("/usr/share/sonic-pi/samples"))
N = 140


def run(folder: Path) -> str:
    done = python(str(ROOT / "configs/hits.py"), str(folder), "--n", str(N))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def hits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not all(folder.is_dir() for folder in FOLDERS):
        pytest.skip("Debian's hydrogen-data and sonic-pi-samples are not installed: make debian")
    folder = tmp_path_factory.mktemp("hits") / "hits"
    said = run(folder)
    assert f"{folder}/train: 126 clips of 161 recordings" in said
    assert f"{folder}/test: 14 clips of 21 recordings" in said
    return folder


def test_strokes(hits: Path, tmp_path: Path) -> None:
    """Each begins at once, is as loud as it should be, and has ended at its end; hats are brighter than kicks."""
    index = read_index(str(hits / "train"))
    assert index.class_names == ("kick", "snare", "hat", "cymbal", "tom", "tabla", "bell")
    assert np.bincount(index.labels).tolist() == [18] * 7
    rows, labels = open_samples(index, Audio(), cache_dir=tmp_path).gather(np.arange(index.n))
    sounds = rows[..., 0] / 32768
    peaks = 20 * np.log10(np.abs(sounds).max(1))
    assert (peaks > -12.1).all()
    assert (peaks < -0.9).all()
    assert np.abs(sounds[:, -16:]).max() < 0.01
    power = np.abs(np.fft.rfft(sounds)) ** 2
    centre = (power * np.arange(power.shape[1])).sum(1) / power.sum(1) * 16_000 / sounds.shape[1]
    assert np.median(centre[labels == 2]) > 3 * np.median(centre[labels == 0])


@pytest.mark.slow
def test_same_command_same_bytes(hits: Path, tmp_path: Path) -> None:
    run(tmp_path / "again")
    for part in ("train", "test"):
        files = [(folder / part / "000000.tar").read_bytes() for folder in (hits, tmp_path / "again")]
        assert len({hashlib.sha256(content).hexdigest() for content in files}) == 1
