"""The index of a set as Parquet files, written so that a half-written one does not count, and read again."""

import hashlib
import io
import json
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from gandist.data.index import PAIRS_SCHEMA, SAMPLES_SCHEMA, SHARDS_SCHEMA, Index, most_classes, relative_url
from gandist.errors import DataError
from gandist.storage.atomic import write_atomically
from gandist.storage.remote import filesystem, is_remote, join, read_bytes

SHARDS_FILE = "shards.parquet"
SAMPLES_FILE = "samples.parquet"
CAPTIONS_FILE = "captions.parquet"
FORMAT_VERSION = 1
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


def write_index(index: Index, dest: str) -> None:
    """Write `samples.parquet`, `captions.parquet` if there are vectors, and then `shards.parquet` to `dest`.

    The last file makes the index valid and holds the sha256 of the others: a half-written index does not count.

    Raises:
        DataError: `dest` cannot be written, or is remote while the shards are on this machine.
    """
    if dest.startswith(("http://", "https://")):
        raise DataError(f"{dest}: cannot be written to; give a local folder for the index")
    urls = [relative_url(index.url(i), dest) for i in range(index.shards.num_rows)]
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
