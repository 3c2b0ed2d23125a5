"""The shards that a source names."""

from pathlib import Path

import pytest

from gandist.data.listing import list_shards
from gandist.pack import main


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
