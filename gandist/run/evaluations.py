"""The evaluations of a run: `evaluations.jsonl` on its storage, one line per evaluation with its protocol."""

import math
from typing import Any, NamedTuple

from gandist.run.progress import RunLog, decode
from gandist.storage.storage import Storage

FILE = "evaluations.jsonl"
COMPARABLE = ("extractor", "extractor_sha256", "n_real", "n_fake", "resize", "real_fingerprint", "seed")
"""Protocol keys that must be equal for two evaluations to be comparable."""

Evaluation = dict[str, Any]
"""`images_seen`, `measures` by name, and the `protocol`."""


class Result(NamedTuple):
    """The measures of a generator."""

    measures: dict[str, float]
    images_seen: int
    protocol: dict[str, Any]

    def plain(self) -> Evaluation:
        """As for JSON: a value that is not finite, such as the error of a single estimate, becomes None."""
        measures = {name: value if math.isfinite(value) else None for name, value in self.measures.items()}
        return {"images_seen": self.images_seen, "measures": measures, "protocol": self.protocol}


def read(storage: Storage) -> list[Evaluation]:
    """All evaluations of a run, oldest first."""
    return decode(storage.read_bytes(FILE) or b"")


def distance(evaluation: Evaluation) -> tuple[str, float]:
    """Name and value of the Fréchet distance that selects the best checkpoint; infinite if it was not finite."""
    name, value = next(iter(evaluation["measures"].items()))
    return name, float("inf") if value is None else value


def best(evaluations: list[Evaluation]) -> int | None:
    """Images seen at the smallest Fréchet distance, among evaluations comparable with the newest one."""
    if not evaluations:
        return None
    newest = evaluations[-1]["protocol"]
    like = [each for each in evaluations if all(each["protocol"].get(k) == newest.get(k) for k in COMPARABLE)]
    return int(min(like, key=lambda each: distance(each)[1])["images_seen"])


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
