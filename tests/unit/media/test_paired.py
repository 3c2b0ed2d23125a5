"""Pairs as a medium: both halves are prepared alike, and what concerns samples concerns targets."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from gandist.media.image import Image
from gandist.media.paired import Paired
from tests.helpers.no_host_sync import Blind


def rows_of(medium: Paired, n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *medium.row.shape), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_have_the_target_first(channels: int) -> None:
    inner = Image(resolution=16, channels=channels)
    medium = Paired(inner)
    assert medium.row.shape == (2, 16, 16, channels)
    assert medium.network_shape == inner.network_shape
    rows = rows_of(medium)
    room = np.empty_like(rows[0])
    target, given = medium.parts(room)
    medium.decode(inner.encode(rows[0, 0]), target)
    medium.decode(inner.encode(rows[0, 1]), given)
    np.testing.assert_array_equal(room, rows[0])
    assert medium.files == ("target", "input")
    assert (inner.files, [part is rows for part in inner.parts(rows)]) == (("target",), [True])


def test_its_rows_have_a_name_of_their_own_in_a_cache() -> None:
    inner = Image(resolution=16)
    assert Paired(inner).name != inner.name
    assert Paired(inner).decoder != inner.decoder
    assert inner.decoder in Paired(inner).decoder
    assert Paired(inner) == Paired(Image(resolution=16)) != Paired(Image(resolution=32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_halves_are_mirrored_alike(dtype: torch.dtype) -> None:
    inner = Image(resolution=8, flip=True)
    medium = Paired(inner)
    assert medium.uniforms == ("flip",)
    rows = torch.from_numpy(rows_of(medium, 4))
    flips = {"flip": torch.tensor([0.4, 0.5, 0.0, 0.9])}
    x = medium.to_network(rows, flips, dtype)
    assert x.shape == (4, 2, *medium.network_shape)
    assert x.dtype == dtype
    for half in range(2):
        assert torch.equal(x[:, half], inner.to_network(rows[:, half], flips, dtype))
        assert x[:, half].is_contiguous(memory_format=torch.channels_last)
        still = inner.to_network(rows[:, half], dtype=dtype)
        for row, mirrored in enumerate((True, False, True, False)):
            assert torch.equal(x[row, half], still[row].flip(-1) if mirrored else still[row])
    assert torch.equal(medium.to_network(rows)[:, 0], inner.to_network(rows[:, 0]))


def test_rows_are_prepared_without_a_look_at_a_value() -> None:
    """As inside the step's graph."""
    medium = Paired(Image(resolution=8, flip=True))
    rows = torch.from_numpy(rows_of(medium, 4))
    flips = {"flip": torch.tensor([0.4, 0.5, 0.0, 0.9])}
    before = medium.to_network(rows, flips)
    with Blind():  # type: ignore[no-untyped-call]
        x = medium.to_network(rows, flips)
    assert torch.equal(x, before)


def test_what_networks_make_are_targets() -> None:
    inner = Image(resolution=16)
    medium = Paired(inner)
    rows = torch.from_numpy(rows_of(medium))
    x = medium.to_network(rows)
    assert torch.equal(medium.from_network(x), rows)
    assert torch.equal(medium.from_network(x[:, 0]), rows[:, 0])
    assert torch.equal(medium.coarse(x), inner.coarse(x[:, 0]))
    assert torch.equal(medium.coarse(x[:, 0]), inner.coarse(x[:, 0]))
    assert medium.encode(rows[0].numpy()) == medium.encode(rows[0, 0].numpy()) == inner.encode(rows[0, 0].numpy())
    assert (medium.extension, medium.extensions, medium.prepared) == (inner.extension, inner.extensions, inner.prepared)


def test_a_preview_shows_inputs_to_the_left_of_their_targets() -> None:
    medium = Paired(Image(resolution=96))
    rows = rows_of(medium, 3)
    with Pillow.open(io.BytesIO(medium.preview(rows, 2).content)) as picture:
        cells = np.asarray(picture)
    assert cells.shape == (2 * 98 - 2, 4 * 98 - 2, 3)
    for i in range(3):
        top, left = i // 2 * 98, i % 2 * 196
        np.testing.assert_array_equal(cells[top : top + 96, left : left + 96], rows[i, 1])
        np.testing.assert_array_equal(cells[top : top + 96, left + 98 : left + 194], rows[i, 0])
    assert medium.preview(rows[:, 0], 2) == medium.inner.preview(rows[:, 0], 2)
