"""Numbers that change during a run."""

from itertools import pairwise

import pytest

from gandist.config.schedule import Ramp, due, ema_beta, images_of, peak, value_at


def test_a_number_stays() -> None:
    assert [value_at(2e-4, seen) for seen in (0, 1000, 10**9)] == [2e-4] * 3
    assert peak(2e-4) == 2e-4


@pytest.mark.parametrize(("shape", "quarter"), [("linear", 0.75), ("cosine", 0.8535533905932737)])
def test_a_ramp_starts_passes_the_middle_and_stays_at_its_end(shape: str, quarter: float) -> None:
    ramp = Ramp.model_validate({"start": 1.0, "end": 0.0, "over_kimg": 8, "shape": shape})
    assert value_at(ramp, 0) == 1.0
    assert value_at(ramp, 2000) == pytest.approx(quarter)
    assert value_at(ramp, 4000) == pytest.approx(0.5)
    assert [value_at(ramp, seen) for seen in (8000, 8001, 10**9)] == pytest.approx([0.0] * 3)
    values = [value_at(ramp, seen) for seen in range(0, 9000, 100)]
    assert values == sorted(values, reverse=True)


def test_a_step_is_taken_at_once() -> None:
    step = Ramp(start=0.25, end=1.0, over_kimg=8, shape="step")
    assert [value_at(step, seen) for seen in (0, 4000, 7999)] == [0.25] * 3
    assert [value_at(step, seen) for seen in (8000, 8001, 10**9)] == [1.0] * 3


def test_a_cosine_is_flat_at_both_ends() -> None:
    ramp = Ramp(start=0.0, end=1.0, over_kimg=1)
    assert value_at(ramp, 10) < 0.001
    assert 1 - value_at(ramp, 990) < 0.001


@pytest.mark.parametrize(("start", "end"), [(1.0, 3.0), (3.0, 1.0)])
def test_peak(start: float, end: float) -> None:
    assert peak(Ramp(start=start, end=end, over_kimg=1)) == 3.0


def test_an_average_halves_in_its_half_life_whatever_the_batch() -> None:
    for batch in (10, 50, 250):
        kept = ema_beta(2.0, batch) ** (2000 / batch)
        assert kept == pytest.approx(0.5)
    assert ema_beta(0.0, 64) == 0.0


@pytest.mark.parametrize(("seen", "half_life_kimg"), [(1000, 0.05), (40_000, 2.0), (200_000, 10.0), (10**9, 10.0)])
def test_early_in_a_run_an_average_forgets_sooner(seen: int, half_life_kimg: float) -> None:
    """The half-life is a twentieth of the images seen, until it is its own."""
    assert ema_beta(10.0, 64, seen, rampup=0.05) == pytest.approx(0.5 ** (64 / (half_life_kimg * 1000)))


def test_an_average_that_ramps_up_begins_with_the_newest_and_keeps_more_and_more() -> None:
    betas = [ema_beta(10.0, 64, seen, rampup=0.05) for seen in range(0, 300_000, 640)]
    assert betas[0] == 0
    assert betas == sorted(betas)
    assert betas[-1] == ema_beta(10.0, 64) == ema_beta(10.0, 64, 0, rampup=None)


def test_a_ramp_up_lengthens_no_half_life() -> None:
    assert ema_beta(0.0, 64, 10**6, rampup=0.05) == 0
    assert ema_beta(1.0, 64, 10**6, rampup=1.0) == ema_beta(1.0, 64)


def test_lengths_in_images() -> None:
    assert [images_of(kimg) for kimg in (1, 0.12, 0.0001, 2.5)] == [1000, 120, 1, 2500]


@pytest.mark.parametrize(("batch", "every_kimg"), [(64, 0.1), (64, 0.064), (64, 0.01), (7, 1.0), (128, 0.3)])
def test_an_event_comes_at_the_first_step_that_reaches_it(batch: int, every_kimg: float) -> None:
    every, seen = images_of(every_kimg), range(0, 100 * batch, batch)
    events = [after for before, after in pairwise(seen) if due(before, after, every_kimg)]
    # Each multiple's first step at or past it; several multiples within a step make one event.
    expected = sorted({-(-multiple // batch) * batch for multiple in range(every, seen[-1] + 1, every)})
    assert events == expected
