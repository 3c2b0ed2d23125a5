"""Pictures drawn from the newest checkpoint of a run, the same at every drawing."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gandist.config.run import RunConfig
from gandist.data import dataset
from gandist.data.remote import is_remote
from gandist.errors import GandistError
from gandist.media.gallery import grid, png_bytes, slerp
from gandist.run.trained import Trained, open_trained

COLUMNS = 10
MOST_CLASSES = 20
STRIPS = 4
"""Interpolations, one a row."""
FAKES, NEAREST = 8, 4
MOST_REAL = 20_000
CHEAP_PX = 64
"""So many images, local and of this height and width, are looked at unasked: they take two seconds."""
GATHERED = 1000
"""Real images that are in memory at a time."""
COARSE_PX = 8
"""Neighbours are sought at this resolution: pixel by pixel, fine detail would decide by its position alone."""


class DrawnPicture(NamedTuple):
    title: str
    text: str
    labels: list[str]
    """What the rows show, where they differ in that."""
    png: bytes


def draw(run: str, neighbours: bool | None = None) -> tuple[list[DrawnPicture], list[str]]:
    """Pictures of a run, and what could not be drawn with the reason. On the CPU: a run may hold the GPU.

    `neighbours` reads up to `MOST_REAL` training images; None: where that is cheap.
    """
    pictures: list[DrawnPicture] = []
    missing: list[str] = []
    try:
        trained = open_trained(run, torch.device("cpu"))
    except GandistError as error:
        return [], [str(error)]
    if trained.config.model.classes:
        pictures.append(class_grid(trained))
    try:
        pictures.append(interpolations(trained))
        if neighbours or (neighbours is None and cheap(trained.config)):
            pictures.append(nearest(trained))
        elif neighbours is None:
            missing.append("nearest training images, for the set is large or far; --neighbours draws them")
    except GandistError as error:
        missing.append(str(error))
    return pictures, missing


def cheap(config: RunConfig) -> bool:
    """Whether the training images are near and few enough to be looked at unasked.

    Raises:
        GandistError: they cannot be read.
    """
    if is_remote(config.data.path):
        return False
    index = dataset.open_index(config)
    far = any(is_remote(index.url(shard)) for shard in range(index.shards.num_rows))
    pixels = index.n * max(config.model.resolution, CHEAP_PX) ** 2
    return not far and pixels <= MOST_REAL * CHEAP_PX**2


def class_grid(trained: Trained) -> DrawnPicture:
    """A class a row, and the same latents in each of them."""
    classes = trained.config.model.classes
    shown = np.linspace(0, classes - 1, min(classes, MOST_CLASSES)).round().astype(np.int64)
    y = torch.from_numpy(shown).repeat_interleave(COLUMNS)
    images = trained.images(trained.latents(COLUMNS).repeat(len(shown), 1), y)
    which = "every class" if len(shown) == classes else f"{len(shown)} of {classes} classes"
    text = f"{which.capitalize()} a row, each column the same latents: what differs down a column, the class decides."
    return DrawnPicture("Classes", text, [f"class {number}" for number in shown], png_bytes(grid(images, COLUMNS)))


def interpolations(trained: Trained) -> DrawnPicture:
    """From one latent to another along the sphere, a condition a row."""
    ends, y = trained.latents(2 * STRIPS), trained.conditions(STRIPS)
    a, b = (part.repeat_interleave(COLUMNS, dim=0) for part in (ends[::2], ends[1::2]))
    z = slerp(a, b, torch.linspace(0, 1, COLUMNS).repeat(STRIPS)[:, None])
    images = trained.images(z, None if y is None else y.repeat_interleave(COLUMNS, dim=0))
    labels = [f"class {label}" for label in y.tolist()] if trained.config.model.classes and y is not None else []
    text = "From one latent to another along the sphere. Abrupt changes hint at images learnt by heart."
    return DrawnPicture("Interpolation", text, labels, png_bytes(grid(images, COLUMNS)))


def nearest(trained: Trained) -> DrawnPicture:
    """Generated images, each before the training images nearest to it by pixels.

    Raises:
        GandistError: the training images cannot be read.
    """
    config = trained.config
    fakes = trained.draw(FAKES)
    index = dataset.open_index(config)
    images = dataset.open_set(config, index)
    numbers = dataset.order_of(config, index).take(0, min(index.n, MOST_REAL))
    parts = np.array_split(numbers, -(-len(numbers) // GATHERED))
    reals = torch.cat([coarse(images.gather(part)[0]) for part in parts])
    k = min(NEAREST, len(numbers))
    found = torch.cdist(coarse(fakes), reals).topk(k, largest=False).indices
    # One gather a fake: a damaged sample gives the same replacement here as in its part.
    rows = [np.stack([fake, *images.gather(numbers[near])[0]]) for fake, near in zip(fakes, found.numpy(), strict=True)]
    pixels = np.ascontiguousarray(np.concatenate(rows).transpose(0, 3, 1, 2))
    text = (
        f"First in each row a generated image, then its {k} nearest of {len(numbers):,} training images, by "
        f"distance of pixels at {COARSE_PX} x {COARSE_PX}. Copies would be seen here."
    )
    return DrawnPicture("Nearest training images", text, [], png_bytes(grid(pixels, 1 + k)))


def coarse(images: np.ndarray) -> Tensor:
    """uint8 (n, R, R, C) -> (n, 64 C), averaged to `COARSE_PX`."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return torch.nn.functional.adaptive_avg_pool2d(x, COARSE_PX).flatten(1)
