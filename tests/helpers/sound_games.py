"""Small games of sounds, for the promises that every game must keep."""

from typing import Any

TONES: dict[str, Any] = {
    "data__path": "builtin:tones",
    "data__medium": "audio",
    "data__options": {"sample_rate": 8000, "samples": 1024, "crop": "random", "kept": 2048},
}
"""An eighth of a second of each tone, from anywhere in its first quarter."""
SOUNDS: dict[str, dict[str, Any]] = {
    # Phase shuffle in D, a penalty between real and fake, noise that D's inputs take by the thousand, and other latents
    "sounding": {
        **TONES,
        "model__name": "wavegan",
        "model__classes": 12,
        "game__objective": "wasserstein",
        "game__penalties": {"gp": 10.0, "modes": {"weight": 0.5, "interval": 2}},
        "game__n_critic": 2,
        "augment__kind": "sound",
        "augment__p": {"start": 0.2, "end": 0.8, "over_kimg": 0.06, "shape": "linear"},
        "train__accumulate": 2,
    },
    "shuffled": {
        **TONES,
        "model__name": "wavegan",
        "model__classes": 0,
        "model__options": {"shuffle": 3},
        "model__norm": "sync",
        "model__norm_D": "spectral",
        "game__objective": "rp",
        "game__penalties": {"r1": {"weight": 1.0, "interval": 2}, "r2": 1.0},
        "game__differentiate": "jvp",
    },
    "spectra": {
        **TONES,
        "model__name": "specgan",
        "model__classes": 12,
        "model__options": {"n_fft": 64, "hop": 32},
        "model__norm_D": "spectral",
        "game__objective": "hinge",
        "game__penalties": {"r1": 1.0},
        "game__differentiate": "double",
    },
    "vocoding": {
        **TONES,
        "data__options": {"sample_rate": 8000, "samples": 512, "crop": "random", "kept": 2048},
        "model__name": "hifigan",
        "model__classes": 0,
        "model__z_dim": 0,
        "model__norm": "weight",
        "model__options": {
            "strides": [8, 8],
            "block_kernels": [3, 5],
            "dilations": [[1, 3], [1]],
            "discriminators": ["mpd", "msd", "mrd"],
            "width_D": 2,
            "periods": [3],
            "scales_D": 1,
            "resolutions_D": [[64, 16, 48]],
        },
        "condition__kind": "mel",
        "condition__options": {"n_fft": 256, "hop": 64, "window": 200, "mels": 16, "high_hz": 3000},
        "game__objective": "ls",
        "game__penalties": {"mel": 1.0, "features": 0.1, "stft": {"weight": 0.1, "interval": 2}},
        "augment__kind": "sound",
        "augment__p": 0.5,
    },
}
