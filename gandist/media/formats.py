"""The files that hold a sample, by the name of their medium: in shards, and in what shards are packed from."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gandist.errors import DataError
from gandist.media import clip, decode, sound


class Formats(NamedTuple):
    """The files of a medium."""

    noun: str
    """What messages call a sample."""
    in_shards: tuple[str, ...]
    """Extensions, without the dot, of the files in shards that hold a sample (`Medium.extensions`)."""
    packed: tuple[str, ...]
    """Suffixes, with the dot, of the files that `gandist.pack` reads."""

    @property
    def plural(self) -> str:
        return f"{self.noun}s"


FORMATS = {
    "image": Formats(
        "image",
        decode.EXTENSIONS,
        (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
    ),
    "audio": Formats(
        "sound",
        sound.EXTENSIONS,
        (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64"),
    ),
    "text": Formats("text", ("txt",), (".txt",)),
    "video": Formats(
        "clip",
        clip.EXTENSIONS,
        (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".apng", ".webp", ".png"),
    ),
}
"""By the names that `data.medium` takes. Plug-ins' media are not among them: their shards are indexed by code."""
APART = frozenset(suffix for medium, each in FORMATS.items() if medium != "text" for suffix in each.packed)
"""Suffixes of files that are samples wherever they lie. (A text beside one of them is its caption.)"""


def one_medium(where: str, held: Mapping[str, str]) -> str | None:
    """The medium of what is held, an example of each medium's files; None if there is nothing.

    Raises:
        DataError: there are several; the message begins with `where`.
    """
    media = [medium for medium in FORMATS if medium in held]
    if len(media) > 1:
        kinds = " and ".join(f"{FORMATS[medium].plural} ({held[medium]}, ...)" for medium in media)
        raise DataError(f"{where}: holds {kinds}; say which to take: --medium {' or --medium '.join(media)}")
    return next(iter(held), None)


def medium_by_suffix(suffix: str) -> str | None:
    """The medium of a file in what shards are packed from, by its suffix. GIF, WebP and PNG are taken for pictures."""
    return next((medium for medium, formats in FORMATS.items() if suffix.lower() in formats.packed), None)


def media_of(extensions: Iterable[str]) -> list[str]:
    """The media whose shards hold files of these extensions. WebP and PNG are taken for pictures, a text beside
    something else for its caption."""
    held = set(extensions)
    clips = held - set(decode.EXTENSIONS)
    text = FORMATS["text"].in_shards
    if any(held.intersection(each.in_shards) for each in FORMATS.values() if each.in_shards != text):
        held -= set(text)
    return [
        medium
        for medium, formats in FORMATS.items()
        if (clips if medium == "video" else held).intersection(formats.in_shards)
    ]


def noun_of(extensions: Iterable[str]) -> str:
    """What messages call the samples in files of these extensions; "sample" if they are not of one medium here."""
    held = set(extensions)
    media = media_of(held)
    if media == ["image", "video"] and held.issubset(FORMATS["video"].in_shards):
        return FORMATS["video"].noun
    return FORMATS[media[0]].noun if len(media) == 1 else "sample"
