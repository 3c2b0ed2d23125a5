"""configs/clips.py on animations made here, and on the real npm package."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gandist.data.index import Index
from gandist.data.index_files import read_index
from gandist.data.sets import open_samples
from gandist.media.video import Video
from tests.helpers.checkout_copy import ROOT
from tests.helpers.small_datasets import EMOJI, EMOJI_CLIPS

MADE = {
    "1f400": "animal",
    "1f405": "animal",
    "1f467-1f3fb": "person",
    "1f467-1f3fd": "person",
    "1f469-1f3fb-200d-1f52c": "person",
    "1f3c3": "person",
    "1f44b-1f3fb": "body",
    "1f4a7": "thing",
}
"""Emoji and their classes; the tiger and the girl are held out, by the checksums of their codes."""
HELD_OUT = ("1f405", "1f467-1f3fb", "1f467-1f3fd")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "configs/clips.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in: a disc of the emoji's number that gets lighter by 3 in each of 40 frames, on nothing."""
    node_modules = tmp_path_factory.mktemp("npm")
    assets = node_modules / "@lobehub/fluent-emoji-anim-1/assets"
    assets.mkdir(parents=True)
    (assets / ".gitkeep").touch()
    for number, name in enumerate((*MADE, "1f4a8")):
        frames = []
        for frame in range(1 if name == "1f4a8" else 40):
            pixels = np.zeros((64, 64, 4), np.uint8)
            pixels[16:48, 16:48] = (10 * number, 3 * frame, 0, 255)
            frames.append(Image.fromarray(pixels))
        frames[0].save(assets / f"{name}.webp", save_all=True, append_images=frames[1:], duration=42, lossless=True)
    return node_modules


@pytest.fixture(scope="module")
def made(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips") / "clips"
    done = run(package, folder, "--windows", "2", "--frames", "5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{len(MADE) + 1} emoji, {len(MADE)} of which move\n")
    return folder


def rows_of(folder: Path, cache: Path) -> tuple[Index, np.ndarray, np.ndarray]:
    """The set, its clips (N, F, 32, 32, 3) and their classes."""
    index = read_index(str(folder))
    rows, labels = open_samples(index, Video(frames=5), cache_dir=cache).gather(np.arange(index.n))
    return index, rows, labels


def test_windows_of_what_moves(made: Path, tmp_path: Path) -> None:
    """Every fourth frame, on white, two windows of each; a tone of skin is in the part of its emoji."""
    for part in ("train", "test"):
        held = [(number, name) for number, name in enumerate(MADE) if (name in HELD_OUT) == (part == "test")]
        index, rows, labels = rows_of(made / part, tmp_path)
        assert index.class_names == ("animal", "body", "person", "thing")
        assert index.n == 2 * len(held)
        assert (rows[:, :, 0, 0] == 255).all()
        disc = rows[:, :, 16, 16].astype(int)
        numbers = np.round(disc[:, 0, 0] / 10).astype(int).tolist()
        assert sorted(numbers) == sorted([number for number, _ in held] * 2)
        np.testing.assert_allclose(np.diff(disc[..., 1], axis=1), 12, atol=1)
        assert [index.class_names[label] for label in labels] == [list(MADE.values())[number] for number in numbers]
    assert sorted(path.name for path in made.iterdir()) == ["test", "train"]


def test_the_package_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path / "clips")
    assert done.returncode == 2
    assert "lacks @lobehub/fluent-emoji-anim-1; npm install it, as --help says" in done.stderr
    assert not (tmp_path / "clips").exists()


@pytest.mark.slow
@pytest.mark.nightly
def test_the_real_package(tmp_path: Path) -> None:
    """The same bytes for the same package, and clips that move."""
    if not EMOJI_CLIPS.is_dir():
        pytest.skip("the npm package @lobehub/fluent-emoji-anim-1 is not installed: make emoji")
    sums = []
    for name in ("a", "b"):
        done = run(EMOJI, tmp_path / name, "--n", "40", "--windows", "3", "--frames", "5")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("999 emoji, 477 of which move\n")
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        sums.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert sums[0] == sums[1]
    index, rows, labels = rows_of(tmp_path / "a/train", tmp_path)
    assert index.n == 120
    assert set(labels.tolist()) == {0, 1, 2, 3}
    motion = np.abs(np.diff(rows.astype(int), axis=1)).mean((1, 2, 3, 4))
    assert np.median(motion) > 1
