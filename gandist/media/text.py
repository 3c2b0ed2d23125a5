"""Short texts of a fixed number of symbols."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from gandist.errors import DataError
from gandist.media.medium import Medium, Preview, Row

END = 0
"""The symbol behind the last one of a text shorter than `length`; those after it do not count."""
BYTES = 256
COARSE = 4
"""Parts of a text in which symbols are counted to compare texts."""


class Text(Medium):
    """Rows (L,) of symbols' numbers, uint8 or int16; networks see (V, L): for each place the share of each symbol."""

    length: int = Field(16, ge=2, le=4096)
    """Symbols of a text; a shorter one ends with the symbol 0."""
    alphabet: Literal["characters", "bytes"] = "characters"
    """Symbols: the characters of `symbols`, or the bytes of UTF-8, which need no list."""
    symbols: str = ""
    """With `alphabet: characters`: the characters, each once; empty: those that the set's index lists."""
    lower: bool = False
    """Make letters small."""

    @model_validator(mode="after")
    def _check(self) -> "Text":
        if len(set(self.symbols)) < len(self.symbols):
            raise ValueError("symbols holds a character twice")
        if "\0" in self.symbols:
            raise ValueError("symbols holds the character 0, which ends a text")
        if self.symbols and self.alphabet == "bytes":
            raise ValueError("symbols is for alphabet=characters; leave it out")
        return self

    @property
    def n_symbols(self) -> int:
        """V: the symbols, with that of the end."""
        return BYTES if self.alphabet == "bytes" else 1 + len(self.symbols)

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
        kind = "bytes" if self.alphabet == "bytes" else self.symbols.encode().hex()
        return f"text-{self.length}{'-lower' if self.lower else ''}-{kind}"

    @property
    def decoder(self) -> str:
        return "text-1"

    @property
    def prepared(self) -> str:
        return f"real texts, cut to {self.length} {'bytes' if self.alphabet == 'bytes' else 'characters'}"

    @property
    def nouns(self) -> tuple[str, str]:
        return "text", "texts"

    @property
    def packing(self) -> str:
        return f"--length {self.length}{' --lower' if self.lower else ''}"

    @property
    def kinds(self) -> tuple[str, ...]:
        return (".txt", ".jsonl")

    def decode(self, data: bytes, out: np.ndarray) -> str | None:
        """UTF-8, without the mark at its beginning and the line's end; characters outside the alphabet are left out."""
        try:
            text = data.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"is not UTF-8 text: byte {error.start} is {data[error.start]:#04x}") from error
        numbers, unknown = self.numbers(text)
        kept = numbers[: len(out)]
        out[: len(kept)], out[len(kept) :] = kept, END
        if unknown:
            return "with characters outside data.options.symbols, which are left out"
        return f"longer than {len(out)}, and cut" if len(numbers) > len(out) else None

    def numbers(self, text: str) -> tuple[list[int], int]:
        """The symbols of a text, and how many of its characters are none."""
        text = text.lower() if self.lower else text
        if self.alphabet == "bytes":
            known = [byte for byte in text.encode() if byte != END]
            return known, len(text.encode()) - len(known)
        number = {character: 1 + i for i, character in enumerate(self.symbols)}
        known = [number[character] for character in text if character in number]
        return known, len(text) - len(known)

    def texts(self, rows: np.ndarray) -> list[str]:
        """The texts of rows (N, L). Bytes that are no UTF-8 are shown as U+FFFD."""
        return [self._bytes_of(row).decode("utf-8", "replace") for row in rows]

    def _bytes_of(self, row: np.ndarray) -> bytes:
        end = int((row == END).argmax()) if (row == END).any() else len(row)
        if self.alphabet == "bytes":
            return row[:end].astype(np.uint8).tobytes()
        return "".join(self.symbols[number - 1] for number in row[:end].tolist()).encode()

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
        lines = [text.replace("\r", "").replace("\n", "⏎") for text in self.texts(rows)]
        return Preview("".join(f"{line}\n" for line in lines).encode(), ".txt")

    def encode(self, row: np.ndarray) -> bytes:
        return self._bytes_of(row)
