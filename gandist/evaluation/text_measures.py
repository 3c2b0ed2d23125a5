"""How generated texts differ from real ones, by their tokens: n-grams, BLEU, lengths.

Tokens are (N, T) int64, each text's from the left, and -1 behind them. Each measure counts all n-grams at once, in
memory that grows linearly with the number of tokens.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from gandist.media.alphabets import END

NONE = -1
BLEU_ORDERS = 4
"""n-grams of BLEU: of 1 to 4 tokens, with equal weights."""
DENSE = 1 << 25
"""Largest code of n-grams up to which a table numbers them, faster than sorting."""
SMOOTHED = 0.1
"""Matches of an order of which there are none (Chen & Cherry 2014, https://aclanthology.org/W14-3346, method 1)."""


def ended(rows: np.ndarray) -> np.ndarray:
    """Rows of a text medium (N, L) with nothing behind the first END: equal texts are equal rows."""
    return np.where(np.cumsum(rows == END, axis=1) > 0, END, rows).astype(rows.dtype)


def symbols_of(rows: np.ndarray, closed: bool = False) -> np.ndarray:
    """The symbols of rows (N, L) as tokens; `closed`: with an END behind each text, (N, L + 1)."""
    tokens = np.pad(ended(rows).astype(np.int64), ((0, 0), (0, 1)))
    is_end = tokens == END
    if closed:
        return np.where(np.cumsum(is_end, axis=1) > 1, NONE, tokens)
    return np.where(is_end, NONE, tokens)[:, :-1]


def words_of(texts: list[str], numbers: dict[str, int]) -> np.ndarray:
    """The words of texts, between white space, as tokens; new ones are added to `numbers`."""
    found = [[numbers.setdefault(word, len(numbers)) for word in text.split()] for text in texts]
    tokens = np.full((len(found), max(1, *map(len, found))), NONE, np.int64)
    for row, words in zip(tokens, found, strict=True):
        row[: len(words)] = words
    return tokens


def n_grams(sets: Sequence[np.ndarray], most: int) -> Iterator[list[np.ndarray]]:
    """The n-grams of each set of tokens for n = 1 to `most`, as numbers (N, max(T - n + 1, 0)) in common to all sets;
    -1 for none."""
    yield (found := list(sets))
    for n in range(1, most):
        nexts = [tokens[:, n:] for tokens in sets]
        base = 1 + max((int(each.max(initial=NONE)) for each in nexts), default=0)
        pairs = [
            np.where(token >= 0, grams[:, : token.shape[1]] * base + token, NONE)
            for grams, token in zip(found, nexts, strict=True)
        ]
        numbers = _numbered(np.concatenate([each.ravel() for each in pairs]))
        parts = np.split(numbers, np.cumsum([each.size for each in pairs])[:-1])
        yield (found := [part.reshape(each.shape) for part, each in zip(parts, pairs, strict=True)])


def _numbered(codes: np.ndarray) -> np.ndarray:
    """Equal codes as equal numbers from 0 on, without gaps, so that n-grams of any length fit 64 bits; -1 stays."""
    if (largest := int(codes.max(initial=NONE))) < DENSE:
        there = np.zeros(largest + 2, bool)
        there[codes] = True
        there[-1] = False
        numbers: np.ndarray = np.cumsum(there) - 1
        numbers[-1] = NONE
        return np.take(numbers, codes, mode="wrap")
    kept, numbers = np.unique(codes, return_inverse=True)
    return np.asarray(numbers - int(kept[0] == NONE))


def jensen_shannon(ours: np.ndarray, theirs: np.ndarray, most: int) -> list[float]:
    """Jensen-Shannon divergence of the n-grams of two sets of tokens for n = 1 to `most`, in bits: 0 if all are equally
    frequent, 1 if they have none in common (as of generated and real texts in Gulrajani et al. 2017, arXiv:1704.00028).
    NaN if a set has no n-gram.
    """
    return [_divergence_bits(*grams) for grams in n_grams([ours, theirs], most)]


def _divergence_bits(ours: np.ndarray, theirs: np.ndarray) -> float:
    found = [grams[grams >= 0] for grams in (ours, theirs)]
    if not all(map(len, found)):
        return float("nan")
    kinds = 1 + max(int(grams.max()) for grams in found)
    p, q = (np.bincount(grams, minlength=kinds) / len(grams) for grams in found)
    return max(0.0, _entropy_bits((p + q) / 2) - (_entropy_bits(p) + _entropy_bits(q)) / 2)


def _entropy_bits(p: np.ndarray) -> float:
    there = p[p > 0]
    return float(-(there * np.log2(there)).sum())


def distinct(tokens: np.ndarray, n: int) -> float:
    """The share of different n-grams among all n-grams (Li et al. 2016, arXiv:1510.03055); it falls with their number.
    NaN if there are none."""
    *_, (grams,) = n_grams([tokens], n)
    there = grams[grams >= 0]
    return len(np.unique(there)) / len(there) if len(there) else float("nan")


def bleu(ours: np.ndarray, references: np.ndarray | None = None) -> np.ndarray:
    """BLEU of each text (N,) with all `references`; without them, with all the other texts: Self-BLEU (Papineni et al.
    2002, https://aclanthology.org/P02-1040; Zhu et al. 2018, arXiv:1802.01886). Sentence by sentence, 0 if no token
    matches; orders without a match count `SMOOTHED`."""
    n_ours, logarithm = len(ours), np.zeros(len(ours))
    sets = [ours] if references is None else [ours, references]
    for n, (grams, *theirs) in enumerate(n_grams(sets, BLEU_ORDERS), 1):
        kinds = 1 + max(int(each.max(initial=NONE)) for each in (grams, *theirs))
        text, gram, count = _counts(grams, kinds)
        if theirs:
            _, known, times = _counts(theirs[0], kinds)
            most = np.zeros(kinds, np.int64)
            np.maximum.at(most, known, times)
            allowed = most[gram]
        else:
            allowed = _most_of_others(gram, count, kinds)
        matches = np.bincount(text, np.minimum(count, allowed), minlength=n_ours)
        if n == 1:
            some = matches > 0
        total = np.maximum(1, (grams >= 0).sum(1))
        logarithm += np.log(np.where(matches > 0, matches, SMOOTHED) / total) / BLEU_ORDERS
    length = (ours >= 0).sum(1)
    nearest = _nearest_length(length, None if references is None else (references >= 0).sum(1))
    short = np.minimum(0.0, 1 - nearest / np.maximum(1, length))
    return np.asarray(np.where(some, np.exp(logarithm + short), 0.0))


def _counts(grams: np.ndarray, kinds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each kind of n-gram in each text: the text, the n-gram, and how often it occurs."""
    text, _ = (there := np.nonzero(grams >= 0))
    pairs, count = np.unique(text * kinds + grams[there], return_counts=True)
    return pairs // max(1, kinds), pairs % max(1, kinds), count


def _most_of_others(gram: np.ndarray, count: np.ndarray, kinds: int) -> np.ndarray:
    """For each n-gram of each text: how often it occurs at most in one of the other texts."""
    most, second = np.zeros(kinds, np.int64), np.zeros(kinds, np.int64)
    np.maximum.at(most, gram, count)
    is_most = count == most[gram]
    np.maximum.at(second, gram[~is_most], count[~is_most])
    alone = np.bincount(gram[is_most], minlength=kinds) == 1
    return np.asarray(np.where(is_most & alone[gram], second[gram], most[gram]))


def _nearest_length(length: np.ndarray, others: np.ndarray | None) -> np.ndarray:
    """The length of a reference that is nearest to each of ours, the shorter of two; without `others` that of another
    one of ours."""
    lengths, count = np.unique(length if others is None else others, return_counts=True)
    distance = 2.0 * np.abs(length[:, None] - lengths) + (lengths > length[:, None])
    if others is None:
        distance[(length[:, None] == lengths) & (count == 1)] = np.inf
    return np.asarray(lengths[distance.argmin(1)])


def length_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Wasserstein distance of the lengths of two sets of tokens: how many tokens a text has to gain or to lose, in the
    mean, for its length to be as frequent."""
    longest = max(ours.shape[1], theirs.shape[1])
    shares = [np.bincount((each >= 0).sum(1), minlength=longest + 1) / len(each) for each in (ours, theirs)]
    return float(np.abs(np.cumsum(shares[0] - shares[1])).sum())
