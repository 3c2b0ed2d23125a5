"""What the leading rank writes of a run: its configuration, metrics, sample grids and checkpoints."""

from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from gandist import extensions
from gandist.attempt import Attempt
from gandist.checkpoint import FOLDER, Writer
from gandist.config import RunConfig
from gandist.gallery import as_pixels, grid, png_bytes
from gandist.inputs import Inputs
from gandist.players import Players
from gandist.progress import RunLog
from gandist.schedule import images_of
from gandist.storage import Storage
from gandist.telemetry import Silent

ROWS = COLUMNS = 10


class Outputs:
    """The files of one attempt at a run."""

    def __init__(
        self,
        config: RunConfig,
        storage: Storage,
        attempt: Attempt,
        telemetry: Silent,
        *,
        images_seen: int,
        world_size: int,
        data_fingerprint: str,
        encoder: str = "",
        captions: Sequence[str] = (),
    ) -> None:
        """`captions` are those that the rows of the samples are drawn to, by vectors that `encoder` made."""
        self.config, self.storage = config, storage
        storage.write_bytes("config.yaml", yaml.safe_dump(config.resolved(), sort_keys=False).encode())
        for path, source in extensions.sources(config.imports).items():
            storage.write_bytes(f"{extensions.FOLDER}/{Path(path).name}", source.encode())
        if captions:
            storage.write_bytes("samples/captions.txt", "\n".join([*captions, ""]).encode())
        storage.sweep(FOLDER)
        self.rows = RunLog(storage, images_seen)
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
                "config": config.resolved(),
            },
            keep=config.train.keep,
            keep_every=images_of(keep_every) if keep_every else None,
            superseded=attempt.superseded,
            written=lambda written: telemetry.checkpoint(written.write_s, written.stall_s, written.bytes),
        )

    def row(self, row: dict[str, float]) -> None:
        """Append a row to `metrics.jsonl`.

        Raises:
            OSError: a checkpoint could not be written.
        """
        self.writer.check()
        self.rows.append(row)

    @torch.no_grad()
    def samples(self, players: Players, inputs: Inputs) -> None:
        """Write `samples/NNNNNNNN.png`: G_ema on latents that stay the same; one class, or one caption, a row."""
        z, y = inputs.of_samples(min(self.config.model.classes, ROWS) or ROWS, COLUMNS)
        image = png_bytes(grid(as_pixels(players.G_ema.eval()(z, y)), COLUMNS))
        self.storage.write_bytes(f"samples/{players.images_seen:08d}.png", image)

    def save(self, players: Players) -> float:
        """Start writing a checkpoint; how long training stood still for it, in seconds."""
        return self.writer.save(players)

    def close(self) -> None:
        """Wait until everything is on storage.

        Raises:
            OSError, CheckpointError: the last checkpoint could not be written.
        """
        self.rows.close()
        self.writer.close()
