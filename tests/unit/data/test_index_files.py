"""The files of an index: read as written; half-written or damaged ones do not count."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gandist.data.index_files import read_index, write_index
from gandist.data.making import write_shard
from gandist.errors import DataError
from tests.helpers.foreign_shards import index_of, png, two_shards, with_vectors, write_tar
from tests.helpers.small_datasets import make_set


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


@pytest.mark.slow
def test_a_process_may_end_right_after_it_has_read_an_index(tmp_path: Path) -> None:
    """A thread of Arrow's that lets go of our bytes while Python ends would abort the process, now and then."""
    make_set(tmp_path)
    code = f"from gandist.data.index_files import read_index; read_index({str(tmp_path / 'shards')!r})"
    for _ in range(3):
        pair = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
        assert [process.wait(timeout=60) for process in pair] == [0, 0]


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
