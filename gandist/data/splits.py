"""Splits of a data set (train, validation, test), by the names of its folders and files.

The names are those that Hugging Face's loaders use: https://huggingface.co/docs/hub/datasets-file-names-and-splits.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from gandist.errors import DataError

ALL = "all"
"""`--split` with this name takes every split."""
USUAL = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation", "t10k"),
}
SAME = {name: split for split, names in USUAL.items() for name in names}
NUMBERED = re.compile(r"(.+)-\d+-of-\d+")  # Hugging Face's tools write it after the split's name


def same(name: str) -> str:
    """The canonical name of a split: "validation" for "val"; an unknown name unchanged."""
    return SAME.get(name.lower(), name)


def of_folder(name: str) -> str | None:
    """The split that a folder's name means, alone or with a number (train2017); None for any other (train_station)."""
    return SAME.get(re.sub(r"^[\W\d_]+|[\W\d_]+$", "", name.lower()))


def of_file(name: str) -> str | None:
    """The split that a file's name means: cifar10-train-00000-of-00002.parquet, test.tar; None if it means none."""
    stem = name.partition(".")[0]
    if stem.startswith("t10k"):
        return "test"
    words = [word for word in re.split(r"[\W\d_]+", stem.lower()) if word != "of" and word]
    if numbered := NUMBERED.fullmatch(stem):
        return SAME.get(words[-1], numbered[1]) if words else numbered[1]
    return next((SAME[word] for word in words if word in SAME), None)


def files_of_split(src: str, files: Sequence[str], split: str | None) -> list[str]:
    """The paths or URLs of `files` that belong to `split`.

    Raises:
        DataError: there are several splits and `split` is None; or none has that name.
    """
    splits = [of_file(PurePosixPath(file.partition("?")[0]).name) for file in files]
    found = list(dict.fromkeys(name for name in splits if name is not None))
    if split is None and len(found) > 1:
        raise DataError(
            f"{src}: holds the splits {', '.join(found)}; take one (--split {found[0]}), or --split {ALL} for all"
        )
    if split in (None, ALL):
        return list(files)
    taken = [file for file, name in zip(files, splits, strict=True) if name is not None and name == same(str(split))]
    if not taken:
        raise DataError(missing(src, str(split), found))
    return taken


def missing(src: str, split: str, found: Iterable[str]) -> str:
    """The message for a missing split."""
    names = ", ".join(found)
    return f"{src}: holds no split {split!r}; " + (f"it holds {names}" if names else "leave out --split")


def level(images: Sequence[PurePosixPath]) -> int | None:
    """The depth of the folders that are splits and not classes: 0 in train/cat/1.png, 1 in cat/train/1.png; None
    without splits.

    A class may be called "train" among others ("car", "bus"). Two different splits, or only splits, make splits.
    """
    for depth in (0, 1):
        names = {image.parts[depth] if len(image.parts) > depth + 1 else "" for image in images}
        splits = {of_folder(name) for name in names} - {None}
        nothing_else = all(of_folder(name) for name in names)
        if (depth == 0 and nothing_else) or (len(splits) > 1 and (depth == 0 or nothing_else)):
            return depth
    return None
