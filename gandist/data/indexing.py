"""The index of shards of any origin, made by reading them."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gandist.data.cache import ShardCache
from gandist.data.characters import characters_in
from gandist.data.index import PAIRS_SCHEMA, SAMPLES_SCHEMA, SHARDS_SCHEMA, Index, class_counts, numbers, relative_url
from gandist.data.samples import LISTED_MAX, LeftOut
from gandist.data.tars import scan_tar
from gandist.errors import DataError
from gandist.media.formats import media_of, one_medium


def index_shards(
    urls: Sequence[str],
    cache: ShardCache,
    base: str = "",
    class_names: Sequence[str] = (),
    workers: int | None = None,
    progress: Callable[[int], object] = lambda n: None,
    labelled: bool = True,
    left_out: LeftOut | None = None,
    extensions: Sequence[str] | None = None,
) -> Index:
    """Read WebDataset shards of any origin, and record the place of each sample.

    Members are grouped into samples as in WebDataset: consecutive members with the same path up to the name's first
    dot. From each group the index takes the sample's file, the label (`.cls`, or "label" in `.json`) and the caption
    (`.txt`), even if their names have further dots (a.5x.png, a.5x.cls). It never unpickles.

    A group with an input and a target (a.input.png, a.target.png) is a pair. If there is one, the set is one of
    pairs, and groups that are none are left out.

    Args:
        urls: the shards in order; remote ones go through `cache`.
        base: folder or URL of the index: the urls of shards inside it are relative to it.
        progress: called with the number of samples of each finished shard.
        labelled: whether to read labels.
        extensions: extensions of sample files (`Medium.extensions`); None: of the medium that there is.
        left_out: collects broken samples, which are then skipped, and everything else that is not used.

    Raises:
        DataError: a shard is missing, truncated, without samples, or holds pickled members; without `left_out` also:
            it holds a broken sample. The message names the shard. Or there are several media, and `extensions` is
            None.
    """

    characters: set[str] = set()

    def scan(url: str) -> tuple[dict[str, Any], dict[str, list[Any]], LeftOut]:
        lost = LeftOut()
        taken = None if left_out is None else lost
        path = cache.fetch(url, None, None)
        shard, samples = scan_tar(path, url, labelled=labelled, left_out=taken, extensions=extensions)
        there, unreadable = characters_in(path, samples)
        characters.update(there)
        lost.note("texts are not UTF-8", (f"{url}: {key}" for key in unreadable))
        progress(shard["n"])
        return shard, samples, lost

    scanned: list[tuple[dict[str, Any], pa.Table]] = []
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        for shard, samples, lost in pool.map(scan, urls):
            if left_out is not None:
                left_out.add(lost)
            scanned.append((shard, pa.Table.from_pydict(samples, schema=PAIRS_SCHEMA.remove(0))))
    finally:
        pool.shutdown(cancel_futures=True)
    if not urls:
        raise DataError(f"{base or 'index'}: no shards to index")
    if extensions is None:
        one_medium(base or urls[0], _first_shards(scanned))
    scanned, schema = _of_one_kind(scanned, left_out)
    if not scanned:
        raise DataError(f"{base or 'index'}: no sample can be used{_first_of(left_out)}")
    tables = [
        table.add_column(0, SAMPLES_SCHEMA.field("shard"), pa.array([number] * table.num_rows, pa.int32()))
        for number, (_, table) in enumerate(scanned)
    ]
    shards = [{**shard, "url": relative_url(shard["url"], base)} for shard, _ in scanned]
    return Index(
        base,
        pa.Table.from_pylist(shards, schema=SHARDS_SCHEMA),
        pa.concat_tables(tables).select(schema.names),
        tuple(class_names),
        symbols="".join(sorted(characters)),
    )


def _first_shards(scanned: Sequence[tuple[dict[str, Any], pa.Table]]) -> dict[str, str]:
    """The first shard of each medium, by its url."""
    first: dict[str, str] = {}
    for shard, table in scanned:
        for medium in media_of(pc.unique(table["ext"]).to_pylist()):
            first.setdefault(medium, shard["url"])
    return first


def _of_one_kind(
    scanned: Sequence[tuple[dict[str, Any], pa.Table]], left_out: LeftOut | None
) -> tuple[list[tuple[dict[str, Any], pa.Table]], pa.Schema]:
    """The shards with samples: their pairs alone, if there are any; and the schema of the samples."""
    if all(table["input_ext"].null_count == table.num_rows for _, table in scanned):
        return [(shard, table) for shard, table in scanned if table.num_rows], SAMPLES_SCHEMA
    kept = []
    for shard, table in scanned:
        is_pair = pc.is_valid(table["input_ext"])
        others = [f"{shard['url']}: {key}" for key in table.filter(pc.invert(is_pair))["key"].to_pylist()]
        if others and left_out is None:
            raise DataError(f"{others[0]}: is no pair of input and target, as others are; add what it lacks")
        if left_out is not None:
            left_out.note("samples are no pairs of input and target, as others are, and are not taken", others)
        pairs = table.filter(is_pair)
        if pairs.num_rows:
            counts = class_counts(numbers(pairs["label"]))
            kept.append(({**shard, "n": pairs.num_rows, "class_counts": counts}, pairs))
    return kept, PAIRS_SCHEMA


def _first_of(left_out: LeftOut | None) -> str:
    if left_out is None or not left_out.broken:
        return ""
    return ": " + "\n".join(f"{each.where}: {each.why}" for each in left_out.broken[:LISTED_MAX])
