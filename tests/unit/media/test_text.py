"""The medium of texts: files to rows and back, exactly, or refused by name."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from gandist.errors import DataError
from gandist.media.alphabets import MOST, cut, trained
from gandist.media.text import Text, jsonl_bytes
from tests.helpers.texts import SCRIPTS

ALL = "".join(sorted(set("".join(SCRIPTS))))
TOKENIZER = trained([*SCRIPTS, "hello hello hello"], 60)


def decoded(medium: Text, data: bytes) -> tuple[np.ndarray, str | None]:
    row = np.full(medium.row.shape, 77, medium.row.dtype)
    return row, medium.decode(data, row)


@pytest.mark.parametrize(
    "options",
    [{"symbols": ALL}, {"alphabet": "bytes"}, {"alphabet": "bpe", "tokenizer": TOKENIZER}],
    ids=lambda options: options.get("alphabet", "characters"),
)
def test_texts_of_any_script_come_back(options: dict[str, Any]) -> None:
    """From a file to a row, through the networks' form, and back to an equal file and text."""
    medium = Text(length=40, **options)
    for text in SCRIPTS:
        row, how = decoded(medium, text.encode())
        assert how is None
        x = medium.to_network(torch.from_numpy(row[None]))
        assert x.shape == (1, *medium.network_shape)
        assert (x.sum(1) == 1).all()
        back = medium.from_network(x).numpy()
        assert back.dtype == medium.row.dtype
        np.testing.assert_array_equal(back[0], row)
        assert medium.texts(back) == [text]
        assert medium.encode(back[0]) == text.encode()


def test_numbers() -> None:
    """Words that are no numbers below the vocabulary are left out, and told."""
    medium = Text(length=4, alphabet="numbers", vocabulary=5000)
    assert (medium.row.dtype, medium.network_shape) == (np.int16, (5001, 4))
    row, how = decoded(medium, b"0 4999  17\n")
    assert (row.tolist(), how) == ([1, 5000, 18, 0], None)
    assert medium.texts(row[None]) == ["0 4999 17"]
    assert medium.encode(row) == b"0 4999 17"
    row, how = decoded(medium, "5000 x 3 -1 1.0 ² 99999999999999999999 07".encode())
    assert row.tolist() == [4, 8, 0, 0]
    assert how == "with words that are no numbers below data.options.vocabulary, which are left out"
    assert decoded(medium, b"1 2 3 4 5")[1] == "longer than 4 tokens, and cut"
    assert medium.name != Text(length=4, alphabet="numbers", vocabulary=5001).name
    for wrong in ({"alphabet": "numbers"}, {"vocabulary": 5}, {"alphabet": "bytes", "vocabulary": 5}):
        with pytest.raises(ValidationError, match="vocabulary is how many numbers there are"):
            Text(length=4, **wrong)
    with pytest.raises(ValidationError, match=f"texts may have {MOST}"):
        Text(length=4, alphabet="numbers", vocabulary=MOST + 1)


def test_rows_of_more_than_256_symbols() -> None:
    symbols = "".join(chr(0x4E00 + i) for i in range(300))
    medium = Text(length=4, symbols=symbols)
    assert (medium.row.dtype, medium.network_shape) == (np.int16, (301, 4))
    row, _ = decoded(medium, symbols[-3:].encode())
    assert row.tolist() == [298, 299, 300, 0]
    back = medium.from_network(medium.to_network(torch.from_numpy(row[None]), dtype=torch.bfloat16))
    assert medium.texts(back.numpy()) == [symbols[-3:]]
    assert Text(length=4, symbols=symbols[:255]).row.dtype == np.uint8
    assert len(medium.name) < 60  # a file's name


@pytest.mark.parametrize(
    ("data", "text", "how"),
    [
        (b"", "", "empty"),
        (b"\n", "", "empty"),
        (b"a", "a", None),
        (b"ab\r\n", "ab", None),
        (b"\xef\xbb\xbfab\n", "ab", None),
        (b"ab\n\n", "ab\n", None),
        (b"a\r\nb", "ab", "with characters outside data.options.symbols, which are left out"),
        (b"a\x00b", "ab", "with characters outside data.options.symbols, which are left out"),
        (b"ab" * 500_000, "abababab", "longer than 8 characters, and cut"),
    ],
    ids=repr,
)
def test_files_of_all_kinds(data: bytes, text: str, how: str | None) -> None:
    medium = Text(length=8, symbols="\nabc")
    row, said = decoded(medium, data[:20] if how is None else data)
    wanted = text if "\r" not in data.decode("utf-8-sig") or how is None else "a\nb"
    assert (medium.texts(row[None]), said) == ([wanted], how)


def test_what_is_no_utf8_is_named_by_its_byte() -> None:
    for data, at in (
        (b"ab\xffc", "byte 2 is 0xff"),
        (b"\xef\xbb\xbfab\xff", "byte 5 is 0xff"),
        (b"a\xc3", "byte 1 is"),
    ):
        with pytest.raises(DataError, match=f"is not UTF-8 text: {at}"):
            decoded(Text(length=8, symbols="abc"), data)


def test_bytes_are_taken_as_they_are() -> None:
    """Whatever G makes is a file that is read as the same row: no UTF-8, a mark, ends of lines."""
    medium = Text(length=6, alphabet="bytes")
    for made in (b"\xff\x80a", b"\xef\xbb\xbfa", b"a\r\n", b"\n", b"\r", b"abcdef"):
        row = np.zeros(6, np.uint8)
        row[: len(made)] = list(made)
        again, _ = decoded(medium, medium.encode(row))
        np.testing.assert_array_equal(again, row)
    assert medium.texts(np.array([[0xFF, 0x61, 0, 9, 9, 9]], np.uint8)) == ["\ufffda"]


def test_bytes_are_cut_between_characters() -> None:
    medium = Text(length=4, alphabet="bytes")
    row, how = decoded(medium, "aé€".encode())
    assert (medium.texts(row[None]), how) == (["aé"], "longer than 4 bytes, and cut")
    assert cut(medium.letters, list(b"\x80" * 9), 4) == list(b"\x80" * 4)


def test_small_letters() -> None:
    medium = Text(length=8, symbols="abi\u0307", lower=True)
    assert medium.texts(decoded(medium, "ABİ".encode())[0][None]) == ["abi\u0307"]


def test_tokens_are_of_several_characters() -> None:
    medium = Text(length=4, alphabet="bpe", tokenizer=TOKENIZER)
    row, how = decoded(medium, b"hello hello")
    assert how is None
    assert np.count_nonzero(row) == 2
    assert medium.texts(row[None]) == ["hello hello"]
    assert decoded(medium, b"helloZ")[1] == "with characters that no token has, which are left out"
    assert trained([*SCRIPTS, "hello hello hello"], 60) == TOKENIZER


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"symbols": "aba"}, "symbols holds a character twice"),
        ({"symbols": "a\0"}, "symbols holds the character 0, which ends a text"),
        ({"symbols": "a", "alphabet": "bytes"}, "symbols is for alphabet=characters; leave it out"),
        ({"tokenizer": TOKENIZER}, "tokenizer is for alphabet=bpe; leave it out"),
        ({"tokenizer": "{}", "alphabet": "bpe"}, "tokenizer is no JSON of a tokenizer of byte pairs"),
        (
            {"tokenizer": "x" * 300_000, "alphabet": "bpe"},
            "tokenizer exceeds 256 KiB; pack with a smaller --vocabulary",
        ),
        ({"symbols": "".join(map(chr, range(0x4E00, 0x4E00 + MOST + 1)))}, "32767 symbols, and texts may have 32766"),
        ({"length": 5000}, "less than or equal to 4096"),
        ({"alphabet": "letters"}, "'characters', 'bytes', 'bpe' or 'numbers'"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:20],
)
def test_options_that_make_no_sense(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Text(**options)
    assert said in str(refused.value)


def test_a_text_a_line() -> None:
    medium = Text(length=4, symbols="\n\rab")
    rows = np.array([[3, 1, 4, 0], [4, 4, 4, 4], [2, 0, 3, 3]], np.uint8)
    assert medium.preview(rows, 1).content.decode() == "a⏎b\nbbbb\n\n"
    lines = jsonl_bytes(medium, rows, [0, 2, 1]).decode().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"text": "a\nb", "class": 0},
        {"text": "bbbb", "class": 2},
        {"text": "\r", "class": 1},
    ]
