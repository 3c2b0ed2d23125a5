"""A random LSTM as the source of texts: the likelihood of a text under it is known, so G's texts are judged exactly.

The synthetic data of SeqGAN (Yu et al. 2017, arXiv:1609.05473, section 5.1): 5,000 tokens, sequences of 20, an LSTM
(Hochreiter & Schmidhuber 1997) with 32 numbers for a token and 32 of state, and N(0, 1) for all of its parameters.
Tokens have the numbers from 1 on; 0, the end of shorter texts elsewhere, is what the first token follows.
"""

from functools import cache
from pathlib import Path

import numpy as np

from gandist.data.making import making, members, write_shard
from gandist.distributed.randomness import philox

VOCABULARY, LENGTH, WIDTH = 5000, 20, 32
TRAINING, HELD_OUT = 10_000, 2000
"""Sequences of `builtin:oracle`, as published, and of `builtin:oracle-held-out`."""
SETS = ("builtin:oracle", "builtin:oracle-held-out")
VERSION = 1
"""Changes with the sequences."""
SEED = 0
BATCH = 50
"""Sequences at a time."""
BLOCKS = 50
DIGITS = " 0123456789"


class Oracle:
    """The LSTM of a seed, in float64: the same sequences on every machine. `vocabulary` is a multiple of `BLOCKS`."""

    def __init__(self, seed: int = SEED, vocabulary: int = VOCABULARY, length: int = LENGTH) -> None:
        self.seed, self.vocabulary, self.length = seed, vocabulary, length
        shapes = [(1 + vocabulary, WIDTH), (2 * WIDTH, 4 * WIDTH), (4 * WIDTH,), (WIDTH, vocabulary), (vocabulary,)]
        sizes = [int(np.prod(shape)) for shape in shapes]
        drawn = np.split(_normal(seed, sum(sizes)), np.cumsum(sizes)[:-1])
        parameters = (part.reshape(shape) for part, shape in zip(drawn, shapes, strict=True))
        self.embedding, self.gates, self.gates_bias, self.out, self.out_bias = parameters

    def draw(self, n: int, purpose: str) -> np.ndarray:
        """Sequences (n, length) int16; the first ones are the same for any n."""
        chances = _uniform(self.seed, f"oracle/{purpose}", n * self.length).reshape(n, self.length)
        rows = np.zeros((n, self.length), np.int16)
        for at in range(0, n, BATCH):
            part = rows[at : at + BATCH]
            before, state = np.zeros(len(part), np.int64), self._start(len(part))
            for place in range(self.length):
                state = self._step(before, *state)
                part[:, place] = _chosen(self._likelihoods(state[0]), chances[at : at + BATCH, place])
                before = part[:, place].astype(np.int64)
        return rows

    def nats(self, rows: np.ndarray) -> np.ndarray:
        """-log p of each text (n, length): of its tokens before the first 0, (n,)."""
        found = np.zeros(len(rows))
        for at in range(0, len(rows), BATCH):
            part = rows[at : at + BATCH].astype(np.int64)
            goes_on = np.logical_and.accumulate(part > 0, axis=1)
            before, state, each = np.zeros(len(part), np.int64), self._start(len(part)), np.arange(len(part))
            for place in range(part.shape[1]):
                state = self._step(before, *state)
                likelihoods = self._likelihoods(state[0])
                token = np.maximum(1, part[:, place])
                surprise = np.log(likelihoods.sum(1)) - np.log(likelihoods[each, token - 1])
                found[at : at + BATCH] += np.where(goes_on[:, place], surprise, 0)
                before = token
        return found

    def _start(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((n, WIDTH)), np.zeros((n, WIDTH))

    def _step(self, tokens: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Output and memory (n, WIDTH) after tokens (n,)."""
        gates = np.concatenate([self.embedding[tokens], h], 1) @ self.gates + self.gates_bias
        i, f, o, g = np.split(gates, 4, 1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        return _sigmoid(o) * np.tanh(c), c

    def _likelihoods(self, h: np.ndarray) -> np.ndarray:
        """How likely each token is (n, vocabulary), up to a factor. What the exponential gets is below 88, 7 standard
        deviations of the largest possible logit's."""
        return np.asarray(np.exp(h @ self.out + self.out_bias))


@cache
def oracle() -> Oracle:
    """The one that the sets are drawn from."""
    return Oracle()


def make_oracle(dest: Path, *, held_out: bool) -> None:
    """Write sequences, numbers from 0 on with spaces between them, as a shard of text files to the folder `dest`."""
    rows = oracle().draw(HELD_OUT, "held out") if held_out else oracle().draw(TRAINING, "training")
    with making(str(dest)) as made:
        path = made.work / "000000.tar"
        texts = (" ".join(map(str, row)).encode() for row in (rows - 1).tolist())
        write_shard(path, ((f"{i:08d}", members(text, "txt", -1, None)) for i, text in enumerate(texts)))
        made.finish([path], extensions=("txt",), symbols=DIGITS)


def _chosen(likelihoods: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """Numbers of tokens (n,), from 1 on, drawn by likelihoods (n, V) and chances (n,) in [0, 1): first a block of
    tokens, then one of it, for sums of all would take long."""
    each, blocks = np.arange(len(chances)), likelihoods.reshape(len(chances), BLOCKS, -1)
    of_blocks = blocks.sum(2)
    sums = of_blocks.cumsum(1)
    wanted = chances * sums[:, -1]
    block = np.minimum((sums <= wanted[:, None]).sum(1), BLOCKS - 1)
    rest = wanted - sums[each, block] + of_blocks[each, block]
    within = (blocks[each, block].cumsum(1) <= rest[:, None]).sum(1)
    return np.asarray(1 + block * blocks.shape[2] + np.minimum(within, blocks.shape[2] - 1))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def _uniform(seed: int, purpose: str, n: int) -> np.ndarray:
    """Numbers in [0, 1), of the raw stream, which numpy keeps stable (unlike the methods of `Generator`)."""
    words = np.asarray(philox(seed, purpose).bit_generator.random_raw(n))
    return np.asarray((words >> 11) * 2.0**-53)


def _normal(seed: int, n: int) -> np.ndarray:
    """N(0, 1) by Box and Muller (1958)."""
    u = _uniform(seed, "oracle/parameters", 2 * n).reshape(2, n)
    return np.asarray(np.sqrt(-2 * np.log1p(-u[0])) * np.cos(2 * np.pi * u[1]))
