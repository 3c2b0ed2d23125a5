"""The whole set in the memory of the device that trains: a batch is taken there, and only its numbers are sent."""

import numpy as np
import torch
from torch import Tensor

from gandist.data.images import Images, MappedImages
from gandist.distributed import memory
from gandist.errors import ConfigError

SHARE = 0.25
"""Of the device's free memory, once the networks are in it, that a set may take unless it is asked for: activations,
the optimisers' state and evaluations come later."""
STEP_BYTES = 64 << 20


class ResidentImages:
    """Another kind of images, copied to the device once."""

    def __init__(self, images: Images, device: torch.device) -> None:
        """Read all of them.

        Raises:
            DataError: a sample is damaged, unless damage is skipped.
        """
        self.images, self.shape = images, images.shape
        self.pixels = torch.empty(self.shape, dtype=torch.uint8, device=device)
        step, conditions = max(1, STEP_BYTES * self.shape[0] // self.pixels.nbytes), []
        for numbers in np.array_split(np.arange(self.shape[0]), -(-self.shape[0] // step)):
            pixels, found = images.gather(numbers)
            self.pixels[int(numbers[0]) : int(numbers[-1]) + 1] = torch.from_numpy(pixels)
            conditions.append(found)
        self.conditions = torch.from_numpy(np.concatenate(conditions)).to(device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # they are read on other streams

    @property
    def damaged(self) -> int:
        return self.images.damaged

    def gather(self, numbers: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        return self.images.gather(numbers, out)

    def select(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """What `gather` gives, on the device; so are the numbers (N,) int64."""
        return self.pixels.index_select(0, numbers), self.conditions.index_select(0, numbers)


def place(images: Images, resident: str, device: torch.device) -> tuple[Images, str]:
    """The images from where a feed is to take them, and a line that says where that is, and why.

    Args:
        resident: `data.resident`.

    Raises:
        ConfigError: they are to be resident, and the device has not the memory.
    """
    kind, why = "streamed", "they do not fit half of data.cache_gib"
    if isinstance(images, MappedImages):
        kind, why = "mapped", "they fit half of data.cache_gib"
    (n, resolution, *_), n_bytes = images.shape, int(np.prod(images.shape))
    if isinstance(images, ResidentImages):
        kind, why = "resident", "they are there already"
    elif resident == "always" or (resident == "auto" and device.type == "cuda" and kind == "mapped"):
        free = memory.limit_bytes(device) - memory.used_bytes(device)
        room = f"of {free / 2**30:.3g} GiB free on {device}"
        if resident == "always" and n_bytes > free:
            raise ConfigError(
                f"data.resident: always, but the images take {n_bytes / 2**30:.3g} GiB {room}; set data.resident=auto"
            )
        if resident == "always" or n_bytes <= SHARE * free:
            images, kind, why = ResidentImages(images, device), "resident", f"they take {n_bytes / free:.1%} {room}"
        else:
            why += f", and take {n_bytes / free:.0%} {room}"
    return images, f"data={kind} n={n} resolution={resolution} bytes={n_bytes}: {why}"
