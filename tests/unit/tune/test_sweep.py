"""A sweep file, and what is told of a bad one before a trial starts."""

import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ray.tune.schedulers import TrialScheduler

from gandist.config.run import leaves
from gandist.errors import ConfigError
from gandist.tune import main
from gandist.tune.reported import reported_by
from gandist.tune.room import concurrent, room
from gandist.tune.search import KIMG, scheduler
from gandist.tune.sweep import Plan, Sweep, read, trial_config
from gandist.tune.trials import TRAIN_S
from tests.helpers.checkout_copy import ROOT

SHIPPED = sorted((ROOT / "configs").glob("sweep-*.yaml"))
SMALL: dict[str, Any] = {
    "name": "small",
    "config": "demo",
    "set": {"launch.kind": "local", "train.total_kimg": 4, "eval.every_kimg": 2},
    "space": {"optim.lr_G": {"loguniform": [1e-4, 1e-2]}, "game.objective": {"choice": ["ns", "ls"]}},
    "trials": 4,
}


def written(folder: Path, **changes: Any) -> str:
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump({**SMALL, **changes}))
    return str(file)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_sweeps(file: Path) -> None:
    plan = read(str(file))
    assert {"optim.lr_G", "optim.lr_D", "game.objective"} <= plan.sweep.space.keys()
    assert plan.metrics == {f"quality/fd-{plan.base.eval.extractor or 'effnet-lite0'}": "min"}
    assert f"python -m gandist.tune configs/{file.name}" in file.read_text()


def test_the_documents_example(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/sweeps.md").read_text(), re.S)
    (tmp_path / "sweep.yaml").write_text(block)
    assert read(str(tmp_path / "sweep.yaml")).trials == 16


def test_the_losses_are_all_there_are() -> None:
    from gandist.gan.objectives import OBJECTIVES

    choice = read("sweep-losses").sweep.space["game.objective"].choice
    assert set(choice or ()) == set(OBJECTIVES)


def test_a_plan(tmp_path: Path) -> None:
    plan = read(written(tmp_path))
    assert plan.trials == 4 == len(plan.points or ())
    assert plan.base.health.diverged == plan.base.health.collapsing == "stop"
    assert plan.base.train.checkpoint_kimg == 2, "every measurement has its checkpoint"
    config = trial_config(plan.tree, {"optim.lr_G": 5e-4, "game.objective": "ls"}, str(tmp_path), "00001")
    assert (config.optim.lr_G, config.game.objective) == (5e-4, "ls")
    assert (config.run.dir, config.run.name) == (str(tmp_path), "00001")
    origin = dict(leaves(plan.origin))
    assert origin["health.diverged"] == "roll_back", "what a sweep sets by itself is not in the answer"
    assert origin["train.checkpoint_kimg"] == 35


def test_overrides_are_of_the_files_keys_or_of_all_trials(tmp_path: Path) -> None:
    plan = read(
        written(tmp_path),
        [
            "trials=2",
            "train.total_kimg=6",
            "space.optim.lr_D={loguniform: [1e-4, 1e-3]}",
            "scheduler=median",
            "scheduler.least_trials=2",
            "set.run.seed=3",
        ],
    )
    assert plan.trials == 2
    assert plan.base.train.total_kimg == 6
    assert plan.base.run.seed == 3
    assert "optim.lr_D" in plan.sweep.space
    assert plan.sweep.scheduler.kind == "median"
    assert plan.sweep.scheduler.least_trials == 2


def test_keys_of_the_file_and_sections_do_not_meet() -> None:
    from gandist.config.run import RunConfig

    assert not Sweep.model_fields.keys() & RunConfig.model_fields.keys()


def test_the_base_is_sought_in_the_working_directory_then_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/base.yaml").write_text("run: {name: beside}")
    (tmp_path / "base.yaml").write_text("run: {name: here}")
    changes = {"set": {"train.total_kimg": 4, "eval.every_kimg": 2}, "config": "base.yaml"}
    file = written(tmp_path / "sub", **changes)
    assert read(file).base.run.name == "here"
    (tmp_path / "base.yaml").unlink()
    assert read(file).base.run.name == "beside"


@pytest.mark.parametrize(
    ("metric", "sought"),
    [
        ("quality/psnr", {"quality/psnr": "max"}),
        ("quality/pd-classifier", {"quality/pd-classifier": "min"}),
        *(
            pytest.param(metric, {metric: sought}, marks=pytest.mark.nightly)
            for metric, sought in (("quality/ssim", "max"), ("quality/l1", "min"), ("quality/coverage", "max"))
        ),
        ({"quality/psnr": "min"}, {"quality/psnr": "min"}),
        (None, {"quality/fd-classifier": "min"}),
    ],
)
def test_a_metric_is_sought_in_its_better_direction(tmp_path: Path, metric: object, sought: dict[str, str]) -> None:
    """Also where Ray Tune stops trials."""
    changes = {"metric": metric} if metric else {}
    plan = read(restoring(tmp_path, searcher="tpe", scheduler="asha", **changes))
    assert plan.metrics == sought
    ((name, mode),) = sought.items()
    judge, better_first = scheduler(plan), (4.0, 3.0, 2.0, 1.0) if mode == "max" else (1.0, 2.0, 3.0, 4.0)
    decided = []
    for number, value in enumerate(better_first):
        trial = SimpleNamespace(trial_id=str(number))
        judge.on_trial_add(None, trial)
        decided.append(judge.on_trial_result(None, trial, {KIMG: 2.0, name: value}))
    assert decided == [TrialScheduler.CONTINUE, *[TrialScheduler.STOP] * 3]


def restoring(folder: Path, **changes: Any) -> str:
    """A sweep over a run whose G is given pictures."""
    return written(folder, config="superres-fashion", space=lr(loguniform=[1e-4, 1e-2]), **changes)


@pytest.mark.parametrize("metric", ["quality/pd-effnet-lite0", "quality/ppl", "quality/l1_hole", "quality/variety"])
def test_what_a_run_does_not_measure_is_refused(tmp_path: Path, metric: str) -> None:
    with pytest.raises(ConfigError, match=f"metric: unknown value '{metric}'; one of .*quality/psnr"):
        read(restoring(tmp_path, metric=metric))
    assert "quality/psnr" not in reported_by(read(written(tmp_path)).base)


def test_clips_are_sought_by_their_distance_or_where_one_says(tmp_path: Path) -> None:
    clips = {"config": "video-fashion", "space": lr(loguniform=[1e-4, 1e-2])}
    assert read(written(tmp_path, **clips)).metrics == {"quality/fvd-classifier": "min"}
    assert read(written(tmp_path, **clips, metric="quality/recognised")).metrics == {"quality/recognised": "max"}
    sought = {"quality/frozen": "min"}
    assert read(written(tmp_path, **clips, metric=sought)).metrics == sought
    with pytest.raises(ConfigError, match="metric: unknown value 'quality/motion'"):
        read(written(tmp_path, metric={"quality/motion": "max"}))


def lr(**domain: Any) -> dict[str, Any]:
    return {"optim.lr_G": domain}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"space": {"optim.lrG": {"uniform": [0, 1]}}},
            r"space\.optim\.lrG: is no field; did you mean 'optim\.lr_G'\?",
        ),
        ({"space": {"lr_G": {"uniform": [0, 1]}}}, r"did you mean 'optim\.lr_G'"),
        ({"space": {"optim": {"uniform": [0, 1]}}}, r"space\.optim: is a section; name a field"),
        (
            {"metric": "quality/motion"},
            r"metric: quality/motion is best where .*{quality/motion: min}",
        ),
        ({"set": {"train.totalkimg": 3}}, r"set\.train\.totalkimg: is no field; did you mean 'train\.total_kimg'"),
        ({"space": lr(loguniform=[0, 1])}, r"space\.optim\.lr_G: loguniform: the bounds must be positive"),
        ({"space": lr(choice=[-1])}, r"optim\.lr_G=-1: optim\.lr_G: .*greater than or equal to 0"),
        ({"space": lr(uniform=[0.1, 1], log=True)}, r"space\.optim\.lr_G\.log: unknown key"),
        ({"space": {"game.objective": {"choice": ["ns", "huber"]}}}, r"game\.objective: unknown value 'huber'"),
        ({"space": {"game.penalties.r3.weight": {"uniform": [0, 1]}}}, r"game\.penalties: unknown value 'r3'"),
        (
            {"space": {"optim.lr_G": {"uniform": [0.1, 1], "when": {"game.objectiv": "ns"}}}},
            r"optim\.lr_G\.when: game\.objectiv is no path above it",
        ),
        ({"metric": "quality/fidd"}, r"metric: unknown value 'quality/fidd'; one of .*quality/kid"),
        ({"metric": {"quality/kid": "least"}}, r"metric\.quality/kid: input should be 'min' or 'max'"),
        ({"metric": {"quality/kid": "min", TRAIN_S: "min"}}, r"set searcher=tpe and scheduler=none"),
        ({"scheduler": "ashaa"}, r"scheduler: .*'asha'"),
        ({"scheduler": {"kind": "asha", "grace": 3}}, r"scheduler\.grace: unknown key"),
        ({"scheduler": "asha", "set": {"eval.every_kimg": None}}, r"measures nothing; set eval\.every_kimg"),
        ({"set": {"train.total_kimg": 1, "eval.every_kimg": 2}}, r"measures nothing"),
        ({"scheduler": {"kind": "asha", "grace_kimg": 9}}, r"scheduler\.grace_kimg: 9 lies past the budget"),
        ({"scheduler": "pbt", "searcher": "tpe"}, r"pbt varies the points itself"),
        ({"scheduler": "pbt", "space": {"model.width": {"choice": [8, 16]}}}, r"model\.width: cannot change"),
        ({"searcher": "grid"}, r"optim\.lr_G: a grid needs choice or integer"),
        ({"searcher": "grid", "space": lr(choice=[1e-3])}, r"trials: a grid has as many"),
        ({"trails": 3}, r"trails: unknown key; did you mean 'trials'"),
        ({"name": "a/b"}, r"name: string should match"),
        ({"config": "nosuch.yaml"}, r"nosuch\.yaml: no such file"),
        ({"space": None}, r"space: field required"),
    ],
)
def test_a_bad_sweep_is_told_before_the_first_trial(
    tmp_path: Path, changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([written(tmp_path, **changes)]) == 2
    told = capsys.readouterr().err
    assert re.search(said, told), told
    assert "Traceback" not in told
    assert len(told.strip().splitlines()) == 1, told
    assert not (tmp_path / "sweeps").exists()


def test_a_mistyped_key_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trails: is no key of a sweep file; did you mean 'trials'"):
        read(written(tmp_path), ["trails=3"])
    with pytest.raises(ConfigError, match="written key=value"):
        read(written(tmp_path), ["trials"])


def test_dry_run_prints_the_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([written(tmp_path), "--dry-run"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("0000")]
    plan = read(str(tmp_path / "sweep.yaml"))
    assert [json.loads(line.partition(" ")[2]) for line in lines] == plan.points


def test_populations_keep_checkpoints_until_they_are_taken(tmp_path: Path) -> None:
    plan = read(written(tmp_path, scheduler="pbt"), ["train.total_kimg=20"])
    assert plan.base.train.keep == 12
    assert plan.base.health.diverged == "warn", "what has come apart takes over another's weights"


def test_room() -> None:
    two_nodes = [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 4.0}]
    assert room({"CPU": 1, "GPU": 1}, 2, two_nodes) == 4
    assert room({"CPU": 1, "GPU": 1}, 3, two_nodes) == 2
    assert room({"GPU": 0.25}, 1, two_nodes) == 32
    assert room({"CPU": 5}, 1, two_nodes) == 2, "a worker is whole on one node"
    assert room({"TPU": 1}, 1, two_nodes) == 0


def test_a_sweep_that_cannot_fit_says_what_it_needs_and_what_there_is(tmp_path: Path) -> None:
    plan = read(written(tmp_path, set={**SMALL["set"], "launch.kind": "ray", "launch.workers": 4}))
    nodes = [{"CPU": 2.0, "GPU": 1.0}] * 3
    with pytest.raises(
        ConfigError, match=r"4 x 1 CPU, 1 GPU, each on one node; the cluster has 6 CPU, 3 GPU on 3 nodes"
    ):
        concurrent(plan, {"CPU": 1, "GPU": 1}, nodes)
    assert concurrent(plan, {"CPU": 1}, nodes) == 1
    assert concurrent(plan, {"CPU": 0.5}, nodes) == 3
    assert concurrent(plan, {"CPU": 0.1}, nodes) == plan.trials


def test_trials_that_wait_for_each_other_all_fit_or_are_refused(tmp_path: Path) -> None:
    changed = {**SMALL["set"], "launch.kind": "ray", "launch.workers": 1}
    plan = read(written(tmp_path, set=changed, scheduler="pbt"))
    with pytest.raises(ConfigError, match=r"4 trials x 1 workers, and there is room for 2; set trials=2"):
        concurrent(plan, {"CPU": 1}, [{"CPU": 2.0}])
    assert concurrent(plan, {"CPU": 1}, [{"CPU": 4.0}]) == 4
    with pytest.raises(ConfigError, match="concurrent: pbt trains its trials side by side"):
        read(written(tmp_path, scheduler="pbt", concurrent=2))


def test_an_elastic_trial_takes_its_smallest_size(tmp_path: Path) -> None:
    changed = {**SMALL["set"], "launch.kind": "ray", "launch.workers": [2, 8]}
    assert read(written(tmp_path, set=changed)).base.launch.workers == 2


def test_points_of_a_seed(tmp_path: Path) -> None:
    def objectives(plan: Plan) -> Counter[Any]:
        return Counter(point["game.objective"] for point in plan.points or ())

    first, again = read(written(tmp_path)), read(written(tmp_path))
    assert first.points == again.points
    assert read(written(tmp_path, seed=1)).points != first.points
    assert objectives(read(written(tmp_path, trials=40))).keys() == {"ns", "ls"}
