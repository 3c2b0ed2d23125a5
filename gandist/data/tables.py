"""Parquet tables of images, sounds or clips, labels and captions, as Hugging Face's and other tools write them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gandist.data.samples import MAX_CLASSES, LeftOut, Sample, Source, class_number
from gandist.errors import DataError
from gandist.media.containers import EBML
from gandist.media.formats import FORMATS, one_medium

COLUMNS = {
    "image": ("image", "img", "picture", "jpg", "jpeg", "png", "webp", "image_bytes"),
    "audio": ("audio", "sound", "speech", "wav", "flac", "mp3", "ogg", "audio_bytes"),
    "video": ("video", "film", "movie", "mp4", "webm", "gif", "video_bytes"),
}
"""Usual names of the column of samples, by medium."""
ANY = "bytes"
MAGIC = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"FORM", b".snd", b"caff")
"""How files of sounds begin (but WebP's and AVI's are RIFF, too)."""
LABEL_COLUMNS = ("label", "labels", "class", "cls", "target", "y", "category", "fine_label", "coarse_label")
CAPTION_COLUMNS = ("caption", "text", "captions", "prompt", "txt", "description")


def parquet(paths: Sequence[Path], scratch: Path, labels: str | None = None, medium: str | None = None) -> Source:
    """Tables with a column of encoded images, sounds or clips (bytes, or a struct of `bytes`), and columns of labels
    and captions if any.

    Args:
        paths: the parts of one table, with the same columns in any order.
        scratch: an existing folder for a temporary file of the images' size.
        labels: "column" requires labels, "none" ignores them; None takes them if they exist.
        medium: what to take of a table that holds several; None refuses it.

    Raises:
        DataError: a part cannot be read, or has other columns than the first; a label cannot be used.
    """
    files = opened_tables(paths)
    schema = files[0].schema_arrow
    medium, column = _sample_column(schema, files[0], str(paths[0]), medium)
    label = named(schema.names, LABEL_COLUMNS) if labels != "none" else None
    caption = named(schema.names, CAPTION_COLUMNS)
    if labels == "column" and label is None:
        raise DataError(
            f"{paths[0]}: no column of labels among {', '.join(schema.names)}; name it 'label', or leave out --labels"
        )
    for path, file in zip(paths[1:], files[1:], strict=True):
        if absent := [name for name in (column, label, caption) if name and name not in file.schema_arrow.names]:
            raise DataError(
                f"{path}: has no column {absent[0]!r}, as {paths[0].name} has (it has "
                f"{', '.join(file.schema_arrow.names)}); give its columns the same names, or take it away"
            )
    left_out = LeftOut()
    left_out.note("columns were not taken", (name for name in schema.names if name not in (column, label, caption)))
    numbers, class_names = np.full(sum(file.metadata.num_rows for file in files), -1), tuple[str, ...]()
    if label is not None:
        numbers, class_names = labels_of_tables(paths, files, label, left_out)
    captions = [column_of(path, file, caption) for path, file in zip(paths, files, strict=True)] if caption else []
    encoded = _encoded(paths, files, column, scratch)
    starts = np.cumsum([0, *(file.metadata.num_rows for file in files)])
    if not starts[-1]:
        raise DataError(f"{paths[0]}: holds no rows")

    def place(i: int) -> tuple[int, int]:
        part = int(np.searchsorted(starts, i, side="right")) - 1
        return part, i - int(starts[part])

    def read(i: int) -> Sample:
        image = encoded[i].as_py()
        if image is None:
            raise ValueError("the table holds no bytes for it")
        part, row = place(i)
        text = captions[part][row].as_py() if captions else None
        if isinstance(text, list):  # several captions of one image
            text = text[0] if text else None
        return Sample(image, int(numbers[i]), None if text is None else str(text))

    def name(i: int) -> str:
        part, row = place(i)
        return f"{paths[part]}: row {row}"

    return Source(int(starts[-1]), read, name, class_names, left_out, medium=medium)


def holds_samples(path: Path) -> bool:
    """Whether a table has a column of bytes that may be samples; True for a table that cannot be read."""
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException):
        return True
    candidates = _of_bytes(schema)
    return len(candidates) == 1 or any(named(candidates, (*names, ANY)) for names in COLUMNS.values())


def opened_tables(paths: Sequence[Path]) -> list[pq.ParquetFile]:
    """The tables at these paths; raises DataError if one cannot be read."""
    files = []
    for path in paths:
        try:
            files.append(pq.ParquetFile(path))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: cannot be read as a Parquet table: {error}") from error
    return files


def column_of(path: Path, file: pq.ParquetFile, name: str) -> pa.ChunkedArray:
    """The values of a column, without a dictionary; raises DataError if it cannot be read."""
    try:
        values = file.read([name])[name]
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{path}: column {name!r} cannot be read: {error}") from error
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column that has the first of the usual `names`, ignoring case; None if none has one."""
    found = {str(name).lower(): str(name) for name in reversed(columns)}
    return next((found[name.lower()] for name in names if name.lower() in found), None)


def _of_bytes(schema: pa.Schema) -> list[str]:
    """Names of the columns that hold bytes, or a struct of `bytes`."""

    def holds_bytes(kind: pa.DataType) -> bool:
        if pa.types.is_struct(kind):
            return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    return [str(field.name) for field in schema if holds_bytes(field.type)]


def _sample_column(schema: pa.Schema, file: pq.ParquetFile, where: str, medium: str | None) -> tuple[str, str]:
    """The medium and the column of the samples: by its name, or the only one of bytes, by their beginning."""
    candidates = _of_bytes(schema)
    by_name = {each: named(candidates, names) for each, names in COLUMNS.items() if medium in (None, each)}
    found = {each: name for each, name in by_name.items() if name is not None}
    if chosen := one_medium(where, found):
        return chosen, found[chosen]
    column = named(candidates, (ANY,)) or (candidates[0] if len(candidates) == 1 else None)
    if column is None:
        name = "image" if medium is None else medium
        what = f"{FORMATS[name].noun} bytes"
        raise DataError(f"{where}: no column of {what} among {', '.join(schema.names)}; name it {name!r}")
    return medium or _medium_of_bytes(file, column), column


def _medium_of_bytes(file: pq.ParquetFile, column: str) -> str:
    """What the first file in a column is."""
    try:
        for batch in file.iter_batches(batch_size=16, columns=[column]):
            values = batch.column(0)
            values = pc.struct_field(values, "bytes") if pa.types.is_struct(values.type) else values
            for value in values.drop_null():
                data = value.as_py()
                if data[4:8] == b"ftyp" or data.startswith(EBML) or data[8:12] == b"AVI ":
                    return "video"
                return "audio" if data.startswith(MAGIC) and data[8:12] != b"WEBP" else "image"
    except (OSError, pa.ArrowException):
        pass  # told when they are read
    return "image"


def _encoded(paths: Sequence[Path], files: Sequence[pq.ParquetFile], column: str, scratch: Path) -> pa.ChunkedArray:
    """The images of all parts. A Parquet file gives no access to single rows; a memory-mapped Arrow file does."""
    spool = scratch / "images.arrow"
    with pa.ipc.new_file(spool, pa.schema([("image", pa.large_binary())])) as writer:
        for path, file in zip(paths, files, strict=True):
            try:
                for batch in file.iter_batches(batch_size=256, columns=[column]):
                    images = batch.column(0)
                    images = pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images
                    writer.write_batch(pa.record_batch([images.cast(pa.large_binary())], ["image"]))
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{path}: column {column!r} cannot be read as image bytes: {error}") from error
    encoded = pa.ipc.open_file(pa.memory_map(str(spool))).read_all()["image"]
    spool.unlink()  # the mapping keeps the data until the source is closed
    return encoded


def labels_of_tables(
    paths: Sequence[Path], files: Sequence[pq.ParquetFile], name: str, left_out: LeftOut
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Label of each row of all parts of a Parquet table, as `labels_of` gives them."""
    parts = [column_of(path, file, name) for path, file in zip(paths, files, strict=True)]
    return labels_of(paths, parts, name, left_out, lambda: _hugging_face_names(paths, files, name))


def labels_of(
    paths: Sequence[Path],
    parts: Sequence[pa.ChunkedArray],
    name: str,
    left_out: LeftOut,
    names: Callable[[], Sequence[str]] = tuple,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Label of each row (n,) int64 of the parts of a column, -1 for none, and the names of the classes: the values, if
    these are texts, or else `names()`.

    Raises:
        DataError: the values are neither class numbers nor texts, or parts differ in this.
    """
    as_names = [_is_text(part.type) for part in parts if not pa.types.is_null(part.type)]
    others = "names" if any(as_names[:1]) else "numbers"
    for path, part in zip(paths, parts, strict=True):
        if not (pa.types.is_null(part.type) or _is_text(part.type) == as_names[0]):
            raise DataError(
                f"{path}: column {name!r} is {part.type}, where other parts have {others} of classes; write them "
                "alike, or pass --labels none"
            )
    if any(as_names):
        texts = [part.cast(pa.large_string()) for part in parts]
        class_names = sorted({text for part in texts for text in pc.unique(part).drop_null().to_pylist()})
        known = pa.array(class_names, pa.large_string())
        numbers = [pc.fill_null(pc.index_in(part, known), -1).to_numpy().astype(np.int64) for part in texts]
    else:
        class_names = list(names())
        numbers = [_whole(part, f"{path}: column {name!r}") for path, part in zip(paths, parts, strict=True)]
    if any((part >= 0).any() for part in numbers):
        for path, part in zip(paths, numbers, strict=True):
            left_out.note("rows have no label", (f"{path.name}: row {row}" for row in np.flatnonzero(part < 0)))
    return np.concatenate(numbers), tuple(class_names)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _whole(values: pa.ChunkedArray, where: str) -> np.ndarray:
    """Class numbers (n,) int64 of a column of integers, or of floats: pandas stores integers with gaps as floats."""
    kind = values.type
    if not (pa.types.is_null(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        if not pa.types.is_floating(kind):
            raise DataError(f"{where} is {kind}, where labels are integers or strings; or pass --labels none")
        values = values.cast(pa.float64())
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    if not (pa.types.is_null(kind) or pa.types.is_boolean(kind)):
        if pa.types.is_unsigned_integer(kind):
            unusable = pc.greater_equal(values.cast(pa.uint64()), pa.scalar(MAX_CLASSES, pa.uint64()))
        else:
            unusable = pc.or_(pc.less(values, pa.scalar(-1)), pc.greater_equal(values, pa.scalar(MAX_CLASSES)))
        if pa.types.is_floating(kind):
            unusable = pc.or_(unusable, pc.not_equal(values, pc.floor(values)))
        if (row := pc.index(pc.fill_null(unusable, False), True).as_py()) >= 0:
            class_number(values[row].as_py(), f"{where}, row {row}")
    return np.asarray(pc.fill_null(values.cast(pa.int64()), -1).to_numpy())


def _hugging_face_names(paths: Sequence[Path], files: Sequence[pq.ParquetFile], column: str) -> list[str]:
    """The class names, which all parts that have names must share: a label indexes the names of its own part."""
    names: list[str] = []
    for path, file in zip(paths, files, strict=True):
        try:
            notes: Any = json.loads((file.schema_arrow.metadata or {})[b"huggingface"])
            own = [str(name) for name in notes["info"]["features"][column]["names"]]
        except (KeyError, TypeError, ValueError):
            continue
        if names and own != names:
            raise DataError(
                f"{path}: names the classes of column {column!r} {', '.join(own)}, where an earlier part has "
                f"{', '.join(names)}; write the parts with one list of names, or pack them apart"
            )
        names = own
    return names
