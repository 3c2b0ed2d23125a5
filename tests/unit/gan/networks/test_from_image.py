"""What all generators of images from images share: noise, what is known, and building without the compiler."""

import pytest
import torch

from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.networks.from_image import planes
from gandist.testing import Case, cases
from tests.helpers.scripts import python

PAIRS = [name for name, pair in NETWORKS.items() if pair.medium == "image" and "sample" in pair.conditions]


def test_noise_is_repeated_over_the_image() -> None:
    z, y = torch.randn(2, 3), torch.randn(2, 1, 4, 6, dtype=torch.float64)
    made = planes(z, y)
    assert made.shape == (2, 3, 4, 6)
    assert made.dtype == torch.float64
    assert torch.equal(made, z.double()[:, :, None, None].expand(2, 3, 4, 6))


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "autoencoder"])  # whose code has noise, or none
def test_noise_is_heeded_and_may_be_left_out(name: str) -> None:
    noisy = next(cases(NETWORKS[name]))
    G = noisy.build()[0].eval()
    z, y, _ = noisy.inputs(n=2)
    assert y is not None
    one, other = G(z, y[:1].expand_as(y)).detach()
    assert float((one - other).abs().max()) > 1e-4 * float(one.abs().max())
    silent = noisy._replace(shape=noisy.shape._replace(z_dim=0))
    assert silent.build()[0](torch.empty(2, 0), y).shape[0] == 2


@pytest.mark.parametrize("name", PAIRS)
def test_outside_of_the_hole_nothing_learns(name: str) -> None:
    pair = NETWORKS[name]
    case = Case(pair, Shape(32, 3, z_dim=0, width=8, norm=pair.norms_G[0], y=(4, 32, 32), masked=True), "none")
    (G, _), (z, y, _) = case.build(), case.inputs(n=2)
    assert y is not None
    y.requires_grad_()
    hole = y[:, -1:] > 0.5
    made = G(z, y)
    (g,) = torch.autograd.grad(torch.where(hole, 0.0, made).sum(), y)
    assert torch.equal(g[:, :3], (~hole).float().expand(-1, 3, -1, -1))


@pytest.mark.parametrize("name", PAIRS)
def test_one_channel_of_images_is_filled(name: str) -> None:
    pair = NETWORKS[name]
    shape = Shape(32, 1, z_dim=0, width=8, norm=pair.norms_G[0], y=(2, 32, 32), masked=True)
    (G, D), (z, y, x) = (Case(pair, shape, pair.norms_D[0]).build(), Case(pair, shape, "none").inputs(n=2))
    assert G(z, y).shape == x.shape
    assert D(x, y).shape[0] == 2


SKETCHES = """
import sys
from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.networks.sketch import sketched
shape = Shape(64, 3, z_dim=0, width=8, y=(3, 64, 64))
with sketched():
    for name, pair in NETWORKS.items():
        if pair.medium == "image" and "sample" in pair.conditions:
            for norm in pair.norms_D:
                for kind in ("patch", "unet"):
                    options = pair.options(discriminator=kind)
                    pair.discriminator(shape._replace(norm=norm, options=options))
            for norm in pair.norms_G:
                pair.generator(shape._replace(norm=norm))
found = {"torch._dynamo", "sympy"} & set(sys.modules)
assert not found, found
"""


def test_building_on_the_meta_device_imports_no_compiler() -> None:
    done = python("-c", SKETCHES)
    assert done.returncode == 0, done.stderr
