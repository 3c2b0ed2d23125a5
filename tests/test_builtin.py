"""The embedded images: what Debian ships, packed once into the cache, by whoever comes first."""

import gzip
import hashlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gandist.errors import DataError
from gandist.shards import builtin as module
from gandist.shards.builtin import DATA, builtin
from gandist.shards.index import read_index

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_fashion_10k(cache: Path) -> None:
    folder = builtin("builtin:fashion-10k", cache)
    index = read_index(folder)
    assert index.n == 10_000
    assert index.classes == 10
    assert index.class_names[9] == "Ankle boot"
    counts = np.sum(index.shards["class_counts"].to_pylist(), axis=0)
    assert counts.tolist() == [1000] * 10
    pixels = np.frombuffer(gzip.decompress((DATA / "fashion-10k/t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8)
    for row in index.samples.slice(0, 50).to_pylist():
        with Path(index.url(row["shard"])).open("rb") as file:
            file.seek(row["offset"])
            image = Image.open(io.BytesIO(file.read(row["size"])))
            assert (image.mode, image.size, image.format) == ("L", (28, 28), "PNG")
            expected = pixels[16:].reshape(-1, 28, 28)[int(row["key"])]
            np.testing.assert_array_equal(np.asarray(image), expected)


def test_second_use_packs_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = builtin("fashion-10k", cache)
    monkeypatch.setattr(module, "pack", None)
    assert builtin("fashion-10k", cache) == folder


def test_two_processes_at_once(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from gandist.shards.builtin import builtin\n"
    code += "print(builtin('fashion-10k', Path(sys.argv[1])))"
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        ends = [rank.communicate(timeout=120) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], ends
    assert ends[0][0] == ends[1][0]
    assert read_index(ends[0][0].strip()).n == 10_000
    assert len([path for path in (tmp_path / "builtin").iterdir() if path.is_dir()]) == 1


def test_unknown_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'fashion-11k'; there are: fashion-10k"):
        builtin("builtin:fashion-11k", tmp_path)


def test_damaged_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(DATA, tmp_path / "data")
    labels = tmp_path / "data/fashion-10k/t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(labels.read_bytes()[:-1])
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: damaged.*sha256"):
        builtin("fashion-10k", tmp_path / "cache")


def test_package_data_is_small_licensed_and_what_debian_ships() -> None:
    folder = DATA / "fashion-10k"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000
    assert "MIT" in (folder / "LICENSE").read_text()
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        sha256, name = line.split()
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
        if not DEBIAN.is_dir():
            pytest.skip("Debian's dataset-fashion-mnist is not installed")
        assert gzip.decompress((folder / name).read_bytes()) == gzip.decompress((DEBIAN / name).read_bytes())
