"""A run is measured while it goes on: alike on any number of ranks, without being changed, and the best is kept."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gandist.config.run import RunConfig, validate
from gandist.data.dataset import with_symbols
from gandist.errors import CheckpointError, GandistError
from gandist.evaluation.evaluator import evaluates
from gandist.launch.resumption import prepare, run_root
from gandist.run import checkpoint, evaluations
from gandist.run.progress import METRICS_FILE, decode
from gandist.run.trained import open_trained
from gandist.storage.storage import Storage
from tests.helpers.evaluate_on_ranks import evaluate_new
from tests.helpers.forked import on_ranks
from tests.helpers.small_datasets import make_set
from tests.helpers.text_sets import make_texts
from tests.helpers.train_on_ranks import final_digests, tiny, train_all

EVAL = {"every_kimg": 0.036, "n": 60, "extractor": "classifier"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_set(tmp_path_factory.mktemp("set"), 40, classes=10, channels=1).base


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [pytest.param(2, marks=pytest.mark.nightly), 3])
def test_any_number_of_ranks_measures_the_same(shards: str, tmp_path: Path, world_size: int) -> None:
    """203 images, which no two ranks share evenly; G has BatchNorm, whose statistics differ from rank to rank. And 203
    texts, of a G that has a likelihood."""
    config = tiny(tmp_path, "any", data={"path": shards, "channels": 1}, model__norm="batch", eval={**EVAL, "n": 203})
    configs = {"images": config, "texts": of_texts(tmp_path)}
    found: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in configs}
    for size in (1, world_size):
        for name, each in configs.items():
            # Each looks at the real samples itself.
            cache = {"data": {**each.resolved()["data"], "cache_dir": str(tmp_path / f"cache-{size}")}}
            on_ranks(size, tmp_path, evaluate_new, {**each.resolved(), **cache}, tmp_path / "out.json")
            found[name][size] = json.loads((tmp_path / "out.json").read_text())
    measured = {
        "images": {"fd-classifier", "kid", "is", "recall", "coverage", "memorisation", "ppl"},
        "texts": {"fd-ngrams", "js_4", "novel", "dictionary", "bleu", "self_bleu", "nll_held_out"},
    }
    for name, of in found.items():
        alone = of[1]["measures"]
        assert measured[name] <= alone.keys()
        assert of[world_size]["measures"] == pytest.approx(alone, rel=1e-6), name
        assert of[world_size]["protocol"]["floor"] == pytest.approx(of[1]["protocol"]["floor"], rel=1e-6)
        assert of[world_size]["protocol"]["workers"] == world_size


def of_texts(folder: Path) -> RunConfig:
    """A run of texts, with others held out."""
    every = [(a, b, c) for a in "abcd" for b in "efgh" for c in "ijkl"]
    even, odd = (["".join(each) for each in every if sum(map(ord, each)) % 2 == part] for part in (0, 1))
    data = {"path": make_texts(folder / "texts", even), "medium": "text", "options": {"length": 5}}
    eval = {"every_kimg": 0.036, "n": 203, "data": make_texts(folder / "held out", odd)}
    return with_symbols(tiny(folder, "texts", data=data, model={"name": "relgan", "width": 8}, eval=eval))


def rows_of(config: RunConfig) -> list[dict[str, Any]]:
    return decode(Storage(run_root(config)).read_bytes(METRICS_FILE) or b"")


@pytest.mark.slow
def test_a_run_is_measured_and_none_the_worse(shards: str, tmp_path: Path) -> None:
    data = {"path": shards, "channels": 1}
    plain = tiny(tmp_path, "plain", data=data)
    measured = tiny(tmp_path, "measured", data=data, eval=EVAL, train__keep=1)
    train_all(1, [plain, measured], tmp_path)
    assert final_digests(plain) == final_digests(measured)
    rows = [row for row in rows_of(measured) if "quality/fd-classifier" in row]
    assert [row["images_seen"] for row in rows] == [36, 72, 108, 120]
    assert all(row["eval_s"] > 0 and row["quality/coverage"] is not None for row in rows)
    assert not any("quality/fd-classifier/class-0" in row for row in rows), "single classes are in evaluations.jsonl"
    storage = Storage(run_root(measured))
    recorded = evaluations.read(storage)
    assert [each["images_seen"] for each in recorded] == [36, 72, 108, 120]
    assert recorded[0]["protocol"]["n_fake"] == 60
    distances = {each["images_seen"]: each["measures"]["fd-classifier"] for each in recorded}
    best = min(distances, key=lambda seen: distances[seen])
    assert evaluations.best(recorded) == best
    assert [int(name) for name in checkpoint.names(storage)] == sorted({best, 120})
    assert open_trained(storage.root, torch.device("cpu"), "best").images_seen == best
    with pytest.raises(CheckpointError, match="was not measured"):
        open_trained(run_root(plain), torch.device("cpu"), "best")


def entry(images_seen: int, distance: float | None, **protocol: Any) -> dict[str, Any]:
    return {"images_seen": images_seen, "measures": {"fid": distance, "kid": 0.0}, "protocol": protocol}


def test_the_best_is_of_those_that_can_be_compared() -> None:
    assert evaluations.best([]) is None
    same = [entry(1, 9.0, n_fake=10), entry(2, 3.0, n_fake=10), entry(3, None, n_fake=10), entry(4, 5.0, n_fake=10)]
    assert evaluations.best(same) == 2
    assert evaluations.best([*same, entry(5, 8.0, n_fake=20)]) == 5, "of more images: another measure"
    assert evaluations.best([entry(3, None)]) == 3


def test_a_run_that_is_shorter_than_a_period_is_not_measured() -> None:
    def long(total_kimg: float, every_kimg: float | None) -> bool:
        return evaluates(validate({"train": {"total_kimg": total_kimg}, "eval": {"every_kimg": every_kimg}}))

    assert (long(99, 100), long(100, 100), long(100, None)) == (False, True, False)


def test_what_cannot_be_measured_is_refused_first(shards: str, tmp_path: Path) -> None:
    data = {"path": shards, "channels": 1}
    config = tiny(tmp_path, "inception", data=data, eval={**EVAL, "extractor": "inception"})
    with pytest.raises(GandistError, match=r"eval.extractor: inception: .*eval.weights"):
        prepare(config, "auto")
    absent = {**EVAL, "weights": str(tmp_path / "absent.safetensors")}
    with pytest.raises(GandistError, match=r"eval.extractor: .*absent.safetensors"):
        prepare(tiny(tmp_path, "absent", data=data, eval=absent), "auto")
    few = make_set(tmp_path, 10, classes=10, channels=1).base
    with pytest.raises(GandistError, match=r"10 images; measures need at least 12; set eval.every_kimg=null"):
        prepare(tiny(tmp_path, "few", data={"path": few, "channels": 1}, train__batch=10, eval=EVAL), "auto")
    assert not (tmp_path / "few").exists()
