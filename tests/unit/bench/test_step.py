"""`bench step`: what it tells is what the contract names, and its operations are those counted by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gandist.bench import main
from gandist.bench.measure import KEYS, Flops, MeasurementTable, Peak, as_json, in_turn
from tests.helpers.scripts import python
from tests.helpers.train_on_ranks import TINY


def tiny_file(folder: Path, name: str = "tiny", **changes: Any) -> str:
    """`TINY` in float32 and without classes as a file, with changes written `section__key=value`."""
    tree = json.loads(json.dumps({**TINY, "precision": "fp32", "device": "cpu"}))
    tree["run"] = {"name": name, "dir": str(folder / "runs")}
    tree["model"]["classes"] = 0
    for path, value in changes.items():
        section, _, field = path.partition("__")
        tree.setdefault(section, {})[field] = value
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(tree))
    return str(file)


def records(capsys: pytest.CaptureFixture[str], *arguments: str, device: str = "cpu") -> list[dict[str, Any]]:
    """What a command prints, checked against what all of them have in common."""
    assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for each in found:
        assert set(KEYS) <= each.keys()
        assert list(each)[: len(KEYS)] == list(KEYS)
        assert (each["bench"], each["device"]) == (arguments[0], device)
        assert isinstance(each["batch"], int)
        for key in KEYS[6:]:
            assert each[key] is None or (isinstance(each[key], float) and each[key] >= 0)
    return found


def test_every_case_has_its_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = [tiny_file(tmp_path, "a"), tiny_file(tmp_path, "b", game__n_critic=2)]
    found = records(capsys, "step", "--config", *two, "--batch", "4", "6", "--mode", "eager", "--seconds", "0.02")
    assert [(each["config"], each["batch"]) for each in found] == [(file, batch) for file in two for batch in (4, 6)]
    for each, n_critic in zip(found, (1, 1, 2, 2), strict=True):
        assert (each["precision"], each["mode"], each["threads"]) == ("fp32", "eager", 1)
        assert each["img_per_s"] == pytest.approx(each["batch"] * n_critic / each["ms_per_step"] * 1e3)
        assert each["tflops"] == pytest.approx(each["gflop_per_step"] / each["ms_per_step"])
        assert each["ceiling_share"] == pytest.approx(each["tflops"] / each["ceiling_tflops"])
        assert each["warmup_s"] > 0
        assert each["ratio"] is None


def test_operations_of_a_step_are_those_counted_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DCGAN at 32 pixels and width 4 without classes, one channel, 8 latents; N images."""
    (found,) = records(capsys, "step", "--config", tiny_file(tmp_path), "--batch", "4", "--seconds", "0.02")
    last_D, middle_D, wide_D, first_D = 16 * 4**2, 4 * 4 * 8 * 16 * 16, 8 * 8 * 4 * 8 * 16, 16 * 16 * 4 * 16
    D = 2 * (last_D + middle_D + wide_D + first_D)
    first_G, wide_G, middle_G, last_G = 8 * 16 * 16, 4 * 4 * 16 * 8 * 16, 8 * 8 * 8 * 4 * 16, 16 * 16 * 4 * 16
    G = 2 * (first_G + wide_G + middle_G + last_G)
    # For D: G forward, D forward and backward for its weights and all inputs but the images; twice, real and fake.
    # For G: both forward, D back to the images, G for its weights and all inputs but the latents.
    ours = G + 2 * (3 * D - 2 * first_D) + (2 * D) + (3 * G - 2 * first_G)
    assert found["gflop_per_step"] * 1e9 == pytest.approx(4 * ours)


@pytest.mark.parametrize("groups", [1, 4])
def test_a_grouped_convolution_is_counted_by_its_groups(groups: int) -> None:
    x = torch.randn(2, 32, 8, 8, requires_grad=True)
    once = 2 * 2 * 16 * 64 * (32 // groups) * 9
    weight = torch.randn(16, 32 // groups, 3, 3, requires_grad=True)
    with Flops() as forward:
        out = torch.conv2d(x, weight, padding=1, groups=groups).sum()
    with Flops() as backward:
        torch.autograd.grad(out, [x, weight])
    assert (forward.total, backward.total) == (once, 2 * once)
    up = torch.randn(32, 16 // groups, 4, 4, requires_grad=True)
    with Flops() as transposed:
        torch.autograd.grad(torch.conv_transpose2d(x, up, stride=2, padding=1, groups=groups).sum(), [x, up])
    assert transposed.total == 3 * 2 * (2 * 64) * 32 * (16 // groups) * 16


def test_a_penalty_s_operations_are_counted_in_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def gflop(**changes: Any) -> float:
        file = tiny_file(tmp_path, **changes)
        (found,) = records(capsys, "step", "--config", file, "--batch", "4", "--seconds", "0.02")
        return float(found["gflop_per_step"])

    plain = gflop()
    jvp, double = (gflop(game__penalties={"r1": 1}, game__differentiate=way) for way in ("jvp", "double"))
    assert plain < min(jvp, double) <= max(jvp, double) < 3 * plain
    lazy = gflop(game__penalties={"r1": {"weight": 1, "interval": 2}}, game__differentiate="jvp")
    assert lazy == pytest.approx((plain + jvp) / 2)


def test_times_are_medians_of_blocks_in_turn() -> None:
    asked: list[tuple[str, int]] = []

    def block(name: str, seconds: float) -> Any:
        def run(n: int) -> float:
            asked.append((name, n))
            slow = len(asked) == 3  # a hiccup in the first block of a
            return seconds * n * (100 if slow else 1)

        return run

    times = in_turn({"a": block("a", 0.1), "b": block("b", 0.3)}, seconds=4.0, multiple=2)
    assert times == pytest.approx({"a": 0.1, "b": 0.3})
    assert asked == [("a", 2), ("b", 2), *[("a", 6), ("b", 2)] * 6]
    # As many blocks as make sense: each of at least one multiple, five of the longest.
    asked.clear()
    in_turn({"a": block("a", 0.001), "b": block("b", 10.0)}, seconds=4.0)
    assert asked == [("a", 1), ("b", 1), *[("a", 800), ("b", 1)] * 5]
    asked.clear()
    in_turn({"a": block("a", 0.001)}, seconds=5.0)
    assert asked == [("a", 1), *[("a", 200)] * 25]


def test_peak_memory_is_that_of_what_was_held() -> None:
    pieces = [torch.ones(1 << 16, dtype=torch.uint8) for _ in range(2048)]
    last = torch.ones(1 << 16, dtype=torch.uint8)  # above them: freed, they stay the process's, to be used again
    del pieces
    peak = Peak(torch.device("cpu"))
    torch.ones(64 << 20, dtype=torch.uint8)  # given back at once
    assert 60 <= peak.mib() < 200
    assert last.sum() == 1 << 16
    assert Peak(torch.device("cpu")).mib() < 60 or peak.what != "growth of resident memory"


def test_a_table_has_a_row_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tiny_file(tmp_path)
    assert main(["step", "--config", file, "--batch", "4", "8", "model.width=2", "--seconds", "0.02"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["config", "batch", "precision"]
    assert [row.split()[:3] for row in rows] == [[file, "4", "fp32"], [file, "8", "fp32"]]
    assert MeasurementTable(("batch", "ratio")).row({"batch": 3, "ratio": None}).split() == ["batch", "ratio", "3", "-"]
    assert json.loads(as_json({"ratio": math.nan})) == {"ratio": None}


def test_what_cannot_be_is_told_before_anything_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["step", "--config", tiny_file(tmp_path), "nowhere.yaml", "--seconds", "0.02"]) == 2
    found = capsys.readouterr()
    assert "nowhere.yaml" in found.err
    assert found.out == ""
    assert main(["step", "model.widht=4"]) == 2
    assert "width" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tiny_file(tmp_path, model__width=16)
    common = ("--config", file, "--batch", "16", "--device", "cuda", "--seconds", "0.2")
    found = records(capsys, "step", *common, "--precision", "fp32", "bf16", "--mode", "graph", "eager", device="cuda")
    assert [(each["precision"], each["mode"]) for each in found] == [
        (precision, mode) for precision in ("fp32", "bf16") for mode in ("graph", "eager")
    ]
    assert all(each["peak_mem_mib"] > 1 and each["ceiling_share"] < 1 for each in found)
    ours, bare = records(capsys, "peers", *common, device="cuda")
    assert (ours["mode"], ours["precision"]) == ("graph", "fp32")
    assert ours["ratio"] == pytest.approx(ours["img_per_s"] / bare["peer_img_per_s"])
    (stall,) = records(capsys, "checkpoint", *common, device="cuda")
    assert stall["stall_ms"] > 0


WITHOUT = """
import sys
sys.modules |= {"ray": None, "prometheus_client": None}
from gandist.bench import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_neither_ray_nor_prometheus_is_needed(tmp_path: Path) -> None:
    command = ["step", "--config", tiny_file(tmp_path), "--batch", "4", "--seconds", "0.02", "--json"]
    done = python("-c", WITHOUT, *command)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bench"] == "step"
