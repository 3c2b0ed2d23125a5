"""The oracle draws texts as likely as it says; an LSTM of torch's with its parameters says the same."""

from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy
import torch
from torch import nn

from gandist.data.builtin import builtin
from gandist.data.index_files import read_index
from gandist.data.oracle import HELD_OUT, VOCABULARY, WIDTH, Oracle, oracle
from gandist.data.sets import open_samples
from gandist.media.text import Text


def nats_of_torch(of: Oracle, rows: np.ndarray) -> torch.Tensor:
    """-log p of each of texts without ends, (n,)."""
    lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True, dtype=torch.float64)
    order = [0, 1, 3, 2]  # torch has the output's gate last
    gates = torch.from_numpy(of.gates).T.reshape(4, WIDTH, -1)[order].flatten(0, 1)
    bias = torch.from_numpy(of.gates_bias).reshape(4, WIDTH)[order].flatten()
    state = {"weight_ih_l0": gates[:, :WIDTH], "weight_hh_l0": gates[:, WIDTH:], "bias_ih_l0": bias}
    lstm.load_state_dict({**state, "bias_hh_l0": torch.zeros_like(bias)})
    tokens = torch.from_numpy(rows.astype(np.int64))
    before = nn.functional.pad(tokens[:, :-1], (1, 0))
    h, _ = lstm(torch.from_numpy(of.embedding)[before])
    logits = h @ torch.from_numpy(of.out) + torch.from_numpy(of.out_bias)
    return nn.functional.cross_entropy(logits.transpose(1, 2), tokens - 1, reduction="none").sum(1)


def test_it_is_an_lstm_with_normal_parameters() -> None:
    of = Oracle(3, vocabulary=100, length=7)
    rows = of.draw(60, "a test")
    assert (rows.shape, rows.min() >= 1, rows.max() <= 100) == ((60, 7), True, True)
    np.testing.assert_allclose(of.nats(rows), nats_of_torch(of, rows).detach(), rtol=1e-10)
    np.testing.assert_array_equal(of.draw(9, "a test"), rows[:9])
    assert (of.draw(9, "another") != rows[:9]).any()
    assert (Oracle(4, vocabulary=100, length=7).draw(9, "a test") != rows[:9]).any()
    drawn = np.concatenate([part.ravel() for part in (of.embedding, of.gates, of.gates_bias, of.out, of.out_bias)])
    assert scipy.stats.kstest(drawn, "norm").pvalue > 0.01


def test_texts_are_drawn_as_likely_as_it_says() -> None:
    of = Oracle(0, vocabulary=50, length=2)
    every = np.array([*product(range(1, 51), repeat=2)])
    likely = np.exp(-of.nats(every))
    assert likely.sum() == pytest.approx(1)
    n = 20_000
    counted = Counter(map(tuple, of.draw(n, "a test").tolist()))
    found = np.array([counted[tuple(text)] for text in every.tolist()]) / n
    assert np.abs(found - likely).max() < 5 * np.sqrt(likely.max() / n)
    assert np.abs(found - likely).sum() < 0.5 * np.sqrt(len(every) / n)


@pytest.mark.slow
def test_the_set_has_its_texts(own_cache: Path) -> None:
    index = read_index(builtin("builtin:oracle-held-out", own_cache))
    assert (index.n, index.symbols, index.classes) == (HELD_OUT, " 0123456789", 0)
    medium = Text(length=20, alphabet="numbers", vocabulary=VOCABULARY)
    rows, _ = open_samples(index, medium, cache_dir=own_cache).gather(np.arange(50))
    np.testing.assert_array_equal(rows, oracle().draw(50, "held out"))
