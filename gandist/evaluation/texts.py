"""Generated texts beside real ones: all measures of texts, and real texts' own values."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from gandist.config.run import RunConfig
from gandist.config.sample import medium_of
from gandist.data import dataset
from gandist.data.oracle import SETS, VOCABULARY, oracle
from gandist.distributed.ranks import Ranks
from gandist.evaluation.features import RealFeatures
from gandist.evaluation.text_measures import (
    bleu,
    distinct,
    ended,
    jensen_shannon,
    length_distance,
    symbols_of,
    words_of,
)
from gandist.gan.networks import NETWORKS
from gandist.media.alphabets import END
from gandist.media.text import Text
from gandist.monitoring.metrics import TEXTS
from gandist.run.trained import BATCH, Trained

JS_ORDERS = 4
NLL = "nll_held_out"
OF_ORACLE = "nll_oracle"
N_BLEU = 10_000
"""Maximum number of texts that BLEU is the mean of, and of its references."""
N_NLL = 10_000
"""Maximum number of texts whose likelihood is measured."""
GATHERED = 10_000
"""Texts in memory at a time."""


@dataclass
class Texts:
    """Real texts that generated ones are compared with."""

    medium: Text
    real: np.ndarray
    """Rows (n, L), in a fixed random order."""
    real_y: np.ndarray
    """Their stored conditions."""
    training: np.ndarray | None
    """Rows of training texts in such an order, if they are other texts than the real ones and can be read."""
    shown: np.ndarray
    """Digests of all training texts; empty if they cannot be read."""
    held_out: np.ndarray
    """Digests of all texts of the set of the real ones."""
    by_oracle: bool = False
    """Whether `data.oracle` has drawn the real texts."""

    def __post_init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._of_real: dict[int, dict[str, float]] = {}

    @cached_property
    def by_words(self) -> bool:
        """Whether tokens are words: most texts have several. Otherwise they are symbols."""
        texts = self.medium.texts(self.real[:N_BLEU])
        return sum(len(text.split()) > 1 for text in texts) > len(texts) / 2

    @cached_property
    def _known(self) -> np.ndarray:
        return np.union1d(self.shown, self.held_out)

    def measures(self, rows: np.ndarray) -> dict[str, float]:
        """The measures of generated texts (N, L)."""
        digests = digests_of(rows)
        return self._beside(rows, self.real, _share(digests, self.shown, new=True), _share(digests, self._known))

    def of_real(self, n: int) -> dict[str, float]:
        """The same of n real texts, or of half of them if there are no others to compare them with."""
        if n not in self._of_real:
            if self.training is not None:
                ours, others = self.training[:n], self.real
                novel = _share(self.held_out, self.shown, new=True)
            else:
                ours, others = self.real[: len(self.real) // 2][:n], self.real[len(self.real) // 2 :]
                novel = _share(digests_of(ours), digests_of(others), new=True)
            self._of_real[n] = self._beside(ours, others, novel, 1.0)
        return self._of_real[n]

    def _beside(self, ours: np.ndarray, real: np.ndarray, novel: float, dictionary: float) -> dict[str, float]:
        tokens, references = self._tokens(ours), self._tokens(real[:N_BLEU])
        js = jensen_shannon(symbols_of(ours, closed=True), symbols_of(real, closed=True), JS_ORDERS)
        return {
            **{f"js_{n}": value for n, value in enumerate(js, 1)},
            "novel": novel,
            "dictionary": dictionary,
            "unique": len(np.unique(digests_of(ours))) / len(ours),
            "distinct_2": distinct(tokens, 2),
            "bleu": float(bleu(tokens[:N_BLEU], references).mean()),
            "self_bleu": float(bleu(tokens[:N_BLEU]).mean()),
            "length_distance": length_distance(symbols_of(ours), symbols_of(real)),
            **({OF_ORACLE: nats_by_oracle(ours[:N_NLL])} if self.by_oracle else {}),
        }

    def _tokens(self, rows: np.ndarray) -> np.ndarray:
        return words_of(self.medium.texts(rows), self._numbers) if self.by_words else symbols_of(rows)

    @torch.no_grad()
    def nll(self, trained: Trained, ranks: Ranks) -> float | None:
        """Negative log-likelihood of the real texts in nats a symbol, the end counted as one; None if G has no method
        `nll` (one-hot texts (N, V, L) and conditions -> nats (N,)). All ranks take part."""
        of = getattr(trained.G, "nll", None)
        if of is None:
            return None
        rows, total = ended(self.real[:N_NLL]), 0.0
        mine = np.arange(ranks.rank, len(rows), ranks.world_size)
        for at in np.split(mine, range(BATCH, len(mine), BATCH)) if len(mine) else ():
            x = self.medium.to_network(torch.from_numpy(rows[at]).to(ranks.device))
            total += float(of(x, trained.told(self.real_y[at])).double().sum())
        symbols = np.minimum((rows != END).sum(1) + 1, rows.shape[1]).sum()
        return sum(ranks.gather(total)) / float(symbols)

    def protocol(self, n: int) -> dict[str, Any]:
        """What has to be known of the measures beside their names."""
        symbols = self.medium.letters.unit
        of_real = "of training ones" if self.training is not None else "of one half beside the other"
        return {
            "js": f"of n-grams of {symbols}, the end counted as one, in bits",
            "dictionary": f"{len(self._known)} texts, {'training and held out' if len(self.shown) else 'held out'}",
            "bleu": {
                "tokens": "words" if self.by_words else symbols,
                "n": min(n, N_BLEU),
                "references": min(len(self.real), N_BLEU),
            },
            "nll": f"nats, for each of the {symbols} and the end",
            **({OF_ORACLE: f"nats, for each of the {symbols}; seed {oracle().seed}"} if self.by_oracle else {}),
            "real_texts": of_real,
        }


def told_by(config: RunConfig) -> list[str]:
    """Names of the measures of texts in a run."""
    has_likelihood = hasattr(NETWORKS[config.model.name].generator, "nll")
    known = {NLL: has_likelihood, OF_ORACLE: is_by_oracle(config)}
    return [name for name in TEXTS if known.get(name, True)]


def is_by_oracle(config: RunConfig) -> bool:
    """Whether the oracle has drawn the texts that G learns from, and all of its tokens are read."""
    options = config.data.options
    return config.data.path in SETS and (options["alphabet"], options["vocabulary"]) == ("numbers", VOCABULARY)


def nats_by_oracle(rows: np.ndarray) -> float:
    """How unlikely the oracle finds texts (N, L): -log p in nats a token, as in SeqGAN (Yu et al. 2017,
    arXiv:1609.05473). NaN if there are no tokens."""
    tokens = int((ended(rows) != END).sum())
    return float(oracle().nats(rows).sum()) / tokens if tokens else math.nan


def texts_of(config: RunConfig, measured: RunConfig, real: RealFeatures, training: RealFeatures | None) -> Texts | None:
    """The real texts of a run; None if its samples are none.

    Args:
        measured: the configuration of the real samples, which may not be those that G is trained on.

    Raises:
        DataError: a text cannot be read.
    """
    medium = medium_of(config)
    if not isinstance(medium, Text):
        return None
    others = training is not None and training.fingerprint != real.fingerprint
    held_out = _all_digests(measured)
    shown = held_out[:0] if training is None else _all_digests(config) if others else held_out
    return Texts(
        medium,
        _rows(measured, real.numbers),
        real.conditions[real.numbers],
        _rows(config, training.numbers) if training is not None and others else None,
        shown,
        held_out,
        is_by_oracle(config),
    )


def digests_of(rows: np.ndarray) -> np.ndarray:
    """A number (N,) for each text, the same for equal ones; of two million different texts, two share one with a
    probability of one in ten million."""
    found = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in ended(rows))
    return np.frombuffer(b"".join(found), np.int64)


def _share(digests: np.ndarray, known: np.ndarray, *, new: bool = False) -> float:
    """The share of texts that are among the `known` ones, or not; NaN if none are known."""
    return float(np.isin(digests, known, invert=new).mean()) if len(known) else math.nan


def _rows(config: RunConfig, numbers: np.ndarray) -> np.ndarray:
    return dataset.open_set(config, dataset.open_index(config), medium_of(config)).gather(numbers)[0]


def _all_digests(config: RunConfig) -> np.ndarray:
    index = dataset.open_index(config)
    opened = dataset.open_set(config, index, medium_of(config))
    parts = np.array_split(np.arange(index.n), -(-index.n // GATHERED))
    return np.unique(np.concatenate([digests_of(opened.gather(part)[0]) for part in parts]))
