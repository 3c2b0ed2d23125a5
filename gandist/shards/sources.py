"""What `gandist.pack` takes in: a folder or zip of images, WebDataset tars, a Parquet table, IDX files.

Every reader gives a `Source`: a number of samples that can be read in any order, from any thread.
"""

import gzip
import json
import math
import operator
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gandist.errors import DataError
from gandist.shards.index import index_shards, numbers
from gandist.shards.remote import ShardCache, is_remote
from gandist.shards.tars import list_shards
from gandist.shards.walk import files_below

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
IDX_IMAGES = ("-images-idx3-ubyte", "-images-idx3-ubyte.gz", "-images.idx3-ubyte", "-images.idx3-ubyte.gz")
LISTING = PurePosixPath("dataset.json")
"""Where it lies beside the images, it has their labels, and subfolders are no classes."""
IMAGE_COLUMNS = ("image", "img", "picture", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
LABEL_COLUMNS = ("label", "labels", "class", "cls", "target", "y", "category", "fine_label", "coarse_label")
CAPTION_COLUMNS = ("caption", "text", "captions", "prompt", "txt", "description")


class Sample(NamedTuple):
    """One image: encoded bytes, or uint8 pixels (H, W) or (H, W, 3); its label (-1: none) and caption."""

    image: bytes | np.ndarray
    label: int
    caption: str | None


@dataclass(frozen=True)
class Source:
    """`n` samples: `read(i)` gives the i-th, `name(i)` says where it came from, for messages."""

    n: int
    read: Callable[[int], Sample]
    name: Callable[[int], str]
    class_names: tuple[str, ...] = ()


def open_source(src: str, scratch: Path) -> Source:
    """The images at `src`, by what kind of file or folder it is.

    Args:
        scratch: an existing folder for temporary files, of the size of a Parquet source at most.

    Raises:
        DataError: `src` is missing, of no known kind, or damaged as a whole. (Single images are not looked at
            before they are read.)
    """
    if is_remote(src):
        raise DataError(f"{src}: images are packed from local files; fetch them first (--index-only reads URLs)")
    path = Path(src)
    if "{" in src or path.suffix == ".tar":
        return tars(src)
    if path.suffix == ".zip":
        return zipped(path)
    if path.suffix == ".parquet":
        return parquet([path], scratch)
    if path.name.endswith(IDX_IMAGES) and path.is_file():
        return idx(path)
    if not path.exists():
        raise DataError(f"{src}: no such file or folder")
    if not path.is_dir():
        raise DataError(f"{src}: not a folder, .zip, .tar, .parquet or *-images-idx3-ubyte[.gz] file")
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if any(entry.suffix == ".tar" for entry in entries):
        return tars(src)
    if tables := [entry for entry in entries if entry.suffix == ".parquet"]:
        return parquet(tables, scratch)
    if pixels := [entry for entry in entries if entry.name.endswith(IDX_IMAGES)]:
        if len(pixels) > 1:
            raise DataError(f"{src}: holds several sets of IDX files; name one: {', '.join(map(str, pixels))}")
        return idx(pixels[0])
    return folder(path)


def folder(root: Path) -> Source:
    """Images in a folder: the class is the first subfolder, or as `dataset.json` lists it; the caption lies beside the
    image as `.txt`."""
    names = [PurePosixPath(path.relative_to(root).as_posix()) for path in files_below(root)]

    def read(name: PurePosixPath) -> bytes:
        return (root / name).read_bytes()

    return _tree(str(root), names, read)


def zipped(path: Path) -> Source:
    """A zip of what `folder` takes; one folder around everything is ignored."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as a zip: {error}") from error
    names = [PurePosixPath(info.filename) for info in archive.infolist() if not info.is_dir()]
    around = {name.parts[0] if len(name.parts) > 1 else "" for name in names if _visible(name)}
    wrapper = around.pop() if len(around) == 1 else ""

    def read(name: PurePosixPath) -> bytes:
        return archive.read(str(wrapper / name))

    return _tree(str(path), [name.relative_to(wrapper) for name in names if name.is_relative_to(wrapper)], read)


def _visible(name: PurePosixPath) -> bool:
    return not any(part.startswith((".", "__MACOSX")) for part in name.parts)


def _tree(root: str, names: Sequence[PurePosixPath], read: Callable[[PurePosixPath], bytes]) -> Source:
    images = sorted((n for n in names if n.suffix.lower() in IMAGES and _visible(n)), key=lambda n: n.parts)
    if not images:
        raise DataError(f"{root}: holds no images ({' '.join(IMAGES)})")
    captions = {name for name in names if name.suffix == ".txt"}
    listed = _listed(root, read(LISTING)) if LISTING in names else None
    class_names = sorted({name.parts[0] for name in images if len(name.parts) > 1}) if listed is None else []
    label = {name: i for i, name in enumerate(class_names)}
    stray = [name for name in images if len(name.parts) == 1]
    if stray and class_names:
        raise DataError(
            f"{root}: {stray[0]} lies outside the class folders ({', '.join(class_names[:3])}, ...); "
            "put every image into one, or none"
        )

    def sample(i: int) -> Sample:
        name = images[i]
        beside = name.with_suffix(".txt")
        caption = read(beside).decode().strip() if beside in captions else None
        if listed is not None:
            return Sample(read(name), listed.get(str(name), -1), caption)
        return Sample(read(name), label[name.parts[0]] if class_names else -1, caption)

    return Source(len(images), sample, lambda i: f"{root}: {images[i]}", tuple(class_names))


def _listed(root: str, content: bytes) -> dict[str, int]:
    """Labels by file name, from a listing as StyleGAN's: `{"labels": [["00000/img00000000.png", 6], ...]}` or null."""
    try:
        labels = json.loads(content)["labels"]
        return {str(name): operator.index(label) for name, label in labels or ()}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'{root}: {LISTING} does not give class numbers as {{"labels": [["a/b.png", 0], ...]}}: {error}; mend it, '
            "or remove it to have the first subfolders as classes"
        ) from error


def tars(src: str) -> Source:
    """WebDataset shards on this machine, written by anyone."""
    nowhere = ShardCache(Path(), 0)  # local files pass through a cache untouched
    index = index_shards(list_shards(src), nowhere, base=src)
    shard, offset, size, label = (numbers(index.samples[name]) for name in ("shard", "offset", "size", "label"))
    urls = [index.url(i) for i in range(index.shards.num_rows)]

    def read(i: int) -> Sample:
        with Path(urls[shard[i]]).open("rb") as file:
            image = os.pread(file.fileno(), int(size[i]), int(offset[i]))
        return Sample(image, int(label[i]), index.samples["caption"][i].as_py())

    return Source(index.n, read, lambda i: f"{urls[shard[i]]}: {index.samples['key'][i].as_py()}")


def parquet(paths: Sequence[Path], scratch: Path) -> Source:
    """Tables with a column of encoded images (bytes, or a struct of `bytes`), labels and captions if any."""
    try:
        files = [pq.ParquetFile(path) for path in paths]
        schema = files[0].schema_arrow
        column = _image_column(schema, str(paths[0]))
        others = pa.concat_tables(
            pq.read_table(path, columns=[n for n in schema.names if n in LABEL_COLUMNS + CAPTION_COLUMNS])
            for path in paths
        )
        # Rows of a Parquet file cannot be read one by one; those of a memory-mapped Arrow file can.
        spool = scratch / "images.arrow"
        with pa.ipc.new_file(spool, pa.schema([("image", pa.large_binary())])) as writer:
            for file in files:
                for batch in file.iter_batches(batch_size=256, columns=[column]):
                    images = batch.column(0)
                    images = pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images
                    writer.write_batch(pa.record_batch([images.cast(pa.large_binary())], ["image"]))
        encoded = pa.ipc.open_file(pa.memory_map(str(spool))).read_all()["image"]
        spool.unlink()  # the mapping keeps it until the source is done with
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{paths[0]}: cannot be read as a Parquet table of images: {error}") from error
    labels, class_names = _labels(others, schema, str(paths[0]))
    captions = next((others[name] for name in CAPTION_COLUMNS if name in others.column_names), None)

    def read(i: int) -> Sample:
        image = encoded[i].as_py()
        if image is None:
            raise ValueError("the table holds no bytes for it")
        caption = None if captions is None else captions[i].as_py()
        if isinstance(caption, list):  # several captions of one image
            caption = caption[0] if caption else None
        return Sample(image, int(labels[i]), None if caption is None else str(caption))

    where = str(paths[0]) if len(paths) == 1 else str(paths[0].parent)
    return Source(len(encoded), read, lambda i: f"{where}: row {i}", class_names)


def _image_column(schema: pa.Schema, where: str) -> str:
    def holds_bytes(kind: pa.DataType) -> bool:
        if pa.types.is_struct(kind):
            return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    candidates = [field.name for field in schema if holds_bytes(field.type)]
    for name in IMAGE_COLUMNS:
        if name in candidates:
            return name
    if len(candidates) == 1:
        return str(candidates[0])
    raise DataError(f"{where}: no column of image bytes among {', '.join(schema.names)}; name it 'image'")


def _labels(table: pa.Table, schema: pa.Schema, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    column = next((name for name in LABEL_COLUMNS if name in table.column_names), None)
    if column is None:
        return np.full(table.num_rows, -1), ()
    values = table[column]
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        names = sorted(set(values.drop_null().to_pylist()))
        values = pc.index_in(values, pa.array(names, values.type))
    elif pa.types.is_integer(values.type):
        names = _hugging_face_names(schema, column)
    else:
        raise DataError(f"{where}: column {column!r} is {values.type}, where labels are integers or strings")
    return pc.fill_null(values, -1).to_numpy(), tuple(names)


def _hugging_face_names(schema: pa.Schema, column: str) -> list[str]:
    try:
        notes = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(name) for name in notes["info"]["features"][column]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def idx(path: Path) -> Source:
    """IDX files, as MNIST's: images at `path`, labels beside them under the name that goes with it."""
    images = _idx_array(path)
    if images.ndim not in (3, 4):
        raise DataError(f"{path}: holds {images.ndim}-dimensional data, where images have 3 dimensions (n, H, W)")
    stem = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    found = [path.with_name(name) for name in (stem, f"{stem}.gz") if path.with_name(name).is_file()]
    labels = _idx_array(found[0]) if found else None
    if labels is not None and labels.shape != images.shape[:1]:
        raise DataError(f"{found[0]}: {len(labels)} labels for the {len(images)} images of {path.name}")

    def read(i: int) -> Sample:
        return Sample(images[i], -1 if labels is None else int(labels[i]), None)

    return Source(len(images), read, lambda i: f"{path}: image {i}")


def _idx_array(path: Path) -> Any:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zeros, kind, rank = struct.unpack(">HBB", data[:4])
        shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path}: cannot be read as an IDX file: {error}") from error
    if zeros != 0 or kind != 8:
        raise DataError(f"{path}: not an IDX file of unsigned bytes")
    if len(data) != 4 + 4 * rank + math.prod(shape):
        raise DataError(f"{path}: {len(data)} bytes, where {shape} values are announced; fetch it again")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
