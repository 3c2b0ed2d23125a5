"""Short texts of a fixed number of symbols."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from gandist.media.alphabets import (
    BYTES,
    END,
    MOST,
    TOKENIZER_BYTES,
    Alphabet,
    Kind,
    alphabet_of,
    before_end,
    cut,
    file_of,
    text_of,
)
from gandist.media.medium import Medium, Preview, Row

KINDS = (".txt", ".jsonl")
COARSE = 4
"""Parts of a text in which symbols are counted to compare texts."""
SHOWN = str.maketrans({"\n": "⏎", "\r": None, "\x00": None})
"""How a text is shown in one line."""


class Text(Medium):
    """Rows (L,) of symbols' numbers, uint8 or int16; networks see (V, L): for each place the share of each symbol."""

    length: int = Field(16, ge=2, le=4096)
    """Symbols of a text; a shorter one ends with the symbol 0."""
    alphabet: Kind = "characters"
    """Symbols: the characters of `symbols`, the bytes of UTF-8, which need no list, the tokens of `tokenizer`, or
    numbers below `vocabulary`, with spaces between them."""
    symbols: str = ""
    """With `alphabet: characters`: the characters, each once; empty: those that the set's index lists."""
    tokenizer: str = ""
    """With `alphabet: bpe`: a tokenizer's JSON; empty: that of the set's index, which gandist.pack trains."""
    vocabulary: int = Field(0, ge=0)
    """With `alphabet: numbers`: how many there are, from 0 on."""
    lower: bool = False
    """Make letters small."""

    @model_validator(mode="after")
    def _check(self) -> "Text":
        if len(set(self.symbols)) < len(self.symbols):
            raise ValueError("symbols holds a character twice")
        if "\0" in self.symbols:
            raise ValueError("symbols holds the character 0, which ends a text")
        if self.symbols and self.alphabet != "characters":
            raise ValueError("symbols is for alphabet=characters; leave it out")
        if self.tokenizer and self.alphabet != "bpe":
            raise ValueError("tokenizer is for alphabet=bpe; leave it out")
        if bool(self.vocabulary) != (self.alphabet == "numbers"):
            raise ValueError("vocabulary is how many numbers there are with alphabet=numbers, else 0")
        if len(self.tokenizer.encode("utf-8", "replace")) > TOKENIZER_BYTES:
            raise ValueError(f"tokenizer exceeds {TOKENIZER_BYTES // 1024} KiB; pack with a smaller --vocabulary")
        try:
            size = self.letters.size
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError("tokenizer is no JSON of a tokenizer of byte pairs; leave it out") from error
        if size > MOST + 1:
            raise ValueError(
                f"{size - 1} symbols, and texts may have {MOST}; set alphabet=bytes, or pack with --symbols {MOST}"
            )
        return self

    @property
    def letters(self) -> Alphabet:
        """The alphabet."""
        return alphabet_of(self.alphabet, self.symbols, self.tokenizer, self.vocabulary)

    @property
    def n_symbols(self) -> int:
        """V: the symbols, with that of the end."""
        return self.letters.size

    @property
    def extensions(self) -> tuple[str, ...]:
        return ("txt",)

    @property
    def extension(self) -> str:
        return "txt"

    @property
    def row(self) -> Row:
        return Row((self.length,), np.uint8 if self.n_symbols <= BYTES else np.int16)

    @property
    def network_shape(self) -> tuple[int, ...]:
        return (self.n_symbols, self.length)

    @property
    def uniforms(self) -> tuple[str, ...]:
        return ()

    @property
    def name(self) -> str:
        held = hashlib.sha256((self.symbols or self.tokenizer).encode()).hexdigest()[:16]
        of = {"bytes": "", "numbers": f"-{self.vocabulary}"}.get(self.alphabet, f"-{held}")
        return f"text-{self.length}{'-lower' if self.lower else ''}-{self.alphabet}{of}"

    @property
    def decoder(self) -> str:
        return "text-2"

    @property
    def prepared(self) -> str:
        return f"real texts, cut to {self.length} {self.letters.unit}"

    @property
    def nouns(self) -> tuple[str, str]:
        return "text", "texts"

    @property
    def packing(self) -> str:
        if self.alphabet == "numbers":
            return "--medium text"
        alphabet = "" if self.alphabet == "characters" else f" --alphabet {self.alphabet}"
        return f"--length {self.length}{alphabet}{' --lower' if self.lower else ''}"

    @property
    def kinds(self) -> tuple[str, ...]:
        return KINDS

    def decode(self, data: bytes, out: np.ndarray) -> str | None:
        """UTF-8, without the mark at its beginning and one end of a line behind it; characters outside the alphabet
        are left out. With `alphabet: bytes` any bytes but 0."""
        text = text_of(data, "surrogateescape" if self.alphabet == "bytes" else "strict")
        numbers, unknown = self.letters.numbers(text.lower() if self.lower else text)
        kept = cut(self.letters, numbers, len(out))
        out[: len(kept)], out[len(kept) :] = kept, END
        if unknown:
            what = {
                "characters": "characters outside data.options.symbols",
                "bytes": "bytes of 0",
                "numbers": "words that are no numbers below data.options.vocabulary",
            }
            return f"with {what.get(self.alphabet, 'characters that no token has')}, which are left out"
        if not numbers:
            return "empty"
        return f"longer than {len(out)} {self.letters.unit}, and cut" if len(numbers) > len(out) else None

    def texts(self, rows: np.ndarray) -> list[str]:
        """The texts of rows (N, L). Bytes that are no UTF-8 are shown as U+FFFD."""
        return [self.letters.bytes_of(before_end(row)).decode("utf-8", "replace") for row in rows]

    def to_network(
        self, rows: Tensor, uniforms: Mapping[str, Tensor] = {}, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        symbols = torch.arange(self.n_symbols, dtype=rows.dtype, device=rows.device)
        return (rows[:, None] == symbols[:, None]).to(dtype)

    def from_network(self, x: Tensor) -> Tensor:
        """The most likely symbol of each place."""
        return x.argmax(1).to(self.row.tensor_dtype)

    def coarse(self, x: Tensor) -> Tensor:
        """How often each symbol stands in each part of a text: (N, 4 V)."""
        return F.adaptive_avg_pool1d(x.float(), min(COARSE, self.length)).flatten(1)

    def preview(self, rows: np.ndarray, columns: int) -> Preview:
        """A text a line, a line's end within a text as a sign."""
        lines = [text.translate(SHOWN) for text in self.texts(rows)]
        return Preview("".join(f"{line}\n" for line in lines).encode(), ".txt")

    def encode(self, row: np.ndarray) -> bytes:
        return file_of(self.letters.bytes_of(before_end(row)))


def jsonl_bytes(medium: Medium, rows: np.ndarray, labels: Sequence[int] | None = None) -> bytes:
    """Texts (N, *row.shape) as JSON, an object a line, with their classes if they have any."""
    assert isinstance(medium, Text), "no other medium has this kind of file"
    lines: list[dict[str, str | int]] = [{"text": text} for text in medium.texts(rows)]
    for line, label in zip(lines, labels or (), strict=False):
        line["class"] = label
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode()
