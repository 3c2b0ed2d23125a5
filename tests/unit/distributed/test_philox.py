"""Philox against its published vectors, its kernel against its twin, and what it draws against what it should be.

On a GPU, or in Triton's interpreter (TRITON_INTERPRET=1, set before Triton is imported:
tests/unit/gan/test_kernels_built.py).
"""

import math
import os

import pytest
import torch
from torch import Tensor

from gandist.distributed.philox import DTYPES, DrawKind, block, draw, signed, twin

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda"
kernel = pytest.mark.skipif(not INTERPRETED and DEVICE == "cpu", reason="no GPU, nor Triton's interpreter")
KINDS: list[DrawKind] = ["bits", "uniform", "normal"]
KEY = 0x299F31D0A4093822, 0xFEDCBA9876543210


def number(value: int, device: str = "cpu") -> Tensor:
    return torch.tensor(value, dtype=torch.int64, device=device)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        # Random123's kat_vectors, philox4x64 10.
        (
            (0, 0, 0, 0), (0, 0),
            (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
        ),
        (
            (2**64 - 1,) * 4, (2**64 - 1,) * 2,
            (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
        ),
        (
            (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
            (0x452821E638D01377, 0xBE5466CF34E90C6C),
            (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
        ),
    ],
)  # fmt: skip
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]) -> None:
    c0, c1, c2, c3 = (number(signed(word)) for word in counter)
    assert tuple(int(word) % 2**64 for word in block((c0, c1, c2, c3), key)) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [range(1), range(5), range(1, 12, 3), range(1, 6000, 1500), range(0)], ids=str)
@pytest.mark.parametrize("width", [0, 1, 8, 130])
def test_numpy_and_twin(kind: DrawKind, rows: range, width: int) -> None:
    """Integers and uniforms bit for bit; normals to a few roundings of what they are made of."""
    for seen, sub in [(5, 0), ((1 << 40) + 7, 65535)]:
        drawn, expected = (function(kind, KEY, number(seen), sub, rows, width) for function in (draw, twin))
        assert drawn.dtype == expected.dtype == DTYPES[kind]
        if kind == "normal":
            torch.testing.assert_close(drawn, expected, rtol=2e-6, atol=2e-6)
        else:
            assert drawn.equal(expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world_size", [1, 2, 3, 12])
def test_ranks_share_out_the_draw_of_one(kind: DrawKind, world_size: int) -> None:
    whole = draw(kind, KEY, number(24), 1, range(12), 7)
    assert whole.dtype == DTYPES[kind]
    for rank in range(world_size):
        assert draw(kind, KEY, number(24), 1, range(12)[rank::world_size], 7).equal(whole[rank::world_size])
    assert draw(kind, KEY, number(24), 1, range(12), 6).equal(whole[:, :6]), "a narrower draw is the beginning of it"


def test_every_part_of_the_counter_counts() -> None:
    draws = [
        draw("bits", key, number(seen), sub, range(4), 8)
        for key, seen, sub in [((1, 0), 0, 0), ((2, 0), 0, 0), ((1, 1 << 63), 0, 0), ((1, 0), 1, 0),
                               ((1, 0), 1 << 32, 0), ((1, 0), 0, 1), ((1, 0), 0, 1 << 16)]
    ]  # fmt: skip
    everything = torch.cat(draws).flatten()
    assert len(set(everything.tolist())) >= len(everything) - 1


def test_moments_and_independence() -> None:
    """Of two million numbers; the bounds are 5 standard deviations of the statistic."""
    n = 2_000_000
    millions = [number(seen) for seen in range(n // 1_000_000)]
    z = torch.cat([draw("normal", KEY, seen, 0, range(1000), 1000) for seen in millions]).double()
    u = torch.cat([draw("uniform", (1, 2), seen, 0, range(1000), 1000) for seen in millions]).double()
    assert 0 <= u.min() < u.max() < 1
    flat = z.flatten()
    for power, expected, variance in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)]:
        assert abs((flat**power).mean() - expected) < 5 * math.sqrt(variance / n)
    for power, expected, variance in [(1, 1 / 2, 1 / 12), (2, 1 / 3, 4 / 45)]:
        assert abs((u.flatten() ** power).mean() - expected) < 5 * math.sqrt(variance / n)
    counts = torch.histc(u.flatten(), 1000, 0, 1)
    assert abs(((counts - n / 1000) ** 2 / (n / 1000)).sum() - 999) < 5 * math.sqrt(2 * 999)
    for a, b in [(z[:, :-1], z[:, 1:]), (z[:, :-2], z[:, 2:]), (z[:-1], z[1:]), (z[:, :-4], z[:, 4:])]:
        assert abs((a * b).mean()) < 5 / math.sqrt(a.numel()), "neighbours in a row, rows, blocks"
        assert abs(((a**2 - 1) * (b**2 - 1)).mean()) < 5 * 2 / math.sqrt(a.numel())


@kernel
@pytest.mark.gpu
@pytest.mark.parametrize(
    ("kind", "rows", "width"),
    [
        # Interpreted, by day: each number of rows in each width, the kinds in turn.
        pytest.param(kind, rows, width, marks=[pytest.mark.nightly] if INTERPRETED and (i + j + k) % 3 else [])
        for i, kind in enumerate(KINDS)
        for j, rows in enumerate([range(5), range(1, 12, 3), range(3, 4), range(0)])
        for k, width in enumerate([1, 4, 7, 130])
    ],
)
def test_kernel_and_twin(kind: DrawKind, rows: range, width: int) -> None:
    """Integers and uniforms bit for bit; normals to a few roundings of what they are made of."""
    from gandist.distributed import philox_device

    for key, seen, sub in [(KEY, 5, 0), ((2**64 - 1, 0), (1 << 40) + 7, 65535), ((1, 1), 1, 1)]:
        out = torch.full((len(rows), width), -1, dtype=DTYPES[kind], device=DEVICE)
        philox_device.draw(out, kind, key, number(seen, DEVICE), sub, rows)
        expected = twin(kind, key, number(seen), sub, rows, width)
        if kind == "normal":
            torch.testing.assert_close(out.cpu(), expected, rtol=2e-6, atol=2e-6)
        else:
            assert out.cpu().equal(expected)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="no GPU")
def test_in_a_cuda_graph_the_counter_is_read_anew() -> None:
    seen = number(0, DEVICE)
    draw("normal", KEY, seen, 0, range(64), 100)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        drawn = {kind: draw(kind, KEY, seen, 0, range(64), 100) for kind in KINDS}
        seen += 64
    for step in range(3):
        graph.replay()
        for kind in KINDS:
            assert drawn[kind].equal(draw(kind, KEY, number(64 * step, DEVICE), 0, range(64), 100))
            repeated = draw(kind, KEY, number(64 * step, DEVICE), 0, range(64), 100)
            assert repeated.equal(drawn[kind])
