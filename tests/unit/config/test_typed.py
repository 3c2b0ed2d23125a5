"""YAML as it is typed: text stays text, whatever it looks like to YAML."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gandist import compare
from gandist.config import typed
from gandist.config.run import DEMO, RunConfig, find, load
from gandist.config.typed import Kind, Paths, read, word
from gandist.errors import ConfigError
from gandist.tune import sweep

WORDS = ["1.10", "010", "0x1F", "12:30", "1_000", "1e3", "yes", "off", "2024-01-01", "123", ".5", "null", "0b1", "-1"]
"""What YAML takes for something else than text."""
MARKED = ["/a b #1", "a: b", "*x", "&x", "@x", "%x", "`x`", "[a]", "{a}", "!x", "- a", "? a", "a: [", "|", ">", "#x"]
"""What has a meaning to YAML on a command line."""


@pytest.mark.parametrize("text", WORDS)
def test_a_string_is_what_was_typed(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"data: {{path: {text}}}\nimports: []\nlaunch: {{labels: {{zone: {text}, {text}: a}}}}\n")
    assert load(str(file)).data.path == text
    assert load(str(file)).launch.labels == {"zone": text, text: "a"}
    overrides = [f"data.path={text}", f"eval.weights=x{text}", f"launch.labels={{zone: {text}}}", f"run.dir='{text}'"]
    config = load("demo", [*overrides, f"launch.labels.other={text}"])
    assert (config.data.path, config.eval.weights, config.run.dir) == (text, f"x{text}", text)
    assert config.launch.labels == {"zone": text, "other": text}
    again = yaml.safe_load(yaml.safe_dump(config.resolved()))
    assert again["data"]["path"] == text


@pytest.mark.parametrize("text", [text for text in WORDS if text[0] not in ".-" and ":" not in text])
def test_a_run_is_named_as_typed(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"run: {{name: {text}}}")
    assert load("demo", [f"run.name={text}"]).run.name == load(str(file)).run.name == text


@pytest.mark.parametrize("text", [*WORDS, *MARKED])
def test_nothing_on_a_command_line_means_anything_to_yaml(text: str) -> None:
    assert load("demo", [f"data.path={text}"]).data.path == text


@pytest.mark.parametrize(
    ("typed", "found"), [("'a b'", "a b"), ('"1.10"', "1.10"), ("!!str 1.10", "1.10"), (" a ", "a")]
)
def test_quotes_may_stand_but_need_not(typed: str, found: str) -> None:
    assert load("demo", [f"data.path={typed}"]).data.path == found


@pytest.mark.parametrize("text", ["null", "~", "", "NULL"])
def test_where_text_may_be_missing_nothing_is_nothing(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"model: {{norm: {text}}}\ntrack: {{wandb: 'null'}}")
    assert load("demo", [f"data.cache_dir={text}"]).data.cache_dir is load(str(file)).model.norm is None
    assert load(str(file)).track.wandb == "null"


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", 10), ("1_000", 1000), ("0x10", 16), ("0b11", 3), ("16", 16), ('"16"', 16), ("+7", 7), ("00", None)],
)
def test_numbers_are_decimal(text: str, value: int | None) -> None:
    if value is None:
        with pytest.raises(ConfigError, match=r"train\.batch: .*greater than or equal to 1, got 0"):
            load("demo", [f"train.batch={text}"])
    else:
        assert load("demo", [f"train.batch={text}", "launch.workers=1"]).train.batch == value


@pytest.mark.parametrize("text", ["12:30", "2024-01-01", "1:30.5", "yes", "[1]", "a"])
def test_what_is_no_number_is_refused_as_it_was_typed(text: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch: ") as refused:
        load("demo", [f"train.batch={text}"])
    if text != "yes":
        assert text.strip("[]") in str(refused.value)


def test_an_alias_inside_of_its_anchor_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="holds itself"):
        read("imports: &a [*a]", Kind(RunConfig))


def test_a_key_that_is_no_word_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="a key must be a word"):
        read("launch: {[a]: 1}", Kind(RunConfig))


def test_anchors_and_merges_go_on() -> None:
    text = "data: &d {path: 010, flip: yes}\nlaunch: {labels: {<<: {a: 1}, b: 2}}\nrun: *r"
    found = read(text.replace("*r", "{dir: &r 5, name: *r}"), Kind(RunConfig))
    assert found == {
        "data": {"path": "010", "flip": True},
        "launch": {"labels": {"a": "1", "b": "2"}},
        "run": {"dir": "5", "name": "5"},
    }


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("imports", "010.py", "010.py"),
        ("imports", "a #1.py", "a #1.py"),
        ("imports", "[010, a.py]", ["010", "a.py"]),
        ("launch.workers", "[1, 2]", [1, 2]),
        ("game.penalties", "{r1: 1.5, 010: {weight: 010}}", {"r1": 1.5, "010": {"weight": 10}}),
        ("model.norm", "none", "none"),
        ("model.norm", "null", None),
        ("device", "off", "off"),
        ("nowhere.at.all", "1.10", 1.1),
    ],
)
def test_words_for_fields(path: str, text: str, value: Any) -> None:
    assert word(text, Kind(RunConfig).along(path)) == value


SWEEP = """
name: 1.10
config: demo
dir: {dir}
set: {{launch.kind: local, run.name: 010, data.path: 123, launch.labels: {{zone: 012}}, train.total_kimg: 2,
  eval.every_kimg: 1}}
space:
  track.mlflow: {{choice: [1.10, null, 12:30]}}
  model.width: {{choice: [008, 16], when: {{track.mlflow: [1.10, 12:30], data.path: 123}}}}
"""


def test_a_sweep_takes_values_as_the_fields_do(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.format(dir=tmp_path))
    found = read(file.read_bytes(), Kind(sweep.Sweep))
    assert found["name"] == "1.10"
    assert found["set"]["run.name"] == "010"
    assert found["set"]["launch.labels"] == {"zone": "012"}
    assert found["space"]["track.mlflow"]["choice"] == ["1.10", None, "12:30"]
    assert found["space"]["model.width"] == {
        "choice": [8, 16],
        "when": {"track.mlflow": ["1.10", "12:30"], "data.path": "123"},
    }
    file.write_text(SWEEP.format(dir=tmp_path).replace(", data.path: 123}}", "}}"))
    plan = sweep.read(str(file), ["name=2.0", "run.dir=1_0", "set.run.name=1.0", "trials=4"])
    assert (plan.sweep.name, plan.tree["data"]["path"][-3:], plan.origin["run"]) == (
        "2.0",
        "123",
        {"name": "1.0", "dir": "1_0", "seed": 0},
    )
    assert {point["track.mlflow"] for point in plan.points or ()} <= {"1.10", None, "12:30"}


def test_a_comparison_takes_values_as_the_fields_do(tmp_path: Path) -> None:
    file = tmp_path / "pair.yaml"
    file.write_text(
        "name: 1.10\nmeasures: [modes]\nseeds: [0]\nvariants:\n"
        "  1.0: {config: demo, data.path: 010, track.mlflow: é😀 12:30}\n  2.0: {config: demo, data.path: 010}\n"
    )
    runs = compare.plan(*compare.read(str(file)))
    assert [run.variant for run in runs] == ["1.0", "2.0"]
    assert [run.config.run.name for run in runs] == ["1.10-1.0-0", "1.10-2.0-0"]
    assert {run.config.data.path for run in runs} == {"010"}
    assert runs[0].config.track.mlflow == "é😀 12:30"


def test_paths_hide_behind_keys() -> None:
    assert Kind(sweep.Sweep).along("set.run.name").is_text
    assert not Kind(sweep.Sweep).along("set.train.batch").is_text
    assert Kind(dict[str, Any], paths=Paths(RunConfig)).at("data.path").is_text


SAME = [
    *("a: 1.10\nb: 010\nc: 12:30\nd: yes\ne: 2024-01-01\nf: ~\ng: 0x1F\nh: -.5", "{a: [1, 'b: c'], d: \"\\u00e9 😀\"}"),
    *(
        "<<: {a: 1}\nb: 2",
        "a: &x [1]\nb: *x",
        "a: |\n  x\n  y\nb: >-\n  x\n  y",
        "# nothing",
        "",
        "%YAML 1.2\n---\na: 1",
    ),
]


@pytest.mark.parametrize("text", [find(DEMO).read_text(), *SAME], ids=lambda text: text[:20])
def test_the_parser_in_c_reads_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = read(text, Kind(RunConfig))
    monkeypatch.setattr(typed, "QuickLoader", typed.Loader)
    assert repr(quick) == repr(read(text, Kind(RunConfig)))


def test_a_fault_is_told_with_its_line() -> None:
    with pytest.raises(yaml.YAMLError, match=r"line 2, column 5:\n    b: c: d\n"):
        read("a: 1\nb: c: d\n", Kind(RunConfig))
