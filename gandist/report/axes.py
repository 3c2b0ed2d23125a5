"""The axes of a small SVG: its size, and round numbers along a scale."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from gandist.cli.text import number

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24
"""Margins of a chart for its axes."""
DECADES = 2
"""Ratio of largest to smallest value above which the scale is logarithmic."""


class AxisTick(NamedTuple):
    at: float
    text: str


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers around [low, high], at most about `most`: steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0, 1)
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if (high - low) / (factor * power) <= most)
    return [i * step for i in range(math.floor(low / step), math.ceil(high / step) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten around [low, high], at most about six; within one decade `ticks`."""
    if high <= 10 * low:
        return [value for value in ticks(low, high) if value > 0]
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, last + 1, -(-(last - first) // 5))]


def spelled(values: Sequence[float]) -> list[tuple[float, str]]:
    """Values with their texts, with enough digits to tell them apart."""
    for digits in range(3, 9):
        texts = [number(value, digits) for value in values]
        if len(set(texts)) == len(texts):
            break
    return list(zip(values, texts, strict=True))
