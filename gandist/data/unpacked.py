"""Describes what is at a path instead of a packed set, and gives the command that packs it."""

import os
import shlex
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from gandist.data.idx import IDX_IMAGES
from gandist.data.index_files import CAPTIONS_FILE, SAMPLES_FILE, SHARDS_FILE, index_command
from gandist.data.listing import list_shards
from gandist.errors import DataError
from gandist.media.formats import APART
from gandist.media.formats import FORMATS as MEDIA
from gandist.storage.remote import is_remote

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
LOOKED_AT = 100_000
"""Maximum number of files of a folder searched for an image, and ..."""
MEMBERS = 200
"""... of members of a tar."""
PACKED = tuple(APART)
TEXTS = (".txt", ".jsonl", ".csv")
IN_SHARDS = tuple(extension for formats in MEDIA.values() for extension in formats.in_shards)
DEEP = 3
"""Maximum depth of folders searched for a set."""


def unpacked(path: str) -> str:
    """The message after `path`: what is there, and what to do about it. `path` holds no index."""
    if is_remote(path):
        return _far(path)
    place = Path(path)
    if "{" in path and not place.exists():
        return f": names shards, where the folder of their index is expected; {_indexed(path, str(place.parent))}"
    if not place.exists():
        return ": no such folder"
    return _folder(place) if place.is_dir() else _file(place)


def _far(path: str) -> str:
    name = path.partition("?")[0]
    if name.endswith((".zip", ".parquet", *COMPRESSED, *IDX_IMAGES, *PACKED, *TEXTS)):
        return (
            ": holds no index, and only shards are read from afar; fetch it to this machine, pack it: python -m "
            "gandist.pack FILE FOLDER, and set data.path=FOLDER"
        )
    if name.endswith(".tar") or "{" in name:
        return f": names shards, where the folder of their index is expected; {_indexed(path, 'FOLDER', 'FOLDER')}"
    if path.startswith(("http://", "https://")):
        return (
            f": holds no index ({SHARDS_FILE} is missing), and a web server does not list its shards; index them by "
            f"their names: {index_command(path)}, and set data.path=FOLDER"
        )
    try:
        list_shards(path)
    except DataError as error:
        return (
            f": holds no index and no shards ({str(error).removeprefix(f'{path}: ')}); fetch the set to this "
            "machine, pack them: python -m gandist.pack SOURCE FOLDER, and copy the folder there"
        )
    return f": holds no index ({SHARDS_FILE} is missing); write it: {index_command(path)}"


def _file(file: Path) -> str:
    name = file.name.lower()
    if name in (SHARDS_FILE, SAMPLES_FILE, CAPTIONS_FILE) and (file.parent / SHARDS_FILE).is_file():
        return f": is part of an index; name its folder: data.path={_said(file.parent)}"
    if name.endswith(".tar"):
        if (file.parent / SHARDS_FILE).is_file():
            return f": is one shard, and the index lies beside it; name the folder: data.path={_said(file.parent)}"
        return _no_images(file) or f": is a shard without an index; {_indexed(str(file), str(file.parent))}"
    if name.endswith(COMPRESSED):
        return f": is a compressed archive, which cannot be read by offset; unpack it into a folder: {_unpacking(file)}"
    if name.endswith((".zip", ".parquet", *IDX_IMAGES)):
        kind = {".zip": "a zip", ".parquet": "a Parquet table"}.get(file.suffix.lower(), "a file of images (IDX)")
        return f": is {kind}, which is not packed yet; {_packed(file)}"
    if name.endswith(TEXTS):
        return f": is a file of texts, which is not packed yet; {_packed(file)}"
    if name.endswith(PACKED):
        return f": is one {_noun(name)}, where a packed set is expected; {_packed(file.parent)}"
    return f": is no packed set, nor what one is made of ({FORMATS})"


FORMATS = "a folder of images, sounds, clips or texts, a zip, WebDataset tars, tables, a file of texts, IDX files"


def _folder(folder: Path) -> str:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        below = [each.parent for each in _found(folder) if each.name == SHARDS_FILE]
        first = next((each for each in _found(folder, 99) if each.name.lower().endswith(PACKED)), None)
    except OSError as error:
        return f": cannot be read: {error.strerror}"
    if below:
        return (
            f": holds no index, but a folder in it does; set data.path={' or data.path='.join(map(_said, below[:3]))}"
        )
    shards = [entry for entry in entries if entry.suffix == ".tar"]
    if shards and first is None:
        missing = f": holds shards without an index ({SHARDS_FILE} is missing); {_indexed(str(folder), str(folder))}"
        return _no_images(shards[0]) or missing
    pixels = [entry for entry in entries if entry.name.endswith(IDX_IMAGES)]
    if pixels and first is None:
        chosen = next((each for each in pixels if "train" in each.name), pixels[0])
        return f": holds IDX files, which are not packed yet; {_packed(folder if len(pixels) == 1 else chosen, folder)}"
    if any(entry.suffix == ".parquet" and entry.name not in (SAMPLES_FILE, CAPTIONS_FILE) for entry in entries):
        return f": holds Parquet tables, which are not packed yet; {_packed(folder)}"
    if first is not None:
        what = f"{_noun(first.name)}s that are not packed yet ({first.relative_to(folder)}, ...)"
        return f": holds {what}; {_packed(folder)}"
    if zips := [entry for entry in entries if entry.suffix.lower() == ".zip"]:
        return f": holds a zip ({zips[0].name}), which is not packed yet; {_packed(zips[0])}"
    if archives := [entry for entry in entries if entry.name.lower().endswith(COMPRESSED)]:
        return f": holds a compressed archive ({archives[0].name}); unpack it into a folder: {_unpacking(archives[0])}"
    kinds = (".tar", ".parquet", ".zip", *IDX_IMAGES)
    if deeper := next((each.parent for each in _found(folder) if each.name.endswith(kinds)), None):
        advice = _folder(deeper)
        itself = "" if "data.path=" in advice else f", and set data.path={_said(deeper)}"
        return f": holds nothing itself, but a folder in it does: {deeper}{advice}{itself}"
    if text := next((each for each in _found(folder, 99) if each.suffix.lower() == ".txt"), None):
        return f": holds texts that are not packed yet ({text.relative_to(folder)}, ...); {_packed(folder)}"
    return f": holds no packed set, nor what one is made of ({FORMATS})"


def _found(folder: Path, deep: int = DEEP) -> Iterator[Path]:
    """The visible files in a folder and below, nearest first in each folder, up to `LOOKED_AT`."""

    def walk() -> Iterator[Path]:
        for here, folders, files in os.walk(folder):
            folders[:] = sorted(each for each in folders if not each.startswith((".", "__MACOSX")))
            if len(Path(here).relative_to(folder).parts) >= deep:
                folders.clear()
            yield from (Path(here) / file for file in sorted(files) if not file.startswith("."))

    return islice(walk(), LOOKED_AT)


def _no_images(shard: Path) -> str:
    """The reason why a tar is not a shard; empty if it may be one."""
    try:
        with shard.open("rb") as file:
            if file.read(2) == b"\x1f\x8b":
                return f": {shard.name} is a compressed tar; unpack it into a folder: {_unpacking(shard)}"
        with tarfile.open(shard, "r:") as tar:
            if any(member.name.lower().endswith(IN_SHARDS) for member in islice(tar, MEMBERS)):
                return ""
    except (OSError, tarfile.TarError) as error:
        return f": {shard.name} cannot be read as a tar: {error}; fetch or write it again"
    kinds = " and none of the ".join(
        f"{each.plural} that shards hold ({', '.join(each.in_shards)})" for each in MEDIA.values()
    )
    return f": {shard.name} holds none of the {kinds}"


def _noun(name: str) -> str:
    return next(formats.noun for formats in MEDIA.values() if name.lower().endswith(formats.packed))


def _indexed(shards: str, folder: str, dest: str = "") -> str:
    """The advice for indexing shards, in `dest` if the index cannot be beside them."""
    if not is_remote(shards) and not os.access(folder, os.W_OK):
        folder = dest = str(_dest(Path(folder)))
    command = f"python -m gandist.pack {shlex.quote(shards)}{f' {shlex.quote(dest)}' if dest else ''} --index-only"
    return f"write it: {command}" + ("" if folder == shards else f", and set data.path={shlex.quote(folder)}")


def _packed(source: Path, named: Path | None = None) -> str:
    """The advice for packing a source; DEST is named after `named`."""
    dest = _dest(named or source)
    return f"pack: python -m gandist.pack {_said(source)} {_said(dest)}, and set data.path={_said(dest)}"


def _dest(source: Path) -> Path:
    """A folder that does not exist yet: beside the source, or in ./data if that cannot be written to."""
    name = Path(os.path.abspath(source)).name.partition(".")[0] or "images"  # noqa: PTH100
    parent = source.parent if source.name else Path("..")
    parent = parent if os.access(parent, os.W_OK) else Path("data")
    choices = [parent / f"{name}-packed", *(parent / f"{name}-packed-{number}" for number in range(2, 1000))]
    return next(choice for choice in choices if not choice.exists())


def _unpacking(archive: Path) -> str:
    dest = _dest(archive)
    images = dest.with_name(dest.name.replace("-packed", "-images"))
    return (
        f"mkdir -p {_said(images)} && tar xf {_said(archive)} -C {_said(images)}, pack that: python -m gandist.pack "
        f"{_said(images)} {_said(dest)}, and set data.path={_said(dest)}"
    )


def _said(path: Path) -> str:
    return shlex.quote(str(path))
