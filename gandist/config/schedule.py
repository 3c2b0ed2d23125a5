"""Numbers that change during a run, as functions of the images seen."""

import math
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from gandist.options import Described


class Ramp(Described):
    """A number that changes from `start` to `end` over the first `over_kimg` thousand images, then stays constant."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    start: float = Field(ge=0)
    """Value at image 0."""
    end: float = Field(ge=0)
    """Value from `over_kimg` on."""
    over_kimg: float = Field(gt=0)
    """Length of the change in thousands of images."""
    shape: Literal["linear", "cosine", "step"] = "cosine"
    """Linear; half a cosine wave (flat at both ends); or `start` until `over_kimg`, and `end` from there on."""


Schedule = Annotated[float, Field(ge=0)] | Ramp


def value_at(schedule: Schedule, images_seen: int) -> float:
    """The scheduled number after `images_seen` images."""
    if not isinstance(schedule, Ramp):
        return schedule
    progress = min(1.0, images_seen / (schedule.over_kimg * 1000))
    if schedule.shape == "cosine":
        progress = 0.5 - 0.5 * math.cos(math.pi * progress)
    elif schedule.shape == "step":
        progress = math.floor(progress)
    return schedule.start + (schedule.end - schedule.start) * progress


def peak(schedule: Schedule) -> float:
    """The largest value of the schedule."""
    return max(schedule.start, schedule.end) if isinstance(schedule, Ramp) else schedule


def least(schedule: Schedule) -> float:
    """The smallest value of the schedule."""
    return min(schedule.start, schedule.end) if isinstance(schedule, Ramp) else schedule


def ema_beta(half_life_kimg: float, batch: int, images_seen: int = 0, rampup: float | None = None) -> float:
    """Weight that a running average keeps of itself per update of `batch` images, for a half-life of `half_life_kimg`.

    With a half-life of 0 the average is the newest value. With `rampup` the half-life is at most that share of the
    images seen, so that early weights fade soon (Karras et al. 2020, arXiv:1912.04958).
    """
    if rampup is not None:
        half_life_kimg = min(half_life_kimg, rampup * images_seen / 1000)
    return 0.5 ** (batch / (half_life_kimg * 1000)) if half_life_kimg > 0 else 0.0


def images_of(kimg: float) -> int:
    """Thousands of images as a number of images; at least one."""
    return max(1, round(kimg * 1000))


def due(before: int, after: int, every_kimg: float) -> bool:
    """Whether a step from `before` to `after` images reached the next multiple of `every_kimg`."""
    every = images_of(every_kimg)
    return after // every > before // every


def steps_until(after: int, every_kimg: float, images: int) -> int:
    """The number of steps, of `images` images each, until one reaches the next multiple of `every_kimg`."""
    every = images_of(every_kimg)
    return -(-(every - after % every) // images)
