"""The media, by the names that `data.medium` takes."""

from gandist.media.audio import Audio
from gandist.media.image import Image
from gandist.media.medium import Medium
from gandist.media.text import Text
from gandist.media.video import Video

MEDIA: dict[str, type[Medium]] = {"image": Image, "audio": Audio, "video": Video, "text": Text}
