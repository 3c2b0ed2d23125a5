"""Files of your own, which add networks, objectives, penalties or augmentations to gandist's tables.

Such a file imports a table and sets an entry: `NETWORKS["mine"] = Pair(...)`. It runs once a process, before the
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
"""Of a run: keeps the files that its configuration imports."""

executed: dict[str, str] = {}
"""The text of files that were run in this process, by the paths that configurations name them by."""


def load(paths: Iterable[str], beside: Path | None = None) -> None:
    """Run the files, found in the folder `beside` or else from the working directory; once each.

    A file that is no longer there, but was run, is as it was: a run's own copy, or what a driver handed on.

    Raises:
        ConfigError: there is no such file, it fails, or another one of that name was run.
    """
    for path in paths:
        places = [folder / local_path(path, "imports") for folder in (beside, Path()) if folder is not None]
        found = next((file for file in places if file.is_file()), None)
        if found is not None:
            run({path: found.read_text()})
        elif path not in executed:
            raise ConfigError(f"imports: {path}: no such file, here or beside the configuration")


def run(sources: Mapping[str, str]) -> None:
    """Run files given as text, by the paths that configurations name them by; once each.

    Raises:
        ConfigError: one fails, or another one of that name was run.
    """
    for path, source in sources.items():
        if executed.get(path, source) != source:
            raise ConfigError(f"imports: {path}: another file of this name was run already in this process; rename one")
        if path in executed:
            continue
        module = types.ModuleType(f"gandist_imports_{Path(path).stem}")
        module.__file__ = path
        sys.modules[module.__name__] = module  # where dataclasses look up the classes of a module
        try:
            exec(compile(source, path, "exec"), module.__dict__)
        except Exception as error:  # whatever a user's file raises
            raise ConfigError(f"imports: {path}: {type(error).__name__}: {error}") from error
        executed[path] = source


def sources(paths: Iterable[str]) -> dict[str, str]:
    """The text of files that were run, by their paths."""
    return {path: executed[path] for path in paths}


def digests(paths: Iterable[str]) -> dict[str, str]:
    """sha256 of files that were run, by their names."""
    return {Path(path).name: hashlib.sha256(executed[path].encode()).hexdigest() for path in paths}
