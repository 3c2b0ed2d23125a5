"""The index of a set: its fingerprint, and the vectors of its captions."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from gandist.data.index import SAMPLES_SCHEMA, SHARDS_SCHEMA, Index
from tests.helpers.foreign_shards import index_of, png, two_shards, with_vectors, write_tar


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
