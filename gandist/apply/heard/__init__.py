"""`compare.html` of a vocoder's run: each input, its sound without learning, and its sound by G."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gandist.apply.inputs import SOUNDS, Input, result_of
from gandist.apply.vocoder import Vocoder, mel_of
from gandist.media.medium import Preview
from gandist.media.sound import as_int16, library, streamed
from gandist.report.document import document

TEMPLATES = Path(__file__).parent
MAX_SHOWN = 12
"""Inputs of a page."""
EXCERPT_S = 4
"""Seconds of each."""


class Shown(NamedTuple):
    """An input on the page."""

    name: str
    seconds: float
    """Of the whole result."""
    previews: dict[str, Preview]
    """By what they are."""


def comparison(vocoder: Vocoder, run: str, out: Path, sources: Sequence[Input]) -> str:
    """The page of these inputs and their results, of the first `MAX_SHOWN`.

    Raises:
        GandistError, OSError: an input cannot be read any more.
    """
    shown = [_shown(vocoder, source, out) for source in sources[:MAX_SHOWN]]
    longer = any(each.seconds > EXCERPT_S for each in shown)
    return document(TEMPLATES, run=run, shown=shown, total=len(sources), excerpt_s=EXCERPT_S if longer else 0)


def _shown(vocoder: Vocoder, source: Input, out: Path) -> Shown:
    medium, n = vocoder.medium, EXCERPT_S * vocoder.medium.sample_rate
    result = result_of(source, out, SOUNDS)
    whole = library().info(result).frames
    n = min(n, whole)
    found: dict[str, np.ndarray] = {}
    if source.path.suffix.lower() == ".npy":
        mel = mel_of(source.path, vocoder.maker.mels)[:, : -(-n // vocoder.hop)]
        y = torch.from_numpy(np.array(mel, np.float32))[None]
    else:
        given = _first(source.path, n, medium.sample_rate)
        found["given"] = as_int16(given)[:, None]
        y = vocoder.mel(given)
    found["Griffin-Lim"] = vocoder.without_learning(y)[:n]
    found["made"], _ = library().read(result, frames=n, dtype="int16", always_2d=True)
    return Shown(
        str(source.name),
        whole / medium.sample_rate,
        {said: medium.preview(rows[None], 1) for said, rows in found.items()},
    )


def _first(path: Path, n: int, sample_rate: int) -> np.ndarray:
    """The first n samples of a sound (n,), at this rate."""
    parts: list[np.ndarray] = []
    for block in streamed(path, sample_rate, 1):
        parts.append(block[:, 0])
        if sum(map(len, parts)) >= n:
            break
    return np.concatenate(parts)[:n]
