"""Numbers and tables as text that a person reads."""

import math
from collections.abc import Collection, Sequence

GAP = "  "


def number(value: float, digits: int = 3, *, thousands: str = ",", power_from: float = 1e5) -> str:
    """To so many significant digits, as short as it goes: `0.123`, `12,346`, `1.2e-5`.

    Args:
        thousands: stands between thousands.
        power_from: numbers from here on are written with a power of ten.
    """
    if not math.isfinite(value):
        return f"{value}"
    if value != 0 and not 1e-3 <= abs(value) < power_from:
        mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
        return f"{float(mantissa):.{digits}g}e{int(power)}"
    rounded = float(f"{value:.{digits}g}")
    return f"{value:,.0f}".replace(",", thousands) if abs(rounded) >= 1000 else f"{rounded:.{digits}g}"


def text_table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows of as many cells each in columns as wide as their widest cell, those numbered in `right` flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(text_row(row, widths, right) for row in rows)


def text_row(cells: Sequence[str], widths: Sequence[int], right: Collection[int] = ()) -> str:
    """One row of a `text_table` whose widths are known before all of its rows are."""
    padded = [
        cell.rjust(width) if column in right else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return GAP.join(padded).rstrip()
