"""What the page asks for, drawn by each of its generators: samples of a latent, and films between two."""

import base64
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from torch import Tensor

from gandist.conditions.captions import Captions
from gandist.conditions.classes import Classes
from gandist.conditions.condition import Wish
from gandist.config.methods import latents_of
from gandist.data import dataset
from gandist.errors import ConfigError, DataError
from gandist.explore.directions import Directions, find_directions
from gandist.media.animated import webp_bytes
from gandist.media.film import frames_of
from gandist.media.gallery import slerp
from gandist.media.medium import Preview
from gandist.run.drawing import drawn
from gandist.run.trained import BATCH, Trained

T = TypeVar("T")

MOST_NUMBER = 9999
"""Of a seed's samples."""
FILM_STEPS, OTHER_STEPS, FPS = 32, 6, 16
"""Samples of a film of images, or of sounds, clips or texts side by side; frames per second."""
CAPTION = 1000
"""Characters of a caption, at most."""


class Model(NamedTuple):
    """A generator on the page."""

    name: str
    trained: Trained


class Recipe(BaseModel):
    """A sample: its latent is that of a seed, as gandist.sample draws it, or a given one, scaled and moved."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(0, ge=0, lt=2**53)
    number: int = Field(0, ge=0, le=MOST_NUMBER)
    """Which of the seed's samples, from 0."""
    latent: list[FiniteFloat] | None = None
    """Numbers in place of the seed's."""
    truncation: FiniteFloat = Field(1.0, ge=0, le=2)
    """Factor of the latent, before it is moved."""
    moves: list[FiniteFloat] = []
    """Along the directions, in standard deviations of a latent."""
    label: int | None = Field(None, ge=0)
    caption: str | None = Field(None, max_length=CAPTION)
    """None of both: the seed's class or caption."""


class Wanted(BaseModel):
    """A sample, or one between two."""

    model_config = ConfigDict(extra="forbid")

    a: Recipe
    b: Recipe | None = None
    t: FiniteFloat = Field(0.0, ge=0, le=1)
    """How far it lies on the way from a to b."""
    exact: bool = True
    """Draw the very bytes of gandist.sample, which takes a whole batch; else the sample alone, equal to rounding."""


class Point(NamedTuple):
    """A place of the latent space."""

    z: Tensor
    """(1, latents)."""
    y: Tensor | None
    """Condition (1, ...)."""
    said: str
    """The condition in words; empty without one."""


class Explorer:
    """The generators of a page. All they do is done in one thread, which computes as gandist.sample does.

    Use it as a context: it ends the thread.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.models, self.first = models, models[0].trained
        self._pool = ThreadPoolExecutor(1, "explore", torch.set_num_threads, (torch.get_num_threads(),))
        self.closing = threading.Event()
        for model in models:
            model.trained.G.requires_grad_(False)
        self.directions: Directions = self.do(partial(find_directions, self.first))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._pool.shutdown(cancel_futures=True)

    def do(self, work: Callable[[], T]) -> T:
        """The result of work that a generator does, in the thread of all such work."""
        return self._pool.submit(work).result()

    @cached_property
    def class_names(self) -> list[str]:
        """The names of the classes, or their numbers if the data cannot be read; none without classes."""
        condition = self.first.condition
        if not isinstance(condition, Classes):
            return []
        try:
            names = dataset.open_index(self.first.config).class_names
        except DataError:
            names = ()
        return [names[k] if k < len(names) else f"class {k}" for k in range(condition.classes)]

    def facts(self) -> dict[str, Any]:
        """What the page shows before anything is drawn."""
        medium = self.first.medium
        return {
            "models": [model.name for model in self.models],
            "noun": medium.nouns[0],
            "heard": ".wav" in medium.kinds,
            "plays": medium.played_fps is not None,
            "latents": latents_of(self.first.config),
            "classes": self.class_names,
            "captions": isinstance(self.first.condition, Captions),
            "shares": self.directions.shares,
            "layer": self.directions.layer,
            "extensions": medium.extensions,
            "extension": medium.extension,
            "most_number": MOST_NUMBER,
        }

    def point(self, recipe: Recipe) -> Point:
        """The latent and the condition of a recipe.

        Raises:
            ConfigError: the recipe does not fit the generators.
            DataError: the condition is to be the seed's, and the training set cannot be read.
        """
        n, trained = recipe.number + 1, self.first
        z = trained.latents(n, recipe.seed, recipe.truncation)[-1:]
        if recipe.latent is not None:
            if len(recipe.latent) != z.shape[1]:
                raise ConfigError(f"latent: has {len(recipe.latent)} numbers, and the generator takes {z.shape[1]}")
            z = torch.tensor([recipe.latent], device=z.device) * recipe.truncation
        if len(recipe.moves) > len(self.directions.vectors):
            raise ConfigError(f"moves: {len(recipe.moves)}, and there are {len(self.directions.vectors)} directions")
        for move, direction in zip(recipe.moves, self.directions.vectors, strict=False):
            z = z + move * direction.to(z.device) if move else z
        asked = trained.condition.asked(Wish(recipe.label, recipe.caption), 1, trained.encoder)
        if asked is not None:
            y = trained.told(asked)
            return Point(z, y, recipe.caption or self._said(y))
        every = trained.conditions(n, recipe.seed)
        if every is None:
            return Point(z, None, "")
        captioned = isinstance(trained.condition, Captions)
        return Point(z, every[-1:], trained.captions(n, recipe.seed)[-1] if captioned else self._said(every[-1:]))

    def _said(self, y: Tensor | None) -> str:
        return self.class_names[int(y)] if y is not None and self.class_names else ""

    def path(self, a: Point, b: Point, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latents (N, latents) and conditions at t (N,) in [0, 1] on the great arc from a to b; classes change half
        way."""
        n, at = len(t), t[:, None].to(a.z.device)
        z = slerp(a.z.expand(n, -1), b.z.expand(n, -1), at)
        if a.y is None or b.y is None:
            return z, None
        if self.first.condition.between():
            return z, slerp(a.y.expand(n, -1), b.y.expand(n, -1), at)
        return z, torch.where(at[:, 0] < 0.5, a.y, b.y)

    def draw(self, wanted: Wanted) -> dict[str, Any]:
        """The sample of each generator, for the page.

        Raises:
            ConfigError, DataError: as `point`.
        """
        z, y, said = self._one(wanted)
        of_models = [self._row(model.trained, wanted, z, y)[None] for model in self.models]
        previews = [_shown(self.first.medium.preview(rows, 1)) for rows in of_models]
        return {"samples": previews, "condition": said}

    def file(self, wanted: Wanted) -> bytes:
        """The first generator's sample as a file, as gandist.sample writes it to a folder.

        Raises:
            ConfigError, DataError: as `point`.
        """
        z, y, _ = self._one(wanted)
        return self.first.medium.encode(self._row(self.first, wanted, z, y))

    def _one(self, wanted: Wanted) -> Point:
        a = self.point(wanted.a)
        if wanted.b is None:
            return a
        b = self.point(wanted.b)
        z, y = self.path(a, b, torch.tensor([wanted.t]))
        return Point(z, y, (a if wanted.t < 0.5 else b).said)

    def _row(self, trained: Trained, wanted: Wanted, z: Tensor, y: Tensor | None) -> np.ndarray:
        """One sample (1, ...) as a row of the medium. The exact one lies where gandist.sample has it in its batch, for
        rounding may differ from place to place."""
        if not wanted.exact:
            return self.do(partial(_quick, trained, z, y))
        times = wanted.a.number % BATCH + 1
        repeated = z.repeat(times, 1), None if y is None else y.repeat(times, *[1] * (y.dim() - 1))
        last: np.ndarray = self._rows(trained, *repeated)[-1]
        return last

    def _rows(self, trained: Trained, z: Tensor, y: Tensor | None) -> np.ndarray:
        return self.do(lambda: np.concatenate([*drawn(trained, z, y)]))

    def film(self, wanted: Wanted) -> dict[str, Any]:
        """The way from a to b and back as an animation of images, or the samples of other media on the way, for the
        page: of each generator.

        Raises:
            ConfigError: b is missing; otherwise as `point`.
            DataError: as `point`.
        """
        if wanted.b is None:
            raise ConfigError("b: a film goes from one sample to another; give both")
        medium = self.first.medium
        of_images = ".webp" in medium.kinds and medium.played_fps is None
        t = torch.linspace(0, 1, FILM_STEPS if of_images else OTHER_STEPS)
        z, y = self.path(self.point(wanted.a), self.point(wanted.b), t)
        found = []
        for model in self.models:
            rows = self._rows(model.trained, z, y)
            if of_images:
                there_and_back = np.concatenate([rows, rows[-2:0:-1]])
                frames = [Image.fromarray(frame) for frame in frames_of([there_and_back])]
                found.append(_shown(Preview(webp_bytes(frames, FPS), ".webp")))
            else:
                heard = medium.heard(rows)
                shown = medium.preview(rows, math.ceil(math.sqrt(len(rows))))
                found.append(_shown(shown._replace(sounds=() if heard is None else (heard,))))
        return {"samples": found}

    def target(self, row: np.ndarray) -> dict[str, Any]:
        """A row of the medium, for the page."""
        x = self.first.medium.to_network(torch.from_numpy(row)[None])
        return _shown(self.first.medium.preview(self.first.medium.from_network(x).numpy(), 1))


@torch.no_grad()
def _quick(trained: Trained, z: Tensor, y: Tensor | None) -> np.ndarray:
    """A sample in a batch of its own."""
    return np.ascontiguousarray(trained.medium.from_network(trained.G(z, y)).cpu().numpy()[0])


def _shown(preview: Preview) -> dict[str, Any]:
    """A preview for the page: pictures and sounds as `data:` addresses, texts as lines."""
    if preview.suffix == ".txt":
        return {"lines": preview.lines}
    return {
        "picture": _uri(preview.mime, preview.content),
        "still": _uri("image/png", preview.still) if preview.still else None,
        "sounds": [_uri("audio/wav", sound) for sound in preview.sounds],
    }


def _uri(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
