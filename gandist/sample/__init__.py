"""`python -m gandist.sample RUN --out PATH`: draw samples from the generator of a run, on all devices of the machine.

The form of PATH selects the output: a folder of files, one grid (.png), an archive (.zip), shards for training (.tar);
of images an interpolation (.webp, .mp4), of clips a grid that plays (.webp, .mp4), of sounds all in a row (.wav),
of texts all in one file (.txt, .jsonl). The same seed gives the same samples, bit for bit, for any number of them.
"""

import argparse
from pathlib import Path

from gandist.cli.arguments import above_zero, natural, positive, which
from gandist.cli.command import command
from gandist.data import files
from gandist.errors import ConfigError
from gandist.media import film
from gandist.run.drawing import devices_of
from gandist.run.published import TRUST
from gandist.run.trained import open_trained, samples_of
from gandist.sample.destination import check_kind, check_use, kind_of
from gandist.sample.writing import FPS, N_FILM, STEPS, N, write


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
