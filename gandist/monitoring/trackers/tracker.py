"""The interface of a tracker, and the parts of a row that trackers show."""

import io
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from PIL import Image

from gandist.config.run import RunConfig
from gandist.media.medium import Preview
from gandist.monitoring.health import Row
from gandist.storage.storage import Storage


class Start(NamedTuple):
    """Position where a run starts or resumes."""

    config: RunConfig
    storage: Storage
    images_seen: int
    written: int


class Tracker(Protocol):
    """Receives a run's data. Any call may fail: the run goes on."""

    def row(self, row: Row) -> None:
        """Receive a row of `metrics.jsonl`, with `images_seen` as the step."""

    def preview(self, images_seen: int, preview: Preview) -> None:
        """Receive samples of G.

        Raises:
            ValueError: the tracker cannot show samples of this kind.
        """

    def roll_back_to(self, images_seen: int) -> None:
        """The run resumes from an earlier checkpoint: later data is void."""

    def close(self) -> None:
        """Send the rest."""


def image_of(preview: Preview) -> Image.Image:
    """A preview that is an image; of one that plays its strip.

    Raises:
        ValueError: it is none.
    """
    if preview.plays:
        return Image.open(io.BytesIO(preview.still))
    if not preview.mime.startswith("image/"):
        raise ValueError(f"samples are {preview.mime} here, and images alone are shown; they lie in the run's samples/")
    return Image.open(io.BytesIO(preview.content))


@contextmanager
def files_of(contents: Mapping[str, bytes]) -> Iterator[list[Path]]:
    """Files of these names and contents, for libraries that take no bytes."""
    with tempfile.TemporaryDirectory(prefix="gandist-") as folder:
        files = [Path(folder) / name for name in contents]
        for file, content in zip(files, contents.values(), strict=True):
            file.write_bytes(content)
        yield files


def sound_files(sounds: Sequence[bytes]) -> AbstractContextManager[list[Path]]:
    """The sounds as files `0.wav` and so on."""
    return files_of({f"{number}.wav": sound for number, sound in enumerate(sounds)})


def scalars(row: Row) -> dict[str, float]:
    """The finite numbers of a row, without its step and its time."""
    return {
        key: float(value)
        for key, value in row.items()
        if key not in ("images_seen", "time_s") and isinstance(value, int | float) and math.isfinite(value)
    }


def notes(row: Row) -> dict[str, str]:
    """The texts of a row: why a run is not healthy, and that it was rolled back."""
    said = {"health": f"{row.get('verdict')}: {row['reason']}"} if row.get("reason") else {}
    return said | ({"rollback": str(row["rollback"])} if row.get("rollback") else {})
