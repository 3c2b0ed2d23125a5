"""`python -m gandist.push RUN OWNER/NAME --licence ID`: publish a run's players on the Hugging Face Hub, with a card.

`--dry-run --out DIR` writes the same folder and contacts nobody: it can be drawn from, applied, measured and begun from
like the model on the Hub.
"""

import argparse
import logging
import tempfile
from pathlib import Path

from gandist.cli.arguments import which
from gandist.cli.command import command
from gandist.data.files import check_empty
from gandist.errors import ConfigError
from gandist.push.card import UNKNOWN, card, check_licence
from gandist.push.record import Record, record
from gandist.run import published
from gandist.run.trained import open_checkpoint, open_run
from gandist.storage import hub
from gandist.storage.atomic import write_atomically
from gandist.storage.remote import is_remote

log = logging.getLogger("gandist")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gandist push",
        description="Publish G's average and D of a run on the Hugging Face Hub, with a card made from its records. "
        "The token is found by huggingface_hub: HF_TOKEN, or what `hf auth login` keeps.",
        epilog="Examples: gandist push runs/demo me/garments --dry-run --out garments; gandist push runs/demo "
        "me/garments --licence cc-by-4.0",
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="folder or address of a run")
    add("repo", metavar="OWNER/NAME", help="the model's repository on the Hub; it is created if it is missing")
    add("--images-seen", type=which, metavar="N", help="publish this checkpoint, or `best` (default: the newest)")
    add("--private", action="store_true", help="make the repository private")
    add(
        "--licence",
        metavar="ID",
        help="licence of the weights, as the Hub names it, such as cc-by-4.0; a push needs one",
    )
    add(
        "--no-samples",
        action="store_true",
        help="leave out the run's newest samples, which may show pictures of the data",
    )
    add("--dry-run", action="store_true", help="with --out: write what would be pushed to a folder, and contact nobody")
    add("--out", metavar="DIR", help="empty folder to write to with --dry-run")
    return parser


def check(options: argparse.Namespace) -> None:
    """Refuse arguments that cannot be used, before anything is read.

    Raises:
        ConfigError: the message names the option.
        GandistError: the Hub's library or the token is missing.
    """
    hub.check_name(options.repo, options.repo)
    if options.dry_run != (options.out is not None):
        raise ConfigError("--dry-run, --out: go together: --dry-run --out DIR writes to DIR what would be pushed")
    if options.out is not None:
        if is_remote(options.out) or Path(options.out).is_file():
            raise ConfigError(f"--out {options.out}: give a folder on this machine")
        check_empty(Path(options.out))
    check_licence(options.licence, needed=not options.dry_run)
    if not options.dry_run:
        hub.check_token(options.repo)


def files_of(options: argparse.Namespace) -> tuple[dict[str, bytes], Record]:
    """All files to publish, by name, and what the card says of the run.

    Raises:
        GandistError: the run cannot be used.
    """
    storage = open_run(options.run)
    if published.is_published(storage):
        raise ConfigError(
            f"{options.run}: is published already; upload it with: hf upload {options.repo} {options.run}"
        )
    config, found = open_checkpoint(storage, options.images_seen)
    files, stripped = published.files_of(storage, config, found, {"run": config.run.name})
    if stripped:
        log.warning("config.yaml: credentials or signatures were taken out of %s", ", ".join(stripped))
    of_run = record(storage, config, found, with_samples=not options.no_samples)
    if of_run.shows_data:
        log.warning("samples: show data of %s; make sure that you may publish them, or give --no-samples", of_run.data)
    files |= of_run.samples
    files["README.md"] = card(of_run, options.repo, options.licence or UNKNOWN).encode()
    return files, of_run


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files, the manifest last: nothing counts as a model without it."""
    for name in sorted(files, key=lambda name: (name == published.MANIFEST, name)):
        write_atomically(folder / name, files[name])


@command()
def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 0, or 2 after one message if the run, the Hub or the arguments cannot be used."""
    options = _parser().parse_args(argv)
    check(options)
    files, of_run = files_of(options)
    seen = f"{of_run.images_seen} {of_run.nouns[1]} seen"
    if options.dry_run:
        if options.licence is None:
            log.warning("--licence: not given: the card says license: %s; a push needs one", UNKNOWN)
        write(Path(options.out), files)
        print(f"{len(files)} files of {options.run} at {seen}, as for {options.repo}: {options.out}")  # noqa: T201
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), files)
        url = hub.pushed(Path(folder), options.repo, options.private, f"{of_run.name} at {seen}")
    print(f"{len(files)} files of {options.run} at {seen}: {url}")  # noqa: T201
    return 0
