"""What turns texts into features: counts, or a sentence encoder."""

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.conditions.encoder import DIM, encoder
from gandist.distributed.randomness import philox
from gandist.errors import ConfigError
from gandist.evaluation.extractor import Extractor, no_classes
from gandist.media.alphabets import END
from gandist.media.medium import Medium
from gandist.media.text import Text

LONGEST = 3
"""Symbols of the longest n-grams."""
SIGNS = 128
"""Features of the n-grams of each length."""
AT_ONCE = 1 << 23
"""Values of the largest tensor."""


def ngrams(weights: Path | None, medium: Medium, device: torch.device) -> Extractor:
    """Without any training: how often each n-gram of up to 3 symbols occurs in a text, whose beginning and end count as
    symbols. The counts, too many to be kept, are multiplied by fixed random signs: squared distances of features are
    those of the counts in expectation (tensor sketches; Pham & Pagh 2013, https://doi.org/10.1145/2487575.2487591).

    Raises:
        ConfigError: a file is given.
    """
    assert isinstance(medium, Text)
    if weights is not None:
        raise ConfigError(f"ngrams: has no weights; leave out {weights}")
    at_once = max(1, AT_ONCE // ((medium.n_symbols + SIGNS) * (medium.length + 2)))

    def features(x: Tensor) -> Tensor:
        signs = _signs(medium.n_symbols, device)
        return torch.cat([counts_of_n_grams(part.float(), signs) for part in torch.split(x, at_once)])

    return Extractor(
        name="ngrams",
        dim=LONGEST * SIGNS,
        classes=0,
        resize=f"counts of 1- to {LONGEST}-grams of symbols, by {SIGNS} random signs each",
        sha256="",
        features=features,
        probabilities=no_classes,
        distance="fd-ngrams",
    )


def minilm(weights: Path | None, medium: Medium, device: torch.device) -> Extractor:
    """The sentence encoder of captions (`conditions.encoder`), on the CPU: vectors of texts that mean the same are near
    to one another. Shares of symbols count as the likeliest symbols.

    Raises:
        ConfigError: a file is given.
        GandistError: the package with its weights is not installed.
    """
    assert isinstance(medium, Text)
    if weights is not None:
        raise ConfigError(f"minilm: its weights are a package's; leave out {weights}")
    found = encoder()

    def features(x: Tensor) -> Tensor:
        texts = medium.texts(medium.from_network(x).cpu().numpy())
        return torch.from_numpy(found.encode(texts)).to(device)

    return Extractor(
        name="minilm",
        dim=DIM,
        classes=0,
        resize=f"the text in {found.id.partition(' ')[0]}",
        sha256=found.id.rpartition(":")[2],
        features=features,
        probabilities=no_classes,
        distance="fd-minilm",
    )


@cache
def _signs(n_symbols: int, device: torch.device) -> list[Tensor]:
    """For n = 1 to `LONGEST`, -1 or 1 for each feature, place and symbol, and the beginning: (n, SIGNS, V + 1)."""
    shapes = [(n, SIGNS, n_symbols + 1) for n in range(1, LONGEST + 1)]
    drawn = philox(0, "evaluate/n-grams").integers(0, 2, sum(map(np.prod, shapes))) * 2.0 - 1
    ends = list(itertools.accumulate(int(np.prod(shape)) for shape in shapes))[:-1]
    parts = [part.reshape(shape) for part, shape in zip(np.split(drawn, ends), shapes, strict=True)]
    return [torch.from_numpy(part).float().to(device) for part in parts]


def counts_of_n_grams(x: Tensor, signs: list[Tensor]) -> Tensor:
    """The signed counts (N, LONGEST * SIGNS) of the n-grams of texts (N, V, L); of shares, those expected of symbols
    that are drawn by them, each by itself."""
    begun = F.pad(x, (1, 1, 0, 1))  # the beginning is a symbol of its own, the last
    begun[:, -1, 0], begun[:, END, -1] = 1, 1
    goes_on = 1 - begun[:, END, :-1]
    alive = F.pad(goes_on.cumprod(1), (1, 0), value=1)
    inside = begun.clone()
    inside[:, END] = 0
    # Of one symbol at a place its signs are looked up: of thousands of symbols that is most of the time
    certain = torch.equal(begun.sum(1), begun.amax(1))
    looked_up = [symbols.max(1) for symbols in (begun, inside)] if certain else None

    def signed(of_place: Tensor, last: bool, at: slice) -> Tensor:
        if looked_up is None:
            return torch.matmul(of_place, (begun if last else inside)[:, :, at])
        share, symbol = looked_up[0 if last else 1]
        return of_place[:, symbol[:, at]].movedim(0, 1) * share[:, None, at]

    found = []
    for each in signs:
        n, places = len(each), begun.shape[2] - len(each) + 1
        product = alive[:, None, :places]
        for k, of_place in enumerate(each):
            product = product * signed(of_place, k == n - 1, slice(k, k + places))
        found.append(product.sum(2) / SIGNS**0.5)
    return torch.cat(found, dim=1)
