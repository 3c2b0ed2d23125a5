"""Alphabets of texts: a text as the numbers of its symbols, and back. Needs no torch."""

import codecs
import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from gandist.errors import DataError, GandistError

Kind = Literal["characters", "bytes", "bpe", "numbers"]
PACKED = ("characters", "bytes", "bpe")
"""What gandist.pack counts symbols by."""
END = 0
"""The number behind a text shorter than its row; symbols have the numbers from 1 on."""
BYTES = 256
MOST = 32_766
"""Symbols that rows of 16 bits can tell apart, besides the end."""
DIGITS = 5
"""Of the largest number of a token."""
TOKENIZER_BYTES = 1 << 18
"""Size of a tokenizer at most: it lies in the configuration of each run that uses it."""
WORDS = r"\s?\S+|\s+"
"""Tokens do not reach across words, to which the space before them belongs."""


class Alphabet(Protocol):
    """Symbols with the numbers 1, 2, ...; `size` counts the end, too, and `unit` names several symbols."""

    unit: str
    size: int

    def numbers(self, text: str) -> tuple[list[int], int]:
        """The numbers of a text's symbols, and how many of its characters (or bytes) are none."""

    def bytes_of(self, numbers: Sequence[int]) -> bytes:
        """UTF-8 of symbols; of bytes perhaps none."""


class Characters:
    """Each of the characters is a symbol."""

    unit = "characters"

    def __init__(self, symbols: str) -> None:
        self.size = 1 + len(symbols)
        self._symbols = symbols
        self._number = {character: 1 + i for i, character in enumerate(symbols)}

    def numbers(self, text: str) -> tuple[list[int], int]:
        known = [self._number[character] for character in text if character in self._number]
        return known, len(text) - len(known)

    def bytes_of(self, numbers: Sequence[int]) -> bytes:
        return "".join(self._symbols[number - 1] for number in numbers).encode()


class Bytes:
    """The bytes of UTF-8 but 0, which is the end."""

    unit = "bytes"
    size = BYTES

    def numbers(self, text: str) -> tuple[list[int], int]:
        data = text.encode("utf-8", "surrogateescape")
        known = [byte for byte in data if byte != END]
        return known, len(data) - len(known)

    def bytes_of(self, numbers: Sequence[int]) -> bytes:
        return bytes(numbers)


class Tokens:
    """The tokens of a tokenizer of byte pair encoding, whose JSON this is. Decoding needs no library."""

    unit = "tokens"

    def __init__(self, tokenizer: str) -> None:
        found = json.loads(tokenizer)["model"]
        if found["type"] != "BPE" or sorted(found["vocab"].values()) != list(range(len(found["vocab"]))):
            raise ValueError("is no tokenizer of byte pairs that gandist.pack has made")
        self.size = 1 + len(found["vocab"])
        self._json = tokenizer
        self._tokens = sorted(found["vocab"], key=found["vocab"].__getitem__)

    @functools.cached_property
    def _encode(self) -> Callable[[str], Any]:
        encode: Callable[[str], Any] = library().Tokenizer.from_str(self._json).encode
        return encode

    def numbers(self, text: str) -> tuple[list[int], int]:
        known = self._encode(text).ids
        return [1 + number for number in known], len(text) - sum(len(self._tokens[number]) for number in known)

    def bytes_of(self, numbers: Sequence[int]) -> bytes:
        return "".join(self._tokens[number - 1] for number in numbers).encode()


class Numbers:
    """Tokens that have no more than a number, from 0 on, written with spaces between them."""

    unit = "tokens"

    def __init__(self, vocabulary: int) -> None:
        self.size = 1 + vocabulary

    def numbers(self, text: str) -> tuple[list[int], int]:
        words = text.split()
        found = [1 + int(word) for word in words if word.isascii() and word.isdecimal() and len(word) <= DIGITS]
        known = [number for number in found if number < self.size]
        return known, len(words) - len(known)

    def bytes_of(self, numbers: Sequence[int]) -> bytes:
        return " ".join(str(number - 1) for number in numbers).encode()


@functools.lru_cache(32)
def alphabet_of(kind: Kind, symbols: str = "", tokenizer: str = "", vocabulary: int = 0) -> Alphabet:
    """The alphabet of these options of a medium; that of no tokenizer has no symbols.

    Raises:
        ValueError: the tokenizer is none.
    """
    if kind == "bytes":
        return Bytes()
    if kind == "numbers":
        return Numbers(vocabulary)
    return Tokens(tokenizer) if tokenizer else Characters(symbols)


def cut(alphabet: Alphabet, numbers: list[int], length: int) -> list[int]:
    """The first `length` symbols; of bytes without a part of a character."""
    kept = numbers[:length]
    if alphabet.size != BYTES or not isinstance(alphabet, Bytes) or len(numbers) == len(kept):
        return kept
    for end in range(len(kept), max(0, len(kept) - 4), -1):
        if numbers[end] & 0xC0 != 0x80:  # a character begins there
            return kept[:end]
    return kept


def text_of(data: bytes, errors: str = "strict") -> str:
    """The text of a file: UTF-8, without the mark at its beginning and one end of a line behind it.

    Args:
        errors: "surrogateescape" takes any bytes.

    Raises:
        DataError: it is no UTF-8; the message names the byte.
    """
    try:
        text = data.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        at = error.start + len(data) - len(error.object)
        raise DataError(f"is not UTF-8 text: byte {at} is {data[at]:#04x}") from error
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def file_of(text: bytes) -> bytes:
    """The file whose text, as `text_of` reads it, is this one."""
    marked = codecs.BOM_UTF8 + text if text.startswith(codecs.BOM_UTF8) else text
    return marked + b"\r\n" if text.endswith((b"\n", b"\r")) else marked


def before_end(row: np.ndarray) -> list[int]:
    """The numbers of a row (L,) before its end."""
    ends = np.flatnonzero(row == END)
    numbers: list[int] = row[: ends[0] if len(ends) else len(row)].tolist()
    return numbers


def trained(texts: Iterable[str], vocabulary: int) -> str:
    """The JSON of a tokenizer of byte pairs (Sennrich et al. 2016, arXiv:1508.07909) with this many tokens, or fewer if
    the texts have no more pairs: their characters, and then what is most often side by side. Equal texts give equal
    tokens.

    Raises:
        GandistError: the library is not installed.
    """
    from_library = library()
    tokenizer = from_library.Tokenizer(from_library.models.BPE())
    tokenizer.pre_tokenizer = from_library.pre_tokenizers.Split(from_library.Regex(WORDS), "isolated")
    trainer = from_library.trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False, special_tokens=[])
    tokenizer.train_from_iterator(texts, trainer)
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))


def library() -> Any:
    """The tokenizers of Hugging Face.

    Raises:
        GandistError: they are not installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise GandistError(f"tokens need the package tokenizers: {error}; pip install 'gandist[text]'") from error
    return tokenizers
