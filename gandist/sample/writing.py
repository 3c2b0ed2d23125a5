"""Draw samples and write them: one by one, in an archive, in a grid, or as an interpolation from one to the next."""

import argparse
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gandist.conditions.condition import Wish, Written
from gandist.conditions.sample import OfSample
from gandist.config.sample import shapes
from gandist.data import files
from gandist.data.index import Index
from gandist.data.text import with_vectors
from gandist.errors import ConfigError
from gandist.gan.networks import NETWORKS
from gandist.media import film
from gandist.media.animated import mp4_bytes, strips
from gandist.media.gallery import circuit
from gandist.media.text import KINDS as TEXTS
from gandist.media.text import jsonl_bytes
from gandist.run.drawing import devices_of, drawn
from gandist.run.examples import ExampleConditions
from gandist.run.trained import BATCH, Conditions, Trained
from gandist.sample.destination import FILMS
from gandist.storage.atomic import write_atomically

N, N_FILM, STEPS, FPS = 100, 8, 30, 30
"""Defaults: samples, samples that an interpolation goes through, frames from one to the next, frames per second."""


def condition_of(trained: Trained, wish: Wish, n: int, seed: int) -> Conditions | None:
    """The requested condition (n, ...); random if none is requested, None for an unconditional run.

    Raises:
        ConfigError: the run has no such condition; the message names the option.
    """
    asked = trained.condition.asked(wish, n, trained.encoder)
    return trained.random_conditions(n, seed) if asked is None else trained.told(asked)


def varied(trained: Trained, z: Tensor, y: Conditions | None, part: str) -> tuple[Tensor, Conditions | None]:
    """Latents (N, latents) and conditions that are the first's for all, but for one part of the latents.

    Raises:
        ConfigError: the latents of the run's pair have no such part.
    """
    name = trained.config.model.name
    of_pair = NETWORKS[name].parts
    parts = {} if of_pair is None else of_pair(shapes(trained.config)[0])
    if part not in parts:
        able = ", ".join(other for other, pair in NETWORKS.items() if pair.parts is not None) or "none"
        raise ConfigError(f"--vary {part}: the latents of {name} have no parts; those of these pairs do: {able}")
    only = z[:1].repeat(len(z), 1)
    only[:, parts[part]] = z[:, parts[part]]
    return only, None if y is None else y[[0] * len(z)]


def write(trained: Trained, options: argparse.Namespace, kind: str) -> str:
    """Draw the requested samples into `options.out`; return a description of them.

    Raises:
        GandistError: the samples cannot be drawn or written.
    """
    medium, (_, many), differ = trained.medium, trained.medium.nouns, ""
    interpolated = (kind in FILMS and medium.played_fps is None) or (kind == ".txt" and bool(options.frames))
    n = options.n or (N_FILM if interpolated else N)
    wish = Wish(options.label, options.caption)
    y = condition_of(trained, wish, n, options.seed)
    z = trained.latents(n, options.seed, options.truncation)
    if options.vary:
        (z, y), differ = varied(trained, z, y, options.vary), f" that differ in {options.vary} alone"
    draw = functools.partial(drawn, trained, devices=devices_of(options.device))
    if interpolated:
        return interpolation(trained, options, z, y, draw)
    out, batches = Path(options.out), shown(draw(z, y), n, many)
    fps = options.fps or medium.played_fps or FPS
    if kind in FILMS:
        film.write_grid(out, np.concatenate(list(batches)), fps)
        return f"{n} {many}{differ} in a grid"
    if kind == ".png":
        write_atomically(out, grid(trained, np.concatenate(list(batches)), y))
        return f"{n} pairs of input and output" if isinstance(y, ExampleConditions) else f"{n} {many}{differ}"
    if kind == ".wav":
        heard = medium.heard(np.concatenate(list(batches)))
        assert heard is not None, "a medium of this kind can be heard"
        write_atomically(out, heard)
        return f"{n} {many} in a row"
    labels, captions = written(trained, y, wish, options.seed, alike=bool(options.vary))
    if kind in TEXTS:
        rows = np.concatenate(list(batches))
        write_atomically(out, medium.preview(rows, 1).content if kind == ".txt" else jsonl_bytes(medium, rows, labels))
        return f"{n} {many}"
    encode, extension = medium.encode, medium.extension
    if not kind and medium.played_fps is not None:
        encode, extension = functools.partial(mp4_bytes, fps=fps), "mp4"
    samples = files.encoded(batches, encode)
    if kind == ".zip":
        files.write_zip(out, samples, labels, captions, extension)
    elif kind == ".tar":
        embed = functools.partial(with_captions, trained, captions, y)
        files.write_shards(options.out, n, samples, labels, captions, extension=extension, embed=embed)
    else:
        files.write_folder(out, samples, extension)
    return f"{n} {many}{differ}"


def interpolation(
    trained: Trained,
    options: argparse.Namespace,
    z: Tensor,
    y: Conditions | None,
    draw: Callable[[Tensor, Conditions | None], Iterable[np.ndarray]],
) -> str:
    """Write a film, or the lines of texts, that go through the samples of latents z (N, latents) and conditions; return
    a description of it.

    Raises:
        GandistError: G is given pictures, or the film cannot be written.
    """
    (n, _), (_, many), out = z.shape, trained.medium.nouns, Path(options.out)
    steps, fps, of_class = options.frames or STEPS, options.fps or FPS, ""
    if isinstance(y, ExampleConditions):
        raise ConfigError(
            f"--out {out}: an interpolation goes from latent to latent, and G of this run is given pictures; draw a "
            ".png, or use gandist.apply"
        )
    if y is not None and trained.condition.between():
        y = circuit(y, steps)
    elif y is not None:
        of_class, y = f" of {trained.condition.titles(y[:1])[0]}", y[:1].expand(n * steps)
    frames = shown(draw(circuit(z, steps), y), n * steps, many)
    if out.suffix.lower() in TEXTS:
        write_atomically(out, trained.medium.preview(np.concatenate(list(frames)), 1).content)
        return f"{n * steps} lines through {n} {many}{of_class}"
    (film.write_mp4 if out.suffix.lower() == ".mp4" else film.write_webp)(out, frames, fps)
    return f"{n * steps} frames through {n} {many}{of_class}"


def grid(trained: Trained, rows: np.ndarray, y: Conditions | None) -> bytes:
    """Samples in one picture, each beside what G was given for it, if that was a sample; clips as a line of frames."""
    medium, condition, n = trained.medium, trained.condition, len(rows)
    if medium.played_fps is not None:
        return strips(rows)
    if not isinstance(condition, OfSample) or not isinstance(y, ExampleConditions):
        return medium.preview(rows, math.ceil(math.sqrt(n))).content
    parts = [y[first : first + BATCH] for first in range(0, n, BATCH)]
    given = [medium.from_network(condition.maker.picture(part, medium.network_shape)) for part in parts]
    pairs = np.stack([torch.cat(given).cpu().numpy(), rows], axis=1).reshape(-1, *rows.shape[1:])
    return medium.preview(pairs, 2 * math.ceil(math.sqrt(n / 2))).content


def written(trained: Trained, y: Conditions | None, wish: Wish, seed: int, alike: bool = False) -> Written:
    """The labels or captions of samples, if the run has them; `alike`: they are the first sample's for all."""
    if y is None or isinstance(y, ExampleConditions):
        return Written()
    n = len(y)

    def captions() -> list[str]:
        if wish.caption is not None:
            return [wish.caption] * n
        return trained.captions(1, seed) * n if alike else trained.captions(n, seed)

    return trained.condition.written(y, captions)


def with_captions(trained: Trained, captions: Sequence[str] | None, y: Conditions | None, index: Index) -> Index:
    """Add the vectors of the drawn captions to the index; unchanged if there are none."""
    if captions is None or not isinstance(y, Tensor):
        return index
    first = {caption: number for number, caption in reversed(list(enumerate(captions)))}
    different = sorted(first)
    return with_vectors(index, different, y[[first[caption] for caption in different]].cpu().numpy(), trained.encoder)


def shown(batches: Iterable[np.ndarray], n: int, many: str) -> Iterator[np.ndarray]:
    """The batches, with a progress bar on a terminal; `many`: what samples are called."""
    with tqdm(total=n, unit=f" {many}", desc="sample", disable=None) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))
