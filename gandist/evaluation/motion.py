"""How clips move, and what of them stays: Fréchet distances hardly see it (Ge et al. 2024, arXiv:2404.12391).

Each clip is described by a few numbers, its moves; sets of clips are compared by the moves of both.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gandist.media.medium import Medium
from gandist.media.video import Video
from gandist.monitoring.metrics import OF_MOTION

FIELDS = 8
"""Height and width to which frames are averaged, to see what of them stays."""
STILL = 0.1
"""A clip stands still if it moves less than this share of the real clips' median."""
VERSION = "moves-1"
"""Changes whenever the same clip has other moves."""


def width_of(medium: Medium) -> int:
    """K, the number of a sample's moves; 0 if it has no frames."""
    return 2 + FIELDS**2 * medium.channels if isinstance(medium, Video) else 0


def moves_of(medium: Medium, x: Tensor) -> Tensor:
    """The moves of samples x (N, *network_shape), (N, K) float32.

    First the motion, which is the mean absolute difference of frames that follow one another; then the mean squared
    distance of the frames, averaged to 8 x 8, from their mean; then this mean.
    """
    if not isinstance(medium, Video):
        return x.new_empty(len(x), 0, dtype=torch.float32)
    motion = medium.motion(x)
    frames = F.adaptive_avg_pool3d(x.float(), (None, FIELDS, FIELDS)).transpose(1, 2).flatten(2)
    mean = frames.mean(1)
    within = (frames - mean[:, None]).square().sum(2).mean(1)
    return torch.cat([motion[:, None], within[:, None], mean], 1)


class RealMotion(NamedTuple):
    """How real clips move: what generated ones are compared with."""

    mean: float
    """Of the clips' motion, of values from -1 to 1."""
    spread: float
    """Its standard deviation over clips."""
    still_below: float
    """Motion below which a clip stands still."""
    consistency: float
    frozen: float

    @property
    def baseline(self) -> dict[str, float]:
        """The measures of real clips."""
        return dict(zip(OF_MOTION, (1.0, 1.0, self.consistency, self.frozen), strict=True))

    @property
    def protocol(self) -> dict[str, Any]:
        """What has to be known of the measures beside their names."""
        return {
            "of_real": self.mean,
            "spread_of_real": self.spread,
            "still_below": self.still_below,
            "consistency_of": f"frames averaged to {FIELDS} x {FIELDS}",
        }


def real_motion(moves: Tensor, frames: int) -> RealMotion:
    """Of the moves (n, K) of real clips of so many frames."""
    motion = moves[:, 0].double()
    still_below = STILL * float(motion.median())
    return RealMotion(
        mean=float(motion.mean()),
        spread=float(motion.std()),
        still_below=still_below,
        consistency=consistency(moves, frames),
        frozen=float((motion < still_below).double().mean()),
    )


def measures_of_motion(moves: Tensor, real: RealMotion, frames: int) -> dict[str, float]:
    """The measures `OF_MOTION` of generated clips of so many frames, by their moves (n, K).

    - `motion`: their mean motion over that of real ones. 1 is right, 0 are still pictures.
    - `motion_spread`: the same of the motion's standard deviation over clips. 1 is right, 0: all move equally much.
    - `consistency`: how much of the content stays; see `consistency`.
    - `frozen`: the share of clips that stand still: that move less than a tenth of real clips' median.

    A ratio to real clips that do not move, or all equally much, is NaN.
    """
    motion = moves[:, 0].double()
    return {
        "motion": float(motion.mean()) / real.mean if real.mean else torch.nan,
        "motion_spread": float(motion.std()) / real.spread if real.spread else torch.nan,
        "consistency": consistency(moves, frames),
        "frozen": float((motion < real.still_below).double().mean()),
    }


def consistency(moves: Tensor, frames: int) -> float:
    """1 less the mean squared distance between two frames of one clip, over that between frames of two clips.

    1: a clip's frames are alike; 0: they are no more alike than frames of different clips; NaN if all frames of all
    clips are alike. Noise that is different in each frame lowers it, and so does motion: compare it with that of real
    clips.

    Args:
        moves: of n clips (n, K), n at least 2.
        frames: of each clip, at least 2.
    """
    within, means = moves[:, 1].double(), moves[:, 2:].double()
    n, scatter = len(moves), within.mean()
    # Sums over pairs are sums of squares about means.
    of_one = 2 * scatter * frames / (frames - 1)
    of_two = 2 * (means - means.mean(0)).square().sum() / (n - 1) + 2 * scatter
    return float(1 - of_one / of_two)
