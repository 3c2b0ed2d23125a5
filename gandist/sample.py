"""`python -m gandist.sample RUN --out PATH`: draw images from the generator of a run.

PATH is a folder for one file an image, or ends in `.png` for a grid. The same seed gives the same images.
"""

import argparse
import math
import sys
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from gandist.errors import ConfigError, GandistError
from gandist.gallery import grid, png_bytes
from gandist.pack import natural, positive
from gandist.ranks import pick_device
from gandist.text import encoder
from gandist.trained import Trained, open_trained


def condition_of(trained: Trained, label: int | None, caption: str | None, n: int, seed: int) -> Tensor | None:
    """The condition (n, ...) that is asked for; drawn at random where none is, None for an unconditional run.

    Raises:
        ConfigError: the run is not conditioned on what is asked for; the message names the option.
    """
    model, device = trained.config.model, trained.device
    if label is not None:
        if label >= model.classes:
            raise ConfigError(
                f"--class {label}: the run has {f'classes 0 to {model.classes - 1}' if model.classes else 'none'}"
            )
        return torch.full((n,), label, device=device)
    if caption is not None:
        if not model.text_dim:
            raise ConfigError("--caption: the run was trained without captions (model.text_dim)")
        if trained.encoder and trained.encoder != encoder().id:
            raise ConfigError(f"--caption: the run's captions were embedded by {trained.encoder}, not {encoder().id}")
        return torch.from_numpy(encoder().encode([caption])).to(device).expand(n, -1)
    return trained.conditions(n, seed)


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 2 with one message where the run or the arguments cannot be used."""
    parser = argparse.ArgumentParser(prog="gandist sample", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("run", metavar="RUN", help="folder or address of a run")
    add("--n", type=positive, default=100, help="images (default: %(default)s)")
    add("--out", required=True, metavar="PATH", help="a folder, or a file that ends in .png for one grid")
    add("--seed", type=natural, default=0, help="default: %(default)s")
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--class", type=natural, dest="label", metavar="K", help="of this class (default: any)")
    wanted.add_argument("--caption", metavar="TEXT", help="what the images shall show (default: captions of the data)")
    add("--truncation", type=float, default=1.0, metavar="T", help="factor of z; below 1: less varied (default: 1)")
    add("--images-seen", type=positive, metavar="N", help="of this checkpoint (default: the newest)")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto")
    options = parser.parse_args(argv)
    out = Path(options.out)
    try:
        if out.suffix in Image.registered_extensions().keys() - {".png"}:
            raise ConfigError(f"--out {out}: give a folder, or a file that ends in .png")
        trained = open_trained(options.run, pick_device(options.device), options.images_seen)
        y = condition_of(trained, options.label, options.caption, options.n, options.seed)
        pixels = trained.images(trained.latents(options.n, options.seed, options.truncation), y)
        if out.suffix == ".png":
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(png_bytes(grid(pixels, math.ceil(math.sqrt(options.n)))))
        else:
            out.mkdir(parents=True, exist_ok=True)
            for i, image in enumerate(pixels.transpose(0, 2, 3, 1)):
                picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
                (out / f"{i:06d}.png").write_bytes(png_bytes(picture))
    except (GandistError, OSError) as error:
        print(f"gandist: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(f"{options.n} images of {options.run} at {trained.images_seen} images seen: {out}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
