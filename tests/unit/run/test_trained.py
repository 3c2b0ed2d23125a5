"""What is drawn from a run, and a second stage that starts from a first."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gandist.config.run import RunConfig
from gandist.data.index_files import write_index
from gandist.errors import CheckpointError, ConfigError, DataError, GandistError
from gandist.launch.resumption import prepare, run_root
from gandist.run.trained import Trained, open_trained
from gandist.storage.remote import join
from gandist.train import course
from tests.helpers.s3_server import serve_bucket
from tests.helpers.small_datasets import make_set
from tests.helpers.train_on_ranks import final_tensors, tiny

CPU = torch.device("cpu")
IMAGES, TEXT_DIM = 20, 6
VECTORS = np.random.default_rng(0).standard_normal((IMAGES, TEXT_DIM)).astype(np.float32)
KINDS: dict[str, dict[str, Any]] = {
    "class": {},
    "plain": {"model__classes": 0, "data__channels": 3, "model__norm": "batch", "precision": "bf16"},
    "text": {"model__classes": 0, "model__text_dim": TEXT_DIM},
}


def text_set(folder: Path) -> str:
    """Images with a caption each whose vectors are `VECTORS`."""
    index = make_set(folder, IMAGES)
    captions = [f"number {number}" for number in range(IMAGES)]
    column = index.samples.schema.get_field_index("caption")
    embedded = {"caption": captions, "vector": pa.FixedSizeListArray.from_arrays(VECTORS.reshape(-1), TEXT_DIM)}
    samples = index.samples.set_column(column, "caption", pa.array(captions))
    write_index(replace(index, samples=samples, embedded=pa.table(embedded), encoder="by hand"), index.base)
    return index.base


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunConfig]:
    """A run of ten steps, with checkpoints at 60 and 120 images, of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    data = {"text": {"data__path": text_set(folder / "set")}}
    configs = {kind: tiny(folder, kind, **changes, **data.get(kind, {})) for kind, changes in KINDS.items()}
    for config in configs.values():
        assert course.run(config, "auto") == 0
    return configs


def opened(runs: dict[str, RunConfig], kind: str, images_seen: int | None = None) -> Trained:
    return open_trained(run_root(runs[kind]), CPU, images_seen)


def lively(trained: Trained) -> Trained:
    """With larger weights, as longer training makes them; after ten steps all images are nearly grey."""
    with torch.no_grad():
        for p in trained.G.parameters():
            p.mul_(8)
    return trained


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_average_of_the_newest_checkpoint(runs: dict[str, RunConfig], kind: str) -> None:
    trained = opened(runs, kind)
    assert trained.images_seen == 120
    assert not trained.G.training
    assert trained.encoder == ("by hand" if kind == "text" else "")
    saved = final_tensors(runs[kind])
    for name, tensor in trained.G.state_dict().items():
        torch.testing.assert_close(tensor, saved[f"G_ema/{name}"].to(tensor.dtype), rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_the_same_under_any_number(runs: dict[str, RunConfig], kind: str) -> None:
    trained = lively(opened(runs, kind))
    images = trained.draw(9)
    assert images.std() > 20
    assert images.shape == (9, 32, 32, runs[kind].data.channels)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, lively(opened(runs, kind)).draw(9))
    for n in (1, 2, 5, 40):
        np.testing.assert_array_equal(trained.draw(n)[:9], images[:n])
    assert np.abs(images.astype(int) - trained.draw(9, seed=1)).max() > 20
    assert torch.equal(trained.latents(5), trained.latents(9)[:5])
    assert torch.equal(trained.latents(5, truncation=0.5), trained.latents(5) * 0.5)


def test_conditions_are_drawn_like_the_data(runs: dict[str, RunConfig]) -> None:
    assert opened(runs, "plain").conditions(4) is None
    classes = opened(runs, "class").conditions(3000)
    assert classes is not None
    assert classes.bincount().tolist() == pytest.approx([300] * 10, abs=60)
    texts = opened(runs, "text").conditions(400)
    assert texts is not None
    matches = (torch.from_numpy(VECTORS)[None] == texts[:, None]).all(2)
    assert matches.any(1).all()
    assert matches.any(0).all(), "all captions come"
    for kind, whole in (("class", classes), ("text", texts)):
        few = opened(runs, kind).conditions(7)
        assert few is not None
        assert torch.equal(few, whole[:7])


def test_the_condition_changes_the_image(runs: dict[str, RunConfig]) -> None:
    trained = opened(runs, "class")
    z = trained.latents(1).expand(10, -1)
    images = trained.samples(z, torch.arange(10))
    assert len({image.tobytes() for image in images}) == 10
    texts = opened(runs, "text")
    images = texts.samples(texts.latents(1).expand(IMAGES, -1), torch.from_numpy(VECTORS))
    assert len({image.tobytes() for image in images}) == IMAGES


def test_an_older_checkpoint(runs: dict[str, RunConfig]) -> None:
    trained = opened(runs, "class", 60)
    assert trained.images_seen == 60
    saved = load_file(Path(run_root(runs["class"])) / "checkpoints/00000060/G_ema.safetensors")
    assert all(torch.equal(tensor, saved[name].float()) for name, tensor in trained.G.state_dict().items())
    with pytest.raises(CheckpointError, match="none of 70 images; there are 60, 120"):
        opened(runs, "class", 70)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(runs: dict[str, RunConfig], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_root(runs["class"]), copy)
    (copy / "checkpoints/00000120/G_ema.safetensors").write_bytes(b"torn")
    assert open_trained(str(copy), CPU).images_seen == 60
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(CheckpointError, match="copy/checkpoints: no checkpoint yet"):
        open_trained(str(copy), CPU)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["is no run", "no config.yaml"]),
        ("a: [1", ["config.yaml: not readable as YAML"]),
        ("- 1", ["config.yaml: must hold sections"]),
        ("model: {nam: dcgan}", ["config.yaml: model.nam", "did you mean 'name'"]),
        ("imports: [gone.py]", ["imports/gone.py: is missing"]),
    ],
)
def test_what_is_no_run_is_told(tmp_path: Path, content: str | None, words: list[str]) -> None:
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(GandistError) as caught:
        open_trained(str(tmp_path), CPU)
    for word in [str(tmp_path), *words]:
        assert word in str(caught.value)


def test_a_mistyped_run_is_told_and_not_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with pytest.raises(ConfigError, match=f"{name}: is no run: there is no such folder"):
            open_trained(str(tmp_path / name), CPU)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_captions_without_their_data_are_told(tmp_path: Path) -> None:
    config = tiny(tmp_path, "text", **KINDS["text"], data__path=text_set(tmp_path / "set"), train__total_kimg=0.012)
    assert course.run(config, "auto") == 0
    shutil.rmtree(tmp_path / "set")
    trained = open_trained(run_root(config), CPU)
    assert trained.samples(trained.latents(2), torch.from_numpy(VECTORS[:2])).shape == (2, 32, 32, 1)
    with pytest.raises(DataError, match="no such folder"):
        trained.draw(2)


# A second stage.

FIRST: dict[str, Any] = {"model__name": "stackgan-1", "precision": "fp32"}
SECOND: dict[str, Any] = {
    "model__name": "stackgan-2",
    "model__resolution": 64,
    "model__stage_1_resolution": 32,
    "precision": "fp32",
    "train__total_kimg": 0.024,
    "train__checkpoint_kimg": 0.012,
}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run of the first stage, whose average is not its newest G."""
    folder = tmp_path_factory.mktemp("stages")
    path = make_set(folder / "set", 40, classes=10, channels=1).base
    config = tiny(folder, "first", **FIRST, data__path=path, train__total_kimg=0.024)
    assert course.run(config, "auto") == 0
    return config


def second(first: RunConfig, name: str, **changes: Any) -> RunConfig:
    fields = {**SECOND, "data__path": first.data.path, "model__stage_1": run_root(first)}
    return tiny(Path(first.run.dir), name, **{**fields, **changes})


def stage_1(tensors: dict[str, Tensor], net: str) -> dict[str, Tensor]:
    prefix = f"{net}/stage_1."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def whole(first: RunConfig) -> RunConfig:
    """A run of the second stage to its end."""
    config = second(first, "whole")
    assert course.run(config, "auto") == 0
    return config


@pytest.mark.slow
@pytest.mark.parametrize("norm", [pytest.param("none", marks=pytest.mark.nightly), "batch"])
def test_a_second_stage_keeps_its_first_bit_for_bit(tmp_path: Path, norm: str) -> None:
    """In G and in its average, at its start and at its end, BatchNorm's statistics and all."""
    path = make_set(tmp_path / "set", 40, classes=10, channels=1).base
    first = tiny(tmp_path, "first", **FIRST, data__path=path, model__norm=norm, train__total_kimg=0.024)
    assert course.run(first, "auto") == 0
    saved = final_tensors(first)
    expected = {name.removeprefix("G_ema/"): tensor for name, tensor in saved.items() if name.startswith("G_ema/")}
    assert any(not torch.equal(tensor, saved[f"G/{name}"]) for name, tensor in expected.items())
    config = second(first, "second", model__norm=norm, optim__weight_decay=0.1)
    assert course.run(config, "auto") == 0
    folder = Path(run_root(config)) / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["00000012", "00000024"]
    for checkpoint in folder.iterdir():
        tensors = {
            f"{net}/{name}": tensor
            for net in ("G", "G_ema")
            for name, tensor in load_file(checkpoint / f"{net}.safetensors").items()
        }
        for net in ("G", "G_ema"):
            inside = stage_1(tensors, net)
            assert inside.keys() == expected.keys()
            assert all(torch.equal(tensor, expected[name]) for name, tensor in inside.items())
    assert not any("stage_1" in name for name in final_tensors(config) if name.startswith("optim"))


def test_its_images_start_from_the_first_stages(first: RunConfig, whole: RunConfig) -> None:
    trained, sketch = open_trained(run_root(whole), CPU), open_trained(run_root(first), CPU)
    z, y = trained.latents(3), torch.tensor([0, 1, 2])
    inner = trained.G.get_submodule("stage_1")
    with torch.no_grad():
        assert torch.equal(
            inner(z[:, : sketch.latents(1).shape[1]], y), sketch.G(z[:, : sketch.latents(1).shape[1]], y)
        )
    assert trained.draw(3).shape == (3, 64, 64, 1)


def test_a_resumed_second_stage_needs_its_first_no_more(tmp_path: Path, first: RunConfig, whole: RunConfig) -> None:
    copy = tmp_path / "first"
    shutil.copytree(run_root(first), copy)
    half = second(first, "half", run__dir=str(tmp_path), model__stage_1=str(copy), train__total_kimg=0.012)
    assert course.run(half, "auto") == 0
    shutil.rmtree(copy)
    again = second(first, "half", run__dir=str(tmp_path), model__stage_1=str(copy))
    assert course.run(again, "auto") == 0
    ours, theirs = final_tensors(again), final_tensors(whole)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    # Begun anew it does.
    with pytest.raises(ConfigError, match=r"model\.stage_1: .*first: is no run"):
        course.run(again, "never")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model__width": 8}, ["model.width: ", "was trained with 4; set model.width=4, not 8"]),
        ({"model__z_dim": 9}, ["model.z_dim: ", "set model.z_dim=8"]),
        ({"data__channels": 3}, ["data.channels: ", "set data.channels=1"]),
        ({"model__norm": "batch"}, ["model.norm: ", "set model.norm=none"]),
        (
            {"model__resolution": 128, "model__stage_1_resolution": 64},
            ["model.stage_1_resolution: ", "set model.stage_1_resolution=32"],
        ),
    ],
)
def test_sizes_that_differ_are_refused_with_the_field(
    first: RunConfig, changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(second(first, "refused", **changes), "auto")
    assert str(caught.value).count("\n") == 0
    for word in [run_root(first), *words]:
        assert word in str(caught.value)


def test_another_network_is_no_first_stage(runs: dict[str, RunConfig], first: RunConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(second(first, "refused", model__stage_1=run_root(runs["class"])), "auto")
    assert str(caught.value).count("\n") == 0
    for word in ("model.stage_1: ", "is a run of dcgan", "stackgan-2"):
        assert word in str(caught.value)


def test_a_first_stage_that_is_not_there_or_not_begun_is_refused(first: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.stage_1: .*nowhere: is no run"):
        prepare(second(first, "refused", model__stage_1=str(tmp_path / "nowhere")), "auto")
    shutil.copy(Path(run_root(first)) / "config.yaml", tmp_path)
    with pytest.raises(GandistError, match=r"model\.stage_1: .*no checkpoint yet"):
        prepare(second(first, "refused", model__stage_1=str(tmp_path)), "auto")


def test_the_checkpoint_names_the_encoder(runs: dict[str, RunConfig]) -> None:
    for kind, encoder in (("text", "by hand"), ("class", "")):
        manifest = Path(run_root(runs[kind])) / "checkpoints/00000120/manifest.json"
        assert json.loads(manifest.read_text())["encoder"] == encoder


@pytest.mark.nightly
def test_both_stages_in_a_bucket(tmp_path: Path) -> None:
    with serve_bucket("stages") as url:
        path = make_set(tmp_path / "set", 40, classes=10, channels=1).base
        where = {"run__dir": join(url, "runs"), "data__path": path, "train__total_kimg": 0.012}
        first = tiny(tmp_path, "first", **{**FIRST, **where})
        assert course.run(first, "auto") == 0
        config = tiny(tmp_path, "second", **{**SECOND, **where, "model__stage_1": run_root(first)})
        assert course.run(config, "auto") == 0
        ours, theirs = (open_trained(run_root(each), CPU).G for each in (config, first))
        inside = ours.get_submodule("stage_1").state_dict()
        assert all(torch.equal(tensor, inside[name]) for name, tensor in theirs.state_dict().items())
