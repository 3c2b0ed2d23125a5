"""Whether fakes are of use: judged on images that nothing was trained on, and by the classes that were asked for."""

import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gandist.config.run import validate
from gandist.data.builtin import DATA
from gandist.data.dataset import with_images_at
from gandist.data.index import Index
from gandist.data.packing import pack
from gandist.errors import ConfigError, DataError
from gandist.launch.resumption import run_root
from gandist.media.audio import Audio
from gandist.media.medium import Medium
from gandist.media.video import Video
from gandist.run.trained import Trained, open_trained
from gandist.train import course
from gandist.usefulness import LabelledSamples, as_drawn, digests_of, main, take, together, unseen, usefulness
from tests.helpers.squares import CLIPS, make_squares
from tests.helpers.tones import SOUNDS, make_tones
from tests.helpers.train_on_ranks import tiny

CPU = torch.device("cpu")
GARMENTS = str(DATA / "fashion-10k")
N, N_TEST = 300, 1000


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Garments: 300, the same and 700 more, and others that are of no class."""
    folder = tmp_path_factory.mktemp("sets")
    for name, n in (("small", N), ("large", N_TEST)):
        pack(GARMENTS, str(folder / name), n=n)
    return {name: str(folder / name) for name in ("small", "large")}


@pytest.fixture(scope="module")
def runs(sets: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A run of a few steps on the 300, by class, not, and from pictures."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    given = {"model__name": "resnet", "model__options": {"blocks": 1}, "condition": {"kind": "degraded"}}
    changes: dict[str, dict[str, Any]] = {"class": {"model__classes": 10}, "plain": {}, "given": given}
    for name, changed in changes.items():
        fields = {"model__classes": 0, **changed, "data__path": sets["small"]}
        config = tiny(folder, name, **fields, precision="fp32")
        assert course.run(config, "auto") == 0
        found[name] = run_root(config)
    return found


def test_texts_are_refused() -> None:
    config = validate({"data": {"medium": "text", "options": {"symbols": "ab"}}, "model": {"name": "textgan"}})
    with pytest.raises(ConfigError, match="run: gandist has no classifier of texts; it has classifiers of images, sou"):
        usefulness(Trained(config, nn.Identity(), 1, CPU), "none")


class Copies(nn.Module):
    """A generator that knows real samples by heart, and draws one of the class it is asked for."""

    def __init__(self, known: LabelledSamples, medium: Medium, shift: int = 0) -> None:
        super().__init__()
        self.x, n = medium.drawn.to_network(torch.from_numpy(known.rows)), int(known.labels.max()) + 1
        self.rows = [torch.from_numpy(np.flatnonzero(known.labels == (k + shift) % n)) for k in range(n)]

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        rows = [self.rows[k][int(abs(z[i, 0]) * 1e6) % len(self.rows[k])] for i, k in enumerate(y.tolist())]
        return self.x[torch.stack(rows)]


Found = Callable[..., dict[str, float]]


@pytest.fixture
def found(runs: dict[str, str], sets: dict[str, str]) -> Found:
    """Accuracies of each arm for another G in place of the trained one."""
    trained = open_trained(runs["class"], CPU)

    def measured(G: nn.Module, kimg: float) -> dict[str, float]:
        result = usefulness(replace(trained, G=G), sets["large"], n_real=200, n_fake=2000, seeds=[0], kimg=kimg)
        return {arm: values[0] for arm, values in result.accuracy.items()}

    return measured


def unseen_garments(trained: Trained) -> LabelledSamples:
    return take(with_images_at(trained.config, "builtin:fashion-10k"), 3000, 0)


def test_better_fakes_are_of_more_use(runs: dict[str, str], found: Found) -> None:
    """A generator that draws unseen garments helps."""
    trained = open_trained(runs["class"], CPU)
    good = found(Copies(unseen_garments(trained), trained.medium), 4)
    assert 0.5 < good["real"] < 0.85
    assert good["generated"] > 0.7
    assert good["real and generated"] > good["real"] + 0.02


@pytest.mark.nightly
def test_fakes_of_no_use(runs: dict[str, str], found: Found) -> None:
    """Untrained, a generator is of none alone; with wrong labels it harms, which by day sounds and clips show."""
    trained = open_trained(runs["class"], CPU)
    untrained, wrong = found(trained.G, 2), found(Copies(unseen_garments(trained), trained.medium, 1), 2)
    assert untrained["real"] == wrong["real"] > 0.4, "which hangs on no fakes"
    assert untrained["generated"] < 0.35
    assert wrong["generated"] < 0.1
    assert wrong["real and generated"] < wrong["real"] - 0.05


@pytest.mark.parametrize(
    ("make", "network", "data", "kimg"),
    [
        pytest.param(make_tones, "wavegan", SOUNDS, 0.3, id="sounds"),
        pytest.param(make_squares, "vgan", CLIPS, 0.6, id="clips", marks=pytest.mark.nightly),
    ],
)
def test_sounds_and_clips(
    make: Callable[..., Index], network: str, data: dict[str, Any], kimg: float, tmp_path: Path
) -> None:
    """Copies of real samples teach as real ones do; with wrong labels they teach the wrong class."""
    few, more = make(tmp_path / "few", 40).base, make(tmp_path / "more", 104).base
    model = {"name": network, "classes": 2}
    trained = Trained(validate({"data": {**data, "path": few}, "model": model}), nn.Identity(), 1, CPU)
    known = take(with_images_at(trained.config, few), 40, 0)
    right, wrong = (
        usefulness(replace(trained, G=Copies(known, trained.medium, shift)), more, n_fake=40, seeds=[0], kimg=kimg)
        for shift in (0, 1)
    )
    assert right.protocol["left_out"] == 40
    assert right.protocol["n_test"] == 64
    assert min(right.accuracy[arm][0] for arm in ("real", "generated")) > 0.6
    assert wrong.accuracy["real"] == right.accuracy["real"], "the same figures again"
    assert wrong.accuracy["generated"][0] < 0.4


@pytest.mark.parametrize(
    ("medium", "kind"),
    [(Audio(samples=64, kept=100, crop="random"), np.int16), (Video(frames=2, kept=5, crop="random"), np.uint8)],
)
def test_real_samples_are_cut_like_generated_ones(medium: Audio | Video, kind: type[np.generic]) -> None:
    rows: np.ndarray = np.random.default_rng(0).integers(1, 200, (40, *medium.row.shape)).astype(kind)
    cut = as_drawn(LabelledSamples(rows, np.zeros(40)), medium, 0).rows
    length, starts = medium.drawn.row.shape[0], set()
    assert cut.shape[1:] == medium.drawn.row.shape
    assert cut.dtype == medium.row.dtype
    for whole, part in zip(rows, cut, strict=True):
        (start,) = (at for at in range(len(whole) - length + 1) if (whole[at : at + length] == part).all())
        starts.add(start)
    assert len(starts) > 2, "not always the same part"


def test_it_is_tested_on_what_nothing_was_trained_on(runs: dict[str, str], sets: dict[str, str]) -> None:
    trained = open_trained(runs["class"], CPU)
    result = usefulness(trained, sets["large"], n_fake=50, seeds=[0], kimg=0.2)
    assert result.protocol["n_real"] == N
    assert result.protocol["left_out"] == N
    assert result.protocol["n_test"] == N_TEST - N
    for test in (sets["small"], trained.config.data.path):
        with pytest.raises(DataError, match=r"small: all its images are among those that were trained on"):
            usefulness(trained, test, n_fake=50, seeds=[0], kimg=0.2)
    with pytest.raises(DataError, match=r"large: all its images"):
        usefulness(trained, sets["large"], data=sets["large"], n_real=10, n_fake=50, seeds=[0], kimg=0.2)


def test_unseen_compares_pixels(sets: dict[str, str], runs: dict[str, str]) -> None:
    config = open_trained(runs["class"], CPU).config
    seen = digests_of(with_images_at(config, sets["small"]))
    assert len(seen) == N
    images, labels = take(with_images_at(config, sets["small"]), 10, 3)
    changed = images.copy()
    changed[7, 16, 16] ^= 1
    proof, left_out = unseen(LabelledSamples(changed, labels), seen)
    assert left_out == 9
    np.testing.assert_array_equal(proof.rows, changed[7:8])
    np.testing.assert_array_equal(proof.labels, labels[7:8])


def test_half_of_what_is_shown_is_real() -> None:
    reals = LabelledSamples(np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1), np.arange(3))
    fakes = LabelledSamples(np.arange(100, 107, dtype=np.uint8).reshape(7, 1, 1, 1), np.arange(7))
    images, labels = together(reals, fakes)
    assert images.ravel().tolist() == [0, 1, 2, 0, 1, 2, 0, *range(100, 107)]
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0, *range(7)]


def test_the_same_command_the_same_figures(runs: dict[str, str], sets: dict[str, str]) -> None:
    trained: Trained = open_trained(runs["class"], CPU)
    first, again = (usefulness(trained, sets["large"], n_real=50, n_fake=50, seeds=[3, 4], kimg=0.1) for _ in range(2))
    assert first == again
    assert first.accuracy["real"][0] != first.accuracy["real"][1], "seeds differ"


def test_command(runs: dict[str, str], sets: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [runs["class"], "--test", sets["large"], "--fake", "60", "--kimg", "0.1", "--seeds", "0", "1"]
    assert main([*arguments, "--real", "50", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert list(written["accuracy"]) == ["real", "real and generated", "generated"]
    for arm in written["accuracy"].values():
        assert len(arm["seeds"]) == 2
        assert arm["mean"] == pytest.approx(statistics.mean(arm["seeds"]))
        assert arm["std"] == pytest.approx(statistics.stdev(arm["seeds"]))
    protocol = written["protocol"]
    assert (protocol["n_real"], protocol["n_fake"], protocol["seeds"]) == (50, 60, [0, 1])
    assert (protocol["images_seen"], protocol["trained_on"]) == (120, sets["small"])
    assert main([*arguments, "--real", "50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"real                {written['accuracy']['real']['mean']:.4f} ± ")
    assert "n_test 700, left_out 300" in lines[3]


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("given", [], "given: its G is given samples (condition.kind=degraded) and draws none of a class"),
        ("plain", [], "plain: has no classes (model.classes=0)"),
        ("class", ["--fake", "1"], "--real 300, --fake 1: a classifier learns from at least 2 images"),
        ("class", ["--real", "301"], "small: holds 300 images; --real 301 are more"),
        ("class", ["--data", "none"], "none: no such folder"),
        ("class", ["--images-seen", "7"], "none of 7 images"),
    ],
)
def test_what_cannot_be_told_is_said(
    runs: dict[str, str],
    sets: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([runs[kind], "--test", sets["large"], *arguments]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("gandist: ")
    assert message in written.err
