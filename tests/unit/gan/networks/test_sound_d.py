"""The discriminators of sounds made from spectrograms: published counts, what each net looks at, features, refusals."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.networks.hifigan import HiFiOptions
from gandist.gan.networks.norms import Spectral, WeightNorm, iterate
from gandist.gan.networks.sketch import sketched
from gandist.gan.networks.sound_d import Discriminator, PeriodNet, ResolutionNet, ScaleNet, SoundOptions
from gandist.gan.spectra import Frames, magnitudes
from gandist.testing import CHECKS, check_export, check_pair
from tests.helpers.no_host_sync import Blind

# The first forward-mode derivative of a process imports parts of torch that use its own deprecated jit.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")

SHAPE = Shape(32, 3, z_dim=0, width=4, norm="none", sample=(1, 1024), y=(10, 4))
SMALL: dict[str, Any] = {"periods": (2, 5), "scales_D": 2, "resolutions_D": ((256, 64, 256), (128, 50, 100))}


def built(shape: Shape = SHAPE, **options: Any) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(shape._replace(options=SoundOptions(**options)))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_counts() -> None:
    """41.1 M of periods and 29.6 M of scales at HiFi-GAN's width; UnivNet's has 32 channels throughout."""
    period = [5 * a * b + b for a, b in ((1, 32), (32, 128), (128, 512), (512, 1024), (1024, 1024))]
    scale = [
        kernel * before // groups * after + after
        for before, after, kernel, groups in (
            *((1, 128, 15, 1), (128, 128, 41, 4), (128, 256, 41, 16), (256, 512, 41, 16)),
            *((512, 1024, 41, 16), (1024, 1024, 41, 16), (1024, 1024, 5, 1)),
        )
    ]
    resolution = [27 * 32 + 32, *[27 * 32 * 32 + 32] * 3, 9 * 32 * 32 + 32]
    with sketched():
        for name, expected in (
            ("mpd", 5 * (sum(period) + 3 * 1024)),
            ("msd", 3 * (sum(scale) + 3 * 1024)),
            ("mrd", 3 * (sum(resolution) + 9 * 32)),
        ):
            D = built(SHAPE._replace(sample=(1, 8192)), discriminators=(name,), width_D=32)
            assert parameters(D) == expected
            assert {"mpd": 41_092_160, "msd": 29_610_624}.get(name, expected) == expected


@pytest.mark.parametrize(("period", "length"), [(2, 16), (3, 16), (5, 16), (11, 12), (7, 8)])
def test_periods_fold_the_sound(period: int, length: int) -> None:
    x = torch.arange(2.0 * length).view(2, 1, length)
    seen = PeriodNet(1, 2, period).seen(x)
    padded = nn.functional.pad(x, (0, -length % period), mode="reflect")
    assert torch.equal(seen, torch.stack([padded[..., k::period] for k in range(period)], dim=3))


def test_periods_are_never_mixed() -> None:
    D = built(discriminators=("mpd",), periods=(5,))
    x = torch.randn(1, 1, 100, requires_grad=True)
    (scores,) = D(x)
    (g,) = torch.autograd.grad(scores[0, :, 3].sum(), x)
    assert (g[0, 0].nonzero()[:, 0] % 5 == 3).all()


def test_scales_are_averages() -> None:
    x = torch.randn(2, 1, 64)
    net = ScaleNet(1, 4, 2)
    half = torch.stack([x[:, :, max(0, k - 1) : k + 3].mean(2) for k in range(0, 64, 2)], dim=2)
    quarter = torch.stack([half[:, :, max(0, k - 1) : k + 3].mean(2) for k in range(0, 32, 2)], dim=2)
    torch.testing.assert_close(net.seen(x)[:, :, 0], quarter)


def test_resolutions_are_magnitudes_of_each_channel() -> None:
    x, frames = torch.randn(2, 2, 256), Frames(64, 20, 50)
    seen = ResolutionNet(2, 4, frames).seen(x)
    assert seen.shape == (2, 2, 33, 12)
    for channel in (0, 1):
        torch.testing.assert_close(seen[:, channel], magnitudes(x[:, channel], frames))


def test_scores_and_features_of_all_nets() -> None:
    D = built(discriminators=("mpd", "msd", "mrd"), **SMALL)
    x = torch.randn(2, 1, 1024)
    scores, features = D.scores_and_features(x)
    assert [type(net) for net in D.nets] == [PeriodNet] * 2 + [ScaleNet] * 2 + [ResolutionNet] * 2
    assert len(scores) == 6
    assert len(features) == 2 * 5 + 2 * 7 + 2 * 5
    assert scores[0].shape == (2, 7, 2)
    assert scores[2].shape == (2, 1, 16)
    assert scores[4].shape == (2, 129, 2)
    assert all(torch.equal(*each) for each in zip(scores, D(x, torch.randn(2, 10, 4)), strict=True))
    assert all(f.requires_grad for f in features)
    for net, first in zip(D.nets, (0, 5, 10, 17, 24, 29), strict=True):
        assert torch.equal(net(x)[1][0], features[first])


def test_the_first_scale_has_spectral_norm() -> None:
    D = built(SHAPE._replace(norm="weight"), discriminators=("mpd", "msd"), **SMALL)
    for net in D.nets:
        kind = Spectral if isinstance(net, ScaleNet) and not net.halvings else WeightNorm
        lists = [m for m in net.modules() if isinstance(m, parametrize.ParametrizationList)]
        assert {type(m[0]) for m in lists} == {kind}
        assert len(lists) == sum(isinstance(m, nn.Conv2d) for m in net.modules())
    before = D.nets[2].layers[0].weight.detach().clone()  # type: ignore[union-attr, index]
    iterate(D)
    assert not torch.equal(before, D.nets[2].layers[0].weight)  # type: ignore[union-attr, index]
    plain = built(discriminators=("msd",))
    assert not any(isinstance(m, parametrize.ParametrizationList) for m in plain.modules())


def test_nothing_is_brought_to_the_host() -> None:
    D, x = built(SHAPE._replace(norm="weight"), discriminators=("mpd", "msd", "mrd"), **SMALL), torch.randn(2, 1, 1024)
    D(x)  # windows are made once
    with Blind():  # type: ignore[no-untyped-call]
        torch.autograd.backward(torch.stack([each.mean() for each in D(x)]).sum())


@pytest.mark.parametrize(
    ("length", "options", "words"),
    [
        (8, {"periods": (2, 11)}, "model.options.periods: must be below the 8 samples"),
        (64, {"scales_D": 6}, "model.options.scales_D: too many for sounds of 64 samples"),
        (
            512,
            {"discriminators": ("mrd",)},
            "resolutions_D: .* 512 samples are too short for frames of 2048; set n_fft",
        ),
        (512, {"discriminators": ("mpd", "mpd")}, "a name stands twice; give each once"),
        (512, {"resolutions_D": ((256, 300, 256),)}, "256, 300, 256 are not hop <= window <= n_fft"),
    ],
)
def test_what_does_not_fit_is_refused(length: int, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        built(SHAPE._replace(sample=(1, length)), **options)


@pytest.mark.slow
@pytest.mark.parametrize("norm_D", ["weight", "spectral", "none"])
def test_resolutions_keep_what_is_asked_of_a_pair(norm_D: str) -> None:
    pair = NETWORKS["hifigan"]._replace(norms_D=(norm_D,))
    options = HiFiOptions(strides=(4, 4), dilations=((1,),), block_kernels=(3,), discriminators=("mrd",), **SMALL)
    shape = SHAPE._replace(y=(10, 64), norm="weight", options=options, sample=(2, 1024))
    check_pair(pair, shape, [check for check in CHECKS if check is not check_export])
