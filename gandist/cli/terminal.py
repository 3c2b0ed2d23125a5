"""Progress of long work: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

from gandist.cli.text import number

logger = logging.getLogger("gandist")

LINE_S = 10.0
"""Minimum seconds between two lines about the same work."""
WAITING_BAR = "{desc} ({elapsed})"
COUNTING_BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} ({elapsed}, {remaining} left)"
TRAINING_BAR = "{percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt}{postfix} ({elapsed})"


class Progress:
    """Progress of a training run: a bar with the main values of the newest row, or a line of at most eight fields.

    Off a terminal a row gets a line if the previous line is `LINE_S` old, if the row has an evaluation or a changed
    verdict, or if it is the run's last. Each full row goes to the logger `gandist` at level DEBUG.

    Args:
        total_images: length of the run.
        images_seen: start of this process's part.
        stream: stream for the bar if it is a terminal; standard error by default.
        rows: whether to show rows; a verbose command shows their DEBUG records instead.
        many: what samples are called, in the plural.
    """

    def __init__(
        self,
        total_images: int,
        images_seen: int = 0,
        stream: TextIO | None = None,
        *,
        rows: bool = True,
        many: str = "images",
    ) -> None:
        stream = stream or sys.stderr
        self._total, self._rows, self._many = total_images, rows, many
        self._distance, self._verdict, self._line_s = "", "", -math.inf
        self._bar: tqdm[Any] | None = None
        if rows and stream.isatty():
            self._bar = tqdm(
                total=total_images,
                initial=images_seen,
                unit_scale=True,
                dynamic_ncols=True,
                bar_format=TRAINING_BAR.replace("{total_fmt}", f"{{total_fmt}} {many}"),
                file=stream,
            )

    def tick(self, row: Mapping[str, Any]) -> None:
        """Show a row of metrics, which has `images_seen`; all other fields are optional."""
        logger.debug("tick %s", line({**row, "total_images": self._total}))
        evaluated = self._take_distance(row)
        verdict = str(row.get("verdict", ""))
        fields = [f"{min(1, row['images_seen'] / self._total):.0%}", *self._fields(row)]
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(fields[1:]), refresh=False)
            self._bar.update(row["images_seen"] - self._bar.n)
            self._bar.refresh()
        elif self._rows:
            due = time.monotonic() - self._line_s >= LINE_S
            if due or evaluated or verdict != self._verdict or row["images_seen"] >= self._total:
                logger.info("%s", "  ".join([f"{row['images_seen']:,} of {self._total:,} {self._many}", *fields]))
                self._line_s = time.monotonic()
        self._verdict = verdict

    def refresh(self) -> None:
        """Update the bar's clock."""
        if self._bar is not None:
            self._bar.refresh()

    def _take_distance(self, row: Mapping[str, Any]) -> bool:
        """Keep the newest Fréchet distance, the first measure of a row with an evaluation; whether this row has one."""
        for key, value in row.items():
            if key.startswith("quality/"):
                self._distance = f"{key.removeprefix('quality/')} {_finite(value)}"
                return True
        return False

    def _fields(self, row: Mapping[str, Any]) -> Iterator[str]:
        speed = row.get("img_per_s") or 0.0
        if speed > 0 and math.isfinite(eta_s := max(0, self._total - row["images_seen"]) / speed):
            yield f"{speed:,.0f} {'img' if self._many == 'images' else self._many}/s"
            yield f"{duration(eta_s)} left"
        for player in "DG":
            if f"loss/{player}" in row:
                yield f"{player} {_finite(row[f'loss/{player}'])}"
        if self._distance:
            yield self._distance
        if "verdict" in row:
            yield str(row["verdict"])

    def close(self) -> None:
        """Leave the bar on the screen."""
        if self._bar is not None:
            self._bar.close()


class Counter:
    """Counts towards a total: a bar on a terminal, elsewhere a line every `LINE_S` seconds to the logger `gandist`.

    Args:
        what: the work, such as "packing".
        total: the final count; None if unknown.
        unit: the counted things, in the plural.
        shown: False hides the counter.
    """

    def __init__(self, what: str, total: int | None, unit: str = "images", *, shown: bool = True) -> None:
        self._what, self._total, self._unit, self._shown = what, total, unit, shown
        self._done, self._start, self._lock = 0, time.monotonic(), threading.Lock()
        self._line_s = self._start
        self._bar = tqdm(
            total=total,
            desc=what,
            unit=f" {unit}",
            dynamic_ncols=True,
            disable=not (shown and sys.stderr.isatty()),
            bar_format=COUNTING_BAR if total else None,
        )

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bar on the screen."""
        self._bar.close()

    def add(self, n: int = 1) -> None:
        """Count `n` more; callable from any thread."""
        with self._lock:
            self._done += n
            self._bar.update(n)
            now = time.monotonic()
            if not self._shown or not self._bar.disable or now - self._line_s < LINE_S:
                return
            self._line_s = now
            of, left = "", ""
            if self._total:
                of = f" of {self._total:,}"
                left = f", {duration((now - self._start) * (self._total - self._done) / max(1, self._done))} left"
            logger.info("%s: %s%s %s%s", self._what, f"{self._done:,}", of, self._unit, left)


@contextmanager
def waiting(what: Callable[[], str], stream: TextIO | None = None, every_s: float = LINE_S) -> Iterator[None]:
    """Within, show the reason and duration of a wait: on one line of a terminal, elsewhere every `every_s` seconds."""
    stream = stream or sys.stderr
    ended, start = threading.Event(), time.monotonic()

    def lines() -> None:
        while not ended.wait(every_s):
            logger.info("%s (%s)", what(), duration(time.monotonic() - start))

    def bar() -> None:
        with tqdm(bar_format=WAITING_BAR, desc=what(), leave=False, dynamic_ncols=True, file=stream) as shown:
            while not ended.wait(0.5):
                shown.set_description_str(what(), refresh=True)

    if not stream.isatty():
        logger.info("%s", what())
    thread = threading.Thread(target=bar if stream.isatty() else lines, name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def line(row: Mapping[str, object]) -> str:
    """`key=value` pairs in the row's order; floats to 5 significant digits."""
    return " ".join(
        f"{key}={value:.5g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.items()
    )


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: `1:02:05`, `2:05`, `0:05`."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


def _finite(value: float | None) -> str:
    """A number of a row as text; None stands for a value that was not finite."""
    return "nan" if value is None else number(value)
