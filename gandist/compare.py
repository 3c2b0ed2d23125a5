"""`python -m gandist.compare COMPARISON.yaml [section.key=value ...]`: train variants and measure them side by side.

Each variant is trained with several seeds, as ordinary runs; the same command resumes them. The command writes
`comparisons/NAME/results.json`, `table.md` and `grids.png`, of sounds a WAV file for each variant, and of clips
`grids.webp`, which plays; of texts `texts.md` in place of the grids, and with `temperatures` the measures at each
of them, `temperatures.md` and, as curves of quality against variety, `temperatures.svg`. Where G is given samples,
results and table also have the measures by mask, operation and strength.
"""

import argparse
import json
import logging
import math
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from gandist.cli.arguments import natural
from gandist.cli.command import command
from gandist.cli.text import markdown_columns, markdown_table, number
from gandist.conditions.sample import OfSample
from gandist.config.fields import choice, hint
from gandist.config.run import RunConfig, find, load, tree_of
from gandist.config.sample import medium_of
from gandist.config.sections import Section
from gandist.data.dataset import with_symbols
from gandist.distributed.ranks import pick_device
from gandist.errors import ConfigError
from gandist.evaluation.measures import MEASURES, Measure, Sampled
from gandist.launch.resumption import run_root
from gandist.media.gallery import png_bytes
from gandist.report import temperatures
from gandist.report.measured import group_tables_of, value_of
from gandist.report.side_by_side import COLUMNS, playing, side_by_side
from gandist.run.held_out import held_out
from gandist.run.progress import METRICS_FILE, decode
from gandist.run.trained import open_trained
from gandist.storage.storage import Storage
from gandist.train import course

log = logging.getLogger("gandist")

FOLDER = "comparisons"
ROWS = 8
INPUT, TARGET = "input", "target"
"""Labels of the grids of what G is given, and of the targets."""
HEARD = 2 * COLUMNS
"""Samples of a variant that can be heard."""


class Variant(Section, extra="allow"):
    OTHERS: ClassVar = RunConfig
    config: str
    """A configuration file, or the name of a shipped one. The other keys of the variant, `section.key: value`,
    override its fields."""
    begun_from: str | None = None
    """An earlier variant, with whose run of the same seed this one's begins, as by `gandist.train --from`."""


class Comparison(Section):
    """The contents of a comparison file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the comparison: its folder in `comparisons/`, and the prefix of its runs' names."""
    variants: dict[str, Variant] = Field(min_length=1)
    """The variants, by the labels that table and grids show."""
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    """`run.seed` of each variant's runs."""
    measures: tuple[str, ...] = Field(min_length=1)
    """Names of measures in `MEASURES`."""
    n_samples: int = Field(26_000, ge=ROWS * COLUMNS)
    """Number of samples drawn from each run and measured; of `restoration`, at most those of `eval.data`."""
    temperatures: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    """At which each G that draws symbols is measured besides, for its curve of quality against variety."""


RunScores = dict[str, Any]
"""A run's entry in `results.json`."""


class Planned(NamedTuple):
    """One run of a comparison."""

    variant: str
    seed: int
    config: RunConfig
    source: str | None = None
    """Folder or address of the run that it begins with."""


def read(file: str) -> tuple[Comparison, Path]:
    """Read a comparison; return it and its file. `file` is a path, or the name of a shipped comparison.

    Raises:
        ConfigError: the file is not valid; the message names the file, the key and the fix.
    """
    path = find(file)
    tree = tree_of(path, Comparison)
    try:
        comparison = Comparison.model_validate(tree)
        for measure in comparison.measures:
            choice("measures", measure, MEASURES)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {_explain(fault)}" for fault in error.errors())) from None
    return comparison, path


def _explain(fault: Any) -> str:
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key; one of {', '.join(Comparison.model_fields)}{hint(key, Comparison.model_fields)}"
    return f"{key or 'comparison'}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def plan(
    comparison: Comparison, source: Path, overrides: Sequence[str] = (), seeds: Sequence[int] = ()
) -> list[Planned]:
    """List the runs, seed by seed: each variant's configuration, its own overrides, then the common `overrides`.

    Raises:
        ConfigError: a variant's configuration is not valid, or the variants do not use the same samples.
    """
    runs: list[Planned] = []
    for seed in seeds or comparison.seeds:
        for label, variant in comparison.variants.items():
            name = f"{comparison.name}-{_in_a_name(label)}-{seed}"
            own = [
                f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in (variant.model_extra or {}).items()
            ]
            # All runs are measured once, at the end.
            unmeasured, ours = ["eval.every_kimg=null"], [f"run.name={name}", f"run.seed={seed}", "launch.kind=local"]
            before = {run.variant: run_root(run.config) for run in runs if run.seed == seed}
            try:
                if variant.begun_from and variant.begun_from not in before:
                    raise ConfigError(f"begun_from: {variant.begun_from} is no variant above this one; put it there")
                config = load(variant.config, [*unmeasured, *own, *overrides, *ours])
                runs.append(Planned(label, seed, config, before.get(variant.begun_from or "")))
            except ConfigError as error:
                raise ConfigError(f"{source}: variants.{label}: {error}") from error
    if len({run.config.run.name for run in runs}) < len(runs):
        raise ConfigError(f"{source}: variants: their runs would share names; give labels of letters and digits")
    first = _samples(runs[0].config)
    for run in runs:
        for path, value in _samples(run.config).items():
            if value != first[path]:
                raise ConfigError(
                    f"{source}: variants.{run.variant}: {path} is {value}, that of {runs[0].variant} is {first[path]}; "
                    f"only generators of the same {medium_of(run.config).nouns[1]} can be compared"
                )
    return runs


def _in_a_name(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", label)


def _samples(config: RunConfig) -> dict[str, object]:
    """The fields that decide which samples a run sees, and what is made of them for G."""
    data, model, condition = config.data, config.model, config.condition
    return {
        "data.path": data.path,
        "data.medium": data.medium,
        "data.options": data.options,
        "data.channels": data.channels,
        "model.resolution": model.resolution,
        "condition.kind": condition.kind,
        "condition.options": condition.options,
    }


def measured(run: Planned, measures: dict[str, Measure], n_samples: int) -> tuple[RunScores, Sampled]:
    """Measure a run. Return its entry for `results.json`, and what it draws.

    Raises:
        GandistError: the run is not trained.
    """
    root = run_root(run.config)
    trained = open_trained(root, pick_device(run.config.device))
    sampled = Sampled(trained, n_samples, run.seed)
    rows = decode(Storage(root).read_bytes(METRICS_FILE) or b"")
    result = {
        "variant": run.variant,
        "seed": run.seed,
        "run": root,
        "images_seen": trained.images_seen,
        # Over all attempts, without the work lost between them.
        "seconds": sum(row["tick_s"] for row in rows),
        "measures": {name: score for measure in measures.values() for name, score in measure.scores(sampled).items()},
        **{by: found for each in measures.values() if each.groups for by, found in each.groups(sampled).items()},
        "protocol": {name: measure.protocol for name, measure in measures.items()},
    }
    return result, sampled


def shown(label: str, sampled: Sampled) -> dict[str, np.ndarray]:
    """Samples of a variant by its label: rows of the medium (ROWS x COLUMNS, *row.shape). Where G is given samples,
    what it is given stands before them, and the targets behind; the same in each variant."""
    trained = sampled.trained
    if not isinstance(trained.condition, OfSample):
        return {label: sampled.samples[: ROWS * COLUMNS].copy()}
    of = held_out(trained, ROWS * COLUMNS)
    outputs = trained.samples(trained.latents(len(of.numbers), sampled.seed), of.y)
    return {INPUT: of.inputs, label: outputs, TARGET: of.targets}


def table(
    results: Sequence[RunScores],
    real: Mapping[str, float | None],
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    many: str = "images",
) -> str:
    """Markdown table: a row per variant with mean ± standard deviation over its seeds; scores of what needs no
    learning, and of real samples, which are called `many`; protocols."""
    names = [name for name in real if any(name in result["measures"] for result in results)]
    lines = [f"| variant | runs | kimg | {' | '.join(names)} | seconds |", "|---" * (len(names) + 4) + "|"]
    for variant, of in _by_variant(results).items():
        columns = [[result["images_seen"] / 1000 for result in of]]
        columns += [[result["measures"][name] for result in of if name in result["measures"]] for name in names]
        columns += [[result["seconds"] for result in of]]
        lines.append(
            f"| {variant} | {len(of)} | {' | '.join(_spread(column) if column else '' for column in columns)} |"
        )
    unlearnt = {f"{name}, without learning": scores for name, scores in (baselines or {}).items()}
    for name, found in {**unlearnt, f"real {many}": real}.items():
        cells = ["" if (value := found.get(measure)) is None else _number(value) for measure in names]
        lines.append(f"| {name} | | | {' | '.join(cells)} | |")
    notes = [
        f"{name}: {', '.join(f'{key} {value}' for key, value in protocol.items())}."
        for name, protocol in results[0]["protocol"].items()
    ]
    return "\n\n".join(["\n".join(lines), "Mean ± standard deviation over seeds.", *notes]) + "\n"


def tables_of_groups(results: Sequence[RunScores]) -> str:
    """Markdown tables of the measures within groups of samples, each variant beside what needs no learning; empty
    without groups."""
    return "".join(f"\n{markdown_table(each.lines)}" for each in group_tables_of(_by_variant(results), _cell))


def _by_variant(results: Sequence[RunScores]) -> dict[str, list[RunScores]]:
    found: dict[str, list[RunScores]] = {}
    for result in results:
        found.setdefault(result["variant"], []).append(result)
    return found


def _cell(name: str, found: Sequence[dict[str, Any]]) -> str:
    unknown = [each for each in found if each.get(name) is None]
    return value_of(name, unknown[0]) if unknown else _spread([each[name] for each in found])


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{_number(statistics.mean(values))}{spread}"


def _number(value: float) -> str:
    return number(value, 4, thousands="", power_from=math.inf)


def write(comparison: Comparison, runs: Sequence[Planned], measures: dict[str, Measure]) -> Storage:
    """Measure trained runs and write the results; return their storage.

    Raises:
        GandistError: a run is not trained.
    """
    results: list[RunScores] = []
    examples: dict[str, np.ndarray] = {}
    for run in runs:
        log.info("measuring run=%s", run.config.run.name)
        result, sampled = measured(run, measures, comparison.n_samples)
        if at := temperatures.scores_at(sampled, measures.values(), comparison.temperatures):
            result["temperatures"] = at
        results.append(result)
        if run.variant not in examples:
            examples |= shown(run.variant, sampled)
            if TARGET in examples:
                examples[TARGET] = examples.pop(TARGET)  # stays the last
    real = {name: score for measure in measures.values() for name, score in measure.real.items()}
    baselines = {name: scores for measure in measures.values() for name, scores in measure.baselines.items()}
    storage = Storage(f"{FOLDER}/{comparison.name}")
    written = {"name": comparison.name, "real": real, "runs": results}
    written |= {"baselines": baselines} if baselines else {}
    storage.write_bytes("results.json", json.dumps(written, indent=1).encode())
    medium = medium_of(runs[0].config)
    tables = table(results, real, baselines, medium.nouns[1]) + tables_of_groups(results)
    storage.write_bytes("table.md", tables.encode())
    if texts := {label: lines for label, rows in examples.items() if (lines := medium.preview(rows, COLUMNS).lines)}:
        storage.write_bytes("texts.md", markdown_columns(texts).encode())
    else:
        storage.write_bytes("grids.png", png_bytes(side_by_side(examples, medium)))
    temperatures.write(storage, results, real, medium.nouns[1])
    if (animation := playing(examples, medium)) is not None:
        storage.write_bytes("grids.webp", animation)
    for label, rows in examples.items():
        if (heard := medium.heard(rows[:HEARD])) is not None:
            storage.write_bytes(f"{_in_a_name(label)}.wav", heard)
    return storage


@command(failure="the comparison failed: ")
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="gandist compare",
        description="Train variants of a configuration one after the other, and measure them side by side. The same "
        "command goes on with a comparison that was interrupted.",
        epilog="Example: gandist compare configs/compare-modes.yaml train.total_kimg=300 --seeds 0 1",
    )
    add = parser.add_argument
    add("comparison", metavar="COMPARISON", help="a YAML file, or the name of a shipped one (compare-modes)")
    add("overrides", nargs="*", metavar="section.key=value", help="replace a field in every variant; the last wins")
    add(
        "--seeds",
        type=natural,
        nargs="+",
        default=(),
        metavar="N",
        help="train each variant with these seeds (default: those of the file)",
    )
    add("--measure-only", action="store_true", help="train nothing, and measure the runs as they are")
    options = parser.parse_intermixed_args(argv)
    comparison, source = read(options.comparison)
    runs = plan(comparison, source, options.overrides, options.seeds)
    runs = [run._replace(config=with_symbols(run.config)) for run in runs]
    config, n_samples = runs[0].config, comparison.n_samples
    # Find out before hours of training what cannot be measured.
    measures = {name: MEASURES[name](config, n_samples, pick_device(config.device)) for name in comparison.measures}
    for run in () if options.measure_only else runs:
        if status := course.run(run.config, "auto", run.source):
            return status
    storage = write(comparison, runs, measures)
    print((storage.read_bytes("table.md") or b"").decode())  # noqa: T201
    others = ("texts.md", "grids.png", temperatures.TABLE, temperatures.SVG)
    there = ", ".join(name for name in others if storage.exists(name))
    print(f"{storage.root}: table.md, results.json, {there}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
