"""Small games of texts, for the promises that every game must keep."""

from typing import Any

from gandist.data.words import LETTERS

WORDS: dict[str, Any] = {
    "data__path": "builtin:words-6k",
    "data__medium": "text",
    "data__options": {"length": 12, "symbols": LETTERS},
}
TEXTS: dict[str, dict[str, Any]] = {
    # A penalty between real and fake, differentiated step by step on D's tape
    "spelling": {
        **WORDS,
        "model__name": "textgan",
        "model__options": {"blocks": 2},
        "game__objective": "wasserstein",
        "game__penalties": {"gp": 10.0},
        "game__n_critic": 2,
    },
    # Drawn symbols, at a temperature that falls, and several scores for a text
    "writing": {
        **WORDS,
        "model__name": "relgan",
        "model__options": {"straight_through": True, "embedding": 4, "representations": 2},
        "model__norm_D": "spectral",
        "game__objective": "rp",
        "game__temperature": {"start": 1.0, "end": 0.5, "over_kimg": 0.1, "shape": "linear"},
        "train__accumulate": 2,
    },
    "likely": {
        **WORDS,
        "model__name": "relgan",
        "model__options": {"layers": 2, "embedding": 4},
        "game__objective": "likelihood",
        "train__accumulate": 2,
    },
}
