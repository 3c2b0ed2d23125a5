"""Comparing variants of generators of texts."""

import json
from pathlib import Path

import pytest
import yaml

from gandist.cli.text import markdown_columns
from gandist.compare import main, plan, read
from gandist.errors import ConfigError
from tests.helpers.small_datasets import make_set
from tests.helpers.text_sets import make_texts
from tests.helpers.train_on_ranks import TINY

SYMBOLS = "ab|*"


def test_variants_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Only one of them knows how likely a text is; their texts stand side by side."""
    monkeypatch.chdir(tmp_path)
    texts = [a + b + c for a in SYMBOLS for b in SYMBOLS for c in SYMBOLS]
    data = {"path": make_texts(tmp_path / "set", texts), "medium": "text", "options": {"length": 6}}
    model = {"name": "textgan", "width": 4, "z_dim": 4}
    every = {"precision": "fp32", "eval": {"data": make_texts(tmp_path / "held out", texts[::2])}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({**TINY, "data": data, "model": model, **every}))
    variants = {
        "gan": {"config": "base.yaml"},
        "likelihood": {"config": "base.yaml", "model.name": "relgan", "game.objective": "likelihood"},
        "relgan": {"config": "base.yaml", "model.name": "relgan", "begun_from": "likelihood"},
    }
    tree = {"name": "texts", "seeds": [0], "measures": ["texts"], "n_samples": 48, "variants": variants}
    tree["temperatures"] = [0.3, 1]
    (tmp_path / "comparison.yaml").write_text(yaml.safe_dump(tree))
    assert main(["comparison.yaml", f"run.dir={tmp_path}"]) == 0
    assert "table.md, results.json, texts.md, temperatures.md, temperatures.svg" in capsys.readouterr().out
    folder = tmp_path / "comparisons/texts"
    files = {"results.json", "table.md", "texts.md", "temperatures.md", "temperatures.svg"}
    assert {file.name for file in folder.iterdir()} == files
    runs = json.loads((folder / "results.json").read_text())["runs"]
    gan, likely, relgan = (run["measures"] for run in runs)
    assert [[*run.get("temperatures", ())] for run in runs] == [[], ["0.3", "1"], ["0.3", "1"]], "one draws no symbols"
    cold, usual = runs[1]["temperatures"].values()
    assert usual == likely
    assert cold["unique"] < usual["unique"]
    lines = (folder / "temperatures.md").read_text().splitlines()
    assert [row.split(" | ")[:2] for row in lines[2:8]] == [
        *(["| gan", ""], ["| likelihood", "0.3"], ["| likelihood", "1"]),
        *(["| relgan", "0.3"], ["| relgan", "1"], ["| real texts", ""]),
    ]
    assert {*likely} - {*gan} == {*relgan} - {*gan} == {"nll_held_out"}
    assert relgan["nll_held_out"] < likely["nll_held_out"] + 0.5, "it begins where the other has ended"
    assert {*gan} >= {"fd-ngrams", "js_4", "novel", "dictionary", "bleu", "self_bleu"}
    rows = [line.split("|") for line in (folder / "table.md").read_text().splitlines() if line.startswith("| ")]
    assert [row[1].strip() for row in rows] == ["variant", "gan", "likelihood", "relgan", "real texts"]
    at = [cell.strip() for cell in rows[0]].index("nll_held_out")
    assert [bool(row[at].strip()) for row in rows[1:]] == [False, True, True, False]
    shown = (folder / "texts.md").read_text().splitlines()
    assert (shown[0], len(shown)) == ("| gan | likelihood | relgan |", 2 + 48)


def test_cells_are_no_markdown() -> None:
    assert markdown_columns({"a": ["x|y", "*"], "b": ["<b>", "כ"]}) == (
        "| a | b |\n| --- | --- |\n| x\\|y | \\<b\\> |\n| \\* | כ |\n"
    )


def test_pictures_are_no_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = {**TINY, "data": {"path": make_set(tmp_path, 30, classes=10, channels=1).base, "channels": 1}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({**pictures, "eval": {"extractor": "classifier"}}))
    tree = {"name": "t", "measures": ["texts"], "variants": {"a": {"config": str(tmp_path / "base.yaml")}}}
    (tmp_path / "comparison.yaml").write_text(yaml.safe_dump(tree))
    assert main([str(tmp_path / "comparison.yaml"), f"run.dir={tmp_path}"]) == 2
    assert "measures: texts compares texts; set data.medium=text" in capsys.readouterr().err


def test_a_variant_begins_with_an_earlier_one(tmp_path: Path) -> None:
    tree = {"name": "t", "measures": ["texts"]}
    variants = {"second": {"config": "words", "begun_from": "first"}, "first": {"config": "words"}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**tree, "variants": variants}, sort_keys=False))
    with pytest.raises(ConfigError, match="begun_from: first is no variant above this one"):
        plan(*read(str(tmp_path / "c.yaml")))
    variants = dict(reversed(variants.items()))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**tree, "variants": variants}, sort_keys=False))
    runs = plan(*read(str(tmp_path / "c.yaml")), [f"run.dir={tmp_path}"], [0, 1])
    names = [None, "t-first-0", None, "t-first-1"]
    assert [run.source and Path(run.source).name for run in runs] == names
