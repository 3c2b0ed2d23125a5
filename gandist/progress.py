"""What a run says of itself while it goes on: a bar or log lines, and the rows of `metrics.jsonl`."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO, TextIO

from tqdm import tqdm

from gandist.storage import Storage

logger = logging.getLogger("gandist")

METRICS_FILE = "metrics.jsonl"


class Progress:
    """A bar on a terminal; elsewhere one `key=value` line a tick, through the logger `gandist` (level INFO).

    Args:
        total_images: length of the run.
        images_seen: where this process takes it up; the bar's speed and ETA count from there.
        stream: where the bar is drawn if it is a terminal; standard error by default.
    """

    def __init__(self, total_images: int, images_seen: int = 0, stream: TextIO | None = None):
        stream = stream or sys.stderr
        self._total = total_images
        self._bar: tqdm[Any] | None = None
        if stream.isatty():
            self._bar = tqdm(
                total=total_images,
                initial=images_seen,
                unit="img",
                unit_scale=True,
                dynamic_ncols=True,
                file=stream,
            )

    def update(self, images_seen: int) -> None:
        """Move the bar; cheap enough for every step."""
        if self._bar is not None:
            self._bar.update(images_seen - self._bar.n)

    def tick(self, row: Mapping[str, float]) -> None:
        """Show a row of metrics, which has `images_seen` and may have `loss/D`, `loss/G` and `img_per_s`."""
        images_seen = int(row["images_seen"])
        if self._bar is None:
            logger.info("tick %s", line({**row, "total_images": self._total, **self._eta(row)}))
            return
        losses = {key.removeprefix("loss/"): f"{row[key]:.3f}" for key in ("loss/D", "loss/G") if key in row}
        self._bar.set_postfix(losses, refresh=False)
        self.update(images_seen)

    def _eta(self, row: Mapping[str, float]) -> dict[str, float]:
        speed = row.get("img_per_s", 0.0)
        eta_s = (self._total - row["images_seen"]) / speed if speed > 0 else math.inf
        return {"eta_s": round(eta_s)} if math.isfinite(eta_s) else {}

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def line(row: Mapping[str, object]) -> str:
    """`key=value` pairs in the row's order; floats to 5 significant digits."""
    return " ".join(
        f"{key}={value:.5g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.items()
    )


class RunLog:
    """`metrics.jsonl` of a run: one JSON object a line, each flushed as it is written.

    Opening drops the rows past `images_seen`, where the run takes up again, and a line that a crash tore. The first
    row puts a new file in place of the old one: what an older attempt that holds that one open still appends is lost.
    A storage that cannot append gets the whole file anew with each row.
    """

    def __init__(self, storage: Storage, images_seen: int = 0, name: str = METRICS_FILE):
        self._storage = storage
        self._name = name
        self._file: BinaryIO | None = None
        found = storage.read_bytes(name) or b""
        self._data = b"".join(encode(row) for row in decode(found) if row["images_seen"] <= images_seen)
        if self._data != found or not storage.exists(name):
            storage.write_bytes(name, self._data)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; it must hold `images_seen`."""
        if self._file is not None:
            self._storage.check()
            self._file.write(encode(row))
            self._file.flush()
            return
        self._data += encode(row)
        self._storage.write_bytes(self._name, self._data)
        if self._storage.local is not None:
            self._file, self._data = (self._storage.local / self._name).open("ab"), b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def encode(row: Mapping[str, Any]) -> bytes:
    """A row as a line of strict JSON, in which a number that is not finite is null."""
    row = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def decode(data: bytes) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, without lines that are not whole."""
    rows: list[dict[str, Any]] = []
    for text in data.split(b"\n"):
        try:
            row = json.loads(text)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("images_seen"), int):
            rows.append(row)
    return rows
