"""Differentiable augmentation of D's inputs, real and generated: the table, and that of images.

DiffAugment (Zhao et al. 2020, arXiv:2006.10738), ADA (Karras et al. 2020, arXiv:2006.06676) with its controller, and
the shifts of balanced consistency regularisation (Zhao et al. 2020, arXiv:2002.04724). All are affine in the pixels,
differentiable to every order in reverse and forward mode, and computed in full precision even under autocast.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from gandist.gan.augment_clip import CLIP
from gandist.gan.augment_image import COLOR, cutout, moved, take, translation
from gandist.gan.augment_sound import SOUND
from gandist.gan.augmentation import Augmentation, all_or_none, in_full_precision, normal


def flip_and_shift(x: Tensor, u: Tensor) -> Tensor:
    """Mirror left to right with probability one half; shift by up to 4 pixels in 32, with a reflected border."""
    height, width = x.shape[2:]
    rows, columns = moved(height, u[:, 1]), moved(width, u[:, 2])
    columns = torch.where(u[:, :1] < 0.5, columns, width - 1 - columns)
    return take(x, _reflect(rows, height - 1), _reflect(columns, width - 1))


def _reflect(position: Tensor, last: int) -> Tensor:
    """Positions mirrored at 0 and at `last` until they lie between."""
    return last - (position.abs().remainder(2 * last) - last).abs()


REACH = 10
"""Filter taps on each side of the centre; the truncation changes noise in [-1, 1] by at most 5e-5."""


@cache
def filters(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """One axis' matrices: U (2 size - 1, size) to twice the resolution, D (size, 2 size - 1 + 2 REACH) back. D U = I.

    The paper's filter is the wavelet sym6. This one has sym6's amplitudes |H|, the square root of Daubechies' half-band
    polynomial of order 6 (Ten Lectures on Wavelets, 1992, section 6.1), but zero phase: it is symmetric, sym6 only
    nearly. So flips, quarter turns and whole shifts are exact. A mirrored image is also mirrored at twice the
    resolution, so coordinates can be reflected instead of pixels.

    Fine position m lies over pixel m / 2. U's rows span pixel 0 to the last one; D's columns span REACH more on each
    side. U reflects the image at the border.
    """
    y = torch.sin(torch.arange(64, dtype=torch.float64) * math.pi / 64).square()
    response = (1 - y) ** 3 * torch.stack([math.comb(5 + k, k) * y**k for k in range(6)]).sum(0).sqrt()
    taps = torch.zeros(64, dtype=torch.float64)
    taps[: REACH + 1] = torch.fft.ifft(response).real[: REACH + 1]
    pixel = torch.arange(size)
    beyond = torch.arange(-REACH, size + REACH)
    fine = torch.arange(-REACH, 2 * size - 1 + REACH)
    band = taps[(fine[REACH:-REACH, None] - 2 * beyond).abs().clamp(max=REACH + 1)]
    up = 2 * band @ (_reflect(beyond, size - 1)[:, None] == pixel).double()
    down = taps[(fine - 2 * pixel[:, None]).abs().clamp(max=REACH + 1)]
    return up.to(device, dtype), down.to(device, dtype)


def warp(x: Tensor, inverse: Tensor) -> Tensor:
    """x through an affine map, with endless reflection at the border; antialiased at twice the resolution.

    Args:
        x: (N, C, H, W).
        inverse: (N, 3, 3) float64, maps (x, y, 1) in the result to (x, y, 1) in x: pixels right of and below the
            centre. The identity leaves an image unchanged to the last bit.
    """
    channels, height, width = x.shape[1:]
    (up_y, down_y), (up_x, down_x) = (filters(size, x.dtype, x.device) for size in (height, width))
    fine = up_y @ x @ up_x.mT
    horizontal = torch.arange(-REACH, 2 * width - 1 + REACH, dtype=x.dtype, device=x.device) - (width - 1)
    vertical = torch.arange(-REACH, 2 * height - 1 + REACH, dtype=x.dtype, device=x.device)[:, None] - (height - 1)
    a, b, t_x, c, d, t_y = inverse[:, :2].flatten(1).to(x.dtype)[:, :, None, None].unbind(1)
    column = _reflect(a * horizontal + b * vertical + (2 * t_x + width - 1), 2 * (width - 1))
    row = _reflect(c * horizontal + d * vertical + (2 * t_y + height - 1), 2 * (height - 1))
    left, top = column.floor().clamp(max=2 * width - 3), row.floor().clamp(max=2 * height - 3)
    index = (top.long() * (2 * width - 1) + left.long()).flatten(1)[:, None]

    def corner(offset: int) -> Tensor:
        # grid_sample has no forward mode.
        taken = fine.flatten(2).gather(2, (index + offset).expand(-1, channels, -1))
        return taken.view(-1, channels, *column.shape[1:])

    from_left, from_top = (column - left)[:, None], (row - top)[:, None]
    above = torch.lerp(corner(0), corner(1), from_left)
    below = torch.lerp(corner(2 * width - 1), corner(2 * width), from_left)
    warped = down_y @ torch.lerp(above, below, from_top) @ down_x.mT
    still = (inverse == torch.eye(3, dtype=inverse.dtype, device=inverse.device)).all(2).all(1)
    return torch.where(still[:, None, None, None], x, warped)


def recolour(x: Tensor, b: Tensor, c: Tensor, i: Tensor, theta: Tensor, s: Tensor) -> Tensor:
    """ADA's colour transformations: one 4x4 matrix per image (2x2 for one channel).

    With P the projection on the luma axis (1, 1, 1) and K the cross product with it, they are in order: x + b,
    c x, (I - 2 i P) x, (P + cos(theta) (I - P) + sin(theta) K) x and (P + s (I - P)) x. All but the first commute.
    On one channel P = I and K = 0, so hue and saturation have no effect.

    Args:
        x: (N, C, H, W).
        b: brightness added (N,).
        c: contrast factor (N,).
        i: 1 where luma is flipped, else 0 (N,).
        theta: hue rotation in radians (N,).
        s: saturation factor (N,).
    """
    channels = x.shape[1]
    eye = torch.eye(channels, dtype=theta.dtype, device=x.device)
    P = torch.full_like(eye, 1 / channels)
    K = (eye.roll(1, 0) - eye.roll(-1, 0)) / math.sqrt(3)
    cos, sin, of_luma, of_chroma = (
        factor[:, None, None] for factor in (theta.cos(), theta.sin(), c * (1 - 2 * i), c * s)
    )
    matrix = of_luma * P + of_chroma * (cos * (eye - P) + sin * K)
    # Channel by channel: a matrix product would round x if TF32 is allowed.
    matrix, shift = matrix.to(x.dtype)[..., None, None], (of_luma * b[:, None, None]).to(x.dtype)[..., None]
    return sum((matrix[:, :, k] * x[:, k : k + 1] for k in range(channels)), shift)


def _matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """(N, 3, 3) from the entries (N,) of its first two rows."""
    o = torch.zeros_like(rows[0][0])
    return torch.stack([torch.stack(row, -1) for row in (*rows, (o, o, o + 1))], -2)


def scale2d(x: Tensor, y: Tensor) -> Tensor:
    """Factors (N,) to the right and down -> (N, 3, 3)."""
    o = torch.zeros_like(x)
    return _matrix((x, o, o), (o, y, o))


def rotate2d(theta: Tensor) -> Tensor:
    """Radians (N,), from right towards down -> (N, 3, 3)."""
    cos, sin, o = theta.cos(), theta.sin(), torch.zeros_like(theta)
    return _matrix((cos, -sin, o), (sin, cos, o))


def translate2d(x: Tensor, y: Tensor) -> Tensor:
    """Pixels (N,) to the right and down -> (N, 3, 3)."""
    o = torch.zeros_like(x)
    return _matrix((o + 1, o, x), (o, o + 1, y))


def _bit(u: Tensor) -> Tensor:
    return (2 * u).floor()


def _angle(u: Tensor) -> Tensor:
    return (2 * u - 1) * math.pi


@in_full_precision
def ada(x: Tensor, u: Tensor, p: Tensor) -> Tensor:
    """The geometric and colour transformations of ADA (appendix B), each with probability p.

    u holds, in the paper's order, for each transformation a number that decides on it and then its parameters.
    """
    height, width = x.shape[2:]
    columns = iter(u.unbind(1))

    def draw(sample: Callable[[Tensor], Tensor], p: Tensor = p, parameters: int = 1) -> list[Tensor]:
        """Parameters (N,), 0 for images without the transformation; 0 always means no change."""
        applied = next(columns) < p
        return [torch.where(applied, sample(next(columns)), 0.0) for _ in range(parameters)]

    p_rot = 1 - (1 - p).sqrt()  # either of the two rotations is then applied with probability p
    (flip,) = draw(_bit)
    (quarters,) = draw(lambda u: (4 * u).floor())
    shift_x, shift_y = draw(lambda u: (u - 0.5) / 4, parameters=2)
    (isotropic,) = draw(normal)
    (before,) = draw(_angle, p_rot)
    (anisotropic,) = draw(normal)
    (after,) = draw(_angle, p_rot)
    slide_x, slide_y = draw(normal, parameters=2)
    # The paper multiplies these on the left, one by one, to get the map from x to the result. Its inverse is the
    # product of the inverses in drawing order.
    zoom, stretch = 2 ** (-0.2 * isotropic), 2 ** (-0.2 * anisotropic)
    inverse = (
        scale2d(1 - 2 * flip, torch.ones_like(flip))
        @ rotate2d(quarters * (math.pi / 2))
        @ translate2d(-(shift_x * width).round(), -(shift_y * height).round())
        @ scale2d(zoom, zoom)
        @ rotate2d(before)
        @ scale2d(stretch, 1 / stretch)
        @ rotate2d(after)
        @ translate2d(-0.125 * width * slide_x, -0.125 * height * slide_y)
    )
    x = warp(x, inverse)
    (brighter,) = draw(normal)
    (contrasted,) = draw(normal)
    (negated,) = draw(_bit)
    (hue,) = draw(_angle)
    (saturated,) = draw(normal)
    return recolour(x, 0.2 * brighter, 2 ** (0.5 * contrasted), negated, hue, 2**saturated)


AUGMENTATIONS: dict[str, Augmentation] = {
    "diffaugment": all_or_none(*COLOR, (2, translation), (2, cutout), axes=3),
    "color": all_or_none(*COLOR, axes=3),
    "translation": all_or_none((2, translation), axes=3),
    "cutout": all_or_none((2, cutout), axes=3),
    "ada": Augmentation(28, ada, axes=3),
    "shift": all_or_none((3, flip_and_shift), axes=3),
    "sound": SOUND,
    "clip": CLIP,
}


def adapt(state: Tensor, sign: Tensor, images: int, target: float, speed_kimg: float, every: int = 4) -> Tensor:
    """ADA's controller (section 3): moves p so that r_t = E[sign(D(real))] approaches `target`.

    Args:
        state: (3,) float64: p, the sum of the signs since p last moved, their count. Initially zeros.
        sign: (), mean of sign(D(real)) over the global batch of this update.
        images: real images in that batch.
        target: r_t at which p stays; the paper's is 0.6.
        speed_kimg: thousands of images in which p can go from 0 to 1; the paper's is 500.
        every: updates between two moves of p.

    Returns:
        The next state, on the same device, without a device synchronisation.
    """
    p, total, count = (state + torch.stack([torch.zeros_like(sign), sign, torch.ones_like(sign)])).unbind()
    step = images * every / (speed_kimg * 1000)
    moved = (p + step * torch.sign(total / count - target)).clamp(0, 1)
    start_again = torch.stack([moved, torch.zeros_like(moved), torch.zeros_like(moved)])
    return torch.where(count >= every, start_again, torch.stack([p, total, count]))
