"""A file of one's own as a latent of a generator: found by descent on the difference between its sample and the file.

It begins at the best of many random latents (and classes, unless one is chosen), as descents from several of them, for
the loss has many valleys. Latents are held at the length that random ones have (Karras et al. 2020, arXiv:1912.04958,
appendix D, project in the same way, by perceptual features), so that they can be moved as those can.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gandist.conditions.condition import Wish
from gandist.distributed.randomness import philox
from gandist.errors import ConfigError, DataError, GandistError
from gandist.explore.drawing import Explorer, Recipe
from gandist.explore.likeness import Likeness, likeness_of
from gandist.gan.adam import PlainAdam
from gandist.run.trained import BATCH, Trained

log = logging.getLogger("gandist")

RANDOM = 200
"""Random latents to begin with."""
BATCHES = -(-RANDOM // BATCH)
STARTS = 4
"""The best of them, from which descents begin."""
STEPS = 120
RATE = 0.1
"""Adam's learning rate at the first step, falling to 0 as a cosine does."""
LENGTH = 0.05
"""Weight of (|z|^2 / latents - 1)^2, in standard deviations of its random value."""

Do = Callable[[Callable[[], None]], None]
"""Does a piece of work, in the thread of all such work."""
GoesOn = Callable[[int], bool]
"""Given the number of pieces done, whether to go on."""
Status = Literal["running", "done", "cancelled", "failed"]


@dataclass
class Descent:
    """A projection under way: the best latent so far."""

    z: Tensor
    """(STARTS, latents), which the steps change."""
    y: Tensor | None
    labels: list[int] | None
    """The class of each, if the generator has classes."""
    random: float
    """Loss of the best random latent."""
    loss: float
    best: Tensor
    """(latents,)."""
    label: int | None


def begin(
    trained: Trained, likeness: Likeness, target: Tensor, recipe: Recipe, do: Do, goes_on: GoesOn
) -> Descent | None:
    """The best of `RANDOM` latents for a target (1, *network_shape), of the recipe's class or caption, else of all
    classes in turn. A batch at a time is tried, within `do`, while `goes_on` says so of the number of batches tried;
    None if it did not.

    Raises:
        ConfigError: the generator's samples have no gradients, or the recipe's condition is none of its own.
        DataError: a random caption is needed, and the training set cannot be read.
    """
    z = torch.from_numpy(philox(0, "explore/projection").standard_normal((RANDOM, trained.latents(1).shape[1])))
    z = z.float().to(trained.device)
    stored = trained.condition.asked(Wish(recipe.label, recipe.caption), RANDOM, trained.encoder)
    if stored is None and trained.condition.count:
        stored = trained.condition.made_up(RANDOM, philox(0, "explore/projection/y"))
    if stored is None and trained.condition.kind != "none":
        y = trained.conditions(recipe.number + 1, recipe.seed)
        y = None if y is None else y[-1:].expand(RANDOM, -1)
    else:
        y = None if stored is None else trained.told(stored)
    losses = torch.empty(RANDOM, device=z.device)

    def measure(at: slice) -> None:
        with torch.no_grad():
            losses[at] = likeness.loss(trained.G(z[at], None if y is None else y[at]), target)

    for number in range(BATCHES):
        if not goes_on(number):
            return None
        do(partial(measure, slice(number * BATCH, (number + 1) * BATCH)))
    order = losses.argsort()[:STARTS]
    labels = None if stored is None else trained.condition.labels(stored)
    chosen = None if labels is None else labels[order.cpu().numpy()].tolist()
    descent = Descent(
        z=z[order].clone().requires_grad_(),
        y=None if y is None else y[order],
        labels=chosen,
        random=float(losses.min()),
        loss=float(losses.min()),
        best=z[order[0]].clone(),
        label=None if chosen is None else chosen[0],
    )
    if not trained.G(descent.z, descent.y).requires_grad:
        raise ConfigError(
            f"{trained.config.model.name}: its generator draws symbols, through which no gradient passes: nothing can "
            "be projected; explore its seeds"
        )
    return descent


def descend(
    trained: Trained,
    likeness: Likeness,
    target: Tensor,
    descent: Descent,
    do: Do,
    goes_on: GoesOn,
    steps: int = STEPS,
) -> None:
    """Take the steps of a descent, each within `do`, while `goes_on` says so of the number of steps taken."""
    optimiser = PlainAdam([descent.z], lr=RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    spread = (2 / descent.z.shape[1]) ** 0.5

    def step() -> None:
        with torch.enable_grad():
            losses = likeness.loss(trained.G(descent.z, descent.y), target)
            length = ((descent.z.square().mean(1) - 1) / spread).square()
            (gradient,) = torch.autograd.grad((losses + LENGTH * length).sum(), [descent.z])
        losses = losses.detach()
        at = int(losses.argmin())
        if float(losses[at]) < descent.loss:
            descent.loss, descent.best = float(losses[at]), descent.z[at].detach().clone()
            descent.label = None if descent.labels is None else descent.labels[at]
        descent.z.grad = gradient
        optimiser.step()
        schedule.step()

    for number in range(steps):
        if not goes_on(number):
            return
        do(step)
    goes_on(steps)


class Projection:
    """A file's projection, in a thread of its own, which the page asks how far it is."""

    def __init__(self, explorer: Explorer, data: bytes, recipe: Recipe) -> None:
        """Begin with a file's bytes.

        Raises:
            DataError: they are no sample of the medium.
        """
        trained = explorer.first
        row = np.zeros(trained.medium.row.shape, trained.medium.row.dtype)
        try:
            self.note = trained.medium.decode(data, row)
        except DataError:
            raise
        except Exception as error:  # of damaged files decoders raise any exception
            raise DataError(f"cannot be read: {error}") from error
        self.explorer, self.recipe = explorer, recipe
        self.target = explorer.target(row)
        self._x = trained.medium.to_network(torch.from_numpy(row)[None].to(trained.device))
        self.status: Status = "running"
        self.step, self.error, self.said = 0, "", ""
        self._descent: Descent | None = None
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projection", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """End it after the step that it takes; the best latent so far stays."""
        self._cancelled.set()
        self._thread.join()

    def _run(self) -> None:
        explorer, trained = self.explorer, self.explorer.first
        try:
            likeness = explorer.do(partial(likeness_of, trained.medium, trained.device))
            self.said = likeness.said
            self._descent = begin(trained, likeness, self._x, self.recipe, explorer.do, self._goes_on)
            if self._descent is not None:
                descend(trained, likeness, self._x, self._descent, explorer.do, self._goes_down)
            self.status = "cancelled" if self._cancelled.is_set() else "done"
        except GandistError as error:
            self.status, self.error = "failed", str(error)
        except Exception as error:
            if explorer.closing.is_set():
                return
            log.exception("projection")
            self.status, self.error = "failed", f"{type(error).__name__}: {error}"

    def _goes_on(self, step: int) -> bool:
        self.step = step
        return not self._cancelled.is_set()

    def _goes_down(self, step: int) -> bool:
        return self._goes_on(BATCHES + step)

    def facts(self) -> dict[str, Any]:
        """How far it is, and the best recipe so far, for the page."""
        found: dict[str, Any] = {
            "status": self.status,
            "step": self.step,
            "steps": BATCHES + STEPS,
            "error": self.error,
            "said": self.said,
            "note": self.note,
            "target": self.target,
        }
        descent = self._descent
        if descent is not None:
            recipe = self.recipe.model_copy(
                update={"latent": descent.best.tolist(), "label": descent.label, "truncation": 1.0, "moves": []}
            )
            found |= {"loss": descent.loss, "random": descent.random, "recipe": recipe.model_dump()}
        return found
