"""Pictures drawn from the newest checkpoint of a run; each drawing gives the same pictures."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gandist.conditions.sample import OfSample
from gandist.config.run import RunConfig
from gandist.config.sample import medium_of
from gandist.data import dataset
from gandist.errors import GandistError
from gandist.media.gallery import slerp
from gandist.media.medium import Medium, Preview
from gandist.report.examples import EACH, Example, examples, several
from gandist.run.trained import Trained, open_trained
from gandist.storage.remote import is_remote

COLUMNS = 10
MOST_CLASSES = 20
STRIPS = 4
"""Number of interpolations, one per row."""
FAKES, NEAREST = 8, 4
MOST_REAL = 20_000
CHEAP_BYTES = 64 * 64 * 3
"""Maximum bytes of a sample for `cheap`: reading `MOST_REAL` local samples of this size takes two seconds."""
HEARD_BYTES = 1_000_000
"""Maximum bytes of the sounds of a picture, if one of each row takes less."""
GATHERED = 1000
"""Real samples in memory at a time."""


class DrawnPicture(NamedTuple):
    title: str
    text: str
    labels: list[str]
    """What the rows show, where they differ in that."""
    preview: Preview
    """Its sounds are the rows', each from left to right."""
    heard: str = ""
    """What of the rows can be heard."""
    columns: int = 1
    """Samples of a row."""

    @property
    def lines(self) -> list[tuple[str, tuple[str, ...]]]:
        """The texts of each row, by its label; none if samples are no texts."""
        told = self.preview.lines
        rows = [told[at : at + self.columns] for at in range(0, len(told), self.columns)]
        return list(zip(self.labels or map(str, range(1, 1 + len(rows))), rows, strict=True))


class Drawn(NamedTuple):
    """What could be drawn of a run."""

    pictures: list[DrawnPicture]
    missing: list[str]
    """The reasons why other pictures could not be drawn."""
    examples: list[Example]
    """Of a run whose G is given samples."""


def draw(run: str, neighbours: bool | None = None) -> Drawn:
    """Pictures of a run. It uses the CPU: a run may occupy the GPU.

    `neighbours`: whether to read up to `MOST_REAL` training samples; None: only if that is cheap.
    """
    try:
        trained = open_trained(run, torch.device("cpu"))
    except GandistError as error:
        return Drawn([], [str(error)], [])
    if isinstance(trained.condition, OfSample):
        return _of_samples(trained)
    pictures: list[DrawnPicture] = []
    missing: list[str] = []
    if trained.condition.count:
        pictures.append(class_grid(trained))
    try:
        pictures.append(interpolations(trained))
        if neighbours or (neighbours is None and cheap(trained.config)):
            pictures.append(nearest(trained))
        elif neighbours is None:
            many = trained.medium.nouns[1]
            missing.append(f"nearest training {many}, for the set is large or far; --neighbours draws them")
    except GandistError as error:
        missing.append(str(error))
    return Drawn(pictures, missing, [])


def _of_samples(trained: Trained) -> Drawn:
    """Examples, and several outputs for one input: this G has nothing to interpolate, and its outputs lie near
    training images where these are its targets."""
    try:
        shown, varied = examples(trained), several(trained)
    except GandistError as error:
        return Drawn([], [str(error)], [])
    if varied is None:
        return Drawn([], [], shown)
    text = f"In each row what G is given, {EACH} of its outputs from different latents, and the target."
    return Drawn([_picture("Several outputs", text, [], trained, varied, EACH + 2)], [], shown)


def cheap(config: RunConfig) -> bool:
    """Whether the training samples are local, few and small enough to be read by default.

    Raises:
        GandistError: the samples cannot be read.
    """
    if is_remote(config.data.path):
        return False
    index = dataset.open_index(config)
    far = any(is_remote(index.url(shard)) for shard in range(index.shards.num_rows))
    return not far and index.n * max(medium_of(config).row.n_bytes, CHEAP_BYTES) <= MOST_REAL * CHEAP_BYTES


def class_grid(trained: Trained) -> DrawnPicture:
    """A condition per row, with the same latents in each row."""
    count = trained.condition.count
    shown = np.linspace(0, count - 1, min(count, MOST_CLASSES)).round().astype(np.int64)
    y = torch.from_numpy(shown)
    samples = trained.samples(trained.latents(COLUMNS).repeat(len(shown), 1), y.repeat_interleave(COLUMNS))
    which = "every class" if len(shown) == count else f"{len(shown)} of {count} classes"
    text = f"{which.capitalize()} a row, each column the same latents: what differs down a column, the class decides."
    return _picture("Classes", text, trained.condition.titles(y), trained, samples, COLUMNS)


def interpolations(trained: Trained) -> DrawnPicture:
    """Interpolations between two latents along the sphere, a condition per row."""
    ends, y = trained.latents(2 * STRIPS), trained.conditions(STRIPS)
    a, b = (part.repeat_interleave(COLUMNS, dim=0) for part in (ends[::2], ends[1::2]))
    z = slerp(a, b, torch.linspace(0, 1, COLUMNS).repeat(STRIPS)[:, None])
    samples = trained.samples(z, None if y is None else y.repeat_interleave(COLUMNS, dim=0))
    labels = [] if y is None else trained.condition.titles(y)
    many = trained.medium.nouns[1]
    text = f"From one latent to another along the sphere. Abrupt changes hint at {many} learnt by heart."
    return _picture("Interpolation", text, labels, trained, samples, COLUMNS)


def _picture(
    title: str, text: str, labels: list[str], trained: Trained, rows: np.ndarray, columns: int
) -> DrawnPicture:
    sounds, heard = _heard(trained.medium, rows, columns)
    preview = trained.medium.preview(rows, columns)._replace(sounds=sounds)
    return DrawnPicture(title, text, labels, preview, heard, columns)


def _heard(medium: Medium, rows: np.ndarray, columns: int) -> tuple[tuple[bytes, ...], str]:
    """A sound of each line of a grid, and what of the lines it plays, in words; at most about `HEARD_BYTES` in all."""
    lines = rows.reshape(-1, columns, *rows.shape[1:])
    one = medium.heard(lines[0, :1])
    if one is None:
        return (), ""
    most = max(1, HEARD_BYTES // len(one))
    kept = min(len(lines), most)
    across = np.unique(np.linspace(0, columns - 1, min(columns, max(1, most // kept))).round().astype(int))
    sounds = tuple(sound for line in lines[:kept] if (sound := medium.heard(line[across])) is not None)
    few = [f"{len(across)} of the {columns} of each row"] if len(across) < columns else []
    few += [f"{kept} of {len(lines)} rows"] if kept < len(lines) else []
    said = f"; to keep the page small, {' and '.join(few)}" if few else ""
    return sounds, f"Heard: each row from left to right{said}."


def nearest(trained: Trained) -> DrawnPicture:
    """Generated samples, each with the training samples nearest to it in their coarse features.

    Raises:
        GandistError: the training samples cannot be read.
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
    # One gather per fake: a damaged sample gets the same replacement here as above. More of a real sample may be kept
    # than G makes, to cut from.
    rows = [
        np.stack([fake, *samples.gather(numbers[near])[0][:, : len(fake)]])
        for fake, near in zip(fakes, found.numpy(), strict=True)
    ]
    one, many = trained.medium.nouns
    text = (
        f"First in each row a generated {one}, then its {k} nearest of {len(numbers):,} training {many}, by "
        "distance of their coarse features. Copies would be seen here."
    )
    return _picture(f"Nearest training {many}", text, [], trained, np.concatenate(rows), 1 + k)


def _coarse(medium: Medium, rows: np.ndarray) -> Tensor:
    """Coarse features (n, F) of rows for the search of neighbours: comparing fine detail would only compare its
    position."""
    return medium.coarse(medium.to_network(torch.from_numpy(rows)))
