"""The records of a run, read from its storage for its page: configuration, rows, sample grids, checkpoint facts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gandist.conditions.kinds import AUTO
from gandist.config.run import parse
from gandist.errors import ConfigError
from gandist.media.kinds import MEDIA
from gandist.media.medium import PLAYS, SOUNDS, Preview
from gandist.run import attempt, checkpoint, evaluations, previews
from gandist.run.progress import METRICS_FILE, decode
from gandist.run.trained import open_run
from gandist.storage.storage import Storage
from gandist.training.grid import ROWS

MOST_GRIDS = 24
GAP_S = 2.0
"""Seconds between two rows that the later tick's time may leave unexplained; a longer gap means a new process."""


TEXT_ROWS = 20
"""Texts of a grid on the page."""
LONG_TEXT, LONG_TEXTS = 40, 6
"""Characters of the newest texts, in the mean, from which on so many grids are shown."""


class TextsOverTime(NamedTuple):
    """What the same latents became, as a table."""

    columns: list[str]
    """Images seen."""
    rows: list[tuple[str, list[str]]]
    """Texts by what the row shows: a class, or its number."""


class Mark(NamedTuple):
    """An event between two rows."""

    images_seen: int
    kind: str
    text: str


@dataclass(frozen=True)
class RecordedRun:
    """A run as recorded in its files."""

    address: str
    config_yaml: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    evaluations: list[evaluations.Evaluation]
    """Oldest first; the rows have their values too, the protocol is here alone."""
    samples: dict[int, Preview]
    """By images seen, thinned out; the earlier ones with fewer of their sounds, or none, and only the newest plays."""
    n_samples: int
    n_sounds: int
    """Sounds of the newest grid, here or not."""
    captions: list[str]
    checkpoints: list[int]
    manifest: dict[str, Any]
    """Facts of the newest checkpoint; empty without one."""
    attempts: int

    @property
    def name(self) -> str:
        named = self.config.get("run", {}).get("name")
        return str(named or Path(self.address).name)

    @property
    def labels(self) -> list[str]:
        """Labels of the sample grid's rows: captions or classes; empty if G has no condition."""
        classes = 0 if self.given else self.config.get("model", {}).get("classes") or 0
        return self.captions or [f"class {number}" for number in range(min(classes, ROWS))]

    @property
    def nouns(self) -> tuple[str, str]:
        """What a sample of its medium is called, and several."""
        medium = MEDIA.get(self.config.get("data", {}).get("medium", "image"))
        return medium.model_construct().nouns if medium else ("sample", "samples")

    @property
    def heard(self) -> list[str]:
        """Labels of the sounds of a sample grid; empty for its rows' numbers."""
        if self.given:
            return [f"{said} {number + 1}" for number in range(SOUNDS) for said in ("input", "output", "target")]
        return self.labels

    @property
    def left_out(self) -> str:
        """Which sounds of the sample grids are left out, in words; empty if none are."""
        n = [len(preview.sounds) for preview in self.samples.values()]
        if not n or not self.n_sounds or min(n) == self.n_sounds:
            return ""
        earlier = f"those of earlier grids {n[0]}" if n[0] else "earlier grids none"
        said = f", {earlier}" if len(n) > 1 else ""
        return f"To keep the page small, the newest grid has {n[-1]} of its {self.n_sounds} sounds here{said}."

    @property
    def given(self) -> str:
        """`condition.kind` if G is given samples; else empty."""
        condition = self.config.get("condition")
        kind = condition.get("kind") if isinstance(condition, dict) else None
        return kind if isinstance(kind, str) and kind != AUTO else ""

    @property
    def texts(self) -> TextsOverTime | None:
        """The sample grids as a table, if samples are texts: every so many of their lines."""
        lines = {seen: preview.lines for seen, preview in self.samples.items()}
        n = min(map(len, lines.values()), default=0)
        if not n:
            return None
        chosen = np.unique(np.linspace(0, n, min(n, TEXT_ROWS), endpoint=False).astype(int)).tolist()
        seen = list(lines)
        if sum(len(lines[seen[-1]][at]) for at in chosen) > LONG_TEXT * len(chosen):
            seen = [seen[at] for at in np.unique(np.linspace(0, len(seen) - 1, min(len(seen), LONG_TEXTS)).astype(int))]
        labels = {at: self.labels[at * len(self.labels) // n] if self.labels else str(at + 1) for at in chosen}
        return TextsOverTime(
            [f"{each:,}" for each in seen], [(labels[at], [lines[each][at] for each in seen]) for at in chosen]
        )

    @property
    def newest(self) -> Preview | None:
        return self.samples[max(self.samples)] if self.samples else None

    def total(self, key: str) -> float:
        return float(sum(row.get(key) or 0 for row in self.rows))

    def marks(self) -> list[Mark]:
        """Restarts, rollbacks, and changes of the run's health verdict."""
        found: list[Mark] = []
        nothing: dict[str, Any] = {"images_seen": 0}
        for before, row in zip([nothing, *self.rows], self.rows, strict=False):
            if why := _restart(before, row):
                found.append(Mark(before["images_seen"], "restart", why))
            if row.get("rollback"):
                found.append(Mark(before["images_seen"], "rollback", f"rolled back {row['rollback']}"))
        verdict: str = "healthy"
        for row in self.rows:
            if row.get("verdict", verdict) != verdict:
                verdict = str(row["verdict"])
                reason = f": {row['reason']}" if row.get("reason") else ""
                found.append(Mark(row["images_seen"], "verdict", f"{verdict}{reason}"))
        return sorted(found)


def _restart(before: dict[str, Any], row: dict[str, Any]) -> str:
    """The restart between two rows, in words; empty if one process wrote both."""
    sizes = before.get("world_size"), row.get("world_size")
    if None not in sizes and sizes[0] != sizes[1]:
        return f"restarted: {sizes[0]} to {sizes[1]} workers"
    if "attempt" in before and "attempt" in row:
        return f"restarted: attempt {row['attempt']}" if before["attempt"] != row["attempt"] else ""
    if "time_s" in before and {"time_s", "tick_s"} <= row.keys():
        gap_s = row["time_s"] - before["time_s"] - row["tick_s"]
        return f"restarted after {gap_s:.0f} s" if gap_s > GAP_S else ""
    return ""


def read(run: str, samples_bytes: int, sounds_bytes: int = 0) -> RecordedRun:
    """Read a run without its weights; its sample grids take at most `samples_bytes` bytes, their sounds `sounds_bytes`.

    Raises:
        ConfigError: there is no run, or it has no metrics yet.
    """
    storage = open_run(run)
    written = storage.read_bytes("config.yaml") or b""
    rows = decode(storage.read_bytes(METRICS_FILE) or b"")
    if not rows:
        raise ConfigError(f"{storage.uri(METRICS_FILE)}: no metrics yet; the first come after train.tick_kimg")
    there = previews.listed(storage)
    sizes = _sizes(storage, there)
    seen = list(sizes)
    shown = [seen[i] for i in thinned(list(sizes.values()), MOST_GRIDS, samples_bytes)]
    samples, n_sounds = _samples(storage, {each: there[each].file for each in shown}, sounds_bytes)
    checkpoints = checkpoint.names(storage)
    manifest = f"{checkpoint.FOLDER}/{checkpoints[-1]}/{checkpoint.MANIFEST}" if checkpoints else checkpoint.MANIFEST
    return RecordedRun(
        address=storage.root,
        config_yaml=written.decode(),
        config=parse(written, storage.uri("config.yaml")),
        rows=rows,
        evaluations=evaluations.read(storage),
        samples=samples,
        n_samples=len(there),
        n_sounds=n_sounds,
        captions=(storage.read_bytes("samples/captions.txt") or b"").decode(errors="replace").splitlines(),
        checkpoints=[int(name) for name in checkpoints],
        manifest=_facts(storage.read_bytes(manifest)),
        attempts=_facts(storage.read_bytes(attempt.FILE)).get("attempt", 1),
    )


def _facts(data: bytes | None) -> dict[str, Any]:
    """A JSON object; empty if it is missing or torn, since the page can do without it."""
    try:
        facts = json.loads(data or b"{}")
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _sizes(storage: Storage, there: Mapping[int, previews.Listed]) -> dict[int, int]:
    """Bytes that each preview takes on a page: the newest plays, of earlier ones that do the strips are shown."""
    if not any(Path(each.file).suffix == PLAYS for each in there.values()):
        return {seen: each.size for seen, each in there.items()}
    strips, newest = previews.strips(storage), max(there)
    sizes = {seen: size for seen, size in strips.items() if seen in there}
    return dict(sorted({**sizes, newest: there[newest].size + strips.get(newest, 0)}.items()))


def _samples(storage: Storage, files: Mapping[int, str], sounds_bytes: int = 0) -> tuple[dict[int, Preview], int]:
    """Previews of these files by images seen, and how many sounds the newest has: with as many of them as fit, the
    others with equally many of the rest. Of earlier previews that play, their strips."""
    if not files:
        return {}, 0
    *earlier, seen = files
    newest = previews.read(storage, files[seen])
    room = sounds_bytes // max((len(sound) for sound in newest.sounds), default=1)
    kept = newest._replace(sounds=newest.sounds[:room])
    each = min(len(newest.sounds), (room - len(kept.sounds)) // max(1, len(earlier)))
    before = {
        at: previews.read_strip(storage, at) if newest.plays else previews.read(storage, files[at], each)
        for at in earlier
    }
    return {**before, seen: kept}, len(newest.sounds)


def thinned(sizes_bytes: Sequence[int], most: int, budget_bytes: int) -> list[int]:
    """Indices of at most `most` files with at most `budget_bytes` bytes in total: evenly spaced, with the first and
    the last. The last is always taken."""
    for n in range(min(most, len(sizes_bytes)), 1, -1):
        chosen = [int(i) for i in np.linspace(0, len(sizes_bytes) - 1, n).round()]
        if sum(sizes_bytes[i] for i in chosen) <= budget_bytes:
            return chosen
    return [len(sizes_bytes) - 1] if sizes_bytes else []
