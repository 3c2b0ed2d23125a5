"""`python -m gandist.evaluate`: what it prints, and what it says where it cannot."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gandist.evaluate import main
from gandist.launch.resumption import run_root
from gandist.train import course
from tests.helpers.small_datasets import make_set
from tests.helpers.train_on_ranks import tiny
from tests.unit.evaluation.test_extractors import scripted

MEASURES = {"kid", "kid_se", "is", "precision", "recall", "density", "coverage", "memorisation", "ppl"}
N = "24"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of ten steps on 40 images, with checkpoints at 60 and 120 images."""
    folder = tmp_path_factory.mktemp("run")
    path = make_set(folder, 40, classes=10, channels=1).base
    config = tiny(folder, "tiny", data__path=path, optim__ema_half_life_kimg=0, precision="fp32")
    assert course.run(config, "auto") == 0
    return run_root(config)


def measures(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in ("images_seen", "protocol")}


def objects(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """What the command prints with --json, a line an object."""
    assert main([*arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_object(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = objects(capsys, run, "--n", N, "--extractor", "classifier")
    assert measures(found).keys() == {"fd-classifier", *MEASURES}
    assert all(isinstance(value, float) for value in measures(found).values())
    assert found["images_seen"] == 120
    protocol = found["protocol"]
    assert protocol.keys() >= {"extractor", "n_real", "n_fake", "resize", "floor", "seed", "seconds"}
    assert (protocol["extractor"], protocol["n_real"], protocol["n_fake"]) == ("classifier", 40, int(N))
    (again,) = objects(capsys, run, "--n", N, "--extractor", "classifier")
    (other,) = objects(capsys, run, "--n", N, "--extractor", "classifier", "--seed", "1")
    assert measures(again) == measures(found) != measures(other)


@pytest.mark.nightly
@pytest.mark.slow
def test_the_default_is_effnet_and_the_last_line_is_the_object(run: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([run, "--n", N, "--json"]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    found = json.loads(line)
    assert measures(found).keys() == {"fd-effnet-lite0", *MEASURES}
    assert found["protocol"]["extractor"] == "effnet-lite0"


def test_inception_alone_gives_an_fid(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scripted(tmp_path / "i.pt")
    (found,) = objects(capsys, run, "--n", N, "--extractor", "inception", "--weights", str(tmp_path / "i.pt"))
    assert measures(found).keys() == {"fid", *MEASURES}


def test_every_checkpoint(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = [run, "--n", N, "--extractor", "classifier"]
    every = objects(capsys, *options, "--all")
    assert [found["images_seen"] for found in every] == [60, 120]
    (first,) = objects(capsys, *options, "--images-seen", "60")
    assert measures(first) == measures(every[0]) != measures(every[1])


def test_a_damaged_checkpoint_is_left_out(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "checkpoints" / "00000060" / "G_ema.safetensors").write_bytes(b"")
    assert main([str(copy), "--n", N, "--extractor", "classifier", "--all", "--json"]) == 0
    said = capsys.readouterr()
    assert [json.loads(line)["images_seen"] for line in said.out.splitlines()] == [120]
    assert "00000060: damaged" in said.err


def test_against_other_images(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_set(tmp_path, 30, classes=10, channels=1, size=64).base
    (found,) = objects(capsys, run, "--n", N, "--extractor", "classifier", "--data", other)
    (own,) = objects(capsys, run, "--n", N, "--extractor", "classifier")
    assert (found["protocol"]["n_real"], own["protocol"]["n_real"]) == (30, 40)
    assert "held out" in found["protocol"]["memorisation_is"]
    assert found["fd-classifier"] != own["fd-classifier"]


def test_for_people(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([run, "--n", N, "--extractor", "classifier"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "at 120 images seen"
    assert any(line.split()[0] == "fd-classifier" for line in lines)
    assert "extractor classifier" in lines[-1]
    assert f"n_fake {N}" in lines[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "11"], "--n 11: measures need at least 12"),
        (["--n", "0"], "0"),
        (["--extractor", "fid"], "--extractor: unknown value 'fid'"),
        (["--extractor", "inception"], "--weights"),
        (["--extractor", "inception", "--weights", "nowhere.pt"], "nowhere.pt: cannot be read"),
        (["--extractor", "classifier", "--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--extractor", "classifier", "--data", "nowhere"], "nowhere: no such folder"),
        (["--extractor", "classifier", "--images-seen", "7"], "none of 7 images"),
        (["--all", "--images-seen", "60"], "not allowed with"),
    ],
)
def test_refusals(run: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main([run, *options])
    except SystemExit as ended:  # as argparse does
        status = int(str(ended.code))
    written = capsys.readouterr()
    assert status == 2
    assert message in written.err
    assert written.out == ""


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing")]) == 2
    assert "is no run" in capsys.readouterr().err


def test_too_few_real_images(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = make_set(tmp_path, 10, classes=10, channels=1).base
    assert main([run, "--n", N, "--extractor", "classifier", "--data", few]) == 2
    assert "10 images; measures need at least 12" in capsys.readouterr().err
