"""Pictures drawn from the newest checkpoint of a run, the same at every drawing."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gandist.config.run import RunConfig
from gandist.config.sample import medium_of
from gandist.data import dataset
from gandist.errors import GandistError
from gandist.media.gallery import slerp
from gandist.media.medium import Medium, Preview
from gandist.run.trained import Trained, open_trained
from gandist.storage.remote import is_remote

COLUMNS = 10
MOST_CLASSES = 20
STRIPS = 4
"""Interpolations, one a row."""
FAKES, NEAREST = 8, 4
MOST_REAL = 20_000
CHEAP_BYTES = 64 * 64 * 3
"""`MOST_REAL` local samples of this size are looked at unasked: they take two seconds."""
GATHERED = 1000
"""Real images that are in memory at a time."""


class DrawnPicture(NamedTuple):
    title: str
    text: str
    labels: list[str]
    """What the rows show, where they differ in that."""
    preview: Preview


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
    if trained.condition.count:
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
    return not far and index.n * max(medium_of(config).row.n_bytes, CHEAP_BYTES) <= MOST_REAL * CHEAP_BYTES


def class_grid(trained: Trained) -> DrawnPicture:
    """A condition a row, and the same latents in each of them."""
    count = trained.condition.count
    shown = np.linspace(0, count - 1, min(count, MOST_CLASSES)).round().astype(np.int64)
    y = torch.from_numpy(shown)
    samples = trained.samples(trained.latents(COLUMNS).repeat(len(shown), 1), y.repeat_interleave(COLUMNS))
    which = "every class" if len(shown) == count else f"{len(shown)} of {count} classes"
    text = f"{which.capitalize()} a row, each column the same latents: what differs down a column, the class decides."
    return _picture("Classes", text, trained.condition.titles(y), trained, samples, COLUMNS)


def interpolations(trained: Trained) -> DrawnPicture:
    """From one latent to another along the sphere, a condition a row."""
    ends, y = trained.latents(2 * STRIPS), trained.conditions(STRIPS)
    a, b = (part.repeat_interleave(COLUMNS, dim=0) for part in (ends[::2], ends[1::2]))
    z = slerp(a, b, torch.linspace(0, 1, COLUMNS).repeat(STRIPS)[:, None])
    samples = trained.samples(z, None if y is None else y.repeat_interleave(COLUMNS, dim=0))
    labels = [] if y is None else trained.condition.titles(y)
    text = "From one latent to another along the sphere. Abrupt changes hint at images learnt by heart."
    return _picture("Interpolation", text, labels, trained, samples, COLUMNS)


def _picture(
    title: str, text: str, labels: list[str], trained: Trained, rows: np.ndarray, columns: int
) -> DrawnPicture:
    return DrawnPicture(title, text, labels, trained.medium.preview(rows, columns))


def nearest(trained: Trained) -> DrawnPicture:
    """Generated images, each before the training images nearest to it by pixels.

    Raises:
        GandistError: the training images cannot be read.
    """
    config = trained.config
    fakes = trained.draw(FAKES)
    index = dataset.open_index(config)
    samples = dataset.open_set(config, index)
    numbers = dataset.order_of(config, index).take(0, min(index.n, MOST_REAL))
    parts = np.array_split(numbers, -(-len(numbers) // GATHERED))
    reals = torch.cat([_coarse(trained.medium, samples.gather(part)[0]) for part in parts])
    k = min(NEAREST, len(numbers))
    found = torch.cdist(_coarse(trained.medium, fakes), reals).topk(k, largest=False).indices
    # One gather a fake: a damaged sample gives the same replacement here as in its part.
    rows = [
        np.stack([fake, *samples.gather(numbers[near])[0]]) for fake, near in zip(fakes, found.numpy(), strict=True)
    ]
    text = (
        f"First in each row a generated image, then its {k} nearest of {len(numbers):,} training images, by "
        "distance of their coarse features. Copies would be seen here."
    )
    return _picture("Nearest training images", text, [], trained, np.concatenate(rows), 1 + k)


def _coarse(medium: Medium, rows: np.ndarray) -> Tensor:
    """Features (n, F) of rows, by which neighbours are sought: by fine detail its position alone would decide."""
    return medium.coarse(medium.to_network(torch.from_numpy(rows)))
