"""`python -m gandist.export`: files of a generator that run without gandist, and what is refused."""

import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from gandist.config.run import RunConfig
from gandist.errors import GandistError
from gandist.export import main, runnable
from gandist.export.formats import FILE, FORMATS, KEY
from gandist.export.model import BATCHES, Input, Model, model_for
from gandist.gan.networks import NETWORKS
from gandist.gan.networks.textgan import TextOptions
from gandist.gan.networks.unet import UNetOptions
from gandist.launch.resumption import run_root
from gandist.run.trained import open_trained
from gandist.testing import Case, cases
from gandist.train import course
from tests.helpers.checkout_copy import ROOT
from tests.helpers.small_datasets import make_set
from tests.helpers.train_on_ranks import tiny

IN_EACH_RUN = ("unet", "textgan")
"""Pairs whose ONNX file is made in each run of the tests: one given pictures, and one of no pictures; besides dcgan's,
which the command makes below. `torch.export`, from which ONNX is made, accepts each pair (networks/test_pairs.py)."""
SMALL = {"unet": UNetOptions(levels=2), "textgan": TextOptions(blocks=1)}
"""Options with which a pair of many layers has few."""
SHORT = {"wavegan": (1, 256), "mocogan": (3, 2, 32, 32)}
"""Samples of which a pair makes in fewer steps than of those of `cases`."""
LONG = ("resnet", "rrdb", "ffc", "autoencoder", "hifigan")
"""Pairs whose trace the nightly tests make."""
NO_TRACE = ("r3gan",)
"""Pairs that torch.jit.trace cannot follow, for they have derivatives of their own."""


def case_of(name: str) -> Case:
    """A small pair with the richest of its conditions."""
    found = {case.shape.masked or bool(case.shape.condition_dim): case for case in cases(NETWORKS[name])}
    case = found[max(found)]
    sample = SHORT.get(name, case.shape.sample)
    return case._replace(shape=case.shape._replace(options=SMALL.get(name), sample=sample))


def model_of_case(name: str) -> Model:
    case = case_of(name)
    return model_for(name, case.build()[0].eval(), case.shape)


@pytest.mark.parametrize(
    "name", [name if name in IN_EACH_RUN else pytest.param(name, marks=pytest.mark.nightly) for name in NETWORKS]
)
def test_each_pair_becomes_an_onnx_file_for_any_batch_and_size(name: str) -> None:
    model = model_of_case(name)
    data, apart = runnable(model, "onnx", "{}")
    assert apart <= model.tolerance
    inputs = onnxruntime.InferenceSession(data).get_inputs()
    assert [(each.name, tuple(each.shape)) for each in inputs] == [(each.name, each.shape) for each in model.inputs]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly) if name in LONG else name for name in NETWORKS]
)
def test_each_pair_is_traced_or_refused_by_name(name: str) -> None:
    model = model_of_case(name)
    if name in NO_TRACE:
        with pytest.raises(GandistError, match=f"--to torchscript: {name} cannot be exported so: .*; give --to onnx"):
            runnable(model, "torchscript", "{}")
    else:
        assert runnable(model, "torchscript", "{}")[1] == 0


class Frozen(nn.Module):
    """Takes its batch for a number that never changes."""

    def forward(self, *given: Tensor) -> Tensor:
        return given[0].view(len(given[0]), -1) if self.training else given[0] * len(given[0])


@pytest.mark.parametrize(
    ("to", "training", "said"),
    [
        ("torchscript", True, r"the file does not run with inputs \(1, 4\): .*shape '\[3, -1\]' is invalid"),
        ("torchscript", False, r"with inputs \(1, 4\) the file's results are off by .*, over 0.0001"),
        ("pt2", False, "cannot be exported so: Constraints violated"),
    ],
)
def test_what_has_become_fixed_is_refused(to: str, training: bool, said: str) -> None:
    net = Frozen().train(training)
    with pytest.raises(GandistError, match=f"^--to {to}: frozen.* {said}.*; give --to "):
        runnable(Model("frozen", net, (Input("latents", "normal", ("batch", 4)),), "samples", ((),), 1), to, "{}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of a few steps whose classes have names."""
    folder = tmp_path_factory.mktemp("runs")
    config: RunConfig = tiny(folder, "few", optim__lr_G=0.05, optim__ema_half_life_kimg=0, precision="fp32")
    assert course.run(config, "auto") == 0
    return run_root(config)


@pytest.fixture(scope="module")
def exported(run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its ONNX file, in a folder of its own."""
    out = tmp_path_factory.mktemp("exported") / "demo.onnx"
    assert main([run, "--to", "onnx", "--out", str(out)]) == 0
    return out


def expected_of(run: str, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Latents and classes, and what G makes of them."""
    trained = open_trained(run, torch.device("cpu"))
    z, y = trained.latents(n, 3), torch.arange(n) % 10
    with torch.no_grad():
        return z, y, trained.G(z, y)


@pytest.mark.parametrize("n", BATCHES)
def test_an_onnx_file_gives_what_the_network_gives(run: str, exported: Path, n: int) -> None:
    z, y, expected = expected_of(run, n)
    session = onnxruntime.InferenceSession(exported)
    (images,) = session.run(["images"], {"latents": z.numpy(), "labels": y.numpy()})
    np.testing.assert_allclose(images, expected, atol=1e-4, rtol=0)


def test_an_onnx_file_is_one_file_that_tells_nothing_of_this_machine(exported: Path) -> None:
    assert [path.name for path in exported.parent.iterdir()] == ["demo.onnx"]
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 20)]
    assert str(ROOT).encode() not in exported.read_bytes()


def about(path: Path) -> dict[str, Any]:
    """The metadata of a file of any format."""
    if path.suffix == ".onnx":
        (entry,) = onnx.load(path).metadata_props
        assert entry.key == KEY
        return dict(json.loads(entry.value))
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return dict(json.loads(file.metadata()[KEY]))
    extra = {FILE: ""}
    if path.suffix == ".pt2":
        torch.export.load(path, extra_files=extra)
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)
            torch.jit.load(path, _extra_files=extra)  # type: ignore[no-untyped-call]
    return dict(json.loads(extra[FILE]))


def test_the_metadata_say_what_to_put_in_and_what_comes_out(run: str, exported: Path) -> None:
    found = about(exported)
    trained = open_trained(run, torch.device("cpu"))
    assert found["config"] == trained.config.resolved()
    assert [found[key] for key in ("run", "images_seen", "network", "medium")] == ["few", 120, "dcgan", "image"]
    latents, labels = found["inputs"]
    assert (latents["name"], latents["shape"], latents["distribution"]) == ("latents", ["batch", 8], "normal")
    assert (labels["name"], labels["type"], labels["shape"], labels["classes"]) == ("labels", "int64", ["batch"], 10)
    assert labels["names"][9] == "Ankle boot"
    output = found["output"]
    assert (output["name"], output["shape"], output["range"]) == ("images", ["batch", 1, 32, 32], [-1, 1])
    assert output["to_uint8"] == "clip(round((x + 1) * 127.5), 0, 255)"


@pytest.mark.parametrize(("to", "suffix"), [("pt2", "pt2"), ("torchscript", "pt"), ("safetensors", "safetensors")])
def test_other_formats_have_the_same_metadata(
    run: str, exported: Path, tmp_path: Path, to: str, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"demo.{suffix}"
    assert main([run, "--to", to, "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{to} of {run} at 120 images seen: {out}, ")
    assert about(out) == about(exported)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_safetensors_have_the_averaged_generator(run: str, tmp_path: Path) -> None:
    out = tmp_path / "demo.safetensors"
    assert main([run, "--to", "safetensors", "--out", str(out), "--images-seen", "60"]) == 0
    wanted = open_trained(run, torch.device("cpu"), 60).G.state_dict()
    found = load_file(out)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert about(out)["images_seen"] == 60


def test_integers_are_the_samples_as_files_hold_them(run: str, tmp_path: Path) -> None:
    out = tmp_path / "demo.pt2"
    assert main([run, "--to", "pt2", "--out", str(out), "--integers"]) == 0
    z, y, expected = expected_of(run, 5)
    found = torch.export.load(out).module()(z, y)
    torch.testing.assert_close(found, open_trained(run, torch.device("cpu")).medium.from_network(expected))
    output = about(out)["output"]
    assert (output["type"], output["shape"], output["range"]) == ("uint8", ["batch", 32, 32, 1], [0, 255])
    assert "to_uint8" not in output


def test_the_example_of_the_page_draws_a_picture(exported: Path, tmp_path: Path) -> None:
    """As it is written, in a Python that has loaded neither gandist nor torch."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "export.md").read_text(), re.MULTILINE | re.DOTALL)
    code += "import sys\nassert not {'gandist', 'torch'} & sys.modules.keys()\n"
    shutil.copy(exported, tmp_path)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.size == (320, 320)
        assert np.asarray(picture).std() > 1


@pytest.fixture(scope="module")
def restoring(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose G fills holes."""
    folder = tmp_path_factory.mktemp("restoring")
    config = tiny(
        folder,
        "holes",
        model__name="unet",
        model__classes=0,
        data__path=make_set(folder / "set", 20, classes=0, channels=1).base,
        condition={"kind": "masked"},
        precision="fp32",
    )
    assert course.run(config, "auto") == 0
    return run_root(config)


def test_a_network_that_fills_holes_takes_pictures_and_masks_of_any_size(restoring: str, tmp_path: Path) -> None:
    out = tmp_path / "holes.pt"
    assert main([restoring, "--to", "torchscript", "--out", str(out)]) == 0
    found = about(out)
    latents, pictures, masks = found["inputs"]
    assert latents["shape"] == ["batch", 8]
    assert (pictures["shape"], pictures["multiple"]) == (["batch", 1, "height", "width"], 8)
    assert (masks["shape"], masks["values"]) == (["batch", 1, "height", "width"], [0, 1])
    assert found["output"]["shape"] == ["batch", 1, "height", "width"]
    picture, mask = torch.rand(2, 1, 40, 64), torch.zeros(2, 1, 40, 64)
    mask[..., 20:30] = 1
    made = FORMATS["torchscript"].opened(out.read_bytes())((torch.zeros(2, 8), picture, mask))
    assert torch.equal(made[..., :20], picture[..., :20])
    assert not torch.equal(made[..., 20:30], picture[..., 20:30])


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message of a command that exits with 2."""
    assert main(list(arguments)) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert "Traceback" not in written.err
    return written.err


def test_refusals(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "new.onnx")
    for arguments, said in (
        ((str(tmp_path / "none"), "--to", "onnx", "--out", out), "none: is no run: there is no such folder"),
        ((run, "--to", "onnx", "--out", str(tmp_path)), "is a folder; give the name of a file"),
        (
            (run, "--to", "onnx", "--out", "s3://bucket/x.onnx"),
            "s3://bucket/x.onnx: the file is written to this machine",
        ),
        ((run, "--to", "safetensors", "--integers", "--out", out), "--integers: is of files that run; safetensors has"),
        ((run, "--to", "onnx", "--images-seen", "61", "--out", out), "none of 61 images; there are 60, 120"),
    ):
        assert said in refusal(capsys, *arguments)
    monkeypatch.setattr("gandist.export.formats.LARGEST", 1000)
    assert "GB, and one ONNX file holds 2; give --to pt2 or" in refusal(capsys, run, "--to", "onnx", "--out", out)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "--to onnx: import of onnxscript halted" in (said := refusal(capsys, run, "--to", "onnx", "--out", out))
    assert "pip install 'gandist[export]'" in said
    assert list(tmp_path.iterdir()) == []
