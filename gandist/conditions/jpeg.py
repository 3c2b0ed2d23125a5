"""JPEG's loss on the device: what its entropy coding is given, decoded again; the coding itself loses nothing.

ITU-T T.81 and JFIF, with the choices of libjpeg, whose result this is but for the rounding inside its cosine transform:
the tables by quality, chroma at half the resolution (4:2:0), and its smooth way back up.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.conditions.operation import LUMA, TIE, WHITE, Operation, Range, Strength, drawn_whole, to_whole, within

BLOCK = 8
# T.81, tables K.1 and K.2.
LUMA_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_STEPS = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * BLOCK,) * 4,
)


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The cosine transform of a block's 64 values (64, 64), and the steps of luma and chroma (64,); all float64."""
    place = torch.arange(BLOCK, dtype=torch.float64)
    cosines = (math.pi / BLOCK * (place + 0.5) * place[:, None]).cos() / 2
    cosines[0] /= math.sqrt(2)
    tables = (torch.tensor(steps, dtype=torch.float64).flatten() for steps in (LUMA_STEPS, CHROMA_STEPS))
    transform, luma, chroma = (tensor.to(device) for tensor in (torch.kron(cosines, cosines), *tables))
    return transform, luma, chroma


def steps(quality: Tensor, table: Tensor) -> Tensor:
    """Quantisation steps (N, 64), 1 to 255, for qualities (N,) from 1 to 100."""
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)[:, None]
    return ((table * percent + 50) / 100).floor().clamp(1, WHITE)


def coded(plane: Tensor, steps: Tensor) -> Tensor:
    """Planes (N, C, H, W) of whole levels, H and W multiples of 8, through transform, rounding and back."""
    n, channels, height, width = plane.shape
    transform = _constants(plane.device)[0]
    blocks = plane.double().view(n, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    frequencies = (blocks.reshape(n, -1, BLOCK**2) - 128) @ transform.T / steps[:, None]
    whole = (frequencies.abs() + (0.5 + TIE)).floor() * frequencies.sign()
    back = ((whole * steps[:, None]) @ transform + 128).view(blocks.shape)
    return to_whole(back.transpose(3, 4).reshape(plane.shape)).clamp(0, WHITE).to(plane.dtype)


def _padded(plane: Tensor, rows: int, columns: int) -> Tensor:
    """The last row and column repeated up to a multiple of these numbers."""
    height, width = plane.shape[2:]
    return F.pad(plane, (0, -width % columns, 0, -height % rows), mode="replicate")


def _coded_at_any_size(plane: Tensor, steps: Tensor) -> Tensor:
    height, width = plane.shape[2:]
    return coded(_padded(plane, BLOCK, BLOCK), steps)[:, :, :height, :width]


def _halved(plane: Tensor) -> Tensor:
    """Means of 2 x 2 whole levels, halves rounded up in every other column only, as libjpeg does; and the width such
    that whole blocks remain, for libjpeg repeats columns before this, and rows after it."""
    plane = _padded(plane, 2, 2 * BLOCK)
    total = plane[:, :, ::2, ::2] + plane[:, :, 1::2, ::2] + plane[:, :, ::2, 1::2] + plane[:, :, 1::2, 1::2]
    bias = 1 + torch.arange(total.shape[3], device=plane.device) % 2
    return ((total + bias) / 4).floor()


def _doubled(plane: Tensor) -> Tensor:
    """Twice the resolution: three quarters of the nearer and a quarter of the further pixel along each axis."""
    padded = F.pad(plane, (1, 1, 1, 1), mode="replicate")
    middle = 3 * padded[:, :, 1:-1]
    tall = torch.stack([middle + padded[:, :, :-2], middle + padded[:, :, 2:]], 3).flatten(2, 3)
    middle = 3 * tall[:, :, :, 1:-1]
    wide = torch.stack([middle + tall[:, :, :, :-2] + 8, middle + tall[:, :, :, 2:] + 7], 4).flatten(3, 4)
    return (wide / 16).floor()


def jpeg(levels: Tensor, quality: Tensor, halve_chroma: bool = True) -> Tensor:
    """The image after saving it as a JPEG and opening it.

    Args:
        levels: (N, C, H, W) from 0 to 255. Three channels are red, green and blue; of another number each is grey.
        quality: (N,) whole numbers from 1 to 100, as libjpeg's.
        halve_chroma: store chroma at half the resolution (4:2:0), else at the full one (4:4:4).

    Returns:
        Whole levels (N, C, H, W).
    """
    _, luma_table, chroma_table = _constants(levels.device)
    of_luma, of_chroma = (steps(quality.double(), table) for table in (luma_table, chroma_table))
    levels = to_whole(levels)
    if levels.shape[1] != len(LUMA):
        return _coded_at_any_size(levels, of_luma)
    red, green, blue = levels[:, :, None].unbind(1)
    y = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    # (blue - y) and (red - y), scaled to lie within 127.5 of grey.
    chroma = torch.cat([(blue - y) / (2 - 2 * LUMA[2]), (red - y) / (2 - 2 * LUMA[0])], 1)
    chroma = to_whole(chroma + 128).clamp(0, WHITE)
    height, width = levels.shape[2:]
    if halve_chroma:
        small = _coded_at_any_size(_halved(chroma), of_chroma)[:, :, :, : (width + 1) // 2]
        chroma = _doubled(small)[:, :, :height, :width]
    else:
        chroma = _coded_at_any_size(chroma, of_chroma)
    y = _coded_at_any_size(to_whole(y), of_luma)
    cb, cr = (chroma - 128)[:, :, None].unbind(1)
    add_red, add_blue = (2 - 2 * LUMA[0]) * cr, (2 - 2 * LUMA[2]) * cb
    add_green = -(LUMA[0] * add_red + LUMA[2] * add_blue) / LUMA[1]
    return (y + to_whole(torch.cat([add_red, add_green, add_blue], 1))).clamp(0, WHITE)


class Jpeg(Operation):
    """Saved as a JPEG and opened again."""

    strength: ClassVar = Strength("quality", 0)

    quality: Annotated[Range, within(1, 100)] = (30.0, 95.0)
    """Whole numbers from 1 to 100, as libjpeg's and Pillow's."""
    chroma: Literal["4:2:0", "4:4:4"] = "4:2:0"
    """Colour at half the resolution, as most files have it, or at the full one."""

    def uniforms(self) -> int:
        return 1

    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        return jpeg(levels, drawn_whole(self.quality, u[:, 0]), self.chroma == "4:2:0")
