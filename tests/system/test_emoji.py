"""configs/emoji.py on the real npm packages."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gandist.data.index_files import read_index
from gandist.pack import main
from tests.helpers.checkout_copy import ROOT
from tests.helpers.small_datasets import EMOJI, fewer_emoji


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "configs/emoji.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not EMOJI.is_dir():
        pytest.skip("the npm packages emoji-datasource-twitter and -google are not installed: make emoji")
    folder = tmp_path_factory.mktemp("emoji") / "images"
    done = run(EMOJI, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_emoji_is_drawn_twice_and_named(images: Path) -> None:
    files, captions = sorted(images.glob("*.png")), sorted(images.glob("*.txt"))
    assert len(files) == 7572
    assert [path.stem for path in captions] == [path.stem for path in files]
    texts = [path.read_text() for path in captions]
    assert len(set(texts)) == 3780
    assert all(text == text.lower() and text.endswith("\n") for text in texts)


@pytest.mark.parametrize(
    ("stem", "caption"),
    [
        ("1f34e", "red apple"),
        ("2764-fe0f", "red heart"),
        ("1f1ea-1f1ec", "flag: egypt"),
        ("1f3f3-fe0f-200d-1f308", "rainbow flag"),
        ("1f44b-1f3fd", "waving hand, medium skin tone"),
        ("1f9d1-1f3fb-200d-1f91d-200d-1f9d1-1f3ff", "people holding hands, light and dark skin tone"),
        ("1f233", "japanese vacancy button"),
        ("260e-fe0f", "telephone"),
        ("1f408-200d-2b1b", "black cat"),
    ],
)
def test_captions(images: Path, stem: str, caption: str) -> None:
    for vendor in ("twitter", "google"):
        assert (images / f"{vendor}-{stem}.txt").read_text() == f"{caption}\n"


def test_images_are_of_one_size_on_white(images: Path) -> None:
    for path in [*images.glob("*1f1*.png"), *images.glob("*1f34*.png")]:
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((64, 64), "RGB")
    apple = np.asarray(Image.open(images / "twitter-1f34e.png")).astype(int)
    assert (apple[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    red, green, blue = apple[40, 32]
    assert red > 2 * max(green, blue)


def test_some_of_them_packed(images: Path, tmp_path: Path) -> None:
    (tmp_path / "fruit").mkdir()
    for path in images.glob("*-1f34?.*"):
        (tmp_path / "fruit" / path.name).write_bytes(path.read_bytes())
    options = ["--captions", "--size", "64", "--channels", "3"]
    assert main([str(tmp_path / "fruit"), str(tmp_path / "shards"), *options]) == 0
    index = read_index(str(tmp_path / "shards"))
    assert (index.n, index.classes, index.text_dim) == (32, 0, 384)
    assert index.vectors is not None
    nearness = index.vectors @ index.vectors.T
    apples = [number for number, caption in enumerate(index.captions) if "apple" in str(caption).split()]
    other = index.captions.index("mushroom")
    assert len(apples) == 4
    assert nearness[np.ix_(apples, apples)].min() > nearness[other, apples].max()


def test_the_packages_are_missing(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path / "images")
    assert done.returncode == 2
    assert "emoji-datasource-twitter, emoji-datasource-google" in done.stderr
    assert not (tmp_path / "images").exists()


def test_the_same_emoji_are_the_same_bytes(images: Path, tmp_path: Path) -> None:
    fewer_emoji(tmp_path / "some", every=20)
    assert run(tmp_path / "some", tmp_path / "again").returncode == 0
    again = sorted((tmp_path / "again").iterdir())
    assert len(again) > 600
    assert [path.read_bytes() for path in again] == [(images / path.name).read_bytes() for path in again]
