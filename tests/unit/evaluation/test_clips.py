"""What turns clips into features, and measures of generated ones: real clips measure well, still ones do not."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy
import torch
from torch import Tensor, nn

from gandist.config.run import RunConfig, validate
from gandist.data import dataset
from gandist.distributed.ranks import Ranks
from gandist.errors import ConfigError, DataError, GandistError
from gandist.evaluation import clip_classifier
from gandist.evaluation.clip_extractors import frames_by
from gandist.evaluation.evaluation import Yardstick, names_of_measures, yardstick
from gandist.evaluation.evaluator import check_evaluation, extractor_of
from gandist.evaluation.extractors import OF_IMAGES, default_extractor, of_images, open_extractor
from gandist.evaluation.features import at_a_time, look, look_together, real_features
from gandist.evaluation.likeness import restored_by
from gandist.evaluation.measures import MEASURES as OF_COMPARISONS
from gandist.evaluation.measures import Sampled
from gandist.evaluation.statistics import distance_of
from gandist.gan.networks.classifier import Facts, save
from gandist.gan.networks.clip_classifier import ClipClassifier
from gandist.media.image import Image
from gandist.media.video import Video
from gandist.monitoring.metrics import MEASURES, OF_MOTION
from gandist.run.evaluations import Result
from gandist.run.trained import Trained
from gandist.tune.reported import reported_by
from tests.helpers.squares import CLIPS, FRAMES, SIZE, make_squares, square

CPU = torch.device("cpu")
ALONE = Ranks(0, 1, CPU)
SQUARES = Video(frames=FRAMES, resolution=SIZE, channels=1)
N = 40


class Eyes(nn.Module):
    """In the place of I3D: 6 features of RGB clips (N, 3, F, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 3
        return torch.cat([x.mean((2, 3, 4)), x.diff(dim=2).abs().mean((2, 3, 4))], 1)


class Blind(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 0]


def scripted(path: Path, net: nn.Module) -> Path:
    torch.jit.script(net).save(str(path))  # type: ignore[no-untyped-call]
    return path


def config_of(folder: Path, classes: int = 0, **evaluation: object) -> RunConfig:
    data = {**CLIPS, "path": str(folder / "squares"), "cache_dir": str(folder / "cache")}
    model = {"name": "vgan", "width": 4, "z_dim": 4, "classes": classes, "resolution": SIZE}
    measured = {"every_kimg": 1, **evaluation}
    return validate({"data": data, "model": model, "train": {"batch": 8}, "eval": measured})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares that move right, or down, and in `c.safetensors` a classifier of them."""
    folder = tmp_path_factory.mktemp("clips")
    make_squares(folder, 80)
    save(folder / "c.safetensors", *clip_classifier.fit(config_of(folder), kimg=1))
    return folder


def rows(first: int, n: int = N, still: bool = False) -> np.ndarray:
    found = np.stack([square(first + i, i % 2) for i in range(n)])
    return found[:, :1].repeat(FRAMES, 1) if still else found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier", "frames", "torchscript"])
def test_the_same_few_fields(name: str, folder: Path, tmp_path: Path) -> None:
    weights = {"classifier": folder / "c.safetensors", "torchscript": scripted(tmp_path / "eyes.ts", Eyes())}.get(name)
    extractor = open_extractor(name, weights, SQUARES, CPU)
    told = f"frames-{of_images()}" if name == "frames" else name
    assert (extractor.name, extractor.distance) == (told, f"{'fd' if name == 'frames' else 'fvd'}-{told}")
    assert len(extractor.sha256) == 64
    x = SQUARES.to_network(torch.from_numpy(rows(0, 6)))
    h = extractor.features(x)
    torch.testing.assert_close(extractor.features(x[:3]), h[:3], rtol=1e-3, atol=1e-3)
    assert (h.shape, extractor.probabilities(x, h).shape) == ((6, extractor.dim), (6, extractor.classes))
    assert (h.dtype, h.requires_grad) == (torch.float32, False)


def test_frames_are_samples_of_the_distance() -> None:
    """It equals that of the frames' features, by scipy, and says nothing of motion."""
    opened = OF_IMAGES["classifier"].open
    extractor, of_frames = frames_by(opened)(None, SQUARES, CPU), opened(None, SQUARES, CPU)
    assert (extractor.name, extractor.distance) == ("frames-classifier", "fd-frames-classifier")
    a, b = rows(0), rows(500, 60)
    found = [look(extractor, SQUARES, [each], len(each), CPU).moments for each in (a, b)]
    frames = [SQUARES.to_network(torch.from_numpy(each)).transpose(1, 2).flatten(0, 1) for each in (a, b)]
    h = [of_frames.features(each).double().numpy() for each in frames]
    means, covariances = [each.mean(0) for each in h], [np.cov(each, rowvar=False) for each in h]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root.real)
    assert distance_of(*found) == pytest.approx(expected, rel=1e-3)
    backwards = look(extractor, SQUARES, [a[:, ::-1].copy()], len(a), CPU).moments
    assert distance_of(found[0], backwards) == pytest.approx(0, abs=1e-3)


def test_frames_are_spread_over_the_clip() -> None:
    long = Video(frames=9, resolution=SIZE, channels=1)
    extractor, images = (open_extractor(name, None, of, CPU) for name, of in (("frames", long), (of_images(), Image())))
    x = torch.rand(2, 1, 9, SIZE, SIZE) * 2 - 1
    torch.testing.assert_close(extractor.features(x).view(2, 4, -1)[:, 2], images.features(x[:, :, 5]))
    assert "frames 1, 3, 5, 7 (from 0)" in extractor.resize
    assert (extractor.parts, extractor.classes) == (4, 0)


def test_another_motion_is_further_away_for_the_classifier(folder: Path) -> None:
    extractor = open_extractor("classifier", folder / "c.safetensors", SQUARES, CPU)

    def moments(found: np.ndarray) -> object:
        return look(extractor, SQUARES, [found], len(found), CPU).moments

    real = moments(rows(0, 80))
    same, still = (distance_of(real, moments(rows(500, 80, each))) for each in (False, True))  # type: ignore[arg-type]
    assert 0 < 1.5 * same < still


def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bands is not for clips; choose one of classifier, frames, torchscript"):
        open_extractor("bands", None, SQUARES, CPU)
    with pytest.raises(ConfigError, match="frames is not for images"):
        open_extractor("frames", None, Image(), CPU)
    trained = r"--frames 4 --stride 1 --resolution 32 --channels 1"
    with pytest.raises(ConfigError, match=rf"gandist\.classifier DATA OUT {trained}, then give OUT"):
        open_extractor("classifier", None, SQUARES, CPU)
    other = Video(frames=FRAMES, resolution=SIZE, channels=1, stride=2, fps=8)
    with pytest.raises(DataError, match=r"stride 1, and the run's have .* stride 2, 8 frames a second; train"):
        open_extractor("classifier", folder / "c.safetensors", other, CPU)
    with pytest.raises(DataError, match="was trained on grey clips, and the run's are RGB"):
        open_extractor("classifier", folder / "c.safetensors", Video(frames=FRAMES, resolution=SIZE), CPU)
    with pytest.raises(ConfigError, match=r"torchscript: .*eval\.weights"):
        open_extractor("torchscript", None, SQUARES, CPU)
    with pytest.raises(DataError, match=r"blind\.ts: must return features \(N, F\) for clips \(N, 3, F, H, W\)"):
        open_extractor("torchscript", scripted(tmp_path / "blind.ts", Blind()), SQUARES, CPU)
    condition = object()
    with pytest.raises(ConfigError, match=r"no measure compares clips with their targets; set eval\.every_kimg=null"):
        restored_by("frames", condition, SQUARES)  # type: ignore[arg-type]


def test_a_classifier_of_colour_takes_grey(tmp_path: Path) -> None:
    save(tmp_path / "c.st", ClipClassifier(3, 2), Facts(1, 1, 1, 3, 2, "", "video", frames=FRAMES, stride=1))
    extractor = open_extractor("classifier", tmp_path / "c.st", SQUARES, CPU)
    assert extractor.features(torch.zeros(2, 1, FRAMES, SIZE, SIZE)).shape == (2, extractor.dim)


def test_without_labels(tmp_path: Path) -> None:
    make_squares(tmp_path, labels=False)
    config = config_of(tmp_path, extractor="classifier")
    for refused in (lambda: check_evaluation(config, dataset.open_index(config)), lambda: extractor_of(config, CPU)):
        with pytest.raises(GandistError, match=r"labels|labelled .*; set eval\.weights, or eval\.extractor=frames"):
            refused()
    assert default_extractor(config_of(tmp_path)) == "frames"
    assert default_extractor(config_of(tmp_path, 2)) == "classifier"


def test_ranks_share_the_looking(folder: Path) -> None:
    extractor, found = open_extractor("classifier", folder / "c.safetensors", SQUARES, CPU), rows(0, 7)
    whole, *parts = (
        look_together(extractor, SQUARES, lambda at: found[at], 7, Ranks(rank, world_size, CPU))
        for rank, world_size in ((0, 1), (0, 2), (1, 2))
    )
    for rank, part in enumerate(parts):
        torch.testing.assert_close(part.moves, whole.moves[rank::2])
        torch.testing.assert_close(part.h, whole.h[rank::2], rtol=1e-3, atol=1e-3)


def test_large_clips_are_looked_at_a_few_at_a_time() -> None:
    assert [at_a_time(each) for each in (SQUARES, Video(resolution=128), Image())] == [250, 21, 250]
    assert at_a_time(Video(resolution=256, frames=512)) == 1


class Shown(nn.Module):
    """A generator that shows squares: of the class that it is told, or in turn; or their first frames."""

    def __init__(self, by_class: bool = True, still: bool = False) -> None:
        super().__init__()
        self.by_class, self.still, self.at = by_class, still, 1000

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        numbers = range(self.at, self.at + len(z))
        self.at += len(z)
        labels = [i % 2 for i in numbers] if y is None or not self.by_class else y.tolist()
        found = np.stack([square(i, label) for i, label in zip(numbers, labels, strict=True)])
        return SQUARES.to_network(torch.from_numpy(found[:, :1].repeat(FRAMES, 1) if self.still else found))


@pytest.fixture(scope="module")
def by_class(folder: Path) -> Yardstick:
    config = config_of(folder, 2)
    return yardstick(config, extractor_of(config, CPU, folder / "c.safetensors"), ALONE)


def shown(config: RunConfig, against: Yardstick, G: Shown) -> Result:
    return against.evaluate(Trained(config, G, 7, CPU), N)


def test_motions_are_recognised_and_measured(by_class: Yardstick, folder: Path) -> None:
    config = config_of(folder, 2)
    right, guessed, still = (shown(config, by_class, G) for G in (Shown(), Shown(False), Shown(still=True)))
    assert list(right.measures) == [
        *("fvd-classifier", "kid", "kid_se", "is", "precision", "recall", "density", "coverage"),
        *("memorisation", "ppl", "recognised", *OF_MOTION),
    ]
    assert right.measures["recognised"] > 0.9
    assert 0.2 < guessed.measures["recognised"] < 0.8
    assert right.measures["motion"] == pytest.approx(1, abs=0.2)
    assert (still.measures["motion"], still.measures["motion_spread"], still.measures["frozen"]) == (0, 0, 1)
    assert right.measures["frozen"] == 0
    assert [*right.baselines] == ["real clips, held out", "chance", "real clips"]
    assert right.baselines["real clips"]["motion"] == 1
    assert right.measures["consistency"] == pytest.approx(right.baselines["real clips"]["consistency"], abs=0.1)
    assert right.measures["consistency"] < still.measures["consistency"] == 1
    assert {*names_of_measures(config, "classifier")} == {*right.measures} - {"kid_se", *OF_MOTION}
    assert {f"quality/{name}" for name in right.measures} <= {*reported_by(config)}
    assert {*right.measures} <= {*MEASURES}
    assert "image" not in str(right.protocol)
    assert right.protocol["motion"]["of_real"] == pytest.approx(by_class.motion.mean if by_class.motion else None)


def test_without_classes(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder)
    extractor = open_extractor("torchscript", scripted(tmp_path / "eyes.ts", Eyes()), SQUARES, CPU)
    against = yardstick(config, extractor, ALONE)
    right, still = shown(config, against, Shown()), shown(config, against, Shown(still=True))
    assert list(right.measures) == [
        *("fvd-torchscript", "kid", "kid_se", "precision", "recall", "density", "coverage", "memorisation", "ppl"),
        *OF_MOTION,
    ]
    assert right.measures["fvd-torchscript"] < still.measures["fvd-torchscript"]
    assert still.measures["coverage"] < right.measures["coverage"]
    assert not {"quality/is", "quality/recognised"} & {*reported_by(config)}
    assert not {f"quality/{name}" for name in OF_MOTION} & {*reported_by(validate({}))}


def test_how_real_clips_move_is_kept(by_class: Yardstick, folder: Path) -> None:
    seen: list[int] = []

    def features(x: Tensor) -> Tensor:
        seen.append(len(x))
        return by_class.extractor.features(x)

    again = real_features(config_of(folder, 2), replace(by_class.extractor, features=features), ALONE)
    assert not seen
    assert again.seen.moves.equal(by_class.real.seen.moves)
    assert again.seen.moves.shape == (80, 66)


def test_motion_in_a_comparison(folder: Path) -> None:
    config = config_of(folder, 2)
    measure = OF_COMPARISONS["motion"](config, N, CPU)
    found = [measure.scores(Sampled(Trained(config, Shown(still=each), 7, CPU), N, 0)) for each in (False, True)]
    assert [each["frozen"] for each in found] == [0, 1]
    assert list(measure.real) == list(found[0]) == list(OF_MOTION)
    with pytest.raises(ConfigError, match=r"measures: motion needs clips, and data\.medium is image"):
        OF_COMPARISONS["motion"](validate({}), N, CPU)


def test_the_classifier_in_a_comparison(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_classifier, "fit", partial(clip_classifier.fit, kimg=0.5))
    config = config_of(folder, 2)
    measure = OF_COMPARISONS["fd-classifier"](config, N, CPU)
    scores = measure.scores(Sampled(Trained(config, Shown(), 7, CPU), N, 0))
    assert scores.keys() == measure.real.keys() == {"fvd-classifier"}
    assert measure.protocol["extractor"] == f"classifier of {config.data.path}"
