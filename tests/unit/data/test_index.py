"""The index of shards by anyone: WebDataset's own grouping, nothing unpickled, nothing torn taken for whole."""

import io
import json
import os
import subprocess
import sys
import tarfile
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import webdataset
from PIL import Image

from gandist.data.cache import ShardCache
from gandist.data.index import SAMPLES_SCHEMA, SHARDS_SCHEMA, Index, index_shards, read_index, write_index
from gandist.data.making import write_shard
from gandist.data.tars import list_shards
from gandist.errors import DataError
from gandist.pack import main
from tests.helpers.small_datasets import make_set


def png(seed: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def index_of(*paths: Path, base: str = "") -> Index:
    return index_shards([str(path) for path in paths], ShardCache(Path(), 0), base=base)


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


def two_shards(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [
        write_tar(
            folder / f"{s}.tar",
            [(f"{i}.{e}", c) for i in range(3) for e, c in (("png", png(i + s)), ("cls", b"1"))],
        )
        for s in range(2)
    ]


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


def test_fingerprint_tells_sets_apart(tmp_path: Path) -> None:
    def fingerprint(*members: tuple[str, bytes]) -> str:
        index = index_of(write_tar(tmp_path / "x.tar", list(members)))
        # Of the table's content alone, for the bytes of the shard differ in any case.
        same_bytes = index.shards.set_column(2, "sha256", [["0"]])
        return Index("", same_bytes, index.samples).fingerprint

    image = png(0)
    prints = {
        fingerprint(("a.png", image), ("a.txt", b"")),
        fingerprint(("a.png", image), ("a.txt", b"b")),
        fingerprint(("a.png", image), ("a.cls", b"0")),
        fingerprint(("a.png", image), ("a.cls", b"1")),
        fingerprint(("b.png", image), ("b.cls", b"1")),
        fingerprint(("b.jpg", image), ("b.cls", b"1")),
        fingerprint(("a.png", image)),
    }
    assert len(prints) == 7
    one = index_of(*two_shards(tmp_path / "a"))
    rechunked = Index("elsewhere", one.shards, one.samples.combine_chunks())
    assert rechunked.fingerprint == one.fingerprint
    other_order = index_of(*reversed(two_shards(tmp_path / "a")))
    assert other_order.fingerprint != one.fingerprint


def two_samples() -> Index:
    """A set of fixed content, the second sample without a caption."""
    shards = [{"url": "a.tar", "bytes": 3072, "sha256": "0" * 64, "n": 2, "class_counts": [1]}]
    samples = [
        [0, "a", "png", 512, 70, 0, "ein Schuh – läuft", 4_000_000_000],
        [0, "b", "jpg", 1536, 71, -1, None, 7],
    ]
    rows = [dict(zip(SAMPLES_SCHEMA.names, row, strict=True)) for row in samples]
    return Index(
        "", pa.Table.from_pylist(shards, schema=SHARDS_SCHEMA), pa.Table.from_pylist(rows, schema=SAMPLES_SCHEMA)
    )


def with_vectors(index: Index, vectors: np.ndarray, encoder: str = "ours") -> Index:
    captions = sorted({caption for caption in index.captions if caption is not None})
    column = pa.FixedSizeListArray.from_arrays(vectors.astype(np.float32).reshape(-1), vectors.shape[1])
    return replace(index, embedded=pa.table({"caption": captions, "vector": column}), encoder=encoder)


def test_the_fingerprint_of_a_set_stays_the_same_for_good() -> None:
    """Runs remember it: another one for the same set, and none could be resumed."""
    assert two_samples().fingerprint == "6a49b4895f8ae9f7767d933b2a994e37b986900522f9aeb744379ef9d341bc07"


def test_vectors_of_captions_are_part_of_the_set() -> None:
    plain, vector = two_samples(), np.array([[1.0, 2.0, 3.0]])
    sets = [
        plain,
        with_vectors(plain, vector),
        with_vectors(plain, vector + 1e-6),
        with_vectors(plain, vector, "theirs"),
    ]
    assert len({index.fingerprint for index in sets}) == 4
    assert [index.text_dim for index in sets[:2]] == [0, 3]
    assert plain.vectors is None


def test_vectors_of_captions_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "0.tar", [(f"{i}.{e}", c) for i in range(5) for e, c in (("png", png(i)), ("txt", b"ab"[i % 2 :]))]
    )
    plain = index_of(tmp_path / "0.tar", base=str(tmp_path))
    vectors = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    index = with_vectors(plain, vectors)
    write_index(index, str(tmp_path))
    again = read_index(str(tmp_path))
    assert again.vectors is not None
    np.testing.assert_array_equal(again.vectors, vectors[[0, 1, 0, 1, 0]])  # "ab" comes before "b"
    assert again.captions == ["ab", "b", "ab", "b", "ab"]
    assert (again.fingerprint, again.encoder, again.text_dim) == (index.fingerprint, "ours", 4)
    fix = f"python -m gandist.pack {tmp_path} --index-only --captions"
    file = tmp_path / "captions.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"?")
    with pytest.raises(DataError, match=r"sha256 of captions\.parquet.*" + fix):
        read_index(str(tmp_path))
    file.unlink()
    with pytest.raises(DataError, match=r"captions\.parquet is missing.*" + fix):
        read_index(str(tmp_path))
    write_index(plain, str(tmp_path))
    assert read_index(str(tmp_path)).fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([("a.png", b"x"), ("a.pyd", b"\x80")], r"pickled data \(a\.pyd\)"),
        ([("a.png", b"x"), ("a.feature.PICKLE", b"\x80")], "pickled data"),
        ([("a.png", b"x"), ("a.pkl.gz", b"\x80")], "pickled data"),
        ([("a.png", b"x"), ("a.pth", b"\x80")], "pickled data"),
        ([("a.cls", b"1")], r"sample 'a': holds no image .*only cls"),
        ([("a.png", b"x"), ("a.jpg", b"x")], "holds 2 images"),
        ([("a.png", b"x"), ("a.png", b"x")], "twice"),
        ([("a.png", b"x"), ("a.cls", b"cat")], "'cat', which is not a class number"),
        ([("a.png", b"x"), ("a.cls", b"-7")], "not a class number"),
        ([("a.png", b"x"), ("a.cls", b"99999999999")], "not a class number"),
        ([("a.png", b"x"), ("a.json", b'{"label": "cat"}')], "not a class number"),
        ([("a.png", b"x"), ("a.json", b"{")], "cannot be parsed"),
        ([("a.png", b"x"), ("a.cls", b"\xe9")], "not UTF-8"),
        ([], "holds no samples"),
    ],
)
def test_unusable_shards_are_refused_by_name(
    tmp_path: Path, members: list[tuple[str, bytes]], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_tar(tmp_path / "bad.tar", members)
    with pytest.raises(DataError, match=complaint) as caught:
        index_of(path)
    assert str(path) in str(caught.value)
    assert main([str(tmp_path), "--index-only"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(DataError, match="--index-only"):
        read_index(str(tmp_path))


def test_torn_shards_are_refused_wherever_they_end(tmp_path: Path) -> None:
    (path,) = two_shards(tmp_path)[:1]
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for length in [0, 100, 512, *range(513, end + 1, 379), end]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"0\.tar"):
            index_of(path)
    path.write_bytes(whole[: end + 512])
    assert index_of(path).n == 3


def test_damaged_header_in_the_middle(tmp_path: Path) -> None:
    (path,) = two_shards(tmp_path)[:1]
    data = bytearray(path.read_bytes())
    data[index_of(path).samples["offset"][1].as_py() - 512 + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"0\.tar: a truncated or damaged tar"):
        index_of(path)


def test_compressed_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(DataError, match="gunzip"):
        index_of(tmp_path / "x.tar")


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


def test_missing_or_damaged_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_index(str(tmp_path / "none"))
    index = index_of(*two_shards(tmp_path), base=str(tmp_path))
    fix = f"python -m gandist.pack {tmp_path} --index-only"
    with pytest.raises(DataError, match=r"shards\.parquet is missing.*" + fix):
        read_index(str(tmp_path))
    write_index(index, str(tmp_path))
    samples, shards = tmp_path / "samples.parquet", tmp_path / "shards.parquet"
    whole = samples.read_bytes(), shards.read_bytes()
    samples.unlink()
    with pytest.raises(DataError, match=r"samples\.parquet is missing.*" + fix):
        read_index(str(tmp_path))
    write_index(index_of(tmp_path / "0.tar", base=str(tmp_path)), str(tmp_path))
    shards.write_bytes(whole[1])  # of another writing than samples.parquet
    with pytest.raises(DataError, match=r"sha256 of samples\.parquet.*" + fix):
        read_index(str(tmp_path))
    samples.write_bytes(whole[0])
    assert read_index(str(tmp_path)).fingerprint == index.fingerprint
    shards.write_bytes(whole[1][:-20])
    with pytest.raises(DataError, match="damaged.*" + fix):
        read_index(str(tmp_path))


def test_interrupted_writing_leaves_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_of(*two_shards(tmp_path), base=str(tmp_path))
    write_index(index, str(tmp_path))
    rename = Path.replace

    def stop(self: Path, target: Any) -> Path:
        if "shards" in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_index(index, str(tmp_path))
    with pytest.raises(DataError, match="holds no index"):
        read_index(str(tmp_path))


@pytest.mark.parametrize(
    ("src", "complaint"),
    [
        ("{tmp}", "holds no shards"),
        ("{tmp}/none", "no such folder"),
        ("{tmp}/none.tar", "no such shard"),
        ("{tmp}/{{0..1.tar", "braces"),
        ("http://127.0.0.1:9/set", "does not list its files"),
    ],
)
def test_shards_that_cannot_be_found(
    tmp_path: Path, src: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([src.format(tmp=tmp_path), "--index-only"]) == 2
    assert complaint in capsys.readouterr().err


def test_list_shards_is_sorted_and_leaves_out_work_in_progress(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", ".c.tar", "d.txt"):
        (tmp_path / name).write_bytes(b"")
    assert list_shards(str(tmp_path)) == [str(tmp_path / "a.tar"), str(tmp_path / "b.tar")]


def test_a_process_may_end_right_after_it_has_read_an_index(tmp_path: Path) -> None:
    """A thread of Arrow's that lets go of our bytes while Python ends would abort the process, now and then."""
    make_set(tmp_path)
    code = f"from gandist.data.index import read_index; read_index({str(tmp_path / 'shards')!r})"
    for _ in range(6):
        pair = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
        assert [process.wait(timeout=60) for process in pair] == [0, 0]


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


def test_long_counts_of_an_older_index_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_shard(path, [("000", {"png": png(0), "cls": b"90000"})])
    index = index_of(path, base=str(tmp_path))
    counts = pa.array([[0] * 90_000 + [1]], pa.list_(pa.int64()))
    before = replace(index, shards=index.shards.set_column(4, "class_counts", counts))
    write_index(before, str(tmp_path))
    again = read_index(str(tmp_path))
    assert again.shards["class_counts"].to_pylist() == [None]
    assert again.shards.schema.equals(index.shards.schema)
    assert again.labels.tolist() == [90_000]
