"""The images a configuration names: where they are kept, and what is said of what is wrong."""

import contextlib
import importlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gandist import train
from gandist.config.run import RunConfig, validate
from gandist.data import dataset
from gandist.errors import ConfigError, DataError
from tests.helpers.forked import forked
from tests.helpers.small_datasets import far_labels, make_set

UID = 54_321
"""Of nobody on this machine."""


def configured(path: Path | str, **data: str) -> RunConfig:
    return validate({"data": {"path": str(path), **data}, "train": {"batch": 1}, "launch": {"kind": "local"}})


def complaint(config: RunConfig) -> str:
    with pytest.raises((DataError, ConfigError)) as refused:
        dataset.open_set(config, dataset.open_index(config))
    return str(refused.value)


def test_every_message_names_its_key(tmp_path: Path) -> None:
    index = make_set(tmp_path, 20)
    base, shard = Path(index.base), Path(index.url(2))
    config = configured(base)
    large = config.train.model_copy(update={"batch": 64})
    classes = config.model.model_copy(update={"classes": 5})
    text = config.model.model_copy(update={"text_dim": 5})
    for changed, said in [
        (config.model_copy(update={"train": large}), "holds 20 images, fewer than one global batch"),
        (config.model_copy(update={"model": classes}), "its labels make 2 classes"),
        (config.model_copy(update={"model": text}), "holds no vectors of captions"),
    ]:
        assert complaint(changed).startswith(f"data.path: {base}: {said}")
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    assert complaint(config).startswith(f"data.path: {shard}: damaged: ")
    shard.unlink()
    assert complaint(config).startswith(f"data.path: {shard}: the index names this shard, but it cannot be read: ")
    (base / "samples.parquet").write_bytes(b"")
    assert complaint(config).startswith(f"data.path: {base}: the sha256 of samples.parquet is ")
    assert complaint(configured(tmp_path / "none")) == f"data.path: {tmp_path / 'none'}: no such folder"
    assert complaint(configured("~nobody-of-this-name/x")).startswith(
        "data.path: ~nobody-of-this-name/x: there is no home"
    )
    assert complaint(configured("builtin:none")).startswith("data.path: no embedded set")


@pytest.mark.parametrize("inside", ["", "decoded", "builtin"])
@pytest.mark.parametrize("chosen", [True, False])
def test_a_cache_that_cannot_be_used(
    tmp_path: Path, inside: str, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in its place stands for a folder of somebody else's, which root might write to."""
    place = tmp_path / "cache/gandist" / inside
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = {"cache_dir": str(tmp_path / "cache/gandist")} if chosen else {}
    path = "builtin:fashion-10k" if inside == "builtin" else make_set(tmp_path, 20).base
    message = complaint(configured(path, **data))
    assert message.startswith(f"data.cache_dir: {place}")
    assert message.endswith("; set data.cache_dir to a writable folder")


def test_what_fails_elsewhere_is_no_fault_of_the_cache(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), dataset.cached(tmp_path / "cache"):
        (tmp_path / "none").read_bytes()
    with pytest.raises(OSError, match="Input/output error"), dataset.cached(tmp_path / "cache"):
        raise OSError(5, "Input/output error")
    with (
        pytest.raises(DataError, match=r"data\.cache_dir: .*cache cannot be written to: No space left"),
        dataset.cached(tmp_path / "cache"),
    ):
        raise OSError(28, "No space left on device")


def become_nobody(log: Path, commands: list[tuple[str, list[str], dict[str, str]]]) -> None:
    """Called in a process of its own: commands of a user without a passwd entry. The log gets a line for each, its exit
    status and its errors."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.environ.pop("HOME", None)
    mains = {command: importlib.import_module(f"gandist.{command}").main for command, _, _ in commands}
    with contextlib.redirect_stdout(None):  # what is imported late may lie where only root may read
        train.main(["demo", "--dry-run"])
    ended = []
    with log.open("w") as file:
        os.setgroups([])
        os.setgid(UID)
        os.setuid(UID)
        for command, arguments, environment in commands:
            for name in ("XDG_CACHE_HOME", "TMPDIR"):
                os.environ.pop(name, None)
            os.environ.update(environment)
            tempfile.tempdir = None  # of another environment
            with contextlib.redirect_stderr(io.StringIO()) as errors:
                status = mains[command](arguments)
            ended.append((status, errors.getvalue()))
        json.dump(ended, file)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that others can reach, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_user_without_a_home(open_to_all: Path, tmp_path: Path) -> None:
    index = make_set(open_to_all, 20)
    mine, theirs, closed = (open_to_all / name for name in ("mine", "theirs", "closed"))
    mine.mkdir()
    os.chown(mine, UID, UID)
    (theirs / "gandist").mkdir(parents=True)
    shutil.copytree(index.base, closed / "index")
    closed.chmod(0o700)
    small = ["train.batch=4", "train.total_kimg=0.008", "model.width=2", "model.classes=0", "data.channels=3"]
    place = ["demo", f"run.dir={mine}/runs", "launch.kind=local", "eval.every_kimg=null", "track.tensorboard=false"]
    command = [*place, f"data.path={mine}/index", *small]
    commands = [
        ("pack", [index.base, str(mine / "index"), "--index-only"], {"TMPDIR": str(mine)}),
        ("train", command, {"TMPDIR": str(mine)}),
        ("train", [*command, "run.name=other", f"data.cache_dir={theirs}/gandist"], {"XDG_CACHE_HOME": str(theirs)}),
        ("train", [*command, "run.name=other"], {"XDG_CACHE_HOME": str(theirs)}),
        ("train", [*place, f"data.path={closed}/index", *small], {"TMPDIR": str(theirs)}),
    ]
    process = forked(tmp_path / "said", become_nobody, tmp_path / "ended", commands)
    process.join(300)
    assert process.exitcode == 0, (tmp_path / "said").read_text()
    packed, trained, *refused, unread = json.loads((tmp_path / "ended").read_text())
    assert packed == [0, ""]
    assert trained[0] == 0, trained[1]
    assert (mine / f"gandist-{UID}/decoded").is_dir()
    for status, errors in refused:
        assert status == 2
        assert errors.startswith(f"gandist: data.cache_dir: {theirs}/gandist cannot be written to: Permission")
        assert errors.count("\n") == 1
    assert unread == [2, f"gandist: data.path: {closed}/index: cannot be read: Permission denied\n"]


def test_classes_that_disagree_say_what_far_labels_cost(tmp_path: Path) -> None:
    index = make_set(tmp_path, 10)
    tree = {"data": {"path": index.base}, "model": {"classes": 3}, "train": {"batch": 8}}
    with pytest.raises(DataError, match=r"make 2 classes, .* set model\.classes=2$"):
        dataset.open_index(validate(tree))
    far_labels(index)
    with pytest.raises(DataError, match=r"set model\.classes=1000002, .* the 1000000 classes without images.* 0 to 1$"):
        dataset.open_index(validate(tree))


def test_classes_with_no_images_or_few_are_warned_of(tmp_path: Path) -> None:
    index = make_set(tmp_path, 10, classes=3)  # 4, 3 and 3 of them
    tree = {"data": {"path": index.base}, "model": {"classes": 3}, "train": {"batch": 9}}
    assert dataset.condition_warnings(validate(tree), index) == []
    assert dataset.condition_warnings(validate({**tree, "model": {"classes": 0}}), index) == []
    (few,) = dataset.condition_warnings(validate({**tree, "train": {"batch": 10}}), index)
    assert "2 of 3 classes have fewer images than a batch draws of a class, 3 (class1: 3, class2: 3)" in few
    far = far_labels(index, 2)
    (empty,) = dataset.condition_warnings(validate({**tree, "model": {"classes": 5}}), far)
    assert "2 of 5 classes have no images (class0, class1)" in empty
    assert "labels from 0 to 2" in empty
