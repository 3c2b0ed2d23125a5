"""Files, folders and patterns on the command line, as pictures with the names of their results."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gandist.data.walk import files_below
from gandist.errors import ConfigError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
"""Of files that are taken from folders."""


class Input(NamedTuple):
    """A picture, and the name of its result."""

    path: Path
    name: Path
    """Below the folder of results, without a suffix."""


def find_inputs(given: Sequence[str], out: Path) -> list[Input]:
    """The pictures, in the order given; those of a folder, and of the folders in it, sorted by name.

    Results of a folder's pictures keep their folders; those of files lie in `out` itself. What lies in `out` is no
    input of a folder that `out` lies in.

    Raises:
        ConfigError: there are none, two results would have one name, or one would replace its input.
    """
    found: dict[Path, Input] = {}
    for each in given:
        there = _expanded(each, out)
        if not there:
            raise ConfigError(f"{each}: no picture there; give files, folders or patterns of {', '.join(SUFFIXES)}")
        for source in there:
            first = found.setdefault(source.name, source)
            if first.path.resolve() != source.path.resolve():
                raise ConfigError(
                    f"{first.path} and {source.path}: both results would be {out / source.name}.png; rename one, "
                    "or apply the run to each in turn, with another --out"
                )
    for source in found.values():
        if result_of(source, out).resolve() == source.path.resolve():
            raise ConfigError(f"--out {out}: the result would replace {source.path}; give another folder")
    return list(found.values())


def result_of(source: Input, out: Path) -> Path:
    """The file of a picture's result."""
    return out / source.name.with_name(f"{source.name.name}.png")


def pictures_below(folder: Path, out: Path) -> list[Input]:
    """The pictures of a folder and of the folders in it, but hidden ones and those in `out`.

    Raises:
        ConfigError: `out` is the folder.
        DataError: a folder cannot be read.
    """
    if folder.resolve() == out.resolve():
        raise ConfigError(f"--out {out}: is the folder of the pictures; give another one")
    inner = out.resolve()
    return [
        Input(path, path.relative_to(folder).with_suffix(""))
        for path in sorted(files_below(folder))
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.resolve().is_relative_to(inner)
    ]


def _expanded(given: str, out: Path) -> list[Input]:
    path = Path(given)
    if path.is_dir():
        return pictures_below(path, out)
    paths = [path] if path.exists() else sorted(map(Path, glob.glob(given, recursive=True)))  # noqa: PTH207
    return [Input(each, Path(each.stem)) for each in paths if each.is_file()]
