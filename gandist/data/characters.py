"""The characters that the texts of shards hold."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gandist.errors import DataError
from gandist.media.alphabets import text_of


def characters_in(path: Path, samples: Mapping[str, list[Any]]) -> tuple[set[str], list[str]]:
    """The characters of the texts in the shard at `path`, but that of number 0, and the keys of those that are no
    UTF-8.

    Args:
        samples: columns as `tars.scan_tar` gives them; those of other media hold no texts.
    """
    found: set[str] = set()
    unreadable: list[str] = []
    if "txt" not in samples["ext"]:
        return found, unreadable
    data = path.read_bytes()
    for key, ext, offset, size in zip(*(samples[name] for name in ("key", "ext", "offset", "size")), strict=True):
        if ext == "txt":
            try:
                found.update(text_of(data[offset : offset + size]))
            except DataError:
                unreadable.append(key)
    return found - {"\0"}, unreadable
