"""Augmentations against the papers' definitions written out in numpy, and the promises that training rests on."""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from gandist.gan.augment import AUGMENTATIONS, REACH, adapt, filters, recolour, rotate2d, translate2d, warp
from gandist.gan.players import in_channels_last
from tests.helpers.no_host_sync import Blind

ALL = list(AUGMENTATIONS)
CLOSE = 2e-4
"""What the filter's cut-off tails may change in noise of a few units."""
ONE = torch.tensor(1.0, dtype=torch.float64)

# ADA's columns: what decides on each transformation, and the parameters after it.
ADA = {
    "flip": (0, 1),
    "quarters": (2, 1),
    "shift": (4, 2),
    "isotropic": (7, 1),
    "before": (9, 1),
    "anisotropic": (11, 1),
    "after": (13, 1),
    "slide": (15, 2),
    "brightness": (18, 1),
    "contrast": (20, 1),
    "luma": (22, 1),
    "hue": (24, 1),
    "saturation": (26, 1),
}


def only(n: int = 1, **drawn: float | tuple[float, ...]) -> Tensor:
    """Uniforms (n, 28) with which ADA at p = 0.5 applies just these transformations."""
    u = torch.full((n, 28), 0.9, dtype=torch.float64)
    for name, values in drawn.items():
        first, parameters = ADA[name]
        u[:, first] = 0
        u[:, first + 1 : first + 1 + parameters] = torch.as_tensor(values, dtype=torch.float64)
    return u


def ada(x: Tensor, u: Tensor) -> Tensor:
    return AUGMENTATIONS["ada"].apply(x, u, ONE / 2)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniforms(name: str, n: int, seed: int = 1, sample: tuple[int, ...] = ()) -> Tensor:
    """Random u in float32, as a run draws them; for samples of this shape, if their number depends on it."""
    return torch.rand(n, AUGMENTATIONS[name].count(sample), generator=torch.Generator().manual_seed(seed))


def given(name: str, n: int, channels: int, size: int) -> tuple[Tensor, Tensor]:
    """Noise (n, channels, size, size), sounds of as many samples, or clips of two frames, and their uniforms."""
    samples = {2: (channels, size * size), 3: (channels, size, size), 4: (channels, 2, size, size)}
    sample = samples[AUGMENTATIONS[name].axes]
    return noise(n, *sample), uniforms(name, n, sample=sample)


def smooth(size: int) -> Tensor:
    """(1, 3, size, size), with nothing near the pixels' own frequency and no symmetry."""
    y, x = torch.meshgrid(*[torch.arange(size, dtype=torch.float64) / size] * 2, indexing="ij")
    return torch.stack([(5 * x + y).sin(), (3 * y - 2 * x).cos() * x, (4 * x * y).sin()])[None]


# --- promises ---


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_at_p_0_every_image_stays_as_it_is(name: str, channels: int) -> None:
    x, u = given(name, 16, channels, 12)
    x = x.float()
    assert torch.equal(AUGMENTATIONS[name].apply(x, u, 0 * ONE), x)
    assert not torch.equal(AUGMENTATIONS[name].apply(x, u, ONE), x)


@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", ALL)
def test_derivatives(name: str, fast: bool) -> None:
    """First and second, backward and forward: along one direction and, by night, each number of all but clips."""
    x, u = given(name, 1, 3, 3)
    x, u = x.requires_grad_(), 0.05 + 0.9 * u.double()

    def f(x: Tensor) -> Tensor:
        return AUGMENTATIONS[name].apply(x, u, ONE)

    fast = fast or x.dim() == 5
    assert torch.autograd.gradcheck(f, (x,), check_forward_ad=True, fast_mode=fast)
    assert torch.autograd.gradgradcheck(f, (x,), check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=fast)


@pytest.mark.parametrize("name", ALL)
def test_a_penalty_by_jvp_is_that_by_double_backward(name: str) -> None:
    x, u = given(name, 4, 3, 8)
    weight = noise(3, seed=3).requires_grad_()

    def score(x: Tensor) -> Tensor:
        return (AUGMENTATIONS[name].apply(x, u, ONE).sin().flatten(2) * weight[:, None]).sum()

    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(score(leaf), leaf, create_graph=True)
    (expected,) = torch.autograd.grad(g.square().sum(), weight)
    tangent = torch.func.jvp(score, (x,), (g.detach(),))[1]
    (found,) = torch.autograd.grad(2 * tangent, weight)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ALL)
def test_an_image_heeds_its_own_uniforms_alone(name: str) -> None:
    (x, u), p = given(name, 12, 3, 9), 0.7 * ONE
    x = x.float()
    out = AUGMENTATIONS[name].apply(x, u, p)
    assert torch.equal(AUGMENTATIONS[name].apply(x, u, p), out)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(AUGMENTATIONS[name].apply(x[order], u[order], p), out[order], rtol=0, atol=1e-5)
    torch.testing.assert_close(AUGMENTATIONS[name].apply(x[3:4], u[3:4], p), out[3:4], rtol=0, atol=1e-5)
    assert not torch.allclose(AUGMENTATIONS[name].apply(x, u.flip(0), p), out, atol=1e-2)


@pytest.mark.parametrize("name", ALL)
def test_precision_and_layout(name: str) -> None:
    x, u = given(name, 4, 3, 8)
    x, apply = x.float(), AUGMENTATIONS[name].apply
    expected = apply(x, u, ONE)
    assert expected.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(apply(x, u, ONE), expected)
    assert apply(x.bfloat16(), u, ONE).dtype == torch.float32
    assert apply(x.double(), u, ONE).dtype == torch.float64
    torch.testing.assert_close(expected, apply(x.double(), u, ONE).float(), rtol=0, atol=1e-4)
    last = in_channels_last(x) if x.dim() > 3 else x.mT.contiguous().mT
    torch.testing.assert_close(apply(last, u, ONE), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("extreme", [0.0, 1 - 2**-24])
def test_the_ends_of_the_uniforms(name: str, extreme: float) -> None:
    x, u = given(name, 2, 3, 16)
    assert AUGMENTATIONS[name].apply(x.float(), torch.full_like(u, extreme), ONE).isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_no_look_at_a_value(name: str) -> None:
    x, u = given(name, 2, 3, 8)
    x = x.float()
    AUGMENTATIONS[name].apply(x, u, ONE)
    state, sign = torch.zeros(3, dtype=torch.float64), torch.tensor(0.5)
    with Blind():  # type: ignore[no-untyped-call]
        AUGMENTATIONS[name].apply(x, u, ONE)
        adapt(state, sign, images=64, target=0.6, speed_kimg=500)


def share_changed(name: str, p: float, size: int = 8, n: int = 3000) -> float:
    x = noise(1, 3, size, size).float().expand(n, -1, -1, -1)
    out = AUGMENTATIONS[name].apply(x, uniforms(name, n), p * ONE)
    return float((out - x).abs().amax((1, 2, 3)).gt(1e-6).double().mean())


def test_p_is_the_probability() -> None:
    p, three_sigma = 0.3, 3 * math.sqrt(0.3 * 0.7 / 3000)
    assert abs(share_changed("color", p) - p) < three_sigma
    assert abs(share_changed("cutout", p) - p) < three_sigma
    assert abs(share_changed("diffaugment", p) - p) < three_sigma
    assert abs(share_changed("translation", p) - p * (1 - 1 / 9)) < three_sigma, "one draw in nine is no shift"
    assert abs(share_changed("shift", p) - p * (1 - 1 / 18)) < three_sigma
    # Of ADA's thirteen, flips do nothing one time in two, quarter turns in four, shifts of +-1 pixel in four;
    # and the two rotations together have probability p.
    unchanged = (1 - p / 2) ** 2 * (1 - p * 3 / 4) ** 2 * (1 - p) ** 8
    assert abs(share_changed("ada", p) - (1 - unchanged)) < three_sigma


# --- DiffAugment and balanced consistency, pixel by pixel ---


def shifted(image: npt.NDArray[np.float64], down: int, right: int, mode: str) -> npt.NDArray[np.float64]:
    """(C, H, W) moved down and right."""
    pad = 100
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode=mode)  # type: ignore[call-overload]
    out: npt.NDArray[np.float64] = padded[:, pad - down : pad - down + height, pad - right : pad - right + width]
    return out


@pytest.mark.parametrize(("height", "width"), [(16, 16), (28, 28), (32, 20)])
def test_translation(height: int, width: int) -> None:
    x, u = noise(20, 2, height, width), uniforms("translation", 20).double()
    out = AUGMENTATIONS["translation"].apply(x, u, ONE)
    reach_y, reach_x = math.floor(height / 8 + 0.5), math.floor(width / 8 + 0.5)
    for image, (_, v, h), found in zip(x.numpy(), u.tolist(), out.numpy(), strict=True):
        down, right = math.floor(v * (2 * reach_y + 1)) - reach_y, math.floor(h * (2 * reach_x + 1)) - reach_x
        np.testing.assert_array_equal(found, shifted(image, down, right, "constant"))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (28, 28), (32, 20)])
def test_flip_and_shift(height: int, width: int) -> None:
    x, u = noise(20, 2, height, width), uniforms("shift", 20).double()
    out = AUGMENTATIONS["shift"].apply(x, u, ONE)
    reach_y, reach_x = math.floor(height / 8 + 0.5), math.floor(width / 8 + 0.5)
    for image, (_, flip, v, h), found in zip(x.numpy(), u.tolist(), out.numpy(), strict=True):
        down, right = math.floor(v * (2 * reach_y + 1)) - reach_y, math.floor(h * (2 * reach_x + 1)) - reach_x
        turned = image if flip < 0.5 else image[:, :, ::-1]
        np.testing.assert_array_equal(found, shifted(turned, down, right, "reflect"))


@pytest.mark.parametrize("size", [16, 28, 7])
def test_cutout(size: int) -> None:
    out = AUGMENTATIONS["cutout"].apply(torch.ones(500, 1, size, size), uniforms("cutout", 500), ONE)
    side = math.floor(size / 2 + 0.5)
    missing = 1 - out[:, 0]
    rows, columns = missing.amax(2), missing.amax(1)
    assert torch.equal(missing, rows[:, :, None] * columns[:, None, :]), "a rectangle"
    for profile in (rows, columns):
        assert set(profile.diff(dim=1).abs().sum(1).tolist()) <= {1.0, 2.0}, "in one piece"
        assert int(profile.sum(1).max()) == side
        assert int(profile.sum(1).min()) == side // 2, "the centre reaches the border"
    centres = size + 1 - side % 2
    u = torch.full((centres, 3), 0.5)
    u[:, 1] = (torch.arange(centres) + 0.5) / centres
    share = AUGMENTATIONS["cutout"].apply(torch.ones(centres, 1, size, size), u, ONE).mean((0, 1, 3))
    torch.testing.assert_close(share, share.flip(0), msg="as often at the top as at the bottom")


def test_diffaugment_is_its_policies_in_turn() -> None:
    x, u = noise(8, 3, 16, 16), uniforms("diffaugment", 8)
    expected = x
    for name, columns in (("color", [0, 1, 2, 3]), ("translation", [0, 4, 5]), ("cutout", [0, 6, 7])):
        expected = AUGMENTATIONS[name].apply(expected, u[:, columns], ONE)
    torch.testing.assert_close(AUGMENTATIONS["diffaugment"].apply(x, u, ONE), expected)


def test_colours_of_diffaugment() -> None:
    x = noise(1, 3, 6, 6)

    def color(brightness: float, saturation: float, contrast: float, x: Tensor = x) -> Tensor:
        return AUGMENTATIONS["color"].apply(x, torch.tensor([[0, brightness, saturation, contrast]]), ONE)

    torch.testing.assert_close(color(0.5, 0.5, 0.5), x)
    torch.testing.assert_close(color(0.75, 0.5, 0.5), x + 0.25)
    torch.testing.assert_close(color(0.5, 0, 0.5), x.mean(1, keepdim=True).expand_as(x))
    torch.testing.assert_close(color(0.5, 0.75, 0.5).mean(1), x.mean(1))
    torch.testing.assert_close(color(0.5, 0.5, 0), x.mean() + 0.5 * (x - x.mean()))
    torch.testing.assert_close(color(0.5, 0.1, 0.5, x[:, :1]), x[:, :1])


# --- ADA ---


def test_the_filters_reconstruct_with_the_amplitudes_of_sym6() -> None:
    sym6 = [0.015404109327, 0.003490712084, -0.117990111148, -0.048311742586, 0.491055941927, 0.787641141030]
    sym6 += [0.337929421728, -0.072637522786, -0.021060292512, 0.044724901771, 0.001767711864, -0.007800708325]
    up, down = filters(40, torch.float64, torch.device("cpu"))
    row = down[20]
    np.testing.assert_allclose(
        np.abs(np.fft.fft(row.numpy(), 128)), np.abs(np.fft.fft(sym6, 128)) / math.sqrt(2), rtol=0, atol=3e-5
    )
    assert torch.equal(row[40 : 41 + 2 * REACH], row[40 : 41 + 2 * REACH].flip(0)), "no phase"
    assert int(row.count_nonzero()) == 2 * REACH + 1
    inner = slice(REACH, 40 - REACH)
    through = down[:, REACH:-REACH] @ up
    torch.testing.assert_close(through[inner], torch.eye(40).double()[inner], rtol=0, atol=2e-5)


def test_no_jump_next_to_the_identity() -> None:
    x = noise(1, 3, 16, 16)
    near = translate2d(torch.tensor([1e-9]), torch.tensor([0.0])).double()
    out = warp(x, near)
    assert not torch.equal(out, x)
    torch.testing.assert_close(out, x, rtol=0, atol=CLOSE)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 5), (12, 7)])
def test_blits_are_exact(height: int, width: int) -> None:
    x = noise(1, 3, height, width)
    torch.testing.assert_close(ada(x, only(flip=0.6)), x.flip(3), rtol=0, atol=CLOSE)
    assert torch.equal(ada(x, only(flip=0.4)), x)
    torch.testing.assert_close(ada(x, only(quarters=0.6)), x.flip(2, 3), rtol=0, atol=CLOSE)
    if height == width:
        turned = ada(x, only(quarters=0.3))
        torch.testing.assert_close(turned, x.rot90(1, (2, 3)), rtol=0, atol=CLOSE)
        torch.testing.assert_close(ada(x, only(quarters=0.8)), x.rot90(3, (2, 3)), rtol=0, atol=CLOSE)
        for _ in range(3):
            turned = ada(turned, only(quarters=0.3))
        torch.testing.assert_close(turned, x, rtol=0, atol=4 * CLOSE)
    for u_x, u_y in ((0.0, 0.5), (0.5, 0.01), (0.9, 0.9)):
        right, down = round((u_x - 0.5) / 4 * width), round((u_y - 0.5) / 4 * height)
        expected = torch.from_numpy(shifted(x[0].numpy(), down, right, "reflect"))[None]
        torch.testing.assert_close(ada(x, only(shift=(u_x, u_y))), expected, rtol=0, atol=CLOSE)


def test_the_border_reflects_without_end() -> None:
    x = noise(1, 1, 6, 6)
    far = translate2d(torch.tensor([-23.0]), torch.tensor([14.0])).double()
    expected = torch.from_numpy(shifted(x[0].numpy(), -14, 23, "reflect"))[None]
    torch.testing.assert_close(warp(x, far), expected, rtol=0, atol=CLOSE)


def test_a_rotation_and_its_inverse() -> None:
    x, theta = smooth(48), torch.tensor([0.7], dtype=torch.float64)
    turned = warp(x, rotate2d(theta))
    back = warp(turned, rotate2d(-theta))
    inner = (..., slice(14, 34), slice(14, 34))
    assert float((turned - x)[inner].abs().max()) > 0.3
    torch.testing.assert_close(back[inner], x[inner], rtol=0, atol=2e-3)


def test_sharper_than_bilinear() -> None:
    """A grating of four pixels a period, moved by half a pixel; bilinear interpolation would keep 0.71 of it."""
    columns = torch.arange(32, dtype=torch.float64)
    half = translate2d(torch.tensor([-0.5]), torch.tensor([0.0])).double()
    moved = warp((columns * math.pi / 2).sin().expand(1, 1, 32, 32), half)
    expected = ((columns - 0.5) * math.pi / 2).sin().expand(1, 1, 32, 32)
    torch.testing.assert_close(moved[..., 10:22], expected[..., 10:22], rtol=0, atol=0.08)


def pseudocode(u: list[float], p: float, width: int, height: int) -> tuple[npt.NDArray[np.float64], ...]:
    """G (3, 3) from x to the result, origin in the middle, and C (4, 4), written down as in the paper."""
    columns = iter(u)
    normal = NormalDist().inv_cdf

    def apply(p: float, parameters: int = 1) -> list[float] | None:
        on = next(columns) < p
        drawn = [next(columns) for _ in range(parameters)]
        return drawn if on else None

    def rotate(angle: float) -> npt.NDArray[np.float64]:
        return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])

    p_rot = 1 - math.sqrt(1 - p)
    G, C = np.eye(3), np.eye(4)
    if v := apply(p):
        G = np.diag([1 - 2 * math.floor(2 * v[0]), 1, 1]) @ G
    if v := apply(p):
        G = rotate(-math.pi / 2 * math.floor(4 * v[0])) @ G
    if v := apply(p, 2):
        t_x, t_y = ((v_i - 0.5) * 0.25 for v_i in v)
        G = np.array([[1, 0, round(t_x * width)], [0, 1, round(t_y * height)], [0, 0, 1]]) @ G
    if v := apply(p):
        s = math.exp(0.2 * math.log(2) * normal(v[0]))
        G = np.diag([s, s, 1]) @ G
    if v := apply(p_rot):
        G = rotate(-(2 * math.pi * v[0] - math.pi)) @ G
    if v := apply(p):
        s = math.exp(0.2 * math.log(2) * normal(v[0]))
        G = np.diag([s, 1 / s, 1]) @ G
    if v := apply(p_rot):
        G = rotate(-(2 * math.pi * v[0] - math.pi)) @ G
    if v := apply(p, 2):
        t_x, t_y = (0.125 * normal(v_i) for v_i in v)
        G = np.array([[1, 0, t_x * width], [0, 1, t_y * height], [0, 0, 1]]) @ G
    axis = np.array([1, 1, 1, 0]) / math.sqrt(3)
    if v := apply(p):
        C = np.block([[np.eye(3), np.full((3, 1), 0.2 * normal(v[0]))], [np.zeros((1, 3)), np.ones((1, 1))]]) @ C
    if v := apply(p):
        c = math.exp(0.5 * math.log(2) * normal(v[0]))
        C = np.diag([c, c, c, 1]) @ C
    if v := apply(p):
        C = (np.eye(4) - 2 * np.outer(axis, axis) * math.floor(2 * v[0])) @ C
    if v := apply(p):
        theta = 2 * math.pi * v[0] - math.pi
        K = np.zeros((4, 4))
        K[:3, :3] = np.cross(np.eye(3), axis[:3]).T @ np.diag([-1, -1, -1])
        C = (np.eye(4) + math.sin(theta) * K + (1 - math.cos(theta)) * K @ K) @ C  # Rodrigues' formula
    if v := apply(p):
        s = math.exp(math.log(2) * normal(v[0]))
        P = np.outer(axis, axis)
        keep = np.diag([0, 0, 0, 1])  # the homogeneous one is no colour
        C = (P + keep + (np.eye(4) - P - keep) * s) @ C
    return G, C


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 20)])
def test_ada_is_the_pseudocode_of_the_paper(height: int, width: int) -> None:
    n, p = 40, 0.8
    x, u = noise(n, 3, height, width), uniforms("ada", n).double()
    found = AUGMENTATIONS["ada"].apply(x, u, p * ONE)
    matrices = [pseudocode(row, p, width, height) for row in u.tolist()]
    inverse = torch.from_numpy(np.stack([np.linalg.inv(G) for G, _ in matrices]))
    C = torch.from_numpy(np.stack([C for _, C in matrices]))
    expected = torch.einsum("nij,njhw->nihw", C[:, :3, :3], warp(x, inverse)) + C[:, :3, 3, None, None]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_colours_of_ada() -> None:
    x = noise(1, 3, 4, 5)
    grey = x.mean(1, keepdim=True)

    def colours(b: float = 0, c: float = 1, i: float = 0, theta: float = 0, s: float = 1, x: Tensor = x) -> Tensor:
        return recolour(x, *torch.tensor([b, c, i, theta, s], dtype=torch.float64)[:, None].unbind())

    torch.testing.assert_close(colours(), x)
    torch.testing.assert_close(colours(b=0.3), x + 0.3)
    torch.testing.assert_close(colours(c=1.7), 1.7 * x)
    torch.testing.assert_close(colours(s=0), grey.expand_as(x))
    torch.testing.assert_close(colours(s=2), grey + 2 * (x - grey))
    torch.testing.assert_close(colours(i=1), x - 2 * grey)
    torch.testing.assert_close(colours(i=1, x=colours(i=1)), x)
    turned = colours(theta=1.1)
    torch.testing.assert_close(turned.mean(1, keepdim=True), grey)
    torch.testing.assert_close(turned.square().sum(1), x.square().sum(1))
    torch.testing.assert_close(colours(theta=1.1, x=grey.expand_as(x)), grey.expand_as(x))
    torch.testing.assert_close(colours(theta=-1.1, x=turned), x)
    torch.testing.assert_close(colours(theta=2 * math.pi / 3), x.roll(1, 1), msg="red becomes green becomes blue")
    torch.testing.assert_close(colours(0.2, 1.5, 1, 1.0, 3.0, x=x[:, :1]), -1.5 * (x[:, :1] + 0.2))


@pytest.mark.slow
def test_strengths_of_ada() -> None:
    n = 2000
    u = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)[:, None]

    def spread(values: Tensor) -> float:
        return float(values.std())

    def drawn(name: str, x: Tensor) -> Tensor:
        first, _ = ADA[name]
        return ada(x.expand(n, -1, -1, -1), only(n, **{name: 0}).index_copy(1, torch.tensor([first + 1]), u))

    red = torch.tensor([1.0, -0.5, -0.5], dtype=torch.float64)[None, :, None, None].expand(1, 3, 2, 2)
    assert abs(spread(drawn("brightness", red)[:, 0, 0, 0]) - 0.2) < 0.01
    assert abs(spread(drawn("contrast", red)[:, 0, 0, 0].log2()) - 0.5) < 0.02
    assert abs(spread(drawn("saturation", red)[:, 0, 0, 0].log2()) - 1) < 0.04
    assert abs(float((drawn("luma", red + 1)[:, 0, 0, 0] < 1).double().mean()) - 0.5) < 0.03
    ramp = torch.arange(16, dtype=torch.float64).expand(1, 1, 16, 16)
    slope = drawn("isotropic", ramp)[:, 0, 8].diff(dim=1)[:, 7]
    assert abs(spread(slope.log2()) - 0.2) < 0.01


# --- the controller ---


def test_p_moves_at_every_fourth_update_towards_the_target() -> None:
    state = torch.zeros(3, dtype=torch.float64)
    seen = []
    for sign in (0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5, 0.7, 0.5, 0.5):
        state = adapt(state, torch.tensor(sign), images=64, target=0.6, speed_kimg=10)
        seen.append(float(state[0]))
    step = 64 * 4 / 10_000
    np.testing.assert_allclose(seen, [0] * 3 + [step] * 4 + [2 * step] * 4 + [step], rtol=1e-6)
    assert state.dtype == torch.float64
    assert state[1:].tolist() == [0, 0]


def test_p_stays_between_0_and_1() -> None:
    for sign, start, end in ((-1.0, 0.001, 0.0), (1.0, 0.999, 1.0)):
        state = torch.tensor([start, 0, 0], dtype=torch.float64)
        for _ in range(3):
            state = adapt(state, torch.tensor(sign), images=64, target=0.6, speed_kimg=1, every=1)
        assert state.tolist() == [end, 0, 0]


def test_p_crosses_its_range_in_the_given_time() -> None:
    state, updates = torch.zeros(3, dtype=torch.float64), 0
    while float(state[0]) < 1 - 1e-9:
        state = adapt(state, torch.tensor(0.8), images=100, target=0.6, speed_kimg=20)
        updates += 1
    assert updates * 100 == 20_000
