"""Every pair of the table keeps what `gandist.testing` asks of one, and a pair that does not is found."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gandist.gan.networks import NETWORKS, Pair, Shape, mlp, textgan
from gandist.testing import (
    CHECKS,
    Case,
    cases,
    check_autocast,
    check_channels_last,
    check_every_parameter_learns,
    check_export,
    check_heeds_condition,
    check_images_are_independent,
    check_known_pixels,
    check_nothing_random,
    check_other_sizes,
    check_pair,
    check_shapes,
    check_slopes,
)

# The first forward-mode derivative of a process imports parts of torch that use its own deprecated jit.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")

IMAGES = {name: pair for name, pair in NETWORKS.items() if pair.medium == "image"}


def kind(case: Case) -> str:
    shape = case.shape
    condition = "class" if shape.classes else "text" if shape.text_dim else "sample" if shape.y else "none"
    of = f"-{'masked' if shape.masked else case.sample[-1] // shape.y[-1]}-{shape.z_dim}" if shape.y else ""
    return f"{condition}{of}-{shape.norm}-{case.norm_D}"


FEW_BLOCKS: dict[str, dict[str, Any]] = {
    "resnet": {"blocks": 2},
    "rrdb": {"blocks": 1},
    "ffc": {"blocks": 1},
    "autoencoder": {"factor": 2},
    "hifigan": {
        "strides": (16, 16),
        "block_kernels": (3, 7),
        "dilations": ((1, 3), (1,)),
        "width_D": 2,
        "periods": (5,),
        "scales_D": 2,
    },
    "textgan": {"blocks": 2},
}
"""Options of deep networks, whose blocks are alike, and the width of HiFi-GAN's D."""
NARROW = ("sngan", "r3gan", "stackgan-1", "rrdb", "autoencoder")
"""Pairs that take long, and of which no feature dies at a width of 4."""


def small(name: str) -> list[Case]:
    """The cases of a pair, with few blocks and channels."""
    pair = NETWORKS[name]
    options = pair.options(**FEW_BLOCKS.get(name, {}))
    shapes = [case.shape._replace(options=options) for case in cases(pair)]
    narrow = [shape._replace(width=4) if name in NARROW else shape for shape in shapes]
    return [case._replace(shape=shape) for case, shape in zip(cases(pair), narrow, strict=True)]


def covering(name: str) -> Iterator[Case]:
    """As few cases as have each condition, each norm of G and each norm of D; `sync`, which is `batch` without other
    ranks, as late as may be."""
    all_cases = small(name)
    norms = list(dict.fromkeys((case.shape.norm, case.norm_D) for case in all_cases))
    norms.sort(key=lambda pair: "sync" in pair)
    conditioned = list(dict.fromkeys(case.shape._replace(norm=norms[0][0]) for case in all_cases))
    for k in range(max(len(norms), len(conditioned))):
        norm_G, norm_D = norms[min(k, len(norms) - 1)]
        yield Case(NETWORKS[name], conditioned[min(k, len(conditioned) - 1)]._replace(norm=norm_G), norm_D)


ONLY_G, ONLY_D = (check_export, check_known_pixels, check_other_sizes), (check_slopes,)
LONG = (check_autocast, check_export, check_slopes, check_channels_last)
"""Checks in which `sync` need not come."""
OF_LAYERS = (check_autocast, check_export, check_channels_last)
"""Of those, checks of layers that pairs share."""


def checked() -> Iterator[Any]:
    """The covering cases of every pair with every check, but one that takes long, or looks at one network alone, only
    of a condition or norm that it has not seen; those of layers see every pair, and conditions and norms once a medium.
    All other cases by night."""
    shared = {(check, pair.medium): set[str]() for check in OF_LAYERS for pair in NETWORKS.values()}
    for name in NETWORKS:
        covered, seen = list(covering(name)), {check: set[str]() for check in CHECKS}
        for case in dict.fromkeys([*covered, *small(name)]):
            condition, norm_G, norm_D = kind(case).rsplit("-", 2)
            for check in CHECKS:
                parts = {f"condition {condition}"}
                parts |= set() if check in ONLY_D else {f"G {norm_G}"}
                parts |= set() if check in ONLY_G else {f"D {norm_D}"}
                if check in LONG:
                    parts = {part.replace("sync", "batch") for part in parts}
                if check in OF_LAYERS:
                    parts = {name, *parts} - shared[check, NETWORKS[name].medium]
                by_night = case not in covered or (check in (*LONG, *ONLY_G) and parts <= seen[check])
                test = f"{name}-{kind(case)}-{check.__name__.removeprefix('check_')}"
                yield pytest.param(case, check, id=test, marks=[pytest.mark.nightly] if by_night else [])
                seen[check] |= parts
                if check in OF_LAYERS and not by_night:
                    shared[check, NETWORKS[name].medium] |= parts


@pytest.mark.parametrize(("case", "check"), [*checked()])
def test_pair(case: Case, check: Callable[[Case], None]) -> None:
    check(case)


def sizes() -> Iterator[Any]:
    """Every resolution of every pair, with 1 and 3 channels in turn; the other number by night."""
    for name, pair in IMAGES.items():
        for k, resolution in enumerate(pair.resolutions):
            for channels in (1, 3):
                marks = [] if channels == (1, 3)[k % 2] else [pytest.mark.nightly]
                yield pytest.param(name, resolution, channels, marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "resolution", "channels"), [*sizes()])
def test_every_resolution(name: str, resolution: int, channels: int) -> None:
    case = small(name)[0]
    y = (channels, *[resolution // max(NETWORKS[name].scales)] * 2) if case.shape.y else ()
    case = case._replace(shape=case.shape._replace(resolution=resolution, channels=channels, width=4, y=y))
    check_shapes(case)
    images = case.build(moved=False)[0](*case.inputs()[:2])
    unbounded = ("r3gan", "resnet", "rrdb", "autoencoder")
    assert name in unbounded or float(images.detach().abs().max()) <= 1, "the others end in tanh"


@pytest.mark.parametrize(
    ("name", "condition"),
    [(name, each) for name, pair in NETWORKS.items() for each in pair.conditions if each != "none"],
)
def test_conditions_are_heeded_from_the_start(name: str, condition: str) -> None:
    """By all but the G of SNGAN, whose classes begin with one gain and bias for all of them."""
    case = next(case for case in cases(NETWORKS[name]) if kind(case).startswith(condition))
    G, D = (net.train(NETWORKS[name].medium == "text") for net in case.build(moved=False))
    z, y, x = case.inputs(n=3)
    share = 0.001 if name == "mlp" else 0.01
    made = G(z[:1].expand(3, -1), y).flatten(1).detach()
    judged = [case.results(D, x[:1].expand_as(x), y).detach()] if getattr(D, "sees_y", True) else []
    for results in (*judged, *([made] if name != "sngan" else [])):
        assert float(torch.pdist(results).min()) > share * float(results.abs().mean())


class Changed(nn.Module):
    """A fully connected player, and what is done to its inputs and results."""

    def __init__(self, net: nn.Module, change: Callable[[nn.Module, Tensor, Tensor | None], Tensor]) -> None:
        super().__init__()
        self.net, self.change = net, change
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor, y: Tensor | None = None) -> Tensor:
        return self.change(self, inputs, y)


class Unused(nn.Module):
    """A player with a weight that nothing depends on."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.spare = net, nn.Parameter(torch.ones(3))

    def forward(self, inputs: Tensor, y: Tensor | None = None) -> Tensor:
        out: Tensor = self.net(inputs, y) + 0 * self.spare.sum()
        return out


def with_spare(build: Callable[[Shape], nn.Module]) -> Callable[[Shape], nn.Module]:
    return lambda shape: Unused(build(shape))


class ReadsMemory(mlp.Discriminator):
    """Takes pixels in the order in which they lie in memory."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        last = x.is_contiguous(memory_format=torch.channels_last)
        return super().forward((x.permute(0, 2, 3, 1) if last else x).reshape(x.shape), y)


class Contiguous(nn.Module):
    """Between layers, the layout that is not asked for."""

    def forward(self, h: Tensor) -> Tensor:
        return h.contiguous()


def with_layout_lost(shape: Shape) -> nn.Module:
    G = NETWORKS["dcgan"].generator(shape)
    G.layers.insert(2, Contiguous())  # type: ignore[union-attr, operator]
    return G


def with_bias_before_norm(shape: Shape) -> nn.Module:
    G = NETWORKS["dcgan"].generator(shape)
    layer = G.layers[3]  # type: ignore[index]
    assert isinstance(layer, nn.ConvTranspose2d)
    layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
    return G


def deaf(self: nn.Module, inputs: Tensor, y: Tensor | None) -> Tensor:
    return self.net(inputs, None if y is None else torch.zeros_like(y))  # type: ignore[no-any-return, operator]


def noisy(self: nn.Module, inputs: Tensor, y: Tensor | None) -> Tensor:
    return self.net(inputs + torch.randn_like(inputs), y)  # type: ignore[no-any-return, operator]


def counting(self: nn.Module, inputs: Tensor, y: Tensor | None) -> Tensor:
    self.calls.add_(1)  # type: ignore[operator]
    return self.net(inputs, y)  # type: ignore[no-any-return, operator]


def of_the_batch(self: nn.Module, inputs: Tensor, y: Tensor | None) -> Tensor:
    return self.net(inputs - inputs.mean(0, keepdim=True), y)  # type: ignore[no-any-return, operator]


def sideways(self: nn.Module, inputs: Tensor, y: Tensor | None) -> Tensor:
    return self.net(inputs, y)[None]  # type: ignore[no-any-return, operator]


def flat_to_first_order(self: nn.Module, inputs: Tensor, y: Tensor | None) -> Tensor:
    """Hides half of the slope from autograd."""
    return self.net((inputs + inputs.detach()) / 2, y) * self.net(inputs, y).detach()  # type: ignore[no-any-return, operator]


def read_on_the_host(self: nn.Module, inputs: Tensor, y: Tensor | None) -> Tensor:
    return self.net(inputs * (1.0 if float(inputs.detach().mean()) > -9 else 0.0), y)  # type: ignore[no-any-return, operator]


def coarse(self: nn.Module, inputs: Tensor, y: Tensor | None) -> Tensor:
    """Loses nearly everything where it is rounded: a difference of large numbers."""
    large = torch.cat([inputs, inputs], 1) @ torch.ones(2 * inputs.shape[1], 1, dtype=inputs.dtype) * 1e3
    return self.net(inputs + (large - large.round()), y)  # type: ignore[no-any-return, operator]


def doubled(self: nn.Module, inputs: Tensor, y: Tensor | None) -> Tensor:
    return 2 * self.net(inputs, y)  # type: ignore[no-any-return, operator]


def player_D(change: Callable[[nn.Module, Tensor, Tensor | None], Tensor]) -> Pair:
    return Pair(mlp.Generator, lambda shape: Changed(mlp.Discriminator(shape), change), conditions=("class",))


def player_G(change: Callable[[nn.Module, Tensor, Tensor | None], Tensor]) -> Pair:
    return Pair(lambda shape: Changed(mlp.Generator(shape), change), mlp.Discriminator, conditions=("class",))


@pytest.mark.parametrize(
    ("pair", "check", "words"),
    [
        (player_D(sideways), check_shapes, "D gives"),
        (
            Pair(lambda shape: Changed(textgan.Generator(shape), doubled), textgan.Discriminator, medium="text"),
            check_shapes,
            "G makes texts whose symbols do not share each place",
        ),
        (player_D(noisy), check_nothing_random, "D gives other results"),
        (player_G(noisy), check_nothing_random, "G gives other results"),
        (player_D(counting), check_nothing_random, "D changes its buffer calls"),
        (player_D(of_the_batch), check_images_are_independent, "D: an image depends"),
        (player_G(of_the_batch), check_images_are_independent, "G: an image depends"),
        (player_D(deaf), check_heeds_condition, "D does not heed"),
        (player_G(deaf), check_heeds_condition, "G does not heed"),
        (player_D(flat_to_first_order), check_slopes, "by differences"),
        (Pair(mlp.Generator, ReadsMemory), check_channels_last, "D: "),
        (Pair(with_layout_lost, mlp.Discriminator, norms_G=("batch",)), check_channels_last, "not channels_last"),
        (player_G(coarse), check_autocast, "G under autocast"),
        (
            Pair(with_bias_before_norm, mlp.Discriminator, norms_G=("batch",)),
            check_every_parameter_learns,
            r"G\.layers\.3\.bias",
        ),
        (
            Pair(with_spare(mlp.Generator), mlp.Discriminator),
            check_every_parameter_learns,
            r"G\.spare",
        ),
        (
            Pair(mlp.Generator, with_spare(mlp.Discriminator)),
            check_every_parameter_learns,
            r"D\.spare",
        ),
    ],
)
def test_a_pair_that_does_not_keep_it_is_found(pair: Pair, check: Callable[[Case], None], words: str) -> None:
    with pytest.raises(AssertionError, match=f"{check.__name__}: .*{words}"):
        check_pair(pair, checks=[check])


def test_what_cannot_be_exported_is_found() -> None:
    with pytest.raises(Exception, match=r"[Dd]ata.dependent"):
        check_pair(player_G(read_on_the_host), checks=[check_export])


def test_a_pair_is_checked_as_it_is_asked_for() -> None:
    built: list[Shape] = []

    def generator(shape: Shape) -> nn.Module:
        built.append(shape)
        return mlp.Generator(shape)

    shape = Shape(64, 1, z_dim=5, width=2, classes=3, norm="none")
    check_pair(Pair(generator, mlp.Discriminator), shape, checks=[check_shapes])
    assert built == [shape]
