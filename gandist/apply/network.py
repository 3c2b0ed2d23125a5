"""The generator of an image-to-image run, and the facts about it that a plan of tiles needs."""

import copy
import logging
import weakref
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from gandist.config.methods import latents_of
from gandist.config.sample import shapes
from gandist.errors import ConfigError
from gandist.gan.networks import NETWORKS
from gandist.gan.networks.autoencoder import Autoencoder
from gandist.run.trained import Trained

log = logging.getLogger("gandist")

MAX_RADIUS = 512
"""A network that sees further counts as one that sees the whole picture."""


@dataclass(frozen=True)
class Network:
    """G for pictures of any size. Sizes are in pixels of the input."""

    G: nn.Module
    z: Tensor
    """(1, latents): the same for all pictures and all of their tiles."""
    channels: int
    masked: bool
    grey: bool
    """Whether G was trained on grey inputs only, to colour them."""
    factor: int
    """How many times wider and higher than the input the result is."""
    multiple: int
    """Heights and widths that G takes are multiples of this,"""
    smallest: int
    """and not below this."""
    radius: int | None
    """How far from an output pixel the inputs may lie that it depends on; None if the network sees everything."""
    pixel_bytes: float
    """Memory of the features that are held at once, at most, for each pixel."""

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray, hole: np.ndarray | None) -> Tensor:
        """(C, factor h, factor w), about [-1, 1], on the CPU.

        Args:
            pixels: (h, w, C) uint8.
            hole: (h, w) bool: what a masked run fills.
        """
        made: Tensor = self.G(self.z, self.given(pixels, hole))
        return made[0].float().cpu()

    def given(self, pixels: np.ndarray, hole: np.ndarray | None = None) -> Tensor:
        """What G is given for pixels and hole: (1, Cy, h, w), on its device."""
        y = torch.from_numpy(np.array(pixels)).to(self.z.device).permute(2, 0, 1)[None]
        y = y.float().div_(127.5).sub_(1)
        if hole is not None:
            mask = torch.from_numpy(np.array(hole)).to(self.z.device)[None, None].float()
            y = torch.cat([y * (1 - mask), mask], dim=1)
        return y.contiguous(memory_format=torch.channels_last)

    def on(self, device: torch.device) -> Self:
        """A copy on another device."""
        return replace(self, G=copy.deepcopy(self.G).to(device), z=self.z.to(device))


def network_of(trained: Trained, run: str, seed: int) -> Network:
    """The generator of an image-to-image run.

    Raises:
        ConfigError: the run is of another kind.
    """
    config, shape = trained.config, shapes(trained.config)[0]
    if trained.condition.kind != "sample":
        raise ConfigError(f"{run}: its generator takes no pictures (condition.kind); use python -m gandist.sample")
    if config.data.medium != "image":
        raise ConfigError(f"{run}: its generator takes {config.data.medium}, not images; use python -m gandist.sample")
    G, latents, multiple = trained.G, latents_of(config), NETWORKS[config.model.name].multiple(shape)
    on_cpu = G if trained.device.type == "cpu" else copy.deepcopy(G).cpu()
    probe = _Probe(
        on_cpu, latents, shape.y[0], shape.masked, shape.sample[-1] // shape.y[-1], multiple, max(multiple, shape.y[-1])
    )
    return Network(
        G,
        _latents(trained, seed),
        shape.channels,
        shape.masked,
        shape.channels == 3 and _takes_grey(config.condition.options.get("operations", ())),
        probe.factor,
        multiple,
        probe.smallest(),
        probe.radius(),
        probe.pixel_bytes(),
    )


def _latents(trained: Trained, seed: int) -> Tensor:
    """z (1, latents) by the seed; zeros for an autoencoder, whose code is then its mean, as `--encode` writes it."""
    z = trained.latents(1, seed)
    return torch.zeros_like(z) if isinstance(trained.G, Autoencoder) else z


def _takes_grey(operations: object) -> bool:
    """Whether one of the degradations turns every picture grey."""
    named = operations if isinstance(operations, list | tuple) else ()
    return any(
        each == "grey" or (isinstance(each, dict) and "grey" in each and (each["grey"] or {}).get("p", 1) == 1)
        for each in named
    )


@dataclass(frozen=True)
class _Probe:
    """Tries of G on a CPU."""

    G: nn.Module
    latents: int
    inputs: int
    masked: bool
    factor: int
    multiple: int
    trained_on: int
    """Height and width that certainly work."""

    @torch.no_grad()
    def run(self, height: int, width: int, unknown: int | None = None) -> Tensor:
        """Output (C, H, W) for zeros, all of it to be filled if G fills holes, with NaN in the column `unknown`."""
        y = torch.zeros(1, self.inputs, height, width)
        if self.masked:
            y[:, -1] = 1
        if unknown is not None:
            y[..., unknown] = torch.nan
        made: Tensor = self.G(torch.zeros(1, self.latents), y.contiguous(memory_format=torch.channels_last))[0]
        return made

    def smallest(self) -> int:
        """The smallest height and width that G takes: reflections and norms inside may need more than one pixel."""
        side = self.multiple
        while side < self.trained_on:
            try:
                self.run(side, side)
            except (RuntimeError, ValueError):
                side *= 2
            else:
                return side
        return self.trained_on

    def radius(self) -> int | None:
        """The reach of one column: NaN spreads to whatever depends on it, whatever the weights are."""
        height, width = self.smallest(), max(64, 4 * self.multiple, 2 * self.smallest())
        while True:
            middle = width // 2 // self.multiple * self.multiple
            reach = 0
            for column in {middle, middle + self.multiple - 1}:  # reaches furthest to one side each
                seen = self.run(height, width, column).isnan().any(dim=0).any(dim=0).nonzero()[:, 0] // self.factor
                first, last = int(seen.min()), int(seen.max())
                reach = width if first == 0 or last == width - 1 else max(reach, column - first, last - column)
                if reach == width:
                    break
            if reach < width:
                return reach
            if width > 2 * MAX_RADIUS + self.multiple:
                return None
            width *= 2

    def pixel_bytes(self) -> float:
        """The most that is held at once of what layers are given and give."""
        side, most = self.trained_on, 0
        seen: dict[int, weakref.ref[Tensor]] = {}

        def measure(module: nn.Module, given: tuple[object, ...], made: object) -> None:
            nonlocal most
            seen.update({id(each): weakref.ref(each) for each in (*given, made) if isinstance(each, Tensor)})
            held = [tensor.untyped_storage() for ref in seen.values() if (tensor := ref()) is not None]
            most = max(most, sum({storage.data_ptr(): storage.nbytes() for storage in held}.values()))

        hooks = [module.register_forward_hook(measure) for module in self.G.modules()]
        try:
            self.run(side, side)
        finally:
            for hook in hooks:
                hook.remove()
        return most / side**2
