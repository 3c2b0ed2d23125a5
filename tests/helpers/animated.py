"""Clips of squares that move, and animations as they are decoded."""

import io

import numpy as np
from PIL import Image, ImageSequence


def moving(n: int, frames: int, size: int, channels: int = 1) -> np.ndarray:
    """Clips (n, frames, size, size, channels) uint8: a square, lighter in each clip, that goes from left to right."""
    clips = np.zeros((n, frames, size, size, channels), np.uint8)
    side = size // 4
    for clip in range(n):
        for frame in range(frames):
            left = frame * (size - side) // (frames - 1)
            clips[clip, frame, side : 2 * side, left : left + side] = 55 + 200 * (clip + 1) // n
    return clips


def decoded(data: bytes) -> tuple[list[np.ndarray], list[int], Image.Image]:
    """RGB frames of an animation, their milliseconds, and the opened file."""
    image = Image.open(io.BytesIO(data))
    frames, lengths_ms = [], []
    for frame in ImageSequence.Iterator(image):
        frames.append(np.asarray(frame.convert("RGB")))
        lengths_ms.append(int(frame.info["duration"]))
    return frames, lengths_ms, image
