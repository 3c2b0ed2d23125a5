"""Measures of texts are those of other libraries, and of their definitions."""

from collections import Counter

import numpy as np
import pytest
import scipy
import torch

from gandist.evaluation import text_measures
from gandist.evaluation.text_extractors import SIGNS, ngrams
from gandist.evaluation.text_measures import (
    bleu,
    distinct,
    ended,
    jensen_shannon,
    length_distance,
    symbols_of,
    words_of,
)
from gandist.media.text import Text

Lists = list[list[int]]


def rows(n: int, seed: int, shortest: int = 0, symbols: int = 4) -> np.ndarray:
    """Texts (n, 9) of a few symbols, with anything behind their ends."""
    chance = np.random.default_rng(seed)
    found = chance.integers(1, 1 + symbols, (n, 9)).astype(np.uint8)
    length = chance.integers(shortest, 10, n)
    found[np.arange(n)[length < 9], length[length < 9]] = 0
    return found


def lists(tokens: np.ndarray) -> Lists:
    return [[token for token in row if token >= 0] for row in tokens.tolist()]


def grams(text: list[int], n: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))


def counted(texts: Lists, n: int) -> Counter[tuple[int, ...]]:
    return sum((grams(text, n) for text in texts), Counter[tuple[int, ...]]())


def smoothed_bleu(text: list[int], references: Lists) -> float:
    """BLEU by its definition, with Chen and Cherry's first smoothing."""
    if not any(token in reference for token in text for reference in references):
        return 0.0
    logarithm = 0.0
    for n in range(1, 5):
        ours, theirs = grams(text, n), [grams(reference, n) for reference in references]
        matches = sum(min(count, max(each[gram] for each in theirs)) for gram, count in ours.items())
        logarithm += np.log((matches or 0.1) / max(1, ours.total())) / 4
    nearest = min(map(len, references), key=lambda length: (abs(length - len(text)), length))
    return float(np.exp(logarithm + min(0, 1 - nearest / len(text))))


def test_tokens() -> None:
    texts = np.array([[1, 2, 0, 3], [4, 4, 4, 4], [0, 1, 0, 0]], np.uint8)
    assert ended(texts).tolist() == [[1, 2, 0, 0], [4, 4, 4, 4], [0, 0, 0, 0]]
    assert lists(symbols_of(texts)) == [[1, 2], [4, 4, 4, 4], []]
    assert lists(symbols_of(texts, closed=True)) == [[1, 2, 0], [4, 4, 4, 4, 0], [0]]
    numbers: dict[str, int] = {}
    assert lists(words_of(["to be  or", "", "be\tto"], numbers)) == [[0, 1, 2], [], [1, 0]]
    assert lists(words_of(["or not"], numbers)) == [[2, 3]]


@pytest.mark.parametrize("dense", [0, text_measures.DENSE])
def test_js_is_scipys(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_measures, "DENSE", dense)
    ours, theirs = (symbols_of(rows(40, seed), closed=True) for seed in (1, 2))
    found = jensen_shannon(ours, theirs, 4)
    for n, value in enumerate(found, 1):
        a, b = (counted(lists(tokens), n) for tokens in (ours, theirs))
        kinds = sorted({*a, *b})
        oracle = (
            scipy.spatial.distance.jensenshannon([a[kind] for kind in kinds], [b[kind] for kind in kinds], base=2) ** 2
        )
        assert value == pytest.approx(oracle, abs=1e-12)
    assert found == sorted(found)
    assert jensen_shannon(ours, ours, 4) == pytest.approx([0] * 4, abs=1e-12)
    assert jensen_shannon(ours, np.full((3, 2), 9), 1) == [1]
    assert np.isnan(jensen_shannon(ours, np.full((3, 2), 9), 3)[2])


def test_bleu_is_torchmetrics() -> None:
    """Where every order has a match, so that nothing is smoothed."""
    from torchmetrics.functional.text import bleu_score

    ours, theirs = (symbols_of(rows(20, seed, shortest=5, symbols=2)) for seed in (1, 2))
    spoken = [[" ".join(map(str, text)) for text in lists(tokens)] for tokens in (ours, theirs)]
    with_theirs, with_ours = bleu(ours, theirs), bleu(ours)
    some = 0
    for i, text in enumerate(spoken[0]):
        others = spoken[0][:i] + spoken[0][i + 1 :]
        for found, references in ((with_theirs, spoken[1]), (with_ours, others)):
            if oracle := float(bleu_score([text], [references])):
                assert found[i] == pytest.approx(oracle, abs=1e-5)
                some += 1
    assert some > 30


def test_bleu_by_definition() -> None:
    ours, theirs = (symbols_of(rows(30, seed)) for seed in (3, 4))
    of_ours, of_theirs = lists(ours), lists(theirs)
    assert bleu(ours, theirs[:3]) == pytest.approx([smoothed_bleu(text, of_theirs[:3]) for text in of_ours])
    expected = [smoothed_bleu(text, of_ours[:i] + of_ours[i + 1 :]) for i, text in enumerate(of_ours)]
    assert bleu(ours) == pytest.approx(expected)
    assert 0 in expected, "an empty text"
    assert bleu(np.array([[1, 2, 3, 4]] * 2)).tolist() == [1, 1]


def test_lengths_and_variety() -> None:
    ours, theirs = (symbols_of(rows(30, seed)) for seed in (5, 6))
    lengths = [[*map(len, lists(tokens))] for tokens in (ours, theirs)]
    assert length_distance(ours, theirs) == pytest.approx(scipy.stats.wasserstein_distance(*lengths))
    kinds = counted(lists(ours), 2)
    assert distinct(ours, 2) == len(kinds) / kinds.total()
    assert np.isnan(distinct(ours[:, :1], 2))


def test_features_count_n_grams() -> None:
    """Squared distances are those of the counts of 1- to 3-grams, the beginning (-1) and the end with them."""
    medium = Text(length=9, symbols="abcd")
    extractor = ngrams(None, medium, torch.device("cpu"))
    texts = rows(60, 7)
    h = extractor.features(medium.to_network(torch.from_numpy(texts))).double()
    assert h.shape == (60, extractor.dim) == (60, 3 * SIGNS)
    whole = [[-1, *text] for text in lists(symbols_of(texts, closed=True))]
    for n in (1, 2, 3):
        kinds = sorted(counted(whole, n))
        counts = torch.tensor([[grams(text, n)[kind] for kind in kinds] for text in whole], dtype=torch.float64)
        distances = [torch.cdist(each, each).square().flatten() for each in (h[:, (n - 1) * SIGNS : n * SIGNS], counts)]
        assert (distances[0].mean() / distances[1].mean()).item() == pytest.approx(1, rel=0.1)
        assert torch.corrcoef(torch.stack(distances))[0, 1] > 0.9
    # Nothing behind the end counts
    assert torch.equal(h, extractor.features(medium.to_network(torch.from_numpy(ended(texts)))).double())


def test_features_of_shares_are_those_expected() -> None:
    medium = Text(length=3, symbols="ab")
    extractor = ngrams(None, medium, torch.device("cpu"))
    shares = torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    every = torch.cartesian_prod(*[torch.arange(3, dtype=torch.uint8)] * 3)
    weights = torch.stack([shares[0, every[:, place].long(), place] for place in range(3)]).prod(0)
    expected = weights @ extractor.features(medium.to_network(every))
    torch.testing.assert_close(extractor.features(shares)[0], expected, rtol=1e-4, atol=1e-5)
