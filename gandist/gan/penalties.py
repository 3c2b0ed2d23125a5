"""Terms added to the players' losses, by name, and D's slope, which most of them use."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from gandist.gan.augment import AUGMENTATIONS
from gandist.gan.judged import judged
from gandist.gan.networks.norms import at_least_float32
from gandist.gan.networks.tape import is_piecewise_linear
from gandist.gan.objectives import Objective
from gandist.gan.scores import Scores, as_scores, of_sample, over
from gandist.gan.spectra import MelScale
from gandist.gan.spectral_losses import mel_distance, stft_distance


class Noise(NamedTuple):
    """Random numbers for each sample of the global batch, drawn outside the step."""

    kind: Literal["uniform", "normal"]
    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    """Maps the shape of a sample as D sees it, such as (C, H, W), to the shape of its numbers."""


class Samples(NamedTuple):
    """Samples (N, ...), their condition y (N, ...) or None, and the numbers in [0, 1) (N, K) that D takes for them, if
    D is random (`uniforms_of`)."""

    x: Tensor
    y: Tensor | None
    u: Tensor | None = None


def uniforms_of(D: nn.Module) -> int:
    """K, the numbers in [0, 1) that D(x, y, u) takes for each sample; 0 for D(x, y)."""
    return int(getattr(D, "uniforms", 0))


class Update(NamedTuple):
    """A player's update as its penalties see it. Samples have names: `real`, `fake`, and those that penalties add."""

    net: nn.Module
    """The player being updated."""
    samples: Mapping[str, Samples]
    """In D's update, as D sees them, augmented. In G's update, as G makes them: x of `fake` has G's graph, and x of
    `again`, which a penalty asks for: G's samples of the same conditions from other latents."""
    scores: Mapping[str, Scores]
    """D's scores of the samples; in G's update, `real` is scored for paired objectives alone."""
    slopes: Mapping[str, Tensor]
    """|grad_x D|^2 (N,) of `of_sample(D(x))`, differentiable in D's weights; only in D's update."""
    memory: Mapping[str, Tensor]
    """State that penalties keep between updates."""
    objective: Objective
    features: Mapping[str, Sequence[Tensor]] = {}
    """D's activations for `real` and `fake`, layer by layer; only in G's update."""
    seen_alike: Callable[[Tensor, Tensor], Tensor] | None = None
    """Distance () of two batches of samples (N, ...) by the features of the network `game.perceptual`."""
    terms: Mapping[str, Tensor] = {}
    """Values () of penalties that G gives beside its images (`images_and_terms`); only in G's update."""
    mel: MelScale | None = None
    """The mel spectrogram of the penalty `mel`, if it is set."""
    latents: Mapping[str, Tensor] = {}
    """G's latents (N, L) of the samples `fake` and `again`; only in G's update."""


NamedSamples = Mapping[str, Samples]
Numbers = Mapping[str, Tensor]


class Penalty(NamedTuple):
    """A term of a player's loss."""

    of: Literal["D", "G"]
    """The player whose loss has this term."""
    value: Callable[[Update], Tensor]
    """The term (), unweighted."""
    slopes: tuple[str, ...] = ()
    """D only: names of the samples that need |grad_x D|^2."""
    samples: Callable[[NamedSamples, Numbers], NamedSamples] = lambda samples, noise: {}
    """D only: further samples for D to score, made from the existing ones and the random numbers."""
    noise: Mapping[str, Noise] = {}
    memory: Mapping[str, tuple[float, ...]] = {}
    """Tensors kept between updates and in checkpoints, by name, with their initial values."""
    remember: Callable[[dict[str, Tensor], Tensor, Tensor], None] | None = None
    """D only: (memory, mean D(x), mean D(G(z)) over the global batch) -> update the memory in place, on the device."""
    mixes: bool = False
    """Whether it is nonlinear in each sample's slope; such a slope is undefined if D mixes samples of a batch."""
    conditional: bool = False
    """Whether it requires a condition y."""
    method: str = ""
    """Name of what the player's network must have: a method, or one of its `terms`."""
    compares: bool = False
    """Whether it compares each fake with the real sample beside it, whose condition it must then have."""
    features: bool = False
    """G only: whether it needs D's activations."""
    perceptual: bool = False
    """Whether it needs the network `game.perceptual`."""
    axes: int = 0
    """Axes of the samples' rows: 1 for texts, 2 for sounds, 3 for pictures, 4 for clips, 0 for any samples."""
    mel: bool = False
    """Whether it needs `Update.mel`."""
    again: bool = False
    """G only: whether it compares each fake with one of the same condition from other latents."""


Way = Literal["auto", "linear", "jvp", "double"]


def judge(D: nn.Module, x: Tensor, y: Tensor | None, way: Way, u: Tensor | None = None) -> tuple[Scores, Tensor]:
    """D's scores of x, and the squared slope |grad_x D(x)|^2 (N,), both differentiable in D's weights. `u`: the numbers
    that a random D takes.

    If D returns several scores per sample, the slope is that of their mean. All ways agree up to rounding:

    - `double` differentiates the gradient by a second backward pass.
    - `jvp` needs no second pass: with g = grad_x D fixed, the derivative of |g|^2 in the weights is that of 2 J, where
      J = <g, grad_x D> is D's derivative in direction g. Forward mode returns J beside D(x).
    - `linear`, for a `PiecewiseLinear` D, takes about half of that: `gandist.gan.judged`.
    - `auto` is `linear` if D allows it, else `jvp`.
    """
    if way in ("auto", "linear") and is_piecewise_linear(D):
        found, slopes = judged(D, x, y, u)
        return (found,), slopes
    if way == "linear":
        raise TypeError(f"this {type(D).__name__} is not `PiecewiseLinear`")
    x = x.detach()
    given = (y,) if u is None else (y, u)
    leaf = x.detach().requires_grad_()
    scores = as_scores(D(leaf, *given))
    (g,) = torch.autograd.grad(of_sample(scores).sum(), leaf, create_graph=way == "double")
    if way == "double":
        return scores, _squared_norm(g)
    scores, tangents = torch.func.jvp(lambda x: as_scores(D(x, *given)), (x,), (g,))  # type: ignore[misc]
    J = of_sample(tangents)
    return scores, _squared_norm(g) + 2 * (J - J.detach())


def _squared_norm(g: Tensor) -> Tensor:
    return g.flatten(1).square().sum(1)


def _distance_from_1(squared: Tensor) -> Tensor:
    """E (|g| - 1)^2, safe at 0, where D is flat and the root's slope is infinite."""
    return ((squared + 1e-12).sqrt() - 1).square().mean()


def _one_each(sample: tuple[int, ...]) -> tuple[int, ...]:
    """One number per sample, to multiply all its values."""
    return (1,) * len(sample)


def _mixed(samples: NamedSamples, noise: Numbers) -> NamedSamples:
    (x, y, u), x_fake, t = samples["real"], samples["fake"].x, noise["mix"]
    return {"mixed": Samples(x + t * (x_fake - x), y, u)}


def _near(samples: NamedSamples, noise: Numbers) -> NamedSamples:
    x, y, u = samples["real"]
    return {"near": Samples(x + DRAGAN_STD * noise["delta"], y, u)}


def _moved(samples: NamedSamples, noise: Numbers) -> NamedSamples:
    def moved(name: str) -> Samples:
        (x, y, of_D), u = samples[name], noise[f"move_{name}"]
        return Samples(AUGMENTATIONS["shift"].apply(x, u, u.new_ones(())), y, of_D)

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
"""Standard deviation of the noise around real images, which lie in [-1, 1]. A constant: a batch's own deviation, as
some implementations use, would differ between ranks."""
LECAM_DECAY = 0.99

_SHIFT = Noise("uniform", lambda sample: (AUGMENTATIONS["shift"].count(sample),))


def images_and_terms(G: nn.Module, z: Tensor, y: Tensor | None) -> tuple[Tensor, Mapping[str, Tensor]]:
    """G's images (N, ...), and the values () of the penalties that it gives beside them, named in its `terms`."""
    net: Any = G
    return net.images_and_terms(z, y) if offers_terms(G) else (net(z, y), {})


def offers_terms(G: nn.Module) -> tuple[str, ...]:
    """Names of the penalties whose values G gives beside its images, from the same forward pass."""
    return tuple(getattr(G, "terms", ()))


def _kl(update: Update) -> Tensor:
    if "kl" in update.terms:
        return update.terms["kl"]
    G: Any = update.net
    divergence: Tensor = G.kl(update.samples["fake"].y).mean()
    return divergence


def _difference(update: Update) -> Tensor:
    """Fake minus real (N, ...), in float32 or wider."""
    fake, real = (at_least_float32(update.samples[name].x) for name in ("fake", "real"))
    return fake - real


def _feature_matching(update: Update) -> Tensor:
    pairs = zip(update.features["fake"], update.features["real"], strict=True)
    layers = [(at_least_float32(fake) - at_least_float32(real)).abs().mean() for fake, real in pairs]
    return torch.stack(layers).mean()


def _perceptual(update: Update) -> Tensor:
    assert update.seen_alike is not None
    return update.seen_alike(update.samples["fake"].x, update.samples["real"].x)


def _mel(update: Update) -> Tensor:
    assert update.mel is not None
    return mel_distance(update.samples["fake"].x, update.samples["real"].x, update.mel)


def _mode_seeking(update: Update) -> Tensor:
    def apart(of: Mapping[str, Tensor]) -> Tensor:
        return (at_least_float32(of["fake"]) - at_least_float32(of["again"])).abs().flatten(1).mean(1)

    samples = {name: update.samples[name].x for name in update.latents}
    return -(apart(samples) / apart(update.latents)).mean()


CHARBONNIER_EPSILON = 1e-3
"""In images from -1 to 1."""

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
    # LeCam: scores of real images stay near the running mean of the fakes' scores, and the reverse (Tseng et al.
    # 2021, arXiv:2104.03310, eq. 2).
    "lecam": Penalty("D", _lecam, memory={"lecam": (0.0, 0.0)}, remember=_lecam_remember),
    # Balanced consistency: D gives a shifted or mirrored image the same score (Zhao et al. 2020, arXiv:2002.04724).
    "bcr": Penalty("D", _bcr, samples=_moved, noise={"move_real": _SHIFT, "move_fake": _SHIFT}, axes=3),
    # Matching-aware D: D also rejects real images with a wrong caption (Reed et al. 2016, arXiv:1605.05396,
    # algorithm 1). The fakes' conditions are drawn independently of x, so they serve as the wrong captions.
    "mismatch": Penalty(
        "D", lambda update: over(update.objective.critic, update.scores["real"], update.scores["mismatched"]),
        samples=lambda samples, noise: {"mismatched": samples["real"]._replace(y=samples["fake"].y)}, conditional=True,
    ),
    # KL(N(mu(y), sigma(y)) || N(0, I)) of the Gaussian from which G samples its condition (Zhang et al. 2017,
    # arXiv:1612.03242, eq. 2), or a VAE its code (Kingma & Welling 2014, arXiv:1312.6114).
    "kl": Penalty("G", _kl, method="kl"),
    # Codes move towards what is encoded, and the encoder towards them (van den Oord et al. 2017, arXiv:1711.00937,
    # eq. 3).
    "codebook": Penalty("G", lambda update: update.terms["codebook"], method="codebook"),
    # The mean of G's mask, so that what stands still is left to the background (Vondrick et al. 2016,
    # arXiv:1609.02612, section 2.2).
    "mask": Penalty("G", lambda update: update.terms["mask"], method="mask", axes=4),
    # Mode seeking: other latents make another sample of a condition. Minus the ratio of the two distances, which has a
    # bound, for samples have one (Mao et al. 2019, arXiv:1903.05628, section 3.2).
    "modes": Penalty("G", _mode_seeking, again=True),
    # The mean absolute error to the target (Isola et al. 2017, arXiv:1611.07004, eq. 3).
    "l1": Penalty("G", lambda update: _difference(update).abs().mean(), compares=True),
    # Its smooth form, sqrt(d^2 + epsilon^2) (Lai et al. 2017, arXiv:1704.03915, eq. 3).
    "charbonnier": Penalty(
        "G", lambda update: (_difference(update).square() + CHARBONNIER_EPSILON**2).sqrt().mean(), compares=True
    ),
    # Feature matching: D's layers answer alike (Wang et al. 2018, arXiv:1711.11585, eq. 4), averaged over the layers,
    # over which HiFi-GAN sums.
    "features": Penalty("G", _feature_matching, compares=True, features=True),
    # A trained network's layers answer alike (Johnson et al. 2016, arXiv:1603.08155).
    "perceptual": Penalty("G", _perceptual, compares=True, perceptual=True, axes=3),
    # The mean absolute difference of log-mel spectrograms (Kong et al. 2020, arXiv:2010.05646, eq. 4), up to half the
    # sample rate.
    "mel": Penalty("G", _mel, compares=True, axes=2, mel=True),
    # Multi-resolution STFT: spectral convergence and log magnitudes (Yamamoto et al. 2020, arXiv:1910.11480, eq. 6).
    "stft": Penalty(
        "G", lambda update: stft_distance(update.samples["fake"].x, update.samples["real"].x), compares=True, axes=2
    ),
}  # fmt: skip
