"""Where samples are written to: the form of `--out`, and the options that it has a use for."""

import argparse
import re
from pathlib import Path

from gandist.data import files
from gandist.errors import ConfigError
from gandist.media import film
from gandist.media.text import KINDS as TEXTS
from gandist.run.trained import Trained
from gandist.storage.remote import is_remote

FILMS = (".webp", ".mp4")
ARCHIVES = (".zip", ".tar")
KINDS = (".png", ".zip", *FILMS, ".tar", ".wav", *TEXTS)


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
