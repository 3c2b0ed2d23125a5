"""Networks whose features compare images: what a distance has to be, where gradients go, and what is refused."""

import builtins
import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gandist.config.run import validate
from gandist.data import dataset
from gandist.errors import DataError, GandistError
from gandist.gan.networks.classifier import SHIPPED, load
from gandist.gan.perceptual import EFFNET_LAYERS, Features, load_effnet, open_features
from tests.helpers.no_host_sync import Blind

CPU = torch.device("cpu")


class StandIn(nn.Module):
    """Two layers of features, with statistics that evaluation must leave alone."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.coarse = nn.Conv2d(8, 12, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.norm(self.fine(x)).relu()
        return h, self.coarse(h)


class Single(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.layer(x.mean((2, 3)))
        return h


class Listed(StandIn):
    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        h = self.norm(self.fine(x)).relu()
        return [h, self.coarse(h)]


def scripted(path: Path, net: nn.Module) -> str:
    torch.jit.script(net).save(str(path))  # type: ignore[no-untyped-call]
    return str(path)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    return scripted(tmp_path_factory.mktemp("features") / "stand-in.pt", StandIn())


@pytest.fixture(scope="module", params=["effnet-lite0", "classifier", "torchscript"])
def features(request: pytest.FixtureRequest, stand_in: str) -> Features:
    return open_features(stand_in if request.param == "torchscript" else request.param, CPU)


@pytest.fixture(scope="module")
def garments() -> Tensor:
    """(6, 1, 28, 28) in [-1, 1]."""
    config = validate({"data": {"path": "builtin:fashion-10k", "channels": 1}})
    images, _ = dataset.open_set(config, dataset.open_index(config)).gather(np.arange(6))
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1


def noise_like(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def blurred(x: Tensor, sigma: float) -> Tensor:
    at = torch.arange(-9, 10.0)
    kernel = torch.softmax(-at.square() / (2 * sigma**2), 0)
    x = nn.functional.pad(x, (9, 9, 9, 9), mode="replicate")
    return nn.functional.conv2d(nn.functional.conv2d(x, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def test_equal_images_are_at_no_distance(features: Features, garments: Tensor) -> None:
    assert features.distance(garments, garments).equal(torch.zeros(6))
    assert features.l1(garments, garments).equal(torch.zeros(()))
    a, b = garments[:3], garments[3:]
    assert features.distance(a, b).shape == (3,)
    assert bool((features.distance(a, b) > 0).all())
    torch.testing.assert_close(features.distance(a, b), features.distance(b, a))
    torch.testing.assert_close(features.l1(a, b), features.l1(b, a))


def test_distances_grow_with_blur_and_noise(features: Features, garments: Tensor) -> None:
    noise = noise_like(garments)
    for ladder in (
        [garments + by * noise for by in (0.02, 0.1, 0.4)],
        [blurred(garments, sigma) for sigma in (0.5, 1.0, 2.0)],
    ):
        distances = [features.distance(worse, garments) for worse in ladder]
        assert all(bool((less < more).all()) for less, more in itertools.pairwise(distances))
        l1 = [float(features.l1(worse, garments)) for worse in ladder]
        assert l1 == sorted(l1)


def test_gradients_flow_into_the_image_alone(features: Features, garments: Tensor) -> None:
    """A step along the gradient brings the image nearer, and opening a network once more finds the same weights."""
    before = features.maps(garments)
    assert not any(h.requires_grad for h in before), "weights are frozen"
    x = (garments + 0.3 * noise_like(garments)).requires_grad_()
    losses: list[Callable[[Tensor], Tensor]] = [
        lambda x: features.distance(x, garments).sum(),
        lambda x: features.l1(x, garments),
    ]
    for loss in losses:
        (g,) = torch.autograd.grad(loss(x), x)
        assert bool((g.flatten(1).norm(dim=1) > 0).all())
        assert loss(x.detach() - 0.01 * g / g.square().mean().sqrt()) < loss(x.detach())
    after = features.maps(garments)
    assert all(p.equal(q) for p, q in zip(before, after, strict=True)), "no statistics are updated"


def test_gradients_are_finite_where_features_are_zero(tmp_path: Path) -> None:
    net = StandIn()
    nn.init.zeros_(net.fine.weight)
    nn.init.constant_(net.fine.bias, -1.0)  # type: ignore[arg-type]
    features = open_features(scripted(tmp_path / "zero.pt", net), CPU)
    x = torch.zeros(2, 3, 16, 16, requires_grad=True)
    (g,) = torch.autograd.grad(features.distance(x, torch.ones(2, 3, 16, 16)).sum(), x)
    assert bool(g.isfinite().all())


def test_the_same_in_any_batch(features: Features, garments: Tensor) -> None:
    x, y = garments, garments.flip(0)
    together = features.distance(x, y)
    apart = torch.cat([features.distance(x[i : i + 1], y[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("px", [28, 80])
def test_grey_is_rgb_of_equal_channels(features: Features, garments: Tensor, px: int) -> None:
    x = nn.functional.interpolate(garments, (px, px), mode="bilinear")
    y = blurred(x, 1.0)
    grey = features.distance(x, y)
    colour = features.distance(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1))
    torch.testing.assert_close(grey, colour, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.l1(x, y), features.l1(x.repeat(1, 3, 1, 1), y.repeat(1, 3, 1, 1)))


def test_autocast_changes_precision_alone(features: Features, garments: Tensor) -> None:
    x, y = garments, blurred(garments, 2.0)
    expected = features.distance(x, y)
    with torch.autocast("cpu", torch.bfloat16):
        found, l1 = features.distance(x, y), features.l1(x, y)
    assert found.dtype == l1.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.01)


def test_no_value_leaves_the_device(features: Features, garments: Tensor) -> None:
    x = garments.clone().requires_grad_()
    y = blurred(garments, 1.0)
    features.l1(x, y)  # constants are made once
    with Blind():  # type: ignore[no-untyped-call]
        loss = features.l1(x, y) + features.distance(x, y).mean()
        torch.autograd.grad(loss, x)


def test_a_first_use_in_inference_mode_does_not_spoil_training() -> None:
    features = open_features("classifier", CPU)
    x = torch.rand(2, 1, 19, 23)  # a size that no other test has
    with torch.inference_mode():
        features.maps(x)
    x.requires_grad_()
    features.l1(x, torch.zeros(2, 1, 19, 23)).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None


def test_layers_of_effnet() -> None:
    """The blocks' own outputs, up to rounding, at four strides; small images are enlarged to 64 pixels."""
    features = open_features("effnet-lite0", CPU)
    net, sha256 = load_effnet()
    assert features.sha256 == sha256
    for height, width, seen in ((28, 28, (64, 64)), (32, 48, (64, 96)), (96, 64, (96, 64))):
        x = torch.rand(2, 3, height, width) * 2 - 1
        shapes = [(h.shape[2], h.shape[3]) for h in features.maps(x)]
        assert shapes == [(seen[0] // stride, seen[1] // stride) for stride in (2, 4, 8, 16)]
        h, expected = nn.functional.interpolate(x, seen, mode="bilinear"), []
        h = net._swish(net._bn0(net._conv_stem(h)))
        for block in net._blocks:
            h = block(h)
            expected.append(h)
        for found, layer in zip(features.maps(x), EFFNET_LAYERS, strict=True):
            torch.testing.assert_close(found, expected[layer], rtol=1e-3, atol=1e-3)


def test_layers_of_the_classifier() -> None:
    features, (net, _) = open_features("classifier", CPU), load(SHIPPED)
    x = torch.rand(2, 1, 32, 32) * 2 - 1
    with torch.no_grad():
        for found, end in zip(features.maps(x), (3, 7, 11), strict=True):
            torch.testing.assert_close(found, net.body[:end](x), rtol=1e-4, atol=1e-4)
    assert [h.shape[1:] for h in features.maps(torch.zeros(2, 3, 64, 64))] == [
        (48, 64, 64),
        (96, 32, 32),
        (192, 16, 16),
    ]


def test_torchscript(stand_in: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = StandIn().eval()
    x, y = torch.rand(2, 4, 3, 20, 20) * 2 - 1
    features = open_features(stand_in, CPU)
    assert features.name == stand_in
    assert features.sha256 == hashlib.sha256(Path(stand_in).read_bytes()).hexdigest()
    with torch.no_grad():
        pairs = list(zip(net(x), net(y), strict=True))
    unit = nn.functional.normalize
    expected = torch.stack([(unit(p) - unit(q)).square().sum(1).mean((1, 2)) for p, q in pairs]).sum(0)
    torch.testing.assert_close(features.distance(x, y), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.l1(x, y), torch.stack([(p - q).abs().mean() for p, q in pairs]).mean())
    listed = Listed()
    listed.load_state_dict(net.state_dict())
    again = open_features(scripted(tmp_path / "listed.pt", listed), CPU)
    torch.testing.assert_close(again.distance(x, y), features.distance(x, y))


def test_torchscript_with_one_vector_an_image(tmp_path: Path) -> None:
    net = Single()
    features = open_features(scripted(tmp_path / "single.pt", net), CPU)
    x, y = torch.rand(2, 4, 3, 20, 20)
    unit = nn.functional.normalize
    with torch.no_grad():
        torch.testing.assert_close(
            features.distance(x, y), (unit(net(x)) - unit(net(y))).square().sum(1), rtol=1e-4, atol=1e-5
        )


@pytest.mark.filterwarnings("ignore:`torch.jit.freeze` is deprecated:DeprecationWarning")
def test_frozen_torchscript(stand_in: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    frozen = torch.jit.freeze(torch.jit.script(StandIn().eval()))
    frozen.save(str(tmp_path / "frozen.pt"))
    x, y = torch.rand(2, 4, 3, 20, 20)
    found = open_features(str(tmp_path / "frozen.pt"), CPU).distance(x, y)
    torch.testing.assert_close(found, open_features(stand_in, CPU).distance(x, y))


class Scores(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))


class Grey(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.layer(x)
        return h


def test_what_has_no_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"effnet: cannot be read: .*one of effnet-lite0, classifier"):
        open_features("effnet", CPU)
    file = tmp_path / "f.pt"
    file.write_bytes(b"no TorchScript")
    with pytest.raises(DataError, match=r"f\.pt: cannot be read as TorchScript"):
        open_features(str(file), CPU)
    with pytest.raises(DataError, match=r"f\.pt: must return features \(N, channels, \.\.\.\)"):
        open_features(scripted(file, Scores()), CPU)
    with pytest.raises(DataError, match=r"f\.pt: does not take images \(2, 3, 64, 64\)"):
        open_features(scripted(file, Grey()), CPU)


def test_without_the_packages_of_effnet(monkeypatch: pytest.MonkeyPatch) -> None:
    imports = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("efficientnet"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return imports(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(GandistError, match=r"pip install 'gandist\[eval\]'"):
        open_features("effnet-lite0", CPU)
