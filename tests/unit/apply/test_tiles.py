"""Tiles against whole pictures, and the memory that they take."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gandist.apply.network import Network, network_of
from gandist.apply.tiles import Tiling, restored, tiling
from gandist.run.trained import open_trained
from tests.helpers.scripts import python
from tests.unit.apply.conftest import smooth

MEASURED = """
import sys
from pathlib import Path
from gandist.apply import main
status = main(sys.argv[1:])
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
print(int(peak.split()[1]) // 1024)  # (ru_maxrss would count the process that started this one)
sys.exit(status)
"""


def opened(run: str) -> Network:
    return network_of(open_trained(run, torch.device("cpu")), run, 0)


def applied(network: Network, picture: np.ndarray, cut: Tiling | None) -> tuple[np.ndarray, int]:
    """The result, and the number of tiles."""
    ticks: list[int] = []
    whole = np.concatenate(list(restored(network, picture, None, cut, ticks.append)))
    assert ticks == [len(ticks)] * len(ticks)
    return whole, len(ticks)


@pytest.mark.parametrize(("name", "radius"), [("enlarge", 11), ("draw", 15)])
def test_tiles_are_as_the_whole(run: Callable[[str], str], name: str, radius: int) -> None:
    """Within one level, by rounding: on pictures of several sizes, most of which no tile divides."""
    network = opened(run(name))
    assert network.radius is not None
    assert network.radius <= radius
    for height, width in ((100, 131), (40, 210), (3, 190)):
        picture = smooth(height, width)
        whole, one = applied(network, picture, None)
        assert one == 1
        assert whole.shape == (network.factor * height, network.factor * width, 3)
        for tile in (8, 33, 64):
            cut = tiling(network, tile)
            assert cut.exact
            assert cut.overlap >= 2 * network.radius
            tiled, tiles = applied(network, picture, cut)
            assert tiles > 1
            assert np.abs(tiled.astype(int) - whole).max() <= 1


def test_one_tile_holds_a_picture_that_fits(run: Callable[[str], str]) -> None:
    network = opened(run("enlarge"))
    picture = smooth(200, 300)
    (tiled, tiles), (whole, _) = applied(network, picture, tiling(network)), applied(network, picture, None)
    assert tiles == 1
    np.testing.assert_array_equal(tiled, whole)


def test_a_network_of_fourier_convolutions_sees_everything(run: Callable[[str], str]) -> None:
    """It takes no picture below 16 pixels: smaller ones are mirrored. What is missing of a picture's width may be added
    to a tile's height."""
    network = opened(run("everywhere"))
    assert (network.radius, network.multiple, network.smallest) == (None, 8, 16)
    picture, hole = smooth(5, 9), np.ones((5, 9), bool)
    (made,) = restored(network, picture, hole, tiling(network))
    assert made.shape == (5, 9, 3)
    picture, ticks = smooth(32, 400), list[int]()
    hole = np.ones((32, 400), bool)
    for cut, tiles in ((Tiling(128, 128**2, 32, False), 1), (Tiling(128, 0, 32, False), 4)):
        ticks.clear()
        made = np.concatenate(list(restored(network, picture, hole, cut, ticks.append)))
        assert made.shape == picture.shape
        assert len(ticks) == tiles


class Levels(nn.Module):
    """Adds the mean of all that it is given."""

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return y + 0.5 * y.mean(dim=(2, 3), keepdim=True)


def test_a_network_that_sees_everything_is_blended_smoothly(run: Callable[[str], str]) -> None:
    """Where tiles differ, no step is seen between them."""
    given = opened(run("draw"))
    network = Network(Levels(), given.z, 3, False, False, 1, 1, 1, None, 100.0)
    cut = tiling(network, 64)
    assert not cut.exact
    ramp = np.linspace(0, 255, 400).round().astype(np.uint8)
    picture = np.broadcast_to(ramp[None, :, None], (200, 400, 3))
    tiled, tiles = applied(network, picture, cut)
    assert tiles > 4
    assert np.abs(np.diff(tiled.astype(int), axis=1)).max() <= 6
    assert np.abs(np.diff(tiled.astype(int), axis=0)).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("height", "width"),
    [pytest.param(530, 500, id="small"), pytest.param(2000, 3000, id="whole", marks=pytest.mark.nightly)],
)
def test_a_photograph_enlarged_fourfold_takes_two_gigabytes(
    height: int, width: int, run: Callable[[str], str], tmp_path: Path
) -> None:
    """Of six megapixels. The small one leaves room for what the whole has more of, its result and a copy of it; the
    whole one, by night, is a minute of the same tiles."""
    Image.fromarray(smooth(height, width)).save(tmp_path / "a.png")
    files = [str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]
    done = python("-c", MEASURED, run("enlarge"), *files, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out/a.png") as image:
        assert image.size == (4 * width, 4 * height)
    peak_mib = int(done.stdout.splitlines()[-1])
    more_mib = 2 * 16 * 3 * (2000 * 3000 - height * width) / 2**20
    assert peak_mib + more_mib < 2048, f"{peak_mib} MiB"
