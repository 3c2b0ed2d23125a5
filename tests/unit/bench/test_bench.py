"""What `gandist.bench` measures is counted otherwise too, and what it models has the right limits."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from gandist.bench import main
from gandist.bench.scaling import Machine
from gandist.config.run import load
from gandist.launch.driver import launch
from gandist.launch.resumption import prepare

MB = 1_000_000
FREE = Machine(inside=1e30, between=1e30, inside_s=0, between_s=0, overlap=0)


@pytest.mark.slow
def test_the_bytes_are_those_of_the_gradients(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Against what a run's checkpoint holds: D's weights for each of its updates, and G's."""
    changes = ["model.width=4", "train.batch=8", "game.n_critic=2", "launch.kind=local", "launch.threads=1"]
    changes += [f"run.dir={tmp_path}", "train.total_kimg=0.016", "telemetry.enabled=false", "precision=fp32"]
    assert main(["scaling", *changes, "--steps", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    alone, two = found["measured"]
    config = load("demo", changes)
    assert launch(config, prepare(config, "auto")).status == "done"
    (folder,) = (tmp_path / "demo/checkpoints").iterdir()
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    D, G = (
        sum(t.nbytes for name, t in load_file(folder / f"{net}.safetensors").items() if not name.endswith(statistics))
        for net in "DG"
    )
    assert (alone["bytes"], alone["ideal_bytes"]) == (0, 2 * D + G)
    assert two["bytes"] == two["ideal_bytes"] == 2 * D + G
    assert two["buckets"] >= 3
    assert [each["gpus"] for each in found["model"]] == [8, 64, 512]
    assert found["assumed"]["step_s"] == pytest.approx(0.05)


def test_limits_of_the_model() -> None:
    for gpus in (1, 8, 64, 512):
        for shared in (False, True):
            assert FREE.efficiency(gpus, 100 * MB, 4, shared) == pytest.approx(1)
    assert Machine().communication_s(1, 100 * MB, 4) == 0

    wide = replace(FREE, between=20e9)
    narrow = replace(FREE, between=10e9)
    assert narrow.communication_s(64, 100 * MB, 4) == pytest.approx(2 * wide.communication_s(64, 100 * MB, 4))
    # Of a long ring each GPU sends every byte twice.
    assert wide.communication_s(100_000, 100 * MB, 4) == pytest.approx(2 * 100 * MB / 20e9, rel=1e-4)
    # Nothing to send but messages: latency alone, twice round the ring, for each bucket.
    assert replace(FREE, between_s=1e-5).communication_s(64, 0, 4) == pytest.approx(2 * 63 * 4 * 1e-5)


def test_what_is_hidden_and_what_is_not() -> None:
    slow = replace(FREE, step_s=0.1, between=1e9)
    seconds = slow.communication_s(64, 100 * MB, 1)
    assert slow.efficiency(64, 100 * MB, 1) == pytest.approx(0.1 / (0.1 + seconds))
    assert replace(slow, overlap=0.5).efficiency(64, 100 * MB, 1) == pytest.approx(0.1 / (0.05 + seconds))
    assert replace(slow, overlap=1.0, step_s=1).efficiency(64, 100 * MB, 1) == 1
    assert slow.efficiency(64, 100 * MB, 1, shared=True) < slow.efficiency(64, 100 * MB, 1)


def test_a_configuration_that_cannot_be_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scaling", "model.widht=4"]) == 2
    assert "width" in capsys.readouterr().err
