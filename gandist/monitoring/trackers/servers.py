"""MLflow and Weights & Biases: servers to which points can only be added."""

import json
import os
import tempfile
import uuid
from typing import Any

from gandist.config.run import RunConfig, leaves
from gandist.errors import ConfigError
from gandist.media.animated import gif_bytes
from gandist.media.medium import STILL, Preview
from gandist.monitoring.health import Row
from gandist.monitoring.trackers.tracker import files_of, image_of, notes, scalars, sound_files
from gandist.storage.storage import Storage

FINISH_S = 5.0
"""Seconds that Weights & Biases may take to send the rest at a run's end; below CLOSE_S of all trackers."""


class Appending:
    """A server to which points can only be added: a resumed run does not send points again that the server has.

    After a roll-back the server shows both the void points and their replacements.
    """

    def __init__(self, storage: Storage, name: str, where: str, written: int) -> None:
        """`written`: images seen at the last row of this run before it stopped; -1 for none."""
        self._storage, self._file, self._where = storage, f"{name}.json", where
        kept = json.loads(storage.read_bytes(self._file) or b"{}")
        self.id: str = kept["id"] if kept.get("where") == where else ""
        # The rows reach only to the last stop; a second stop may leave fewer of them.
        self._written = max(written, kept.get("written", -1)) if self.id else -1
        if self.id:
            self._keep()

    def keep_id(self, identity: str) -> None:
        """Store the server's identifier of the run in the run's folder."""
        self.id = identity
        self._keep()

    def _keep(self) -> None:
        kept = {"where": self._where, "id": self.id, "written": self._written}
        self._storage.write_bytes(self._file, json.dumps(kept).encode())

    def new(self, images_seen: int) -> bool:
        return images_seen > self._written

    def roll_back_to(self, images_seen: int) -> None:
        self._written = -1
        self._keep()


class MLflow(Appending):
    """A run of the experiment `$MLFLOW_EXPERIMENT_NAME` (default `gandist`) on a tracking server.

    The configuration becomes its parameters, verdicts its tags, and its artifacts in `samples/` are grids with their
    sounds, or those that play with their strips.
    """

    def __init__(self, config: RunConfig, storage: Storage, written: int) -> None:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        uri = str(config.track.mlflow)
        super().__init__(storage, "mlflow", uri, written)
        self._client = MlflowClient(tracking_uri=uri)
        self._tags: dict[str, str] = {}
        if self.id:
            self._client.update_run(self.id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "gandist")
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        self.keep_id(self._client.create_run(experiment, run_name=config.run.name).info.run_id)
        params = [Param(path, str(value)) for path, value in leaves(config.resolved())]
        for start in range(0, len(params), 100):  # MLflow's limit per call
            self._client.log_batch(self.id, params=params[start : start + 100])

    def row(self, row: Row) -> None:
        from mlflow.entities import Metric, RunTag

        if not self.new(row["images_seen"]):
            return
        at_ms, step = int(row["time_s"] * 1000), row["images_seen"]
        metrics = [Metric(key, value, at_ms, step) for key, value in scalars(row).items()]
        tags = {"health": str(row.get("verdict", "")), **notes(row)}
        news = [RunTag(key, said) for key, said in tags.items() if self._tags.get(key) != said]
        self._client.log_batch(self.id, metrics=metrics, tags=news)
        self._tags |= tags

    def preview(self, images_seen: int, preview: Preview) -> None:
        name = f"samples/{images_seen:08d}"
        if preview.lines:
            self._client.log_text(self.id, preview.content.decode(), f"{name}{preview.suffix}")
        elif preview.plays:
            with files_of({f"{images_seen:08d}{preview.suffix}": preview.content, STILL: preview.still}) as files:
                for file, folder in zip(files, ("samples", name), strict=True):
                    self._client.log_artifact(self.id, str(file), folder)
        else:
            self._client.log_image(self.id, image_of(preview), f"{name}{preview.suffix}")
        with sound_files(preview.sounds) as files:
            for file in files:
                self._client.log_artifact(self.id, str(file), name)

    def close(self) -> None:
        self._client.set_terminated(self.id)


class WandB(Appending):
    """A run of the project `track.wandb` (`project` or `entity/project`), with `images_seen` as the x axis."""

    def __init__(self, config: RunConfig, storage: Storage, written: int) -> None:
        import wandb

        where = str(config.track.wandb)
        super().__init__(storage, "wandb", where, written)
        # Checked before init(), which would prompt for a key on the terminal of the training.
        if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False):
            raise ConfigError("not logged in: set WANDB_API_KEY, run `wandb login`, or set WANDB_MODE=offline")
        if not self.id:
            self.keep_id(uuid.uuid4().hex[:12])
        entity, _, project = where.rpartition("/")
        self._run = wandb.init(
            entity=entity or None,
            project=project,
            name=config.run.name,
            id=self.id,
            resume="allow",
            dir=storage.local or tempfile.mkdtemp(prefix="gandist-wandb-"),
            config=config.resolved(),
            settings=wandb.Settings(console="off", silent=True, finish_timeout=FINISH_S, finish_timeout_raises=True),
        )
        self._run.define_metric("*", step_metric="images_seen")

    def row(self, row: Row) -> None:
        if self.new(row["images_seen"]):
            said = {"verdict": str(row.get("verdict", "")), **notes(row)}
            self._run.log({"images_seen": row["images_seen"], **scalars(row), **said})

    def preview(self, images_seen: int, preview: Preview) -> None:
        import wandb

        if self.new(images_seen):
            told = wandb.Table(["text"], [[line] for line in preview.lines]) if preview.lines else None
            logged: dict[str, Any] = {"images_seen": images_seen, "samples": told or wandb.Image(image_of(preview))}
            playing = {"playing.gif": gif_bytes(preview)} if preview.plays else {}  # no other library makes it one
            with sound_files(preview.sounds) as sounds, files_of(playing) as animations:
                logged |= {f"samples/{file.stem}": wandb.Audio(str(file)) for file in sounds}
                logged |= {f"samples/{file.stem}": wandb.Video(str(file)) for file in animations}
                self._run.log(logged)

    def close(self) -> None:
        self._run.finish()
