"""Builds one HTML page from the records and pictures of runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gandist.cli.text import number
from gandist.conditions.kinds import MAKERS
from gandist.config.run import RunConfig, leaves
from gandist.report import temperatures
from gandist.report.charts import charts
from gandist.report.curves import Chart
from gandist.report.document import document, duration
from gandist.report.drawn import DrawnPicture, draw
from gandist.report.examples import Example
from gandist.report.measured import MeasuredRuns, measured, standing
from gandist.report.recorded import RecordedRun, read
from gandist.run.trained import open_run

TEMPLATES = Path(__file__).parent
SAMPLES_BYTES = 6_000_000
"""Maximum bytes of all sample grids on a page; base64 makes them a third larger."""
SOUNDS_BYTES = 3_000_000
"""Of all sounds of sample grids."""
NOT_COMPARED = ("run.name", "run.dir")


class Shown(NamedTuple):
    """A run in the form that the page shows."""

    name: str
    recorded: RecordedRun
    facts: dict[str, str]
    environment: dict[str, str]
    pictures: list[DrawnPicture]
    missing: list[str]
    examples: list[Example]


def page(runs: Sequence[str], neighbours: bool | None = None) -> str:
    """The page of runs, given by folders or addresses; `neighbours` as in `draw`.

    Raises:
        GandistError: there is no such run, or it has no metrics yet.
    """
    recorded = [read(run, SAMPLES_BYTES // len(runs), SOUNDS_BYTES // len(runs)) for run in runs]
    names = _names(recorded)
    shown = [
        Shown(name, each, _facts(each), _environment(each), *draw(run, neighbours))
        for name, run, each in zip(names, runs, recorded, strict=True)
    ]
    drawn = charts(recorded, names, _many(recorded))
    traded = temperatures.of_runs({name: open_run(run) for name, run in zip(names, runs, strict=True)})
    return render(shown, measured(recorded, names), drawn, traded, *_settings(recorded))


def render(
    runs: Sequence[Shown],
    quality: MeasuredRuns | None,
    found: Sequence[Chart],
    traded: Chart | None,
    settings: str,
    fields: dict[str, list[str]],
) -> str:
    return document(
        TEMPLATES,
        runs=runs,
        many=_many([run.recorded for run in runs]),
        quality=quality,
        charts=found,
        traded=traded,
        kinds={mark.kind for run in runs for mark in run.recorded.marks()},
        settings=settings,
        fields=fields,
    )


def _names(runs: Sequence[RecordedRun]) -> list[str]:
    """A name for each run: its own, or its address if two runs share a name."""
    names = [run.name for run in runs]
    return [run.address if names.count(run.name) > 1 else run.name for run in runs]


def _many(runs: Sequence[RecordedRun]) -> str:
    """What the runs' samples are called, or "samples" if they differ in that."""
    found = {run.nouns[1] for run in runs}
    return found.pop() if len(found) == 1 else "samples"


def _facts(run: RecordedRun) -> dict[str, str]:
    """The most important facts of a run."""
    last, game = run.rows[-1], run.config.get("game", {})
    plan, many = run.config.get("train", {}), run.nouns[1].capitalize()
    training_s, eval_s = run.total("tick_s"), run.total("eval_s")
    sizes = [str(row["world_size"]) for row in run.rows if "world_size" in row]
    speeds = sorted(row["img_per_s"] for row in run.rows if row.get("img_per_s"))
    penalties = ", ".join(game.get("penalties") or {})
    facts = {
        "Method": f"{run.config.get('model', {}).get('name', '?')}, {game.get('objective', '?')}"
        + (f" + {penalties}" if penalties else ""),
        "Condition": _condition(run),
        f"{many} seen": f"{last['images_seen']:,} of {round(plan.get('total_kimg', 0) * 1000):,}",
        "Training time": duration(training_s),
        f"{many} a second": f"{number(speeds[len(speeds) // 2])} (median)" if speeds else "",
        "Waited for data": f"{run.total('data_wait_s') / training_s:.1%} of the time" if training_s else "",
        "Evaluation took": f"{eval_s / (training_s + eval_s):.1%} of the time" if eval_s else "",
        "Workers": " to ".join(dict.fromkeys(sizes)),
        "Restarts": str(run.attempts - 1),
        "Skipped steps": " and ".join(
            f"{last[key]:.0f} of {key[-1]}" for key in ("skipped/D", "skipped/G") if last.get(key)
        ),
        "Roll-backs": f"{last['rollbacks']:.0f}" if last.get("rollbacks") else "",
        "Health": next((_health(row) for row in reversed(run.rows) if row.get("verdict")), ""),
    }
    facts |= standing(run)
    return {key: value for key, value in facts.items() if value}


def _condition(run: RecordedRun) -> str:
    """What G is given if that is a sample: the kind of condition, and its options that are not at their defaults."""
    if not run.given:
        return ""
    usual = MAKERS[run.given]().model_dump(mode="json") if run.given in MAKERS else {}
    options = run.config["condition"].get("options") or {}
    changed = [f"{name} {_value(options, name)}" for name in options if options[name] != usual.get(name)]
    return ", ".join([run.given, *changed])


def _health(row: dict[str, Any]) -> str:
    return f"{row['verdict']}: {row['reason']}" if row.get("reason") else str(row["verdict"])


def _environment(run: RecordedRun) -> dict[str, str]:
    """The software and hardware behind the numbers."""
    manifest, config = run.manifest, run.config
    memory_bytes = max((row.get("memory_bytes") or 0 for row in run.rows), default=0)
    facts = {
        "Run": run.address,
        "Data": config.get("data", {}).get("path"),
        "Seed": config.get("run", {}).get("seed"),
        "Precision": manifest.get("precision") or config.get("precision"),
        "Device": config.get("device"),
        "Peak memory": f"{memory_bytes / 2**20:,.0f} MiB a worker" if memory_bytes else None,
        "torch": manifest.get("torch_version"),
        "numpy": manifest.get("numpy_version"),
        "Workers at the newest checkpoint": manifest.get("world_size"),
        "Attempts": run.attempts,
        "Checkpoints at": ", ".join(f"{seen:,}" for seen in run.checkpoints) or "none yet",
        "Captions embedded by": manifest.get("encoder"),
        "Imported files": ", ".join(f"{name} {digest}" for name, digest in (manifest.get("imports") or {}).items()),
        "Data fingerprint": manifest.get("data_fingerprint"),
        "Configuration fingerprint": manifest.get("config_fingerprint"),
    }
    return {key: str(value) for key, value in facts.items() if value not in (None, "")}


def _settings(runs: Sequence[RecordedRun]) -> tuple[str, dict[str, list[str]]]:
    """Title and rows of the table of fields: those that differ between runs, or, for one run, from defaults."""
    trees = [dict(leaves(run.config)) for run in runs]
    compared = trees if len(runs) > 1 else [*trees, dict(leaves(RunConfig().resolved()))]
    fields = sorted(
        path
        for path in dict.fromkeys(path for tree in compared for path in tree)
        if path not in NOT_COMPARED and any(tree.get(path) != compared[0].get(path) for tree in compared)
    )
    title = "Fields in which the runs differ" if len(runs) > 1 else "Fields that are not at their defaults"
    return title, {path: [_value(tree, path) for tree in compared] for path in fields}


def _value(tree: dict[str, Any], path: str) -> str:
    if path not in tree:
        return "-"
    return yaml.safe_dump(tree[path], default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
