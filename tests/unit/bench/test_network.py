"""Predictions of a step over slow links are those by hand; measured ones meet them where there are namespaces."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gandist.bench import main
from gandist.bench.links import PAYLOAD, limited_links, payload
from gandist.bench.ranks import on_ranks
from gandist.bench.scaling import Machine
from gandist.bench.timeline import Timeline
from gandist.errors import ConfigError
from tests.helpers.train_on_ranks import tiny
from tests.helpers.watched_weights import watched_weights
from tests.unit.bench.test_step import records, tiny_file

TIMELINE = Timeline(1.0, [[(0.2, 10), (0.5, 10)], [(0.9, 10)]])


@pytest.mark.parametrize(("communication_s", "step_s"), [(0.0, 1.0), (0.1, 1.2), (0.3, 1.6), (0.4, 1.9), (10.0, 30.7)])
def test_an_update_waits_for_its_last_bucket(communication_s: float, step_s: float) -> None:
    """0.3 s: the second bucket is sent once it is ready, and the first has gone; 0.4 s: it waits for the first."""
    assert TIMELINE.step_with(lambda _: communication_s) == pytest.approx(step_s)


def test_what_can_overlap() -> None:
    assert TIMELINE.overlap == pytest.approx(0.3)
    assert TIMELINE.sizes == [10, 10, 10]


def test_a_tree_grows_with_the_logarithm() -> None:
    still = Machine(inside=1e30, between=1e30)
    assert still.tree_s(1, 0, 1) == 0
    assert still.tree_s(8, 0, 1) == pytest.approx(2 * 7 * still.inside_s)
    assert still.tree_s(512, 0, 2) - still.tree_s(64, 0, 2) == pytest.approx(2 * 2 * 3 * still.between_s)
    wide = Machine(inside_s=0, between_s=0)
    assert wide.tree_s(64, 1e9, 1) == pytest.approx(wide.communication_s(100_000, 1e9, 1), rel=1e-4)


def test_what_no_smaller_batch_shortens_limits_a_shared_batch() -> None:
    free = Machine(step_s=0.1, inside=1e30, between=1e30, inside_s=0, between_s=0)
    half = replace(free, fixed_s=0.05)
    assert half.efficiency(8, 1e6, 1) == 1
    assert 8 * half.efficiency(8, 1e6, 1, shared=True) == pytest.approx(0.1 / (0.05 + 0.05 / 8))


def test_links_are_roots(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for command in ("network", "averaging"):
        assert main([command]) == 2
        assert "need root" in capsys.readouterr().err


def test_links_carry_less_than_their_bits() -> None:
    assert payload(100) == pytest.approx(12.5e6 * PAYLOAD)
    assert 0.9 < PAYLOAD < 1


@pytest.mark.slow
def test_one_message_at_the_end_averages_what_buckets_do(tmp_path: Path) -> None:
    config = tiny(tmp_path, "watched", precision="fp32", launch__bucket_mib=0.001)
    at_once, at_the_end = on_ranks(watched_weights, config, 2, (["at once", "at the end"],))
    assert at_once == at_the_end
    assert len(at_once["buckets"]) > 2
    assert sum(last for _, last in at_once["buckets"]) == 2


@pytest.mark.slow
@pytest.mark.netns
def test_ranks_over_slow_links_take_as_long_as_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        with limited_links(1, 1):
            pass
    except ConfigError as error:
        pytest.skip(str(error))
    found = records(capsys, "network", "--config", tiny_file(tmp_path), "--ranks", "2", "--mbit", "1", "--steps", "1")
    by_what = {(each["what"], each["ranks"]): each for each in found}
    assert by_what["whole", 1]["ratio"] == 1
    for what in ("all-reduce", "slept"):
        assert 0.7 < by_what[what, 2]["ratio"] < 1.5
    assert by_what["slept", 2]["efficiency"] < 0.9
