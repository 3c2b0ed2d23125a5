"""The Grafana dashboard of runs and sweeps: exactly the metrics that `gandist.monitoring.metrics` declares.

A panel takes its unit and its description from the metrics in its queries.
"""

from typing import NamedTuple, TypeVar

from grafana_foundation_sdk.builders.common import ReduceDataOptions, ScaleDistributionConfig, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Graph
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
)

from cluster.promql import GPU_METRICS, gpu_metrics_in, metrics_in, promql
from gandist.monitoring.metrics import METRICS, PHASES, SWEEP_METRICS

HELP = {metric.name: metric.help for metric in (*METRICS, *SWEEP_METRICS)}
UNITS = {metric.name: metric.unit for metric in (*METRICS, *SWEEP_METRICS)}
GRAFANA_UNITS = {"seconds": "s", "bytes": "bytes", "images": "short"}
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
P = TypeVar("P", Stat, Graph)
SPAN, HEIGHT = 8, 8
"""Size of a graph on Grafana's grid of 24 columns."""


class Panel(NamedTuple):
    title: str
    queries: dict[str, str]
    """Query by legend; `{R}` stands for a selection of the chosen runs, `{S}` of the chosen sweeps."""
    unit: str = ""
    """Grafana's unit; if empty, that of the metrics."""
    stat: str = ""
    """For a panel with a single figure: show the `value` or the `name` of the series. Empty for a graph."""
    log: bool = False

    @property
    def expressions(self) -> dict[str, str]:
        selected = (
            (legend, query.replace("{R", '{run=~"$run"').replace("{S", '{sweep=~"$sweep"'))
            for legend, query in self.queries.items()
        )
        return {legend: promql(query) for legend, query in selected}

    @property
    def metrics(self) -> list[str]:
        """Metrics in its queries, in the order of their declaration."""
        named = set().union(*map(metrics_in, self.expressions.values()))
        return [name for name in HELP if name in named]


def _share(numerator: str, denominator: str, by: str) -> str:
    parts = (f"sum by ({by}) (rate({name}_sum{{R}}[$__rate_interval]))" for name in (numerator, denominator))
    return " / ".join(parts)


def _quantile(q: float, metric: str) -> str:
    return f"histogram_quantile({q}, sum by (run, le) (rate({metric}_bucket{{R}}[$__rate_interval])))"


def _mean(metric: str, by: str) -> str:
    """Mean of a histogram's observations since the process started: some are too few for a rate."""
    return f"sum by ({by}) ({metric}_sum{{R}}) / sum by ({by}) ({metric}_count{{R}})"


GPU = "{{Hostname}} {{gpu}}"
"""Legend of what dcgm-exporter says of the GPUs of all machines, whatever runs there."""
ROWS = {
    "Overview": (
        Panel("Images seen", {"{{run}}": "max by (run) (gandist_images_seen{R})"}, stat="value"),
        Panel(
            "Progress",
            {"{{run}}": "max by (run) (gandist_images_seen{R}) / max by (run) (gandist_goal_images{R})"},
            unit="percentunit",
            stat="value",
        ),
        Panel("Images per second", {"{{run}}": "max by (run) (gandist_images_per_second{R})"}, stat="value"),
        Panel(
            "Verdict",
            {"{{run}}: {{gandist_verdict}}": "max by (run, gandist_verdict) (gandist_verdict{R}) == 1"},
            stat="name",
        ),
        Panel(
            "Phase",
            {"{{run}}: {{gandist_phase}}": "max by (run, gandist_phase) (gandist_phase{R}) == 1"},
            stat="name",
        ),
        Panel("Ranks", {"{{run}}": "max by (run) (gandist_world_size{R})"}, stat="value"),
        Panel("Restarts", {"{{run}}": "max by (run) (gandist_restarts_total{R})"}, stat="value"),
        Panel(
            "Age of the checkpoint",
            {"{{run}}": "time() - max by (run) (gandist_checkpoint_timestamp_seconds{R})"},
            stat="value",
        ),
    ),
    "Game": (
        Panel("Losses", {"{{run}} {{player}}": "max by (run, player) (gandist_loss{R})"}),
        Panel(
            "Scores",
            {
                "{{run}} real": "max by (run) (gandist_score_real{R})",
                "{{run}} fake": "max by (run) (gandist_score_fake{R})",
            },
        ),
        Panel("Gradient norms", {"{{run}} {{player}}": "max by (run, player) (gandist_gradient_norm{R})"}, log=True),
        Panel("Signs of health", {"{{run}} {{signal}}": "max by (run, signal) (gandist_signal{R})"}),
        Panel(
            "Overfitting of D",
            {
                "{{run}} mean sign of real scores": "max by (run) (gandist_sign_real{R})",
                "{{run}} p of augmentation": "max by (run) (gandist_augment_p{R})",
            },
        ),
        Panel("Learning rates", {"{{run}} {{player}}": "max by (run, player) (gandist_learning_rate{R})"}, log=True),
        Panel(
            "Skipped updates and roll-backs",
            {
                "{{run}} {{player}} skipped": "max by (run, player) (gandist_skipped_steps_total{R})",
                "{{run}} roll-backs": "max by (run) (gandist_rollbacks_total{R})",
            },
        ),
    ),
    "Quality": (
        Panel(
            "Distances",
            {"{{run}} {{measure}}": 'max by (run, measure) (gandist_quality{R, measure=~"fid|fa?d-.+|kid|kid_se"})'},
            log=True,
        ),
        Panel(
            "Fidelity and variety",
            {
                "{{run}} {{measure}}": "max by (run, measure) "
                '(gandist_quality{R, measure=~"precision|recall|density|coverage|memorisation|recognised"})'
            },
        ),
        Panel(
            "Outputs beside their targets",
            {
                "{{run}} {{measure}}": "max by (run, measure) "
                '(gandist_quality{R, measure=~"psnr|ssim|ssim_hole|pd-.+|l1|l1_hole|mel_l1|stft|stoi|variety"})'
            },
            log=True,
        ),
        Panel(
            "Other measures", {"{{run}} {{measure}}": 'max by (run, measure) (gandist_quality{R, measure=~"is|ppl"})'}
        ),
        Panel("Duration of an evaluation", {"{{run}}": "max by (run) (gandist_evaluation_seconds{R})"}),
    ),
    "Time": (
        Panel(
            "Images per second, by their count",
            {"{{run}}": "sum by (run) (rate(gandist_images_total{R}[$__rate_interval]))"},
        ),
        Panel(
            "Steps", {f"{{{{run}}}} {q:.0%}": _quantile(q, "gandist_step_seconds") for q in (0.5, 0.9, 0.99)}, log=True
        ),
        Panel(
            "Share of waiting for data",
            {"{{run}}": _share("gandist_data_wait_seconds", "gandist_step_seconds", "run")},
            unit="percentunit",
        ),
        Panel("Steps per second", {"{{run}}": "max by (run) (rate(gandist_steps_total{R}[$__rate_interval]))"}),
        Panel(
            "Checkpoints",
            {
                "{{run}} written in": _mean("gandist_checkpoint_write_seconds", "run"),
                "{{run}} standing still": _mean("gandist_checkpoint_stall_seconds", "run"),
            },
        ),
        Panel("Size of a checkpoint", {"{{run}}": "max by (run) (gandist_checkpoint_size_bytes{R})"}),
    ),
    "Ranks": (
        Panel(
            "Share of waiting for data, by rank",
            {"{{run}} {{rank}}": _share("gandist_data_wait_seconds", "gandist_step_seconds", "run, rank")},
            unit="percentunit",
        ),
        Panel(
            "Mean step, by rank",
            {
                "{{run}} {{rank}}": "sum by (run, rank) (rate(gandist_step_seconds_sum{R}[$__rate_interval]))"
                " / sum by (run, rank) (rate(gandist_step_seconds_count{R}[$__rate_interval]))"
            },
        ),
        Panel(
            "Since the last step, by rank",
            {"{{run}} {{rank}}": "time() - max by (run, rank) (gandist_step_timestamp_seconds{R})"},
        ),
        Panel(
            "Since the process started, by rank",
            {"{{run}} {{rank}}": "time() - max by (run, rank) (gandist_start_timestamp_seconds{R})"},
        ),
        Panel(
            "Phase, by rank",
            {
                f"{{{{run}}}} {{{{rank}}}} {phase}": f'max by (run, rank) (gandist_phase{{R, gandist_phase="{phase}"}})'
                for phase in PHASES
            },
        ),
        Panel(
            "Damaged samples, by rank", {"{{run}} {{rank}}": "sum by (run, rank) (gandist_damaged_samples_total{R})"}
        ),
    ),
    "Memory": (
        Panel(
            "Memory of the device, by rank",
            {
                "{{run}} {{rank}} in use": "max by (run, rank) (gandist_device_memory_used_bytes{R})",
                "{{run}} {{rank}} there is": "max by (run, rank) (gandist_device_memory_limit_bytes{R})",
            },
        ),
        Panel(
            "Most that tensors took, by rank",
            {"{{run}} {{rank}}": "max by (run, rank) (gandist_device_memory_bytes{R})"},
        ),
    ),
    "GPUs": (
        Panel("Utilisation", {GPU: "max by (Hostname, gpu) (DCGM_FI_DEV_GPU_UTIL)"}, unit="percent"),
        Panel("Memory in use", {GPU: "max by (Hostname, gpu) (DCGM_FI_DEV_FB_USED)"}, unit="mbytes"),
        Panel("Power", {GPU: "max by (Hostname, gpu) (DCGM_FI_DEV_POWER_USAGE)"}, unit="watt"),
        Panel("Temperature", {GPU: "max by (Hostname, gpu) (DCGM_FI_DEV_GPU_TEMP)"}, unit="celsius"),
    ),
    "Sweeps": (
        Panel("Trials", {"{{sweep}} {{state}}": "max by (sweep, state) (gandist_trials{S})"}),
        Panel("Images of all trials", {"{{sweep}}": "max by (sweep) (gandist_sweep_images{S})"}),
        Panel("Best trial", {"{{sweep}}": "max by (sweep) (gandist_sweep_best{S})"}),
    ),
}  # fmt: skip

MARKS = {
    # Within the first minute of each process: Grafana queries once a minute.
    "Starts": ("blue", "time() - max by (run) (gandist_start_timestamp_seconds{R}) < 1m"),
    "Roll-backs": ("red", "max by (run) (increase(gandist_rollbacks_total{R}[1m])) > 0"),
}
"""Marks shown in all graphs."""


def panels() -> list[Panel]:
    return [panel for row in ROWS.values() for panel in row]


def marks() -> dict[str, tuple[str, str]]:
    """Colour and query of each mark."""
    return {name: (colour, promql(query.replace("{R", '{run=~"$run"'))) for name, (colour, query) in MARKS.items()}


def dashboard() -> model.Dashboard:
    built = (
        Dashboard("gandist")
        .uid("gandist")
        .description("Runs and sweeps of gandist. Generated by `python -m cluster.monitoring`; do not edit.")
        .tags(["gandist"])
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_variable("run", "gandist_images_seen"))
        .with_variable(_variable("sweep", "gandist_trials"))
    )
    for name, (colour, query) in marks().items():
        built.annotation(AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(colour).expr(query))
    number = 0
    for title, row in ROWS.items():
        number += 1
        built.with_row(Row(title).id(number))
        for panel in row:
            number += 1
            built.with_panel((_stat if panel.stat else _graph)(panel).id(number))
    return built.build()


def _variable(name: str, metric: str) -> QueryVariable:
    promql(metric)
    return (
        QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({metric}, {name})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )


def _filled(built: P, panel: Panel) -> P:
    units = {UNITS[name] for name in panel.metrics}
    unit = panel.unit or (GRAFANA_UNITS.get(units.pop(), "") if len(units) == 1 else "")
    of_gpus = sorted(set().union(*map(gpu_metrics_in, panel.expressions.values())))
    meanings = {name: HELP[name] for name in panel.metrics} | {name: GPU_METRICS[name] for name in of_gpus}
    built.title(panel.title).datasource(SOURCE).description(
        "\n\n".join(f"`{name}`: {meaning}" for name, meaning in meanings.items())
    )
    if unit or not panel.stat:
        built.unit(unit or "short")
    for number, (legend, query) in enumerate(panel.expressions.items()):
        target = Dataquery().expr(query).legend_format(legend).ref_id(chr(ord("A") + number))
        # A name that a run had earlier in the window is a series too.
        built.with_target(target.instant() if panel.stat == "name" else target.range())
    return built


def _stat(panel: Panel) -> Stat:
    built = _filled(Stat(), panel).span(3).height(4)
    return (
        built.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.NONE)
        .text_mode(BigValueTextMode.NAME if panel.stat == "name" else BigValueTextMode.AUTO)
        .thresholds(ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps([model.Threshold(color="green")]))
    )


def _graph(panel: Panel) -> Graph:
    built = _filled(Graph(), panel).span(SPAN).height(HEIGHT)
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    built.legend(legend.show_legend(True).calcs([])).fill_opacity(0).line_width(1)
    if panel.log:
        built.scale_distribution(ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10))
    return built
