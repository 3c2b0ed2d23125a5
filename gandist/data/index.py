"""The Parquet index of a set of shards: place, label, caption and checksum of each sample; vectors of captions.

Order, even split, resume and integrity need nothing else: a rank reads its samples by their offsets.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from gandist.data.cache import ShardCache
from gandist.data.characters import characters_in
from gandist.data.samples import LeftOut
from gandist.data.tars import class_counts, most_classes, scan_tar
from gandist.errors import DataError
from gandist.media.formats import media_of, one_medium
from gandist.storage.atomic import write_atomically
from gandist.storage.remote import filesystem, is_remote, join, printable, read_bytes

SHARDS_FILE = "shards.parquet"
SAMPLES_FILE = "samples.parquet"
CAPTIONS_FILE = "captions.parquet"
FORMAT_VERSION = 1
LISTED_MAX = 100
"""Maximum number of broken samples in a message."""

SHARDS_SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("n", pa.int32()),
        ("class_counts", pa.list_(pa.int64())),
    ]
)
SAMPLES_SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("key", pa.string()),
        ("ext", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int32()),
        ("label", pa.int32()),
        ("caption", pa.string()),
        ("crc", pa.uint32()),
    ]
)
PAIRS_SCHEMA = pa.schema(
    [
        *SAMPLES_SCHEMA,
        ("input_ext", pa.string()),
        ("input_offset", pa.int64()),
        ("input_size", pa.int32()),
        ("input_crc", pa.uint32()),
    ]
)
"""Of a set of pairs: the columns of the target, as of any sample, and those of the input."""
TARGET, INPUT = "target", "input"
"""The files of a pair."""


TEXTS = ("symbols", "tokenizer")
"""What an index notes of a set of texts."""
COLUMNS = {
    SHARDS_FILE: [set(SHARDS_SCHEMA.names)],
    SAMPLES_FILE: [set(SAMPLES_SCHEMA.names), set(PAIRS_SCHEMA.names)],
    CAPTIONS_FILE: [{"caption", "vector"}],
}
"""Names of the columns of each file of an index; each list holds all that is allowed."""


class NoIndexError(DataError):
    """The index does not exist, and perhaps the set does not either."""


@dataclass(frozen=True)
class Index:
    """The place of each sample in a set.

    Attributes:
        base: folder or URL to resolve relative shard urls against.
        shards: one row per shard: url, bytes, sha256, n (its samples), class_counts (a list, by label; null if labels
            are so large that the list would be much longer than the samples).
        samples: one row per sample, in the order of the shards: shard (row in `shards`), key, ext, offset and
            size of the sample's bytes in the tar, label (-1: none), caption (nullable), crc (by zlib). In a set of
            pairs these are the target's, and input_ext, input_offset, input_size and input_crc the input's.
        class_names: names of the classes in the order of their labels; empty if they have no names.
        embedded: one row per distinct caption: caption, vector (a list of float32 of fixed size). None if captions
            are not embedded (`gandist.data.text.embed`).
        encoder: name and sha256 of the text encoder that computed the vectors.
        symbols: the characters of a set of texts, each once; empty of other sets.
        tokenizer: the JSON of the tokenizer that a set of texts was packed with; empty of others.
    """

    base: str
    shards: pa.Table
    samples: pa.Table
    class_names: tuple[str, ...] = ()
    embedded: pa.Table | None = None
    encoder: str = ""
    symbols: str = ""
    tokenizer: str = ""

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.samples.num_rows)

    @property
    def paired(self) -> bool:
        """Whether the samples are pairs of an input and a target."""
        return "input_offset" in self.samples.schema.names

    def places(self, member: str = TARGET) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offset, size and crc (n,) of a file of each sample: `TARGET`, the only one without pairs, or `INPUT`."""
        prefix = "input_" if member == INPUT else ""
        offset, size, crc = (numbers(self.samples[prefix + name]) for name in ("offset", "size", "crc"))
        return offset, size, crc

    @functools.cached_property
    def classes(self) -> int:
        """Largest label + 1; 0 for an unlabelled set."""
        return int(pc.max(self.samples["label"]).as_py()) + 1 if self.n else 0

    @functools.cached_property
    def extensions(self) -> frozenset[str]:
        """Extensions of the files that hold the samples."""
        return frozenset(pc.unique(self.samples["ext"]).to_pylist())

    @property
    def labels(self) -> np.ndarray:
        """Label of each sample (n,) int64, -1 for none."""
        return np.asarray(numbers(self.samples["label"]), dtype=np.int64)

    @property
    def captions(self) -> list[str | None]:
        """Caption of each sample."""
        return list(self.samples["caption"].to_pylist())

    @property
    def text_dim(self) -> int:
        """Dimension of the captions' vectors; 0 without vectors."""
        return 0 if self.embedded is None else int(self.embedded["vector"].type.list_size)

    @functools.cached_property
    def vectors(self) -> np.ndarray | None:
        """Vector of each sample's caption (n, text_dim) float32, 1.5 KB a sample; None without vectors."""
        if self.embedded is None:
            return None
        rows = pc.index_in(self.samples["caption"], self.embedded["caption"].combine_chunks())
        return np.asarray(_matrix(self.embedded["vector"])[numbers(rows)])

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 of the shards' sha256s, the sample table and the vectors: equal for equal data at any place."""
        digest = hashlib.sha256(f"{self.n}\n".encode())
        digest.update("\n".join(self.shards["sha256"].to_pylist()).encode())
        for field in self.samples.schema:
            column = self.samples[field.name]
            if pa.types.is_string(field.type):
                # -1 where there is none; a Python number would be made an Arrow one by pandas, if installed.
                lengths = pc.coalesce(pc.binary_length(column), pc.negate(column.is_null().cast(pa.int32())))
                lengths = numbers(lengths).astype("<i4")
                digest.update(np.ascontiguousarray(lengths).data)
                for chunk in column.chunks:
                    digest.update("".join(text for text in chunk.to_pylist() if text is not None).encode())
            else:
                values = numbers(column)
                digest.update(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).data)
        if self.embedded is not None:
            digest.update(self.encoder.encode())
            digest.update(_matrix(self.embedded["vector"]).astype("<f4", copy=False).data)
        return digest.hexdigest()

    def url(self, shard: int) -> str:
        """Path or URL of the shard in row `shard` of `shards`."""
        url = str(self.shards["url"][shard].as_py())
        return url if is_remote(url) else join(self.base, url)


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers without nulls (n,). Arrow's own `to_numpy` imports pandas if installed, which takes half a
    second."""
    return np.from_dlpack(column.combine_chunks())


def _matrix(vectors: pa.ChunkedArray) -> np.ndarray:
    """A column of lists of equal length as an array (n, size), without a copy if it has one chunk."""
    flat = np.from_dlpack(vectors.combine_chunks().flatten())
    return np.asarray(flat.reshape(len(vectors), -1))


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
    shards = [{**shard, "url": _relative(shard["url"], base)} for shard, _ in scanned]
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


def _relative(url: str, base: str) -> str:
    """The url of a shard in the index at `base`."""
    if is_remote(url):
        folder, _, _ = base.partition("?")
        inside = url.partition("?")[0].removeprefix(folder.rstrip("/") + "/")
        return inside if is_remote(base) and join(base, inside) == url else url
    path = os.path.abspath(url)  # noqa: PTH100 (resolve() would follow links)
    if url != printable(url):
        raise DataError(f"{printable(url)}: the shard's path is not UTF-8, and an index is; rename what is not")
    if is_remote(base):
        raise DataError(f"{url}: a shard on this machine cannot be used from an index at {base}; copy it there first")
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(os.path.abspath(base)))  # noqa: PTH100
    return path


def write_index(index: Index, dest: str) -> None:
    """Write `samples.parquet`, `captions.parquet` if there are vectors, and then `shards.parquet` to `dest`.

    The last file makes the index valid and holds the sha256 of the others: a half-written index does not count.

    Raises:
        DataError: `dest` cannot be written, or is remote while the shards are on this machine.
    """
    if dest.startswith(("http://", "https://")):
        raise DataError(f"{dest}: cannot be written to; give a local folder for the index")
    urls = [_relative(index.url(i), dest) for i in range(index.shards.num_rows)]
    files = {SAMPLES_FILE: _parquet(index.samples)}
    notes = {
        "format_version": FORMAT_VERSION,
        "samples_sha256": hashlib.sha256(files[SAMPLES_FILE]).hexdigest(),
        "class_names": list(index.class_names),
    }
    notes |= {name: text for name in TEXTS if (text := getattr(index, name))}
    if index.embedded is not None:
        # Vectors of floats neither repeat nor compress: a dictionary would only cost time.
        files[CAPTIONS_FILE] = _parquet(index.embedded, use_dictionary=False)
        notes["captions_sha256"] = hashlib.sha256(files[CAPTIONS_FILE]).hexdigest()
        notes["encoder"] = index.encoder
    shards = index.shards.set_column(0, "url", pa.array(urls, pa.string()))
    shards = shards.replace_schema_metadata({"gandist": json.dumps(notes, sort_keys=True)})
    dest_fs, folder = filesystem(dest)
    check_no_foreign_tables(dest)
    try:
        dest_fs.create_dir(folder, recursive=True)
        remove_index(dest)
        for name, content in {**files, SHARDS_FILE: _parquet(shards)}.items():
            _write(dest_fs, f"{folder}/{name}", content)
    except OSError as error:
        raise DataError(f"{dest}: the index cannot be written: {error}") from error


def check_no_foreign_tables(dest: str) -> None:
    """Refuse a folder in which a foreign table has the name of an index file.

    Raises:
        DataError: there is such a table.
    """
    dest_fs, folder = filesystem(dest)
    for name, columns in COLUMNS.items():
        try:
            with dest_fs.open_input_file(f"{folder}/{name}") as file:
                schema = pq.read_schema(file)
        except (OSError, pa.ArrowException):
            continue  # missing or damaged; foreign tables are recognised by their content
        if set(schema.names) not in columns:
            raise DataError(
                f"{join(dest, name)}: is a table of something else ({', '.join(schema.names)}), and an index has a "
                "file of this name; move it away, or give another DEST"
            )


def remove_index(dest: str) -> None:
    """Invalidate the index in `dest`, if there is one."""
    dest_fs, folder = filesystem(dest)
    path = f"{folder}/{SHARDS_FILE}"
    if dest_fs.get_file_info(path).type != pafs.FileType.NotFound:
        dest_fs.delete_file(path)


def _parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", **options)
    return sink.getvalue()


def _write(dest_fs: pafs.FileSystem, path: str, content: bytes) -> None:
    if not isinstance(dest_fs, pafs.LocalFileSystem):
        with dest_fs.open_output_stream(path) as stream:  # an object store shows the file only after close
            stream.write(content)
        return
    write_atomically(Path(path), content)


def index_command(path: str) -> str:
    """The command that writes the index of the shards in a folder, or at a URL."""
    if path.startswith(("http://", "https://")):  # such a server neither lists files nor accepts writes
        return f"python -m gandist.pack {shlex.quote(join(path, '{000000..000009}.tar'))} FOLDER --index-only"
    return f"python -m gandist.pack {shlex.quote(path)} --index-only"


def read_index(path: str) -> Index:
    """The index in a folder, or at an s3://, gs:// or http(s):// URL.

    Raises:
        NoIndexError: there is no index.
        DataError: the index is half-written or damaged; the message says how to write it.
    """
    fix = f"write it: {index_command(path)}"
    try:
        shards = _shards_table(_fetched(path, SHARDS_FILE, fix))
        notes = json.loads(shards.schema.metadata[b"gandist"])
        version, sha256, names = notes["format_version"], notes["samples_sha256"], notes["class_names"]
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: {SHARDS_FILE} is damaged, or no index of ours; {fix}") from error
    if version != FORMAT_VERSION:
        raise DataError(f"{path}: an index of format {version}, this version reads {FORMAT_VERSION}; {fix}")
    files, encoder = {SAMPLES_FILE: sha256}, notes.get("encoder", "")
    if encoder:
        fix += " --captions"
        files[CAPTIONS_FILE] = notes["captions_sha256"]
    tables = []
    for name, expected in files.items():
        content = _fetched(path, name, fix)
        if (actual := hashlib.sha256(content).hexdigest()) != expected:
            raise DataError(f"{path}: the sha256 of {name} is {actual}, {SHARDS_FILE} expects {expected}; {fix}")
        tables.append(_table(content))
    samples, embedded = tables if encoder else (*tables, None)
    return Index(
        path,
        shards.replace_schema_metadata(None),
        samples,
        tuple(names),
        embedded,
        encoder,
        **{name: notes.get(name, "") for name in TEXTS},
    )


def _fetched(path: str, name: str, fix: str) -> bytes:
    if not is_remote(path) and not Path(path).is_dir():
        raise NoIndexError(f"{path}: no such folder")
    try:
        return read_bytes(join(path, name))
    except FileNotFoundError as error:
        kind = NoIndexError if name == SHARDS_FILE else DataError
        raise kind(f"{path}: holds no index ({name} is missing); {fix}") from error


def _table(content: bytes) -> pa.Table:
    # Not pq.read_table: a thread of its scanner that frees our bytes while Python exits aborts the process (status
    # 134).
    return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)


def _shards_table(content: bytes) -> pa.Table:
    """The table without class counts that would not be written today: with large labels they take a gigabyte."""
    file = pq.ParquetFile(pa.BufferReader(content))
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    n_counts = sum(column.num_values for column in columns if column.path_in_schema.startswith("class_counts."))
    table = file.read([name for name in file.schema_arrow.names if name != "class_counts"], use_threads=False)
    if n_counts <= sum(map(most_classes, table["n"].to_pylist())):
        return _table(content)
    return table.append_column(SHARDS_SCHEMA.field("class_counts"), pa.nulls(table.num_rows, pa.list_(pa.int64())))
