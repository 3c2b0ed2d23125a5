"""Grids of sample images, and interpolation between latents."""

import io

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

CELL_PX = 96
"""Smaller images are enlarged by the largest whole factor that stays within this size."""


def grid(images: npt.NDArray[np.uint8], columns: int, gap: int = 2) -> Image.Image:
    """Lay images out row by row on white; small ones are enlarged without smoothing.

    Args:
        images: uint8, (N, H, W, C) with C = 1 (grey) or 3 (RGB); for one class per row, `columns` images of each
            class in turn.
        columns: images per row; the last row may be short.
        gap: pixels between the images.

    Raises:
        ValueError: images of another shape or type, no images, or `columns` below 1.
    """
    if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8 or images.size == 0:
        raise ValueError(f"images: need uint8 (N, H, W, 1 or 3), got {images.dtype} {images.shape}")
    if columns < 1:
        raise ValueError(f"columns: need at least 1, got {columns}")
    cells = enlarged(images, CELL_PX)
    n, height, width, channels = cells.shape
    rows = -(-n // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, dtype=np.uint8)
    for i, cell in enumerate(cells):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        canvas[top : top + height, left : left + width] = cell
    return Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas)


def enlarged(images: npt.NDArray[np.uint8], within_px: int) -> npt.NDArray[np.uint8]:
    """Images (N, H, W, C) as (N, s H, s W, C), with the largest whole factor s that stays within `within_px`."""
    scale = max(1, within_px // max(images.shape[1:3]))
    return images.repeat(scale, axis=1).repeat(scale, axis=2)


def as_uint8(x: Tensor) -> Tensor:
    """Images (N, C, H, W) in [-1, 1], of any float type, as uint8 (N, C, H, W) on the same device."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def png_bytes(image: Image.Image) -> bytes:
    """The image as a PNG file; equal images give equal bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def png_of(image: npt.NDArray[np.uint8]) -> bytes:
    """One image (H, W, C) as a PNG file."""
    return png_bytes(Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image))


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate latents a and b (N, Z) at t (N, 1) in [0, 1] along the great arc (White 2016, arXiv:1609.04468)."""
    a64, b64 = a.double(), b.double()
    cosine = torch.nn.functional.cosine_similarity(a64, b64, dim=1, eps=1e-12).clamp(-1 + 1e-12, 1 - 1e-12)
    omega = cosine.acos()[:, None]
    t = t.double()
    return ((((1 - t) * omega).sin() * a64 + (t * omega).sin() * b64) / omega.sin()).to(a.dtype)


def circuit(z: Tensor, steps: int) -> Tensor:
    """A closed path through latents z (N, Z) with `steps` steps from each to the next: (N * steps, Z). Row i * steps is
    z[i], and the last row is one step before the first."""
    t = torch.arange(steps, device=z.device).repeat(len(z))[:, None] / steps
    return slerp(z.repeat_interleave(steps, 0), z.roll(-1, 0).repeat_interleave(steps, 0), t)
