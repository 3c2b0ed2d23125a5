"""The evaluations of runs as tables: the measures and their protocol."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gandist.cli.text import number
from gandist.report.recorded import RecordedRun
from gandist.run.evaluations import BY, COMPARABLE, Evaluation, best, is_higher_better, score

CellsByRow = dict[str, list[str]]
"""Cells by row."""
Cell = Callable[[str, Sequence[dict[str, Any]]], str]
"""The text of a measure, by its name, from the measures of one generator in each of several runs."""


REAL = "real "
"""Names of baselines that are real samples begin so; others are what needs no learning, such as bicubic enlargement."""


class GroupTable(NamedTuple):
    """The measures within groups of samples."""

    title: str
    columns: list[str]
    rows: CellsByRow
    """Groups, each with what needs no learning below it."""

    @property
    def lines(self) -> list[list[str]]:
        """All cells, headings first."""
        return [[self.title, *self.columns], *([row, *cells] for row, cells in self.rows.items())]


class MeasuredRuns(NamedTuple):
    columns: list[str]
    measures: CellsByRow
    classes: CellsByRow
    """The Fréchet distance within each class."""
    groups: list[GroupTable]
    """Of each run's newest evaluation."""
    runs: list[str]
    protocol: CellsByRow
    """Protocol of each run's newest evaluation."""
    note: str
    """The reason why the runs cannot be compared; empty if they can."""


def measured(runs: Sequence[RecordedRun], names: Sequence[str]) -> MeasuredRuns | None:
    """The newest and the best evaluation of each run, and what needs no learning beside them; None without
    evaluations."""
    found = {name: run.evaluations for name, run in zip(names, runs, strict=True) if run.evaluations}
    if not found:
        return None
    shown: dict[str, dict[str, float | None]] = {}
    many = {name: run.nouns[1] for name, run in zip(names, runs, strict=True)}
    for name, all_of_it in found.items():
        of = f"{name}, " if len(names) > 1 else ""
        newest, first = all_of_it[-1], _best(all_of_it)
        pairs = {"newest and best": newest} if newest is first else {"newest": newest, "best": first}
        shown |= {
            f"{of}{which}, at {each['images_seen']:,} {many[name]}": each["measures"] for which, each in pairs.items()
        }
        shown |= {f"{of}{baseline(which)}": each for which, each in newest.get("baselines", {}).items()}
    values = list(shown.values())
    measures = {key: [value_of(key, each) for each in values] for key in _keys(values) if key != "kid_se"}
    protocols = [evaluations[-1]["protocol"] for evaluations in found.values()]
    differ = [key for key in COMPARABLE if any(each.get(key) != protocols[0].get(key) for each in protocols)]
    return MeasuredRuns(
        columns=list(shown),
        measures={key: cells for key, cells in measures.items() if "/" not in key},
        classes={key: cells for key, cells in measures.items() if "/" in key},
        groups=[
            table._replace(title=f"{table.title} of {name}" if len(names) > 1 else table.title)
            for name, all_of_it in found.items()
            for table in group_tables(all_of_it[-1])
        ],
        runs=list(found),
        protocol={in_words(key): [said_of(each.get(key, "-")) for each in protocols] for key in _keys(protocols)},
        note=f"The protocols differ in {', '.join(map(in_words, differ))}: these values cannot be compared."
        if differ
        else "",
    )


def group_tables(evaluation: Evaluation) -> list[GroupTable]:
    """The measures within groups of samples: a table for each thing that groups differ in, such as the mask."""
    return group_tables_of({"": [evaluation]}, lambda name, found: value_of(name, found[0]))


def group_tables_of(evaluations: Mapping[str, Sequence[Evaluation]], cell: Cell) -> list[GroupTable]:
    """`group_tables` of several generators by their labels, each with an evaluation for each of its runs; all were
    measured on the same samples."""
    found = []
    for by, groups in next(iter(evaluations.values()))[0].items():
        if by.startswith(BY):
            rows: dict[str, list[dict[str, Any]]] = {}
            for name, group in groups.items():
                for label, runs in evaluations.items():
                    rows[f"{name}: {label}" if label else name] = [run[by][name] for run in runs]
                if "baseline" in group:
                    rows[f"{name}: {baseline(group['baseline']['name'])}"] = [group["baseline"]]
            names = _keys([each for runs in rows.values() for each in runs])
            names = [name for name in names if name not in ("n", "name", "baseline", "kid_se")]
            cells = {
                row: [f"{runs[0].get('n', '')}", *(cell(name, runs) for name in names)] for row, runs in rows.items()
            }
            found.append(GroupTable(f"Measures {in_words(by)}", ["n", *names], cells))
    return found


def baseline(name: str, value: float | None = None) -> str:
    """The name of a baseline, and its value, in words."""
    said = name if value is None else f"{name} {number(value)}"
    return said if name.startswith(REAL) else f"{said}, without learning"


def standing(run: RecordedRun) -> dict[str, str]:
    """The state of a run in a line or two: its newest Fréchet distance, or what `eval.best` names, and its
    best with the checkpoint's number."""
    if not run.evaluations:
        rows = [{key: row[key] for key in row if key.startswith("quality/")} for row in run.rows]
        last = {key: value for row in rows for key, value in row.items() if isinstance(value, int | float)}
        return {key.removeprefix("quality/"): number(value) for key, value in last.items()}
    (name, now), first = score(run.evaluations[-1]), _best(run.evaluations)
    seen = first["images_seen"]
    kept = "" if seen in run.checkpoints else ", not kept"
    told = {name: number(now), "Best checkpoint": f"{seen:,} {run.nouns[1]}{kept}: {number(score(first)[1])}"}
    if run.given:
        told["Best by"] = f"{name}, {'higher' if is_higher_better(name) else 'lower'} is better"
    return told


def _best(evaluations: list[Evaluation]) -> Evaluation:
    seen = best(evaluations)
    return next(each for each in reversed(evaluations) if each["images_seen"] == seen)


def _keys(dicts: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for each in dicts for key in each))


def value_of(key: str, measures: dict[str, float | None]) -> str:
    """A measure with 3 digits, the kernel distance with its standard error."""
    value, error = measures.get(key), measures.get("kid_se") if key == "kid" else None
    if value is None:
        return "not finite" if key in measures else "-"
    return number(value) + (f" ± {number(error)}" if error is not None else "")


def in_words(key: str) -> str:
    return key.replace("_", " ")


def said_of(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{in_words(key)} {said_of(each)}" for key, each in value.items())
    return number(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
