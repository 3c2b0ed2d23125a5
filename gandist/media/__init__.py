"""What a sample is: `medium.Medium` is the interface, and each kind of sample a file here.

Also what a sample looks like outside the networks: grids and films. May import `gandist.storage` and what lies below.
"""

from gandist.media.image import Image
from gandist.media.medium import Medium, Preview, Row

MEDIA: dict[str, type[Medium]] = {"image": Image}
"""By the names that `data.medium` takes."""

__all__ = ["MEDIA", "Image", "Medium", "Preview", "Row"]
