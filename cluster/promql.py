"""PromQL over exactly the metrics that `gandist.monitoring.metrics` declares, and NVIDIA's own of GPUs."""

import re

from gandist.monitoring.metrics import METRICS, SWEEP_METRICS, Metric

GPU_METRICS = {
    "DCGM_FI_DEV_GPU_UTIL": "Share of the time in which a kernel ran, in percent; of the whole GPU, whoever uses it.",
    "DCGM_FI_DEV_FB_USED": "Memory of the GPU in use, in MiB.",
    "DCGM_FI_DEV_POWER_USAGE": "Power that the GPU draws, in watts.",
    "DCGM_FI_DEV_GPU_TEMP": "Temperature of the GPU, in degrees Celsius.",
}
"""Of dcgm-exporter, by the names of its default list, with labels `Hostname` and `gpu` among others."""
GPU_LABELS = {"Hostname", "gpu"}
_GPU_METRIC = re.compile(r"\bDCGM_\w+")
_SELECTOR = re.compile(r"\b(gandist_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_BY = re.compile(r"\bby \(([^)]*)\)")
_DURATION = re.compile(r"(?<![\w.$])(\d+)([smh])\b")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_BRACKETS = re.compile(r"\[[^\]]*\]")


def promql(text: str, speed: float = 1.0) -> str:
    """`text` in Prometheus's syntax.

    Args:
        text: PromQL, in which a duration may also stand for a number of seconds: `time() - x > 10m`.
        speed: factor that shortens all durations.

    Raises:
        ValueError: the metric is not declared, or it has no such label or value.
    """
    for name, matchers in _SELECTOR.findall(_BY.sub("", text)):
        _check(name, matchers)
    if unknown := {*_GPU_METRIC.findall(text)} - GPU_METRICS.keys():
        raise ValueError(f"{', '.join(sorted(unknown))}: not among the metrics of GPUs")
    known = (
        GPU_LABELS
        if _GPU_METRIC.search(text)
        else {"run", "rank", "sweep", "le", *(metric.label or metric.name for metric in (*METRICS, *SWEEP_METRICS))}
    )
    for labels in _BY.findall(text):
        if unknown := {label.strip() for label in labels.split(",")} - known:
            raise ValueError(f"no metric has a label {', '.join(sorted(unknown))}: {text}")
    windows = [match.span() for match in _BRACKETS.finditer(text)]

    def translated(match: re.Match[str]) -> str:
        seconds = int(match[1]) * _SECONDS[match[2]] / speed
        if any(low < match.start() < high for low, high in windows):
            return match[0] if speed == 1 else f"{round(1000 * seconds)}ms"
        return f"{seconds:g}"

    return _DURATION.sub(translated, text)


def duration(text: str, speed: float = 1.0) -> str:
    """A duration such as `10m`, divided by `speed`."""
    return text if speed == 1 else promql(f"[{text}]", speed)[1:-1]


def metrics_in(expression: str) -> set[str]:
    """Names of the declared metrics in an expression."""
    return {_declared(name).name for name, _ in _SELECTOR.findall(_BY.sub("", expression))}


def gpu_metrics_in(expression: str) -> set[str]:
    """Names of the GPUs' metrics in an expression."""
    return {*_GPU_METRIC.findall(expression)}


def _declared(name: str) -> Metric:
    for metric in (*METRICS, *SWEEP_METRICS):
        parts = [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
        if name in (parts if metric.kind == "histogram" else [metric.name]):
            return metric
    raise ValueError(f"{name} is not a series of a metric that gandist/monitoring/metrics.py declares")


def _check(name: str, matchers: str) -> None:
    metric = _declared(name)
    own = metric.name if metric.kind == "enum" else metric.label
    labels = {"sweep"} if metric in SWEEP_METRICS else {"run", "rank"}
    labels |= {label for label in (own, "le" if name.endswith("_bucket") else "") if label}
    for label, operator, value in _MATCHER.findall(matchers):
        if label not in labels:
            raise ValueError(f"{name} has no label {label}")
        parts = value.split("|") if operator in ("=~", "!~") else [re.escape(value)]
        if label == own and not all(any(re.fullmatch(part, each) for each in metric.values) for part in parts):
            raise ValueError(f"{name} has no {label}={value!r}")
