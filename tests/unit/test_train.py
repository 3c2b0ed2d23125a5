"""The command: what it trains, what it refuses and how, and how it ends."""

import hashlib
import json
import os
import re
import shlex
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from gandist import sample
from gandist.config.methods import new_game
from gandist.config.run import load
from gandist.data.index import Index
from gandist.distributed.randomness import Draws
from gandist.distributed.ranks import Ranks
from gandist.launch.resumption import prepare
from gandist.media.image import Image as ImageMedium
from gandist.storage.remote import join
from gandist.storage.storage import Storage
from gandist.train import course, main
from gandist.training.inputs import Inputs
from gandist.training.loading import load as load_all
from tests.helpers import forked
from tests.helpers.s3_server import serve_bucket
from tests.helpers.scripts import python
from tests.helpers.small_datasets import damage, far_labels, make_set

N = 20


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_set(tmp_path_factory.mktemp("colour"), N, seed=0)


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_set(tmp_path_factory.mktemp("grey"), N, size=28, channels=1)


@pytest.fixture
def command(tmp_path: Path, colour: Index) -> list[str]:
    """Two steps of a tiny pair on twenty images."""
    tree = {
        "run": {"dir": str(tmp_path / "runs"), "name": "mine"},
        "data": {"path": colour.base},
        "model": {"width": 4, "z_dim": 8},
        "train": {"batch": 8, "total_kimg": 0.016, "tick_kimg": 0.008},
        "launch": {"kind": "local", "threads": 1},
        "telemetry": {"enabled": False},
        "precision": "fp32",
    }
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(tree))
    return [str(file)]


def run_folder(command: list[str]) -> Path:
    return Path(command[0]).parent / "runs" / "mine"


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """sha256 and time of what a run has made."""
    made = [folder / "metrics.jsonl", *folder.glob("samples/*"), *folder.glob("checkpoints/*/*")]
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in made
    }


def test_a_run(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 0
    folder = run_folder(command)
    printed = capsys.readouterr().err
    for name in ("samples", "metrics.jsonl", "checkpoints", "report.html"):
        assert str(folder / name) in printed
    assert "Samples of mine at 16 images seen" in (folder / "report.html").read_text()
    assert [row["images_seen"] for row in rows(folder)] == [8, 16]
    for row in rows(folder):
        assert {"loss/D", "loss/G", "img_per_s", "data_wait_s", "world_size", "skipped/D", "grad_norm/G"} <= row.keys()
        assert row.pop("verdict") == "healthy"
        assert all(np.isfinite(value) for value in row.values())
    assert sorted(path.name for path in (folder / "samples").iterdir()) == ["00000000.png", "00000016.png"]
    manifest = json.loads((folder / "checkpoints/00000016/manifest.json").read_text())
    assert manifest["images_seen"] == 16
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"]["width"] == 4


def test_its_lines_are_short_and_end_with_what_to_type_next(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(command[0]).parent)
    assert main([*command, "eval.every_kimg=0.016", "eval.n=12", "eval.extractor=classifier"]) == 0
    printed = capsys.readouterr().err
    assert max(map(len, printed.splitlines())) <= 200
    rows_shown = re.findall(r"^\d+ of 16 images  .*$", printed, re.M)
    assert rows_shown
    assert all(len(row.split("  ")) <= 8 for row in rows_shown)
    assert re.search(r"^16 of 16 images  100%  .* img/s .* D \S+  G \S+  fd-\S+ \S+  healthy$", printed, re.M)
    assert re.search(r"^  fd-\S+ [\d.]+ at 16 images \(its best\)$", printed, re.M)
    following = [line.strip() for line in re.sub(r" \\\n +", " ", printed.partition("next:\n")[2]).splitlines()]
    sampling = next(each for each in following if "gandist.sample" in each)
    assert sampling == "python -m gandist.sample runs/mine --n 36 --out mine.png"
    assert sample.main(sampling.split()[3:]) == 0
    assert Path("mine.png").exists()
    overrides = "eval.every_kimg=0.016 eval.n=12 eval.extractor=classifier run.name=mine data.path=data/mine"
    assert f"python -m gandist.train {command[0]} {overrides}" in following


@pytest.mark.parametrize(
    ("kind", "images"),
    [("degraded", "FOLDER_OF_IMAGES"), ("paired", "--pairs FOLDER_OF_INPUTS FOLDER_OF_TARGETS")],
)
def test_what_to_type_next_where_g_is_given_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, images: str
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["condition.options={}", f"condition.kind={kind}"]
    steps = list(course.next_steps("superres-fashion", options, load("superres-fashion", options)))
    assert steps[-3:] == [
        "python -m gandist.apply runs/superres-fashion IMAGES --out superres-fashion-outputs",
        f"python -m gandist.pack {images} data/mine --size 32 --channels 1",
        f"python -m gandist.train superres-fashion 'condition.options={{}}' condition.kind={kind} run.name=mine "
        "data.path=data/mine eval.data=null",
    ]
    again = load("superres-fashion", shlex.split(steps[-1])[4:])
    assert (again.data.path, again.eval.data, again.condition.kind) == ("data/mine", None, kind)


@pytest.mark.parametrize(
    ("config", "overrides", "samples", "changes"),
    [
        ("demo", ["model.classes=3", "run.name=other"], "FOLDER_OF_IMAGES", "model.classes=0"),
        ("demo", ["game.penalties.mismatch=1"], "FOLDER_OF_10_CLASSES", "game.penalties.mismatch=1"),
        ("wavegan-tones", ["eval.best=recognised"], "FOLDER_OF_SOUNDS",
         "model.classes=0 eval.extractor=bands eval.best=null"),
        ("wavegan-tones", ["eval.weights=mine.safetensors"], "FOLDER_OF_SOUNDS",
         "eval.weights=mine.safetensors model.classes=0"),
    ],
    ids=["their own classes", "classes are needed", "no labels", "weights of their own"],
)  # fmt: skip
def test_what_to_type_next_keeps_the_overrides_that_fit_other_samples(
    config: str, overrides: list[str], samples: str, changes: str
) -> None:
    *_, packing, training = course.next_steps(config, overrides, load(config, overrides))
    assert packing.split()[3] == samples
    assert sorted(training.split()[4:]) == sorted(["run.name=mine", "data.path=data/mine", *changes.split()])


def test_all_that_is_logged_is_kept_with_the_run(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 0
    shown = capsys.readouterr().err
    (file,) = (run_folder(command) / "logs").iterdir()
    kept = file.read_text()
    assert "grad_norm/D" not in shown
    assert len(re.findall(r"DEBUG tick images_seen=\d+ .*grad_norm/D=", kept)) == 2
    assert "INFO training run=mine" in kept
    assert main(command) == 0
    assert list((run_folder(command) / "logs").iterdir()) == [file], "there was nothing to do"
    assert main([*command, "train.total_kimg=0.024"]) == 0
    assert file.read_text() == kept
    assert len(list((run_folder(command) / "logs").iterdir())) == 2


def test_a_class_without_images_is_warned_of(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = far_labels(make_set(tmp_path / "far", N), 1)
    assert main([*command, f"data.path={index.base}", "model.classes=3"]) == 0
    assert capsys.readouterr().err.count("1 of 3 classes has no images (class0)") == 1


def test_verbose_shows_rows_whole(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "-v"]) == 0
    printed = capsys.readouterr().err
    assert len(re.findall(r"^tick images_seen=\d+ .*grad_norm/D=", printed, re.M)) == 2
    assert " of 16 images" not in printed


def test_a_finished_run_run_again_changes_nothing(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 0
    before = state(run_folder(command))
    assert len(before) > 8
    assert main(command) == 0
    assert state(run_folder(command)) == before
    assert "images_seen=16" in capsys.readouterr().err


def test_a_report_is_written_where_it_is_missing_or_old(command: list[str]) -> None:
    report = run_folder(command) / "report.html"
    assert main(command) == 0
    first = report.stat().st_mtime_ns
    assert main(command) == 0
    assert report.stat().st_mtime_ns == first
    report.unlink()
    assert main(command) == 0
    assert "Samples of mine at 16 images seen" in report.read_text()
    assert main([*command, "train.total_kimg=0.032"]) == 0
    assert "Samples of mine at 32 images seen" in report.read_text()


def test_a_report_that_cannot_be_written_is_no_failure(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (run_folder(command) / "report.html").mkdir(parents=True)
    assert main(command) == 0
    printed = capsys.readouterr().err
    assert re.search(r"no report: \w+: .*; python -m gandist.report .*/mine", printed)
    assert "\n  report " not in printed
    assert "Traceback" not in printed
    assert (run_folder(command) / "checkpoints/00000016").is_dir()


def test_what_draws_reports_is_not_imported_before() -> None:
    code = "import sys, gandist.train.course; sys.exit('jinja2' in sys.modules or 'gandist.report' in sys.modules)"
    assert python("-c", code).returncode == 0


def test_a_run_goes_on_where_total_kimg_grows(command: list[str]) -> None:
    assert main(command) == 0
    before = state(run_folder(command))
    assert main([*command, "train.total_kimg=0.032"]) == 0
    after = state(run_folder(command))
    assert [row["images_seen"] for row in rows(run_folder(command))] == [8, 16, 24, 32]
    assert {name: facts for name, facts in after.items() if name in before and "/" in name} == {
        name: facts for name, facts in before.items() if "/" in name
    }
    assert (run_folder(command) / "checkpoints/00000032").is_dir()


def test_equal_runs_end_with_equal_bytes(command: list[str]) -> None:
    assert main(command) == main([*command, "run.name=other"]) == 0
    folder = run_folder(command)
    a, b = ({p.name: p.read_bytes() for p in path.glob("checkpoints/00000016/*.safetensors")}
            for path in (folder, folder.with_name("other")))  # fmt: skip
    assert len(a) == 5
    assert a == b
    assert main([*command, "run.name=third", "run.seed=1"]) == 0
    assert (folder.with_name("third") / "checkpoints/00000016/G.safetensors").read_bytes() != a["G.safetensors"]


@pytest.mark.parametrize(
    "overrides",
    [
        # By day only as the run of a rank (tests/unit/training/test_worker.py).
        *(
            pytest.param(overrides, marks=pytest.mark.nightly)
            for overrides in (
                ["game.n_critic=2"],
                ["train.accumulate=4", "data.flip=true"],
                ["precision=bf16", "optim.weight_decay=0.1"],
                ["precision=fp64", "model.norm=none"],
            )
        ),
        ["optim.ema_half_life_kimg=0", "game.objective=minimax"],
        ["data.channels=1", "data.cache_gib=1e-7"],
        ["model.classes=2", "game.objective=ls"],
        ["model.resolution=64"],
        ["launch.workers=5", "telemetry.enabled=true"],
        ["optim.lr_G={start: 1e-3, end: 1e-4, over_kimg: 0.01}"],
    ],
    ids=lambda overrides: " ".join(override.partition("{")[0] for override in overrides),
)
def test_each_way_trains_both_players(command: list[str], overrides: list[str]) -> None:
    n_critic = 2 if "game.n_critic=2" in overrides else 1
    images = 16 * n_critic
    kimg = [f"train.total_kimg={images / 1000}", f"train.checkpoint_kimg={images / 2000}"]
    assert main([*command, *kimg, *overrides]) == 0
    folder = run_folder(command)
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == [f"{images // 2:08d}", f"{images:08d}"]
    assert rows(folder)[-1]["images_seen"] == images
    assert rows(folder)[-1]["skipped/D"] == rows(folder)[-1]["skipped/G"] == 0
    for player in ("G", "D", "G_ema"):
        a, b = (load_file(folder / "checkpoints" / name / f"{player}.safetensors") for name in names)
        weights = [name for name, tensor in a.items() if tensor.dim() == 4]
        assert weights
        for name in weights:
            assert not torch.equal(a[name], b[name]), f"{player}: {name} has moved"
            assert torch.isfinite(b[name]).all()


def test_flipping_mirrors_half_of_the_images_by_their_draw(command: list[str]) -> None:
    config = load(command[0], ["data.flip=true", "train.batch=16", "game.n_critic=4"])
    with ExitStack() as closing:
        alone = Ranks(0, 1, torch.device("cpu"))
        loaded = load_all(config, alone, prepare(config, "auto"), "", closing)
        raw = loaded.batches.next()
        inputs = Inputs(config, alone, loaded.index.labels, new_game(config, loaded.players, alone))
        scheduled = torch.tensor(inputs.scheduled(0, 1.0), dtype=torch.float64)
        reals, *_ = inputs.of(loaded.players, [raw] * 4, torch.tensor(0), scheduled, inputs.due(0))
        plain = ImageMedium().to_network(raw.rows)
        patterns = []
        for sub in range(4):
            mirrored = Draws(0, torch.device("cpu")).uniform("flip", torch.tensor(0), sub, (16,)) < 0.5
            expected = torch.where(mirrored[:, None, None, None], plain.flip(3), plain)
            assert torch.equal(reals[sub].x, expected)
            patterns.append(mirrored)
    assert 16 < int(torch.stack(patterns).sum()) < 48


def test_fp16_finds_a_scale_and_keeps_it(command: list[str]) -> None:
    """The scale is halved by each update left out; both are in the checkpoint, and the players move after that."""
    assert main([*command, "precision=fp16", "train.total_kimg=0.16"]) == 0
    (folder,) = (run_folder(command) / "checkpoints").iterdir()
    found = json.loads((folder / "state.json").read_text())
    for player in ("G", "D"):
        skipped = found[f"skipped_{player}"]
        assert 0 < skipped < 15
        assert found[f"scaler_{player}"]["scale"] == 2.0 ** (16 - skipped)
        assert rows(run_folder(command))[-1][f"skipped/{player}"] == skipped
        updates = load_file(folder / f"optim_{player}.safetensors")
        assert {float(tensor) for name, tensor in updates.items() if name.endswith(".step")} == {20 - skipped}


def test_without_a_half_life_the_average_is_the_newest(command: list[str]) -> None:
    assert main([*command, "optim.ema_half_life_kimg=0"]) == 0
    folder = run_folder(command) / "checkpoints/00000016"
    assert (folder / "G.safetensors").read_bytes() == (folder / "G_ema.safetensors").read_bytes()


def test_grey_images_for_networks_that_see_colour_and_small_ones_for_large(command: list[str], grey: Index) -> None:
    assert main([*command, f"data.path={grey.base}", "data.channels=3", "model.resolution=64"]) == 0
    with Image.open(run_folder(command) / "samples/00000016.png") as image:
        assert image.mode == "RGB"
    assert main([*command, f"data.path={grey.base}", "data.channels=1", "run.name=mono"]) == 0
    with Image.open(run_folder(command).with_name("mono") / "samples/00000016.png") as image:
        assert image.mode == "L"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train.bach=4"], ["train.bach", "did you mean 'batch'"]),
        (["train.batch=none"], ["train.batch", "integer"]),
        (["game.objective=wgam"], ["game.objective", "minimax"]),
        (["train.batch"], ["section.key=value"]),
        (["data.path=nowhere/at/all"], ["nowhere/at/all", "no such folder"]),
        (["data.path=builtin:fashion"], ["data.path", "fashion-10k"]),
        (["train.batch=32"], ["holds 20 images", "set train.batch <= 20"]),
        (["model.classes=5"], ["make 2 classes", "model.classes=5", "set model.classes=2"]),
        (["train.accumulate=3"], ["train.batch", "train.accumulate=3"]),
        (["launch.kind=ray", "launch.workers=3"], ["train.batch", "3 workers", "set train.batch=9"]),
        (["--resume", "must"], ["no checkpoint to resume from"]),
        (["run.dir=/dev/null/runs"], ["run.dir", "/dev/null/runs"]),
    ],
)
def test_refusals_are_one_message(
    command: list[str], arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.err.startswith("gandist: ")
    for word in words:
        assert word in printed.err
    assert not (run_folder(command) / "checkpoints").exists()


def test_no_such_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere.yaml"]) == 2
    assert "nowhere.yaml: no such file; shipped configurations: " in capsys.readouterr().err


def test_unlabelled_images_for_a_conditional_pair(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = make_set(tmp_path / "set", 10, classes=0)
    assert main([*command, f"data.path={index.base}", "model.classes=2"]) == 2
    assert "model.classes" in capsys.readouterr().err
    assert main([*command, f"data.path={index.base}"]) == 0


@pytest.mark.parametrize("cache_gib", ["50", "1e-7"], ids=["mapped", "streamed"])
def test_a_damaged_shard(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], cache_gib: str
) -> None:
    index = make_set(tmp_path / "set", N)
    shard = damage(index, 3)
    command += [f"data.path={index.base}", f"data.cache_gib={cache_gib}", "train.total_kimg=0.024"]
    assert main(command) == 2
    printed = capsys.readouterr().err
    assert shard in printed
    assert "Traceback" not in printed
    assert main([*command, "data.on_damage=skip"]) == 0
    assert rows(run_folder(command))[-1]["damaged"] == 1


def test_a_missing_shard_is_found_before_training(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = make_set(tmp_path / "set", N)
    Path(index.url(1)).unlink()
    assert main([*command, f"data.path={index.base}"]) == 2
    assert "000001.tar" in capsys.readouterr().err
    assert not (run_folder(command) / "attempt.json").exists()


def test_a_run_on_s3(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with serve_bucket("bucket") as url:
        command += [f"run.dir={join(url, 'runs')}", "train.checkpoint_kimg=0.008"]
        assert main(command) == 0
        storage = Storage(join(url, "runs/mine"))
        assert storage.folders("checkpoints") == ["00000008", "00000016"]
        assert storage.read_bytes("samples/00000016.png")
        assert storage.read_bytes("report.html")
        assert len((storage.read_bytes("metrics.jsonl") or b"").splitlines()) == 2
        assert main([*command, "train.total_kimg=0.024", "--resume", "must"]) == 0
        assert storage.folders("checkpoints") == ["00000008", "00000016", "00000024"]
        assert len((storage.read_bytes("metrics.jsonl") or b"").splitlines()) == 3
        capsys.readouterr()
        assert main([*command, "--resume", "never"]) == 2
        assert "choose another run.name" in capsys.readouterr().err


def test_a_bucket_that_is_not_there(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with serve_bucket("bucket") as url:
        missing = join(url.replace("bucket?", "none?"), "runs")
        assert main([*command, f"run.dir={missing}"]) == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert "run.dir" in printed
    assert "s3://none/runs/mine" in printed


def test_dry_run_starts_nothing(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--dry-run", "train.batch=4", "data.path=nowhere"]) == 0
    printed = capsys.readouterr().out
    resolved, tables = printed.split("\n\n", 1)
    assert yaml.safe_load(resolved)["train"]["batch"] == 4
    assert re.search(r"^total +[\d,]+ +[\d,]+$", tables, re.MULTILINE)
    assert "steps: 4 of 1 x 4 real images" in tables
    assert not run_folder(command).parent.exists()


def test_the_last_override_wins_wherever_options_stand(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "train.batch=2", "--dry-run", "train.batch=4"]) == 0
    assert "x 4 real images" in capsys.readouterr().out


def test_without_a_file_overrides_change_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model.width=2", "--dry-run"]) == 0
    resolved = yaml.safe_load(capsys.readouterr().out.split("\n\n", 1)[0])
    assert (resolved["run"]["name"], resolved["model"]["width"]) == ("demo", 2)


def test_another_configuration_of_the_same_run_is_refused(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    before = state(run_folder(command))
    capsys.readouterr()
    assert main([*command, "run.seed=7"]) == 2
    assert "run.seed: 0 -> 7" in capsys.readouterr().err
    assert state(run_folder(command)) == before
    assert main([*command, "run.seed=7", "--resume", "never"]) == 0
    assert state(run_folder(command).with_name("mine.1")) == before


def test_a_damaged_checkpoint_costs_the_way_back_to_the_one_before(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command += ["train.checkpoint_kimg=0.008", "train.total_kimg=0.024"]
    assert main(command) == 0
    last = run_folder(command) / "checkpoints/00000024"
    before = {path.name: path.read_bytes() for path in last.glob("*.safetensors")}
    (last / "D.safetensors").write_bytes(before["D.safetensors"][:-1])
    capsys.readouterr()
    assert main(command) == 0
    printed = capsys.readouterr().err
    assert str(last) in printed
    assert "sha256" in printed
    assert [row["images_seen"] for row in rows(run_folder(command))] == [8, 16, 24]
    assert {path.name: path.read_bytes() for path in last.glob("*.safetensors")} == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_last_checkpoint_and_143(
    command: list[str], number: signal.Signals, tmp_path: Path
) -> None:
    log, folder = tmp_path / "log", run_folder(command)
    process = forked.command(log, "gandist.train", *command, "train.total_kimg=1000", "train.tick_kimg=0.2")
    try:
        deadline = time.monotonic() + 60
        while not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").read_text():
            assert process.exitcode is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, number)  # type: ignore[arg-type]
        process.join(30)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == 143
    printed = log.read_text()
    assert f"signal={number.name}" in printed
    assert "Traceback" not in printed
    assert not (folder / "report.html").exists()
    (stopped,) = (folder / "checkpoints").iterdir()
    seen = int(stopped.name)
    assert 200 <= seen < 1_000_000
    assert main([*command, f"train.total_kimg={(seen + 16) / 1000}", "--resume", "must"]) == 0
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == [f"{seen:08d}", f"{seen + 16:08d}"]
    counts = [row["images_seen"] for row in rows(folder)]
    assert counts == sorted(set(counts))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("run.dir=http://127.0.0.1:9/runs", "run.dir"),
        ("data.cache_dir=/dev/null/cache", "data.cache_dir"),
    ],
)
def test_folders_that_cannot_be(
    command: list[str], capsys: pytest.CaptureFixture[str], override: str, words: str
) -> None:
    assert main([*command, override]) == 2
    printed = capsys.readouterr().err
    assert words in printed
    assert "Traceback" not in printed


def test_a_number_may_be_a_name() -> None:
    assert load("demo", ["run.name=1"]).run.name == "1"
