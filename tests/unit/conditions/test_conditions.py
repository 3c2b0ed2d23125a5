"""What G is told: stored beside samples, drawn for fakes, asked for by commands, written beside samples."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gandist.conditions.captions import Captions
from gandist.conditions.classes import Classes
from gandist.conditions.condition import Condition, Nothing, Wish, Written
from gandist.config.run import RunConfig, load
from gandist.config.sample import condition_of
from gandist.distributed.randomness import Draws, philox
from gandist.errors import ConfigError, DataError

CPU = torch.device("cpu")
N, DIM = 12, 5
LABELS = np.arange(N) % 3
VECTORS = np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)
CAPTIONS = [f"caption {number}" for number in range(N)]
CONDITIONS: dict[str, Condition] = {"none": Nothing(), "class": Classes(3), "text": Captions(DIM)}


def index_of(**changes: Any) -> Any:
    facts = {
        "base": "set", "n": N, "classes": 3, "class_names": ("a", "b", "c"), "labels": LABELS, "captions": CAPTIONS,
        "text_dim": DIM, "vectors": VECTORS, "encoder": "words 1",
    }  # fmt: skip
    return SimpleNamespace(**(facts | changes))


@pytest.mark.parametrize(
    ("kind", "overrides"), [("none", []), ("class", ["model.classes=3"]), ("text", ["model.text_dim=5"])]
)
def test_a_configuration_names_one(kind: str, overrides: list[str]) -> None:
    config = load("demo", ["model.classes=0", *overrides])
    found = condition_of(config)
    assert found.kind == kind
    assert type(found) is type(CONDITIONS[kind])
    assert isinstance(config, RunConfig)
    assert found.count == (3 if kind == "class" else 0)


def test_a_set_must_have_it() -> None:
    for condition in CONDITIONS.values():
        condition.check(index_of(), "data.path: set", "index it")
    for kind, changes, told in (
        ("class", {"classes": 4}, "its labels make 4 classes, the network has model.classes=3; set model.classes=4"),
        ("class", {"labels": np.where(LABELS == 2, -1, LABELS)}, "some images have no label"),
        ("class", {"classes": 100}, "a row of weights also to the 97 classes without images"),
        ("text", {"text_dim": 0}, "holds no vectors of captions.*make them: index it --captions"),
        ("text", {"text_dim": 7}, "have 7 dimensions.*set model.text_dim=7"),
    ):
        with pytest.raises(DataError, match=told):
            CONDITIONS[kind].check(index_of(**changes), "data.path: set", "index it")


@pytest.mark.parametrize("kind", CONDITIONS)
def test_what_is_stored_becomes_what_g_takes(kind: str) -> None:
    condition = CONDITIONS[kind]
    stored = condition.stored(index_of())
    np.testing.assert_array_equal(stored, VECTORS if kind == "text" else LABELS)
    y = condition.to_network(torch.from_numpy(stored), torch.float64)
    if kind == "none":
        assert y is None
    else:
        assert y is not None
        assert y.dtype == (torch.float64 if kind == "text" else torch.int64)
    labels = condition.labels(stored)
    assert (labels is not None) == (kind == "class")


@pytest.mark.parametrize("kind", CONDITIONS)
def test_fakes_get_theirs_by_their_row_of_the_global_batch(kind: str) -> None:
    condition = CONDITIONS[kind]
    stored = condition.stored(index_of())
    whole = condition.of_fakes(Draws(0, CPU), "fakes", torch.tensor(16), 0, 8, torch.from_numpy(stored))
    parts = [
        condition.of_fakes(Draws(0, CPU, rank, 2), "fakes", torch.tensor(16), 0, 8, torch.from_numpy(stored))
        for rank in (0, 1)
    ]
    if kind == "none":
        assert whole is None
        assert parts == [None, None]
        return
    assert whole is not None
    for rank, part in enumerate(parts):
        assert part is not None
        assert torch.equal(part, whole[rank::2])
    rows = {tuple(np.atleast_1d(row)) for row in whole.numpy()}
    assert rows <= {tuple(np.atleast_1d(row)) for row in stored}


def test_samples_show_one_a_row() -> None:
    assert CONDITIONS["none"].of_samples(0, 3, 2, LABELS) is None
    by_class = CONDITIONS["class"].of_samples(0, 3, 2, LABELS)
    assert by_class is not None
    assert by_class.tolist() == [0, 0, 1, 1, 2, 2]
    by_caption = CONDITIONS["text"].of_samples(0, 3, 2, VECTORS)
    assert by_caption is not None
    captions = CONDITIONS["text"].captions_of_samples(0, 3, index_of())
    for row, caption in enumerate(captions):
        expected = torch.from_numpy(VECTORS[CAPTIONS.index(caption)])
        assert torch.equal(by_caption[2 * row], expected)
        assert torch.equal(by_caption[2 * row + 1], expected)
    assert CONDITIONS["class"].captions_of_samples(0, 3, index_of()) == []
    assert [condition.encoder(index_of()) for condition in CONDITIONS.values()] == ["", "", "words 1"]


def test_any_of_them() -> None:
    def unread() -> Any:
        raise AssertionError("classes need no data")

    assert CONDITIONS["none"].any(4, philox(0, "y"), unread) is None
    labels = CONDITIONS["class"].any(300, philox(0, "y"), unread)
    assert labels is not None
    assert np.bincount(labels).tolist() == pytest.approx([100] * 3, abs=30)
    vectors = CONDITIONS["text"].any(4, philox(0, "y"), index_of)
    assert vectors is not None
    assert all((row == VECTORS).all(1).any() for row in vectors)
    for kind, condition in CONDITIONS.items():
        made_up = condition.made_up(7, np.random.default_rng(0))
        assert made_up.shape == ((7, DIM) if kind == "text" else (7,))


def test_what_a_command_asks_for() -> None:
    asked = CONDITIONS["class"].asked(Wish(label=2), 3, "")
    assert asked is not None
    assert asked.tolist() == [2, 2, 2]
    for condition in CONDITIONS.values():
        assert condition.asked(Wish(), 3, "") is None, "any"
    for kind, wish, told in (
        ("none", Wish(label=1), "--class 1: the run was trained without classes"),
        ("text", Wish(label=1), "--class 1: the run was trained without classes"),
        ("class", Wish(label=3), "--class 3: the run has classes 0 to 2"),
        ("none", Wish(caption="a"), "--caption: the run was trained without captions"),
        ("class", Wish(caption="a"), "--caption: the run was trained without captions"),
    ):
        with pytest.raises(ConfigError, match=told):
            CONDITIONS[kind].asked(wish, 1, "")


def test_what_is_written_beside_samples() -> None:
    y = torch.tensor([2, 0])
    assert CONDITIONS["class"].written(y, list) == Written(labels=[2, 0])
    assert CONDITIONS["text"].written(y, lambda: ["a", "b"]) == Written(captions=["a", "b"])
    assert CONDITIONS["none"].written(y, list) == Written()
    assert CONDITIONS["class"].titles(y) == ["class 2", "class 0"]
    assert CONDITIONS["text"].titles(y) == []
    assert [condition.between() for condition in CONDITIONS.values()] == [True, False, True]
    assert [condition.example() for condition in CONDITIONS.values()] == ["", "--class 2", ""]
