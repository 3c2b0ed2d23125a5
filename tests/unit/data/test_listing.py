"""The shards that a source names."""

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
from gandist.data.index import SAMPLES_SCHEMA, SHARDS_SCHEMA, Index
from gandist.data.index_files import read_index, write_index
from gandist.data.indexing import index_shards
from gandist.data.making import write_shard
from gandist.data.listing import list_shards
from gandist.errors import DataError
from gandist.pack import main
from tests.helpers.small_datasets import make_set


from tests.helpers.foreign_shards import png, write_tar, two_shards, index_of, with_vectors


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
