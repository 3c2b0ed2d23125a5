"""Numbers and tables as text."""

import math
import re
import shlex
from collections.abc import Collection, Mapping, Sequence

GAP = "  "


def number(value: float, digits: int = 3, *, thousands: str = ",", power_from: float = 1e5) -> str:
    """A number with `digits` significant digits, as short as possible: `0.123`, `12,346`, `1.2e-5`.

    Args:
        thousands: separator of thousands.
        power_from: write numbers from here on with a power of ten.
    """
    if not math.isfinite(value):
        return f"{value}"
    if value != 0 and not 1e-3 <= abs(value) < power_from:
        mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
        return f"{float(mantissa):.{digits}g}e{int(power)}"
    rounded = float(f"{value:.{digits}g}")
    return f"{value:,.0f}".replace(",", thousands) if abs(rounded) >= 1000 else f"{rounded:.{digits}g}"


def text_table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows with equal numbers of cells, in columns as wide as their widest cell; columns in `right` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(text_row(row, widths, right) for row in rows)


def text_row(cells: Sequence[str], widths: Sequence[int], right: Collection[int] = ()) -> str:
    """One row of a `text_table` whose widths are known in advance."""
    padded = [
        cell.rjust(width) if column in right else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return GAP.join(padded).rstrip()


def markdown_columns(columns: Mapping[str, Sequence[str]]) -> str:
    """Markdown table of columns of equal lengths by their headings; nothing in the cells is read as Markdown."""
    rows = [[*columns], *zip(*columns.values(), strict=True)]
    return markdown_table([[re.sub(r"[!-/:-@\[-`{-~]", r"\\\g<0>", cell) for cell in row] for row in rows])


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown table of rows with equal numbers of cells, headings first; cells are Markdown."""
    heading, *others = rows
    return "".join(f"| {' | '.join(row)} |\n" for row in [heading, ["---"] * len(heading), *others])


def command_lines(command: str, width: int = 120) -> str:
    """A shell command as lines of at most `width` characters where its words allow, each but the last ending in a
    backslash."""
    first, *others = (shlex.quote(word) for word in shlex.split(command))
    lines = [first]
    for word in others:
        if len(lines[-1]) + len(word) + len(" ") <= width - len(" \\"):
            lines[-1] += f" {word}"
        else:
            lines.append(f"    {word}")
    return " \\\n".join(lines)
