"""The promise: a Prometheus beside a run finds its ranks by the run's own file, and sees what they do."""

import json
import signal
from pathlib import Path

import pytest

from gandist.metrics import METRICS
from gandist.resumption import run_root
from tests.prometheus import needs_prometheus, prometheus
from tests.worlds import tiny, torchrun


@needs_prometheus
@pytest.mark.slow
def test_a_run_of_two_ranks_is_scraped(tmp_path: Path) -> None:
    config = tiny(
        tmp_path,
        "scraped",
        telemetry__enabled=True,
        train__total_kimg=1000,
        train__tick_kimg=0.12,
        train__checkpoint_kimg=0.24,
        eval={"every_kimg": 1, "n": 60, "extractor": "classifier"},
    )
    root = Path(run_root(config))
    root.mkdir()
    (root / "config.yaml").write_text(config.model_dump_json())
    run = torchrun(2, "-m", "gandist.train", str(root / "config.yaml"))
    try:
        with prometheus(root / "prometheus.json", tmp_path / "prometheus") as api:
            api.wait_for('gandist_images_total{run="scraped"} > 0', n=2, timeout_s=60)
            api.wait_for("rate(gandist_images_total[5s]) > 0", n=2)
            api.wait_for("gandist_checkpoint_timestamp_seconds > 0")
            (quantile,) = {value for _, value in api.wait_for(
                "histogram_quantile(0.5, sum by (le) (rate(gandist_step_seconds_bucket[5s])))")}  # fmt: skip
            assert 0 < quantile < 10
            assert len(api.wait_for('gandist_loss{player="G"}', n=2)) == 2
            (total,) = (value for _, value in api.query("sum(gandist_images_total)"))
            (seen,) = (value for _, value in api.query("max(gandist_images_seen)"))
            assert abs(total - seen) < 10_000
            api.wait_for('gandist_quality{measure="fd-classifier"} > 0', n=2, timeout_s=60)
            unseen = [metric.name for metric in METRICS if not api.query(f'{{__name__=~"{metric.name}(_count)?"}}')]
            assert unseen == []
    finally:
        run.send_signal(signal.SIGTERM)
        run.wait(timeout=60)
    assert len(json.loads((root / "prometheus.json").read_text())[0]["targets"]) == 2
