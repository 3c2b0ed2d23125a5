"""Small games of image to image, for the promises that every game must keep."""

from typing import Any

DEGRADED: dict[str, Any] = {
    "scale": 4,
    "operations": [
        {"blur": {"sigma": [0.2, 2], "p": 0.8}},
        {"resize": {"factor": [1, 3]}},
        {"noise": {"sigma": [1, 30]}},
        {"poisson": {"scale": [0.1, 2], "p": 0.5}},
        {"jpeg": {"quality": [30, 95]}},
    ],
}
SAMPLES: dict[str, Any] = {"model__classes": 0, "model__width": 4, "model__norm": "none", "model__norm_D": "spectral"}
GAMES: dict[str, dict[str, Any]] = {
    "enhancing": {
        **SAMPLES,
        "model__name": "resnet",
        "model__z_dim": 0,
        "model__options": {"blocks": 1, "layers_D": 2},
        "condition__kind": "degraded",
        "condition__options": DEGRADED,
        "game__objective": "rp",
        "game__penalties": {"l1": 10.0, "features": 1.0, "perceptual": 1.0},
        "game__perceptual": "classifier",
    },
    "filling": {
        **SAMPLES,
        "model__name": "unet",
        "model__z_dim": 4,
        "model__norm": "group",
        "model__norm_D": "group",
        "model__options": {"layers_D": 2, "scales_D": 2},
        "condition__kind": "masked",
        "game__objective": "hinge",
        "game__penalties": {"charbonnier": 10.0, "r1": {"weight": 1.0, "interval": 2}},
        "game__differentiate": "jvp",
        "train__accumulate": 2,
    },
    "supervised": {
        **SAMPLES,
        "model__name": "rrdb",
        "model__z_dim": 0,
        "model__options": {"blocks": 1, "growth": 4, "layers_D": 2},
        "condition__kind": "degraded",
        "condition__options": {"operations": [{"noise": {"sigma": 40}}]},
        "game__objective": "none",
        "game__penalties": {"l1": 1.0},
    },
    "quantised": {
        **SAMPLES,
        "model__name": "autoencoder",
        "model__norm": "group",
        "model__z_dim": 0,
        "model__options": {"bottleneck": "vq", "codes": 16, "attention": "lowest", "layers_D": 2},
        "condition__kind": "itself",
        "game__objective": "hinge",
        "game__penalties": {"l1": 1.0, "codebook": 1.0},
        "game__adaptive": True,
        "game__weight_G": {"start": 0, "end": 0.8, "over_kimg": 0.06, "shape": "step"},
    },
    "gaussian": {
        **SAMPLES,
        "model__name": "autoencoder",
        "model__norm": "group",
        "model__options": {"layers_D": 2},
        "condition__kind": "itself",
        "game__penalties": {"l1": 1.0, "kl": 0.1},
        "game__weight_G": {"start": 0.1, "end": 0.8, "over_kimg": 0.06, "shape": "linear"},
        "train__accumulate": 2,
    },
}
