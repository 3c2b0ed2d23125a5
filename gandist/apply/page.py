"""`compare.html`: each picture before and after, with a slider between them."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gandist.apply.holes import Holes
from gandist.apply.inputs import Input, result_of
from gandist.apply.pictures import read_picture
from gandist.media.medium import Preview
from gandist.report.document import document

TEMPLATES = Path(__file__).parent
FILE = "compare.html"
MAX_SHOWN = 100
"""Pictures of a page."""
MAX_PX = 1400
"""Larger pictures are shown at this size."""
LOSSLESS_PX, LEAST_PX = 256, 320
"""Pictures up to this size are embedded as PNG, larger ones as JPEG; those below the other one are shown enlarged."""
GREY = 128


class Pair(NamedTuple):
    """A picture on the page."""

    name: str
    before: Preview
    after: Preview
    sizes: str
    width: int
    """Pixels of a screen."""


def comparison(run: str, out: Path, sources: Sequence[Input], holes: Holes | None) -> str:
    """The page of these pictures and their results, of the first `MAX_SHOWN`."""
    shown = [_pair(source, out, holes) for source in sources[:MAX_SHOWN]]
    return document(TEMPLATES, run=run, pairs=shown, total=len(sources), filled=holes is not None)


def _pair(source: Input, out: Path, holes: Holes | None) -> Pair:
    with Image.open(result_of(source, out)) as stored:
        size, after = stored.size, _opaque(stored)
    after.thumbnail((MAX_PX, MAX_PX), Image.Resampling.LANCZOS)
    picture = read_picture(source.path, 3)
    pixels = picture.pixels
    if holes is not None:
        pixels = np.where(holes.of(source, picture)[..., None], np.uint8(GREY), pixels)
    elif picture.alpha is not None:
        pixels = np.asarray(_opaque(Image.fromarray(np.dstack([pixels, picture.alpha]))))
    before = Image.fromarray(pixels)
    sizes = f"{before.width}x{before.height} to {size[0]}x{size[1]}"
    before.thumbnail((MAX_PX, MAX_PX), Image.Resampling.LANCZOS)
    width = after.width * max(1, LEAST_PX // max(after.size))
    return Pair(str(source.name), _embedded(before), _embedded(after), sizes, width)


def _opaque(image: Image.Image) -> Image.Image:
    """RGB; what is transparent lies on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _embedded(image: Image.Image) -> Preview:
    sink = io.BytesIO()
    if max(image.size) <= LOSSLESS_PX:
        image.save(sink, "PNG")
        return Preview(sink.getvalue(), ".png")
    image.save(sink, "JPEG", quality=92, subsampling=0)
    return Preview(sink.getvalue(), ".jpg")
