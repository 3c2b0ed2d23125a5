"""Small sets of texts, and runs on them."""

from pathlib import Path
from typing import Any

from gandist.config.run import RunConfig
from gandist.data.dataset import with_symbols
from gandist.data.index import Index
from gandist.data.packing import pack
from tests.helpers.train_on_ranks import tiny

SCRIPTS = ("hello", "привет", "שלום", "مرحبا", "日本語", "नमस्ते", "na\u0308ive", "👩\u200d👩\u200d👧!", "ok")
"""Of several scripts, from either side, with combining marks and signs of several characters."""


def text_set(folder: Path, n: int = 24, classes: int = 2) -> str:
    """A set of n texts of 3 to 5 letters; its folder. A text's first letter is its class's."""
    lines = [f"{'ab'[i % classes]}{'cde'[i % 3]}{'x' * (1 + i % 3)}" for i in range(n)]
    folder.mkdir(parents=True)
    table = "".join(f"{line},{i % classes}\n" for i, line in enumerate(lines))
    (folder / "lines.csv").write_text(f"text,label\n{table}")
    pack(str(folder / "lines.csv"), str(folder / "set"))
    return str(folder / "set")


def writing(
    folder: Path, name: str, data: str, *, classes: int = 2, alphabet: str = "characters", **changes: Any
) -> RunConfig:
    """A run of ten steps on such a set, by class or without."""
    options = {"length": 6, "alphabet": alphabet}
    medium = {"path": data, "medium": "text", "options": options, "cache_dir": str(folder / "cache")}
    model = {"name": "textgan", "classes": classes, "z_dim": 8, "width": 8, "options": {"blocks": 1}}
    return with_symbols(tiny(folder, name, **{"data": medium, "model": model, "precision": "fp32", **changes}))


def contents(index: Index) -> list[str]:
    """The texts of a set by their keys, read by offset as a rank does."""
    found = {}
    for row in index.samples.to_pylist():
        with Path(index.url(row["shard"])).open("rb") as shard:
            shard.seek(row["offset"])
            found[row["key"]] = shard.read(row["size"]).decode()
    return [found[key] for key in sorted(found)]
