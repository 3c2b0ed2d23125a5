"""Degradations: what every operation and every chain promises."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import scipy
import torch
import yaml
from pydantic import ValidationError
from torch import Tensor

from gandist.conditions.blurs import Blur
from gandist.conditions.degraded import Degradation
from gandist.conditions.operation import Operation
from gandist.conditions.operations import OPERATIONS
from gandist.conditions.pixelwise import poisson
from gandist.errors import ConfigError
from tests.helpers.no_host_sync import Blind
from tests.helpers.pictures import numbers_for, pictures, rows

REAL_ESRGAN = """
scale: 4
operations:
  - blur: &blur {sigma: [0.2, 3], anisotropic: 0.36, generalised: 0.135, plateau: 0.135, sinc: 0.1}
  - resize: {factor: [1, 6.7], filter: [area, bilinear, bicubic], back: [area, bilinear, bicubic]}
  - either:
      of:
        - noise: {sigma: [1, 30], grey: 0.4}
        - poisson: {scale: [0.05, 3], grey: 0.4}
  - jpeg: {quality: [30, 95]}
  - blur: {<<: *blur, sigma: [0.2, 1.5], p: 0.8}
  - resize: {factor: [1, 3.3], filter: [area, bilinear, bicubic], back: [area, bilinear, bicubic]}
finish:
  - either:
      of:
        - noise: {sigma: [1, 25], grey: 0.4}
        - poisson: {scale: [0.05, 2.5], grey: 0.4}
  - shuffled:
      of:
        - jpeg: {quality: [30, 95]}
        - sinc: {p: 0.8}
"""
EACH: dict[str, dict[str, Any]] = {
    "blur": {"anisotropic": 0.5, "generalised": 0.2, "plateau": 0.2, "sinc": 0.2},
    "motion": {},
    "sinc": {"radius": 5},
    "resize": {"filter": ["area", "nearest", "bilinear"]},
    "noise": {"grey": 0.5},
    "poisson": {"grey": 0.5},
    "jpeg": {},
    "grey": {},
    "quantise": {},
    "either": {"of": [{"grey": None}, {"quantise": {"levels": 2}}], "weights": [1, 3]},
    "shuffled": {"of": [{"noise": {"sigma": 30}}, {"quantise": {"levels": 2}}]},
}


def only(name: str, **options: Any) -> Degradation:
    return Degradation.model_validate({"operations": [{name: EACH[name] | options}], "rounded": False})


def made(degradation: Degradation, x: Tensor, seed: int = 0) -> Tensor:
    return degradation.make(x, numbers_for(degradation.noise(), tuple(x.shape[1:]), len(x), seed))


@pytest.fixture
def second_order() -> Degradation:
    return Degradation.model_validate(yaml.safe_load(REAL_ESRGAN))


class Negative(Operation):
    def apply(self, levels: Tensor, u: Tensor, further: Mapping[str, Tensor]) -> Tensor:
        return 255 - levels


def test_a_new_operation_is_a_class_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATIONS, "negative", Negative)
    chain = Degradation.model_validate({"operations": ["negative"]})
    assert torch.allclose(made(chain, pictures(2)), -pictures(2), atol=1e-6)
    assert chain.model_dump()["operations"] == ({"negative": {"p": 1.0}},)


def test_every_operation_is_tested() -> None:
    assert set(EACH) == set(OPERATIONS)


@pytest.mark.parametrize("name", list(EACH))
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_and_its_numbers_alone_decide(name: str, channels: int) -> None:
    degradation, x = only(name), pictures(5, 20, channels)
    numbers = numbers_for(degradation.noise(), (channels, 20, 20), 5)
    together = degradation.make(x, numbers)
    assert together.shape == x.shape
    assert together.dtype == torch.float32
    assert together.isfinite().all()
    assert together.abs().max() <= 1
    for part in (slice(0, 1), slice(1, 2), slice(2, 5)):
        alone = degradation.make(x[part], rows(numbers, part))
        assert (alone - together[part]).abs().max() < 1e-5
    if name != "grey" or channels == 3:
        assert (together - x).abs().max() > 0.01


@pytest.mark.parametrize("name", list(EACH))
def test_p_is_the_share_of_changed_images(name: str) -> None:
    strong = {"noise": {"sigma": 20}, "poisson": {"scale": 2}, "blur": {"sigma": 2}, "resize": {"factor": 3}}
    x = pictures(1, 8).expand(400, -1, -1, -1)
    for p, expected in ((0.0, 0.0), (0.3, 0.3), (1.0, 1.0)):
        changed = (made(only(name, p=p, **strong.get(name, {})), x) - x).abs().amax((1, 2, 3)) > 1e-4
        assert abs(changed.double().mean().item() - expected) <= 4 * math.sqrt(expected * (1 - expected) / 400) + 0.01


def test_groups_are_the_images_that_an_operation_changes() -> None:
    def chain(**p: float) -> Degradation:
        one = {"quantise": {"levels": 2, "p": p.get("quantise", 0.0)}}
        other = {"noise": {"sigma": 40, "p": p.get("noise", 0.0)}}
        blur = {"blur": {"sigma": [2, 3], "p": p.get("blur", 0.0)}}
        either = {"either": {"of": [one, other], "weights": [1, 2], "p": 0.8}}
        finish = [{"shuffled": {"of": [blur], "p": 0.5}}, one]
        return Degradation.model_validate({"operations": [either], "finish": finish, "rounded": False})

    x, shares = pictures(1, 8).expand(300, -1, -1, -1), {"quantise": 0.4, "noise": 0.7, "blur": 1.0}
    numbers = numbers_for(chain().noise(), (3, 8, 8), len(x))
    found: dict[str, Tensor] = {}
    for by, name, members in chain(**shares).groups(numbers):
        if by == "operation":
            found[name] = members | found.get(name, members)
    assert set(found) == set(shares)
    for name, share in shares.items():
        changed = (chain(**{name: share}).make(x, numbers) - x).abs().amax((1, 2, 3)) > 1e-4
        assert torch.equal(found[name], changed)


def test_groups_by_strength_are_thirds_of_its_range() -> None:
    noisy = Degradation.model_validate(
        {"operations": [{"noise": {"sigma": [10, 40], "p": 0.5}}, {"blur": {"sigma": 1}}]}
    )
    numbers = numbers_for(noisy.noise(), (1, 4, 4), 300)
    u = numbers["0/noise/uniform"]
    sigma = torch.where(u[:, 0] < 0.5, 10 + 30 * u[:, 1], 0)
    found = {name: members for by, name, members in noisy.groups(numbers) if by == "strength"}
    assert list(found) == ["noise sigma 10 to 20", "noise sigma 20 to 30", "noise sigma 30 to 40"]
    for low, members in zip((10, 20, 30), found.values(), strict=True):
        assert torch.equal(members, (low <= sigma) & (sigma < low + 10))


def test_nothing_done_leaves_the_image() -> None:
    x = pictures(2)
    assert torch.equal(Degradation().make(x, {}), x)
    assert Degradation().noise() == {}


def test_y_has_whole_levels(second_order: Degradation) -> None:
    levels = (made(second_order, pictures(4)) + 1) * 127.5
    assert (levels - levels.round()).abs().max() < 1e-4


def test_the_second_order_chain_of_real_esrgan(second_order: Degradation) -> None:
    x = pictures(6, 32)
    y = made(second_order, x)
    assert y.shape == (6, *second_order.shape((3, 32, 32))) == (6, 3, 8, 8)
    assert {"0/blur/uniform", "2/either/1/poisson/normal", "finish/1/shuffled/0/jpeg/uniform"} <= set(
        second_order.noise()
    )
    assert second_order.noise()["finish/0/either/1/poisson/normal"].shape((3, 32, 32)) == (3, 8, 8)
    small = Degradation(scale=4).make(x, {})
    apart = (y - small).abs().mean((1, 2, 3))
    assert (apart > 0.01).all()
    assert (apart < 0.5).all(), "it is still that image"
    assert not torch.equal(made(second_order, x, seed=1), y)


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_same_numbers_give_the_same_y_in_any_batch(second_order: Degradation, shuffle: bool) -> None:
    chain = Degradation.model_validate(second_order.model_dump() | {"shuffle": shuffle})
    x = pictures(6, 16)
    numbers = numbers_for(chain.noise(), (3, 16, 16), 6)
    together = chain.make(x, numbers)
    apart = torch.cat([chain.make(x[k : k + 1], rows(numbers, slice(k, k + 1))) for k in range(6)])
    assert torch.equal(together, apart)


def test_no_look_at_a_value_and_full_precision_inside_autocast(second_order: Degradation) -> None:
    chain = Degradation.model_validate(second_order.model_dump() | {"shuffle": True})
    x = pictures(2, 16)
    numbers = numbers_for(chain.noise(), (3, 16, 16), 2)
    y = chain.make(x, numbers)
    with Blind():  # type: ignore[no-untyped-call]
        assert (chain.make(x, numbers) - y).abs().max().shape == ()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(chain.make(x, numbers), y)
    wide = chain.make(x.double(), numbers)
    assert wide.dtype == torch.float64
    assert (wide - y).abs().mean() < 0.01


def test_written_out_it_reads_the_same(second_order: Degradation) -> None:
    written = second_order.model_dump(mode="json")
    assert written["operations"][3] == {"jpeg": {"p": 1.0, "quality": [30.0, 95.0], "chroma": "4:2:0"}}
    assert Degradation.model_validate(written) == second_order
    assert Degradation.model_json_schema()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operations": [{"blurr": {}}]}, "'blurr' is not the name of an operation; there are blur, motion"),
        ({"operations": [{"blur": {}, "jpeg": {}}]}, "one name with its options, not 2 names: blur, jpeg"),
        ({"operations": [{"blur": {"sigma": [3, 1]}}]}, "write the smaller number first"),
        ({"operations": [{"jpeg": {"quality": [0, 50]}}]}, r"\[0, 50\] is not within 1 and 100"),
        ({"operations": [{"blur": {"sinc": 0.6, "plateau": 0.6}}]}, "together are above 1"),
        ({"operations": [{"either": {"of": [{"grey": {}}], "weights": [1, 2]}}]}, "2 of them for 1 operations"),
        ({"operations": [{"noise": {"sigmas": 3}}]}, "sigmas"),
        ({"operations": [{"resize": {"filter": []}}]}, "name at least one filter"),
        ({"scale": 3}, "scale"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Degradation.model_validate(options)


def test_a_scale_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="scale: 8 does not divide 28 x 28 pixels"):
        Degradation(scale=8).shape((3, 28, 28))


def test_finish_is_done_to_the_smaller_image() -> None:
    x, jpeg = pictures(3, 32), [{"jpeg": {"quality": 20}}]
    small = Degradation(scale=4).make(x, {})
    expected = made(Degradation.model_validate({"operations": jpeg}), small)
    assert torch.equal(made(Degradation.model_validate({"scale": 4, "finish": jpeg}), x), expected)


# --- strengths ---


def test_noise_is_as_strong_as_drawn() -> None:
    x = torch.zeros(2000, 1, 8, 8)
    sigma = (made(only("noise", sigma=[1, 30]), x) * 127.5).std((1, 2, 3))
    assert abs(sigma.mean().item() - 15.5) < 1
    assert sigma.min() < 3
    assert sigma.max() > 27


def test_grey_noise_is_shared_by_the_channels() -> None:
    for name in ("noise", "poisson"):
        y = made(only(name, grey=0.4), torch.zeros(500, 3, 4, 4))
        share = (y[:, 0] == y[:, 1]).flatten(1).all(1).double().mean().item()
        assert abs(share - 0.4) < 0.08, name


def test_poisson_counts() -> None:
    z = torch.linspace(-3, 3, 601, dtype=torch.float64)
    for mean in (1, 3, 10, 80, 255):
        exact = scipy.stats.poisson(mean).ppf(scipy.stats.norm.cdf(z))
        found = poisson(torch.full_like(z, mean), z)
        assert abs(found.numpy() - exact).max() <= 1
        assert (found.numpy() == exact).mean() > 0.9
    assert not poisson(torch.zeros_like(z), z).any()


def test_poisson_noise_is_the_root_of_the_level() -> None:
    for level in (16, 100, 225):
        x = torch.full((1, 1, 64, 64), level / 127.5 - 1)
        y = (made(only("poisson", scale=0.5), x) + 1) * 127.5
        assert abs(y.mean() - level) < 0.5
        assert abs(y.std() / (0.5 * level**0.5) - 1) < 0.06


def test_a_blur_spreads_a_point_as_wide_as_drawn() -> None:
    u = torch.rand(500, 7, generator=torch.Generator().manual_seed(0)).double()
    kernels = Blur(sigma=(0.5, 3)).kernels(u)
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    place = torch.arange(-9, 10).double()
    sigma = (kernels.sum(1) * place.square()).sum(1).sqrt()
    drawn = 0.5 + 2.5 * u[:, 1]
    assert (sigma - drawn).abs().max() < 0.12, "cut off at three standard deviations"
    assert scipy.stats.kstest(drawn.numpy(), scipy.stats.uniform(0.5, 2.5).cdf).pvalue > 1e-3


def test_an_ellipse_has_both_deviations_and_its_angle() -> None:
    u = torch.tensor([[0.0, 0.0, 1.0, 0.5, 0.0, 0.0, 0.0]], dtype=torch.float64)
    (kernel,) = Blur(sigma=(1, 3), anisotropic=1).kernels(u)
    kernel = kernel / kernel.sum()
    place = torch.arange(-9, 10).double()
    assert abs((kernel.sum(1) * place.square()).sum().sqrt() - 1) < 0.05, "turned by a right angle: 1 px down"
    assert abs((kernel.sum(0) * place.square()).sum().sqrt() - 3) < 0.1


def test_sigma_0_is_no_blur_and_motion_of_no_length_no_motion() -> None:
    x = pictures(2)
    assert (made(only("blur", sigma=0, sinc=0, generalised=0, plateau=0), x) - x).abs().max() < 1e-5
    assert (made(only("motion", length=0), x) - x).abs().max() < 1e-5


def test_motion_along_a_line() -> None:
    x = -torch.ones(1, 1, 21, 21)
    x[0, 0, 10, 10] = 1
    across = made(only("motion", length=8, angle=0), x) + 1
    assert across[0, 0, 10, 6:15].min() > 0.1
    assert across[0, 0, [9, 11]].max() < 0.05
    down = made(only("motion", length=8, angle=90), x) + 1
    assert torch.allclose(down, across.mT, atol=1e-5)


def test_quantised_images_have_that_many_levels() -> None:
    x = pictures(300, 8, 1)
    counts = [len(np.unique(image.numpy())) for image in made(only("quantise", levels=[2, 4]), x)]
    assert set(counts) == {2, 3, 4}
    assert abs(np.mean(counts) - 3) < 0.2


def test_grey_is_luma() -> None:
    y = made(only("grey"), torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1).expand(1, 3, 4, 4))
    assert torch.allclose(y, torch.full((1, 3, 4, 4), 2 * 0.299 - 1), atol=1e-6)


def test_either_draws_by_weight() -> None:
    x = pictures(1, 8).expand(600, -1, -1, -1)
    chain = only("either", of=[{"grey": None}, {"quantise": {"levels": 2}}], weights=[1, 3])
    y = made(chain, x)
    grey = (y[:, 0] - y[:, 1]).abs().amax((1, 2)) < 1e-6
    assert abs(grey.double().mean().item() - 0.25) < 0.06


def test_a_shuffled_chain_has_every_order() -> None:
    operations = [{"quantise": {"levels": 2}}, {"blur": {"sigma": 1}}, {"grey": None}]
    shuffled = Degradation.model_validate({"operations": operations, "shuffle": True, "rounded": False})
    x = pictures(1, 8).expand(200, -1, -1, -1)
    numbers = numbers_for(shuffled.noise(), (3, 8, 8), 200)
    orders = numbers["order"].argsort(dim=1)
    different = set(map(tuple, orders.tolist()))
    assert len(different) == 6
    y = shuffled.make(x, numbers)
    for order in different:
        in_turn = Degradation.model_validate({"operations": [operations[k] for k in order], "rounded": False})
        expected = made(in_turn, x[:1])
        mine = (orders == torch.tensor(order)).all(1)
        assert (y[mine] - expected).abs().max() < 1e-5
