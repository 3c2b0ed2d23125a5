"""`python -m gandist.sample RUN --out PATH`: draw samples from the generator of a run, on all devices of the machine.

The form of PATH selects the output: a folder of files, one grid (.png), an archive (.zip), shards for training (.tar);
of images an interpolation (.webp, .mp4), of clips a grid that plays (.webp, .mp4), of sounds all in a row (.wav),
of texts all in one file (.txt, .jsonl). The same seed gives the same samples, bit for bit, for any number of them.
"""

import argparse
import functools
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gandist.cli.arguments import above_zero, natural, positive, which
from gandist.cli.command import command
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
from gandist.run.published import TRUST
from gandist.run.trained import BATCH, Conditions, Trained, open_trained, samples_of
from gandist.storage.atomic import write_atomically
from gandist.storage.remote import is_remote

FILMS = (".webp", ".mp4")
ARCHIVES = (".zip", ".tar")
KINDS = (".png", ".zip", *FILMS, ".tar", ".wav", *TEXTS)
N, N_FILM, STEPS, FPS = 100, 8, 30, 30


def kind_of(out: str) -> str:
    """The extension of PATH, one of `KINDS`; empty for a folder.

    Raises:
        ConfigError: the extension is unknown, or the place cannot be written to.
    """
    if is_remote(out):
        raise ConfigError(f"--out {out}: samples are written to this machine; copy them there when they are done")
    suffix = "" if out.endswith("/") else Path(out).suffix.lower()
    if suffix in KINDS:
        if Path(out).is_dir():
            raise ConfigError(f"--out {out}: is a folder; give another name, or {out}/ to write into it")
        return suffix
    if re.fullmatch(r"\.(?=\w*[a-z])\w{2,5}", suffix) and not Path(out).is_dir():
        raise ConfigError(
            f"--out {out}: give a folder (with a / at its end where its name has a dot), or a file that ends in "
            f"{', '.join(KINDS)}"
        )
    files.check_empty(Path(out))
    return ""


def check_kind(trained: Trained, out: str, kind: str) -> None:
    """Refuse a kind of file that samples of this medium are not written to.

    Raises:
        ConfigError: it is none of `Medium.kinds`, and no archive.
    """
    there = (*trained.medium.kinds, *ARCHIVES)
    if kind and kind not in there:
        many = trained.medium.nouns[1]
        raise ConfigError(
            f"--out {out}: the run makes {many}, which are not written as {kind}; give a folder, or a file that ends "
            f"in {', '.join(there)}"
        )


def check_use(options: argparse.Namespace, kind: str, plays: bool) -> None:
    """Refuse options that a kind of file has no use for; `plays`: whether the samples do.

    Raises:
        ConfigError: the message names the option.
        GandistError: clips are to become MP4 files, and the library for them is not installed.
    """
    if plays:
        if options.frames:
            raise ConfigError("--frames: clips have the frames of the run (data.options.frames); leave it out")
        if options.fps and kind not in (*FILMS, ""):
            raise ConfigError(
                f"--fps: a {kind} does not play; leave it out, or let --out be a folder, or end in {' or '.join(FILMS)}"
            )
        if not kind:
            film.need_video(Path(options.out), ".webp, .png, .zip or .tar")
    elif (kind not in (*FILMS, ".txt") and options.frames) or (kind not in FILMS and options.fps):
        ends = " or ".join(FILMS)
        raise ConfigError(
            f"--frames, --fps: only interpolations have frames; leave these options out, or let --out end in {ends} "
            "for images, in .txt with --frames for texts"
        )
    elif (kind in FILMS or options.frames) and options.n == 1:
        what = "image" if kind in FILMS else "text"
        raise ConfigError(f"--n 1: an interpolation goes from one {what} to another; give 2 or more")


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gandist sample",
        description="Draw samples from the generator of a run: images, clips, sounds or texts. The same seed gives the "
        "same samples, whatever their number.",
        epilog="Examples: gandist sample runs/demo --n 36 --class 9 --out boots.png; gandist sample runs/demo --out "
        "walk.mp4; gandist sample runs/demo --n 10000 --out fakes/%06d.tar",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="folder or address of a run, or of a published model (hf://OWNER/NAME[@REVISION])")
    add(
        "--out",
        required=True,
        metavar="PATH",
        help="what to write: an empty folder (a PNG, MP4, WAV or TXT file per sample), or a file that ends in .png "
        "(one grid: of images, of clips as lines of frames, of sounds as spectrograms), .zip (a file per sample, with "
        "labels in StyleGAN's dataset.json, or captions; clips without loss, as animated PNG), .webp or .mp4 (an "
        "endless interpolation of images, or a grid of clips that plays), .wav (all sounds, a quarter of a second "
        "apart), .txt (a text per line), .jsonl (texts with their classes), or .tar (shards to train from: "
        "fakes-%%06d.tar, or fakes-{0000..0009}.tar for ten of them). A G that is given samples gets training samples "
        "here, shown beside its outputs in a .png; gandist.apply takes yours",
    )
    add(
        "--n",
        type=positive,
        metavar="N",
        help=f"samples to draw (default: {N}), or through which an interpolation goes (default: {N_FILM})",
    )
    add("--seed", type=natural, default=0, metavar="S", help="seed of the samples (default: %(default)s)")
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument(
        "--class", type=natural, dest="label", metavar="K", help="draw this class (default: random ones)"
    )
    wanted.add_argument("--caption", metavar="TEXT", help="draw this caption (default: random ones of the data)")
    add(
        "--truncation", type=float, default=1.0, metavar="T", help="factor of z: below 1 samples vary less (default: 1)"
    )
    add(
        "--vary",
        choices=["content", "motion"],
        help="vary only this part of the latents of clips (mocogan): all samples share the other part, and the class "
        "or caption, with the first",
    )
    add(
        "--temperature",
        type=above_zero,
        metavar="T",
        help="for a G that draws symbols in turn: below 1 likely symbols become likelier (default: 1)",
    )
    add(
        "--frames",
        type=positive,
        metavar="F",
        help=f"frames of an interpolation from one image to the next (default: {STEPS}); of a .txt: lines from one "
        "text to the next",
    )
    add(
        "--fps",
        type=positive,
        metavar="R",
        help=f"frames per second of an interpolation (default: {FPS}), or of clips (default: the run's)",
    )
    add("--images-seen", type=which, metavar="N", help="draw from this checkpoint, or `best` (default: the newest)")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto and cuda use every GPU (default: auto)")
    add("--trust", action="store_true", help=TRUST)
    return parser


@command()
def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0, or 2 after one message if the run or the arguments cannot be used."""
    options = _parser().parse_args(argv)
    kind = kind_of(options.out)
    if kind == ".tar":
        files.shard_names(options.out, options.n or N)
    if kind == ".mp4":
        film.need_video(Path(options.out))
    if samples_of(options.run) == "image":
        check_use(options, kind, plays=False)
    trained = open_trained(options.run, devices_of(options.device)[0], options.images_seen, options.trust)
    check_kind(trained, options.out, kind)
    check_use(options, kind, plays=trained.medium.played_fps is not None)
    if options.temperature is not None:
        if not hasattr(trained.G, "temperature"):
            raise ConfigError(f"--temperature: G of {trained.config.model.name} draws no symbols; leave it out")
        trained = trained.at(options.temperature)
    what = write(trained, options, kind)
    seen = f"{trained.images_seen} {trained.medium.nouns[1]} seen"
    print(f"{what} of {options.run} at {seen}: {options.out}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
