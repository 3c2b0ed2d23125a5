"""Extractors: the same few fields behind each name; what they see; what is said where one cannot be had."""

import builtins
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gandist.config.run import RunConfig, validate
from gandist.data import dataset
from gandist.errors import ConfigError, DataError, GandistError
from gandist.evaluation.extractors import default_extractor, open_extractor
from gandist.gan.networks.classifier import SHIPPED, Classifier, Facts, load, save
from gandist.media.image import Image

CPU = torch.device("cpu")
COLOUR = Image(channels=3)


class StandIn(nn.Module):
    """Called as the network of 2015 is, as TorchScript: 12 features and 7 classes in the place of 2048 and 1008."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 4 * 4, 12)
        self.output = nn.Linear(12, 7)

    def forward(
        self, img: Tensor, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False
    ) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(img.to(torch.float32) / 255, (4, 4))
        h: Tensor = self.layer(x.flatten(1)).relu()
        if return_features:
            return h
        if no_output_bias:
            return nn.functional.linear(h, self.output.weight).softmax(dim=1)
        return nn.functional.linear(h, self.output.weight, self.output.bias).softmax(dim=1)


def scripted(path: Path) -> StandIn:
    """A stand-in, written to a file as TorchScript."""
    torch.manual_seed(0)
    net = StandIn()
    torch.jit.script(net).save(str(path))  # type: ignore[no-untyped-call]
    return net


def test_inception_from_torchscript(tmp_path: Path) -> None:
    file = tmp_path / "inception.pt"
    net = scripted(file)
    extractor = open_extractor("inception", file, COLOUR, CPU)
    assert (extractor.name, extractor.distance, extractor.dim, extractor.classes) == ("inception", "fid", 12, 7)
    assert extractor.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    pixels = torch.randint(0, 256, (5, 3, 20, 20), dtype=torch.uint8)
    x = pixels / 127.5 - 1
    with torch.no_grad():
        h = extractor.features(x)
        torch.testing.assert_close(h, net(pixels, return_features=True))
        p = extractor.probabilities(x, h)
        torch.testing.assert_close(p, net(pixels, no_output_bias=True))
        assert not p.allclose(net(pixels)), "the score is that of the network without its last bias"
        grey = extractor.features(x[:, :1])
        torch.testing.assert_close(grey, net(pixels[:, :1].expand(-1, 3, -1, -1), return_features=True))


class OtherNet(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_what_is_no_inception_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--weights"):
        open_extractor("inception", None, COLOUR, CPU)
    with pytest.raises(DataError, match=r"nowhere\.pt: cannot be read"):
        open_extractor("inception", tmp_path / "nowhere.pt", COLOUR, CPU)
    file = tmp_path / "damaged.pt"
    file.write_bytes(b"no TorchScript")
    with pytest.raises(DataError, match=r"damaged\.pt: is not Inception as TorchScript"):
        open_extractor("inception", file, COLOUR, CPU)
    torch.jit.script(OtherNet()).save(str(file))  # type: ignore[no-untyped-call]
    with pytest.raises(DataError, match=r"damaged\.pt: is not Inception as TorchScript"):
        open_extractor("inception", file, COLOUR, CPU)


def test_unknown_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'inception'"):
        open_extractor("incepton", None, COLOUR, CPU)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["classifier", "effnet-lite0"])
def test_the_same_few_fields(name: str, channels: int, capsys: pytest.CaptureFixture[str]) -> None:
    extractor = open_extractor(name, None, Image(channels=channels), CPU)
    assert (extractor.name, extractor.distance) == (name, f"fd-{name}")
    assert len(extractor.sha256) == 64
    x = torch.rand(20, channels, 48, 48) * 2 - 1
    with torch.no_grad():
        h = extractor.features(x)
        p = extractor.probabilities(x, h)
        torch.testing.assert_close(extractor.features(x[:3]), h[:3], rtol=1e-3, atol=1e-3)
    assert h.shape == (20, extractor.dim)
    assert h.dtype == torch.float32
    assert p.shape == (20 * (channels if name == "classifier" else 1), extractor.classes)
    torch.testing.assert_close(p.sum(1), torch.ones(len(p)))
    assert not h.requires_grad
    assert capsys.readouterr().out == "", "the last line of a command's output is its own"


def test_the_shipped_classifier_is_of_the_shipped_images() -> None:
    _, facts = load(SHIPPED)
    config = validate({"data": {"path": "builtin:fashion-10k", "channels": 1}})
    assert facts.data_fingerprint == dataset.open_index(config).fingerprint
    assert facts.accuracy > 0.9


def test_a_grey_classifier_sees_each_channel_by_itself() -> None:
    assert SHIPPED.stat().st_size < 700_000
    grey, colour = (open_extractor("classifier", None, Image(channels=channels), CPU) for channels in (1, 3))
    x = torch.rand(4, 3, 32, 32).to(memory_format=torch.channels_last) * 2 - 1
    apart = torch.cat([grey.features(x[:, c : c + 1]) for c in range(3)], dim=1)
    torch.testing.assert_close(colour.features(x), apart)
    assert colour.dim == 3 * grey.dim
    p = colour.probabilities(x, colour.features(x)).reshape(4, 3, -1)
    torch.testing.assert_close(p[:, 1], grey.probabilities(x[:, 1:2], grey.features(x[:, 1:2])))
    assert not colour.features(x).equal(colour.features(x.flip(1))), "colours count"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_classifier_of_ones_own(tmp_path: Path, channels: int) -> None:
    file = tmp_path / "c.safetensors"
    net = Classifier(3, 4).eval()
    save(file, net, Facts(0.5, 10, 90, 3, 4, "abc"))
    extractor = open_extractor("classifier", file, Image(channels=channels), CPU)
    assert (extractor.dim, extractor.classes) == (128, 4)
    x = torch.rand(4, channels, 64, 64) * 2 - 1
    with torch.no_grad():
        h = extractor.features(x)
        torch.testing.assert_close(h, net.features(x.expand(-1, 3, -1, -1)))
        torch.testing.assert_close(extractor.probabilities(x, h), net(x.expand(-1, 3, -1, -1)).softmax(1))


def test_effnet_with_weights_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    torch.save({"weight": torch.zeros(3)}, file)
    with pytest.raises(DataError, match=r"w\.pth: cannot be read as weights"):
        open_extractor("effnet-lite0", file, COLOUR, CPU)


def test_without_the_packages_of_effnet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_extractor(RunConfig()) == "effnet-lite0"
    imports = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("efficientnet"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return imports(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(GandistError, match=r"pip install 'gandist\[eval\]'"):
        open_extractor("effnet-lite0", None, COLOUR, CPU)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert default_extractor(RunConfig()) == "classifier"
