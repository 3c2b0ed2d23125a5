"""A start goes on, begins anew, or is refused: each with the reason, before a worker runs."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gandist.config.run import RunConfig, validate
from gandist.errors import CheckpointError, ConfigError
from gandist.launch.driver import launch
from gandist.launch.resumption import prepare, run_root
from gandist.run.attempt import ask_to_stop, stop_asked
from gandist.run.checkpoint import newest
from gandist.storage.storage import Storage
from tests.helpers.small_datasets import make_set


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set in `shards`, and a run of two steps in `runs/run`."""
    folder = tmp_path_factory.mktemp("trained")
    make_set(folder, 20, seed=0)
    config = configured(folder)
    assert launch(config, prepare(config, "auto")).status == "done"
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "here")
    return tmp_path / "here"


def configured(folder: Path, **changes: Any) -> RunConfig:
    """The run of two steps, with changes written `section__key=value`."""
    tree: dict[str, Any] = {
        "run": {"dir": str(folder / "runs")},
        "data": {"path": str(folder / "shards")},
        "model": {"width": 2, "z_dim": 4},
        "train": {"batch": 8, "total_kimg": 0.016},
        "launch": {"kind": "local"},
        "telemetry": {"enabled": False},
        "precision": "fp32",
    }
    for path, value in changes.items():
        section, _, field = path.partition("__")
        tree[section] = {**tree.get(section, {}), field: value} if field else value
    return validate(tree)


def test_auto_begins_where_there_is_nothing_and_goes_on_where_there_is(here: Path) -> None:
    new = configured(here, run__name="new")
    storage = prepare(new, "auto").storage
    assert storage.root == str(here / "runs/new") == run_root(new)
    found = prepare(configured(here), "auto").newest()
    assert found is not None
    assert found.images_seen == 16


def test_must_insists(here: Path) -> None:
    prepare(configured(here), "must")
    with pytest.raises(CheckpointError, match=r"runs/new/checkpoints: no checkpoint to resume from"):
        prepare(configured(here, run__name="new"), "must")


def test_never_keeps_what_was_there_under_another_name(here: Path) -> None:
    before = sorted(path.relative_to(here / "runs/run") for path in (here / "runs/run").rglob("*"))
    for number in (1, 2):
        storage = prepare(configured(here), "never").storage
        assert newest(storage) is None
        kept = here / f"runs/run.{number}"
        assert kept.is_dir()
        storage.write_bytes("config.yaml", b"")
    assert sorted(path.relative_to(here / "runs/run.1") for path in (here / "runs/run.1").rglob("*")) == before
    prepare(configured(here, run__name="fresh"), "never")
    assert not (here / "runs/fresh.1").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"run__seed": 5}, ["run.seed: 0 -> 5"]),
        (
            {"optim__lr_G": 1e-3, "game__objective": "ls"},
            ["game.objective: 'ns' -> 'ls'", "optim.lr_G: 0.0002 -> 0.001"],
        ),
        ({"optim__lr_D": {"start": 1e-3, "end": 0, "over_kimg": 5}}, ["optim.lr_D"]),
        ({"precision": "bf16"}, ["precision: 'fp32' -> 'bf16'"]),
    ],
)
def test_another_configuration_is_refused_with_the_fields(here: Path, changes: Any, named: list[str]) -> None:
    for resume in ("auto", "must"):
        with pytest.raises(ConfigError) as caught:
            prepare(configured(here, **changes), resume)
        for word in [*named, str(here / "runs/run"), "--resume never", "run.name"]:
            assert word in str(caught.value)
    assert prepare(configured(here, **changes), "never").newest() is None


def test_what_may_change_may_change(here: Path) -> None:
    changes = {"train__total_kimg": 9, "train__tick_kimg": 1, "launch__kind": "ray", "launch__workers": 2}
    prepare(configured(here, **changes, device="cpu", data__prefetch=7), "must")


def test_moved_shards_are_the_same_data(here: Path) -> None:
    shutil.move(here / "shards", here / "elsewhere")
    prepare(configured(here, data__path=str(here / "elsewhere")), "must")


def test_other_data_is_refused(here: Path) -> None:
    make_set(here / "other", 20, seed=1)
    with pytest.raises(ConfigError, match=r"data.path: .*other/shards does not hold the images.*trained on"):
        prepare(configured(here, data__path=str(here / "other/shards")), "auto")


def test_a_damaged_checkpoint_gives_way_to_the_one_before(here: Path) -> None:
    checkpoints = here / "runs/run/checkpoints"
    (checkpoints / "00000016/G.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="sha256"):
        prepare(configured(here), "auto")
    assert prepare(configured(here), "never").newest() is None


@pytest.mark.parametrize("same_process", [True, False])
def test_a_checkpoint_is_read_once_to_go_on_from_it(
    here: Path, same_process: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By each process, as Ray's workers are others than the driver; a damaged one is not looked at again either."""
    folder, counts = here / "runs/run/checkpoints", Counter[str]()
    shutil.copytree(folder / "00000016", folder / "00000024")
    (folder / "00000024/state.json").write_bytes(b"torn")
    usual = Storage.read_bytes

    def read_bytes(storage: Storage, name: str) -> bytes | None:
        counts[name] += name.startswith("checkpoints/") and not name.endswith("manifest.json")
        return usual(storage, name)

    monkeypatch.setattr(Storage, "read_bytes", read_bytes)
    config = configured(here, train__total_kimg=0.032)
    files = {f"checkpoints/{name}/{file.name}" for name in ("00000016", "00000024") for file in folder.glob("*16/*")}
    once = Counter(file for file in files if not file.endswith("manifest.json"))
    checkpoints = prepare(config, "auto")
    assert +counts == once
    if not same_process:
        checkpoints.release()
        counts.clear()
    assert launch(config, checkpoints).images_seen == 32
    assert +counts == once
    assert checkpoints._newest is None
    assert caplog.text.count("trying the one before") == 2 - same_process


def test_one_that_is_kept_gives_way_to_a_newer_one(here: Path) -> None:
    folder, checkpoints = here / "runs/run/checkpoints", prepare(configured(here), "auto")
    kept = checkpoints.newest()
    assert kept is checkpoints.newest()
    manifest = folder / "00000016/manifest.json"
    manifest.write_text(manifest.read_text().replace(" ", ""))
    assert checkpoints.read("00000016") is kept
    manifest.write_text(manifest.read_text().replace('"attempt":1', '"attempt":2'))
    assert checkpoints.read("00000016") is not kept
    assert checkpoints.newest() is not kept
    shutil.copytree(folder / "00000016", folder / "00000024")
    found = checkpoints.newest()
    assert found is not None
    assert found.name == "00000024"


def test_a_start_takes_back_the_request_to_stop(here: Path) -> None:
    storage = Storage(run_root(configured(here)))
    ask_to_stop(storage)
    assert not stop_asked(prepare(configured(here), "auto").storage)


def test_where_a_run_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def root(dir: str) -> str:
        return run_root(validate({"run": {"name": "n", "dir": dir}}))

    assert root("runs") == str(tmp_path / "runs/n")
    assert root("~/runs/") == str(tmp_path / "home/runs/n")
    assert root("s3://b/p/") == "s3://b/p/n"
    assert root("s3://b/p?scheme=http") == "s3://b/p/n?scheme=http"
