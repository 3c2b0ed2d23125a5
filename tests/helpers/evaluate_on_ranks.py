"""Evaluations by several ranks."""

import json
from pathlib import Path
from typing import Any

import torch

from gandist.config.methods import new_players
from gandist.config.run import validate
from gandist.distributed.ranks import join
from gandist.evaluation.evaluator import Evaluator
from gandist.evaluation.fidelity import Sums


def evaluate_new(tree: dict[str, Any], out: Path) -> None:
    """Evaluate a resolved configuration's new networks, as a rank that has joined the others; the main rank writes the
    result to `out`."""
    config, ranks = validate(tree), join("cpu")
    players = new_players(config, ranks.device)
    players.images_seen = 99
    for tensor in players.G_ema.state_dict().values():
        if tensor.is_floating_point():
            # Larger weights than a new network's, whose images differ by no more than float32 rounds. What a rank has
            # of its own, as of BatchNorm's statistics, must not count.
            tensor.mul_(8 * (1 + ranks.rank))
    result = Evaluator(config, ranks).evaluate(players)
    if ranks.is_main:
        out.write_text(json.dumps(result.plain()))
    ranks.leave()


def write_means(folder: Path) -> None:
    """The means of five numbers shared among the ranks, and of one that the first rank lacks, to a file of each."""
    ranks, sums = join("cpu"), Sums()
    sums.add("l1", torch.arange(5.0)[ranks.rank :: ranks.world_size])
    if not ranks.is_main:
        sums.add("psnr", torch.tensor([3.0]))
    (folder / f"means{ranks.rank}").write_text(json.dumps(sums.gathered(ranks).means))
    ranks.leave()
