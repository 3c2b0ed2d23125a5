"""The card of a published model: README.md, with the facts that the Hub reads at its top, as YAML."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gandist.cli.text import markdown_columns, number
from gandist.errors import ConfigError
from gandist.monitoring.health import REPEATED
from gandist.push.record import Record
from gandist.report.measured import group_tables, in_words, said_of, value_of

UNKNOWN = "unknown"
LICENCES = (
    *("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    *("openrail", "gpl-3.0", "other"),
)
"""Common ones; the Hub knows more (https://huggingface.co/docs/hub/repositories-licenses)."""
TASKS = {
    ("image", "none"): "unconditional-image-generation",
    ("image", "class"): "unconditional-image-generation",
    ("image", "text"): "text-to-image",
    ("image", "sample"): "image-to-image",
    ("audio", "text"): "text-to-audio",
    ("audio", "sample"): "audio-to-audio",
    ("video", "text"): "text-to-video",
    ("video", "sample"): "video-to-video",
    ("text", "none"): "text-generation",
    ("text", "class"): "text-generation",
}
"""The Hub's tasks, by medium and condition. It has none for sounds or clips from noise or by class."""
TAGS = {"audio": "audio-generation", "video": "video-generation"}
FASHION_MNIST = "zalando-datasets/fashion_mnist"
PROTOCOL_LEFT_OUT = ("seconds", "seconds_looking", "device", "workers", "memorisation_is")


def check_licence(licence: str | None, needed: bool) -> None:
    """Refuse what cannot be a licence's name on the Hub.

    Raises:
        ConfigError: it is none, or is needed and missing; lists common ones.
    """
    common = f"such as {', '.join(LICENCES)}"
    if licence is None and needed:
        raise ConfigError(f"--licence: name the licence of the weights as the Hub does, {common}; data may restrict it")
    if licence is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence):
        raise ConfigError(f"--licence {licence}: is no licence that the Hub names, {common}")


def card(record: Record, repo: str, licence: str) -> str:
    """The text of README.md."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": _plain, "number": number, "thousands": lambda n: f"{n:,}"}
    evaluation = record.evaluation
    return environment.get_template("card.md").render(
        facts=yaml.safe_dump(front_matter(record, repo, licence), sort_keys=False, allow_unicode=True, width=1000),
        record=record,
        config=record.config,
        repo=repo,
        title=repo.partition("/")[2],
        licence=licence,
        one=record.nouns[0],
        many=record.nouns[1],
        task=_task_in_words(record),
        lines=_lines(record),
        drawing=_drawing(record, repo),
        trust=" --trust" if record.config.imports else "",
        data_given="" if record.data.is_builtin else " data.path=YOUR_DATA",
        measures=_measures(record),
        groups=_groups(record),
        measured_seen=evaluation["images_seen"] if evaluation else 0,
        protocol=_protocol(evaluation["protocol"]) if evaluation else [],
        repeats=evaluation["measures"].get("memorisation") if evaluation else None,
        repeated=REPEATED,
    )


def front_matter(record: Record, repo: str, licence: str) -> dict[str, Any]:
    """What the Hub reads of a card."""
    config, medium = record.config, record.config.data.medium
    task = TASKS.get((medium, record.condition.kind))
    kind = "gan" if record.is_adversarial else "vae" if config.game.objective == "elbo" else "generator"
    tags = [kind, "pytorch", task or TAGS.get(medium, medium), config.model.name]
    facts: dict[str, Any] = {"license": licence, "library_name": "gandist", "tags": tags}
    facts |= {"pipeline_tag": task} if task else {}
    facts |= {"datasets": [FASHION_MNIST]} if record.data.is_builtin and "fashion" in record.data.path else {}
    evaluation = record.evaluation
    if evaluation is None or evaluation["images_seen"] != record.images_seen:
        return facts
    found = {name: value for name, value in evaluation["measures"].items() if value is not None and is_single(name)}
    dataset = config.eval.data or config.data.path
    of = Path(dataset.partition("?")[0].removeprefix("builtin:")).name
    result = {
        "task": {"type": task or TAGS.get(medium, medium)},
        "dataset": {"type": of, "name": of},
        "metrics": [{"type": name, "name": name, "value": value} for name, value in found.items()],
    }
    return facts | {"metrics": [*found], "model-index": [{"name": repo.partition("/")[2], "results": [result]}]}


def is_single(measure: str) -> bool:
    """Whether a measure is one of the whole, not of a class, and not the error of another."""
    return "/" not in measure and measure != "kid_se"


def _task_in_words(record: Record) -> str:
    """What G makes of what."""
    if record.given:
        return f"makes {record.nouns[1]} of a given sample (condition.kind {record.given})"
    count = record.condition.count
    of = {"class": f", by class ({count} classes)", "text": " of a caption"}.get(
        record.condition.kind, " of noise alone"
    )
    return f"makes {record.nouns[1]}{of}"


def _lines(record: Record) -> Sequence[str]:
    """The first samples, if they are texts."""
    content = record.samples.get("samples.txt", b"").decode(errors="replace")
    return [line for line in content.splitlines() if not line.startswith("```")][:12]


def _drawing(record: Record, repo: str) -> str:
    """The command that uses G."""
    trust = " --trust" if record.config.imports else ""
    if record.given:
        mask = " --mask white" if record.fills_holes else ""
        return f"python -m gandist.apply hf://{repo} {record.nouns[1].upper()} --out outputs{mask}{trust}"
    asked = f" {record.condition.example()}" if record.condition.example() else ""
    n, suffix = (8, ".wav") if ".wav" in record.kinds else (36, record.kinds[0])
    return f"python -m gandist.sample hf://{repo} --n {n}{asked} --out drawn{suffix}{trust}"


def _measures(record: Record) -> str:
    """A table of the newest measures, and of those that need no learning; empty without any."""
    if record.evaluation is None:
        return ""
    measured = record.evaluation["measures"]
    names = [*filter(is_single, measured)]
    columns = {"measure": names, "this model": [value_of(name, measured) for name in names]}
    for baseline, values in record.evaluation.get("baselines", {}).items():
        columns[baseline] = [value_of(name, values) for name in names]
    return markdown_columns(columns)


def _groups(record: Record) -> list[tuple[str, str]]:
    """Titles and tables of the newest measures within groups of samples, such as the kinds of masks."""
    found = []
    for table in group_tables(record.evaluation or {}):
        columns = {"": [*table.rows]}
        columns |= {name: [cells[i] for cells in table.rows.values()] for i, name in enumerate(table.columns)}
        found.append((table.title, markdown_columns(columns)))
    return found


def _protocol(protocol: dict[str, Any]) -> list[str]:
    return [f"{in_words(key)}: {said_of(value)}" for key, value in protocol.items() if key not in PROTOCOL_LEFT_OUT]


def _plain(text: str) -> str:
    """A name from the data, of which nothing is read as Markdown or HTML."""
    return re.sub(r"[\\`*_{}\[\]<>#|!$&]", r"\\\g<0>", " ".join(text.split())).replace("\\<", "&lt;")
