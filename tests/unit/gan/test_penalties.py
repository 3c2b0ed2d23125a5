"""Every penalty against a formula written out by hand, its two derivatives against each other, and when it is due."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gandist.config.run import validate
from gandist.errors import ConfigError
from gandist.gan.adversarial import CriticLoss, Rules
from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.penalties import DRAGAN_STD, LECAM_DECAY, PENALTIES, Samples, Update, judge

N, C, R, HIDDEN = 5, 2, 8, 7
X = C * R * R


class TanhD(nn.Module):
    """D(x, y) = v . tanh(W x) + e[y]: its slope has a closed form, W^T (v * (1 - tanh^2(W x)))."""

    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(HIDDEN, X, dtype=torch.float64) / X**0.5)
        self.v = nn.Parameter(torch.randn(HIDDEN, dtype=torch.float64))
        self.e = nn.Parameter(torch.randn(3, dtype=torch.float64))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        scores = torch.tanh(x.flatten(1) @ self.W.T) @ self.v
        return scores if y is None else scores + self.e[y]

    def squared_slope(self, x: Tensor) -> Tensor:
        """|grad_x D|^2 (N,) by the formula; differentiable in W and v as any formula is."""
        h = torch.tanh(x.flatten(1) @ self.W.T)
        return ((self.v * (1 - h.square())) @ self.W).square().sum(1)


def setting() -> tuple[TanhD, dict[str, Any]]:
    torch.manual_seed(0)
    draw = torch.rand(N, 20, dtype=torch.float64)
    given = {
        "x": torch.randn(N, C, R, R, dtype=torch.float64),
        "x_fake": torch.randn(N, C, R, R, dtype=torch.float64),
        "y": torch.tensor([0, 1, 2, 0, 1]),
        "y_fake": torch.tensor([2, 2, 0, 1, 0]),
        "noise": {
            "mix": torch.rand(N, 1, 1, 1, dtype=torch.float64),
            "delta": torch.randn(N, C, R, R, dtype=torch.float64),
            "move_real": draw,
            "move_fake": draw.flip(0),
        },
    }
    return TanhD(), given


MEMORY = {"lecam": torch.tensor([0.7, -0.4], dtype=torch.float64)}

Formula = Callable[[TanhD, Mapping[str, Any]], Tensor]


def gp(D: TanhD, x: Tensor) -> Tensor:
    return (D.squared_slope(x).sqrt() - 1).square().mean()


def moved(x: Tensor, u: Tensor) -> Tensor:
    """Mirrored with probability one half and shifted by whole pixels, written with numpy's own indexing."""
    reach = 4 * R // 32
    out = []
    for image, (mirror, down, right) in zip(x.numpy(), u[:, 1:4].tolist(), strict=True):
        image = image[:, :, ::-1] if mirror >= 0.5 else image
        padded = np.pad(image, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
        i, j = (2 * reach - int(number * (2 * reach + 1)) for number in (down, right))
        out.append(padded[:, i : i + R, j : j + R])
    return torch.from_numpy(np.stack(out))


FORMULAS: dict[str, Formula] = {
    "r1": lambda D, g: 0.5 * D.squared_slope(g["x"]).mean(),
    "r2": lambda D, g: 0.5 * D.squared_slope(g["x_fake"]).mean(),
    "gp": lambda D, g: gp(D, (1 - g["noise"]["mix"]) * g["x"] + g["noise"]["mix"] * g["x_fake"]),
    "dragan": lambda D, g: gp(D, g["x"] + DRAGAN_STD * g["noise"]["delta"]),
    "lecam": lambda D, g: (
        (D(g["x"], g["y"]) + 0.4).square().mean() + (D(g["x_fake"], g["y_fake"]) - 0.7).square().mean()
    ),
    "mismatch": lambda D, g: F.softplus(-D(g["x"], g["y"])).mean() + F.softplus(D(g["x"], g["y_fake"])).mean(),
}


Way = Literal["jvp", "double"]


def critic_loss(D: nn.Module, names: tuple[str, ...], way: Way = "jvp", objective: str = "ns") -> CriticLoss:
    return CriticLoss(D, Rules(OBJECTIVES[objective], penalties=names, differentiate=way), MEMORY)


def gradients(loss: Tensor, D: nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(D.parameters()), allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, D.parameters(), strict=True)]


def test_every_penalty_is_covered() -> None:
    critics = {name for name, penalty in PENALTIES.items() if penalty.of == "D"}
    assert critics == FORMULAS.keys() | {"bcr"}
    # test_comparing.py, test_spectral_losses.py, networks/test_autoencoder.py and test_vgan.py have the others
    others = {"kl", "codebook", "mask", "modes", "l1", "charbonnier", "features", "perceptual", "mel", "stft"}
    assert PENALTIES.keys() - critics == others


@pytest.mark.parametrize("way", ["jvp", "double"])
@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradient_are_the_formula(name: str, way: Way) -> None:
    D, given = setting()
    weight = 1.7
    plain, _ = critic_loss(D, ())(**given, weights={})
    loss, statistics = critic_loss(D, (name,), way)(**given, weights={name: weight})
    expected = FORMULAS[name](D, given)
    assert float(statistics[-1]) == pytest.approx(float(expected.detach()), rel=1e-9)
    assert float(loss.detach()) == pytest.approx(float((plain + weight * expected).detach()), rel=1e-9)
    for ours, theirs in zip(gradients(loss, D), gradients(plain + weight * expected, D), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)
    assert any(float(g.abs().max()) > 1e-3 for g in gradients(expected, D)), "a gradient that could be wrong"


def test_balanced_consistency() -> None:
    """D's scores of images and of the same images mirrored and shifted, by numpy's own padding and indexing."""
    D, given = setting()
    uniforms = PENALTIES["bcr"].noise["move_real"].shape((C, R, R))
    given["noise"] = {name: given["noise"][name][:, : uniforms[0]] for name in ("move_real", "move_fake")}
    loss, statistics = critic_loss(D, ("bcr",))(**given, weights={"bcr": 1.0})
    expected = torch.zeros((), dtype=torch.float64)
    for image, y, u in (("x", "y", "move_real"), ("x_fake", "y_fake", "move_fake")):
        other = moved(given[image], given["noise"][u])
        assert not torch.equal(other, given[image])
        expected = expected + (D(given[image], given[y]) - D(other, given[y])).square().mean()
    assert float(statistics[-1]) == pytest.approx(float(expected.detach()), rel=1e-9)
    plain, _ = critic_loss(D, ())(**given, weights={})
    for ours, theirs in zip(gradients(loss - plain, D), gradients(expected, D), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)


def test_kl_is_what_the_generator_says() -> None:
    class Sampling(nn.Module):
        def kl(self, y: Tensor) -> Tensor:
            return y * 2.0

    fake = Samples(torch.zeros(2, 1), torch.tensor([1.0, 2.0]))
    penalty = PENALTIES["kl"]
    assert penalty.of == "G"
    assert penalty.value(Update(Sampling(), {"fake": fake}, {}, {}, {}, OBJECTIVES["ns"])) == 3.0


def test_penalties_combine_freely() -> None:
    """All at once, in one evaluation of D, is the sum of each by itself."""
    D, given = setting()
    given["noise"] |= {name: given["noise"][name][:, :4] for name in ("move_real", "move_fake")}
    names = (*FORMULAS, "bcr")
    weights = {name: 0.3 + i for i, name in enumerate(names)}
    plain, _ = critic_loss(D, ())(**given, weights={})
    together, _ = critic_loss(D, names)(**given, weights=weights)
    alone = [critic_loss(D, (name,))(**given, weights={name: weights[name]})[0] - plain for name in names]
    assert float(together.detach()) == pytest.approx(float((plain + sum(alone)).detach()), rel=1e-9)
    for ours, theirs in zip(gradients(together, D), gradients(plain + sum(alone), D), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


def test_a_penalty_that_is_not_due_is_not_computed() -> None:
    D, given = setting()
    loss, statistics = critic_loss(D, ("r1", "gp"))(**given, weights={"gp": 1.0})
    assert statistics[-2].isnan()
    assert statistics[-1].isfinite()
    expected, _ = critic_loss(D, ("gp",))(**given, weights={"gp": 1.0})
    assert float(loss.detach()) == float(expected.detach())


def test_lecam_remembers_the_scores_means() -> None:
    penalty = PENALTIES["lecam"]
    assert penalty.remember is not None
    memory = {"lecam": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    penalty.remember(memory, torch.tensor(3.0), torch.tensor(float("nan")))
    assert memory["lecam"].tolist() == pytest.approx([LECAM_DECAY * 1 + (1 - LECAM_DECAY) * 3, 2.0]), (
        "NaN leaves no mark"
    )


NETS = [("dcgan", norm) for norm in ("none", "spectral", "group")]


def network(name: str, norm: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    D = NETWORKS[name].discriminator(Shape(32, 3, 16, 8, classes=3, norm=norm))
    with torch.no_grad():
        for p in [p for p in D.parameters() if p.dim() > 1]:
            p.mul_(4)  # as training makes them; fresh ones are so small that slopes are nearly nothing
    D = D.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return D, torch.randn(6, 3, 32, 32, dtype=dtype), torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(("name", "norm"), NETS)
def test_jvp_and_double_agree(name: str, norm: str) -> None:
    """To 1e-6 of the gradient's norm in float32, for a function nonlinear in the slope."""
    D, x, y = network(name, norm)
    found = {}
    for way in ("jvp", "double"):
        scores, squared = judge(D, x, y, way)
        value = (squared.sqrt() - 1).square().mean() + 0.1 * scores[0].mean()
        found[way] = torch.cat([g.flatten() for g in gradients(value, D)]), scores[0], squared
    (a, scores_a, squared_a), (b, scores_b, squared_b) = found["jvp"], found["double"]
    assert float((a - b).norm() / b.norm()) < 1e-6
    torch.testing.assert_close(scores_a, scores_b, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(squared_a, squared_b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("way", ["jvp", "double"])
@pytest.mark.parametrize(("name", "norm"), NETS)
@pytest.mark.parametrize("penalty", ["r1", "r2", "gp", "dragan", "lecam", "bcr", "mismatch"])
def test_bf16_is_near_float32(penalty: str, name: str, norm: str, way: Way) -> None:
    """Under bf16 autocast value and gradient are within 5 % of float32's, 10 % where D normalises in groups."""
    D, x, y = network(name, norm)
    torch.manual_seed(1)
    row = PENALTIES[penalty]
    noise = {key: torch.rand(6, *each.shape((3, 32, 32))) for key, each in row.noise.items()}
    given = {"x": x, "y": y, "x_fake": torch.randn_like(x), "y_fake": y.roll(1), "noise": noise}
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss, statistics = critic_loss(D, (penalty,), way)(**given, weights={penalty: 1.0})
        assert loss.dtype == torch.float32
        found.append((statistics[-1], torch.cat([g.flatten() for g in gradients(loss, D)])))
    (value, gradient), (rounded, near) = found
    tolerance = 0.1 if norm == "group" else 0.05
    assert float((rounded - value).abs()) < tolerance * float(value) + 1e-3
    assert float((near - gradient).norm() / gradient.norm()) < tolerance


def complaint(**sections: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(sections)
    return str(caught.value)


def test_impossible_pairs_are_refused_with_the_fix() -> None:
    r1 = {"penalties": {"r1": 1}}
    message = complaint(game=r1)
    assert "game.penalties.r1" in message
    assert "model.norm_D=none" in message
    assert "game.differentiate=double" in message
    validate({"game": {**r1, "differentiate": "double"}})
    validate({"game": r1, "model": {"norm_D": "spectral"}})
    validate({"game": {"penalties": {"lecam": 1}}})
    batch_wise = {"norm": "none", "minibatch_std": 4}
    assert "model.minibatch_std=0" in complaint(game={"penalties": {"gp": 10}}, model=batch_wise)
    validate({"game": r1, "model": batch_wise})
    assert "G of dcgan has no method 'kl'" in complaint(game={"penalties": {"kl": 1}})
    assert "model.classes" in complaint(game={"penalties": {"mismatch": 1}})
    assert "did you mean 'gp'" in complaint(game={"penalties": {"gpp": 1}})
    assert "game.penalties.r1.weight" in complaint(game={"penalties": {"r1": "much"}})
    assert "game.penalties.r1.wieght: unknown key" in complaint(game={"penalties": {"r1": {"wieght": 1}}})
