"""The two-player game (Goodfellow et al. 2014, arXiv:1406.2661): the two losses, and the step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gandist.distributed.ranks import Ranks
from gandist.gan.augment import Augmentation, adapt
from gandist.gan.networks.norms import at_least_float32, iterate, sees_batch, synchronise
from gandist.gan.objectives import OBJECTIVES, Objective
from gandist.gan.penalties import PENALTIES, NamedSamples, Noise, Penalty, Samples, Update, judge
from gandist.gan.players import Player, Players
from gandist.gan.scores import Scores, as_scores, over, split


class Reals(NamedTuple):
    """Real images x (N, C, H, W) in [-1, 1], their condition y (N, ...) or None, and numbers drawn for D's update."""

    x: Tensor
    y: Tensor | None
    noise: Mapping[str, Tensor] = {}


class Latents(NamedTuple):
    """Noise z (N, latents), the condition y (N, ...) asked of G or None, and numbers drawn for G's update."""

    z: Tensor
    y: Tensor | None
    noise: Mapping[str, Tensor] = {}


class Rules(NamedTuple):
    """What the game is played by, from the first step to the last."""

    objective: Objective = OBJECTIVES["ns"]
    smoothing: float = 0.0
    """One-sided label smoothing."""
    penalties: tuple[str, ...] = ()
    """Names in `PENALTIES`."""
    differentiate: Literal["jvp", "double"] = "jvp"
    augmentation: Augmentation | None = None
    target: float | None = None
    """Mean sign of D on reals that the augmentation's p adapts to."""
    speed_kimg: float = 500.0
    batch: int = 0
    """Global batch, which p adapts by."""

    def penalties_of(self, player: str) -> dict[str, Penalty]:
        """Those of a player, G or D."""
        found = {name: PENALTIES[name] for name in self.penalties}
        return {name: penalty for name, penalty in found.items() if penalty.of == player}


Number = Tensor | float
"""A scalar on the device where the step may be captured: a number of the host would stay as it was then."""


class Scheduled(NamedTuple):
    """The scheduled numbers of one step."""

    beta: Number
    """What G's running average keeps of itself."""
    weights_D: Sequence[Mapping[str, Number]] = ({},)
    """For each update of D, the weights of the penalties that are due in it."""
    weights_G: Mapping[str, Number] = {}
    clip: Number | None = None
    """Bound of D's weights; None for none."""


class CriticLoss(nn.Module):
    """D's loss on real and generated images: all of D's forward passes, so that DDP sees them as one."""

    def __init__(self, D: nn.Module, rules: Rules, memory: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.D, self.rules, self.memory = D, rules, memory
        self.penalties = rules.penalties_of("D")
        # BatchNorm over a mixed batch would tell real from fake by the batch's own statistics.
        self.apart = sees_batch(D)

    def forward(
        self,
        x: Tensor,
        y: Tensor | None,
        x_fake: Tensor,
        y_fake: Tensor | None,
        noise: Mapping[str, Tensor],
        weights: Mapping[str, Number],
    ) -> tuple[Tensor, Tensor]:
        """The loss (), and detached statistics: those of `CRITIC_STATISTICS`, then each penalty, NaN if not due."""
        rules = self.rules
        penalties = {name: self.penalties[name] for name in weights}
        # What D is to judge: real and fake samples, and those that penalties make of them
        samples = {
            "real": Samples(augmented(x, "real", rules, noise, self.memory), y),
            "fake": Samples(augmented(x_fake, "fake", rules, noise, self.memory), y_fake),
        }
        for penalty in penalties.values():
            samples |= penalty.samples(samples, noise)
        scores, slopes = self._judge(samples, {name for penalty in penalties.values() for name in penalty.slopes})
        # The objective, and the penalties that are due
        real, fake = scores["real"], scores["fake"]
        loss = own = over(rules.objective.critic, real, fake)
        if rules.smoothing and (smoothing := rules.objective.smoothing):
            loss = own = loss + over(lambda scores: smoothing(scores, rules.smoothing), real)
        update = Update(self.D, samples, scores, slopes, self.memory, rules.objective)
        terms = {name: penalty.value(update) for name, penalty in penalties.items()}
        for name, term in terms.items():
            loss = loss + weights[name] * term
        # What a row of metrics shows of it
        absent = torch.full_like(own, torch.nan)
        shown = [own, over(Tensor.mean, real), over(Tensor.mean, fake), over(lambda each: each.sign().mean(), real)]
        return loss, torch.stack(shown + [terms.get(name, absent) for name in self.penalties]).detach()

    def _judge(self, samples: NamedSamples, sloped: set[str]) -> tuple[dict[str, Scores], dict[str, Tensor]]:
        """D's scores of all samples, and its squared slopes at the `sloped` ones; in as few passes as D allows."""
        batches = [[name] for name in samples]
        if not self.apart:
            batches = [[n for n in samples if n in sloped], [n for n in samples if n not in sloped]]
        scores: dict[str, Scores] = {}
        slopes: dict[str, Tensor] = {}
        for names in filter(None, batches):
            x = torch.cat([samples[name].x for name in names])
            conditions = [y for name in names if (y := samples[name].y) is not None]
            y = torch.cat(conditions) if conditions else None
            if names[0] in sloped:
                found, slope = judge(self.D, x, y, self.rules.differentiate)
                slopes |= zip(names, at_least_float32(slope).chunk(len(names)), strict=True)
            else:
                found = as_scores(self.D(x, y))
            scores |= zip(names, split(found, len(names)), strict=True)
        return scores, slopes


class GeneratorLoss(nn.Module):
    """G's loss through a frozen D. D is kept out of the module tree: DDP must average G's gradients only."""

    def __init__(self, G: nn.Module, D: nn.Module, rules: Rules, memory: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.G, self.rules, self.memory = G, rules, memory
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
    ) -> tuple[Tensor, Tensor]:
        """The loss (), and detached statistics: it, then each penalty. Of x only paired objectives take notice."""
        (D,), rules = self._frozen, self.rules
        # G's samples through D; real ones for objectives that compare the two
        samples = {"fake": Samples(self.G(z, y), y), "real": Samples(x, y_real)}
        fake = real = as_scores(D(augmented(samples["fake"].x, "fake", rules, noise, self.memory), y))
        if rules.objective.paired:
            real = as_scores(D(augmented(x, "real", rules, noise, self.memory), y_real))
        # The objective, and the penalties that are due
        loss = own = over(rules.objective.generator, real, fake)
        update = Update(self.G, samples, {"real": real, "fake": fake}, {}, self.memory, rules.objective)
        terms = {name: self.penalties[name].value(update) for name in weights}
        for name, term in terms.items():
            loss = loss + weights[name] * term
        absent = torch.full_like(own, torch.nan)
        return loss, torch.stack([own, *(terms.get(name, absent) for name in self.penalties)]).detach()


CRITIC_STATISTICS = ("loss/D", "score/real", "score/fake", "sign/real")


class Game:
    """The two losses, wrapped for the ranks once, and the step that plays one round."""

    def __init__(self, players: Players, rules: Rules, ranks: Ranks, precision: str, accumulate: int = 1) -> None:
        G, D = players.G.net, players.D.net
        for net in (G, D):
            synchronise(net, ranks.gradients)
        self.rules, self.ranks, self.accumulate = rules, ranks, accumulate
        self.critic_loss = ranks.distributed(CriticLoss(D, rules, players.memory))
        self.generator_loss = ranks.distributed(GeneratorLoss(G, D, rules, players.memory))
        self.autocast = autocast(ranks.device, precision)
        terms_D, terms_G = ([f"penalty/{name}" for name in rules.penalties_of(player)] for player in ("D", "G"))
        self.statistics = (*CRITIC_STATISTICS, *terms_D, "grad_norm/D", "loss/G", *terms_G, "grad_norm/G")
        """Names of what `step` returns, in its order."""
        self.remembering = [penalty for penalty in rules.penalties_of("D").values() if penalty.remember]

    def noise_for(self, player: str, due: Iterable[str] = ()) -> dict[str, Noise]:
        """What has to be drawn for each image of an update of `player`, G or D, in which these penalties are due."""
        wanted: dict[str, Noise] = {}
        if (augmentation := self.rules.augmentation) is not None:
            uniforms = Noise("uniform", lambda sample: (augmentation.uniforms,))
            seen = ["fake"] if player == "G" and not self.rules.objective.paired else ["real", "fake"]
            wanted = {f"augment_{name}": uniforms for name in seen}
        of_player = self.rules.penalties_of(player)
        for name in due:
            wanted |= of_player[name].noise
        return wanted

    def step(
        self, players: Players, reals: Sequence[Reals], for_D: Sequence[Latents], for_G: Latents, now: Scheduled
    ) -> Tensor:
        """One round of Algorithm 1: len(reals) updates of D, one of G, then G's running average.

        Args:
            reals: this rank's share of a fresh global batch for each update of D.
            for_D: the latents of the fakes in each update of D.
            for_G: the latents of G's own update; paired objectives compare them with the last of `reals`.
            now: the scheduled numbers.

        Returns:
            `statistics`, float32, on the device; of several updates of D, their mean, in which NaN does not count.
        """
        G, D = players.G, players.D
        critics = []
        for (x, y, noise), (z, y_fake, _), weights in zip(reals, for_D, now.weights_D, strict=True):
            with torch.no_grad(), self.autocast():
                x_fake = torch.cat([G.net(*part) for part in self._parts(z, y_fake)]).to(x.dtype)
            iterate(D.net)
            critic = self._descend(D, self.critic_loss, self._parts(x, y, x_fake, y_fake, noise), weights)
            D.clip(now.clip)
            self._remember(players, critic)
            critics.append(critic)
        z, y_fake, noise = for_G
        parts = self._parts(z, y_fake, reals[-1].x, reals[-1].y, noise)
        with D.frozen():
            generator = self._descend(G, self.generator_loss, parts, now.weights_G)
        players.average(now.beta)
        return torch.cat([torch.stack(critics).nanmean(0), generator])

    def _descend(
        self, player: Player, loss_of: nn.Module, parts: list[tuple[Any, ...]], weights: Mapping[str, Number]
    ) -> Tensor:
        """One update of `player` against the mean loss over `parts`: (statistics..., gradient norm)."""
        player.optimizer.zero_grad()
        sums: list[Tensor] = []
        for i, part in enumerate(parts):
            with on_the_last(loss_of, i + 1 == len(parts)):
                with self.autocast():
                    loss, statistics = loss_of(*part, weights)
                player.scaler.scale(loss / len(parts)).backward()
            sums.append(statistics)
        norm = player.update()
        return torch.cat([torch.stack(sums).mean(0).float(), norm.float()[None]])

    def _remember(self, players: Players, critic: Tensor) -> None:
        """What penalties and an adapting augmentation keep of D's scores over the global batch. On the device."""
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

    def _parts(self, *values: Any) -> list[tuple[Any, ...]]:
        """The micro-batches: each tensor, and each of a mapping, in `accumulate` equal chunks."""
        return list(zip(*(chunks(value, self.accumulate) for value in values), strict=True))


def chunks(value: Tensor | Mapping[str, Tensor] | None, parts: int) -> list[Any]:
    """A tensor, or a mapping of tensors, in so many equal parts; None as often."""
    if value is None:
        return [None] * parts
    if isinstance(value, Tensor):
        return list(value.chunk(parts))
    return [{name: tensor.chunk(parts)[i] for name, tensor in value.items()} for i in range(parts)]


def on_the_last(loss_of: nn.Module, last: bool) -> AbstractContextManager[None]:
    """A context for the backward pass of a micro-batch: ranks average gradients in that of the last alone."""
    return loss_of.no_sync() if isinstance(loss_of, DistributedDataParallel) and not last else nullcontext()


def augmented(x: Tensor, name: str, rules: Rules, noise: Mapping[str, Tensor], memory: Mapping[str, Tensor]) -> Tensor:
    """The images as D sees them. Real and generated ones alike, or G would learn to draw the augmentation."""
    if rules.augmentation is None:
        return x
    x = at_least_float32(x)
    return rules.augmentation.apply(x, noise[f"augment_{name}"], memory["augment"][0])


def autocast(device: torch.device, precision: str) -> Callable[[], torch.autocast]:
    """A context in which networks run in `precision`; fp32 and fp64 as they are."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return lambda: torch.autocast(device.type, dtype, enabled=dtype is not None)
