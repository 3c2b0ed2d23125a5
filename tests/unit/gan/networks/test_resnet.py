"""SRResNet and RRDB: the papers' sizes, the skip from y's image, and steps that are kept."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.networks.resnet import Generator, GeneratorRRDB, ResNetOptions, RRDBOptions, Shuffle
from gandist.gan.networks.sketch import sketched
from gandist.testing import check_channels_last, check_every_parameter_learns, check_pair
from tests.helpers.moved import assert_moves_along

SRRESNET = Shape(128, 3, z_dim=0, width=64, y=(3, 32, 32), options=ResNetOptions(residual=False))
ESRGAN = Shape(128, 3, z_dim=0, width=64, norm="none", y=(3, 32, 32), options=RRDBOptions(blocks=23, residual=False))
BUILDS = {"resnet": Generator, "rrdb": GeneratorRRDB}


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def small(name: str, side: int = 16, channels: int = 3, y_channels: int = 3, **options: Any) -> Shape:
    kind = NETWORKS[name].options(**{"blocks": 2, **options})
    norm = NETWORKS[name].norms_G[0]
    return Shape(32, channels, z_dim=2, width=8, norm=norm, y=(y_channels, side, side), options=kind)


def built(shape: Shape) -> Generator | GeneratorRRDB:
    torch.manual_seed(0)
    return (Generator if isinstance(shape.options, ResNetOptions) else GeneratorRRDB)(shape)


def test_srresnets_size_is_the_papers() -> None:
    """About 1.5 M for x4."""
    with sketched():
        G = Generator(SRRESNET)
        assert G(torch.empty(2, 0), torch.empty(2, 3, 32, 32)).shape == (2, 3, 128, 128)
    ends = (9 * 9 * 3 * 64 + 64 + 1) + (9 * 9 * 64 * 3 + 3)
    blocks = 16 * (2 * (9 * 64 * 64 + 2 * 64) + 1) + (9 * 64 * 64 + 2 * 64)
    shuffled = 2 * (9 * 64 * 256 + 256 + 1)
    assert parameters(G) == ends + blocks + shuffled == 1_547_350
    assert parameters(Generator(SRRESNET._replace(y=(3, 128, 128)))) == 1_547_350 - shuffled, "factor 1"


def test_esrgans_size_is_the_papers() -> None:
    with sketched():
        G = GeneratorRRDB(ESRGAN)
        assert parameters(G) == 16_697_987
        assert G(torch.empty(2, 0), torch.empty(2, 3, 32, 32)).shape == (2, 3, 128, 128)
        assert parameters(GeneratorRRDB(ESRGAN._replace(options=RRDBOptions(blocks=23, growth=16)))) < 16_697_987


def test_shuffle_is_torchs_of_channels_in_another_order() -> None:
    x = torch.randn(2, 12, 3, 5)
    theirs = x.view(2, 4, 3, 3, 5).transpose(1, 2).reshape(2, 12, 3, 5)
    assert torch.equal(Shuffle()(x), nn.functional.pixel_shuffle(theirs, 2))
    assert Shuffle()(x.to(memory_format=torch.channels_last)).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("side", [32, 16, 8, 4])
def test_the_residual_is_added_to_ys_image(name: str, side: int) -> None:
    ours = built(small(name, side)).eval()
    bare = built(small(name, side, residual=False)).eval()
    z, y = torch.randn(2, 2), torch.rand(2, 3, side, side) * 2 - 1
    if isinstance(last := bare.image[-1], nn.Conv2d):
        last.weight.data.mul_(0.01)
    image = F.interpolate(y, size=(32, 32), mode="bicubic") if side < 32 else y
    torch.testing.assert_close(ours(z, y), image + bare(z, y))
    assert float((ours(z, y) - image).detach().abs().mean()) < 0.05, "it begins near y"


@pytest.mark.parametrize("name", BUILDS)
def test_grey_stands_for_all_channels(name: str) -> None:
    G = built(small(name, y_channels=1)).eval()
    for p in G.image.parameters():
        p.data.zero_()
    made = G(torch.randn(2, 2), torch.rand(2, 1, 16, 16))
    assert made.shape == (2, 3, 32, 32)
    assert torch.equal(made[:, 0], made[:, 2])


@pytest.mark.parametrize("name", BUILDS)
def test_channels_that_cannot_be_added_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"images of 2 channels cannot be added to those of 3; set .*residual=false"):
        built(small(name, y_channels=2))
    built(small(name, y_channels=2, residual=False))
    built(small(name, y_channels=5))


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("side", [32, 16, 4])
def test_moves_along(name: str, side: int) -> None:
    """With every step of a pixel: the reach is at most 4 + 2 + 1 + 4 or, of RRDB, 1 + 15 + 1 + 1 + 1."""
    shape = small(name, side, blocks=1)
    assert NETWORKS[name].multiple(shape) == 1
    reach = 21 if name == "rrdb" else 13
    for step in (1, 3):
        assert_moves_along(built(shape), shape, step, reach, side=2 * reach + 8)


@pytest.mark.parametrize("options", [{"discriminator": "unet", "sees_y": False}, {"scales_D": 1, "layers_D": 2}])
def test_other_options(options: dict[str, Any]) -> None:
    check_pair("resnet", small("resnet", **options), [check_channels_last, check_every_parameter_learns])
