"""What a reader of an exported file has to know, as JSON: what to put in, what comes out, and of which run it is."""

import json
import logging
from typing import Any

import torch
from torch import Tensor

from gandist import __version__
from gandist.conditions.mel import Mel
from gandist.conditions.sample import OfSample
from gandist.config.sample import shapes
from gandist.data import dataset
from gandist.errors import GandistError
from gandist.export.model import BATCH, CODE_SIDES, CODES, SIDES, Input, Model
from gandist.gan.networks.autoencoder import AutoencoderOptions
from gandist.gan.networks.shape import options_of
from gandist.gan.spectra import FLOOR, POWER
from gandist.media.audio import Audio
from gandist.media.image import Image
from gandist.media.sound import FULL_SCALE
from gandist.media.text import Text
from gandist.media.video import Video
from gandist.run.trained import Trained

log = logging.getLogger("gandist")

VERSION = 1
"""Of this form of metadata."""
COLOURS = {1: "grey", 3: "RGB"}


def metadata_of(trained: Trained, model: Model, part: str = "whole") -> str:
    """The metadata of a file; `part`: which part of the generator it has."""
    return json.dumps(
        {
            "version": VERSION,
            "gandist": __version__,
            "run": trained.config.run.name,
            "images_seen": trained.images_seen,
            "network": trained.config.model.name,
            "part": part,
            "medium": trained.config.data.medium,
            "inputs": [_input(trained, model, each) for each in model.inputs],
            "output": _output(trained, model),
            "config": trained.config.resolved(),
        },
        ensure_ascii=False,
    )


def _input(trained: Trained, model: Model, each: Input) -> dict[str, Any]:
    """An input: name, type, shape, and what to put in."""
    found: dict[str, Any] = {
        "name": each.name,
        "type": _name_of(each.dtype),
        "shape": list(each.shape),
    }
    if len(each.dynamic) > 1:
        found["multiple"] = model.multiple
        found["trained_on"] = list(model.sizes[0])
    return found | KINDS[each.kind](trained, model)


def _normal(trained: Trained, model: Model) -> dict[str, Any]:
    said = "independent normal numbers of mean 0 and standard deviation 1"
    if isinstance(trained.medium, Text) and hasattr(trained.G, "temperature"):
        return {"distribution": "normal", "meaning": f"{said}: they draw the symbols; leave their size as it is"}
    return {
        "distribution": "normal",
        "meaning": f"{said}; times a factor below 1 (truncation) samples are more typical and less varied",
    }


def _classes(trained: Trained, model: Model) -> dict[str, Any]:
    names: list[str] = []
    try:
        names = list(dataset.open_index(trained.config).class_names)
    except GandistError as error:
        log.info("the metadata have no names of the classes: %s", error)
    count = trained.condition.count
    return {"classes": count, "names": names, "meaning": f"the class of each sample, from 0 to {count - 1}"}


def _vectors(trained: Trained, model: Model) -> dict[str, Any]:
    encoder = trained.encoder
    return {"encoder": encoder, "meaning": f"the vector of each sample's caption by the encoder {encoder or 'unknown'}"}


def _pictures(trained: Trained, model: Model) -> dict[str, Any]:
    channels = next(each.shape[1] for each in model.inputs if each.kind == "pictures")
    found = {
        "range": [-1, 1],
        "colours": COLOURS.get(int(channels), str(channels)),
        "from_uint8": "x / 127.5 - 1",
        "meaning": "pictures, black at -1 and white at 1",
    }
    if model.inputs[-1].kind == "masks":
        found["meaning"] = "pictures, black at -1 and white at 1; what lies in the hole has no part in the result"
    return found


def _masks(trained: Trained, model: Model) -> dict[str, Any]:
    return {"values": [0, 1], "meaning": "1 in the hole, which is filled, and 0 where the picture is kept as it is"}


def _mels(trained: Trained, model: Model) -> dict[str, Any]:
    condition = trained.condition
    if not (isinstance(condition, OfSample) and isinstance(condition.maker, Mel)):
        return {"meaning": "what the condition makes of a sample"}
    scale = condition.maker.scale
    return {
        "sample_rate": scale.sample_rate,
        "n_fft": scale.frames.n_fft,
        "hop": scale.frames.hop,
        "window": scale.frames.window,
        "padding": list(scale.frames.padding),
        "low_hz": scale.low_hz,
        "high_hz": scale.high_hz,
        "floor": FLOOR,
        "power": POWER,
        "meaning": "log(max(floor, F @ sqrt(re^2 + im^2 + power))) of frames under a periodic Hann window, of the mean "
        "of a sound's channels in [-1, 1], mirrored by `padding` samples at its start and end; F are triangles of "
        "equal area on Slaney's mel scale",
    }


def _codes(trained: Trained, model: Model) -> dict[str, Any]:
    """What the codes of an autoencoder are, as an input or as the output."""
    options = options_of(shapes(trained.config)[0], AutoencoderOptions)
    found = {"bottleneck": options.bottleneck, "factor": options.factor}
    if options.bottleneck == "vq":
        return found | {
            "layout": [BATCH, *CODE_SIDES],
            "range": [0, options.codes - 1],
            "meaning": "numbers of the codebook's vectors, each for a square of `factor` pixels of the picture",
        }
    return found | {
        "layout": [BATCH, "channels", *CODE_SIDES],
        "scale": 1,
        "shift": 0,
        "meaning": "means of Gaussian codes, as the encoder gives them: times `scale`, plus `shift`, so neither scaled "
        "nor shifted. Latent diffusion learns on codes divided by their standard deviation: multiply by it again "
        "before you decode",
    }


KINDS = {
    "codes": _codes,
    "normal": _normal,
    "classes": _classes,
    "vectors": _vectors,
    "pictures": _pictures,
    "masks": _masks,
    "mels": _mels,
}


@torch.no_grad()
def _output(trained: Trained, model: Model) -> dict[str, Any]:
    """The output: name, type, shape with names where it follows the inputs, and what it means."""
    made: Tensor = model.net(*model.example(1, model.sizes[0]))
    larger: Tensor = model.net(*model.example(1, model.sizes[-1]))
    names = [name for name in model.inputs[-1].dynamic.values() if name != BATCH]
    shape: list[int | str] = [BATCH, *made.shape[1:]]
    for axis, (size, other) in enumerate(zip(made.shape, larger.shape, strict=True)):
        for name, first, last in zip(names, model.sizes[0], model.sizes[-1], strict=True):
            if size != other and size * last == other * first:
                shape[axis] = _sized(name, first, size)
    meaning = _codes if model.output == CODES else MEANINGS.get(type(trained.medium))
    told = {} if meaning is None else meaning(trained, model)
    return {"name": model.output, "type": _name_of(made.dtype), "shape": shape} | told


def _sized(name: str, size: int, made: int) -> str:
    """The size of an axis of the output by the name of an axis of the input."""
    if made == size:
        return name
    return f"{made // size} * {name}" if made > size else f"{name} / {size // made}"


def _pixels(trained: Trained, model: Model) -> dict[str, Any]:
    """What pictures and the frames of clips have in common."""
    medium = trained.medium
    assert isinstance(medium, Image | Video)
    axes = ["frames"] if isinstance(medium, Video) else []
    found: dict[str, Any] = {"colours": COLOURS[medium.channels]}
    if isinstance(medium, Video):
        found["fps"] = medium.played_fps
    if model.integers:
        return found | {"layout": [BATCH, *axes, *SIDES, "channels"], "range": [0, 255]}
    layout = [BATCH, "channels", *axes, *SIDES]
    return found | {"layout": layout, "range": [-1, 1], "to_uint8": "clip(round((x + 1) * 127.5), 0, 255)"}


def _sounds(trained: Trained, model: Model) -> dict[str, Any]:
    medium = trained.medium
    assert isinstance(medium, Audio)
    rate = {"sample_rate": medium.sample_rate}
    if model.integers:
        return rate | {"layout": [BATCH, "samples", "channels"], "range": [-FULL_SCALE, FULL_SCALE - 1]}
    return rate | {
        "layout": [BATCH, "channels", "samples"],
        "range": [-1, 1],
        "to_int16": f"clip(round(x * {FULL_SCALE}), {-FULL_SCALE}, {FULL_SCALE - 1})",
    }


def _texts(trained: Trained, model: Model) -> dict[str, Any]:
    medium = trained.medium
    assert isinstance(medium, Text)
    numbers = range(1, medium.n_symbols)
    found: dict[str, Any] = {"alphabet": medium.alphabet, "meaning": "a text ends before its first symbol 0"}
    if medium.alphabet == "bytes":
        found["meaning"] += "; the others are the bytes of UTF-8"
    else:
        found["symbols"] = ["", *(medium.letters.bytes_of([number]).decode() for number in numbers)]
    if model.integers:
        return found | {"layout": [BATCH, "places"], "range": [0, medium.n_symbols - 1]}
    return found | {"layout": [BATCH, "symbols", "places"], "range": [0, 1], "to_symbols": "argmax over the symbols"}


MEANINGS = {Image: _pixels, Video: _pixels, Audio: _sounds, Text: _texts}


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
