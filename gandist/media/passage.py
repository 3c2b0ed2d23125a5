"""Prepare a text for a shard: decoded, made small, filtered, cut to a length, encoded in UTF-8."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import numpy as np

from gandist.errors import DataError
from gandist.media.alphabets import MOST, TOKENIZER_BYTES, Kind, alphabet_of, cut, file_of, text_of, trained

VOCABULARY = 512
"""Tokens of a tokenizer, by default."""


class Passage(NamedTuple):
    """Format of each written text.

    Attributes:
        length: in symbols of the alphabet: a longer text is cut or left out. None keeps all of it.
        lower: make letters small.
        alphabet: what `length` counts; "bpe" trains a tokenizer.
        symbols: the characters to keep, or how many, the most frequent ones: a number that does not begin with 0.
        vocabulary: tokens of the tokenizer.
        long: whether what is longer is cut or left out ("drop").
        tokenizer: its JSON, once it is trained.
    """

    length: int | None = None
    lower: bool = False
    alphabet: Kind = "characters"
    symbols: str = ""
    vocabulary: int | None = None
    long: Literal["cut", "drop"] = "cut"
    tokenizer: str = ""

    @property
    def format(self) -> str:
        return "txt"

    @property
    def most(self) -> int | None:
        """How many of the most frequent characters to keep; None if they are named, or all."""
        number = self.symbols.isascii() and self.symbols.isdecimal() and not self.symbols.startswith("0")
        return int(self.symbols) if number else None

    def encoded(self, given: Any, note: Callable[[str], None]) -> list[bytes]:
        """The file that a text becomes; none if it is empty, or too long and not to be cut.

        Args:
            note: is told what was done to it, such as "longer than 32 characters and cut".

        Raises:
            DataError: it is no UTF-8.
        """
        done: list[str] = []
        text = self._text(given, done.append)
        if (start := self._start_of(text)) is not None:
            unit = alphabet_of(self.alphabet, tokenizer=self.tokenizer).unit
            if self.long == "drop":
                note(f"longer than {self.length} {unit} and left out")
                return []
            done.append(f"longer than {self.length} {unit} and cut")
            text = start
        if not text:
            note("empty and left out")
            return []
        for how in done:
            note(how)
        return [file_of(text.encode())]

    def encode_pair(self, input: bytes | np.ndarray, target: Any) -> tuple[bytes, bytes]:
        """Pairs are made of images alone."""
        raise DataError("--pairs and --pairs-halves are for images")

    def learnt(self, texts: Callable[[], Iterable[bytes]]) -> "Passage":
        """The format with what it must learn from the texts: the most frequent characters, and the tokenizer.

        Raises:
            DataError: the vocabulary is too small, or the tokenizer too large.
            GandistError: a tokenizer is to be trained, and the library is not installed.
        """
        form = self._replace(symbols="".join(sorted(set(self.symbols.lower() if self.lower else self.symbols))))
        if self.most is not None:
            counted = _counted(self._replace(symbols=""), texts)
            often = sorted(counted, key=lambda character: (-counted[character], character))
            form = self._replace(symbols="".join(sorted(often[: self.most])))
        if self.alphabet != "bpe":
            return form
        n, known = self.vocabulary or VOCABULARY, _counted(form, texts)
        if n < len(known):
            raise DataError(
                f"--vocabulary {n}: the texts have {len(known)} characters, each of which is a token; give more, or "
                f"--symbols {max(1, n // 2)} for the most frequent ones"
            )
        tokenizer = trained(_readable(form, texts), n)
        if len(tokenizer.encode()) > TOKENIZER_BYTES:
            raise DataError(
                f"--vocabulary {n}: the tokenizer takes {len(tokenizer.encode()) >> 10} KiB, and each run keeps it in "
                f"its configuration, {TOKENIZER_BYTES >> 10} KiB at most; give fewer"
            )
        return form._replace(tokenizer=tokenizer)

    def _start_of(self, text: str) -> str | None:
        """What fits of a text that is too long, None if it is not. Every character counts, for the alphabet is that of
        the whole set."""
        if self.length is None:
            return None
        if self.alphabet == "characters":
            return text[: self.length] if len(text) > self.length else None
        alphabet = alphabet_of(self.alphabet, tokenizer=self.tokenizer)
        numbers, _ = alphabet.numbers(text)
        return alphabet.bytes_of(cut(alphabet, numbers, self.length)).decode() if len(numbers) > self.length else None

    def _text(self, given: bytes, note: Callable[[str], None]) -> str:
        text = text_of(given)
        text = text.lower() if self.lower else text
        if "\0" in text:
            note("with characters of number 0, which are left out")
            text = text.replace("\0", "")
        if self.symbols and (others := set(text).difference(self.symbols)):
            note("with characters outside --symbols, which are left out")
            text = text.translate(dict.fromkeys(map(ord, others)))
        return text


def check(form: Passage) -> str | None:
    """What options do not go together, if any."""
    if form.vocabulary is not None and form.alphabet != "bpe":
        return "--vocabulary is for --alphabet bpe; leave it out"
    if form.vocabulary is not None and form.vocabulary > MOST:
        return f"--vocabulary {form.vocabulary}: at most {MOST} tokens can be told apart"
    if form.symbols and form.alphabet == "bytes":
        return "--symbols is for --alphabet characters or bpe; leave it out"
    if "\0" in form.symbols:
        return "--symbols holds the character 0, which ends a text"
    if form.most is not None and form.most > MOST:
        return f"--symbols {form.most}: at most {MOST} can be told apart"
    return None


def _readable(form: Passage, texts: Callable[[], Iterable[bytes]]) -> Iterable[str]:
    """The texts as they will be written, but for their length, without those that cannot be read."""
    for data in texts():
        try:
            yield form._text(data, lambda how: None)
        except DataError:  # told when it is written
            continue


def _counted(form: Passage, texts: Callable[[], Iterable[bytes]]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for text in _readable(form, texts):
        counted.update(text)
    return counted
