"""The form that samples get in shards, by their medium and the options of `gandist.pack`."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from gandist.errors import DataError
from gandist.media import footage, passage, picture, recording
from gandist.media.formats import FORMATS


class Form(Protocol):
    """How samples are written."""

    @property
    def format(self) -> str:
        """Extension of the files in shards."""

    def encoded(self, given: Any, note: Callable[[str], None]) -> list[bytes]:
        """The files that one sample of a source becomes, most often one.

        Args:
            given: what the source's samples hold (`data.samples.Sample.image`).
            note: called with what was done to a sample that a user should know: "longer than 1 s and cut".

        Raises:
            Exception: the sample is broken; any, as decoders raise them.
        """

    def encode_pair(self, input: bytes | np.ndarray, target: Any) -> tuple[bytes, bytes]:
        """Both files of a pair, made alike; raises as `encoded` does."""


FORMS: dict[str, type[picture.Picture] | type[recording.Recording] | type[footage.Footage] | type[passage.Passage]] = {
    "image": picture.Picture,
    "audio": recording.Recording,
    "video": footage.Footage,
    "text": passage.Passage,
}
CHOICES: dict[str, dict[str, tuple[object, ...]]] = {
    "image": {"channels": (1, 3), "format": tuple(picture.ENCODINGS), "crop": ("center", "none")},
    "audio": {"channels": (1, 2), "format": tuple(recording.ENCODINGS)},
    "video": {"channels": (1, 3), "format": footage.ENCODINGS, "crop": ("center", "none")},
    "text": {},
}
OF_SOURCES = {"image": ("pairs", "pairs_halves"), "text": ("text_column", "lines", "chunks")}
"""Options for a medium that are no field of its form."""
OF_CLIPS = ("frames", "stride", "fps", "windows", "short")
"""Options that say by themselves that samples are clips."""


def medium_meant(options: Mapping[str, Any]) -> str | None:
    """The medium that the options are for, if they say so: "video", for options and formats of clips alone."""
    of_clips = any(options.get(name) is not None for name in OF_CLIPS) or options.get("format") in ("apng", "mp4")
    return "video" if of_clips else None


def form_of(medium: str, src: str, options: Mapping[str, Any]) -> Form:
    """The form of these options, None for their defaults.

    Raises:
        DataError: one is not for this medium; the message begins with `src` and names the option.
    """
    form, fields = FORMS[medium], {}
    for name, value in options.items():
        if value is None or name in OF_SOURCES.get(medium, ()):
            continue
        flag = f"--{name.replace('_', '-')}"
        if name not in form._fields:
            other = next(each for each, kind in FORMS.items() if name in (*kind._fields, *OF_SOURCES.get(each, ())))
            raise DataError(
                f"{src}: holds {FORMATS[medium].plural}, and {flag} is for {FORMATS[other].plural}; leave it out"
            )
        choices = CHOICES[medium].get(name)
        if choices is not None and value not in choices:
            raise DataError(
                f"{src}: holds {FORMATS[medium].plural}, whose {flag} is {' or '.join(map(str, choices))}, not {value}"
            )
        fields[name] = value
    made = form(**fields)
    if isinstance(made, footage.Footage) and (fault := footage.check(made)):
        raise DataError(f"{src}: {fault}")
    if isinstance(made, passage.Passage) and (wrong := passage.check(made)):
        raise DataError(f"{src}: {wrong}")
    return made
