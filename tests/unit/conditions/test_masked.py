"""Masks: what every kind promises, and their shapes."""

from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import Tensor

from gandist.conditions.holes import HOLES, Strokes, within_reach
from gandist.conditions.masked import Masks, masked
from gandist.errors import ConfigError
from tests.helpers.no_host_sync import Blind
from tests.helpers.pictures import numbers_for, pictures, rows

KINDS: list[dict[str, Any]] = [
    {"box": {}},
    {"box": {"area": 0.99, "aspect": [1, 50]}},
    {"box": {"area": 0.001, "aspect": 100}},
    {"half": {}},
    {"border": {}},
    {"border": {"window": [0.05, 0.95], "centred": True}},
    {"strokes": {}},
    {"strokes": {"style": "narrow"}},
    {"strokes": {"thickness": [0, 1], "length": [0, 2], "chains": 5}},
]
ALL = """
kinds:
  - strokes: {style: wide, weight: 2}
  - strokes: {style: narrow}
  - box: {area: [0.1, 0.3]}
  - half: {sides: [left, bottom]}
  - border: {window: [0.3, 0.6]}
"""


@pytest.fixture
def masks() -> Masks:
    return Masks.model_validate(yaml.safe_load(ALL))


def of(kind: dict[str, Any], n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """(n, height, width) bool."""
    masks = Masks.model_validate({"kinds": [kind]})
    numbers = numbers_for(masks.noise(), (3, height, width), n, seed)
    return masks.mask_of(masks.names[0], numbers, height, width)[:, 0] > 0


def test_groups_are_the_kinds_of_holes(masks: Masks) -> None:
    numbers = numbers_for(masks.noise(), (3, 16, 16), 200)
    hole = masks.make(pictures(1, 16).expand(200, -1, -1, -1), numbers)[:, -1:]
    groups = list(masks.groups(numbers))
    assert [name for _, name, _ in groups] == ["strokes-wide", "strokes-narrow", "box", "half", "border"]
    assert (torch.stack([members for _, _, members in groups]).sum(0) == 1).all()
    for kind, (_, _, members) in zip(masks.names, groups, strict=True):
        assert members.any()
        assert torch.equal(hole[members], masks.mask_of(kind, numbers, 16, 16)[members])


def test_every_kind_is_tested() -> None:
    assert {name for kind in KINDS for name in kind} == set(HOLES)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 12), (3, 3), (1, 2), (2, 1)])
def test_every_mask_has_a_hole_and_known_pixels(kind: dict[str, Any], height: int, width: int) -> None:
    found = of(kind, 2000 if height < 32 else 500, height, width).flatten(1)
    assert found.any(1).all()
    assert not found.all(1).any()


@pytest.mark.parametrize("edge", [0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_numbers_at_the_ends_of_their_range(kind: dict[str, Any], edge: float) -> None:
    masks = Masks.model_validate({"kinds": [kind]})
    numbers = {name: torch.full_like(u, edge) for name, u in numbers_for(masks.noise(), (3, 16, 16), 2).items()}
    share = masks.make(pictures(2, 16), numbers)[:, -1].mean()
    assert 0 < share < 1


def test_y_is_the_image_outside_of_the_hole(masks: Masks) -> None:
    x = pictures(8)
    y = masks.make(x, numbers_for(masks.noise(), (3, 24, 24), 8))
    assert y.shape == (8, *masks.shape((3, 24, 24))) == (8, 4, 24, 24)
    mask = y[:, 3:]
    assert set(mask.flatten().tolist()) == {0, 1}
    assert not (y[:, :3] * mask).any()
    assert torch.equal(y[:, :3] * (1 - mask), x * (1 - mask))
    assert torch.equal(masked(x, mask), y)


def test_the_same_numbers_give_the_same_y_in_any_batch(masks: Masks) -> None:
    x = pictures(12)
    numbers = numbers_for(masks.noise(), (3, 24, 24), 12)
    apart = [masks.make(x[k : k + 1], rows(numbers, slice(k, k + 1))) for k in range(12)]
    assert torch.equal(masks.make(x, numbers), torch.cat(apart))


def test_no_look_at_a_value_and_full_precision_inside_autocast(masks: Masks) -> None:
    x = pictures(4)
    numbers = numbers_for(masks.noise(), (3, 24, 24), 4)
    y = masks.make(x, numbers)
    with Blind():  # type: ignore[no-untyped-call]
        masks.make(x, numbers)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(masks.make(x, numbers), y)
    assert masks.make(x.double(), numbers).dtype == torch.float64


def test_kinds_are_drawn_by_weight(masks: Masks) -> None:
    n = 1200
    numbers = numbers_for(masks.noise(), (1, 16, 16), n)
    made = masks.make(torch.zeros(n, 1, 16, 16), numbers)[:, 1:]
    which = (numbers["kind"][:, 0] * 6).floor()
    for name, chosen in zip(masks.names, (which < 2, which == 2, which == 3, which == 4, which == 5), strict=True):
        assert torch.equal(made[chosen], masks.mask_of(name, numbers, 16, 16)[chosen]), name
    assert masks.names == ("0/strokes", "1/strokes", "2/box", "3/half", "4/border")


def test_boxes_have_the_area_and_aspect_of_their_ranges() -> None:
    found = of({"box": {"area": [0.1, 0.4], "aspect": [1, 2]}}, 2000, 64, 64).double()
    area = found.mean((1, 2))
    assert 0.09 < area.min() < 0.12
    assert 0.38 < area.max() < 0.41
    assert abs(area.mean() - 0.25) < 0.01
    tall, wide = found.amax(2).sum(1), found.amax(1).sum(1)
    assert torch.equal(tall * wide, found.sum((1, 2)))
    assert (torch.maximum(tall / wide, wide / tall) < 2.2).all()
    assert abs((tall > wide).double().mean() - 0.5) < 0.05
    assert (found.amax(0) == 1).all(), "anywhere"


def test_halves() -> None:
    found = of({"half": {}}, 800, 4, 6)
    patterns = {tuple(hole.flatten().tolist()) for hole in found}
    assert len(patterns) == 4
    assert (found.double().mean((1, 2)) == 0.5).all()
    left = of({"half": {"sides": ["left"]}}, 5, 4, 6)
    assert left[:, :, :3].all()
    assert not left[:, :, 3:].any()


def test_a_border_keeps_a_window() -> None:
    kept = ~of({"border": {"window": [0.25, 0.5]}}, 1000, 32, 32)
    tall, wide = kept.any(2).sum(1), kept.any(1).sum(1)
    assert torch.equal(tall, wide)
    assert torch.equal(tall * wide, kept.sum((1, 2)))
    assert set(tall.tolist()) == set(range(8, 17))
    middle = ~of({"border": {"window": 0.5, "centred": True}}, 2, 32, 32)
    assert middle[:, 8:24, 8:24].all()
    assert middle.sum() == 2 * 16 * 16


@pytest.mark.parametrize(("style", "low", "high"), [("wide", 0.2, 0.5), ("narrow", 0.08, 0.3)])
def test_shares_of_strokes(style: str, low: float, high: float) -> None:
    share = of({"strokes": {"style": style}}, 300, 64, 64).double().mean((1, 2))
    assert low < share.mean() < high
    assert share.std() > 0.03
    assert share.max() < 0.95
    small = of({"strokes": {"style": style}}, 300, 32, 32).double().mean((1, 2))
    assert abs(small.mean() - share.mean()) < 0.05, "whatever the resolution"


def test_a_style_decides_what_is_not_given() -> None:
    narrow = Strokes.model_validate({"style": "narrow", "chains": 3})
    assert narrow.chains == (3, 3)
    assert narrow.thickness == (0.02, 0.08)
    assert Strokes.model_validate(narrow.model_dump()) == narrow


def test_distance_to_a_segment() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        a, b, reach = generator.uniform(0, 15, 2), generator.uniform(0, 15, 2), generator.uniform(1, 5)
        t = np.linspace(0, 1, 2000)[:, None, None]
        down, right = np.mgrid[:16, :16]
        distance = np.hypot(down - a[0] - t * (b - a)[0], right - a[1] - t * (b - a)[1]).min(0)
        ends = torch.from_numpy(np.stack([a, b]))[:, None]
        found = within_reach(ends[0], ends[1], torch.tensor([reach]), 16, 16)[0].numpy()
        sure = abs(distance - reach) > 0.01
        assert (found == (distance <= reach))[sure].all()


def test_written_out_it_reads_the_same(masks: Masks) -> None:
    written = masks.model_dump(mode="json")
    assert list(written["kinds"][3]) == ["half"]
    assert Masks.model_validate(written) == masks
    assert Masks().names == ("0/strokes", "1/box")
    assert Masks.model_json_schema()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"circle": {}}, "'circle' is not the name of a kind of mask; there are box, half"),
        ({"box": {"area": [0.5, 1.5]}}, "is not within 0.001 and 0.99"),
        ({"strokes": {"style": "bold"}}, "style"),
        ({"half": {"sides": []}}, "sides"),
    ],
)
def test_mistakes_are_named(kind: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Masks.model_validate({"kinds": [kind]})


def test_an_image_of_one_pixel_is_refused() -> None:
    with pytest.raises(ConfigError, match="no room for a hole"):
        Masks().shape((3, 1, 1))
