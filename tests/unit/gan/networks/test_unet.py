"""The U-Net pair: pix2pix's size and layers, and what is not its discriminator's."""

import pytest
import torch
from torch import nn

from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.networks.from_image import factor
from gandist.gan.networks.sketch import sketched
from gandist.gan.networks.unet import Generator, UNetOptions, levels, multiple
from gandist.testing import check_pair, check_shapes
from tests.helpers.moved import assert_moves_along

PAPER = Shape(256, 3, z_dim=0, width=64, y=(3, 256, 256), options=UNetOptions(levels=8))
SMALL = Shape(32, 3, z_dim=2, width=4, y=(3, 32, 32))


def test_size_at_256_pixels_is_the_papers() -> None:
    with sketched():
        G = Generator(PAPER)
        assert G(torch.empty(2, 0), torch.empty(2, 3, 256, 256)).shape == (2, 3, 256, 256)
    assert sum(p.numel() for p in G.parameters()) == 54_413_955
    down = [m.out_channels for m in G.modules() if isinstance(m, nn.Conv2d)]
    up = [(m.in_channels, m.out_channels) for m in G.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert down == [64, 128, 256, *[512] * 5]
    assert up == [(512, 512), *[(1024, 512)] * 3, (1024, 256), (512, 128), (256, 64), (128, 3)]


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_by_default_it_goes_down_to_4x4(resolution: int) -> None:
    shape = SMALL._replace(resolution=resolution, y=(3, resolution, resolution))
    assert resolution >> levels(shape) == 4
    assert multiple(shape) == resolution // 4
    assert multiple(shape._replace(y=(3, resolution // 8, resolution // 8))) == resolution // 32


def test_one_level_has_no_skip() -> None:
    check_pair("unet", SMALL._replace(options=UNetOptions(levels=1)), checks=[check_shapes])


def test_moves_along() -> None:
    shape = SMALL._replace(options=UNetOptions(levels=2))
    torch.manual_seed(0)
    assert multiple(shape) == 4
    assert_moves_along(Generator(shape), shape, step=4, reach=20, side=64)


def test_noise_is_heeded() -> None:
    torch.manual_seed(0)
    G, y = Generator(SMALL), torch.randn(1, 3, 32, 32).expand(2, -1, -1, -1)
    one, other = G(torch.randn(2, 2), y).detach()
    assert float((one - other).abs().mean()) > 0.01 * float(one.abs().mean())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"y": (3, 10, 10)}, "not 1, 2, 4 or 8 times as large as 10"),
        ({"y": (3, 32, 16)}, "square images"),
        ({"y": ()}, "square images"),
        ({"y": (3, 32, 32), "masked": True}, r"\(3 \+ 1, H, W\)"),
        ({"y": (4, 16, 16), "masked": True}, r"\(3 \+ 1, H, W\)"),
        ({"options": UNetOptions(levels=6)}, "not halved 6 times"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NETWORKS["unet"].generator(SMALL._replace(**fields))  # type: ignore[arg-type]


def test_options_of_another_pair_are_refused() -> None:
    with pytest.raises(TypeError, match="not UNetOptions"):
        Generator(SMALL._replace(options=NETWORKS["mlp"].options()))


def test_factor() -> None:
    assert [factor(SMALL._replace(y=(3, side, side))) for side in (32, 16, 8, 4)] == [1, 2, 4, 8]
