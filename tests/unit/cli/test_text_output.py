"""Numbers and tables as text."""

import math
import shlex

import pytest

from gandist.cli.text import command_lines, number, text_row, text_table


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.12345, "0.123"),
        (-2.0, "-2"),
        (999.4, "999"),
        (999.6, "1,000"),
        (1234.5, "1,234"),
        (123456.0, "1.23e5"),
        (0.00012345, "1.23e-4"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_a_number_has_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_large_numbers_may_be_written_out() -> None:
    assert number(1234567.8, power_from=math.inf) == "1,234,568"
    assert number(1234567.8, thousands="", power_from=math.inf) == "1234568"
    assert number(0.123456, 4) == "0.1235"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("what", "n", "note"), ("a", "10,000", ""), ("longer", "9", "x")]
    assert text_table(rows, right=[1]).splitlines() == [
        "what         n  note",
        "a       10,000",
        "longer       9  x",
    ]
    assert text_row(("a", "1"), (3, 4), right=[1]) == "a       1"


def test_a_long_command_continues_on_further_lines() -> None:
    command = "python -m gandist.train demo 'game.penalties={r1: 1, r2: 1}' run.name=mine data.path=data/mine"
    lines = command_lines(command, 66).splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= 66
    assert lines[0].endswith(" 'game.penalties={r1: 1, r2: 1}' \\")
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == shlex.split(command)
    assert command_lines(command) == command
