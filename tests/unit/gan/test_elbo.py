"""The step of a VAE: both networks descend the bound, by the gradients of its formula; and a run of it draws images."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from gandist.distributed.consensus import Host
from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Latents, Reals, Scheduled
from gandist.gan.elbo import Elbo
from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.players import Player, Players, build_players
from gandist.launch.resumption import run_root
from gandist.run.checkpoint import Checkpoints
from gandist.run.trained import open_trained
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.train_on_ranks import final_tensors, tiny

N, Z, X = 6, 3, 5
CPU = Ranks(0, 1, torch.device("cpu"))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.randn(X, Z, dtype=torch.float64))
        self.e = nn.Parameter(torch.randn(2, X, dtype=torch.float64))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return torch.tanh(z @ self.A.T) if y is None else torch.tanh(z @ self.A.T + self.e[y])


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.B = nn.Parameter(torch.randn(Z, X, dtype=torch.float64) / 3)
        self.c = nn.Parameter(torch.randn(Z, X, dtype=torch.float64) / 3)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x @ self.B.T, x @ self.c.T


def players_of(G: nn.Module, E: nn.Module) -> Players:
    def player(net: nn.Module) -> Player:
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0, fused=True)
        return Player(net, optimizer, GradScaler("cpu", enabled=False), torch.zeros((), dtype=torch.float64))

    return Players(player(G), player(E), copy.deepcopy(G))


def divergence(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, I)) summed over dimensions: appendix B of Kingma & Welling, sign and all."""
    return -0.5 * (1 + log_var - mean**2 - torch.exp(log_var)).sum(1)


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("beta", [None, 0.3])
@pytest.mark.parametrize("conditional", [False, True])
def test_one_step_descends_the_bound(accumulate: int, beta: float | None, conditional: bool) -> None:
    torch.manual_seed(0)
    G, E = Decoder(), Encoder()
    players = players_of(G, E)
    before = {name: p.detach().clone().requires_grad_() for name, p in [*G.named_parameters(), *E.named_parameters()]}
    x, eps = torch.randn(N, X, dtype=torch.float64), torch.randn(N, Z, dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 0, 0, 1]) if conditional else None
    unused = Latents(torch.full((N, Z), torch.nan, dtype=torch.float64), None)

    elbo = Elbo(players, CPU, "fp64", accumulate)
    weights = {} if beta is None else {"kl": beta}
    statistics = elbo.step(
        players, [Reals(x, y)], [Latents(eps, None)], unused, Scheduled(beta=0.25, weights_G=weights)
    )

    mean, log_var = x @ before["B"].T, x @ before["c"].T
    code = mean + torch.exp(log_var / 2) * eps
    drawn = torch.tanh(code @ before["A"].T + (0.0 if y is None else before["e"][y]))
    reconstruction = ((x - drawn) ** 2).sum() / (2 * N)
    kl = divergence(mean, log_var).mean()
    loss = reconstruction + (1.0 if beta is None else beta) * kl
    grads = dict(zip(before, torch.autograd.grad(loss, list(before.values()), allow_unused=True), strict=True))
    for net in (G, E):
        for name, p in net.named_parameters():
            grad = grads[name]
            expected = before[name].detach() - (torch.zeros_like(p) if grad is None else grad)
            torch.testing.assert_close(p.detach(), expected, rtol=1e-10, atol=1e-12)
    expected = before["A"].detach() - 0.75 * grads["A"]
    torch.testing.assert_close(players.G_ema.get_parameter("A").detach(), expected, rtol=1e-10, atol=1e-12)

    norms = {
        "D": torch.stack([grads[name].norm() for name in ("B", "c")]).norm(),
        "G": torch.stack([grads[name].norm() for name in ("A", "e") if grads[name] is not None]).norm(),
    }
    named = dict(zip(elbo.statistics, statistics.tolist(), strict=True))
    assert named == pytest.approx(
        {
            "loss/D": float(kl.detach()),
            "grad_norm/D": float(norms["D"]),
            "loss/G": float(reconstruction.detach()),
            "grad_norm/G": float(norms["G"]),
        },
        rel=1e-5,
    )


def test_nothing_further_is_drawn_for_it() -> None:
    elbo = Elbo(players_of(Decoder(), Encoder()), CPU, "fp64")
    assert elbo.noise_for("D") == elbo.noise_for("G") == {}


def test_a_step_that_is_not_finite_is_skipped_by_both() -> None:
    shape = Shape(resolution=32, channels=1, z_dim=4, width=2, norm="none")
    pair = NETWORKS["vae"]
    players = build_players(
        lambda: pair.generator(shape), lambda: pair.discriminator(shape), seed=0, device=torch.device("cpu")
    )
    for player in (players.G, players.D):
        player.set_lr(1e-3)
    elbo = Elbo(players, CPU, "fp32")
    before = [p.detach().clone() for player in (players.G, players.D) for p in player.net.parameters()]
    z = Latents(torch.randn(4, 4), None)

    def step(x: Tensor) -> list[Tensor]:
        elbo.step(players, [Reals(x, None)], [z], z, Scheduled(beta=0.5))
        return [p.detach().clone() for player in (players.G, players.D) for p in player.net.parameters()]

    same = step(torch.full((4, 1, 32, 32), torch.nan))
    assert all(torch.equal(a, b) for a, b in zip(before, same, strict=True))
    moved = step(torch.rand(4, 1, 32, 32))
    assert [float(player.skipped) for player in (players.G, players.D)] == [1, 1]
    assert not any(torch.equal(a, b) for a, b in zip(before, moved, strict=True))


@pytest.mark.parametrize("precision", ["fp64", pytest.param("fp32", marks=pytest.mark.nightly), "bf16"])
def test_a_run_draws_images(tmp_path: Path, precision: str) -> None:
    config = tiny(
        tmp_path,
        "vae",
        model__name="vae",
        game__objective="elbo",
        game__penalties={"kl": 0.05},
        precision=precision,
        train__total_kimg=0.24,
        train__tick_kimg=0.06,
    )
    assert train(config, Checkpoints(Storage(run_root(config))), Host()).status == "done"
    root = Path(run_root(config))
    rows = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    assert {"loss/D", "loss/G", "grad_norm/D", "grad_norm/G"} <= rows[-1].keys()
    assert "score/real" not in rows[-1]
    assert rows[-1]["loss/G"] < rows[0]["loss/G"], "the reconstruction improves"
    with Image.open(root / f"samples/{rows[-1]['images_seen']:08d}.png") as grid:
        assert np.asarray(grid).std() > 5
    images = open_trained(str(root), torch.device("cpu")).draw(4)
    assert images.shape == (4, 32, 32, 1)
    tensors = final_tensors(config)
    assert any(name.startswith("D/moments") for name in tensors), "the encoder is in the checkpoint"
