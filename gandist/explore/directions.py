"""Principal directions of G's features, as directions of its latents.

The method is GANSpace's (Härkönen et al. 2020, arXiv:2004.02546). Features of random latents at an early layer are
decomposed into principal components. A regression by least squares carries each component over to the latents: the
direction along which they move where the features move along it.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gandist.config.methods import latents_of
from gandist.distributed.randomness import philox
from gandist.errors import DataError
from gandist.run.trained import BATCH, Trained

FEWEST, FOLD, MOST_SAMPLES = 1000, 8, 4000
"""Random latents whose features are decomposed: at least, for each number of a latent, and at most."""
CONDITIONS = 10
"""Random conditions of these latents, at most."""
MOST, COMPONENTS = 10, 20
"""Directions at most, and components among which they are sought."""
STEADY = 0.25
"""Share of a component's variance that a linear function of the latents must explain. Behind a rectifier some
components rise to both sides of a direction, and have none of their own."""
WIDEST = 1 << 12
"""Features of a sample; of more, evenly spaced ones are taken."""
ROUNDS = 40
"""Of the search for components."""
CURVED = 1e-3
"""Share of a layer's change from which on it counts as not affine in z: rounding alone stays far below."""


class Directions(NamedTuple):
    """Directions of the latents, by the variance of the features along them, the largest first."""

    vectors: Tensor
    """(K, latents) on the CPU: orthonormal rows."""
    shares: list[float]
    """Of the features' variance that each component has."""
    layer: str
    """Name of the layer in G; empty for the samples themselves."""


class _ReachedError(Exception):
    """Ends a forward pass at the layer."""

    def __init__(self, features: Tensor) -> None:
        self.features = features


def layer_of(G: nn.Module, z: Tensor, y: Tensor | None = None) -> str:
    """The first layer of G whose output is no affine function of the latents, such as its first rectifier; empty if
    there is none. (Before it, variance tells the lengths of weights alone.)

    Layers that G calls more than once, such as those of a recurrent network, are left out.

    Args:
        z: three latents (3, latents).
        y: a condition (1, ...), None without one.
    """
    corners = torch.cat([z, z[:1] + z[1:2] - z[2:]])
    seen: dict[str, list[Any]] = {}
    with ExitStack() as stack:
        for name, module in G.named_modules():
            if name and not [*module.children()]:
                note = seen.setdefault(name, [])
                # A copy: what follows may write into it
                hook = module.register_forward_hook(
                    lambda _module, _inputs, output, note=note: note.append(_copied(output))
                )
                stack.callback(hook.remove)
        with torch.no_grad():
            G(corners, *([] if y is None else [y.repeat(len(corners), *[1] * (y.dim() - 1))]))
    order = [name for name, outputs in seen.items() if len(outputs) == 1 and _is_curved(outputs[0])]
    return order[0] if order else ""


def _copied(output: object) -> Tensor | None:
    return output.clone() if isinstance(output, Tensor) else None


def _is_curved(output: Tensor | None) -> bool:
    """Whether features of four latents, the fourth being the first and the second less the third, are no affine
    function of them."""
    if output is None or len(output) % 4 or not output.is_floating_point():
        return False
    a, b, c, d = output.reshape(4, -1).double().unbind()
    return bool((a + b - c - d).norm() > CURVED * (a - c).norm())


def features_at(trained: Trained, layer: str, z: Tensor, y: Tensor | None) -> Tensor:
    """Features (N, F) of latents (N, latents) at a layer of G, or of the samples if `layer` is empty."""
    return torch.cat([*_features(trained, layer, z, y)])


@torch.no_grad()
def _features(trained: Trained, layer: str, z: Tensor, y: Tensor | None) -> Iterator[Tensor]:
    def stop(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        raise _ReachedError(output)

    with ExitStack() as stack:
        if layer:
            stack.callback(trained.G.get_submodule(layer).register_forward_hook(stop).remove)
        for first in range(0, len(z), BATCH):
            part = slice(first, first + BATCH)
            try:
                found = trained.medium.coarse(trained.G(z[part], None if y is None else y[part]))
            except _ReachedError as reached:
                found = reached.features
            found = found.reshape(len(z[part]), -1).float()
            yield found[:, :: -(-found.shape[1] // WIDEST)]


def some_conditions(trained: Trained) -> Tensor | None:
    """Random conditions (n, ...) of the data, or made-up ones if it cannot be read; None for an unconditional G."""
    n = min(CONDITIONS, trained.condition.count or CONDITIONS)
    try:
        return trained.conditions(n)
    except DataError:
        return trained.told(trained.condition.made_up(n, philox(0, "explore/conditions")))


def find_directions(trained: Trained) -> Directions:
    """The principal directions of a generator, the same at every call; none if its features follow no direction.

    What the conditions do to features is taken out: each condition's features have the mean 0.
    """
    latents = latents_of(trained.config)
    samples = min(MOST_SAMPLES, max(FEWEST, FOLD * latents))
    z, conditions = trained.latents(samples), some_conditions(trained)
    layer = layer_of(trained.G, z[:3], None if conditions is None else conditions[:1])
    of_condition = torch.arange(samples, device=z.device) % (1 if conditions is None else len(conditions))
    h = features_at(trained, layer, z, None if conditions is None else conditions[of_condition])
    for number in range(int(of_condition.max()) + 1):
        h[of_condition == number] -= h[of_condition == number].mean(0)

    # Scores of the components are eigenvectors of the Gram matrix, for there are fewer samples than features
    gram = (h @ h.T).cpu().double()
    begun = torch.from_numpy(philox(0, "explore/directions").standard_normal((samples, COMPONENTS)))
    variances, scores = torch.lobpcg(gram, X=begun, niter=ROUNDS)

    regressed = scores.T @ (z.cpu().double() - z.cpu().double().mean(0))
    vectors, kept = _orthonormal(regressed / samples**0.5, by_chance=min(0.9, latents / samples))
    shares = (variances / gram.trace())[kept].tolist()
    return Directions(vectors[:MOST].float(), shares[:MOST], layer)


def _orthonormal(regressed: Tensor, by_chance: float) -> tuple[Tensor, list[int]]:
    """Rows (K, latents), each without what those before it have, at length 1 and with a positive largest number; and
    which rows these are: those whose own part explains enough of their component's variance.

    Args:
        regressed: by latents of mean 0 and variance 1, of scores that have it, too: a row's squared length is the
            share of the variance that it explains.
        by_chance: the share that random latents would explain of any scores.
    """
    found: list[Tensor] = []
    kept: list[int] = []
    for number, row in enumerate(regressed):
        own = row
        for _ in range(2):  # twice, so that rounding is taken out, too
            for other in found:
                own = own - (own @ other) * other
        if (own.square().sum() - by_chance) / (1 - by_chance) > STEADY:
            own = own / own.norm()
            found.append(own * own[own.abs().argmax()].sign())
            kept.append(number)
    return (torch.stack(found) if found else regressed[:0]), kept
