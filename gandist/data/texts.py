"""Sources of texts: the lines or pieces of files, and the rows of tables (Parquet, CSV, JSON lines)."""

import codecs
import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gandist.data.samples import BOMS, LeftOut, Sample, Source
from gandist.data.tables import (
    LABEL_COLUMNS,
    column_of,
    holds_samples,
    labels_of,
    labels_of_tables,
    named,
    opened_tables,
)
from gandist.errors import DataError
from gandist.media.alphabets import file_of

COLUMN = "text"
"""The usual name of the column of texts."""
TABLES = (".csv", ".jsonl")
"""Suffixes of tables of texts besides Parquet's."""


def read_file(path: Path) -> Source:
    """A `.txt` file as a single sample; `in_pieces` takes its lines.

    Raises:
        DataError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return Source(1, lambda i: Sample(data, -1, None), lambda i: str(path), medium="text")


def holds_texts(path: Path, column: str | None = None) -> bool:
    """Whether a Parquet table is one of texts: it has a column of them, and none that may be images or other bytes."""
    return not holds_samples(path) and named(pq.read_schema(path).names, (column or COLUMN,)) is not None


class _File(NamedTuple):
    """A file of a source, in UTF-8 with simple ends of lines, and the places of its pieces."""

    data: bytes
    starts: np.ndarray
    stops: np.ndarray


def in_pieces(source: Source, chunks: int | None = None) -> Source:
    """The source with each line of its texts as a sample, empty ones left out, or with `chunks` each piece of that many
    characters, the last one perhaps shorter. A piece has the label of its file. All files are held in memory."""
    files, numbers = [], []
    for i in range(source.n):
        data = _plain(source.read(i).image)
        file = _lines(data) if chunks is None else _chunks(data, chunks)
        files.append(file)
        numbers.append(np.full(len(file.starts), i))
    label = [source.read(i).label for i in range(source.n)]
    left_out = source.left_out
    which = np.concatenate(numbers)
    first = np.searchsorted(which, np.arange(source.n))
    # Leave out what is empty
    if chunks is None:
        full = np.concatenate([file.stops > file.starts for file in files])
        left_out.skipped.update({"empty lines": int((~full).sum())} if not full.all() else {})
        taken = np.flatnonzero(full)
    else:
        taken = np.arange(len(which))
    if not len(taken):
        raise DataError(f"{source.name(0)}: holds no text")

    def place(i: int) -> tuple[int, int]:
        file = int(which[taken[i]])
        return file, int(taken[i] - first[file])

    def read(i: int) -> Sample:
        file, piece = place(i)
        found = files[file]
        return Sample(file_of(found.data[found.starts[piece] : found.stops[piece]]), label[file], None)

    def name(i: int) -> str:
        file, piece = place(i)
        return f"{source.name(file)}: {'line' if chunks is None else 'piece'} {piece + 1}"

    return Source(len(taken), read, name, source.class_names, left_out, medium="text")


def _plain(given: Any) -> bytes:
    """A file in UTF-8 without a mark, also of UTF-16 with one; lines end with \\n alone."""
    data = bytes(given)
    mark = next((mark for mark in BOMS if data.startswith(mark)), b"")
    if mark == codecs.BOM_UTF8:
        data = data[len(mark) :]
    elif mark:
        data = data.decode(BOMS[mark], "replace").encode()
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _lines(data: bytes) -> _File:
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    stops = ends if data.endswith(b"\n") or not data else np.append(ends, len(data))
    return _File(data, np.append(0, stops[:-1] + 1)[: len(stops)], stops)


def _chunks(data: bytes, n: int) -> _File:
    # A character begins at each byte that continues none; invalid UTF-8 is told when its piece is encoded
    begins = np.flatnonzero(np.frombuffer(data, np.uint8) & 0xC0 != 0x80)
    starts = begins[::n]
    return _File(data, starts, np.append(starts[1:], len(data))[: len(starts)])


def text_table(
    paths: Sequence[Path], labels: str | None = None, column: str | None = None, left_out: LeftOut | None = None
) -> Source:
    """The rows of tables with a column of texts, and one of labels if there is any.

    Args:
        paths: Parquet tables that are parts of one, or one `.csv` file with a heading, or one `.jsonl` file.
        labels: "column" requires labels, "none" ignores them; None takes them if they exist.
        column: name of the column of texts, by default "text".

    Raises:
        DataError: a table cannot be read or has no such column; a label cannot be used.
    """
    left_out = left_out or LeftOut()
    read = {".csv": _csv, ".jsonl": _json_lines}.get(paths[0].suffix.lower(), _parquet)
    table = read(paths, column or COLUMN)
    label = named(table.names, LABEL_COLUMNS) if labels != "none" else None
    if labels == "column" and label is None:
        raise DataError(
            f"{paths[0]}: no column of labels among {', '.join(table.names)}; name it 'label', or leave out --labels"
        )
    left_out.note("columns were not taken", (name for name in table.names if name not in (table.column, label)))
    numbers, class_names = np.full(len(table.texts), -1), tuple[str, ...]()
    if label is not None:
        numbers, class_names = table.labels(label, left_out)
    if not table.texts:
        raise DataError(f"{paths[0]}: holds no rows")

    def sample(i: int) -> Sample:
        text = table.texts[i]
        if isinstance(text, Exception):
            raise text
        if not isinstance(text, str):
            raise ValueError(f"column {table.column!r} holds {'nothing' if text is None else 'no text'} there")
        return Sample(file_of(text.encode()), int(numbers[i]), None)

    return Source(len(table.texts), sample, table.where, class_names, left_out, medium="text")


class _Table(NamedTuple):
    column: str
    """The column of texts."""
    names: list[str]
    texts: Sequence[Any]
    """Of each row the text, or the error that it has none."""
    where: Callable[[int], str]
    labels: Callable[[str, LeftOut], tuple[np.ndarray, tuple[str, ...]]]
    """From the name of a column."""


def _there(path: Path, names: Sequence[str], column: str) -> str:
    found = named(names, (column,))
    if found is None:
        raise DataError(f"{path}: no column {column!r} among {', '.join(names)}; name it: --text-column")
    return found


def _parquet(paths: Sequence[Path], column: str) -> _Table:
    files = opened_tables(paths)
    names = list(map(str, files[0].schema_arrow.names))
    column = _there(paths[0], names, column)
    parts = [column_of(path, file, column) for path, file in zip(paths, files, strict=True)]
    texts = [text for part in parts for text in part.to_pylist()]
    starts = np.cumsum([0, *map(len, parts)])

    def where(i: int) -> str:
        part = int(np.searchsorted(starts, i, side="right")) - 1
        return f"{paths[part]}: row {i - int(starts[part])}"

    return _Table(column, names, texts, where, lambda name, left_out: labels_of_tables(paths, files, name, left_out))


def _csv(paths: Sequence[Path], column: str) -> _Table:
    (path,) = paths
    csv.field_size_limit(1 << 30)
    reader = csv.reader(io.StringIO(_whole(path), newline=""), strict=True)
    try:
        names = next(reader, [])
        column = _there(path, names, column)
        rows, lines = [], []
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: is no CSV: {error}") from error
    at = names.index(column)
    short = ValueError(f"has fewer columns than the heading, which has {len(names)}")
    texts = [row[at] if len(row) == len(names) else short for row in rows]

    def labels(name: str, left_out: LeftOut) -> tuple[np.ndarray, tuple[str, ...]]:
        at = names.index(name)
        return _labels(
            path, [row[at].strip() or None if len(row) == len(names) else None for row in rows], name, left_out
        )

    return _Table(column, names, texts, lambda i: f"{path}: line {lines[i]}", labels)


def _json_lines(paths: Sequence[Path], column: str) -> _Table:
    (path,) = paths
    rows: list[Any] = []
    lines = []
    for number, line in enumerate(_file(path).split(b"\n"), 1):
        if line.strip():
            lines.append(number)
            rows.append(_row(line))
    names = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    column = _there(path, names, column)
    texts = [row.get(column) if isinstance(row, dict) else row for row in rows]

    def labels(name: str, left_out: LeftOut) -> tuple[np.ndarray, tuple[str, ...]]:
        return _labels(path, [row.get(name) if isinstance(row, dict) else None for row in rows], name, left_out)

    return _Table(column, names, texts, lambda i: f"{path}: line {lines[i]}", labels)


def _row(line: bytes) -> dict[str, Any] | ValueError:
    try:
        row = json.loads(line)
    except ValueError as error:
        return ValueError(f"is no JSON: {error}")
    return row if isinstance(row, dict) else ValueError("is no JSON object")


def _labels(path: Path, values: list[Any], name: str, left_out: LeftOut) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of a column of CSV or JSON: numbers if all are, or else names."""
    texts = [value for value in values if isinstance(value, str)]
    if texts and all(text.removeprefix("-").isdecimal() for text in texts):
        values = [int(value) if isinstance(value, str) else value for value in values]
    try:
        part = pa.chunked_array([pa.array(values)])
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise DataError(
            f"{path}: column {name!r} holds no labels of one kind: {error}; or pass --labels none"
        ) from error
    return labels_of([path], [part], name, left_out)


def _file(path: Path) -> bytes:
    try:
        return _plain(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _whole(path: Path) -> str:
    data = _file(path)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{path}: line {line}: is not UTF-8 text: a byte is {data[error.start]:#04x}") from error
