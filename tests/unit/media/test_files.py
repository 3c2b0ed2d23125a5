"""Images as files: what other tools, and ours, read of them."""

import json
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gandist.data.files import check_empty, encoded, shard_names, write_folder, write_shards, write_zip
from gandist.data.index import Index
from gandist.data.index_files import read_index
from gandist.data.packing import pack
from gandist.errors import ConfigError, DataError
from gandist.media.decode import decode
from gandist.media.image import Image as ImageMedium
from gandist.pack import main as pack_main
from tests.helpers.small_datasets import make_set, pixels

N = 12
LABELS = [(5 * i) % 7 for i in range(N)]


def images(n: int = N) -> Iterator[bytes]:
    """`pixels(0)` and so on, in parts of five."""
    stack = np.stack([pixels(i) for i in range(n)])
    return encoded((stack[at : at + 5] for at in range(0, n, 5)), ImageMedium().encode)


def found(index: Index) -> list[np.ndarray]:
    """The images of a set, in the order of their keys."""
    rows = sorted(index.samples.to_pylist(), key=lambda row: row["key"])
    read = [Path(index.url(row["shard"])).read_bytes()[row["offset"] :][: row["size"]] for row in rows]
    return [decode(data, 32, 3) for data in read]


def in_order(index: Index, column: str) -> list[object]:
    return [row[column] for row in sorted(index.samples.to_pylist(), key=lambda row: row["key"])]


def test_pngs_keep_order_and_mode() -> None:
    for number, data in enumerate(images()):
        np.testing.assert_array_equal(decode(data, 32, 3), pixels(number))
    (grey,) = encoded([pixels(0, channels=1)[None, :, :, None]], ImageMedium(channels=1).encode)
    np.testing.assert_array_equal(decode(grey, 32, 1)[:, :, 0], pixels(0, channels=1))


def test_a_zip_is_read_back(tmp_path: Path) -> None:
    write_zip(tmp_path / "new/a.zip", images(), LABELS)
    with zipfile.ZipFile(tmp_path / "new/a.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*(f"{i:06d}.png" for i in range(N)), "dataset.json"]
        listing = json.loads(archive.read("dataset.json"))
        assert stat.filemode(archive.infolist()[0].external_attr >> 16)[1:] == "rw-r--r--"
    assert listing == {"labels": [[f"{i:06d}.png", label] for i, label in enumerate(LABELS)]}
    index, _ = pack(str(tmp_path / "new/a.zip"), str(tmp_path / "set"))
    assert in_order(index, "label") == LABELS
    np.testing.assert_array_equal(found(index), [pixels(i) for i in range(N)])
    write_zip(tmp_path / "again.zip", images(), LABELS)
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "new/a.zip").read_bytes()
    assert len(list(tmp_path.rglob(".*"))) == 0


def test_a_zip_without_labels_or_with_captions(tmp_path: Path) -> None:
    write_zip(tmp_path / "plain.zip", images())
    index, _ = pack(str(tmp_path / "plain.zip"), str(tmp_path / "plain"))
    assert set(in_order(index, "label")) == {-1}
    assert set(in_order(index, "caption")) == {None}
    write_zip(tmp_path / "text.zip", images(), captions=[f"gärment {i}" for i in range(N)])
    index, _ = pack(str(tmp_path / "text.zip"), str(tmp_path / "text"))
    assert in_order(index, "caption") == [f"gärment {i}" for i in range(N)]


def test_a_folder_must_be_empty(tmp_path: Path) -> None:
    check_empty(tmp_path / "none")
    write_folder(tmp_path / "new/folder", images())
    names = sorted(path.name for path in (tmp_path / "new/folder").iterdir())
    assert names == [f"{i:06d}.png" for i in range(N)]
    with Image.open(tmp_path / "new/folder/000011.png") as image:
        np.testing.assert_array_equal(np.asarray(image), pixels(11))
    with pytest.raises(ConfigError, match=r"new/folder: holds 000000\.png already; empty it, or give another folder"):
        check_empty(tmp_path / "new/folder")


@pytest.mark.parametrize(
    ("pattern", "n", "folder", "expected"),
    [
        ("a.tar", 7, ".", [("a.tar", 7)]),
        ("x/y/a.tar", 1, "x/y", [("a.tar", 1)]),
        ("/x/f-{00..02}.tar", 7, "/x", [("f-00.tar", 3), ("f-01.tar", 2), ("f-02.tar", 2)]),
        ("x/{a,b}.tar", 2, "x", [("a.tar", 1), ("b.tar", 1)]),
        ("x/f-%06d.tar", 2001, "x", [("f-000000.tar", 1000), ("f-000001.tar", 1000), ("f-000002.tar", 1)]),
        ("%d%.tar", 1, ".", [("0%.tar", 1)]),
    ],
)
def test_names_of_shards(pattern: str, n: int, folder: str, expected: list[tuple[str, int]]) -> None:
    assert shard_names(pattern, n) == (folder, expected)


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("f-{0..9.tar", "braces do not match"),
        ("{a,b}/f.tar", "in one folder"),
        ("{a,a}.tar", "does not name several files"),
        ("f-{00..09}.tar", "10 shards for 9 images"),
    ],
)
def test_names_that_are_none(pattern: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        shard_names(pattern, 9)


def test_shards_are_a_set(tmp_path: Path) -> None:
    pattern = str(tmp_path / "set/fakes-{0..2}.tar")
    index = write_shards(pattern, N, images(), LABELS, class_names=["a"] * 7)
    assert read_index(str(tmp_path / "set")).fingerprint == index.fingerprint
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        "fakes-0.tar", "fakes-1.tar", "fakes-2.tar", "samples.parquet", "shards.parquet",
    ]  # fmt: skip
    assert index.samples["key"].to_pylist() == [f"{i:08d}" for i in range(N)]
    assert index.samples["label"].to_pylist() == LABELS
    assert index.class_names == ("a",) * 7
    np.testing.assert_array_equal(found(index), [pixels(i) for i in range(N)])
    for again in (pattern, str(tmp_path / "set/more.tar")):
        with pytest.raises(DataError, match="set: holds shards already; give another folder"):
            write_shards(again, N, images())
    assert read_index(str(tmp_path / "set")).fingerprint == index.fingerprint
    assert write_shards(str(tmp_path / "again/fakes-{0..2}.tar"), N, images(), LABELS).fingerprint == index.fingerprint


def test_shards_that_fail_leave_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield from images(4)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_shards(str(tmp_path / "set/f-{0..2}.tar"), N, broken())
    assert not list((tmp_path / "set").iterdir())


def test_beside_real_ones(tmp_path: Path) -> None:
    """One index over real shards and these: what augments a small set."""
    real = make_set(tmp_path / "real", 20, classes=7)
    write_shards(str(tmp_path / "fakes/f-{0..2}.tar"), N, images(), LABELS)
    both = f"{tmp_path}/{{real/shards/{{000000..000004}},fakes/f-{{0..2}}}}.tar"
    assert pack_main([both, str(tmp_path / "both"), "--index-only"]) == 0
    index = read_index(str(tmp_path / "both"))
    assert index.samples["label"].to_pylist() == [*real.samples["label"].to_pylist(), *LABELS]
    assert index.classes == 7
