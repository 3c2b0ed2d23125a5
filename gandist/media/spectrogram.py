"""Pictures of sounds: spectrograms in a grid, with axes of time, frequency and loudness."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from gandist.errors import GandistError
from gandist.gan.spectra import Frames, magnitudes
from gandist.media.gallery import png_bytes
from gandist.media.medium import SOUNDS, Preview
from gandist.media.sound import FULL_SCALE, wav_bytes

WIDTH = 900
"""Pixels that a grid's cells share, in width."""
SMALLEST, LARGEST = (64, 56), (360, 180)
"""Width and height of a cell: of ten in a line and more, and of one alone."""
GAP = 4
FONT_SHARE, FONT_PX = 0.016, 13
"""Height of numbers as a share of the picture's width, so that they can be read where a page shrinks it; at least."""
FLOOR_DB, TOP_DB = -80.0, 0.0
"""Ends of the colour scale, of which 0 is a sine of full scale."""
PAUSE_S = 0.25
WAV_GIB = 3.99
"""A WAV file's sizes are numbers of 32 bits."""
WINDOW_S = 0.032
FINEST_HZ = 12.0
"""Between the bins of a spectrum, at most, where a sound is long enough."""
CROWDED = 10
"""Heights of a number: the times of narrower cells stand below the first column alone."""
BATCH = 16
"""Sounds whose spectra are in memory at once."""
COLOURS, GREYS = 224, 32
"""Entries of the palette."""


class Plan(NamedTuple):
    """How sounds become cells of pixels."""

    sample_rate: int
    samples: int
    width: int
    height: int

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate

    @property
    def frames(self) -> Frames:
        """At least a frame for each column of pixels; windows of 32 ms, or four columns."""
        hop = max(2, self.samples // self.width // 2 * 2)
        window = max(4 * hop, 2 * round(WINDOW_S * self.sample_rate / 2))
        fine = 1 << int(np.ceil(np.log2(self.sample_rate / FINEST_HZ)))
        n_fft = min(max(window, fine), self.samples // 2 * 2)
        return Frames(n_fft, hop, min(window, n_fft))


def preview_of(sounds: np.ndarray, columns: int, sample_rate: int) -> Preview:
    """Sounds (N, T, C) int16 as `spectrograms`; the first of each line can be heard, or of one line all."""
    first = sounds[:SOUNDS] if len(sounds) <= columns else sounds[: SOUNDS * columns : columns]
    return Preview(
        spectrograms(sounds, columns, sample_rate), ".png", tuple(wav_bytes(sound, sample_rate) for sound in first)
    )


def in_a_row(sounds: np.ndarray, sample_rate: int) -> np.ndarray:
    """Sounds (N, T, C) int16 one after the other, (samples, C), with a pause of a quarter of a second between them.

    Raises:
        GandistError: they are more than a WAV file can hold.
    """
    pause = round(PAUSE_S * sample_rate)
    n, gib = len(sounds), 2 * len(sounds) * (sounds.shape[1] + pause) * sounds.shape[2] / 2**30
    if gib > WAV_GIB:
        raise GandistError(f"{n} sounds in a row are {gib:.2f} GiB, and a WAV file holds {WAV_GIB}; write fewer")
    joined = np.pad(sounds, ((0, 0), (0, pause), (0, 0))).reshape(-1, sounds.shape[2])
    return joined[: len(joined) - pause]


def spectrograms(sounds: np.ndarray, columns: int, sample_rate: int) -> bytes:
    """A PNG of the sounds' spectrograms, `columns` in a line; equal sounds give equal bytes.

    Frequencies lie on the mel scale (O'Shaughnessy 1987), from 0 to half the sample rate; a pixel's colour is the mean
    power in its band, over the channels, in dB.

    Args:
        sounds: (N, T, C) int16.
    """
    n, columns = len(sounds), max(1, min(columns, len(sounds)))
    plan = _plan(sounds.shape[1], columns, sample_rate)
    cells = np.concatenate([_cells(sounds[first : first + BATCH], plan) for first in range(0, n, BATCH)])
    page = _Page.of(plan, columns, -(-n // columns))
    canvas = Image.new("L", page.size, 255)
    _draw_axes(canvas, page, n)
    pixels = COLOURS + (np.asarray(canvas, np.uint16) * (GREYS - 1) // 255).astype(np.uint8)
    for number, cell in enumerate(cells):
        left, top = page.corner(number)
        pixels[top : top + plan.height, left : left + plan.width] = cell
    left, top, right, bottom = page.scale
    pixels[top:bottom, left:right] = np.linspace(COLOURS - 1, 0, bottom - top).round().astype(np.uint8)[:, None]
    picture = Image.fromarray(pixels, "P")
    picture.putpalette(_palette())
    return png_bytes(picture)


def _plan(samples: int, columns: int, sample_rate: int) -> Plan:
    width = int(np.clip(WIDTH // columns - GAP, SMALLEST[0], LARGEST[0]))
    share = (width - SMALLEST[0]) / (LARGEST[0] - SMALLEST[0])
    return Plan(sample_rate, samples, width, round(SMALLEST[1] + share * (LARGEST[1] - SMALLEST[1])))


def mel_of(hertz: np.ndarray | float) -> np.ndarray:
    return np.asarray(1127 * np.log1p(np.asarray(hertz) / 700))


def hertz_of(mel: np.ndarray | float) -> np.ndarray:
    return np.asarray(700 * np.expm1(np.asarray(mel) / 1127))


@torch.no_grad()
def _cells(sounds: np.ndarray, plan: Plan) -> np.ndarray:
    """Sounds (n, T, C) int16 as cells (n, height, width) of palette numbers, high frequencies above."""
    n, _, channels = sounds.shape
    x = torch.from_numpy(sounds.astype(np.float32) / FULL_SCALE).mT.flatten(0, 1)
    of_full_scale = plan.frames.window / 4  # the magnitude of such a sine under a Hann window
    power = (magnitudes(x, plan.frames) / of_full_scale).square()
    decibels = 10 * (_bands(plan) @ power.reshape(n, channels, *power.shape[1:]).mean(1)).clamp(min=1e-12).log10()
    share = ((decibels - FLOOR_DB) / (TOP_DB - FLOOR_DB)).clamp(0, 1)
    column = (torch.arange(plan.width) + 0.5) * share.shape[2] / plan.width
    numbers = (share * (COLOURS - 1)).round().to(torch.uint8)
    found: np.ndarray = numbers.flip(1)[:, :, column.long()].numpy()
    return found


@cache
def _bands(plan: Plan) -> torch.Tensor:
    """(height, bins): the mean over the frequencies of each row of pixels, low ones first."""
    step = plan.sample_rate / plan.frames.n_fft
    edges = hertz_of(np.linspace(0, mel_of(plan.sample_rate / 2), plan.height + 1))
    bins = np.arange(plan.frames.n_fft // 2 + 1) * step
    upper = np.minimum(edges[1:, None], bins + step / 2)
    lower = np.maximum(edges[:-1, None], bins - step / 2)
    return torch.from_numpy((upper - lower).clip(min=0) / np.diff(edges)[:, None]).float()


class _Page(NamedTuple):
    """Where things lie in the picture, in pixels."""

    plan: Plan
    columns: int
    lines: int
    font: int
    left: int
    """Width of the frequencies' numbers; the space at the right is that of the scale."""
    right: int
    above: int
    """Height of the units' names, and of the times' numbers below."""

    @classmethod
    def of(cls, plan: Plan, columns: int, lines: int) -> "_Page":
        inner = columns * (plan.width + GAP) - GAP
        font = max(FONT_PX, round(FONT_SHARE * inner / 0.85))
        return cls(plan, columns, lines, font, round(3 * font), round(3.6 * font), round(1.7 * font))

    @property
    def size(self) -> tuple[int, int]:
        return (
            self.left + self.columns * (self.plan.width + GAP) - GAP + self.right,
            2 * self.above + self.lines * (self.plan.height + GAP) - GAP,
        )

    def corner(self, number: int) -> tuple[int, int]:
        """Left and top of a cell."""
        line, column = divmod(number, self.columns)
        return self.left + column * (self.plan.width + GAP), self.above + line * (self.plan.height + GAP)

    @property
    def scale(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the colours."""
        left = self.size[0] - self.right + self.font
        height = min(self.size[1] - 2 * self.above, max(self.plan.height, 12 * self.font))
        return left, self.above, left + self.font * 2 // 3, self.above + height


def _draw_axes(canvas: Image.Image, page: _Page, n: int) -> None:
    draw, font, plan = ImageDraw.Draw(canvas), ImageFont.load_default(page.font), page.plan
    tick = max(3, page.font // 4)

    def text(x: float, y: float, said: str, anchor: str) -> None:
        draw.text((x, y), said, fill=0, font=font, anchor=anchor)

    # Frequencies, at every line
    numbers = _frequencies(plan, page.font)
    for line in range(page.lines):
        top = page.corner(line * page.columns)[1]
        for hertz in numbers:
            y = top + plan.height * (1 - float(mel_of(hertz) / mel_of(plan.sample_rate / 2)))
            y = min(y, top + plan.height - 1)
            draw.line((page.left - tick, y, page.left - 1, y), fill=0)
            within = min(max(y, top + page.font / 2), top + plan.height - page.font / 2)
            text(page.left - tick - 2, within, _short(hertz), "rm")
    text(page.left - tick - 2, page.above - 3, "Hz", "rb")

    # Times, below the lowest cell of each column
    for column in range(min(page.columns, n)):
        left = page.corner(column)[0]
        bottom = page.corner((n - 1 - column) // page.columns * page.columns + column)[1] + plan.height
        for seconds in _times(plan, page.font):
            x = left + min(plan.width - 1, plan.width * seconds / plan.seconds)
            draw.line((x, bottom, x, bottom + tick - 1), fill=0)
            if column == 0 or plan.width > CROWDED * page.font:
                first, last = seconds == 0, x + page.font > left + plan.width
                at = left + plan.width if last else x
                text(at, bottom + tick, f"{seconds:g}", "la" if first else "ra" if last else "ma")
    text(page.size[0] - page.right + 4, page.size[1] - page.above + tick, "s", "la")

    # Decibels
    _, top, right, bottom = page.scale
    step = 20 if bottom - top >= 7 * page.font else 40
    for decibels in np.arange(TOP_DB, FLOOR_DB - 1, -step):
        y = top + (bottom - 1 - top) * (TOP_DB - decibels) / (TOP_DB - FLOOR_DB)
        draw.line((right, y, right + tick - 1, y), fill=0)
        within = min(max(y, top + page.font / 2), bottom - page.font / 2)
        text(right + tick + 1, within, f"{decibels:.0f}", "lm")
    text(page.size[0] - page.right + page.font, page.above - 3, "dB", "lb")


def _frequencies(plan: Plan, font: int) -> list[float]:
    """Round frequencies from 0 to the highest, whose numbers do not touch."""
    top = plan.sample_rate / 2
    round_ones = [factor * 10.0**power for power in range(2, 5) for factor in (1, 2, 5)]
    kept, y = [0.0], 0.0
    for hertz in [*(each for each in round_ones if each < top), top]:
        at = plan.height * float(mel_of(hertz) / mel_of(top))
        last = hertz == top
        if at - y >= 1.3 * font and (last or plan.height - at >= 1.8 * font):
            kept.append(hertz)
            y = at
    return kept


def _short(hertz: float) -> str:
    return f"{hertz / 1000:.3g}k" if hertz >= 1000 else f"{hertz:.3g}"


def _times(plan: Plan, font: int) -> list[float]:
    """Round times from 0 on, whose numbers do not touch; two at least."""
    room = plan.width / (2.6 * font)
    rough = plan.seconds / max(1.0, room)
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9)))
    if step > plan.seconds:
        step = plan.seconds
    return [round(i * step, 6) for i in range(int(plan.seconds / step + 1e-9) + 1)]


@cache
def _palette() -> bytes:
    """From black over violet and orange to light yellow, evenly lighter in Oklab (Ottosson 2020); then greys."""
    t = np.linspace(0, 1, COLOURS)
    light, chroma, hue = 0.06 + 0.91 * t, 0.2 * np.sin(np.pi * t**0.9) ** 0.8, np.radians(285 + 175 * t)
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    cones = np.stack(
        [
            light + 0.3963377774 * a + 0.2158037573 * b,
            light - 0.1055613458 * a - 0.0638541728 * b,
            light - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_rgb = [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
    linear = (np.array(to_rgb) @ cones**3).clip(0, 1)
    colours = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).T
    greys = np.linspace(0, 1, GREYS)[:, None].repeat(3, 1)
    return (255 * np.concatenate([colours, greys])).round().astype(np.uint8).tobytes()
