"""Keyed draws: what an image's noise depends on, and what it does not."""

from itertools import combinations

import numpy as np
import pytest
import torch

from gandist.distributed.randomness import Draws, key, split, words

CPU = torch.device("cpu")
BATCH, Z = 12, 5
SEEN = torch.tensor(24)


def test_keys_are_fixed_for_good() -> None:
    """Another key would be another run: checkpoints written by this version go on with this noise."""
    assert key(0, "weights/G") == 0x3FAA88E159074C6178E2E5F29CA3AF02
    assert words(0, "weights/G") == (0x78E2E5F29CA3AF02, 0x3FAA88E159074C61)


def test_neighbouring_draws_share_nothing() -> None:
    """Not one row of noise of one batch turns up in another."""
    draws = Draws(0, CPU)
    keys = [("fakes/D/z", seen, sub) for seen in (0, 1, BATCH, BATCH + 1, 2 * BATCH) for sub in (0, 1)]
    keys += [("fakes/G/z", 0, 0), ("fakes/D/y", 0, 0), ("fakes/D/z", 10, 1), ("fakes/D/z", 101, 0)]
    values = [draws.normal(purpose, torch.tensor(seen), sub, (BATCH, Z)).numpy() for purpose, seen, sub in keys]
    values.append(Draws(1, CPU).normal("fakes/D/z", torch.tensor(0), 0, (BATCH, Z)).numpy())
    for a, b in combinations(values, 2):
        assert np.intersect1d(a, b).size <= 1, "sixty float32 numbers seldom meet another sixty"


def test_the_parts_of_a_key_cannot_run_into_each_other() -> None:
    assert key(1, "a", 2, 34) != key(1, "a", 23, 4)
    assert key(11, "a", 2) != key(1, "a", 12)


@pytest.mark.parametrize("world_size", [1, 2, 3, 12])
def test_ranks_share_out_the_draw_of_one(world_size: int) -> None:
    one = Draws(7, CPU)
    ranks = [Draws(7, CPU, rank, world_size) for rank in range(world_size)]
    wholes = {
        "normal": one.normal("n", SEEN, 1, (BATCH, Z)),
        "noise of images": one.normal("n", SEEN, 1, (BATCH, 3, 19, 19)),
        "uniform": one.uniform("u", SEEN, 1, (BATCH,)),
        "labels": one.numbers("y", SEEN, 1, BATCH, 10),
    }
    for rank, draws in enumerate(ranks):
        rows = split(BATCH, rank, world_size)
        assert torch.equal(draws.normal("n", SEEN, 1, (BATCH, Z)), wholes["normal"][rows])
        assert torch.equal(draws.normal("n", SEEN, 1, (BATCH, 3, 19, 19)), wholes["noise of images"][rows])
        assert torch.equal(draws.uniform("u", SEEN, 1, (BATCH,)), wholes["uniform"][rows])
        mine = draws.numbers("y", SEEN, 1, BATCH, 10)
        assert torch.equal(mine, wholes["labels"][rows])
        assert torch.equal(draws.fixed_normal("samples", (4, Z)), one.fixed_normal("samples", (4, Z)))
    taken = sorted(row for rank in range(world_size) for row in range(BATCH)[split(BATCH, rank, world_size)])
    assert taken == list(range(BATCH))


def test_draws_do_not_depend_on_what_was_drawn_before() -> None:
    draws, other = Draws(0, CPU), Draws(0, CPU)
    first = draws.normal("z", torch.tensor(0), 0, (BATCH, Z))
    torch.randn(3)
    np.random.default_rng(0).normal()
    other.numbers("y", torch.tensor(0), 0, BATCH, 3)
    other.normal("z", torch.tensor(99), 0, (BATCH, Z))
    assert torch.equal(other.normal("z", torch.tensor(0), 0, (BATCH, Z)), first)
    assert torch.equal(draws.normal("z", torch.tensor(0), 0, (BATCH, Z)), first)


def test_draws_leave_torch_and_numpy_alone() -> None:
    before = torch.get_rng_state()
    Draws(0, CPU).normal("z", torch.tensor(0), 0, (BATCH, Z))
    assert torch.equal(torch.get_rng_state(), before)


def test_distributions() -> None:
    draws = Draws(0, CPU)
    z = draws.normal("z", torch.tensor(0), 0, (20_000, 5))
    assert z.dtype == torch.float32
    assert abs(float(z.mean())) < 0.015  # five standard errors
    assert abs(float(z.std()) - 1) < 0.015
    assert abs(float(z.pow(4).mean()) - 3) < 0.2
    assert 3.5 < float(z.max()) < 5.8
    assert -5.8 < float(z.min()) < -3.5
    within = (z[:, :, None].abs() < torch.tensor([0.5, 1, 2])).double().mean((0, 1))
    assert torch.allclose(within, torch.tensor([0.3829, 0.6827, 0.9545]).double(), atol=0.006)
    # Of two numbers that come of one pair neither says anything of the other.
    assert float((torch.corrcoef(z.T) - torch.eye(5)).abs().max()) < 0.03
    assert float((torch.corrcoef(z.T.square()) - torch.eye(5)).abs().max()) < 0.03
    u = draws.uniform("u", torch.tensor(0), 0, (100_000,))
    assert u.dtype == torch.float32
    assert 0 <= float(u.min()) < 0.001
    assert 0.999 < float(u.max()) < 1
    assert abs(float(u.mean()) - 0.5) < 0.005
    y = draws.numbers("y", torch.tensor(0), 0, 100_000, 10)
    assert y.dtype == torch.int64
    counts = torch.bincount(y)
    assert len(counts) == 10
    assert float((counts - 10_000).abs().max()) < 500


def test_noise_of_one_rank_is_uncorrelated_from_batch_to_batch() -> None:
    draws = Draws(0, CPU)
    batches = torch.stack(
        [draws.normal("z", torch.tensor(seen), 0, (64, 16)).flatten() for seen in range(0, 64 * 20, 64)]
    )
    correlations = torch.corrcoef(batches) - torch.eye(20)
    assert float(correlations.abs().max()) < 0.18  # 1024 numbers each: 0.03 is one standard error
