"""A small classifier of images, and the file of one, of sounds and clips too. `gandist.evaluation` trains them."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from gandist.errors import DataError
from gandist.gan.networks.clip_classifier import ClipClassifier
from gandist.gan.networks.sound_classifier import SoundClassifier
from gandist.storage.storage import Storage

RESOLUTION = 32
"""Height and width in pixels to which all images are averaged."""
SHIPPED = Path(__file__).parents[2] / "assets" / "classifier.safetensors"
"""The classifier of `builtin:fashion-10k`, made by `python -m gandist.classifier` with `--channels 1`."""


Net = TypeVar("Net", bound=nn.Module)


class Classifier(nn.Module):
    """Three convolutions with BatchNorm and pooling, and one layer of features."""

    def __init__(self, channels: int, classes: int, width: int = 16, features: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, out in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.Conv2d(inside, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(2)]
        flat = 4 * width * (RESOLUTION // 8) ** 2
        layers += [nn.Flatten(), nn.Linear(flat, features, bias=False), nn.BatchNorm1d(features), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(features, classes)

    def features(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] -> features of the penultimate layer (N, F)."""
        h: Tensor = self.body(F.adaptive_avg_pool2d(x, RESOLUTION))
        return h

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] -> logits (N, classes)."""
        logits: Tensor = self.head(self.features(x))
        return logits


class Facts(NamedTuple):
    """Metadata of a trained classifier, stored in its file."""

    accuracy: float
    """Accuracy on the samples held out from training."""
    n_test: int
    n_train: int
    channels: int
    classes: int
    data_fingerprint: str
    """Fingerprint of its training set's index."""
    medium: str = "image"
    """Kind of its samples: `image`, `audio` or `video`."""
    sample_rate: int = 0
    """Of sounds: samples per second."""
    samples: int = 0
    """Of sounds: samples in each."""
    frames: int = 0
    """Of clips: frames in each."""
    stride: int = 0
    """Of clips: one frame is taken of so many."""
    fps: float = 0
    """Of clips: frames a second, of which these are taken; 0: those of the files."""


def save(path: Path, classifier: Classifier | SoundClassifier | ClipClassifier, facts: Facts) -> None:
    """Write the classifier as safetensors, atomically, with its facts and the sha256 of both."""
    tensors = {name: tensor.contiguous() for name, tensor in classifier.state_dict().items()}
    notes = {"facts": json.dumps(facts._asdict())}
    notes["sha256"] = _digest(notes["facts"], tensors)
    Storage(str(path.parent)).write_bytes(path.name, save_tensors(tensors, notes))


def load(path: Path) -> tuple[Classifier, Facts]:
    """Read a classifier of images that `save` wrote; it is in evaluation mode.

    Raises:
        DataError: the file does not exist, is damaged, or holds something else.
    """
    facts, tensors = _read(path, "image")
    return _filled(path, Classifier(facts.channels, facts.classes), tensors), facts


def load_sounds(path: Path) -> tuple[SoundClassifier, Facts]:
    """Read a classifier of sounds that `save` wrote; it is in evaluation mode.

    Raises:
        DataError: the file does not exist, is damaged, or holds something else.
    """
    facts, tensors = _read(path, "audio")
    return _filled(path, SoundClassifier(facts.sample_rate, facts.samples, facts.classes), tensors), facts


def load_clips(path: Path) -> tuple[ClipClassifier, Facts]:
    """Read a classifier of clips that `save` wrote; it is in evaluation mode.

    Raises:
        DataError: the file does not exist, is damaged, or holds something else.
    """
    facts, tensors = _read(path, "video")
    return _filled(path, ClipClassifier(facts.channels, facts.classes), tensors), facts


def _read(path: Path, medium: str) -> tuple[Facts, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            notes, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if notes["sha256"] != _digest(notes["facts"], tensors):
            raise DataError(f"{path}: damaged: not what its sha256 promises; delete it")
        facts = Facts(**json.loads(notes["facts"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a classifier: {error}; delete it") from error
    if facts.medium != medium:
        raise DataError(f"{path}: is a classifier of data.medium={facts.medium}, not of {medium}; train one of these")
    return facts, tensors


def _filled(path: Path, classifier: Net, tensors: dict[str, Tensor]) -> Net:
    try:
        classifier.load_state_dict(tensors)
    except RuntimeError as error:
        what = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as a classifier: {what}; delete it") from error
    return classifier.eval()


def _digest(facts: str, tensors: dict[str, Tensor]) -> str:
    return hashlib.sha256(facts.encode() + save_tensors(tensors)).hexdigest()
