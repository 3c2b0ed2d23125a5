"""The index of shards of any origin, wherever they lie and whatever they are called."""

import io
import json
import os
import tarfile
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import webdataset

from gandist.data.cache import ShardCache
from gandist.data.index_files import read_index, write_index
from gandist.data.indexing import index_shards
from gandist.data.making import write_shard
from gandist.pack import main
from tests.helpers.foreign_shards import index_of, png, two_shards, write_tar


def test_foreign_shards_group_as_in_webdataset(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "x.tar",
        [
            ("./a/1.png", png(1)),
            ("./a/1.cls", b"3\n"),
            ("./a/1.txt", "ein Schuh – läuft".encode()),
            ("__meta__/notes.json", b"{}"),
            ("b.v2/2.PNG", png(2)),
            ("b.v2/2.json", json.dumps({"label": 1, "more": [1]}).encode()),
            ("b.v2/" + "long" * 60 + ".jpg", png(3)),
            ("b.v2/4.input.png", png(4)),
            ("b.v2/4.seg.npy", b"\x93NUMPY"),
        ],
    )
    index = index_of(path, base=str(tmp_path))
    oracle = list(webdataset.WebDataset(str(path), shardshuffle=False))
    rows = index.samples.to_pylist()
    assert [row["key"] for row in rows] == [sample["__key__"] for sample in oracle]
    assert [row["label"] for row in rows] == [3, 1, -1, -1]
    assert [row["ext"] for row in rows] == ["png", "png", "jpg", "png"]
    assert [row["caption"] for row in rows] == ["ein Schuh – läuft", None, None, None]
    data = path.read_bytes()
    for seed, row in enumerate(rows, start=1):
        assert data[row["offset"] :][: row["size"]] == png(seed)
        assert row["crc"] == zlib.crc32(png(seed))
    assert index.n == 4
    assert index.classes == 4
    assert index.shards.to_pylist()[0]["class_counts"] == [0, 1, 0, 1]


def test_webdataset_writer(tmp_path: Path) -> None:
    with webdataset.ShardWriter(str(tmp_path / "%06d.tar"), maxcount=4, verbose=0) as writer:
        for i in range(10):
            writer.write({"__key__": f"{i:04d}", "jpg": np.zeros((4, 4, 3), np.uint8), "cls": i % 3, "json": {"id": i}})
    assert main([str(tmp_path), "--index-only"]) == 0
    index = read_index(str(tmp_path))
    assert index.shards["n"].to_pylist() == [4, 4, 2]
    assert index.samples["label"].to_pylist() == [i % 3 for i in range(10)]
    assert index.samples["shard"].to_pylist() == [0] * 4 + [1] * 4 + [2] * 2


@pytest.mark.parametrize("where", ["beside", "elsewhere", "above"])
def test_index_may_lie_anywhere(tmp_path: Path, where: str) -> None:
    shards = two_shards(tmp_path / "set/data")
    dest = {"beside": "set/data", "elsewhere": "other/place", "above": "set"}[where]
    assert main([str(tmp_path / "set/data"), str(tmp_path / dest), "--index-only"]) == 0
    index = read_index(str(tmp_path / dest))
    assert [Path(index.url(s)) for s in range(2)] == shards
    assert (
        index.shards["url"].to_pylist()
        == {
            "beside": ["0.tar", "1.tar"],
            "above": ["data/0.tar", "data/1.tar"],
            "elsewhere": [str(path) for path in shards],
        }[where]
    )


def test_moved_set_is_the_same_set(tmp_path: Path) -> None:
    two_shards(tmp_path / "a")
    assert main([str(tmp_path / "a"), "--index-only"]) == 0
    before = read_index(str(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    after = read_index(str(tmp_path / "b"))
    assert after.fingerprint == before.fingerprint
    assert Path(after.url(1)) == tmp_path / "b/1.tar"


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_shards(tmp_path / "a")
    monkeypatch.chdir(tmp_path / "a")
    for src in (".", "../a", "{0..1}.tar", "./{0..1}.tar"):
        assert main([src, "--index-only"]) == 0
        assert read_index(".").shards["url"].to_pylist() == ["0.tar", "1.tar"]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_names_that_are_no_utf8(tmp_path: Path, format: int) -> None:
    """They tell samples apart, and are spelled out in the index, which is UTF-8."""
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=format, encoding="latin-1") as tar:
        for name, content in [("é.png", png(1)), ("é.cls", b"1"), ("ê/a.png", png(2)), ("ê/a.cls", b"0")]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    index = index_of(path, base=str(tmp_path))
    write_index(index, str(tmp_path))
    found = read_index(str(tmp_path))
    assert found.samples["key"].to_pylist() == ["\\xe9", "\\xea/a"]
    assert found.samples["label"].to_pylist() == [1, 0]
    assert main([str(path), str(tmp_path / "packed")]) == 0


def test_paths_that_are_no_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9")
    path = write_tar(tmp_path / "x.tar", [("a.png", png(1))])
    path.with_name(Path(odd).name + ".tar").write_bytes(path.read_bytes())
    images = Path(odd) / "images" / Path(odd).name
    images.mkdir(parents=True)
    (images / Path(odd).with_suffix(".png").name).write_bytes(png(1))
    for command in ([str(tmp_path), "--index-only"], [str(path), odd], [f"{odd}.tar", "--index-only"]):
        assert main(command) == 2
        assert f"{tmp_path}/\\xe9" in (said := capsys.readouterr().err)
        assert "not UTF-8" in said
        assert said.count("\n") == 1
    assert main([str(images.parent), str(tmp_path / "packed")]) == 0
    assert read_index(str(tmp_path / "packed")).n == 1


def test_the_cost_does_not_grow_with_the_value_of_a_label(tmp_path: Path) -> None:
    """Labels may be any numbers: nothing is as long as the largest of them, neither in memory nor on the disk."""
    peaks, sizes = [], []
    for first in (0, 1_000_000):
        folder = tmp_path / str(first)
        folder.mkdir()
        paths = [folder / f"{number}.tar" for number in range(4)]
        for number, path in enumerate(paths):
            label = str(first + number).encode()
            write_shard(path, [(f"{i:03d}", {"png": png(i), "cls": label}) for i in range(3)])
        tracemalloc.start()
        held = pa.total_allocated_bytes()
        index = index_shards([str(path) for path in paths], ShardCache(tmp_path, 0), base=str(folder))
        write_index(index, str(folder))
        again = read_index(str(folder))
        peaks.append(tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - held)
        tracemalloc.stop()
        sizes.append((folder / "shards.parquet").stat().st_size)
        assert again.fingerprint == index.fingerprint
        assert again.classes == first + 4
        assert again.shards["class_counts"].to_pylist() == [
            None if first else [0] * number + [3] for number in range(4)
        ]
    assert peaks[1] < 2 * peaks[0]
    assert sizes[1] < 2 * sizes[0]
