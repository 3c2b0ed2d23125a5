"""Files, folders and patterns on the command line, as inputs with the names of their results."""

import glob
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from gandist.data.samples import LeftOut
from gandist.data.tars import scan_tar
from gandist.data.walk import files_below
from gandist.errors import ConfigError, DataError
from gandist.media.sound import EXTENSIONS


class Files(NamedTuple):
    """A kind of inputs."""

    one: str
    """What an input is called."""
    suffixes: tuple[str, ...]
    """Of files that are taken from folders."""
    result: str
    """Suffix of a result."""


PICTURES = Files(
    "picture",
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
    ".png",
)
SOUNDS = Files("sound", (*(f".{extension}" for extension in EXTENSIONS), ".npy"), ".wav")


class Input(NamedTuple):
    """A file, and the name of its result."""

    path: Path
    name: Path
    """Below the folder of results, without a suffix."""


def find_inputs(given: Sequence[str], out: Path, files: Files = PICTURES) -> list[Input]:
    """The inputs, in the order given; those of a folder, and of the folders in it, sorted by name.

    Results of a folder's files keep their folders; those of files lie in `out` itself. What lies in `out` is no
    input of a folder that `out` lies in.

    Raises:
        ConfigError: there are none, two results would have one name, or one would replace its input.
    """
    found: dict[Path, Input] = {}
    for each in given:
        there = _expanded(each, out, files)
        if not there:
            raise ConfigError(
                f"{each}: no {files.one} there; give files, folders or patterns of {', '.join(files.suffixes)}"
            )
        for source in there:
            first = found.setdefault(source.name, source)
            if first.path.resolve() != source.path.resolve():
                result = result_of(source, out, files)
                raise ConfigError(
                    f"{first.path} and {source.path}: both results would be {result}; rename one, "
                    "or apply the run to each in turn, with another --out"
                )
    for source in found.values():
        if result_of(source, out, files).resolve() == source.path.resolve():
            raise ConfigError(f"--out {out}: the result would replace {source.path}; give another folder")
    return list(found.values())


def result_of(source: Input, out: Path, files: Files = PICTURES) -> Path:
    """The file of an input's result."""
    return out / source.name.with_name(f"{source.name.name}{files.result}")


def inputs_below(folder: Path, out: Path, files: Files = PICTURES) -> list[Input]:
    """The inputs of a folder and of the folders in it, but hidden ones and those in `out`.

    Raises:
        ConfigError: `out` is the folder.
        DataError: a folder cannot be read.
    """
    if folder.resolve() == out.resolve():
        raise ConfigError(f"--out {out}: is the folder of the {files.one}s; give another one")
    inner = out.resolve()
    return [
        Input(path, path.relative_to(folder).with_suffix(""))
        for path in sorted(files_below(folder))
        if path.suffix.lower() in files.suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.resolve().is_relative_to(inner)
    ]


def _expanded(given: str, out: Path, files: Files) -> list[Input]:
    if Path(given).is_dir():
        return inputs_below(Path(given), out, files)
    return [Input(path, Path(path.stem)) for path in _matching(given)]


def _matching(given: str) -> list[Path]:
    """The file, or those of the pattern."""
    paths = [Path(given)] if Path(given).exists() else sorted(map(Path, glob.glob(given, recursive=True)))  # noqa: PTH207
    return [path for path in paths if path.is_file()]


class Part(NamedTuple):
    """A member of a tar, or a whole file."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Its bytes. Raises OSError if the file cannot be read."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


class Stored(NamedTuple):
    """A picture's code in a file, and the record of its size if there is one."""

    where: str
    name: str
    """Of the result, below its folder, without a suffix."""
    code: Part
    record: Part | None


def find_codes(given: Sequence[str]) -> list[Stored]:
    """The codes in shards (*.tar), *.npy files, folders of them, and patterns.

    Raises:
        ConfigError: there are none, two results would have one name, or one would lie outside of the folder of results.
        DataError: a shard is damaged.
    """
    found: dict[str, Stored] = {}
    for each in given:
        folder = Path(each) if Path(each).is_dir() else None
        paths = _matching(each) if folder is None else sorted(files_below(folder))
        there = [stored for path in paths for stored in _stored(path, folder or path.parent)]
        if not there:
            raise ConfigError(f"{each}: no codes there; give shards (*.tar), *.npy files, folders or patterns of them")
        for stored in there:
            first = found.setdefault(stored.name, stored)
            if first.code != stored.code:
                raise ConfigError(
                    f"{first.where} and {stored.where}: both results would be {stored.name}.png; rename one"
                )
            if ".." in PurePosixPath(stored.name).parts or stored.name.startswith("/"):
                raise ConfigError(f"{stored.where}: its result would lie outside of the folder of results; rename it")
    return list(found.values())


def _stored(path: Path, folder: Path) -> list[Stored]:
    if path.name.startswith("."):
        return []
    if path.suffix == ".npy":
        name, beside = path.relative_to(folder).with_suffix("").as_posix(), path.with_suffix(".json")
        record = _whole(beside) if beside.is_file() else None
        return [Stored(str(path), name, _whole(path), record)]
    if path.suffix != ".tar":
        return []
    records = _members(path, "json")
    return [Stored(f"{path}: {key}", key, part, records.get(key)) for key, part in _members(path, "npy").items()]


def _whole(path: Path) -> Part:
    return Part(path, 0, path.stat().st_size)


def _members(shard: Path, extension: str) -> dict[str, Part]:
    """By key. Raises DataError if the shard is damaged, or has two of one key."""
    _, found = scan_tar(shard, str(shard), labelled=False, left_out=LeftOut(), extensions=[extension])
    if len(set(found["key"])) < len(found["key"]):
        raise DataError(f"{shard}: has several samples of one key; write it again")
    places = zip(found["key"], found["offset"], found["size"], strict=True)
    return {key: Part(shard, offset, size) for key, offset, size in places}
