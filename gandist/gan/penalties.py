"""Terms added to the players' losses, by name, and the slope of D that most of them are made of."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from gandist.gan.augment import AUGMENTATIONS
from gandist.gan.objectives import Objective
from gandist.gan.scores import Scores, as_scores, of_sample, over


class Noise(NamedTuple):
    """Numbers to be drawn for each sample of the global batch, outside the step."""

    kind: Literal["uniform", "normal"]
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    """Of a sample as D sees it, such as (C, H, W), the shape of its numbers."""


class Samples(NamedTuple):
    """Samples (N, ...) and what they are conditioned on: y (N, ...), or None."""

    x: Tensor
    y: Tensor | None


class Update(NamedTuple):
    """One update of a player, as its penalties see it. Samples are named: `real`, `fake`, and those of penalties."""

    net: nn.Module
    """The player that is updated."""
    samples: Mapping[str, Samples]
    """Of D's update, as D sees them, augmented; of G's, as G makes them: x of `fake` has G's graph."""
    scores: Mapping[str, Scores]
    """What D makes of them; in G's update `real` is scored for paired objectives alone."""
    slopes: Mapping[str, Tensor]
    """|grad_x D|^2 (N,) of `of_sample(D(x))`, differentiable in D's weights; in D's update alone."""
    memory: Mapping[str, Tensor]
    """What penalties keep between updates."""
    objective: Objective


NamedSamples = Mapping[str, Samples]
Numbers = Mapping[str, Tensor]


class Penalty(NamedTuple):
    """A term of a player's loss."""

    of: Literal["D", "G"]
    """The player whose loss it is a term of."""
    value: Callable[[Update], Tensor]
    """The term () without its weight."""
    slopes: tuple[str, ...] = ()
    """Of D: names of the samples at which |grad_x D|^2 is needed."""
    samples: Callable[[NamedSamples, Numbers], NamedSamples] = lambda samples, noise: {}
    """Of D: further samples that it is to judge, from those there are and the numbers drawn."""
    noise: Mapping[str, Noise] = {}
    memory: Mapping[str, tuple[float, ...]] = {}
    """Tensors kept between updates, and in checkpoints: where each begins."""
    remember: Callable[[dict[str, Tensor], Tensor, Tensor], None] | None = None
    """Of D: (memory, mean D(x), mean D(G(z)) over the global batch): change the memory in place, on the device."""
    mixes: bool = False
    """Whether it is nonlinear in the slope of each sample, which a D that sees whole batches does not have."""
    conditional: bool = False
    """Whether it needs a condition y."""
    method: str = ""
    """What the player's network must have for it."""


def judge(D: nn.Module, x: Tensor, y: Tensor | None, way: Literal["jvp", "double"]) -> tuple[Scores, Tensor]:
    """D's scores of x, and the squared slope |grad_x D(x)|^2 (N,), both differentiable in D's weights.

    Of a D with several scores of a sample the slope is that of their mean. `double` differentiates the gradient by a
    second backward pass. `jvp` needs none: with g = grad_x D held fixed, the derivative of |g|^2 along the weights is
    that of 2 J, where J = <g, grad_x D> is D's derivative in the direction g, which forward mode gives beside D(x).
    Exact: the two agree to rounding.
    """
    x = x.detach()
    leaf = x.detach().requires_grad_()
    scores = as_scores(D(leaf, y))
    (g,) = torch.autograd.grad(of_sample(scores).sum(), leaf, create_graph=way == "double")
    if way == "double":
        return scores, _squared_norm(g)
    scores, slopes = torch.func.jvp(lambda x: as_scores(D(x, y)), (x,), (g,))  # type: ignore[misc]
    J = of_sample(slopes)
    return scores, _squared_norm(g) + 2 * (J - J.detach())


def _squared_norm(g: Tensor) -> Tensor:
    return g.flatten(1).square().sum(1)


def _distance_from_1(squared: Tensor) -> Tensor:
    """E (|g| - 1)^2; the root's slope is infinite at 0, where D is flat."""
    return ((squared + 1e-12).sqrt() - 1).square().mean()


def _one_each(sample: tuple[int, ...]) -> tuple[int, ...]:
    """One number a sample, which multiplies all of its values."""
    return (1,) * len(sample)


def _mixed(samples: NamedSamples, noise: Numbers) -> NamedSamples:
    (x, y), (x_fake, _), t = samples["real"], samples["fake"], noise["mix"]
    return {"mixed": Samples(x + t * (x_fake - x), y)}


def _near(samples: NamedSamples, noise: Numbers) -> NamedSamples:
    x, y = samples["real"]
    return {"near": Samples(x + DRAGAN_STD * noise["delta"], y)}


def _moved(samples: NamedSamples, noise: Numbers) -> NamedSamples:
    def moved(name: str) -> Samples:
        (x, y), u = samples[name], noise[f"move_{name}"]
        return Samples(AUGMENTATIONS["shift"].apply(x, u, u.new_ones(())), y)

    return {f"moved_{name}": moved(name) for name in ("real", "fake")}


def _bcr(update: Update) -> Tensor:
    def apart(scores: Tensor, moved: Tensor) -> Tensor:
        return (scores - moved).square().mean()

    s = update.scores
    return over(apart, s["real"], s["moved_real"]) + over(apart, s["fake"], s["moved_fake"])


def _lecam(update: Update) -> Tensor:
    anchor_real, anchor_fake = update.memory["lecam"]

    def distance(real: Tensor, fake: Tensor) -> Tensor:
        apart: Tensor = (real - anchor_fake).square().mean() + (fake - anchor_real).square().mean()
        return apart

    return over(distance, update.scores["real"], update.scores["fake"])


def _lecam_remember(memory: dict[str, Tensor], real: Tensor, fake: Tensor) -> None:
    means = torch.stack([real, fake]).to(memory["lecam"].dtype)
    memory["lecam"].lerp_(torch.where(means.isfinite(), means, memory["lecam"]), 1 - LECAM_DECAY)


DRAGAN_STD = 0.25
"""Of the noise around real images, which lie in [-1, 1]. A constant: the batch's own deviation, which some take,
would be another one on each rank."""
LECAM_DECAY = 0.99

_SHIFT = Noise("uniform", lambda sample: (AUGMENTATIONS["shift"].uniforms,))


def _kl(update: Update) -> Tensor:
    G: Any = update.net
    divergence: Tensor = G.kl(update.samples["fake"].y).mean()
    return divergence


PENALTIES: dict[str, Penalty] = {
    # R1 and R2: gamma/2 E |grad D|^2 at real and at generated images (Mescheder et al. 2018, arXiv:1801.04406, eq. 9).
    "r1": Penalty("D", lambda update: update.slopes["real"].mean() / 2, slopes=("real",)),
    "r2": Penalty("D", lambda update: update.slopes["fake"].mean() / 2, slopes=("fake",)),
    # WGAN-GP: lambda E (|grad D| - 1)^2 between real and generated images (Gulrajani et al. 2017, arXiv:1704.00028,
    # eq. 3).
    "gp": Penalty(
        "D", lambda update: _distance_from_1(update.slopes["mixed"]),
        slopes=("mixed",), samples=_mixed, noise={"mix": Noise("uniform", _one_each)}, mixes=True,
    ),
    # DRAGAN: lambda E (|grad D| - 1)^2 around real images (Kodali et al. 2017, arXiv:1705.07215, section 2.3).
    "dragan": Penalty(
        "D", lambda update: _distance_from_1(update.slopes["near"]),
        slopes=("near",), samples=_near, noise={"delta": Noise("normal", lambda sample: sample)}, mixes=True,
    ),
    # LeCam: scores of real images stay near the running mean of fakes', and the reverse (Tseng et al. 2021,
    # arXiv:2104.03310, eq. 2).
    "lecam": Penalty("D", _lecam, memory={"lecam": (0.0, 0.0)}, remember=_lecam_remember),
    # Balanced consistency: D scores an image as it scores it shifted or mirrored (Zhao et al. 2020, arXiv:2002.04724).
    "bcr": Penalty("D", _bcr, samples=_moved, noise={"move_real": _SHIFT, "move_fake": _SHIFT}),
    # Matching-aware D: a real image under another's caption is to be told from one under its own (Reed et al. 2016,
    # arXiv:1605.05396, algorithm 1). The conditions drawn for fakes are drawn independently of x: they serve.
    "mismatch": Penalty(
        "D", lambda update: over(update.objective.critic, update.scores["real"], update.scores["mismatched"]),
        samples=lambda samples, noise: {"mismatched": Samples(samples["real"].x, samples["fake"].y)}, conditional=True,
    ),
    # KL(N(mu(y), sigma(y)) || N(0, I)) of what G samples its condition from (Zhang et al. 2017, arXiv:1612.03242,
    # eq. 2), or a VAE its code (Kingma & Welling 2014, arXiv:1312.6114).
    "kl": Penalty("G", _kl, method="kl"),
}  # fmt: skip
