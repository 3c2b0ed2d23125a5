"""The evaluations of a run: `evaluations.jsonl` on its storage, a measurement with its protocol a line."""

import math
from typing import Any, NamedTuple

from gandist.run.progress import RunLog, decode
from gandist.storage.storage import Storage

FILE = "evaluations.jsonl"
COMPARABLE = ("extractor", "extractor_sha256", "n_real", "n_fake", "resize", "real_fingerprint", "seed")
"""What two evaluations must have in common for their values to be compared."""

Evaluation = dict[str, Any]
"""`images_seen`, `measures` by name, and the `protocol`."""


class Result(NamedTuple):
    """What a generator is worth."""

    measures: dict[str, float]
    images_seen: int
    protocol: dict[str, Any]

    def plain(self) -> Evaluation:
        """As JSON has it: a value that is not finite, such as the error of one estimate, is None."""
        measures = {name: value if math.isfinite(value) else None for name, value in self.measures.items()}
        return {"images_seen": self.images_seen, "measures": measures, "protocol": self.protocol}


def read(storage: Storage) -> list[Evaluation]:
    """All evaluations of a run, oldest first."""
    return decode(storage.read_bytes(FILE) or b"")


def distance(evaluation: Evaluation) -> tuple[str, float]:
    """The Fréchet distance that a checkpoint is chosen by, with its name; infinite where it was not finite."""
    name, value = next(iter(evaluation["measures"].items()))
    return name, float("inf") if value is None else value


def best(evaluations: list[Evaluation]) -> int | None:
    """Images seen at that of the smallest Fréchet distance, among those that are like the newest in their protocol."""
    if not evaluations:
        return None
    newest = evaluations[-1]["protocol"]
    like = [each for each in evaluations if all(each["protocol"].get(k) == newest.get(k) for k in COMPARABLE)]
    return int(min(like, key=lambda each: distance(each)[1])["images_seen"])


class Evaluations:
    """The record of a run that goes on; opening it drops what lies past `images_seen`."""

    def __init__(self, storage: Storage, images_seen: int) -> None:
        self._log = RunLog(storage, images_seen, FILE)
        self._all = read(storage)

    def best(self, images_seen: int | None = None) -> int | None:
        """Images seen at the best evaluation, of those until `images_seen`."""
        return best([each for each in self._all if images_seen is None or each["images_seen"] <= images_seen])

    def add(self, result: Result) -> None:
        self._log.append(evaluation := result.plain())
        self._all.append(evaluation)

    def close(self) -> None:
        self._log.close()
