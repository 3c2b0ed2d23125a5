"""What the leading rank writes of a run: its configuration, metrics, sample grids and checkpoints."""

from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from gandist import extensions
from gandist.attempt import Attempt
from gandist.checkpoint import FOLDER, MANIFEST, Writer, names
from gandist.config import RunConfig
from gandist.evaluations import Evaluations
from gandist.gallery import as_pixels, grid, png_bytes
from gandist.health import Row
from gandist.inputs import Inputs
from gandist.players import Players
from gandist.progress import METRICS_FILE, RunLog, decode, encode
from gandist.quality.evaluation import Result
from gandist.schedule import images_of
from gandist.telemetry import Silent
from gandist.trackers import Trackers

ROWS = COLUMNS = 10


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
        """`captions` are those that the rows of the samples are drawn to, by vectors that `encoder` made."""
        self.config = config
        self.storage = storage = attempt.fenced
        storage.write_bytes("config.yaml", yaml.safe_dump(config.resolved(), sort_keys=False).encode())
        for path, source in extensions.sources(config.imports).items():
            storage.write_bytes(f"{extensions.FOLDER}/{Path(path).name}", source.encode())
        if captions:
            storage.write_bytes("samples/captions.txt", "\n".join([*captions, ""]).encode())
        storage.sweep(FOLDER)
        self.trackers = Trackers(config, storage, images_seen)
        self._open(images_seen)
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
            OSError: a checkpoint could not be written.
            OvertakenError: another attempt has taken over, as from all that follows.
        """
        self.writer.check()
        self._log.append(row)
        self._rows.append(row)
        self.trackers.row(row)

    @torch.no_grad()
    def samples(self, players: Players, inputs: Inputs) -> None:
        """Write `samples/NNNNNNNN.png`: G_ema on latents that stay the same; one class, or one caption, a row."""
        z, y = inputs.of_samples(min(self.config.model.classes, ROWS) or ROWS, COLUMNS)
        image = png_bytes(grid(as_pixels(players.G_ema.eval()(z, y)), COLUMNS))
        self.storage.write_bytes(f"samples/{players.images_seen:08d}.png", image)
        self.trackers.picture(players.images_seen, image)

    def evaluation(self, result: Result) -> bool:
        """Record an evaluation; whether it is the best so far, so that its checkpoint is to be kept."""
        self.evaluations.add(result)
        return self.evaluations.best() == result.images_seen

    def recent(self, row: Row) -> list[Row]:
        """The rows of the run until now, this one last; from storage after a restart."""
        return [*self._rows, row]

    def refuge(self) -> int | None:
        """Images seen at the checkpoint to go back to: the best, else the newest from when all was well; None where
        there is none."""
        self.writer.wait()
        there = [int(name) for name in names(self.storage)]
        best = self.evaluations.best()
        if best in there:
            return best
        well = max((row["images_seen"] for row in self._rows if row.get("verdict") == "healthy"), default=0)
        return max((seen for seen in there if seen <= well), default=None)

    def retreat(self, images_seen: int, number: int) -> None:
        """Take the run's files back to the checkpoint at `images_seen`; later rows go to `rolled-back-NUMBER.jsonl`."""
        self.writer.wait()
        for name in names(self.storage):
            if int(name) > images_seen:
                self.storage.delete_folder(f"{FOLDER}/{name}", last=MANIFEST)
        self._log.close()
        self.evaluations.close()
        lost = [row for row in decode(self.storage.read_bytes(METRICS_FILE) or b"") if row["images_seen"] > images_seen]
        self.storage.write_bytes(f"rolled-back-{number}.jsonl", b"".join(map(encode, lost)))
        self.trackers.retreat(images_seen)
        self._open(images_seen)

    def save(self, players: Players) -> float:
        """Start writing a checkpoint; how long training stood still for it, in seconds."""
        return self.writer.save(players)

    def close(self) -> None:
        """Wait until everything is on storage.

        Raises:
            OSError: the last checkpoint could not be written.
        """
        self._log.close()
        self.evaluations.close()
        try:
            self.writer.close()
        finally:
            self.trackers.close()
