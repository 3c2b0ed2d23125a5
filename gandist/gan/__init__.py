"""The algorithm: the step, objectives, penalties, augmentation, players and their optimiser, the games without a
critic, networks, and their GPU kernels. Nothing here reads a configuration. May import: `gandist.distributed` and the
rooms below it.

The tables that a file of `imports` adds to: `from gandist.gan import AUGMENTATIONS, NETWORKS, OBJECTIVES, PENALTIES`.
"""

from gandist.gan.augment import AUGMENTATIONS
from gandist.gan.augmentation import Augmentation
from gandist.gan.networks import NETWORKS, Pair, Shape
from gandist.gan.objectives import OBJECTIVES, Objective
from gandist.gan.penalties import PENALTIES, Penalty, Update

__all__ = [
    "AUGMENTATIONS",
    "NETWORKS",
    "OBJECTIVES",
    "PENALTIES",
    "Augmentation",
    "Objective",
    "Pair",
    "Penalty",
    "Shape",
    "Update",
]
