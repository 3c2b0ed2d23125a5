"""The two-player game (Goodfellow et al. 2014, arXiv:1406.2661): the two losses, and the step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gandist.distributed.averaging import USUAL, Averaging
from gandist.distributed.ranks import Ranks
from gandist.gan.adaptive import adaptive_weight
from gandist.gan.augment import adapt
from gandist.gan.augmentation import Augmentation
from gandist.gan.descent import Descent, Number
from gandist.gan.networks.norms import at_least_float32, in_parts, iterate, needs_batches_apart, synchronise
from gandist.gan.objectives import OBJECTIVES, Objective
from gandist.gan.penalties import (
    PENALTIES,
    NamedSamples,
    Noise,
    Penalty,
    Samples,
    Update,
    Way,
    images_and_terms,
    judge,
    uniforms_of,
)
from gandist.gan.players import Players
from gandist.gan.scores import Scores, as_scores, over, split
from gandist.gan.spectra import MelScale


class Reals(NamedTuple):
    """Real images x (N, C, H, W) in [-1, 1], their condition y (N, ...) or None, and random numbers for D's update."""

    x: Tensor
    y: Tensor | None
    noise: Mapping[str, Tensor] = {}


class Latents(NamedTuple):
    """Latents z (N, latents), the condition y (N, ...) for G or None, and random numbers for G's update."""

    z: Tensor
    y: Tensor | None
    noise: Mapping[str, Tensor] = {}


class Rules(NamedTuple):
    """Rules of the game, fixed for the whole run."""

    objective: Objective = OBJECTIVES["ns"]
    smoothing: float = 0.0
    """One-sided label smoothing."""
    penalties: tuple[str, ...] = ()
    """Names in `PENALTIES`."""
    differentiate: Way = "auto"
    augmentation: Augmentation | None = None
    target: float | None = None
    """Mean sign of D on reals that an adaptive augmentation's p aims at."""
    speed_kimg: float = 500.0
    batch: int = 0
    """Global batch size, which scales the adaptation of p."""
    seen_alike: Callable[[Tensor, Tensor], Tensor] | None = None
    """Distance of two batches of samples to a trained network (`Update.seen_alike`)."""
    adaptive: bool = False
    """Whether the objective's factor in G's loss balances gradients (`gandist.gan.adaptive`)."""
    mel: MelScale | None = None
    """The mel spectrogram of the penalty `mel` (`Update.mel`)."""
    latents: int = 0
    """Numbers in a latent z, for penalties that draw another one."""

    def penalties_of(self, player: str) -> dict[str, Penalty]:
        """The penalties of a player, G or D."""
        found = {name: PENALTIES[name] for name in self.penalties}
        return {name: penalty for name, penalty in found.items() if penalty.of == player}


class Scheduled(NamedTuple):
    """The scheduled numbers of one step."""

    beta: Number
    """Weight that G's running average keeps of itself."""
    weights_D: Sequence[Mapping[str, Number]] = ({},)
    """For each update of D, the weights of the penalties due in it."""
    weights_G: Mapping[str, Number] = {}
    clip: Number | None = None
    """Bound of D's weights; None for none."""
    weight_G: Number | None = None
    """Factor of the objective in G's loss; None for 1."""


class CriticLoss(nn.Module):
    """D's loss on real and generated images. It holds all of D's forward passes, so that DDP sees one forward."""

    def __init__(self, D: nn.Module, rules: Rules, memory: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.D, self.rules, self.memory = D, rules, memory
        self.penalties = rules.penalties_of("D")
        self.apart = needs_batches_apart(D)

    def forward(
        self,
        x: Tensor,
        y: Tensor | None,
        x_fake: Tensor,
        y_fake: Tensor | None,
        noise: Mapping[str, Tensor],
        weights: Mapping[str, Number],
    ) -> tuple[Tensor, Tensor]:
        """The loss (), and detached statistics: `CRITIC_STATISTICS`, then each penalty, NaN if it is not due."""
        rules = self.rules
        penalties = {name: self.penalties[name] for name in weights}
        # Samples for D: real and fake ones, and those that penalties add
        samples = {
            "real": Samples(augmented(x, "real", rules, noise, self.memory), y, noise.get("D_real")),
            "fake": Samples(augmented(x_fake, "fake", rules, noise, self.memory), y_fake, noise.get("D_fake")),
        }
        for penalty in penalties.values():
            samples |= penalty.samples(samples, noise)
        scores, slopes = self._judge(samples, {name for penalty in penalties.values() for name in penalty.slopes})
        # The objective and the penalties that are due
        real, fake = scores["real"], scores["fake"]
        loss = own = over(rules.objective.critic, real, fake)
        if rules.smoothing and (smoothing := rules.objective.smoothing):
            loss = own = loss + over(lambda scores: smoothing(scores, rules.smoothing), real)
        update = Update(self.D, samples, scores, slopes, self.memory, rules.objective)
        terms = {name: penalty.value(update) for name, penalty in penalties.items()}
        for name, term in terms.items():
            loss = loss + weights[name] * term
        # Statistics for the metrics
        absent = torch.full_like(own, torch.nan)
        shown = [own, over(Tensor.mean, real), over(Tensor.mean, fake), over(lambda each: each.sign().mean(), real)]
        return loss, torch.stack(shown + [terms.get(name, absent) for name in self.penalties]).detach()

    def _judge(self, samples: NamedSamples, sloped: set[str]) -> tuple[dict[str, Scores], dict[str, Tensor]]:
        """D's scores of all samples, and its squared slopes at the `sloped` ones, in as few passes as D allows."""
        batches = [[n for n in samples if n in sloped], [n for n in samples if n not in sloped]]
        if self.apart:
            batches = [[name] for name in samples]
        scores: dict[str, Scores] = {}
        slopes: dict[str, Tensor] = {}
        for names in filter(None, batches):
            x = torch.cat([samples[name].x for name in names])
            y, u = (_together([samples[name][k] for name in names]) for k in (1, 2))
            # BatchNorm over a mixed batch would reveal real and fake through the batch statistics.
            with in_parts(self.D, len(names)):
                if names[0] in sloped:
                    found, slope = judge(self.D, x, y, self.rules.differentiate, u)
                    slopes |= zip(names, at_least_float32(slope).chunk(len(names)), strict=True)
                else:
                    found = as_scores(self.D(x, y) if u is None else self.D(x, y, u))
            scores |= zip(names, split(found, len(names)), strict=True)
        return scores, slopes


class GeneratorLoss(nn.Module):
    """G's loss through a frozen D. D is kept out of the module tree so that DDP averages G's gradients only."""

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        rules: Rules,
        memory: Mapping[str, Tensor],
        average: Callable[[Tensor], Tensor] = lambda values: values,
    ) -> None:
        """`average`: the mean of a tensor over the ranks, in place."""
        super().__init__()
        self.G, self.rules, self.memory, self.average = G, rules, memory, average
        self.penalties = rules.penalties_of("G")
        self._frozen = (D,)

    def forward(
        self,
        z: Tensor,
        y: Tensor | None,
        x: Tensor,
        y_real: Tensor | None,
        noise: Mapping[str, Tensor],
        weights: Mapping[str, Number],
        factor: Number | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss (), and detached statistics: the objective, its adaptive weight if the rules have one, then each
        penalty. Only paired objectives and penalties that compare use x. `factor`: of the objective; None for 1."""
        rules = self.rules
        layers = any(self.penalties[name].features for name in weights)
        # G's samples; others of the same conditions, if a penalty compares the two
        made, of_G = images_and_terms(self.G, z, y)
        samples, latents = {"fake": Samples(made, y), "real": Samples(x, y_real)}, {"fake": z}
        if (z_again := noise.get("again")) is not None:
            samples["again"], latents["again"] = Samples(self.G(z_again, y), y), z_again
        # D's scores of G's samples; of real ones for paired objectives; and its activations, if a penalty needs them
        fake, features = self._judge(samples["fake"], "fake", noise, layers)
        real, of_real = fake, features
        if rules.objective.paired or layers:
            with nullcontext() if rules.objective.paired else torch.no_grad():
                real, of_real = self._judge(samples["real"], "real", noise, layers)
        # The objective and the penalties that are due
        loss = own = over(rules.objective.generator, real, fake)
        scores, activations = {"real": real, "fake": fake}, {"real": of_real, "fake": features}
        game = (self.memory, rules.objective, activations, rules.seen_alike)
        update = Update(self.G, samples, scores, {}, *game, terms=of_G, mel=rules.mel, latents=latents)
        terms = {name: self.penalties[name].value(update) for name in weights}
        shown = [own]
        if rules.adaptive:
            compared = torch.stack([weights[name] * terms[name] for name in terms if self.penalties[name].compares])
            balance = adaptive_weight(compared.sum(), own, self.G, self.average)
            loss, shown = balance * loss, [own, balance]
        if factor is not None:
            loss = factor * loss
        for name, term in terms.items():
            loss = loss + weights[name] * term
        absent = torch.full_like(own, torch.nan)
        return loss, torch.stack(shown + [terms.get(name, absent) for name in self.penalties]).detach()

    def _judge(
        self, samples: Samples, name: str, noise: Mapping[str, Tensor], layers: bool
    ) -> tuple[Scores, Sequence[Tensor]]:
        """D's scores of samples, and its activations if `layers`."""
        D, u = self._frozen[0], noise.get(f"D_{name}")
        given = (samples.y,) if u is None else (samples.y, u)
        x = augmented(samples.x, name, self.rules, noise, self.memory)
        if layers:
            layered: Any = D  # `checks` refuses one that shows no layers
            scores, features = layered.scores_and_features(x, *given)
            return as_scores(scores), features
        return as_scores(D(x, *given)), ()


CRITIC_STATISTICS = ("loss/D", "score/real", "score/fake", "sign/real")


class Game(Descent):
    """The two losses, wrapped for the ranks once, and the step that plays one round."""

    def __init__(
        self,
        players: Players,
        rules: Rules,
        ranks: Ranks,
        precision: str,
        accumulate: int = 1,
        averaging: Averaging = USUAL,
    ) -> None:
        super().__init__(ranks.device, precision, accumulate)
        G, D = players.G.net, players.D.net
        for net in (G, D):
            synchronise(net, ranks.gradients)
        self.rules, self.ranks = rules, ranks
        self.critic_loss = ranks.distributed(CriticLoss(D, rules, players.memory), averaging)
        self.generator_loss = ranks.distributed(GeneratorLoss(G, D, rules, players.memory, ranks.average), averaging)
        terms_D, terms_G = ([f"penalty/{name}" for name in rules.penalties_of(player)] for player in ("D", "G"))
        adaptive = ("adaptive/G",) if rules.adaptive else ()
        self.statistics = (*CRITIC_STATISTICS, *terms_D, "grad_norm/D", "loss/G", *adaptive, *terms_G, "grad_norm/G")
        """Names of what `step` returns, in its order."""
        self.random_D = uniforms_of(D)
        self.remembering = [penalty for penalty in rules.penalties_of("D").values() if penalty.remember]

    def noise_for(self, player: str, due: Iterable[str] = ()) -> dict[str, Noise]:
        """Random numbers per image for an update of `player`, G or D, in which the penalties `due` are due."""
        looks_at_reals = self.rules.objective.paired or any(PENALTIES[name].features for name in due)
        names = ("real", "fake") if player == "D" or looks_at_reals else ("fake",)
        wanted: dict[str, Noise] = {}
        if (augmentation := self.rules.augmentation) is not None:
            of_augmentation = Noise("uniform", lambda sample: (augmentation.count(sample),))
            wanted |= {f"augment_{name}": of_augmentation for name in names}
        if self.random_D:
            of_D = Noise("uniform", lambda sample: (self.random_D,))
            wanted |= {f"D_{name}": of_D for name in names}
        of_player = self.rules.penalties_of(player)
        for name in due:
            wanted |= of_player[name].noise
            if of_player[name].again:
                wanted["again"] = Noise("normal", lambda sample: (self.rules.latents,))
        return wanted

    def step(
        self, players: Players, reals: Sequence[Reals], for_D: Sequence[Latents], for_G: Latents, now: Scheduled
    ) -> Tensor:
        """One round of Algorithm 1: len(reals) updates of D, one of G, then G's running average.

        Args:
            reals: this rank's share of a fresh global batch for each update of D.
            for_D: latents of the fakes, for each update of D.
            for_G: latents of G's update; paired objectives compare its fakes with the last of `reals`.
            now: the scheduled numbers.

        Returns:
            `statistics`, float32, on the device, averaged over the updates of D without NaN.
        """
        G, D = players.G, players.D
        critics = []
        for (x, y, noise), (z, y_fake, _), weights in zip(reals, for_D, now.weights_D, strict=True):
            with torch.no_grad(), self.autocast():
                x_fake = torch.cat([G.net(*part) for part in self.parts(z, y_fake)]).to(x.dtype)
            iterate(D.net)
            critic = self.descend(D, self.critic_loss, self.parts(x, y, x_fake, y_fake, noise), weights)
            D.clip(now.clip)
            self._remember(players, critic)
            critics.append(critic)
        z, y_fake, noise = for_G
        parts = self.parts(z, y_fake, reals[-1].x, reals[-1].y, noise)
        with D.frozen():
            generator = self.descend(G, self.generator_loss, parts, now.weights_G, now.weight_G)
        players.average(now.beta)
        return torch.cat([torch.stack(critics).nanmean(0), generator])

    def _remember(self, players: Players, critic: Tensor) -> None:
        """Update the memory of penalties and adaptive augmentation from D's global-batch scores, on the device."""
        rules = self.rules
        if not self.remembering and rules.target is None:
            return
        _, real, fake, sign = self.ranks.average(critic[: len(CRITIC_STATISTICS)].clone())
        for penalty in self.remembering:
            assert penalty.remember is not None
            penalty.remember(players.memory, real, fake)
        if rules.target is not None:
            state = players.memory["augment"]
            state.copy_(adapt(state, sign, rules.batch, rules.target, rules.speed_kimg))


def _together(parts: Sequence[Tensor | None]) -> Tensor | None:
    """The batches as one; None if there are none.

    Raises:
        TypeError: some are there and others not.
    """
    there = [part for part in parts if part is not None]
    if there and len(there) < len(parts):
        raise TypeError("a penalty's samples lack the condition y, or the numbers u of D, that the real samples have")
    return torch.cat(there) if there else None


def augmented(x: Tensor, name: str, rules: Rules, noise: Mapping[str, Tensor], memory: Mapping[str, Tensor]) -> Tensor:
    """The images as D sees them. Real and generated ones are both augmented: else G would learn the augmentation."""
    if rules.augmentation is None:
        return x
    x = at_least_float32(x)
    return rules.augmentation.apply(x, noise[f"augment_{name}"], memory["augment"][0])
