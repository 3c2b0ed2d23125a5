"""The main rank's files of a run: configuration, metrics, sample grids and checkpoints."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
import yaml
from torch import Tensor

from gandist.config import extensions
from gandist.config.run import RunConfig
from gandist.config.schedule import images_of
from gandist.distributed.background import Background, arrival, to_host
from gandist.gan.players import Players
from gandist.media.medium import Medium, Preview
from gandist.monitoring.health import Row
from gandist.monitoring.telemetry import Silent
from gandist.monitoring.trackers import Trackers
from gandist.run import previews
from gandist.run.attempt import Attempt
from gandist.run.checkpoint import FOLDER, MANIFEST, Writer, names
from gandist.run.evaluations import Evaluations, Result
from gandist.run.progress import METRICS_FILE, RunLog, decode, encode, last_images_seen
from gandist.training.grid import Grid


class Outputs:
    """The files of one attempt at a run."""

    def __init__(
        self,
        config: RunConfig,
        attempt: Attempt,
        telemetry: Silent,
        *,
        images_seen: int,
        world_size: int,
        precision: str,
        data_fingerprint: str,
        encoder: str = "",
        captions: Sequence[str] = (),
    ) -> None:
        """`captions` condition the rows of the samples, by vectors from `encoder`."""
        self.config = config
        self.storage = storage = attempt.fenced
        storage.write_bytes("config.yaml", yaml.safe_dump(config.resolved(), sort_keys=False).encode())
        for path, source in extensions.sources(config.imports).items():
            storage.write_bytes(f"{extensions.FOLDER}/{Path(path).name}", source.encode())
        if captions:
            storage.write_bytes("samples/captions.txt", "\n".join([*captions, ""]).encode())
        storage.sweep(FOLDER)
        self.trackers = Trackers(config, storage, images_seen, last_images_seen(storage))
        self._open(images_seen)
        self._drawing = Background("samples")
        keep_every = config.train.keep_every_kimg
        self.writer = Writer(
            storage,
            facts={
                "config_fingerprint": config.fingerprint(),
                "data_fingerprint": data_fingerprint,
                "attempt": attempt.number,
                "encoder": encoder,
                "imports": extensions.digests(config.imports),
                "world_size": world_size,
                "threads": torch.get_num_threads(),
                "precision": precision,
                "config": config.resolved(),
            },
            keep=config.train.keep,
            keep_every=images_of(keep_every) if keep_every else None,
            best=lambda images_seen: self.evaluations.best(images_seen),
            written=lambda written: telemetry.checkpoint(written.write_s, written.stall_s, written.bytes),
        )

    def _open(self, images_seen: int) -> None:
        self._log, self.evaluations = RunLog(self.storage, images_seen), Evaluations(self.storage, images_seen)
        self._rows: list[Row] = list(decode(self.storage.read_bytes(METRICS_FILE) or b""))

    def row(self, row: Row) -> None:
        """Append a row to `metrics.jsonl`.

        Raises:
            OSError: an earlier checkpoint or grid of samples could not be written.
            OvertakenError: another attempt has taken over; the calls below raise it too.
        """
        self.writer.check()
        self._drawing.check()
        self._log.append(row)
        self._rows.append(row)
        self.trackers.row(row)

    @torch.no_grad()
    def samples(self, players: Players, grid: Grid, medium: Medium) -> None:
        """Write `samples/NNNNNNNN.*`, with its sounds if it has any: G_ema on the grid's latents and conditions.

        After the samples are drawn, the rest runs in the background. The call first waits for the previous grid.
        """
        rows, seen = medium.from_network(players.G_ema.eval()(grid.z, grid.y)), players.images_seen
        copied, arrived = to_host(rows), arrival(rows.device)
        written = self._drawing.start(lambda: self._write_preview(grid, medium, copied, arrived, seen))
        self.trackers.preview(seen, written.result)

    def _write_preview(
        self, grid: Grid, medium: Medium, rows: Tensor, arrived: Callable[[], object], images_seen: int
    ) -> Preview:
        arrived()
        preview = grid.preview(medium, rows.numpy())
        previews.write(self.storage, images_seen, preview)
        return preview

    def evaluation(self, result: Result) -> bool:
        """Record an evaluation; returns whether it is the best so far, so that its checkpoint must be kept."""
        self.evaluations.add(result)
        return self.evaluations.best() == result.images_seen

    def recent(self, row: Row) -> list[Row]:
        """The run's rows until now, with this one last; read from storage after a restart."""
        return [*self._rows, row]

    def rollback_target(self) -> int | None:
        """Images seen at the rollback target: the best checkpoint, else the newest one from a healthy time; None
        without one."""
        self.writer.wait()
        there = [int(name) for name in names(self.storage)]
        best = self.evaluations.best()
        if best in there:
            return best
        well = max((row["images_seen"] for row in self._rows if row.get("verdict") == "healthy"), default=0)
        return max((seen for seen in there if seen <= well), default=None)

    def roll_back_to(self, images_seen: int, number: int) -> None:
        """Restore the run's files to the checkpoint at `images_seen`; later rows move to `rolled-back-NUMBER.jsonl`."""
        self.wait()
        for name in names(self.storage):
            if int(name) > images_seen:
                self.storage.delete_folder(f"{FOLDER}/{name}", last=MANIFEST)
        self._log.close()
        self.evaluations.close()
        lost = [row for row in decode(self.storage.read_bytes(METRICS_FILE) or b"") if row["images_seen"] > images_seen]
        self.storage.write_bytes(f"rolled-back-{number}.jsonl", b"".join(map(encode, lost)))
        self.trackers.roll_back_to(images_seen)
        self._open(images_seen)

    def save(self, players: Players) -> float:
        """Start writing a checkpoint; returns for how many seconds training stood still."""
        return self.writer.save(players)

    def wait(self) -> None:
        """Wait until checkpoints and samples are on storage."""
        self.writer.wait()
        self._drawing.wait()

    def close(self) -> None:
        """Wait until everything is on storage.

        Raises:
            OSError: the last checkpoint or grid of samples could not be written.
        """
        self._log.close()
        self.evaluations.close()
        with ExitStack() as closing:  # all of them, even if one raises
            closing.callback(self.trackers.close)
            closing.callback(self._drawing.close)
            closing.callback(self.writer.close)
