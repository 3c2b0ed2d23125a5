"""LaMa's generator: the paper's size, the whole image in view, transforms in float32 and at odd sizes."""

import pytest
import torch
from torch import Tensor, nn

from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.networks.ffc import FFC, FFCOptions, Fourier, Generator
from gandist.gan.networks.sketch import sketched
from tests.helpers.moved import assert_moves_along

PAPER = Shape(256, 3, z_dim=0, width=64, y=(4, 256, 256), masked=True, options=FFCOptions(blocks=9))
SMALL = Shape(32, 3, z_dim=2, width=4, y=(3, 32, 32), options=FFCOptions(blocks=1))


def built(shape: Shape = SMALL) -> Generator:
    torch.manual_seed(0)
    return Generator(shape)


def test_size_is_the_papers() -> None:
    """LaMa-Fourier has 27 million parameters (table 1)."""
    with sketched():
        G = Generator(PAPER)
        y = torch.empty(2, 4, 256, 256)
        assert G(torch.empty(2, 0), y).shape == (2, 3, 256, 256)
    found = sum(p.numel() for p in G.parameters())
    ends = 7 * 7 * (4 * 64 + 64 * 3) + 3
    down = up = 9 * (64 * 128 + 128 * 256 + 256 * 512)
    norms = 2 * (64 + 128 + 256 + 512) + 2 * (256 + 128 + 64)
    spatial = 9 * (128 * 512 + 384 * 128)
    spectral = 384 * 192 + 384 * 384 + 192 * 384
    norms_ffc = 2 * (512 + 192 + 384)
    assert found == ends + down + up + norms + 18 * (spatial + spectral + norms_ffc)
    assert round(found / 1e6) == 27


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (4, 4), (1, 7), (5, 6)])
def test_the_spectrum_gives_back_the_image_at_any_size(size: tuple[int, int]) -> None:
    fourier, x = Fourier(3, "batch"), torch.randn(2, 3, *size)
    fourier.layers = nn.Sequential(nn.Identity())
    torch.testing.assert_close(fourier(x), x)
    last = fourier(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, x)
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_the_spectrum_is_of_real_and_imaginary_parts() -> None:
    torch.manual_seed(0)
    fourier, x = Fourier(3, "none"), torch.randn(2, 3, 6, 5)
    seen = torch.fft.rfft2(x, norm="ortho")
    h = torch.relu(fourier.layers[0](torch.cat([seen.real, seen.imag], 1)))
    expected = torch.fft.irfft2(torch.complex(h[:, :3], h[:, 3:]), (6, 5), norm="ortho")
    torch.testing.assert_close(fourier(x), expected)


def test_transforms_run_in_float32_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    transform, back = torch.fft.rfft2, torch.fft.irfft2

    def noted(x: Tensor, *arguments: object, **options: object) -> Tensor:
        seen.append(x.dtype)
        made: Tensor = (back if x.is_complex() else transform)(x, *arguments, **options)
        return made

    monkeypatch.setattr(torch.fft, "rfft2", noted)
    monkeypatch.setattr(torch.fft, "irfft2", noted)
    for dtype in (torch.bfloat16, torch.float16):
        seen.clear()
        with torch.autocast("cpu", dtype):
            made = built()(torch.randn(2, 2), torch.randn(2, 3, 48, 40))
        assert made.dtype == dtype
        assert seen == [torch.float32, torch.complex64] * 2


@pytest.mark.parametrize("size", [(24, 40), (56, 32), (16, 16)])
def test_other_sizes(size: tuple[int, int]) -> None:
    assert NETWORKS["ffc"].multiple(SMALL) == 8
    made = built().eval()(torch.randn(2, 2), torch.randn(2, 3, *size))
    assert made.shape == (2, 3, *size)
    assert bool(made.isfinite().all())


def test_one_block_sees_the_whole_image() -> None:
    y = torch.randn(1, 3, 128, 128, requires_grad=True)
    (g,) = torch.autograd.grad(built().eval()(torch.randn(1, 2), y)[0, :, 64, 64].sum(), y)
    assert bool((g.abs().sum((0, 1)) > 0).all())


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def test_moves_along_but_for_its_spectra() -> None:
    G = built()
    for layer in G.modules():
        if isinstance(layer, FFC):
            layer.far_to_far = Nothing()  # type: ignore[assignment]
    assert_moves_along(G, SMALL, step=8, reach=48, side=112)


@pytest.mark.parametrize(("ratio", "sizes"), [(0.25, [24, 8]), (0.75, [8, 24]), (0.99, [1, 31])])
def test_shares(ratio: float, sizes: list[int]) -> None:
    assert built(SMALL._replace(options=FFCOptions(blocks=1, ratio=ratio))).sizes == sizes


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (SMALL._replace(y=(3, 16, 16)), "does not enlarge them 2 times"),
        (SMALL._replace(options=FFCOptions(ratio=0.01)), "of 32 channels, 0 are global"),
        (SMALL._replace(options=FFCOptions(ratio=0.06)), r"1 are global; set .* nearer to 0\.5"),
    ],
)
def test_what_does_not_fit_is_refused(shape: Shape, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        built(shape)
