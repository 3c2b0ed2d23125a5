"""Grids of sample images."""

import io

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

CELL_PX = 96
"""Images smaller than this are enlarged by the whole factor that keeps them within it."""


def grid(images: npt.NDArray[np.uint8], columns: int, gap: int = 2) -> Image.Image:
    """Lay images out row by row on white, small ones enlarged pixel by pixel.

    Args:
        images: uint8, (N, C, H, W) with C = 1 (grey) or 3 (RGB); for one class a row, `columns` images of
            each class in turn.
        columns: images in a row; the last row may be short.
        gap: pixels between the images.

    Raises:
        ValueError: images of another shape or type, none at all, or `columns` below 1.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype != np.uint8 or images.size == 0:
        raise ValueError(f"images: need uint8 (N, 1 or 3, H, W), got {images.dtype} {images.shape}")
    if columns < 1:
        raise ValueError(f"columns: need at least 1, got {columns}")
    n, channels, height, width = images.shape
    scale = max(1, CELL_PX // max(height, width))
    cells = images.transpose(0, 2, 3, 1).repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = height * scale, width * scale
    rows = -(-n // columns)
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, dtype=np.uint8)
    for i, cell in enumerate(cells):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        canvas[top : top + height, left : left + width] = cell
    return Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas)


def as_pixels(x: Tensor) -> npt.NDArray[np.uint8]:
    """Images (N, C, H, W) in [-1, 1], of any float type and on any device, as uint8 (N, C, H, W)."""
    pixels = ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.cpu().numpy())


def png_bytes(image: Image.Image) -> bytes:
    """The image as a PNG file; equal images give equal bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
