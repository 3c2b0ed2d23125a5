"""Small games of clips, for the promises that every game must keep."""

from typing import Any

MOVING: dict[str, Any] = {
    "data__path": "builtin:moving-fashion",
    "data__medium": "video",
    "data__options": {"frames": 4, "stride": 4},
    "model__resolution": 32,
    "model__width": 2,
}
"""Every fourth frame of garments that move."""
CLIPS: dict[str, dict[str, Any]] = {
    # A background that stands still, and statistics of all ranks
    "twofold": {
        **MOVING,
        "model__name": "vgan",
        "model__classes": 0,
        "model__options": {"streams": "two"},
        "model__norm": "sync",
        "model__norm_D": "spectral",
        "game__objective": "rp",
        "game__penalties": {"r1": {"weight": 1.0, "interval": 2}, "r2": 1.0, "mask": 0.1},
        "game__differentiate": "jvp",
        "augment__kind": "clip",
        "augment__p": 0.5,
    },
    # A team of critics, one of which draws the frame that it looks at
    "motion": {
        **MOVING,
        "data__options": {"frames": 4, "stride": 2, "crop": "random", "kept": 8},
        "model__name": "mocogan",
        "model__classes": 5,
        "model__options": {"motion_dim": 3},
        "game__objective": "hinge",
        "game__penalties": {"r1": 1.0},
        "game__differentiate": "double",
        "train__accumulate": 2,
    },
    "moving": {
        **MOVING,
        "model__name": "vgan",
        "model__classes": 5,
        "game__objective": "rp",
        "game__penalties": {"r1": 1.0, "gp": 1.0},
        "game__n_critic": 2,
        "augment__kind": "clip",
        "augment__p": {"start": 0.2, "end": 0.8, "over_kimg": 0.06, "shape": "linear"},
    },
}
