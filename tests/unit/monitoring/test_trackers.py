"""Runs are shown in TensorBoard, MLflow and W&B, with the real libraries; a tracker that fails holds nothing up."""

import io
import json
import logging
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from gandist.config.run import RunConfig, leaves, validate
from gandist.distributed.consensus import Host
from gandist.errors import ConfigError
from gandist.launch.resumption import prepare, run_root
from gandist.media.animated import gif_bytes, preview_of
from gandist.media.medium import Preview
from gandist.media.sound import wav_bytes
from gandist.monitoring import trackers
from gandist.monitoring.health import Method, Verdict
from gandist.monitoring.trackers import TRACKERS, Trackers, servers
from gandist.monitoring.trackers.tensorboard import TensorBoard
from gandist.monitoring.trackers.tracker import Start
from gandist.run.progress import METRICS_FILE, RunLog, decode, last_images_seen
from gandist.storage.storage import Storage
from gandist.training.worker import train
from tests.helpers.animated import decoded, moving
from tests.helpers.scripts import python
from tests.helpers.train_on_ranks import tiny

EVERY_STEP = {"train__tick_kimg": 0.012, "train__sample_kimg": 0.024, "train__checkpoint_kimg": 0.024}


def events_of(file: Path) -> Iterator[Event]:
    """The events of a file, whose checksums are right."""
    stream = io.BytesIO(file.read_bytes())
    while head := stream.read(12):
        length = int.from_bytes(head[:8], "little")
        content, crc = stream.read(length), stream.read(4)
        assert (masked_crc32c(head[:8]), masked_crc32c(content)) == tuple(
            int.from_bytes(each, "little") for each in (head[8:], crc)
        )
        yield Event.FromString(content)


def shown(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    """By tag, what all event files of a folder hold together, in their order: (step, number, text or PNG)."""
    found: dict[str, list[tuple[int, Any]]] = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns):
        for event in events_of(file):
            for value in event.summary.value:
                content = {"simple_value": value.simple_value, "image": value.image.encoded_image_string}
                content["tensor"] = b"".join(value.tensor.string_val).decode()
                found.setdefault(value.tag, []).append((event.step, content[value.WhichOneof("value")]))
    return found


def steps(folder: Path, tag: str) -> list[int]:
    return [step for step, _ in shown(folder).get(tag, [])]


def row(images_seen: int, **more: Any) -> dict[str, Any]:
    return {"images_seen": images_seen, "loss/D": images_seen / 10, "verdict": "healthy", "time_s": 1e9, **more}


def png() -> bytes:
    Image.new("RGB", (6, 4)).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def wav() -> bytes:
    return wav_bytes(np.zeros((400, 2), np.int16), 8000)


def clips() -> Preview:
    return preview_of(moving(4, 5, 16, 3), 2, 8)


def config_of(folder: Path, **track: Any) -> RunConfig:
    return validate({"run": {"dir": str(folder)}, "track": {"tensorboard": False, **track}})


def tracked(config: RunConfig, images_seen: int, act: Callable[[Callable[..., None], Trackers], None]) -> Storage:
    """An attempt that takes up at `images_seen`, with rows both to its log and to its trackers, as a run has it."""
    storage = Storage(run_root(config))
    all_of_them = Trackers(config, storage, images_seen, last_images_seen(storage))
    rows = RunLog(storage, images_seen)

    def tick(images_seen: int, **more: Any) -> None:
        rows.append(row(images_seen, **more))
        all_of_them.row(row(images_seen, **more))

    act(tick, all_of_them)
    rows.close()
    all_of_them.close()
    return storage


def ticks(*images_seen: int) -> Callable[[Callable[..., None], Trackers], None]:
    """An attempt of ticks alone."""

    def act(tick: Callable[..., None], to: Trackers) -> None:
        for each in images_seen:
            tick(each)

    return act


@pytest.fixture(autouse=True)
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "gandist")
    return caplog


def test_a_run_in_tensorboard(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    config = tiny(tmp_path, "run", **EVERY_STEP)
    train(config, prepare(config, "auto"), Host())
    run = tmp_path / "run"
    rows, found = decode((run / METRICS_FILE).read_bytes()), shown(run / "tensorboard")
    assert found["loss/D"] == [(each["images_seen"], pytest.approx(each["loss/D"])) for each in rows]
    assert len(rows) == 10
    grids = [(int(file.stem), file.read_bytes()) for file in sorted((run / "samples").glob("*.png"))]
    assert found["samples"] == grids
    assert len(grids) == 6
    assert not {"images_seen", "time_s", "verdict"} & set(found)
    assert "track." not in said.text


def test_what_is_not_a_number_is_text_or_left_out(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, 0)
    board.row(row(8, nan=math.nan, none=None, reason="too few", rollback="from 9", **{"loss/G": 2}))
    board.close()
    found = shown(tmp_path)
    assert found.pop("loss/D") == [(8, pytest.approx(0.8))]
    assert found.pop("loss/G") == [(8, 2.0)]
    assert found.pop("health/text_summary") == [(8, "healthy: too few")]
    assert found.pop("rollback/text_summary") == [(8, "from 9")]
    assert not found


def test_clips_play_in_tensorboard(tmp_path: Path) -> None:
    """As a GIF, for it shows no animated WebP; their frames lie beside as a picture."""
    board, preview = TensorBoard(tmp_path, 0), clips()
    board.preview(8, preview)
    board.close()
    found = shown(tmp_path)
    ((step, animation),) = found["samples/playing"]
    assert (step, animation[:6]) == (8, b"GIF89a")
    frames, _, _ = decoded(animation)
    assert np.array_equal(np.stack(frames), np.stack(decoded(preview.content)[0]))
    assert len(frames) == 5
    assert found["samples"] == [(8, preview.still)]


def test_tensorboard_goes_on_where_the_run_does(tmp_path: Path) -> None:
    def attempt(images_seen: int, *ticks: int) -> TensorBoard:
        board = TensorBoard(tmp_path, images_seen)
        for tick in ticks:
            board.row(row(tick))
            board.preview(tick, Preview(png(), ".png"))
        return board

    attempt(0, 0, 8).close()  # killed before its first checkpoint
    attempt(0, 0, 8, 16, 24, 32).close()
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])  # killed while it wrote
    board = attempt(16, 24, 32, 40)
    assert steps(tmp_path, "loss/D") == steps(tmp_path, "samples") == [0, 8, 16, 24, 32, 40]
    board.roll_back_to(24)
    board.row(row(32))
    board.roll_back_to(8)
    board.row(row(16))
    board.close()
    assert steps(tmp_path, "loss/D") == [0, 8, 16]
    assert steps(tmp_path, "samples") == [0, 8]
    newest = max(tmp_path.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    starts = [
        e.step for e in events_of(newest) if e.HasField("session_log") and e.session_log.status == SessionLog.START
    ]
    assert starts == [9], "what a TensorBoard that runs is told to forget"


def test_a_run_that_is_rolled_back_and_resumed_has_each_step_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(rows: Any, method: Method) -> Verdict:
        ill = rows[-1]["images_seen"] == 84 and rows[-1]["rollbacks"] == 0
        return Verdict("diverged", "so says the test") if ill else Verdict()

    monkeypatch.setattr("gandist.training.main_rank.judge", judge)
    for total_kimg in (0.096, 0.12):
        config = tiny(tmp_path, "run", **EVERY_STEP, train__total_kimg=total_kimg)
        train(config, prepare(config, "auto"), Host())
    found = shown(tmp_path / "run/tensorboard")
    rows = decode((tmp_path / "run" / METRICS_FILE).read_bytes())
    assert found["lr/D"] == [(each["images_seen"], pytest.approx(each["lr/D"])) for each in rows]
    assert [step for step, _ in found["lr/D"]] == list(range(12, 121, 12))
    assert found["rollback/text_summary"] == [(84, "from 96 images: diverged: so says the test")]
    assert "health/text_summary" not in found, "that verdict is void"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """MLflow's store of files, which it keeps for such uses; no usage statistics are sent."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return (tmp_path / "mlruns").as_uri()


def test_mlflow(tmp_path: Path, store: str, said: pytest.LogCaptureFixture) -> None:
    from mlflow.tracking import MlflowClient

    config = config_of(tmp_path, mlflow=store)

    def first(tick: Callable[..., None], to: Trackers) -> None:
        to.preview(0, lambda: Preview(png(), ".png", (wav(), wav())))
        to.preview(4, clips)
        for images_seen in (8, 16, 24):
            tick(images_seen, nan=math.nan)

    def second(tick: Callable[..., None], to: Trackers) -> None:
        tick(16)
        tick(24)
        tick(32, verdict="diverged", reason="too much")
        to.roll_back_to(16)
        tick(24, rollback="from 32")

    tracked(config, 0, first)
    storage = tracked(config, 8, second)
    client = MlflowClient(tracking_uri=store)
    (experiment,) = client.search_experiments(filter_string="name = 'gandist'")
    (run,) = client.search_runs([experiment.experiment_id])
    kept = json.loads(storage.read_bytes("mlflow.json") or b"")
    assert (kept["where"], kept["id"]) == (store, run.info.run_id)
    history = client.get_metric_history(run.info.run_id, "loss/D")
    assert [(point.step, point.value) for point in history] == [(8, 0.8), (16, 1.6), (24, 2.4), (32, 3.2), (24, 2.4)]
    assert "nan" not in run.data.metrics
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["train.batch"] == "128"
    assert set(run.data.params) == {path for path, _ in leaves(config.resolved())}
    assert run.data.tags["health"] == "healthy"
    assert run.data.tags["rollback"] == "from 32"
    in_samples = sorted(file.path for file in client.list_artifacts(run.info.run_id, "samples"))
    both = ["samples/00000004", "samples/00000004.webp"]
    assert in_samples == ["samples/00000000", "samples/00000000.png", *both]
    sounds = sorted(file.path for file in client.list_artifacts(run.info.run_id, in_samples[0]))
    assert sounds == ["samples/00000000/0.wav", "samples/00000000/1.wav"]
    kept_files = {sounds[1]: wav(), both[1]: clips().content, f"{both[0]}/strip.png": clips().still}
    for name, content in kept_files.items():
        assert Path(client.download_artifacts(run.info.run_id, name, str(tmp_path))).read_bytes() == content
    assert not said.records


def test_mlflow_has_each_step_once_after_two_resumptions(tmp_path: Path, store: str) -> None:
    """Stopped after 120 images, resumed from 60 and stopped after 90, resumed from 60 once more."""
    from mlflow.tracking import MlflowClient

    config = config_of(tmp_path, mlflow=store)
    for start, *seen in ((0, 30, 60, 90, 120), (60, 90), (60, 90, 120, 150)):
        storage = tracked(config, start, ticks(*seen))
    client, kept = MlflowClient(tracking_uri=store), json.loads(storage.read_bytes("mlflow.json") or b"")
    history = client.get_metric_history(kept["id"], "loss/D")
    assert [point.step for point in history] == [30, 60, 90, 120, 150]


def wandb_records(folder: Path) -> list[Any]:
    """What W&B wrote to send later: a header of 7 bytes, then LevelDB's log of blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    Record: Any = vars(wandb_internal_pb2)["Record"]  # typed for checkers as one of several protobufs' own
    found = []
    for file in sorted(folder.glob("offline-run-*/run-*.wandb"), key=lambda file: file.stat().st_mtime_ns):
        data, at, parts = file.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:  # no record begins in a block's last bytes
                at += 32768 - at % 32768
                continue
            length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
            parts += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # whole, or the last part
                found.append(Record.FromString(parts))
                parts = b""
    return found


@pytest.mark.slow
def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    # A run's end waits some seconds for it; on a busy machine it takes more to write the last row.
    monkeypatch.setattr(servers, "FINISH_S", 60.0)
    monkeypatch.setattr(trackers, "CLOSE_S", 90.0)
    config = config_of(tmp_path, wandb="team/garments")

    def first(tick: Callable[..., None], to: Trackers) -> None:
        to.preview(0, lambda: Preview(png(), ".png", (wav(),)))
        to.preview(4, clips)
        tick(8)
        tick(16, reason="too few", verdict="collapsing")

    tracked(config, 0, first)
    storage = tracked(config, 8, ticks(16, 24))
    # Its process may write the last records after it has said that a run is finished.
    until = time.monotonic() + 60
    while True:
        records = wandb_records(tmp_path / "run/wandb")
        if sum(each.HasField("exit") for each in records) == 2 or time.monotonic() > until:
            break
        time.sleep(0.1)
    runs = [each.run for each in records if each.HasField("run")]
    identity = json.loads(storage.read_bytes("wandb.json") or b"")["id"]
    assert {(run.entity, run.project, run.run_id, run.display_name) for run in runs} == {
        ("team", "garments", identity, "run")
    }
    logged = [
        {(item.key or "/".join(item.nested_key)): item.value_json for item in each.history.item}
        for each in records
        if each.HasField("history")
    ]
    assert [json.loads(each["images_seen"]) for each in logged] == [0, 4, 8, 16, 24]
    assert [json.loads(each["loss/D"]) for each in logged[2:]] == [0.8, 1.6, 2.4]
    assert json.loads(logged[3]["health"]) == "collapsing: too few"
    assert {key.partition("/")[0] for key in logged[0]} >= {"samples"}
    media = sorted((tmp_path / "run/wandb").glob("offline-run-*/files/media/*/*"))
    (sound,) = (tmp_path / "run/wandb").glob("offline-run-*/files/media/audio/**/*.wav")
    assert sound.read_bytes() == wav(), media
    (animation,) = (tmp_path / "run/wandb").glob("offline-run-*/files/media/videos/**/*.gif")
    assert animation.read_bytes() == gif_bytes(clips())
    assert not said.records


def test_a_library_that_is_missing_is_told_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in trackers.EXTRAS:
        with pytest.raises(ConfigError, match=rf"track.{name}: .*not installed; pip install 'gandist\[{name}\]'"):
            prepare(tiny(tmp_path, "run", track={name: "somewhere"}), "auto")
    assert not (tmp_path / "run").exists()
    prepare(tiny(tmp_path, "run"), "auto")


def test_without_a_login_wandb_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    code = (
        "import gandist.monitoring.trackers as t, sys, pathlib; from gandist.storage.storage import Storage;"
        "t.CLOSE_S = 50;"
        "from gandist.config.run import validate;"
        "c = validate({'run': {'dir': sys.argv[1]}, 'track': {'tensorboard': False, 'wandb': 'p'}});"
        "a = t.Trackers(c, Storage(sys.argv[1] + '/run'), 0);"
        "a.row({'images_seen': 8, 'time_s': 0}); a.close()"
    )
    ended = python("-c", code, str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("track.wandb: ") == 1
    assert "WANDB_API_KEY" in ended.stderr


def test_a_server_that_never_answers_does_not_hold_the_run_up(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trackers, "CLOSE_S", 0.5)
    monkeypatch.setattr(trackers, "PENDING", 3)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # so that the thread ends soon after the test
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        config = config_of(tmp_path, mlflow=f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        tracked(config, 0, ticks(*range(8, 80, 8)))
        assert time.monotonic() - start < 3
    assert [each.getMessage().split(":")[0] for each in said.records] == ["track.mlflow"], "one warning"


def test_a_disk_that_is_full_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    monkeypatch.setattr("tensorboardX.record_writer.open_file", lambda path: full)
    config = config_of(tmp_path, tensorboard=True)
    tracked(config, 0, ticks(*range(8, 80, 8)))
    full.close()
    assert len(said.records) == 1
    assert "track.tensorboard: OSError" in said.text
    assert "No space left" in said.text


def test_a_tracker_that_comes_back_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    tries = iter([ConnectionError("away"), None])

    def open_late(start: Start) -> TensorBoard:
        if error := next(tries):
            raise error
        return TensorBoard(tmp_path / "board", 0)

    monkeypatch.setitem(TRACKERS, "tensorboard", open_late)
    tracked(config_of(tmp_path, tensorboard=True), 0, ticks(8, 16))
    assert steps(tmp_path / "board", "loss/D") == [16]
    assert len(said.records) == 1


def test_remote_runs_have_no_event_files(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    storage = Storage(str(tmp_path))
    storage.local = None
    before = set(threading.enumerate())
    Trackers(RunConfig(), storage, 0).close()
    assert "track.tensorboard" in said.text
    assert set(threading.enumerate()) <= before


def test_libraries_are_imported_when_asked_for_only(tmp_path: Path) -> None:
    code = """
import sys
from gandist.training import worker
from gandist.config.run import validate
from gandist.storage.storage import Storage
from gandist.monitoring.trackers import Trackers
for on in (False, True):
    all_of_them = Trackers(validate({"track": {"tensorboard": on}}), Storage(sys.argv[1]), 0)
    all_of_them.row({"images_seen": 8, "time_s": 0})
    all_of_them.close()
    print(sorted({"tensorboardX", "mlflow", "wandb"} & set(sys.modules)))
"""
    ended = python("-c", code, str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["[]", "['tensorboardX']"]


TOLD = Preview("אבג <b>\n# no heading\n\n".encode(), ".txt")


def test_texts_are_texts_in_every_tracker(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    """As they stand, whatever Markdown would make of them."""
    from mlflow.tracking import MlflowClient

    board = TensorBoard(tmp_path / "board", 0)
    board.preview(8, TOLD)
    board.close()
    ((step, text),) = shown(tmp_path / "board")["samples/text_summary"]
    assert (step, text) == (8, "    אבג <b>\n    # no heading\n    \n")

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setattr(servers, "FINISH_S", 60.0)
    monkeypatch.setattr(trackers, "CLOSE_S", 90.0)
    config = config_of(tmp_path, mlflow=store, wandb="words")
    storage = tracked(config, 0, lambda tick, to: to.preview(8, lambda: TOLD))
    client = MlflowClient(tracking_uri=store)
    identity = json.loads(storage.read_bytes("mlflow.json") or b"")["id"]
    artifact = client.download_artifacts(identity, "samples/00000008.txt", str(tmp_path))
    assert Path(artifact).read_bytes() == TOLD.content
    (table,) = Path(storage.root).glob("wandb/offline-run-*/files/media/table/*.json")
    assert json.loads(table.read_text())["data"] == [["אבג <b>"], ["# no heading"], [""]]
    assert not said.records
