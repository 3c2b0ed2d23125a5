"""The weights after some steps of a configuration by how its gradients are sent; for `gandist.bench.ranks.on_ranks`."""

from typing import Any, Literal

from gandist.bench.ranks import Watched
from gandist.config.run import RunConfig
from gandist.distributed.ranks import join


def watched_weights(config: RunConfig, ways: list[Literal["at once", "at the end"]]) -> list[dict[str, Any]]:
    """For each way: the sum of D's and G's weights, in float64, and what was noted of the last step's buckets."""
    ranks, found = join("cpu"), []
    for sends in ways:
        watched = Watched(sends=sends)
        world = watched.step_of(config, ranks)
        for _ in range(3):
            watched.buckets.clear()
            world.eager()
        nets = (world.players.D.net, world.players.G.net)
        weights = [float(p.detach().double().sum()) for net in nets for p in net.parameters()]
        found.append({"weights": weights, "buckets": [(bytes, last) for _, bytes, last in watched.buckets]})
    return found
