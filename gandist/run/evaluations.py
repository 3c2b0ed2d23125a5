"""The evaluations of a run: `evaluations.jsonl` on its storage, one line per evaluation with its protocol."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gandist.run.progress import RunLog, decode
from gandist.storage.storage import Storage

FILE = "evaluations.jsonl"
BY = "by_"
"""Begins the keys of an evaluation's groups."""
TEMPERATURES = "temperatures.jsonl"
"""The newest checkpoint, or another one, measured at several temperatures."""
COMPARABLE = ("extractor", "extractor_sha256", "n_real", "n_fake", "resize", "real_fingerprint", "seed", "best_by")
"""Protocol keys that must be equal for two evaluations to be comparable."""

Evaluation = dict[str, Any]
"""`images_seen`, `measures` by name, and the `protocol`."""


class MeasuredGroup(NamedTuple):
    """The measures of some of the samples."""

    n: int
    """Number of these samples; without any there are no measures."""
    measures: dict[str, float]
    baseline: tuple[str, dict[str, float]] | None = None
    """Name and measures of the best that needs no learning, for the same samples."""

    def plain(self) -> dict[str, Any]:
        found: dict[str, Any] = {"n": self.n, **_finite(self.measures)}
        if self.baseline is not None:
            name, measures = self.baseline
            found["baseline"] = {"name": name, **_finite(measures)}
        return found


class Result(NamedTuple):
    """The measures of a generator."""

    measures: dict[str, float]
    images_seen: int
    protocol: dict[str, Any]
    baselines: Mapping[str, dict[str, float]] = {}
    """Some of the same measures of what needs no learning, such as bicubic enlargement or real samples, by name; the
    best first."""
    groups: Mapping[tuple[str, str], MeasuredGroup] = {}
    """Groups of samples, by what they differ in and name: `("mask", "box")`."""

    def plain(self) -> Evaluation:
        """As for JSON: a value that is not finite, such as the error of a single estimate, becomes None. Groups are
        below `by_` and what they differ in: `by_mask`."""
        found: Evaluation = {"images_seen": self.images_seen, "measures": _finite(self.measures)}
        if self.baselines:
            found["baselines"] = {name: _finite(measures) for name, measures in self.baselines.items()}
        for (by, name), group in self.groups.items():
            found.setdefault(f"{BY}{by}", {})[name] = group.plain()
        return {**found, "protocol": self.protocol}


def _finite(measures: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in measures.items()}


def read(storage: Storage) -> list[Evaluation]:
    """All evaluations of a run, oldest first."""
    return decode(storage.read_bytes(FILE) or b"")


def keep_temperatures(storage: Storage, results: Sequence[Result]) -> None:
    """Write a generator's measures at several temperatures, which their protocols name, in place of earlier ones."""
    lines = "".join(f"{json.dumps(result.plain())}\n" for result in results)
    storage.write_bytes(TEMPERATURES, lines.encode())


def read_temperatures(storage: Storage) -> list[Evaluation]:
    """What `keep_temperatures` has written; nothing if it has not."""
    return decode(storage.read_bytes(TEMPERATURES) or b"")


HIGHER = (
    *("psnr", "ssim", "stoi", "is", "precision", "recall", "density", "coverage", "variety", "recognised"),
    *("novel", "dictionary", "unique", "distinct", "bleu"),
)
"""Measures of which higher values are better; the first word of their names."""


def score(evaluation: Evaluation) -> tuple[str, float]:
    """Name and value of the measure that selects the best checkpoint: `eval.best`, else the Fréchet distance, which
    comes first. The worst value if it was not finite."""
    measures = evaluation["measures"]
    name = evaluation["protocol"].get("best_by") or next(iter(measures))
    value = measures.get(name)
    return name, (-math.inf if is_higher_better(name) else math.inf) if value is None else value


def is_higher_better(name: str) -> bool:
    return name.partition("_")[0] in HIGHER


def best(evaluations: list[Evaluation]) -> int | None:
    """Images seen at the best `score`, among evaluations comparable with the newest one."""
    if not evaluations:
        return None
    newest, (name, _) = evaluations[-1]["protocol"], score(evaluations[-1])
    like = [each for each in evaluations if all(each["protocol"].get(k) == newest.get(k) for k in COMPARABLE)]
    sign = -1 if is_higher_better(name) else 1
    return int(min(like, key=lambda each: sign * score(each)[1])["images_seen"])


class Evaluations:
    """The evaluations of a run in progress; opening drops those past `images_seen`."""

    def __init__(self, storage: Storage, images_seen: int) -> None:
        self._log = RunLog(storage, images_seen, FILE)
        self._all = read(storage)

    def best(self, images_seen: int | None = None) -> int | None:
        """Images seen at the best evaluation up to `images_seen`."""
        return best([each for each in self._all if images_seen is None or each["images_seen"] <= images_seen])

    def add(self, result: Result) -> None:
        self._log.append(evaluation := result.plain())
        self._all.append(evaluation)

    def close(self) -> None:
        self._log.close()
