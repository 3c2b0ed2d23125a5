"""The game of one: G descends the mean of -log p(x), by its formula; and a run of it begins a game with a D."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from gandist.distributed.consensus import Host
from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Latents, Reals, Scheduled
from gandist.gan.likelihood import Likelihood
from gandist.gan.players import Player, Players
from gandist.launch.fork import fork
from gandist.launch.resumption import prepare, run_root
from gandist.run.checkpoint import Checkpoints
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.text_games import TEXTS
from tests.helpers.train_on_ranks import final_tensors, tiny


class Normal(nn.Module):
    """N(mean, 1) of each class."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.randn(2, dtype=torch.float64))

    def nll(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - self.mean[y]).square() / 2


@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_step_descends_the_mean(accumulate: int) -> None:
    torch.manual_seed(0)
    G = Normal()

    def player(net: nn.Module) -> Player:
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0, fused=True)
        return Player(net, optimizer, GradScaler("cpu", enabled=False), torch.zeros((), dtype=torch.float64))

    players = Players(player(G), player(nn.Linear(1, 1)), copy.deepcopy(G))
    before = G.mean.detach().clone()
    x, y = torch.randn(6, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1, 1])
    game = Likelihood(players, Ranks(0, 1, torch.device("cpu")), "fp64", accumulate)
    none = Latents(torch.empty(6, 0), None)
    statistics = game.step(players, [Reals(x, y)], [none], none, Scheduled(beta=0.25))
    moved = torch.stack([(before[k] - x[y == k]).sum() / 6 for k in (0, 1)])
    torch.testing.assert_close(G.mean.detach(), before - moved)
    torch.testing.assert_close(players.G_ema.get_parameter("mean").detach(), before - 0.75 * moved)
    assert dict(zip(game.statistics, statistics.tolist(), strict=True)) == pytest.approx(
        {"loss/G": float((x - before[y]).square().mean() / 2), "grad_norm/G": float(moved.norm())}, rel=1e-6
    )


@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=pytest.mark.nightly), "bf16", "fp16"])
def test_a_run_learns_and_begins_a_game(tmp_path: Path, precision: str) -> None:
    """In mixed precision too; D is as it was until the game, in which both move."""
    game: dict[str, Any] = {**TEXTS["writing"], "precision": precision, "model__classes": 0, "optim__lr_D": 1e-3}
    options = {**game["model__options"], "straight_through": False}  # which leaves the weights as they are
    likely = {**game, "model__options": options, "game__objective": "likelihood", "game__temperature": 1.0}
    first = tiny(tmp_path, "first", **{**likely, "optim__lr_G": 1e-2, "train__total_kimg": 0.36})
    assert train(first, Checkpoints(Storage(run_root(first))), Host()).status == "done"
    rows = [json.loads(line) for line in (Path(run_root(first)) / "metrics.jsonl").read_text().splitlines()]
    assert {"loss/G", "grad_norm/G"} <= rows[-1].keys()
    assert not {"loss/D", "score/real"} & rows[-1].keys()
    assert rows[-1]["loss/G"] < rows[0]["loss/G"] - 2, "in nats for a text"
    assert sorted(tmp_path.glob("first/samples/*.txt"))

    then = tiny(tmp_path, "then", **game, train__total_kimg=0.42)
    assert fork(then, Storage(run_root(then)), run_root(first)) == 360
    assert train(then, prepare(then, "auto"), Host()).status == "done"
    before, after = final_tensors(first), final_tensors(then)
    assert before.keys() <= after.keys()
    assert any(name.startswith("optim_D/") for name in after.keys() - before.keys())
    for name in ("G/out.weight", "D/hidden.parametrizations.weight.original"):
        assert not torch.equal(before[name], after[name])
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=0.05)
