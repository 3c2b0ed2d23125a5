"""The classifier of clips: it learns motions, the same each time, and is kept."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gandist.config.run import RunConfig, validate
from gandist.errors import ConfigError, DataError
from gandist.evaluation import clip_classifier as module
from gandist.evaluation.classifier import main
from gandist.evaluation.clip_classifier import classifier_of, clips_of, fit, noisy, shifted, train
from gandist.evaluation.learning import classify
from gandist.gan.networks.classifier import load_clips, load_sounds
from tests.helpers.squares import CLIPS, FRAMES, SIZE, make_squares, square

CPU = torch.device("cpu")


def config_of(folder: Path, **options: object) -> RunConfig:
    found = {**CLIPS, "options": {"frames": FRAMES, **options}}
    data = {**found, "path": str(folder / "squares"), "cache_dir": str(folder / "cache")}
    return validate({"data": data, "model": {"name": "vgan", "resolution": SIZE}, "train": {"batch": 8}})


@pytest.mark.slow
def test_it_tells_motions_apart(tmp_path: Path) -> None:
    make_squares(tmp_path, 90, classes=3)
    config = config_of(tmp_path)
    classifier, facts = fit(config, kimg=2)
    assert not classifier.training
    assert facts[1:6] == (9, 81, 1, 3, facts.data_fingerprint)
    assert (facts.medium, facts.frames, facts.stride, facts.fps) == ("video", FRAMES, 1, 0)
    others, labels = np.stack([square(1000 + i, i % 3) for i in range(60)]), np.arange(60) % 3
    right = classify(classifier, others, clips_of(config), CPU) == labels
    assert right.mean() > 0.9, "a third would be chance"


def test_equal_arguments_give_equal_weights(tmp_path: Path) -> None:
    rows, labels = np.stack([square(i, i % 2) for i in range(32)]), np.arange(32) % 2
    medium = clips_of(config_of(tmp_path))

    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.rand(1)  # the state of torch's own generator must not matter
        return train(rows, labels, medium, seed=seed, kimg=0.1).state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(first[name].equal(again[name]) for name in first)
    assert not first["head.weight"].equal(other["head.weight"])


def test_what_training_changes() -> None:
    x = torch.arange(9.0).view(1, 1, 1, 3, 3).expand(2, 1, 4, 3, 3)
    moved = shifted(x, 1, -1)
    assert moved[0, 0, 2].tolist() == [[-1, -1, -1], [1, 2, -1], [4, 5, -1]]
    assert shifted(x, 0, 0).equal(x)
    noise = noisy(torch.zeros(50, 1, 4, 16, 16), np.random.default_rng(0)).std((1, 2, 3, 4))
    assert 0.0025 < noise.min() < 0.01
    assert 0.1 < noise.max() < 0.35


def test_trained_once_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_squares(tmp_path)
    frames: list[int] = []

    def counted(config: RunConfig) -> tuple[object, object]:
        frames.append(clips_of(config).frames)
        return fit(config, kimg=0.1)

    monkeypatch.setattr(module, "fit", counted)
    first, again = classifier_of(config_of(tmp_path)), classifier_of(config_of(tmp_path))
    assert first == again
    assert load_clips(first)[1].n_train == 36
    random = {"frames": 2, "crop": "random", "kept": FRAMES}
    others = [classifier_of(config_of(tmp_path, **each)) for each in ({"frames": 2}, random, {"stride": 2})]
    assert len({first, *others}) == 4
    assert frames == [FRAMES, 2, 2, FRAMES]
    with pytest.raises(DataError, match=r"is a classifier of data\.medium=video, not of audio"):
        load_sounds(first)


def test_what_has_no_labels_or_is_no_clip_is_refused(tmp_path: Path) -> None:
    make_squares(tmp_path, labels=False)
    with pytest.raises(DataError, match="labelled"):
        classifier_of(config_of(tmp_path))
    with pytest.raises(ConfigError, match=r"data\.medium: a classifier of clips needs video, not image"):
        classifier_of(validate({}))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_squares(tmp_path)
    out, clips = tmp_path / "c.safetensors", ["--frames", "2", "--stride", "2", "--resolution", str(SIZE)]
    source = str(tmp_path / "squares")
    assert main([source, str(out), *clips, "--channels", "1", "--kimg", "0.1"]) == 0
    assert "2 classes, accuracy" in (said := capsys.readouterr().out)
    assert "on 4 held out clips" in said
    facts = load_clips(out)[1]
    assert (facts.frames, facts.stride, facts.channels) == (2, 2, 1)
    for wrong, message in (
        (["--frames", "2", "--samples", "64", "--sample-rate", "8000"], "--frames, --samples: DATA holds clips or"),
        (["--stride", "2"], "--stride, --resolution: are for clips"),
        (["--frames", "1"], r"data.options.frames: input should be greater than or equal to 2"),
    ):
        assert main([source, str(out), *wrong]) == 2
        assert message in capsys.readouterr().err
