"""What turns sounds into features: the fields of each, distances that mean something, and what is refused."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gandist.config.run import RunConfig
from gandist.config.sections import DataSection, EvalSection, ModelSection
from gandist.data import dataset
from gandist.errors import ConfigError, DataError, GandistError
from gandist.evaluation import sound_classifier
from gandist.evaluation.evaluator import check_evaluation, extractor_of
from gandist.evaluation.extractor import Extractor
from gandist.evaluation.extractors import default_extractor, open_extractor
from gandist.evaluation.features import look
from gandist.evaluation.statistics import distance_of
from gandist.gan.networks.classifier import Facts, save
from gandist.gan.networks.sound_classifier import SoundClassifier
from gandist.media.audio import Audio
from gandist.media.image import Image
from tests.helpers.tones import RATE, SAMPLES, SOUNDS, make_tones, tone

CPU = torch.device("cpu")
TONES = Audio(sample_rate=RATE, samples=SAMPLES)


class Ears(nn.Module):
    """In the place of CLAP: 5 features of sounds (N, T)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(len(x), 5, -1).std(2) if x.shape[1] % 5 == 0 else x[:, :5].abs()


class Deaf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 0]


def scripted(path: Path, net: nn.Module) -> Path:
    torch.jit.script(net).save(str(path))  # type: ignore[no-untyped-call]
    return path


def config_of(folder: Path, **evaluation: object) -> RunConfig:
    data = DataSection.model_validate({**SOUNDS, "path": str(folder / "tones"), "cache_dir": str(folder / "cache")})
    measured = EvalSection.model_validate({"every_kimg": 1, **evaluation})
    config = RunConfig().model_copy(update={"data": data, "eval": measured})
    return config.model_copy(update={"train": config.train.model_copy(update={"batch": 8})})


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two tones a semitone apart."""
    folder = tmp_path_factory.mktemp("classifier")
    make_tones(folder, 60)
    save(folder / "c.safetensors", *sound_classifier.fit(config_of(folder).data, kimg=1.5))
    return folder / "c.safetensors"


@pytest.fixture(params=["classifier", "bands", "torchscript"])
def extractor(request: pytest.FixtureRequest, classifier: Path, tmp_path: Path) -> Extractor:
    weights = {"classifier": classifier, "torchscript": scripted(tmp_path / "ears.ts", Ears()), "bands": None}
    return open_extractor(request.param, weights[request.param], TONES, CPU)


def test_the_same_few_fields(extractor: Extractor) -> None:
    assert extractor.distance == f"fad-{extractor.name}"
    assert len(extractor.sha256) == (0 if extractor.name == "bands" else 64)
    x = TONES.to_network(torch.from_numpy(np.stack([tone(i, 0) for i in range(20)])))
    h = extractor.features(x)
    p = extractor.probabilities(x, h)
    torch.testing.assert_close(extractor.features(x[:3]), h[:3], rtol=1e-3, atol=1e-3)
    assert (h.shape, p.shape) == ((20, extractor.dim), (20, extractor.classes))
    assert h.dtype == torch.float32
    assert not h.requires_grad
    torch.testing.assert_close(extractor.features(x.expand(-1, 2, -1)), h, msg="channels are averaged")


@pytest.mark.parametrize("name", ["classifier", "bands"])
def test_another_pitch_is_further_away(name: str, classifier: Path) -> None:
    extractor = open_extractor(name, classifier if name == "classifier" else None, TONES, CPU)

    def moments(first: int, semitones: float) -> object:
        rows = np.stack([tone(first + i, semitones) for i in range(80)])
        return look(extractor, TONES, [rows], len(rows), CPU).moments

    real = moments(0, 0)
    same, next_to, fifth = (distance_of(real, moments(500, by)) for by in (0, 1, 7))  # type: ignore[arg-type]
    assert 0 < same < next_to
    assert same < fifth
    assert next_to > 1.5 * same
    if name == "bands":
        assert next_to < fifth, "a classifier knows nothing of a fifth"


def test_classes_are_recognised(classifier: Path) -> None:
    recogniser = open_extractor("classifier", classifier, TONES, CPU).recogniser
    assert recogniser is not None
    assert (recogniser.classes, recogniser.accuracy) == (2, 1.0)
    rows = np.stack([tone(500 + i, i % 2) for i in range(20)])
    h = look(open_extractor("classifier", classifier, TONES, CPU), TONES, [rows], 20, CPU).h
    assert recogniser.classes_of(h).tolist() == [0, 1] * 10
    assert open_extractor("bands", None, TONES, CPU).recogniser is None


def test_silence_and_noise_have_features() -> None:
    features = open_extractor("bands", None, TONES, CPU).features
    silence, noise = torch.zeros(1, 1, SAMPLES), 0.1 * torch.randn(1, 1, SAMPLES)
    assert features(silence).isfinite().all()
    assert features(silence)[0, -1] == 0
    assert (features(noise) - features(silence)).norm() > 10


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="inception is not for sounds; choose one of classifier, bands, torchscript"):
        open_extractor("inception", None, TONES, CPU)
    with pytest.raises(ConfigError, match="bands is not for images"):
        open_extractor("bands", None, Image(), CPU)
    with pytest.raises(ConfigError, match="did you mean 'bands'"):
        open_extractor("band", None, TONES, CPU)
    with pytest.raises(ConfigError, match=r"gandist\.classifier DATA OUT --sample-rate 8000 --samples 2048"):
        open_extractor("classifier", None, TONES, CPU)
    save(
        path := tmp_path / "c.safetensors",
        SoundClassifier(16_000, 64, 3),
        Facts(1, 1, 1, 1, 3, "", "audio", 16_000, 64),
    )
    with pytest.raises(
        DataError, match=r"c\.safetensors: was trained on sounds at 16000 Hz, and the run's are at 8000 Hz"
    ):
        open_extractor("classifier", path, TONES, CPU)
    with pytest.raises(ConfigError, match="bands: has no weights"):
        open_extractor("bands", path, TONES, CPU)
    with pytest.raises(ConfigError, match=r"torchscript: .*eval\.weights"):
        open_extractor("torchscript", None, TONES, CPU)
    with pytest.raises(DataError, match=r"c\.safetensors: does not take sounds"):
        open_extractor("torchscript", path, TONES, CPU)
    with pytest.raises(DataError, match=r"deaf\.ts: does not take sounds \(2, 2048\)"):
        open_extractor("torchscript", scripted(tmp_path / "deaf.ts", Deaf()), TONES, CPU)


def test_a_run_trains_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tones(tmp_path)
    monkeypatch.setattr(sound_classifier, "fit", partial(sound_classifier.fit, kimg=0.1))
    config = config_of(tmp_path, extractor="classifier")
    check_evaluation(config, dataset.open_index(config))
    assert not list((tmp_path / "cache").rglob("*.safetensors")), "a check trains nothing"
    extractor = extractor_of(config, CPU)
    (kept,) = (tmp_path / "cache" / "classifiers").glob("*.safetensors")
    assert extractor.sha256 == extractor_of(config, CPU, weights=kept).sha256
    assert extractor.recogniser is not None


def test_without_labels(tmp_path: Path) -> None:
    make_tones(tmp_path, labels=False)
    config = config_of(tmp_path, extractor="classifier")
    for refused in (lambda: check_evaluation(config, dataset.open_index(config)), lambda: extractor_of(config, CPU)):
        with pytest.raises(GandistError, match=r"eval\.extractor: classifier: data\.path: .*; set eval\.weights, or"):
            refused()
    config = config_of(tmp_path)
    check_evaluation(config, dataset.open_index(config))
    assert extractor_of(config, CPU).name == "bands"


def test_the_default() -> None:
    config = RunConfig().model_copy(update={"data": DataSection.model_validate(SOUNDS)})
    assert default_extractor(config) == "bands"
    by_class = config.model_copy(update={"model": ModelSection(classes=12)})
    assert default_extractor(by_class) == "classifier"


def test_backwards_is_another_sound() -> None:
    features = open_extractor("bands", None, TONES, CPU).features
    x = 0.5 * torch.sin(2 * math.pi * 440 * torch.arange(SAMPLES) / RATE) * torch.linspace(1, 0.01, SAMPLES)
    forwards, backwards = features(x[None, None]), features(x.flip(0)[None, None])
    changed = (forwards - backwards).abs().chunk(4, dim=1)
    assert changed[3].max() > 0.3
    assert max(float(each.max()) for each in changed[:3]) < 0.1


def test_loudness_is_told_apart() -> None:
    """Half as loud is 6 dB in each band that is not silent."""
    features = open_extractor("bands", None, TONES, CPU).features
    x = 0.5 * torch.sin(2 * math.pi * 440 * torch.arange(SAMPLES) / RATE)[None, None]
    band = int((features(x) - features(0.5 * x))[0, : extractor_bands()].abs().argmax())
    difference = (features(x) - features(0.5 * x))[0, band]
    assert difference == pytest.approx(math.log10(2), abs=1e-3)


def extractor_bands() -> int:
    return open_extractor("bands", None, TONES, CPU).dim // 4
