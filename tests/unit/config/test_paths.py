"""Paths are made absolute for Ray's workers, which start in folders of their own."""

from pathlib import Path

import pytest

from gandist.config.paths import absolute
from tests.helpers.image_to_image import GAMES
from tests.helpers.train_on_ranks import tiny


def test_every_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changes = {**GAMES["enhancing"], "data__path": "mine", "eval__data": "held-out", "eval__weights": "net.safetensors"}
    found = absolute(tiny(tmp_path, "run", **{**changes, "game__perceptual": "features.pt"}))
    paths = [found["data"]["path"], found["eval"]["data"], found["eval"]["weights"], found["game"]["perceptual"]]
    assert paths == [str(tmp_path / name) for name in ("mine", "held-out", "net.safetensors", "features.pt")]


def test_names_and_addresses_stay(tmp_path: Path) -> None:
    changes = {**GAMES["enhancing"], "data__path": "builtin:fashion-9k", "eval__data": "s3://bucket/held-out"}
    found = absolute(tiny(tmp_path, "run", **changes))
    assert (found["data"]["path"], found["eval"]["data"]) == ("builtin:fashion-9k", "s3://bucket/held-out")
    assert found["game"]["perceptual"] == "classifier"
