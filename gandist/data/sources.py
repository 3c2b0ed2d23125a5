"""Inputs of `gandist.pack`: a folder or zip of images, sounds, clips or texts, WebDataset tars, tables, IDX files.

Every reader returns a `Source`: samples that any thread may read in any order.
"""

import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from gandist.data import splits
from gandist.data.cache import ShardCache
from gandist.data.idx import IDX_IMAGES, idx
from gandist.data.index import INPUT, TARGET, numbers
from gandist.data.index_files import CAPTIONS_FILE, SAMPLES_FILE, SHARDS_FILE
from gandist.data.indexing import index_shards
from gandist.data.listing import list_shards
from gandist.data.samples import LeftOut, Sample, Source
from gandist.data.tables import holds_samples, parquet
from gandist.data.texts import TABLES, holds_texts, read_file, text_table
from gandist.data.trees import check_labels, folder, is_of_another_set, zipped
from gandist.data.walk import files_below
from gandist.errors import DataError
from gandist.media.formats import APART, FORMATS, media_of
from gandist.storage.remote import is_remote

INDEX = (SHARDS_FILE, SAMPLES_FILE, CAPTIONS_FILE)
LABELS = {
    "folders": "an image's class is the first folder that it lies in",
    "listing": "dataset.json lists the class numbers",
    "column": "a Parquet table has a column of labels",
    "none": "the images have no classes",
}
"""Sources of labels; by default whichever exists."""


def open_source(
    src: str,
    scratch: Path,
    *,
    labels: str | None = None,
    split: str | None = None,
    left_out: LeftOut | None = None,
    medium: str | None = None,
    text_column: str | None = None,
) -> Source:
    """The samples at `src`, by the kind of the file or folder.

    Args:
        scratch: an existing folder for temporary files, at most as large as a Parquet source.
        labels: a key of `LABELS`; None takes whichever exists.
        split: the split to take ("train", "val", ...), if the source holds several; "all" takes every one.
        left_out: where images in folders, zips and tars note what is not taken; None for an account of their own.
        medium: a key of `media.formats.FORMATS`: what to take of a source that holds several.
        text_column: name of the column of texts in a table, by default "text".

    Raises:
        DataError: `src` is missing, of an unknown kind, or damaged as a whole; it holds several splits and `split` is
            None, or several media and `medium` is None; or its labels cannot be used. (Single samples are checked
            when they are read.)
    """
    if is_remote(src):
        raise DataError(f"{src}: sets are packed from local files; fetch them first (--index-only reads URLs)")
    path = Path(src)
    if "{" in src or path.suffix == ".tar":
        return tars(src, labels, split, left_out, medium)
    if path.suffix == ".zip":
        return zipped(path, labels, split, left_out, medium)
    if path.suffix == ".parquet":
        return _tables(src, [path], scratch, labels, split, medium, text_column)
    if path.name.endswith(IDX_IMAGES) and path.is_file():
        splits.files_of_split(src, [src], split)  # raises if the file belongs to another split
        return _idx(path, labels)
    if not path.exists():
        raise DataError(f"{src}: no such file or folder")
    if path.suffix.lower() in (".txt", *TABLES) and path.is_file():
        return _texts(path, labels, medium, text_column)
    if not path.is_dir():
        raise DataError(
            f"{src}: not a folder, .zip, .tar, .parquet, .txt, .jsonl, .csv or *-images-idx3-ubyte[.gz|.xz] file"
        )
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if taken := _set_in(path, entries):
        if taken[0].suffix == ".tar":
            source = tars(src, labels, split, left_out, medium)
        elif taken[0].suffix == ".parquet":
            source = _tables(src, taken, scratch, labels, split, medium, text_column)
        else:
            source = _idx(_one_idx(src, taken, split), labels)
        _passed_by(path, entries, taken, source)
        return source
    if split is not None:
        for entry in entries:  # a folder per split, with shards or tables in it
            if (
                entry.is_dir()
                and splits.of_folder(entry.name) == splits.same(split)
                and any(map(is_of_another_set, entry.iterdir()))
            ):
                return open_source(
                    str(entry), scratch, labels=labels, left_out=left_out, medium=medium, text_column=text_column
                )
    return folder(path, labels, split, left_out, medium)


def _set_in(folder: Path, entries: Sequence[Path]) -> list[Path]:
    """The tars, tables or IDX files of a folder; empty if its images, sounds or clips are the source.

    Those in class folders take precedence over files beside them, such as a backup; shards over a folder of previews.
    """
    shards = [entry for entry in entries if entry.suffix == ".tar"]
    tables = [entry for entry in entries if entry.suffix == ".parquet" and not _of_index(entry)]
    pixels = [entry for entry in entries if entry.name.endswith(IDX_IMAGES)]
    if not (shards or tables or pixels):
        return []
    if not shards and tables and not any(map(holds_samples, tables)) and _sample_in(folder):
        return []  # such as the metadata.parquet of an image folder, which lists its files
    if shards and (folder / SHARDS_FILE).is_file():
        return shards
    with_images = list(islice((entry for entry in entries if entry.is_dir() and _sample_in(entry)), 2))
    stray = len(shards) == 1 and not re.search(r"\d", shards[0].stem)
    if len(with_images) == 2 or (with_images and stray):
        return []
    return shards or tables or pixels


def _of_index(path: Path) -> bool:
    return path.name in INDEX and not holds_samples(path)


def _sample_in(folder: Path) -> bool:
    return any(path.suffix.lower() in APART for path in files_below(folder) if not path.name.startswith("."))


def _passed_by(folder: Path, entries: Sequence[Path], taken: Sequence[Path], source: Source) -> None:
    """Note the items beside the files that are used."""
    beside = (entry for entry in entries if entry not in taken and not (entry.is_file() and _of_index(entry)))
    files = [path for entry in beside for path in (files_below(entry) if entry.is_dir() else [entry])]
    formats, left_out = FORMATS[source.medium], source.left_out
    images = [path for path in files if path.suffix.lower() in formats.packed]
    left_out.note(
        f"{formats.plural} lie beside {taken[0].name} and are not taken", (path.relative_to(folder) for path in images)
    )
    labels = [path for path in files if any(path.name == name for name in map(_idx_labels, taken))]
    left_out.skip(str(path) for path in files if path not in images and path not in labels)


def _idx_labels(path: Path) -> str:
    return path.name.replace("images", "labels").replace("idx3", "idx1")


def _one_idx(src: str, pixels: Sequence[Path], split: str | None) -> Path:
    if split is not None:
        pixels = list(map(Path, splits.files_of_split(src, list(map(str, pixels)), split)))
    if len(pixels) > 1:
        raise DataError(f"{src}: holds several sets of IDX files; name one: {', '.join(map(str, pixels))}")
    return pixels[0]


def tars(
    src: str,
    labels: str | None = None,
    split: str | None = None,
    left_out: LeftOut | None = None,
    medium: str | None = None,
) -> Source:
    """WebDataset shards of any origin on this machine. What is left out is added to `left_out`, if given."""
    check_labels(src, "tars, which hold labels as .cls or .json", labels, ("none",))
    nowhere = ShardCache(Path(), 0)  # local files bypass a cache
    left_out = left_out or LeftOut()
    urls = list_shards(src, split)
    extensions = None if medium is None else FORMATS[medium].in_shards
    index = index_shards(urls, nowhere, base=src, labelled=labels != "none", left_out=left_out, extensions=extensions)
    medium = medium or media_of(index.extensions)[0]
    shard, label = numbers(index.samples["shard"]), index.labels
    urls = [index.url(i) for i in range(index.shards.num_rows)]
    members = [index.places(member) for member in (TARGET, INPUT)[: 2 if index.paired else 1]]

    def read(i: int) -> Sample:
        with Path(urls[shard[i]]).open("rb") as file:
            image, *given = (os.pread(file.fileno(), int(size[i]), int(offset[i])) for offset, size, _ in members)
        return Sample(image, int(label[i]), index.samples["caption"][i].as_py(), *given)

    def key(i: int) -> str:
        return str(index.samples["key"][i].as_py())

    def name(i: int) -> str:
        return f"{urls[shard[i]]}: {key(i)}"

    return Source(index.n, read, name, left_out=left_out, key=key, paired=index.paired, medium=medium)


def _idx(path: Path, labels: str | None) -> Source:
    check_labels(path, "IDX files", labels, ("none",))
    return idx(path, labels != "none")


def _texts(path: Path, labels: str | None, medium: str | None, column: str | None) -> Source:
    """The only sample of a text file, or the rows of a table of texts."""
    if medium not in (None, "text"):
        raise DataError(f"{path}: holds texts, and no {FORMATS[medium].plural}")
    if path.suffix.lower() in TABLES:
        check_labels(path, "tables", labels, ("column", "none"))
        return text_table([path], labels, column)
    check_labels(path, "a text file", labels, ("none",))
    return read_file(path)


def _tables(
    src: str,
    paths: list[Path],
    scratch: Path,
    labels: str | None,
    split: str | None,
    medium: str | None,
    text_column: str | None,
) -> Source:
    check_labels(src, "Parquet tables", labels, ("column", "none"))
    taken = list(map(Path, splits.files_of_split(src, list(map(str, paths)), split)))
    if medium == "text" or (medium is None and holds_texts(taken[0], text_column)):
        return text_table(taken, labels, text_column)
    return parquet(taken, scratch, labels, medium)
