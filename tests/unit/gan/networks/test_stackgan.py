"""StackGAN: the paper's sizes, its conditioning augmentation, and the frozen first stage."""

import copy
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from gandist.gan.networks import stackgan
from gandist.gan.networks.shape import Shape
from gandist.gan.networks.stackgan import CODE, ConditioningAugmentation, Generator1, Generator2, latents_1, latents_2

PAPER = Shape(resolution=64, channels=3, z_dim=100, width=64, text_dim=1024, stage_1_resolution=64)
SMALL = Shape(resolution=64, channels=3, z_dim=6, width=4, text_dim=7, stage_1_resolution=32)
BY_CLASS = SMALL._replace(text_dim=0, classes=5)


def build(make: type[nn.Module], shape: Shape) -> nn.Module:
    torch.manual_seed(0)
    return make(shape)


def conditions(shape: Shape, n: int) -> Tensor:
    unit = nn.functional.normalize(torch.randn(n, max(1, shape.text_dim)), dim=1)
    return torch.arange(n) % shape.classes if shape.classes else unit


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def channels(net: nn.Module) -> list[tuple[int, int, int]]:
    """(in, out, kernel) of the convolutions, in order."""
    return [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in net.modules() if isinstance(m, nn.Conv2d)]


def test_counts_of_the_paper_stage_1() -> None:
    with torch.device("meta"):
        G, D = Generator1(PAPER), stackgan.Discriminator(PAPER)
    widths = [1024, 512, 256, 128, 64]
    augmentation = 2 * 1024 * 128
    up = 9 * (sum(a * b for a, b in pairwise(widths)) + 64 * 3)
    assert parameters(G) == augmentation + 16 * (100 + 128) * 1024 + up + 2 * sum(widths)
    down = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 2 * (128 + 256 + 512)
    assert parameters(D) == down + 1024 * 128 + (512 + 128) * 512 + 2 * 512 + 16 * 512


def test_counts_of_the_paper_stage_2() -> None:
    with torch.device("meta"):
        shape = PAPER._replace(resolution=256)
        G, D, G_1 = Generator2(shape), stackgan.Discriminator(shape), Generator1(PAPER)
    assert channels(G.encoder) == [(3, 256, 4), (256, 512, 4)]
    upwards = [(512, 256, 3), (256, 128, 3), (128, 64, 3), (64, 32, 3), (32, 3, 3)]
    assert channels(G.layers) == [(640, 512, 3), *[(512, 512, 3)] * 8, *upwards], "four residual blocks"
    encoder = 16 * (3 * 256 + 256 * 512) + 2 * 512
    residual = 9 * (640 * 512 + 8 * 512 * 512) + 9 * 2 * 512
    up = 9 * (512 * 256 + 256 * 128 + 128 * 64 + 64 * 32 + 32 * 3) + 2 * (256 + 128 + 64 + 32)
    assert parameters(G) - parameters(G_1) == 2 * 1024 * 128 + encoder + residual + up
    widths = [64, 128, 256, 512, 1024, 2048]
    down = 16 * (3 * 64 + sum(a * b for a, b in pairwise(widths))) + 2 * sum(widths[1:])
    assert parameters(D) == down + 1024 * 128 + (2048 + 128) * 2048 + 2 * 2048 + 16 * 2048


@pytest.mark.parametrize("shape", [SMALL, BY_CLASS])
@pytest.mark.parametrize(("make", "latents", "codes"), [(Generator1, latents_1, 1), (Generator2, latents_2, 2)])
def test_each_stage_draws_a_code_of_its_own(
    shape: Shape, make: type[nn.Module], latents: Callable[[Shape], int], codes: int
) -> None:
    assert latents(shape) == 6 + codes * CODE
    y = conditions(shape, 3)
    with torch.autocast("cpu", torch.bfloat16):
        kl = build(make, shape).kl(y)  # type: ignore[operator]
    assert kl.shape == (3,)
    assert kl.dtype == torch.float32


@pytest.mark.parametrize(("small", "large", "blocks"), [(32, 64, 2), (32, 128, 2), (64, 128, 2), (32, 256, 4)])
def test_any_ratio_of_the_stages(small: int, large: int, blocks: int) -> None:
    shape = SMALL._replace(resolution=large, stage_1_resolution=small)
    G = build(Generator2, shape).eval()
    sizes: list[int] = []
    G.layers[0].register_forward_hook(lambda _, args, __: sizes.append(args[0].shape[-1]))  # type: ignore[union-attr, index]
    with torch.no_grad():
        assert G(torch.randn(1, latents_2(shape)), conditions(shape, 1)).shape == (1, 3, large, large)
    assert sizes == [small // 4], "the code joins at a quarter of stage I's size"
    assert sum(isinstance(m, stackgan.Residual) for m in G.modules()) == blocks


def test_a_residual_block_stands_beside_the_identity() -> None:
    block, x = stackgan.Residual(SMALL, 4), torch.randn(2, 4, 8, 8)
    nn.init.zeros_(block.layers[4].weight)  # type: ignore[arg-type]
    torch.testing.assert_close(block(x), x.relu())


def test_without_a_condition_it_is_refused() -> None:
    for make in (Generator1, Generator2, stackgan.Discriminator):
        with pytest.raises(ValueError, match="classes or text_dim"):
            make(SMALL._replace(text_dim=0))


@pytest.mark.parametrize("shape", [SMALL, BY_CLASS])
def test_moments_of_the_code(shape: Shape) -> None:
    augmentation = ConditioningAugmentation(shape)
    y = conditions(shape, 4)
    mu, log_var = augmentation(y)
    assert mu.shape == log_var.shape == (4, CODE)
    assert 0.2 < float(mu.detach().std()) < 0.3
    torch.testing.assert_close(log_var, torch.zeros(4, CODE))
    nn.init.normal_(augmentation.log_var.weight)  # type: ignore[arg-type]
    with torch.no_grad():
        mu, log_var = (moment[:1].double() for moment in augmentation(y))
        augmentation.double()
        codes = augmentation.code(y[:1].double() if shape.text_dim else y[:1], torch.randn(40000, CODE).double())
    sigma = (log_var / 2).exp()
    assert float(((codes.mean(0) - mu) / sigma).abs().max()) < 5 / 200
    torch.testing.assert_close(codes.std(0, keepdim=True), sigma, rtol=0.02, atol=0)


@pytest.mark.parametrize("make", [Generator1, Generator2])
def test_kl_is_that_of_torch(make: type[nn.Module]) -> None:
    G, y = build(make, SMALL), conditions(SMALL, 3)
    nn.init.normal_(G.augmentation.log_var.weight)  # type: ignore[union-attr, arg-type]
    mu, log_var = G.augmentation(y)  # type: ignore[operator]
    own = kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(1)
    torch.testing.assert_close(G.kl(y), own)  # type: ignore[operator]
    G.kl(y).sum().backward()  # type: ignore[operator]
    assert {name for name, p in G.named_parameters() if p.grad is not None} == {
        "augmentation.mu.weight",
        "augmentation.log_var.weight",
    }


def test_stage_1_is_frozen_and_saved() -> None:
    G, y = build(Generator2, SMALL), conditions(SMALL, 3)
    before = copy.deepcopy(G.state_dict())
    for net in (build(Generator2, SMALL), G.eval().train(), copy.deepcopy(G)):
        assert net.training
        assert not any(module.training for module in net.stage_1.modules())  # type: ignore[union-attr]
    z = torch.randn(3, latents_2(SMALL))
    G(z, y).square().mean().backward()
    for name, p in G.named_parameters():
        assert (p.grad is None) == name.startswith("stage_1."), name
    moved = {name for name, value in G.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert not any(name.startswith("stage_1.") for name in moved), moved

    G_1 = Generator1(SMALL._replace(resolution=32)).eval()
    G.load_state_dict({**before, **{f"stage_1.{name}": value for name, value in G_1.state_dict().items()}})
    torch.testing.assert_close(G.stage_1(z[:, :-CODE], y), G_1(z[:, :-CODE], y))  # type: ignore[operator]


def test_each_number_of_z_has_its_place() -> None:
    """The last CODE numbers are stage II's own, the CODE before them stage I's, and the first z: all are heeded."""
    G, y = build(Generator2, SMALL).eval(), conditions(SMALL, 1)
    sketches: list[Tensor] = []
    G.stage_1.register_forward_hook(lambda _, __, out: sketches.append(out))  # type: ignore[union-attr]
    z = torch.randn(1, latents_2(SMALL))
    with torch.no_grad():
        images = [G(z, y)]
        for start, end in ((0, 6), (6, 6 + CODE), (6 + CODE, 6 + 2 * CODE)):
            other = z.clone()
            other[:, start:end] = torch.randn(1, end - start)
            images.append(G(other, y))
    assert not any(torch.equal(images[0], image) for image in images[1:])
    assert [torch.equal(sketches[0], sketch) for sketch in sketches[1:]] == [False, False, True]
    with torch.no_grad():
        augmentation = G.stage_1.augmentation  # type: ignore[union-attr]
        code = augmentation.code(y, z[:, 6 : 6 + CODE])  # type: ignore[union-attr, operator]
        expected = G.stage_1.layers(torch.cat([z[:, :6], code], 1)[:, :, None, None])  # type: ignore[union-attr, operator]
    torch.testing.assert_close(sketches[0], expected)
