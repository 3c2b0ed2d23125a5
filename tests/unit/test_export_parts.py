"""`--part encoder` and `--part decoder`: files that do what `python -m gandist.apply --encode` and `--decode` do."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from gandist.apply import main as apply
from gandist.errors import GandistError
from gandist.export import main, runnable
from gandist.export.formats import FILE, FORMATS, KEY, Run
from gandist.export.model import Model
from gandist.export.parts import OTHER, Part, autoencoder_of, part_of
from gandist.launch.resumption import run_root
from gandist.run.trained import open_trained
from gandist.train import course
from tests.helpers.image_to_image import GAMES
from tests.helpers.train_on_ranks import tiny

SIZES = {"a": (32, 32), "b": (24, 40)}
"""Heights and widths: that of training, and another."""


@pytest.fixture(scope="module", params=["quantised", pytest.param("gaussian", marks=pytest.mark.nightly)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of the smallest network."""
    game: dict[str, Any] = GAMES[request.param]
    options = {**game["model__options"], "factor": 2, "attention": "none", "code_channels": 3}
    few = {f"train__{field}": 0.024 for field in ("total_kimg", "tick_kimg", "checkpoint_kimg")}
    config = tiny(tmp_path_factory.mktemp("runs"), request.param, **{**game, **few, "model__options": options})
    assert course.run(config, "auto") == 0
    return run_root(config)


class Exported(NamedTuple):
    """The file of a part."""

    run: Run
    about: dict[str, Any]
    """Its metadata."""


@pytest.fixture(scope="module", params=["torchscript", pytest.param("onnx", marks=pytest.mark.nightly)])
def parts(request: pytest.FixtureRequest, run: str, tmp_path_factory: pytest.TempPathFactory) -> dict[Part, Exported]:
    """Also as ONNX, which takes twenty seconds."""
    folder, found = tmp_path_factory.mktemp("exported"), dict[Part, Exported]()
    for part in OTHER:
        out = folder / part
        assert main([run, "--part", part, "--to", request.param, "--out", str(out)]) == 0
        found[part] = Exported(FORMATS[request.param].opened(out.read_bytes()), metadata(out, request.param))
    return found


def metadata(file: Path, to: str) -> dict[str, Any]:
    if to == "onnx":
        return dict(json.loads(onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map[KEY]))
    with zipfile.ZipFile(file) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(f"extra/{FILE}"))
        return dict(json.loads(archive.read(name)))


def test_pictures_become_codes_and_pictures_again_as_by_apply(
    run: str, parts: dict[Part, Exported], tmp_path: Path
) -> None:
    pictures = {key: np.random.default_rng(size).integers(0, 256, size, np.uint8) for key, size in SIZES.items()}
    (tmp_path / "in").mkdir()
    for key, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / f"in/{key}.png")
    assert apply([run, str(tmp_path / "in"), "--encode", "--out", str(tmp_path / "codes")]) == 0
    assert apply([run, str(tmp_path / "codes"), "--decode", "--out", str(tmp_path / "back")]) == 0
    with tarfile.open(tmp_path / "codes/000000.tar") as tar:
        for key, pixels in pictures.items():
            stored = np.load(io.BytesIO(tar.extractfile(f"{key}.npy").read()))  # type: ignore[union-attr]
            given = pixels[None, None] / np.float32(127.5) - 1
            codes = parts["encoder"].run((torch.from_numpy(given),))
            np.testing.assert_allclose(codes[0], stored, atol=1e-4, rtol=0)
            made = parts["decoder"].run((codes,)).numpy()
            with Image.open(tmp_path / f"back/{key}.png") as back:
                level = (np.asarray(back) / np.float32(127.5) - 1)[None, None]
                np.testing.assert_allclose(made.clip(-1, 1), level, atol=0.5 / 127.5 + 1e-4, rtol=0)


def test_the_metadata_say_what_codes_are(parts: dict[Part, Exported]) -> None:
    encoder, decoder = parts["encoder"].about, parts["decoder"].about
    codes, (given,) = encoder["output"], decoder["inputs"]
    assert (encoder["part"], decoder["part"]) == ("encoder", "decoder")
    assert codes["name"] == given["name"] == "codes"
    assert codes["factor"] == 2
    told = codes.keys() - {"shape"}
    assert {key: codes[key] for key in told} == {key: given[key] for key in told}
    if codes["bottleneck"] == "vq":
        assert (codes["type"], codes["range"]) == ("int64", [0, 15])
        assert codes["shape"] == ["batch", "height / 2", "width / 2"]
        assert given["shape"] == ["batch", "rows", "columns"]
    else:
        assert (codes["type"], codes["scale"], codes["shift"]) == ("float32", 1, 0)
        assert codes["shape"] == ["batch", 3, "height / 2", "width / 2"]
        assert given["shape"] == ["batch", 3, "rows", "columns"]
    assert decoder["output"]["shape"] == ["batch", 1, "2 * rows", "2 * columns"]


def model_of_part(run: str, part: Part, integers: bool = False) -> Model:
    trained = open_trained(run, torch.device("cpu"))
    return part_of(trained, autoencoder_of(trained, run, part), part, integers)


@pytest.mark.parametrize(("part", "integers"), [("encoder", False), ("decoder", False), ("decoder", True)])
def test_other_formats_have_the_part_alone(run: str, tmp_path: Path, part: Part, integers: bool) -> None:
    model = model_of_part(run, part, integers)
    assert runnable(model, "torchscript", "{}")[1] == 0
    out = tmp_path / "part.safetensors"
    assert main([run, "--part", part, "--to", "safetensors", "--out", str(out)]) == 0
    found, whole = load_file(out), open_trained(run, torch.device("cpu")).G.state_dict()
    assert found.keys() == {name for name in whole if not name.startswith(OTHER[part])}
    assert all(torch.equal(found[name], whole[name]) for name in found)


def test_of_two_codes_equally_near_a_file_may_choose_the_other(run: str) -> None:
    model = model_of_part(run, "encoder")
    given = model.example(1, model.sizes[0])
    with torch.no_grad():
        expected: Tensor = model.net(*given)
    if "gaussian" in run:
        assert model.apart(given, expected, expected + 0.5) == pytest.approx(0.5)
        return
    vectors = cast(Any, model.net).G.codebook.vectors
    chosen = int(expected.flatten()[0])
    twin = (chosen + 1) % len(vectors)
    vectors[twin] = vectors[chosen]
    assert model.apart(given, expected, torch.where(expected == chosen, twin, expected)) == 0
    assert model.apart(given, expected, (expected + 2) % len(vectors)) > model.tolerance


def test_an_encoder_gives_no_samples(run: str) -> None:
    with pytest.raises(GandistError, match="--integers: is of samples, and an encoder gives codes; leave it out"):
        model_of_part(run, "encoder", integers=True)


def test_a_run_without_parts_is_refused(tmp_path: Path) -> None:
    config = tiny(tmp_path, "few", train__total_kimg=0.06)
    assert course.run(config, "auto") == 0
    trained = open_trained(run_root(config), torch.device("cpu"))
    with pytest.raises(GandistError, match=r"has none .model.name=dcgan, condition.kind=auto.*leave it out to export"):
        autoencoder_of(trained, run_root(config), "decoder")
