"""Perceptual path length, where calculus gives it."""

import math

import pytest
import torch

from gandist.evaluation.paths import path_lengths


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_speed_of_a_quarter_circle(dtype: torch.dtype) -> None:
    """From one axis to another at radius r: r pi / 2 in one unit of t, everywhere; features three times as far."""
    a, b = (2 * torch.eye(8, dtype=dtype)[row].repeat(50, 1) for row in (0, 3))
    t = torch.rand(50, 1, generator=torch.Generator().manual_seed(0))
    found = path_lengths(lambda z, y: 3 * z, a, b, t, None, batch=7)
    assert float(found.mean()) == pytest.approx(
        (3 * 2 * math.pi / 2) ** 2, rel=1e-2 if dtype == torch.float32 else 1e-4
    )


def test_conditions_go_with_their_latents() -> None:
    a, b = torch.eye(4, dtype=torch.float64)[:2].repeat(1, 1), torch.eye(4, dtype=torch.float64)[2:]
    scale = torch.tensor([0.0, 1.0])
    found = path_lengths(lambda z, y: z * (0 if y is None else y[:, None]), a, b, torch.zeros(2, 1), scale, batch=1)
    assert found.tolist() == pytest.approx([0, (math.pi / 2) ** 2], rel=1e-4)
