"""Generators whose condition is an image: a step of the one is a step of the other."""

import torch

from gandist.gan.networks.from_image import FromImage
from gandist.gan.networks.shape import Shape


def assert_moves_along(G: FromImage, shape: Shape, step: int, reach: int, side: int) -> None:
    """What G makes of y moved by `step` pixels is moved by `factor * step`, `reach` pixels of y from the border on."""
    G = G.double().eval()
    for p in G.parameters():
        p.data += 0.1 * (float(p.detach().std(correction=0)) or 1.0) * torch.randn_like(p)
    generator = torch.Generator().manual_seed(0)
    scene = torch.rand(1, shape.y[0], side + step, side + step, generator=generator, dtype=torch.float64) * 2 - 1
    z = torch.randn(1, shape.z_dim, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        here, there = (G(z, scene[..., k : k + side, k : k + side]) for k in (0, step))
    times, inner = G.factor, slice(G.factor * reach, G.factor * (side - reach - step))
    moved = slice(inner.start + times * step, inner.stop + times * step)
    assert inner.stop > inner.start
    spread = float(here.std())
    torch.testing.assert_close(here[..., moved, moved], there[..., inner, inner], rtol=0, atol=1e-9 * spread)
    assert float((here - there)[..., inner, inner].abs().max()) > 0.01 * spread, "nothing moves"
