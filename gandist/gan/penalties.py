"""Terms added to the players' losses, by name, and the slope of D that most of them are made of."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from gandist.gan.augment import AUGMENTATIONS
from gandist.gan.objectives import Objective


class Noise(NamedTuple):
    """Numbers to be drawn for each sample of the global batch, outside the step."""

    kind: Literal["uniform", "normal"]
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    """Of a sample as D sees it, such as (C, H, W), the shape of its numbers."""


class Labelled(NamedTuple):
    """Images (N, C, H, W) and what they are conditioned on: y, or None."""

    x: Tensor
    y: Tensor | None


class Judged(NamedTuple):
    """What D made of the images of one update, by the images' names: `real`, `fake`, and those of penalties."""

    scores: Mapping[str, Tensor]
    """D(x), (N,)."""
    slopes: Mapping[str, Tensor]
    """|grad_x D|^2, (N,), differentiable in D's weights."""
    memory: Mapping[str, Tensor]
    """What penalties keep between updates."""
    objective: Objective


Images = Mapping[str, Labelled]
Numbers = Mapping[str, Tensor]


class CriticPenalty(NamedTuple):
    """A term of D's loss."""

    value: Callable[[Judged], Tensor]
    """The term () without its weight."""
    slopes: tuple[str, ...] = ()
    """Names of the images at which |grad_x D|^2 is needed."""
    images: Callable[[Images, Numbers], Images] = lambda images, noise: {}
    """Further images that D is to judge, from those there are and the numbers drawn."""
    noise: Mapping[str, Noise] = {}
    memory: Mapping[str, tuple[float, ...]] = {}
    """Tensors kept between updates, and in checkpoints: where each begins."""
    remember: Callable[[dict[str, Tensor], Tensor, Tensor], None] | None = None
    """(memory, mean D(x), mean D(G(z)) over the global batch): change the memory in place, on the device."""
    mixes: bool = False
    """Whether it is nonlinear in the slope of each image, which a D that sees whole batches does not have."""
    conditional: bool = False
    """Whether it needs a condition y."""


class GeneratorPenalty(NamedTuple):
    """A term of G's loss."""

    value: Callable[[Any, Tensor | None], Tensor]
    """(G, y) -> the term () without its weight."""
    method: str = ""
    """What G must have for it."""


def judge(D: nn.Module, x: Tensor, y: Tensor | None, way: Literal["jvp", "double"]) -> tuple[Tensor, Tensor]:
    """D(x) (N,) and |grad_x D(x)|^2 (N,), both differentiable in D's weights.

    `double` differentiates the gradient by a second backward pass. `jvp` needs none: with g = grad_x D held fixed,
    the derivative of |g|^2 along the weights is that of 2 J, where J = <g, grad_x D> is D's derivative in the
    direction g, which forward mode gives beside D(x). Exact: the two agree to rounding.
    """
    x = x.detach()
    leaf = x.detach().requires_grad_()
    scores = D(leaf, y)
    (g,) = torch.autograd.grad(scores.sum(), leaf, create_graph=way == "double")
    if way == "double":
        return scores, _squared_norm(g)
    scores, J = torch.func.jvp(lambda x: D(x, y), (x,), (g,))  # type: ignore[misc]
    return scores, _squared_norm(g) + 2 * (J - J.detach())


def _squared_norm(g: Tensor) -> Tensor:
    return g.flatten(1).square().sum(1)


def _distance_from_1(squared: Tensor) -> Tensor:
    """E (|g| - 1)^2; the root's slope is infinite at 0, where D is flat."""
    return ((squared + 1e-12).sqrt() - 1).square().mean()


def _one_each(sample: tuple[int, ...]) -> tuple[int, ...]:
    """One number a sample, which multiplies all of its values."""
    return (1,) * len(sample)


def _mixed(images: Images, noise: Numbers) -> Images:
    (x, y), (x_fake, _), t = images["real"], images["fake"], noise["mix"]
    return {"mixed": Labelled(x + t * (x_fake - x), y)}


def _near(images: Images, noise: Numbers) -> Images:
    x, y = images["real"]
    return {"near": Labelled(x + DRAGAN_STD * noise["delta"], y)}


def _moved(images: Images, noise: Numbers) -> Images:
    def moved(name: str) -> Labelled:
        (x, y), u = images[name], noise[f"move_{name}"]
        return Labelled(AUGMENTATIONS["shift"].apply(x, u, u.new_ones(())), y)

    return {f"moved_{name}": moved(name) for name in ("real", "fake")}


def _bcr(judged: Judged) -> Tensor:
    s = judged.scores
    return (s["real"] - s["moved_real"]).square().mean() + (s["fake"] - s["moved_fake"]).square().mean()


def _lecam(judged: Judged) -> Tensor:
    anchor_real, anchor_fake = judged.memory["lecam"]
    s = judged.scores
    distance: Tensor = (s["real"] - anchor_fake).square().mean() + (s["fake"] - anchor_real).square().mean()
    return distance


def _lecam_remember(memory: dict[str, Tensor], real: Tensor, fake: Tensor) -> None:
    means = torch.stack([real, fake]).to(memory["lecam"].dtype)
    memory["lecam"].lerp_(torch.where(means.isfinite(), means, memory["lecam"]), 1 - LECAM_DECAY)


DRAGAN_STD = 0.25
"""Of the noise around real images, which lie in [-1, 1]. A constant: the batch's own deviation, which some take,
would be another one on each rank."""
LECAM_DECAY = 0.99

_SHIFT = Noise("uniform", lambda sample: (AUGMENTATIONS["shift"].uniforms,))

PENALTIES: dict[str, CriticPenalty | GeneratorPenalty] = {
    # R1 and R2: gamma/2 E |grad D|^2 at real and at generated images (Mescheder et al. 2018, arXiv:1801.04406, eq. 9).
    "r1": CriticPenalty(lambda judged: judged.slopes["real"].mean() / 2, slopes=("real",)),
    "r2": CriticPenalty(lambda judged: judged.slopes["fake"].mean() / 2, slopes=("fake",)),
    # WGAN-GP: lambda E (|grad D| - 1)^2 between real and generated images (Gulrajani et al. 2017, arXiv:1704.00028,
    # eq. 3).
    "gp": CriticPenalty(
        lambda judged: _distance_from_1(judged.slopes["mixed"]),
        slopes=("mixed",), images=_mixed, noise={"mix": Noise("uniform", _one_each)}, mixes=True,
    ),
    # DRAGAN: lambda E (|grad D| - 1)^2 around real images (Kodali et al. 2017, arXiv:1705.07215, section 2.3).
    "dragan": CriticPenalty(
        lambda judged: _distance_from_1(judged.slopes["near"]),
        slopes=("near",), images=_near, noise={"delta": Noise("normal", lambda sample: sample)}, mixes=True,
    ),
    # LeCam: scores of real images stay near the running mean of fakes', and the reverse (Tseng et al. 2021,
    # arXiv:2104.03310, eq. 2).
    "lecam": CriticPenalty(_lecam, memory={"lecam": (0.0, 0.0)}, remember=_lecam_remember),
    # Balanced consistency: D scores an image as it scores it shifted or mirrored (Zhao et al. 2020, arXiv:2002.04724).
    "bcr": CriticPenalty(_bcr, images=_moved, noise={"move_real": _SHIFT, "move_fake": _SHIFT}),
    # Matching-aware D: a real image under another's caption is to be told from one under its own (Reed et al. 2016,
    # arXiv:1605.05396, algorithm 1). The conditions drawn for fakes are drawn independently of x: they serve.
    "mismatch": CriticPenalty(
        lambda judged: judged.objective.critic(judged.scores["real"], judged.scores["mismatched"]),
        images=lambda images, noise: {"mismatched": Labelled(images["real"].x, images["fake"].y)}, conditional=True,
    ),
    # KL(N(mu(y), sigma(y)) || N(0, I)) of what G samples its condition from (Zhang et al. 2017, arXiv:1612.03242,
    # eq. 2), or a VAE its code (Kingma & Welling 2014, arXiv:1312.6114).
    "kl": GeneratorPenalty(lambda G, y: G.kl(y).mean(), method="kl"),
}  # fmt: skip
