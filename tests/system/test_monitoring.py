"""What is made of the declared metrics: files as they would be made now, a configuration that Prometheus takes, and a
dashboard that shows every metric."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.alerts import groups
from cluster.dashboard import Panel, marks, panels
from cluster.monitoring import FILES, ROOT
from cluster.promql import GPU_METRICS, gpu_metrics_in, promql
from gandist.monitoring.metrics import METRICS, SWEEP_METRICS
from tests.system.test_alerts import needs_promtool

DASHBOARD = json.loads((ROOT / "cluster/grafana/gandist.json").read_text())


@pytest.mark.parametrize("name", FILES)
def test_what_is_made_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text() == FILES[name](), "run `make docs`"


def test_the_cluster_gets_the_same_rules_and_dashboard() -> None:
    rule = yaml.safe_load((ROOT / "k8s/monitoring/prometheusrule.yaml").read_text())
    plain = yaml.safe_load((ROOT / "cluster/prometheus/rules.yml").read_text())
    assert rule["spec"] == plain == groups()
    shown = yaml.safe_load((ROOT / "k8s/monitoring/dashboard.yaml").read_text())
    assert json.loads(shown["data"]["gandist.json"]) == DASHBOARD
    assert rule["metadata"]["namespace"] == shown["metadata"]["namespace"] == "gandist"
    assert shown["metadata"]["labels"] == {"grafana_dashboard": "1"}


@needs_promtool
def test_prometheus_takes_configuration_and_rules(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "cluster/prometheus", tmp_path / "cluster/prometheus")
    for folder in (tmp_path / "runs", tmp_path / "sweeps"):
        folder.mkdir()
        (folder / "demo.prometheus.json").write_text('[{"targets": ["127.0.0.1:1"], "labels": {}}]')
    for arguments in (["config", "prometheus.yml"], ["rules", "rules.yml"]):
        done = subprocess.run(
            ["promtool", "check", *arguments], cwd=tmp_path / "cluster/prometheus", capture_output=True, text=True
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        # Of Ray's file it says that it does not exist where no Ray is running.
        assert not re.search(r"WARNING.*(demo|gandist)", said)


def test_every_metric_is_shown_and_every_panel_is_in_the_file() -> None:
    shown = {name for panel in panels() for name in panel.metrics}
    assert shown == {metric.name for metric in (*METRICS, *SWEEP_METRICS)}
    drawn = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert [panel["title"] for panel in drawn] == [panel.title for panel in panels()]
    for panel, declared in zip(drawn, panels(), strict=True):
        assert [target["expr"] for target in panel["targets"]] == list(declared.expressions.values())
        assert all(name in panel["description"] for name in declared.metrics)
    assert {mark["name"]: mark["expr"] for mark in DASHBOARD["annotations"]["list"]} == {
        name: query for name, (_, query) in marks().items()
    }


def test_gpus_are_shown_by_the_names_of_their_exporter() -> None:
    """Those of dcgm-exporter's default list; a name or a label that it has not is refused."""
    shown = {name for panel in panels() for query in panel.expressions.values() for name in gpu_metrics_in(query)}
    assert shown == GPU_METRICS.keys()
    (row,) = (panel for panel in DASHBOARD["panels"] if panel["type"] == "row" and panel["title"] == "GPUs")
    assert row["gridPos"]["w"] == 24
    for query in ("max by (gpu) (DCGM_FI_DEV_GPU_UTILITY)", "max by (host) (DCGM_FI_DEV_GPU_UTIL)"):
        with pytest.raises(ValueError, match=r"not among|no metric has"):
            promql(query)
    jobs = yaml.safe_load((ROOT / "cluster/prometheus/prometheus.yml").read_text())["scrape_configs"]
    (job,) = (each for each in jobs if each["job_name"] == "gpus")
    assert job["static_configs"] == [{"targets": []}], "none is down where no exporter runs"


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_a_panel_cannot_name_a_metric_that_does_not_exist() -> None:
    for query in ("gandist_images_sen{R}", "rate(gandist_step_seconds{R}[5m])", 'gandist_loss{R, player="E"}'):
        with pytest.raises(ValueError, match="gandist_"):
            _ = Panel("wrong", {"": query}).expressions
