"""Preview of a configuration without running it: tables of the networks, memory and steps."""

import os
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gandist.cli.text import text_table
from gandist.config.methods import latents_of
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of, medium_of, shapes
from gandist.config.schedule import images_of
from gandist.gan.networks import NETWORKS

BYTES = {"fp64": 8, "fp32": 4, "auto": 4, "bf16": 2, "fp16": 2}


class Layer(NamedTuple):
    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


class NetworkTable(NamedTuple):
    """The layers of a network in execution order, for one image."""

    title: str
    layers: list[Layer]
    parameters: int
    multiply_adds: int

    def __str__(self) -> str:
        rows = [("layer", "kind", "output", "parameters", "multiply-adds")]
        for layer in self.layers:
            size = "x".join(map(str, layer.shape))
            rows.append((layer.name, layer.kind, size, f"{layer.parameters:,}", f"{layer.multiply_adds:,}"))
        rows.append(("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}"))
        return f"{self.title}\n{text_table(rows, right=(3, 4))}"


def table(title: str, net: nn.Module, *inputs: Tensor | None) -> NetworkTable:
    """Trace one image through `net` on the meta device, without computing or storing anything."""
    layers: list[Layer] = []

    def record(module: nn.Module, _: object, output: Tensor) -> None:
        # The counter's keys are the classes and attribute names on the path to a layer.
        counts = counter.get_flop_counts().get(f"{type(net).__name__}.{layers_of[module]}", {})
        parameters = sum(p.numel() for p in module.parameters())
        layers.append(
            Layer(
                layers_of[module], type(module).__name__, tuple(output.shape[1:]), parameters, sum(counts.values()) // 2
            )
        )

    # A layer with a normalised weight has children that are no layers.
    layers_of = {
        module: name
        for name, module in net.named_modules()
        if "parametrizations" not in name.split(".") and {*dict(module.named_children())} <= {"parametrizations"}
    }
    hooks = [module.register_forward_hook(record) for module in layers_of]
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        net(*inputs)
    for hook in hooks:
        hook.remove()
    return NetworkTable(title, layers, sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2)


def describe(config: RunConfig) -> str:
    """The summary that `--dry-run` prints below the configuration."""
    (shape, shape_D), pair = shapes(config), NETWORKS[config.model.name]
    condition, latents = condition_of(config), latents_of(config)
    with torch.device("meta"):
        G, D = pair.generator(shape).eval(), pair.discriminator(shape_D).eval()
        z = torch.empty(1, latents)
        y = condition.to_network(torch.from_numpy(condition.made_up(1, np.random.default_rng(0))).to("meta"))
        if shape.y:
            y = torch.empty(1, *shape.y)
        x = torch.empty(1, *shape.sample)
        tables = [table("G", G, z, y), table("D", D, x, y)]
    low, high = workers(config)
    many = medium_of(config).nouns[1]
    batch, n_critic = config.train.batch, config.game.n_critic
    steps = -(-images_of(config.train.total_kimg) // (batch * n_critic))
    lines = [*(f"{each}\n" for each in tables)]
    lines.append(
        f"steps: {steps:,} of {n_critic} x {batch} real {many}, on "
        + (f"{low}" if low == high else f"{low} to {high}")
        + f" worker(s) ({config.launch.kind}); {batch // low // config.train.accumulate} {many} a micro-batch"
    )
    lines.append(f"memory (estimate): {memory_mib(config, tables):,.0f} MiB a worker")
    return "\n".join(lines)


def workers(config: RunConfig) -> tuple[int, int]:
    """Smallest and largest number of workers; `local` means this process, or `torchrun`'s processes."""
    if config.launch.kind == "ray":
        return config.worker_range
    started = int(os.environ.get("WORLD_SIZE", "1"))
    return started, started


def memory_mib(config: RunConfig, tables: list[NetworkTable]) -> float:
    """Estimate of a worker's tensors: weights, gradients and Adam's two moments of both players, G's average, and the
    activations kept for one backward pass, with each layer's output counted once (G's and D's together)."""
    G, D = tables
    full = 8 if config.precision == "fp64" else 4
    weights = (4 * (G.parameters + D.parameters) + G.parameters) * full
    micro_batch = config.train.batch / workers(config)[0] / config.train.accumulate
    elements = sum(torch.Size(layer.shape).numel() for each in tables for layer in each.layers)
    return (weights + elements * micro_batch * BYTES[config.precision]) / 2**20
