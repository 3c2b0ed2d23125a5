"""Tars that are torn, damaged or of another kind are refused by name."""

import tarfile
from pathlib import Path

import pytest

from gandist.data.index_files import read_index
from gandist.errors import DataError
from gandist.pack import main
from tests.helpers.foreign_shards import index_of, two_shards, write_tar


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
