"""What a network pair is built to fit."""

from typing import NamedTuple


class Shape(NamedTuple):
    """Sizes shared by the two networks of a pair."""

    resolution: int
    """Height and width of the images in pixels."""
    channels: int
    """Colour channels of the images."""
    z_dim: int
    """Dimension of the latent z."""
    width: int
    """Channels at the highest resolution inside the networks."""
    classes: int = 0
    """Classes the pair is conditioned on; 0 for none."""
    norm: str = "batch"
    """Normalisation inside the networks: `batch` or `none`."""
