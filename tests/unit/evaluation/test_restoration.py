"""A G that is given samples is measured beside its targets and beside what needs no learning."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from gandist import evaluate
from gandist.conditions.sample import OfSample
from gandist.config.run import RunConfig
from gandist.data.dataset import with_images_at
from gandist.data.order import Order
from gandist.data.packing import pack
from gandist.distributed.consensus import Host
from gandist.distributed.ranks import Ranks
from gandist.evaluation import restoration
from gandist.evaluation.evaluation import yardstick
from gandist.evaluation.evaluator import extractor_of
from gandist.evaluation.features import look
from gandist.evaluation.fidelity import psnr, ssim
from gandist.evaluation.kernel import kernel_distance
from gandist.evaluation.statistics import distance_of
from gandist.launch.resumption import prepare, run_root
from gandist.run import evaluations
from gandist.run.evaluations import Result
from gandist.run.examples import ExampleConditions, open_examples
from gandist.run.trained import open_trained
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.evaluate_on_ranks import evaluate_new
from tests.helpers.forked import on_ranks
from tests.helpers.image_to_image import GAMES
from tests.helpers.small_datasets import make_set, pixels
from tests.helpers.train_on_ranks import tiny

CPU = torch.device("cpu")
EVAL = {"every_kimg": 0.06, "n": 30, "extractor": "classifier"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("sets")
    return {name: make_set(root / name, n, classes=0, channels=1).base for name, n in (("train", 40), ("held-out", 35))}


def configured(folder: Path, case: str, shards: dict[str, str], **changes: Any) -> RunConfig:
    evaluated = {**EVAL, "data": shards["held-out"], **changes.pop("eval", {})}
    data = {"path": shards["train"], "channels": 1}
    return tiny(folder, case, data=data, eval=evaluated, precision="fp32", **{**GAMES[case], **changes})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, shards: dict[str, str]) -> dict[str, RunConfig]:
    folder = tmp_path_factory.mktemp("runs")
    kinds = {"kinds": [{"strokes": {}}, {"box": {}}, {"half": {"weight": 1e-9}}]}
    configs = {
        "enhancing": configured(folder, "enhancing", shards),
        "filling": configured(folder, "filling", shards, condition__options=kinds),
    }
    for config in configs.values():
        assert train(config, prepare(config, "auto"), Host()).status == "done"
    return configs


def test_examples_are_the_same_in_any_batch(shards: dict[str, str], tmp_path: Path) -> None:
    config = configured(tmp_path, "enhancing", shards)
    examples = open_examples(config, CPU)
    x, y = examples.of(np.arange(6))
    assert y is not None
    assert (x.shape, y.shape) == ((6, 1, 32, 32), (6, 1, 8, 8))
    for numbers in ([3], [5, 0, 3]):
        some_x, some_y = examples.of(np.array(numbers))
        assert some_y is not None
        torch.testing.assert_close(some_x, x[numbers], rtol=0, atol=0)
        torch.testing.assert_close(some_y, y[numbers], rtol=0, atol=1e-5)
    lazily = ExampleConditions(examples, np.array([5, 0, 3]))
    torch.testing.assert_close(lazily[1:], y[[0, 3]], rtol=0, atol=1e-5)
    assert len(lazily) == 3
    members = examples.groups(np.arange(6))
    assert {name: each[[5, 0, 3]].tolist() for name, each in members.items()} == {
        name: each.tolist() for name, each in examples.groups(np.array([5, 0, 3])).items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", ["enhancing", "filling"])
def test_measures_are_those_of_the_outputs(case: str, runs: dict[str, RunConfig]) -> None:
    """Of the run's last evaluation, recomputed from G's outputs for held-out samples."""
    config = runs[case]
    measured = evaluations.read(Storage(run_root(config)))[-1]
    assert measured["protocol"]["n_fake"] == 30
    trained = open_trained(run_root(config), CPU)
    held_out = open_examples(with_images_at(config, config.eval.data or ""), CPU)
    numbers = Order([held_out.n], 0).take(0, 30)
    x, y = held_out.of(numbers)
    rows = trained.samples(trained.latents(60)[:30], y)
    out = trained.medium.to_network(torch.from_numpy(rows))
    found = measured["measures"]
    assert found["psnr"] == pytest.approx(float(psnr(out, x).mean()), rel=1e-5)
    assert found["ssim"] == pytest.approx(float(ssim(out, x).mean()), rel=1e-5)
    assert next(iter(found)) == "fd-classifier"
    assert ("l1_hole" in found) == ("variety" in found) == (case == "filling")
    # What needs no learning, by the same measures
    assert y is not None
    assert isinstance(trained.condition, OfSample)
    floors = trained.condition.maker.floors(y, trained.medium.network_shape)
    assert list(measured["baselines"]) == list(floors)
    for name, floor in floors.items():
        whole = trained.medium.to_network(trained.medium.from_network(floor))
        assert measured["baselines"][name]["psnr"] == pytest.approx(float(psnr(whole, x).mean()), rel=1e-5)
        assert set(measured["baselines"][name]) == set(found) - {"kid", "kid_se", "is", "variety"} - {
            *("precision", "recall", "density", "coverage")
        }
    # Within groups
    best, floor = next(iter(floors.items()))
    whole = trained.medium.to_network(trained.medium.from_network(floor))
    groups = held_out.groups(numbers)
    assert {by for by, _ in groups} == ({"mask"} if case == "filling" else {"operation", "strength"})
    for (by, name), members in groups.items():
        group = measured[f"by_{by}"][name]
        assert group.pop("n") == members.sum()
        if not members.any():
            assert group == {}
            continue
        beside = group.pop("baseline")
        assert beside.pop("name") == best
        assert set(group) == set(beside) == set(found) & {"psnr", "ssim", "pd-classifier", "l1", "l1_hole", "ssim_hole"}
        for values, outputs in ((group, out), (beside, whole)):
            assert values["psnr"] == pytest.approx(float(psnr(outputs, x)[members].mean()), rel=1e-5)
            assert values["ssim"] == pytest.approx(float(ssim(outputs, x)[members].mean()), rel=1e-5)


def test_distances_of_a_group_are_those_of_its_outputs(
    runs: dict[str, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoration, "GROUP_MIN", 10)
    config, ranks = runs["filling"], Ranks(0, 1, CPU)
    extractor = extractor_of(config, CPU)
    against, trained = yardstick(config, extractor, ranks), open_trained(run_root(config), CPU)
    box = against.evaluate(trained, 30).groups["mask", "box"]
    held_out = open_examples(with_images_at(config, config.eval.data or ""), CPU)
    numbers = Order([held_out.n], 0).take(0, 30)
    members = held_out.groups(numbers)["mask", "box"]
    assert box.n == members.sum() >= 10
    _, y = held_out.of(numbers)
    rows = trained.samples(trained.latents(60)[:30], y)[members]
    seen = look(extractor, trained.medium, [rows], len(rows), CPU)
    assert box.measures["fd-classifier"] == pytest.approx(distance_of(against.moments, seen.moments), rel=1e-4)
    assert box.measures["kid"] == pytest.approx(kernel_distance(against.real.seen.h, seen.h).mean, rel=1e-4)
    assert box.baseline is not None
    assert box.baseline[1].keys() == box.measures.keys()


def test_the_command_shows_measures_and_baseline(
    runs: dict[str, RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    root = run_root(runs["enhancing"])
    assert evaluate.main([root, "--n", "30", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {"psnr", "ssim", "pd-classifier", "fd-classifier"} <= shown.keys()
    assert shown["baseline"]["name"] == "bicubic"
    assert shown["baseline"]["psnr"] == shown["baselines"]["bicubic"]["psnr"]
    assert evaluate.main([root, "--n", "30"]) == 0
    assert "nearest: fd-classifier " in capsys.readouterr().out
    assert evaluate.main([run_root(runs["filling"]), "--n", "30"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    heading = next(line for line in lines if line[:3] == ["Measures", "by", "mask"])
    assert heading[3:] == ["n", "psnr", "ssim", "pd-classifier", "l1", "l1_hole", "ssim_hole"]
    assert ["half", "0", *"------"] in lines
    assert {"strokes-wide", "strokes-wide:", "box", "box:"} <= {line[0] for line in lines if line}


@pytest.mark.slow
def test_pairs_are_trained_on_and_measured(tmp_path: Path) -> None:
    """From two folders to measures: targets, inputs beside them, and inputs as what needs no learning."""
    for number in range(30):
        for side, offset in (("inputs", 0), ("targets", 100)):
            path = tmp_path / side / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            PIL.Image.fromarray(pixels(number + offset, channels=1)).save(path)
    pack(str(tmp_path / "inputs"), str(tmp_path / "pairs"), targets=str(tmp_path / "targets"), workers=1)
    data = {"path": str(tmp_path / "pairs"), "channels": 1, "flip": True}
    changes = {**GAMES["filling"], "condition__kind": "paired", "model__z_dim": 0, "precision": "fp32"}
    config = tiny(tmp_path, "pairs-run", **{**changes, "data": data, "eval": EVAL})
    assert train(config, prepare(config, "auto"), Host()).status == "done"
    measured = evaluations.read(Storage(run_root(config)))[-1]
    x, y = open_examples(config, CPU).of(np.arange(30))
    assert y is not None
    for found, offset in ((y, 0), (x, 100)):
        raw = np.stack([pixels(number + offset, channels=1) for number in range(30)])
        rows = np.sort(((found + 1) * 127.5).round().numpy().reshape(30, -1), axis=0)
        np.testing.assert_array_equal(rows, np.sort(raw.reshape(30, -1), axis=0))
    assert measured["baselines"]["input"]["psnr"] == pytest.approx(float(psnr(y, x).mean()), rel=1e-5)
    assert evaluate.main([run_root(config), "--n", "30", "--json"]) == 0


@pytest.mark.parametrize(("best_by", "expected"), [(None, 200), ("psnr", 100), ("l1", 100)])
def test_the_best_checkpoint_is_that_of_the_configured_measure(best_by: str | None, expected: int) -> None:
    protocol = {} if best_by is None else {"best_by": best_by}
    found = [
        Result({"fd-x": 3.0, "psnr": 30.0, "l1": 0.1}, 100, protocol).plain(),
        Result({"fd-x": 2.0, "psnr": 25.0, "l1": 0.2}, 200, protocol).plain(),
    ]
    assert evaluations.best(found) == expected


def test_a_measure_that_a_run_lacks_is_refused_before_it_starts(shards: dict[str, str], tmp_path: Path) -> None:
    config = configured(tmp_path, "enhancing", shards, eval={"best": "l1_hole"})
    with pytest.raises(Exception, match=r"eval.best: unknown value 'l1_hole'; one of .*psnr"):
        prepare(config, "auto")


@pytest.mark.nightly
@pytest.mark.slow
def test_any_number_of_ranks_measures_the_same(shards: dict[str, str], tmp_path: Path) -> None:
    config = configured(tmp_path, "filling", shards)
    found = {}
    for world_size in (1, 2):
        on_ranks(world_size, tmp_path, evaluate_new, config.resolved(), tmp_path / "out.json")
        found[world_size] = json.loads((tmp_path / "out.json").read_text())
    assert found[2]["measures"] == pytest.approx(found[1]["measures"], rel=1e-5)
    assert found[2]["baselines"]["diffusion"] == pytest.approx(found[1]["baselines"]["diffusion"], rel=1e-5)
    assert found[2]["by_mask"].keys() == found[1]["by_mask"].keys() == {"strokes-wide", "box"}
    for name, group in found[1]["by_mask"].items():
        other = found[2]["by_mask"][name]
        beside, others = group.pop("baseline"), other.pop("baseline")
        assert others.pop("name") == beside.pop("name") == "diffusion"
        assert others == pytest.approx(beside, rel=1e-5)
        assert other == pytest.approx(group, rel=1e-5)
