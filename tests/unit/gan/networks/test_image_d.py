"""The discriminators of pairs conditioned on images: sizes and receptive fields of the papers, scales, features."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.networks.image_d import Discriminator, ImageOptions
from gandist.gan.networks.norms import iterate
from gandist.gan.networks.sketch import sketched
from gandist.gan.networks.unet import UNetOptions
from gandist.testing import CHECKS, check_export, check_heeds_condition, check_pair

SHAPE = Shape(64, 3, z_dim=0, width=4, norm="none", y=(3, 64, 64))


def built(shape: Shape = SHAPE, **options: Any) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(shape._replace(options=ImageOptions(**options)))


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_sizes_are_the_papers() -> None:
    paper = SHAPE._replace(resolution=256, width=64, y=(3, 256, 256))
    with sketched():
        of_patches = built(paper._replace(norm="batch"))
        of_pixels = built(paper._replace(norm="spectral"), discriminator="unet", sees_y=False)
        x = torch.empty(2, 3, 256, 256)
        assert of_patches(x, x).shape == (2, 30, 30)
    assert parameters(of_patches) == 2_768_705 - 1, "pix2pix's 2.769 M, without the last bias"
    assert parameters(of_pixels) == 4_376_897 - 1, "Real-ESRGAN's 4.38 M, without the last bias"


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_receptive_fields_of_patches(layers: int, field: int) -> None:
    shape = SHAPE._replace(resolution=256, width=2, y=(3, 256, 256))
    x = torch.randn(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    scores = built(shape, layers_D=layers, sees_y=False).double()(x, x.detach())
    (g,) = torch.autograd.grad(scores[0, scores.shape[1] // 2, scores.shape[2] // 2], x)
    rows, columns = g.abs().sum((0, 1)).nonzero().T
    assert [int(at.max() - at.min() + 1) for at in (rows, columns)] == [field, field]


@pytest.mark.parametrize(
    ("name", "sides_of_scores", "sides_of_features"),
    [("patch", [6, 2], [32, 16, 8, 7, 16, 8, 4, 3]), ("unet", [64, 32], [64, 32, 16, 8, 16, 32, 64, 64, 64])],
)
def test_scales_and_features(name: str, sides_of_scores: list[int], sides_of_features: list[int]) -> None:
    D = built(scales_D=2, discriminator=name)
    x, y = torch.randn(2, 2, 3, 64, 64)
    scores, features = D.scores_and_features(x, y)
    assert [s.shape for s in scores] == [(2, side, side) for side in sides_of_scores]
    for ours, theirs in zip(scores, D(x, y), strict=True):
        assert torch.equal(ours, theirs)
    half = nn.functional.avg_pool2d(torch.cat([x, y], 1), 2)
    torch.testing.assert_close(scores[1], D.nets[1](half)[0])
    if name == "unet":
        sides_of_features = sides_of_features + [side // 2 for side in sides_of_features]
    assert [f.shape[2] for f in features] == sides_of_features
    assert all(f.requires_grad for f in features)
    assert parameters(D) == 2 * parameters(built(discriminator=name))


def test_one_scale_gives_one_tensor() -> None:
    D, x = built(), torch.randn(2, 3, 64, 64)
    scores, _ = D.scores_and_features(x, x)
    assert isinstance(D(x, x), Tensor)
    assert len(scores) == 1
    assert torch.equal(D(x, x), scores[0])


def test_small_conditions_are_seen_at_the_images_size() -> None:
    D, x, y = built(), torch.randn(2, 3, 64, 64), torch.randn(2, 3, 16, 16)
    assert torch.equal(D(x, y), D(x, y.repeat_interleave(4, 2).repeat_interleave(4, 3)))


def test_only_the_inner_layers_of_pixels_are_normalised() -> None:
    D = built(SHAPE._replace(norm="spectral"), discriminator="unet")
    convolutions = [m for m in D.modules() if isinstance(m, nn.Conv2d)]
    normal = [nn.utils.parametrize.is_parametrized(m) for m in convolutions]
    assert normal == [False, *[True] * 8, False]
    for _ in range(50):
        iterate(D)
    largest = [float(torch.linalg.matrix_norm(m.weight.detach().flatten(1), 2)) for m in convolutions[1:-1]]
    assert largest == pytest.approx([1] * 8, rel=0.01)


@pytest.mark.parametrize(
    ("fields", "options", "words"),
    [
        ({"resolution": 32}, {"layers_D": 4}, "32 pixels, fewer than 48; lower .*layers_D"),
        ({"resolution": 64}, {"scales_D": 3}, "16 pixels, fewer than 24"),
        ({"resolution": 32}, {"discriminator": "unet", "scales_D": 4}, "4 pixels, fewer than 8; lower .*scales_D"),
    ],
)
def test_images_too_small_are_refused(fields: dict[str, Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        built(SHAPE._replace(**fields), **options)


NORMS = ("spectral", "none", "group", "batch")
KINDS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"discriminator": "unet"}, ("spectral", "group")),
    ({"discriminator": "unet", "scales_D": 2, "sees_y": False}, ("none", "batch")),
    ({"layers_D": 2, "scales_D": 2, "width_D": 6}, ("none", "batch")),
    ({"layers_D": 1, "scales_D": 1, "sees_y": False}, ("spectral", "group")),
]
"""Options, and the norms with which each run checks them: every norm of `unet` and of `patch`; the others by night."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
@pytest.mark.parametrize(
    ("options", "norm_D"),
    [
        pytest.param(
            options,
            norm_D,
            id="-".join(map(str, (*options.values(), norm_D))),
            marks=[] if norm_D in in_each_run else [pytest.mark.nightly],
        )
        for options, in_each_run in KINDS
        for norm_D in NORMS
    ],
)
def test_each_keeps_what_is_asked_of_a_pair(options: dict[str, Any], norm_D: str) -> None:
    pair = NETWORKS["unet"]._replace(norms_D=(norm_D,))
    shape = Shape(32, 3, z_dim=2, width=8, y=(1, 16, 16), options=UNetOptions(**options))
    seen = options.get("sees_y", True)
    left_out = {check_export} if seen else {check_export, check_heeds_condition}  # the G is that of every row
    check_pair(pair, shape, [check for check in CHECKS if check not in left_out])
