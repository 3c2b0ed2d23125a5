"""HiFi-GAN's generator: published counts, strides, weight norm, any number of frames."""

import copy
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn.utils.parametrizations import weight_norm as torchs_weight_norm

from gandist.gan.networks import Shape
from gandist.gan.networks.hifigan import Block, Generator, HiFiOptions
from gandist.gan.networks.norms import weight_norm
from gandist.gan.networks.sketch import sketched
from tests.helpers.no_host_sync import Blind

PAPER = Shape(32, 3, z_dim=0, width=32, norm="none", sample=(1, 8192), y=(80, 32))
V3: dict[str, Any] = {
    "strides": (8, 8, 4),
    "block": 2,
    "block_kernels": (3, 5, 7),
    "dilations": ((1, 2), (2, 6), (3, 12)),
}
SMALL: dict[str, Any] = {"strides": (4, 2), "block_kernels": (3, 5), "dilations": ((1, 3), (2,))}
SHAPE = PAPER._replace(width=4, sample=(1, 64), y=(10, 8))


def built(shape: Shape = SHAPE, **options: Any) -> Generator:
    torch.manual_seed(0)
    return Generator(shape._replace(options=HiFiOptions(**(options or SMALL))))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("width", "options", "count", "published"),
    [
        (32, {"block": 1}, 13_926_017, "13.92"),
        (8, {"block": 1}, 925_985, "0.92"),
        (32, V3, 1_462_273, "1.46"),
    ],
    ids=["V1", "V2", "V3"],
)
def test_counts_are_the_published_ones(width: int, options: dict[str, Any], count: int, published: str) -> None:
    """In millions, truncated, without the gains of weight norm: one for each row."""
    with sketched():
        plain, normed = (built(PAPER._replace(width=width, norm=norm), **options) for norm in ("none", "weight"))
        assert plain(torch.empty(2, 0), torch.empty(2, 80, 7)).shape == (2, 1, 7 * 256)
    assert parameters(plain) == count
    assert f"{count // 10_000 / 100:.2f}" == published
    rows = sum(m.weight.shape[0] for m in normed.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))
    assert parameters(normed) == count + rows


@pytest.mark.parametrize(
    ("strides", "kernels"), [((4, 2), ()), ((4, 2), (4, 2)), ((4, 2), (7, 5)), ((3, 5), ()), ((3, 5), (3, 12))]
)
def test_strides_and_kernels(strides: tuple[int, ...], kernels: tuple[int, ...]) -> None:
    length = 8 * strides[0] * strides[1]
    G = built(SHAPE._replace(sample=(2, length)), strides=strides, kernels=kernels)
    y = torch.randn(3, 10, 8)
    assert G(torch.empty(3, 0), y).shape == (3, 2, length)
    found = [layer.kernel_size[1] for layer in G.ups if isinstance(layer, nn.ConvTranspose2d)]
    assert found == list(kernels or (2 * stride for stride in strides))


@pytest.mark.parametrize("undilated", [True, False])
def test_blocks_are_the_papers(undilated: bool) -> None:
    torch.manual_seed(0)
    block, x = Block(4, 3, (1, 3), undilated), torch.randn(2, 4, 1, 20)
    expected = x
    for step, dilation in zip(block.steps, (1, 3), strict=True):
        assert isinstance(step, nn.ModuleList)
        h = expected
        for layer, width in zip(step, (dilation, 1), strict=False):
            assert isinstance(layer, nn.Conv2d)
            h = nn.functional.leaky_relu(h, 0.1)[:, :, 0]
            weight = layer.weight[:, :, 0]
            h = nn.functional.conv1d(h, weight, layer.bias, padding="same", dilation=width)[:, :, None]
        expected = expected + h
        assert len(step) == 1 + undilated
    torch.testing.assert_close(block(x), expected)


def test_a_frame_more_changes_the_sound_nearby_alone() -> None:
    """All is convolution: a longer spectrogram is the same sound, but for the end."""
    G, y = built().eval(), torch.randn(1, 10, 60)
    none = torch.empty(1, 0)
    with torch.no_grad():
        short, long = G(none, y[..., :40]), G(none, y)
    torch.testing.assert_close(long[..., : 20 * 8], short[..., : 20 * 8])
    assert not torch.allclose(long[..., 39 * 8 : 40 * 8], short[..., 39 * 8 :])


def test_noise_is_repeated_over_the_frames() -> None:
    G, (z, other) = built(SHAPE._replace(z_dim=3)), torch.randn(2, 2, 3)
    y = torch.randn(2, 10, 8)
    assert G.first.in_channels == 13
    assert not torch.allclose(G(z, y), G(other, y))
    planes = torch.cat([y, z[:, :, None].expand(-1, -1, 8)], 1)
    G.first.register_forward_pre_hook(lambda _, inputs: torch.testing.assert_close(inputs[0][:, :, 0], planes))
    G(z, y)


def test_sounds_are_not_rounded_under_autocast() -> None:
    G, none, y = built(), torch.empty(2, 0), torch.randn(2, 10, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        made = G(none, y)
    assert made.dtype == torch.float32
    assert (made != made.bfloat16()).float().mean() > 0.9
    torch.testing.assert_close(made, G(none, y).detach(), atol=0.02 * float(made.abs().max()), rtol=0.05)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_weight_norm_is_torchs(kind: type[nn.Conv2d | nn.ConvTranspose2d]) -> None:
    torch.manual_seed(0)
    ours, x = kind(4, 6, (1, 3)), torch.randn(2, 4, 1, 9)
    theirs, plain = torchs_weight_norm(copy.deepcopy(ours)), ours(x)
    weight_norm(ours, "weight")
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    torch.testing.assert_close(ours(x), plain, msg="nothing has changed at first")
    for name, p in ours.named_parameters():
        p.data += 0.1 * torch.randn_like(p)
        theirs.get_parameter(name).data.copy_(p.data)
    for net in (ours, theirs):
        net(x).square().sum().backward()
    torch.testing.assert_close(ours(x), theirs(x))
    for name, p in ours.named_parameters():
        torch.testing.assert_close(p.grad, theirs.get_parameter(name).grad, rtol=1e-5, atol=1e-5)


def test_weight_normed_networks_are_copied_and_stored() -> None:
    G, y = built(SHAPE._replace(norm="weight")), torch.randn(2, 10, 8)
    none, average = torch.empty(2, 0), copy.deepcopy(G).requires_grad_(False)
    for p in G.parameters():
        p.data += 0.1 * torch.randn_like(p)
    assert not torch.allclose(G(none, y), average(none, y)), "the copy has weights of its own"
    average.load_state_dict(load(save({name: each.contiguous() for name, each in G.state_dict().items()})))
    assert torch.equal(G(none, y), average(none, y))


def test_nothing_is_brought_to_the_host() -> None:
    G, none, y = built(SHAPE._replace(norm="weight")), torch.empty(2, 0), torch.randn(2, 10, 8)
    with Blind():  # type: ignore[no-untyped-call]
        torch.autograd.backward(G(none, y).sum())


@pytest.mark.parametrize(
    ("fields", "options", "words"),
    [
        ({"sample": (1, 128)}, SMALL, r"hifigan makes 8 samples of each frame, .* model.options.strides.* 128 samples"),
        ({"y": (1, 64, 64)}, SMALL, "set condition.kind=mel and condition.options.hop"),
        ({}, {"strides": (8, 8)}, "makes 64 samples"),
        ({}, SMALL | {"kernels": (8,)}, "2 strides need as many kernels, not 1"),
        ({}, SMALL | {"kernels": (8, 1)}, "kernels: 1 leaves gaps at a stride of 2; set at least 2"),
        ({}, SMALL | {"block_kernels": (3,)}, "1 block_kernels need as many lists of dilations"),
        ({}, SMALL | {"block_kernels": (3, 4)}, "block_kernels: must be odd, not 4"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        built(SHAPE._replace(**fields), **options)
