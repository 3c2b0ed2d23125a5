"""Evaluations by several ranks: `torchrun ... -m tests.helpers.evaluate_on_ranks CONFIG OUT [CONFIG OUT ...]`.

CONFIG holds a resolved configuration as JSON.
"""

import json
import os
import sys
from pathlib import Path

import torch

from gandist.config.methods import new_players
from gandist.config.run import validate
from gandist.distributed.ranks import join
from gandist.evaluation.evaluator import Evaluator

if __name__ == "__main__":
    torch.set_num_threads(1)
    ranks = join("cpu")
    for given, out in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        config = validate(json.loads(Path(given).read_text()))
        players = new_players(config, ranks.device)
        players.images_seen = 99
        for tensor in players.G_ema.state_dict().values():
            if tensor.is_floating_point():
                # Larger weights than a new network's, whose images differ by no more than float32 rounds. What a rank
                # has of its own, as of BatchNorm's statistics, must not count.
                tensor.mul_(8 * (1 + ranks.rank))
        result = Evaluator(config, ranks).evaluate(players)
        if ranks.is_main:
            Path(out).write_text(json.dumps(result.plain()))
    ranks.leave()
    os._exit(0)  # threads of pyarrow's can abort an interpreter that ends so soon after it has read an index
