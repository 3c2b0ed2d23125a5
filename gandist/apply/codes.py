"""`--encode` and `--decode`: pictures as the codes of an autoencoder in WebDataset shards, and back."""

import argparse
import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError
from tqdm import tqdm

from gandist.apply.inputs import Input, Stored, find_codes, find_inputs, result_of
from gandist.apply.network import Network, network_of
from gandist.apply.pictures import read_picture
from gandist.apply.stripes import write_png
from gandist.apply.tiles import pad
from gandist.apply.work import deterministic
from gandist.cli.command import FAILED
from gandist.config.sample import shapes
from gandist.data.making import write_shard
from gandist.errors import ConfigError, DataError
from gandist.gan.networks.autoencoder import Autoencoder, AutoencoderOptions, Quantised
from gandist.gan.networks.shape import options_of
from gandist.media.gallery import as_uint8
from gandist.run.drawing import devices_of
from gandist.run.trained import open_trained
from gandist.storage.atomic import written_atomically

log = logging.getLogger("gandist")

MAX_PIXELS = 2**22
"""Of a picture, by default: a feature of 128 channels takes 2 GiB then."""
SHARD = 1000  # pictures


class Record(BaseModel):
    """What a code does not tell of its picture."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)
    channels: int


@dataclass
class Coder:
    """An autoencoder, and the pictures that it could not take."""

    network: Network
    G: Autoencoder
    options: AutoencoderOptions
    max_pixels: int
    half: bool
    broken: list[str] = field(default_factory=list)

    def samples(self, sources: Iterable[Input]) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Key and members of each sound picture, as `write_shard` takes them."""
        for source in sources:
            members = None
            with self.noting(str(source.path)):
                members = self.members(source)
            if members:
                yield source.name.as_posix(), members

    @torch.no_grad()
    def members(self, source: Input) -> dict[str, bytes]:
        """The code of a picture and its record. Raises DataError if it cannot be used."""
        if "." in source.name.name:
            raise DataError(f"{source.path}: a dot would end its key in WebDataset; rename it without inner dots")
        picture = read_picture(source.path, self.network.channels)
        padded = pad(picture.pixels, self.network)
        self._check_size(str(source.path), *padded.shape[:2])
        y = self.network.given(padded)
        if isinstance(self.G, Quantised):
            code = self.G.numbers(y)[0].cpu().numpy().astype(np.uint16 if self.options.codes <= 2**16 else np.int32)
        else:
            code = self.G.encode(y)[0].cpu().to(torch.float16 if self.half else torch.float32).contiguous().numpy()
            if not np.isfinite(code).all():
                raise DataError(f"{source.path}: its code has numbers beyond {code.dtype}; leave out --half")
        np.save(file := io.BytesIO(), code, allow_pickle=False)
        height, width, channels = picture.pixels.shape
        record = Record(width=width, height=height, channels=channels)
        return {"npy": file.getvalue(), "json": record.model_dump_json().encode()}

    @torch.no_grad()
    def write(self, stored: Stored, out: Path) -> None:
        """Write the picture of a code. Raises DataError if the code cannot be used."""
        try:
            array = np.asarray(np.load(io.BytesIO(stored.code.read()), allow_pickle=False))
        except Exception as error:  # of damaged files numpy raises any exception
            raise DataError(f"{stored.where}: cannot be read as a .npy file: {error}") from error
        code = self._tensor(stored.where, array)
        height, width = (self.network.multiple * side for side in code.shape[2:])
        self._check_size(stored.where, height, width)
        size = _recorded(stored, Record(width=width, height=height, channels=self.network.channels))
        made = self.G.decode(code.contiguous(memory_format=torch.channels_last))[0]
        pixels = as_uint8(made[:, : size.height, : size.width]).permute(1, 2, 0).cpu().numpy()
        result = result_of(Input(stored.code.path, Path(stored.name)), out)
        write_png(result, [pixels], (size.height, size.width), size.channels)

    def _tensor(self, where: str, array: np.ndarray) -> torch.Tensor:
        """The code (1, c, h, w) of stored numbers (h, w) or means (c, h, w)."""
        device, found = self.network.z.device, f"{where}: is {array.dtype} {array.shape}"
        if isinstance(self.G, Quantised):
            if array.ndim != 2 or array.dtype.kind not in "iu" or not array.size:
                raise DataError(f"{found}, and the run takes integers (h, w); give codes of this run")
            if array.min() < 0 or array.max() >= self.options.codes:
                raise DataError(f"{where}: has numbers beyond 0 to {self.options.codes - 1}; give codes of this run")
            return self.G.codes_of(torch.from_numpy(array.astype(np.int64)).to(device)[None])
        channels = self.options.code_channels
        if array.ndim != 3 or len(array) != channels or array.dtype not in (np.float16, np.float32) or not array.size:
            raise DataError(f"{found}, and the run takes float32 or float16 ({channels}, h, w); give codes of this run")
        if not np.isfinite(array).all():
            raise DataError(f"{where}: has numbers that are not finite; encode its picture again")
        return torch.from_numpy(array.astype(np.float32)).to(device)[None]

    def _check_size(self, where: str, height: int, width: int) -> None:
        if height * width > self.max_pixels:
            raise DataError(
                f"{where}: {width}x{height} pixels are over --max-pixels {self.max_pixels}; if memory allows the "
                "whole picture at once, raise it"
            )

    @contextmanager
    def noting(self, where: str) -> Iterator[None]:
        """Note why a picture could not be used, and go on."""
        try:
            yield
        except torch.OutOfMemoryError:
            self.broken.append(f"{where}: does not fit into the GPU's memory; give --device cpu")
        except DataError as error:
            self.broken.append(str(error))
        except OSError as error:
            self.broken.append(f"{where}: {error}")


def _recorded(stored: Stored, whole: Record) -> Record:
    if stored.record is None:
        return whole
    try:
        record = Record.model_validate_json(stored.record.read())
    except ValidationError as error:
        raise DataError(f"{stored.where}: its .json has no width, height and channels; write them there") from error
    if record.height > whole.height or record.width > whole.width or record.channels != whole.channels:
        raise DataError(f"{stored.where}: its .json has {record}, and its code gives {whole}; encode its picture again")
    return record


def coder_of(options: argparse.Namespace) -> tuple[Coder, int]:
    """The autoencoder of the command's run, and the images that it has seen.

    Raises:
        ConfigError: the run is of another kind, or the command has options that codes do not have.
    """
    given = [name for name in ("mask", "scale", "seed", "tile", "compare", "watch") if getattr(options, name)]
    if given or (options.half and not options.encode):
        raise ConfigError(f"--{(given or ['half'])[0]}: has no meaning with --encode or --decode; leave it out")
    trained = open_trained(options.run, devices_of(options.device)[0], options.images_seen, options.trust)
    name, kind = trained.config.model.name, trained.config.condition.kind
    if not isinstance(trained.G, Autoencoder) or kind != "itself":
        raise ConfigError(
            f"{options.run}: has no codes (model.name={name}, condition.kind={kind}); --encode and --decode take a run "
            "of model.name=autoencoder and condition.kind=itself"
        )
    network = network_of(trained, options.run, 0)
    its = options_of(shapes(trained.config)[0], AutoencoderOptions)
    return Coder(network, trained.G, its, options.max_pixels, options.half), trained.images_seen


def code(options: argparse.Namespace, out: Path) -> int:
    """Encode or decode; return the command's status. Raises GandistError if run, inputs or arguments cannot be used."""
    if options.encode and any(out.glob("*.tar")):
        raise ConfigError(f"--out {out}: holds shards already; give another folder")
    pictures = find_inputs(options.inputs, out) if options.encode else []
    codes = [] if options.encode else find_codes(options.inputs)
    coder, images_seen = coder_of(options)
    out.mkdir(parents=True, exist_ok=True)
    with deterministic():
        if options.encode:
            samples = enumerate(coder.samples(tqdm(pictures, unit="img", desc="encode", disable=None)))
            for number, group in groupby(samples, lambda pair: pair[0] // SHARD):
                with written_atomically(out / f"{number:06d}.tar") as scratch:
                    write_shard(scratch, (sample for _, sample in group))
        else:
            for stored in tqdm(codes, unit="img", desc="decode", disable=None):
                with coder.noting(stored.where):
                    coder.write(stored, out)
    broken, total = coder.broken, len(pictures) + len(codes)
    if broken:
        log.error("%d of %d pictures could not be used:\n%s", len(broken), total, "\n".join(f"  {s}" for s in broken))
    made = f"{total - len(broken)} pictures {'encoded' if options.encode else 'decoded'}"
    print(f"{made} by {options.run} at {images_seen} images seen: {out}")  # noqa: T201
    return FAILED if broken else 0
