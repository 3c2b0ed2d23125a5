"""User files that add networks, objectives, penalties or augmentations to gandist's tables.

Such a file imports a table and sets an entry: `NETWORKS["mine"] = Pair(...)`. It runs once per process, before the
configuration that names it is checked.
"""

import hashlib
import sys
import types
from collections.abc import Iterable, Mapping
from pathlib import Path

from gandist.errors import ConfigError
from gandist.storage.remote import local_path

FOLDER = "imports"
"""Folder of a run that keeps the files imported by its configuration."""

executed: dict[str, str] = {}
"""Text of the files run in this process, by their paths in configurations."""


def load(paths: Iterable[str], beside: Path | None = None) -> None:
    """Run the files once each; they are found in the folder `beside`, else from the working directory.

    If a file was run before and is now missing, the earlier text stands: a run's own copy, or one that a driver passed.

    Raises:
        ConfigError: the file does not exist or fails, or a different file of that name was run.
    """
    for path in paths:
        places = [folder / local_path(path, "imports") for folder in (beside, Path()) if folder is not None]
        found = next((file for file in places if file.is_file()), None)
        if found is not None:
            run({path: found.read_text()})
        elif path not in executed:
            raise ConfigError(f"imports: {path}: no such file, here or beside the configuration")


def run(sources: Mapping[str, str]) -> None:
    """Run files given as text, by their paths in configurations; once each.

    Raises:
        ConfigError: a file fails, or a different file of that name was run.
    """
    for path, source in sources.items():
        if executed.get(path, source) != source:
            raise ConfigError(f"imports: {path}: another file of this name was run already in this process; rename one")
        if path in executed:
            continue
        module = types.ModuleType(f"gandist_imports_{Path(path).stem}")
        module.__file__ = path
        sys.modules[module.__name__] = module  # dataclasses look up their module here
        try:
            exec(compile(source, path, "exec"), module.__dict__)
        except Exception as error:  # a user's file may raise anything
            raise ConfigError(f"imports: {path}: {type(error).__name__}: {error}") from error
        executed[path] = source


def sources(paths: Iterable[str]) -> dict[str, str]:
    """The text of files already run, by path."""
    return {path: executed[path] for path in paths}


def digests(paths: Iterable[str]) -> dict[str, str]:
    """sha256 of files already run, by name."""
    return {Path(path).name: hashlib.sha256(executed[path].encode()).hexdigest() for path in paths}
