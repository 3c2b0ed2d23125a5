"""The metrics of a rank, served to Prometheus."""

from contextlib import ExitStack

from gandist.config.run import RunConfig
from gandist.config.schedule import images_of
from gandist.distributed import memory
from gandist.distributed.ranks import Ranks
from gandist.gan.players import Players
from gandist.monitoring.telemetry import Silent, announce, open_telemetry, target
from gandist.storage.storage import Storage


def serve_metrics(
    config: RunConfig, storage: Storage, ranks: Ranks, players: Players, attempt: int, closing: ExitStack
) -> Silent:
    """Serve this rank's metrics, with totals known so far; the run's folder lists the targets of all ranks.

    Raises:
        ConfigError: the port is taken, or the folder cannot be used.
    """
    plan = config.telemetry
    carried = {"skipped/D": float(players.D.skipped), "skipped/G": float(players.G.skipped)}
    carried["rollbacks"] = players.rollbacks
    telemetry = open_telemetry(plan.enabled, config.run.name, ranks.rank, restarts=attempt - 1, carried=carried)
    closing.callback(telemetry.close)
    known = {"images_seen": players.images_seen, "goal": images_of(config.train.total_kimg)}
    known |= {"world_size": ranks.world_size, "memory_limit_bytes": memory.limit_bytes(ranks.device)}
    telemetry.tick(known)
    port = telemetry.serve(plan.host, plan.port + ranks.rank if plan.port and not plan.dir else plan.port, plan.dir)
    addresses = ranks.gather(target(plan.host, port) if port else "")
    if any(addresses) and ranks.is_main and storage.local is not None:
        announce(storage.local, [address for address in addresses if address])
    return telemetry
