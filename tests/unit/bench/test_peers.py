"""`bench peers`: the plain loop is of the same size as ours, and really trains."""

from pathlib import Path

import pytest
import torch

from gandist.bench import main
from gandist.bench.measure import Flops
from gandist.bench.peers import Tutorial
from gandist.bench.static import Static
from gandist.config.run import load
from gandist.distributed.ranks import join
from tests.unit.bench.test_step import records, tiny_file

CPU = torch.device("cpu")


def test_the_ratio_is_that_of_the_two_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--size", "32", "64", "--batch", "4", "--seconds", "0.05")
    found = records(capsys, "peers", "--config", tiny_file(tmp_path, model__classes=10), *arguments)
    assert [(each["resolution"], each["ema"]) for each in found] == [(32, True), (32, False), (64, True), (64, False)]
    for each in found:
        assert each["ratio"] == pytest.approx(each["img_per_s"] / each["peer_img_per_s"])
        assert each["ms_per_step"] == pytest.approx(4e3 / each["img_per_s"])
        assert each["precision"] == "fp32"
    assert found[0]["peer_img_per_s"] == found[1]["peer_img_per_s"]


@pytest.mark.parametrize("resolution", [32, 64])
def test_both_have_networks_of_the_same_shapes(resolution: int) -> None:
    config = load("dcgan-fashion", ["model.classes=0", "model.width=4", f"model.resolution={resolution}", "device=cpu"])
    players = Static(config, join("cpu")).players
    peer = Tutorial(resolution, config.data.channels, 4, config.model.z_dim, CPU)
    for ours, theirs in ((players.G.net, peer.G), (players.D.net, peer.D)):
        assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


def test_the_plain_loop_trains() -> None:
    torch.manual_seed(0)
    peer = Tutorial(32, 1, 4, 8, CPU)
    real = peer.images(8)
    before = [p.detach().clone() for net in (peer.G, peer.D) for p in net.parameters()]
    found = [peer.step(real) for _ in range(200)]
    after = [p for net in (peer.G, peer.D) for p in net.parameters()]
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert found[-1][0] < 0.5 * found[0][0]  # D learns to tell noise from G's images
    assert found[-1][2] > found[0][2]
    assert found[-1][3] < found[0][3]
    assert found[0][3] > found[0][4]  # an update of D lowers its score of the same images
    assert all(0 <= mean <= 1 for each in found for mean in each[2:])


def test_its_operations_are_those_of_its_losses() -> None:
    """One forward pass of G fewer than ours, and D's weights differentiated for G's loss too."""
    config = load(
        "dcgan-fashion", ["model.classes=0", "model.width=4", "train.batch=4", "device=cpu", "precision=fp32"]
    )
    ours = Static(config, join("cpu"))
    peer = Tutorial(32, config.data.channels, 4, config.model.z_dim, CPU)
    real = peer.images(4)
    with Flops() as theirs:
        peer.step(real)
    with Flops() as passes_G:
        peer.G(torch.randn(4, config.model.z_dim, 1, 1))
    with Flops() as passes_D:
        peer.D(real)
    assert ours.flops() - theirs.total == passes_G.total - passes_D.total


def test_other_networks_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["peers", "--config", tiny_file(tmp_path), "model.name=mlp", "--seconds", "0.05"]) == 2
    assert "model.name is mlp" in capsys.readouterr().err
