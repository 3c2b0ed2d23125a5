"""Execution of the step: captured as a CUDA graph, by Python, or with compiled networks."""

import logging
import math
from collections.abc import Callable

import torch.distributed as dist
from torch import Tensor

from gandist.config.methods import AnyGame
from gandist.config.run import RunConfig
from gandist.distributed.captured import WARM_UP, WARM_UP_DDP, Eager, captured
from gandist.distributed.ranks import Ranks
from gandist.gan.adversarial import Game
from gandist.gan.players import Players

log = logging.getLogger("gandist")


def stepper(config: RunConfig, step: Callable[..., Tensor], game: AnyGame, players: Players, ranks: Ranks) -> Eager:
    """The step as `config.step` requests it, or eagerly if that is impossible; the log says why.

    Args:
        step: plays rounds of `game`.
    """
    if config.step == "compile":
        compile_networks(game, players)
    obstacle = ""
    if ranks.stream is None:
        obstacle = "there is no GPU"
    elif ranks.gradients is not None and (backend := dist.get_backend(ranks.gradients)) != "nccl":
        obstacle = f"gradients are averaged by {backend}, which cannot be captured"
    found: Eager
    if ranks.stream is not None and not obstacle and config.step != "eager":
        warm_up, timeout_s = (WARM_UP_DDP, config.launch.timeout_s) if ranks.gradients else (WARM_UP, math.inf)
        found = captured(step, ranks.stream, warm_up, timeout_s)
    else:
        if config.step == "graph" and ranks.is_main:
            log.warning("step=eager: %s", obstacle)
        # DDP requires its steps on the stream that it was made on.
        found = Eager(step, ranks.stream if ranks.gradients else None)
    if config.step == "compile":
        found.mode = "compile"
    return found


def compile_networks(game: AnyGame, players: Players) -> None:
    """Let torch.compile fuse the networks; D only if no penalty differentiates it twice or in forward mode."""
    slopes = isinstance(game, Game) and any(penalty.slopes for penalty in game.rules.penalties_of("D").values())
    if slopes:
        log.info("step=compile leaves D out: a penalty needs its slope, and compiled code has no second derivative")
    for net in [players.G.net] if slopes else [players.G.net, players.D.net]:
        net.compile()
