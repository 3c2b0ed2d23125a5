"""The embedded images: what Debian ships, packed once into the cache, by whoever comes first."""

import gzip
import hashlib
import io
import lzma
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
from PIL import Image

from gandist.data import builtin as module
from gandist.data import tones
from gandist.data.builtin import DATA, builtin
from gandist.data.index import Index
from gandist.data.index_files import read_index
from gandist.data.sets import open_samples
from gandist.data.words import LETTERS, words
from gandist.errors import DataError
from gandist.media.audio import Audio
from gandist.media.sound import FULL_SCALE
from tests.helpers.forked import forked
from tests.helpers.texts import contents

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def test_fashion_10k(own_cache: Path) -> None:
    folder = builtin("builtin:fashion-10k", own_cache)
    index = read_index(folder)
    assert index.n == 10_000
    assert index.classes == 10
    assert index.class_names[9] == "Ankle boot"
    counts = np.sum(index.shards["class_counts"].to_pylist(), axis=0)
    assert counts.tolist() == [1000] * 10
    pixels = np.frombuffer(lzma.decompress((DATA / "fashion-10k/t10k-images-idx3-ubyte.xz").read_bytes()), np.uint8)
    for row in index.samples.slice(0, 50).to_pylist():
        with Path(index.url(row["shard"])).open("rb") as file:
            file.seek(row["offset"])
            image = Image.open(io.BytesIO(file.read(row["size"])))
            assert (image.mode, image.size, image.format) == ("L", (28, 28), "PNG")
            expected = pixels[16:].reshape(-1, 28, 28)[int(row["key"])]
            np.testing.assert_array_equal(np.asarray(image), expected)


def garments() -> dict[bytes, int]:
    """Pixels -> class of the embedded images."""
    images, labels = (
        np.frombuffer(lzma.decompress((DATA / "fashion-10k" / f"t10k-{name}-ubyte.xz").read_bytes()), np.uint8)
        for name in ("images-idx3", "labels-idx1")
    )
    return {image.tobytes(): int(y) for image, y in zip(images[16:].reshape(-1, 28, 28), labels[8:], strict=True)}


def rgb(index: Index, row: dict[str, Any]) -> np.ndarray:
    with Path(index.url(row["shard"])).open("rb") as file:
        file.seek(row["offset"])
        image = Image.open(io.BytesIO(file.read(row["size"])))
    assert (image.mode, image.size, image.format) == ("RGB", (28, 28), "PNG")
    return np.asarray(image)


@pytest.mark.slow
def test_stacked_fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Each channel is a garment, of the class that the label says."""
    monkeypatch.setattr(module, "PER_MODE", 1)
    caplog.set_level("INFO", "gandist")
    index = read_index(builtin("builtin:stacked-fashion", tmp_path))
    assert "packing builtin:stacked-fashion" in caplog.text
    assert sorted(index.samples["label"].to_pylist()) == list(range(1000))
    assert index.class_names[907] == "Ankle boot, T-shirt/top, Sneaker"
    classes = garments()
    for row in index.samples.slice(0, 200).to_pylist():
        r, g, b = (classes[channel.tobytes()] for channel in rgb(index, row).transpose(2, 0, 1))
        assert 100 * r + 10 * g + b == row["label"]
    assert not list((tmp_path / "builtin").glob("*.parquet"))


def test_stacked_fashion_is_the_same_for_good(tmp_path: Path) -> None:
    pixels, modes = module.stacked(DATA / "fashion-10k", tmp_path)
    assert np.bincount(modes).tolist() == [30] * 1000
    digest = hashlib.sha256(pixels[::300].tobytes()).hexdigest()
    assert digest == "f0e8ff6776300305eca32b53a08fb2d930fa9f7d2fdf2c887dcedbc5003b46e6"


def test_second_use_packs_nothing(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = builtin("fashion-10k", own_cache)
    monkeypatch.setattr(module, "pack", None)
    assert builtin("fashion-10k", own_cache) == folder


def folder_of(name: str, cache: Path) -> None:
    print(builtin(name, cache))


@pytest.mark.slow
def test_two_processes_at_once(tmp_path: Path) -> None:
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    ranks = [forked(log, folder_of, "fashion-1k", tmp_path) for log in logs]
    for rank in ranks:
        rank.join()
    first, second = (log.read_text() for log in logs)
    assert [rank.exitcode for rank in ranks] == [0, 0], first + second
    assert first == second
    assert read_index(first.strip()).n == 1000
    assert len([path for path in (tmp_path / "builtin").iterdir() if path.is_dir()]) == 1


def test_unknown_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'fashion-11k'; there are: fashion-10k"):
        builtin("builtin:fashion-11k", tmp_path)


def test_damaged_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(DATA, tmp_path / "data")
    labels = tmp_path / "data/fashion-10k/t10k-labels-idx1-ubyte.xz"
    labels.write_bytes(labels.read_bytes()[:-1])
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.xz: damaged.*sha256"):
        builtin("fashion-10k", tmp_path / "cache")


def test_words_that_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(DATA / "words", tmp_path / "data/words")
    (tmp_path / "data/words/words.txt.xz").write_bytes(b"no words")
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    with pytest.raises(DataError, match=r"words\.txt\.xz: damaged.*sha256"):
        builtin("words-6k", tmp_path / "cache")


def test_words(own_cache: Path) -> None:
    """English words, once each, by their length; every one of them is of small letters, and none is lost."""
    folder = DATA / "words"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 200_000
    assert "Kevin Atkinson" in (folder / "LICENSE").read_text()
    found = words(folder)
    assert found == sorted(set(found))
    assert len(found) == 60_540
    index = read_index(builtin("builtin:words-6k", own_cache))
    assert (index.n, index.symbols, set(index.extensions)) == (6_000, LETTERS, {"txt"})
    assert index.class_names == tuple(f"{length} letters" for length in range(3, 13))
    held = contents(index)
    assert len(set(held)) == 6_000
    assert set(held) <= set(found)
    row = index.samples.to_pylist()[7]
    with Path(index.url(row["shard"])).open("rb") as shard:
        shard.seek(row["offset"])
        assert len(shard.read(row["size"])) == row["label"] + 3


def test_package_data_is_small_licensed_and_what_debian_ships() -> None:
    folder = DATA / "fashion-10k"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000
    assert "MIT" in (folder / "LICENSE").read_text()
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        sha256, name = line.split()
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
        if not DEBIAN.is_dir():
            pytest.skip("Debian's dataset-fashion-mnist is not installed")
        assert lzma.decompress((folder / name).read_bytes()) == gzip.decompress(
            (DEBIAN / name).with_suffix(".gz").read_bytes()
        )


def test_training_and_held_out_images_are_the_whole_set(own_cache: Path) -> None:
    """The shards of fashion-10k, bit for bit: nine and one, with classes nearly balanced."""
    whole, train, held_out = (
        read_index(builtin(name, own_cache)) for name in ("fashion-10k", "fashion-9k", "fashion-1k")
    )
    assert whole.fingerprint == "abb9edd3bf796416fc878ab76bc30ba6b12726416c6279e7575d7ba61772ddb2"
    assert (train.n, held_out.n) == (9000, 1000)
    for column in ("sha256", "bytes"):
        parts = [*train.shards[column].to_pylist(), *held_out.shards[column].to_pylist()]
        assert parts == whole.shards[column].to_pylist()
    assert not set(train.samples["key"].to_pylist()) & set(held_out.samples["key"].to_pylist())
    assert train.class_names == held_out.class_names == whole.class_names
    for index in (train, held_out):
        counts = np.bincount(index.labels)
        assert len(counts) == 10
        assert np.abs(counts - index.n / 10).max() <= index.n / 50


@pytest.mark.slow
def test_tones_are_semitones(own_cache: Path) -> None:
    """Every sound's strongest harmonic near its class's pitch is within 10 cents of it, and none is cut or silent."""
    index = read_index(builtin("builtin:tones", own_cache))
    assert (index.n, index.classes, index.class_names[0], index.class_names[11]) == (2400, 12, "A3", "G#4")
    assert np.bincount(index.labels).tolist() == [200] * 12
    medium = Audio(sample_rate=tones.SAMPLE_RATE, samples=tones.SAMPLES)
    rows, labels = open_samples(index, medium, cache_dir=own_cache).gather(np.arange(index.n))
    peaks = np.abs(rows[..., 0].astype(int)).max(1) / FULL_SCALE
    assert 20 * np.log10(peaks.min()) == pytest.approx(-12, abs=0.1)
    assert 20 * np.log10(peaks.max()) == pytest.approx(-1, abs=0.1)
    assert np.abs(rows[:, [-1], 0]).max() == 0
    spectra = np.abs(scipy.fft.rfft(rows[..., 0] * np.hanning(tones.SAMPLES).astype(np.float32), 32768))
    found = spectra.argmax(1) * tones.SAMPLE_RATE / 32768
    cents = 1200 * np.log2(found / np.array(list(map(tones.frequency, labels.tolist()))))
    assert np.abs(cents).max() < 11, "10, and what the grid of 0.24 Hz adds"
    assert cents.std() > 5, "they are not all in tune"
    halves = np.abs(rows[..., 0].astype(float)).reshape(index.n, 2, -1).mean(2)
    assert (halves[:, 0] > halves[:, 1]).mean() > 0.99, "they decay"


@pytest.mark.slow
def test_tones_are_the_same_for_good(tmp_path: Path, own_cache: Path) -> None:
    first, again = (read_index(builtin("tones", folder)) for folder in (own_cache, tmp_path))
    assert first.fingerprint == again.fingerprint
    sounds = np.stack([tones.tones(label, 2) for label in range(12)])
    digest = hashlib.sha256(np.round(sounds / 8).astype("<i2").tobytes()).hexdigest()
    assert digest == "889044c55ce7f99476afab5586c647313606b87cde46d110700a0cb46267d923"
