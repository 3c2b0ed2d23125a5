"""Generate files from the declared metrics, alerts and dashboard: `python -m cluster.monitoring` writes them."""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from cluster.alerts import groups
from cluster.dashboard import dashboard
from gandist.monitoring.metrics import METRICS, SWEEP_METRICS, Metric

ROOT = Path(__file__).resolve().parent.parent
MADE = "# Made by `python -m cluster.monitoring`; do not edit.\n"
NAMESPACE = "gandist"
RELEASE = "kube-prometheus-stack"
"""Helm's release name of the Prometheus operator: its Prometheus takes the rules with this label."""


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block, and indents lists."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)


def rules(speed: float = 1.0) -> str:
    """Prometheus's rule file; `speed`: factor that shortens its durations, for tests."""
    return MADE + _yaml(groups(speed))


def prometheus_rule() -> str:
    metadata = {"name": "gandist", "namespace": NAMESPACE, "labels": {"release": RELEASE}}
    kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": metadata, "spec": groups()}
    return (
        f"{MADE}# Needs the Prometheus operator. Its Prometheus takes rules by a label: the name of the Helm\n"
        "# release, unless it was told otherwise (`kubectl get prometheus -A -o yaml`: ruleSelector). Where the\n"
        f"# release is not called {RELEASE}, change the label.\n{_yaml(kind)}"
    )


def dashboard_json() -> str:
    return json.dumps(dashboard(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def config_map() -> str:
    metadata = {"name": "gandist-dashboard", "namespace": NAMESPACE, "labels": {"grafana_dashboard": "1"}}
    kind = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"gandist.json": dashboard_json()}}
    return (
        f"{MADE}# Grafana's sidecar of kube-prometheus-stack loads the ConfigMaps that bear this label,\n"
        f"# of all namespaces where grafana.sidecar.dashboards.searchNamespace is ALL.\n{_yaml(kind)}"
    )


def table() -> str:
    """The table of metrics in docs/monitoring.md."""

    def line(metric: Metric, labels: str) -> str:
        own = metric.label or (metric.name if metric.kind == "enum" else "")
        values = f" `{own}`: {', '.join(f'`{value}`' for value in metric.values)}." if own else ""
        return f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.help}{values} |"

    lines = ["| metric | kind | unit | labels | |", "|---|---|---|---|---|"]
    lines += [line(metric, "run, rank") for metric in METRICS]
    lines += [line(metric, "sweep") for metric in SWEEP_METRICS]
    return "\n".join(lines) + "\n"


def page() -> str:
    """docs/monitoring.md with the table of metrics inserted."""
    text = (ROOT / "docs/monitoring.md").read_text()
    begin, end = "<!-- metrics -->\n", "<!-- end of metrics -->"
    return re.sub(f"(?s){begin}.*?{end}", lambda match: f"{begin}{table()}{end}", text)


FILES = {
    "cluster/prometheus/rules.yml": rules,
    "cluster/grafana/gandist.json": dashboard_json,
    "k8s/monitoring/prometheusrule.yaml": prometheus_rule,
    "k8s/monitoring/dashboard.yaml": config_map,
    "docs/monitoring.md": page,
}


def main() -> None:
    for name, make in FILES.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make())


if __name__ == "__main__":
    main()
