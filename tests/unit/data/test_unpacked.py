"""What is said of a path that holds no packed set: the command that is named there does what it promises."""

import gzip
import re
import shlex
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gandist.config.run import validate
from gandist.data import dataset
from gandist.data.unpacked import unpacked
from gandist.errors import DataError
from gandist.media.gallery import png_bytes
from gandist.pack import main as pack
from tests.helpers.small_datasets import make_set, pixels

N = 4


def image(number: int) -> bytes:
    return png_bytes(Image.fromarray(pixels(number)))


def images(folder: Path, classes: bool = True) -> Path:
    for number in range(N):
        path = folder / (f"class {number % 2}" if classes else "") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(number))
    return folder


def zipped(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(N):
            archive.writestr(f"{number}.png", image(number))
    return path


def shard(path: Path, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = images(path.parent / ".images", classes=False)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for file in sorted(source.iterdir()):
            tar.add(file, file.name)
    shutil.rmtree(source)
    return path


def table(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": [image(number) for number in range(N)], "label": list(range(N))}), path)
    return path


def idx(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, 3]) + np.array([N, 32, 32], ">u4").tobytes()
    path.write_bytes(gzip.compress(header + bytes(N * 32 * 32)))
    return path


def two(first: Path, second: Path) -> Path:
    return first.parent


SOURCES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a folder of classes": (lambda at: images(at / "my photos"), "images that are not packed yet"),
    "a folder of images": (lambda at: images(at / "photos", classes=False), "images that are not packed yet"),
    "a zip": (lambda at: zipped(at / "it's.zip"), "is a zip"),
    "a folder with a zip": (lambda at: zipped(at / "set/photos.zip").parent, "holds a zip"),
    "a tar": (lambda at: shard(at / "set/000.tar"), "a shard without an index"),
    "tars": (lambda at: two(shard(at / "set/000.tar"), shard(at / "set/001.tar")), "shards without an index"),
    "tars by their names": (
        lambda at: two(shard(at / "set/0.tar"), shard(at / "set/1.tar")) / "{0..1}.tar",
        "names shards",
    ),
    "a tar further down": (lambda at: shard(at / "set/deep/000.tar").parents[1], "shards without an index"),
    "a table": (lambda at: table(at / "train.parquet"), "is a Parquet table"),
    "tables": (lambda at: two(table(at / "set/a.parquet"), table(at / "set/b.parquet")), "Parquet tables"),
    "tables further down": (lambda at: table(at / "set/data/train.parquet").parents[1], "Parquet tables"),
    "IDX": (lambda at: idx(at / "mnist/train-images-idx3-ubyte.gz").parent, "IDX files"),
    "an IDX file": (lambda at: idx(at / "train-images-idx3-ubyte.gz"), "(IDX)"),
    "two sets of IDX": (
        lambda at: two(idx(at / "m/t10k-images-idx3-ubyte.gz"), idx(at / "m/train-images-idx3-ubyte.gz")),
        "IDX files",
    ),
    "one image": (lambda at: images(at / "photos", classes=False) / "0.png", "is one image"),
    "a folder with an index in it": (lambda at: Path(make_set(at, 20).base).parent, "a folder in it does"),
    "a shard of a set": (lambda at: Path(make_set(at, 20).base) / "000000.tar", "is one shard"),
    "an index": (lambda at: Path(make_set(at, 20).base) / "shards.parquet", "part of an index"),
    "a compressed tar": (lambda at: shard(at / "photos.tar.gz", "w:gz"), "compressed archive"),
    "a tar that is compressed": (lambda at: shard(at / "photos.tar", "w:gz"), "compressed tar"),
    "a folder with a compressed tar": (lambda at: shard(at / "set/photos.tgz", "w:gz").parent, "compressed archive"),
    "half an index": (lambda at: half(Path(make_set(at, 20).base)), "shards without an index"),
    "images beside what is hidden": (
        lambda at: two(images(at / "set") / "x", shard(at / "set/.hidden.tar")),
        "images that are not packed yet",
    ),
}
"""What a user may have in place of a packed set. To add a row: what makes it in a folder, and what is said of it."""


def other(path: Path) -> Path:
    with tarfile.open(path, "w") as tar:
        tar.add(__file__, "notes.py")
    return path


def half(folder: Path) -> Path:
    (folder / "shards.parquet").unlink()
    return folder


def complaint(path: Path | str) -> str:
    with pytest.raises(DataError) as refused:
        dataset.open_index(validate({"data": {"path": str(path)}, "train": {"batch": 1}}))
    return str(refused.value)


@pytest.mark.parametrize("name", SOURCES)
def test_the_command_works(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, said = SOURCES[name]
    path = make(tmp_path)
    monkeypatch.chdir(tmp_path)
    message = complaint(path)
    assert message.startswith(f"data.path: {path}: ")
    assert "\n" not in message
    assert said in message
    if unpacking := re.search(r"mkdir -p .*? && tar xf .*?(?=, )", message):
        subprocess.run(unpacking[0], shell=True, check=True)
    if command := re.search(r"python -m gandist\.pack (.*?)(?=, and set|$)", message):
        assert pack(shlex.split(command[1])) == 0
    chosen = re.search(r"data\.path=(.*)$", message)
    found = shlex.split(chosen[1])[0] if chosen else str(path)
    index = dataset.open_index(validate({"data": {"path": found}, "train": {"batch": 1}}))
    assert index.n in (N, 2 * N, 20)


def test_relative_paths_stay_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images(tmp_path / "photos").parent)
    assert complaint("photos").endswith(
        "; pack: python -m gandist.pack photos photos-packed, and set data.path=photos-packed"
    )
    (tmp_path / "photos-packed").mkdir()
    assert "data.path=photos-packed-2" in complaint("./photos/")
    monkeypatch.chdir(tmp_path / "photos")
    assert complaint(".").endswith("python -m gandist.pack . ../photos-packed-2, and set data.path=../photos-packed-2")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda at: at / "none", ": no such folder"),
        (lambda at: at, "holds no packed set, nor what one is made of"),
        (
            lambda at: other(at / "notes.tar"),
            "notes.tar holds none of the images that shards hold (png, jpg,",
        ),
        (lambda at: other(at / "notes.tar").parent, "notes.tar holds none of the images"),
        (lambda at: at.joinpath("x.tar").write_bytes(b"no tar") and at, "x.tar cannot be read as a tar"),
        (lambda at: at.joinpath("notes.md").write_bytes(b"-") and at / "notes.md", "is no packed set, nor what one"),
    ],
)
def test_what_no_command_mends(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    message = complaint(make(tmp_path))
    assert message.startswith("data.path: ")
    assert said in message
    assert "gandist.pack" not in message


@pytest.mark.parametrize(
    ("url", "command"),
    [
        (
            "http://127.0.0.1:9/set",
            "python -m gandist.pack 'http://127.0.0.1:9/set/{000000..000009}.tar' FOLDER --index-only",
        ),
        ("http://127.0.0.1:9/0.tar", "python -m gandist.pack http://127.0.0.1:9/0.tar FOLDER --index-only"),
        ("http://127.0.0.1:9/{0..1}.tar", "python -m gandist.pack 'http://127.0.0.1:9/{0..1}.tar' FOLDER --index-only"),
        ("s3://bucket/0.tar", "python -m gandist.pack s3://bucket/0.tar FOLDER --index-only"),
        ("s3://bucket/photos.zip", "python -m gandist.pack FILE FOLDER"),
    ],
)
def test_far_sources(url: str, command: str) -> None:
    assert command in unpacked(url)
    assert "set data.path=FOLDER" in unpacked(url)
