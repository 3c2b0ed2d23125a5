"""The step in turn with a plain eager DCGAN loop, after PyTorch's DCGAN tutorial, on networks of the same sizes.

The loop is written here from that tutorial's description: sigmoid and binary cross-entropy, D's losses on real and
on generated images differentiated one after the other, gradients cleared on the modules, torch's Adam with default
options, row-major layout and default precision (ours takes it too on CPUs, unless another is requested), and five
numbers read from the device in each iteration for printing. It keeps no running average of G. Its images are floats on
the device, ours are bytes.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gandist.bench.measure import Case, Measurement, block, changed, in_turn, use_threads
from gandist.bench.static import WARM_UP, Static
from gandist.distributed.ranks import join
from gandist.errors import ConfigError
from gandist.gan.networks.dcgan import init_dcgan

DEFAULT = ("dcgan-fashion",)
COLUMNS = (
    *("resolution", "batch", "precision", "mode", "device", "threads", "ema", "img_per_s", "ms_per_step"),
    *("peer_img_per_s", "peer_ms_per_step", "ratio"),
)
BATCHES: dict[str, dict[int, tuple[int, ...]]] = {
    "cuda": {32: (128, 512), 64: (128, 512)},
    "cpu": {32: (128,), 64: (32,)},
}
"""Default batches by device and resolution; on a CPU a step of 128 images at 64 pixels takes many seconds."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size",
        nargs="+",
        type=int,
        choices=(32, 64, 128),
        help="resolutions (default: that of --config; without it 32 and 64, with 3 channels as in the tutorial)",
    )


def measure(case: Case, options: argparse.Namespace) -> Iterator[Measurement]:
    """Two records per size and batch: ours unchanged, and ours without the running average, which the peer lacks."""
    named, config = options.config is not None, case.config
    if config.model.name != "dcgan":
        raise ConfigError(
            f"{case.name}: bench peers compares DCGANs; its model.name is {config.model.name}; set it to dcgan"
        )
    plain: dict[str, Any] = {
        "model.classes": 0,
        "model.text_dim": 0,
        "model.norm": None,
        "model.norm_D": None,
        "model.minibatch_std": 0,
    }
    plain |= {"game.objective": "ns", "game.n_critic": 1, "game.penalties": {}, "game.label_smoothing": 0}
    plain |= {"game.clip": 0, "augment.kind": "none", "augment.target": None, "train.accumulate": 1, "data.flip": False}
    if not named:
        plain["data.channels"] = 3
    device = join(config.device).device.type
    if device == "cpu" and config.precision == "auto":
        plain["precision"] = "fp32"  # as the peer
    for size in options.size or ([config.model.resolution] if named else [32, 64]):
        batches = (config.train.batch,) if named or options.batch else BATCHES[device].get(size, (config.train.batch,))
        for batch in batches:
            game = changed(config, {**plain, "model.resolution": size, "train.batch": batch})
            yield from _compare(Case(case.name, game), options)


def _compare(case: Case, options: argparse.Namespace) -> Iterator[Measurement]:
    config = case.config
    threads, ranks = use_threads(config), join(config.device)
    ours, bare = Static(config, ranks), Static(config, ranks)
    # The step reads `average` from the players: for `bare` it does nothing.
    setattr(bare.players, "average", lambda *_: None)  # noqa: B010
    peer = Tutorial(config.model.resolution, config.data.channels, config.model.width, config.model.z_dim, ranks.device)
    real = peer.images(config.train.batch)
    warmup_s = ours.warm_up()
    bare.warm_up()
    block(lambda: peer.step(real), ranks.device)(WARM_UP)
    loops: dict[str, Callable[[], object]] = {"ours": ours, "bare": bare, "peer": lambda: peer.step(real)}
    times = in_turn({name: block(call, ranks.device) for name, call in loops.items()}, options.seconds)
    flops = ours.flops()
    for name in ("ours", "bare"):
        yield case.record(
            "peers",
            **ours.facts,
            img_per_s=config.train.batch / times[name],
            ms_per_step=1e3 * times[name],
            tflops=flops / times[name] / 1e12,
            warmup_s=warmup_s,
            ratio=times["peer"] / times[name],
            ema=name == "ours",
            resolution=config.model.resolution,
            peer_img_per_s=config.train.batch / times["peer"],
            peer_ms_per_step=1e3 * times["peer"],
            threads=threads,
        )


class Tutorial:
    """Two plain networks and their loop.

    Args:
        width: channels at half the images' resolution; each halving doubles them.
    """

    def __init__(self, resolution: int, channels: int, width: int, z_dim: int, device: torch.device) -> None:
        widths = [width * 2**k for k in range(resolution.bit_length() - 3)]
        self.z_dim, self.device, self.shape = z_dim, device, (channels, resolution, resolution)
        self.G, self.D = generator(widths, channels, z_dim).to(device), discriminator(widths, channels).to(device)
        for net in (self.G, self.D):
            net.apply(init_dcgan)
        self.criterion = nn.BCELoss()
        self.optimizer_G = torch.optim.Adam(self.G.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.optimizer_D = torch.optim.Adam(self.D.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def images(self, n: int) -> Tensor:
        """Noise in [-1, 1] on the device, (n, C, R, R)."""
        return torch.rand(n, *self.shape, device=self.device) * 2 - 1

    def step(self, real: Tensor) -> tuple[float, float, float, float, float]:
        """One iteration: both losses, and D's mean on real images and on generated ones before and after its update."""
        n = len(real)
        self.D.zero_grad()
        label = torch.full((n,), 1.0, device=self.device)
        judged = self.D(real).view(-1)
        error_real = self.criterion(judged, label)
        error_real.backward()
        mean_real = judged.mean().item()
        noise = torch.randn(n, self.z_dim, 1, 1, device=self.device)
        fake = self.G(noise)
        label.fill_(0.0)
        judged = self.D(fake.detach()).view(-1)
        error_fake = self.criterion(judged, label)
        error_fake.backward()
        mean_before = judged.mean().item()
        self.optimizer_D.step()
        self.G.zero_grad()
        label.fill_(1.0)
        judged = self.D(fake).view(-1)
        error_G = self.criterion(judged, label)
        error_G.backward()
        mean_after = judged.mean().item()
        self.optimizer_G.step()
        return (error_real + error_fake).item(), error_G.item(), mean_real, mean_before, mean_after


def generator(widths: list[int], channels: int, z_dim: int) -> nn.Sequential:
    """z (N, z_dim, 1, 1) -> (N, C, R, R)."""
    wide = widths[::-1]
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(z_dim, wide[0], 4, 1, 0, bias=False),
        nn.BatchNorm2d(wide[0]),
        nn.ReLU(True),
    ]
    for wider, narrower in pairwise(wide):
        layers += [nn.ConvTranspose2d(wider, narrower, 4, 2, 1, bias=False), nn.BatchNorm2d(narrower), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(wide[-1], channels, 4, 2, 1, bias=False), nn.Tanh())


def discriminator(widths: list[int], channels: int) -> nn.Sequential:
    """(N, C, R, R) -> probability of being real (N, 1, 1, 1)."""
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for narrower, wider in pairwise(widths):
        layers += [
            nn.Conv2d(narrower, wider, 4, 2, 1, bias=False),
            nn.BatchNorm2d(wider),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 0, bias=False), nn.Sigmoid())
