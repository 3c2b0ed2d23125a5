"""Previews of several generators side by side, each below its label: pictures, and animations that play."""

import io
from bisect import bisect_right
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from gandist.media.animated import played, played_bytes
from gandist.media.medium import Medium

COLUMNS, LABEL_PX = 6, 40


def side_by_side(examples: dict[str, np.ndarray], medium: Medium) -> Image.Image:
    """A preview of each variant's rows (n, *row.shape) below its label; of clips some frame by frame."""
    previews = {label: medium.preview(rows, COLUMNS) for label, rows in examples.items()}
    return _labelled({label: Image.open(io.BytesIO(each.still or each.content)) for label, each in previews.items()})


def playing(examples: dict[str, np.ndarray], medium: Medium) -> bytes | None:
    """Previews that play, each below its label, as one animated WebP; None of samples that do not."""
    previews = [medium.preview(rows, COLUMNS) for rows in examples.values()]
    if not previews[0].plays:
        return None
    # Equal frames are stored as one, so that each variant has frames of its own lengths.
    animations = [played(preview.content) for preview in previews]
    times = sorted({begin for _, begins, _ in animations for begin in begins})
    frames = [
        _labelled(
            {
                label: shown[bisect_right(begins, time) - 1]
                for label, (shown, begins, _) in zip(examples, animations, strict=True)
            }
        )
        for time in times
    ]
    end = max(end for *_, end in animations)
    return played_bytes(frames, np.diff([*times, end]).tolist())


def _labelled(pictures: Mapping[str, Image.Image]) -> Image.Image:
    """Pictures side by side, each below its label."""
    width, height = (max(sizes) for sizes in zip(*(picture.size for picture in pictures.values()), strict=True))
    canvas = Image.new("RGB", (len(pictures) * (width + LABEL_PX) - LABEL_PX, height + LABEL_PX), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (label, picture) in enumerate(pictures.items()):
        left = i * (width + LABEL_PX)
        draw.text((left, LABEL_PX // 8), label, fill="black", font_size=LABEL_PX // 2)
        canvas.paste(picture, (left, LABEL_PX))
    return canvas
