"""Charts of a population: which trials took over whose weights, and how the parameters changed."""

from collections import Counter

from gandist.cli.text import number
from gandist.report.axes import BOTTOM, HEIGHT, TOP, WIDTH, spelled
from gandist.tune.parameters import Parameter, parameters, said
from gandist.tune.plots import EDGE, LANE, NAMES, SMALL, WIDE, Axis, Plot, PlotShape, Standing, Text, cut, grid
from gandist.tune.trials import Findings


def lineage(findings: Findings) -> list[Plot]:
    """A lane per trial with arrows from donors of weights to receivers, and charts of the numbers' changes. Empty if no
    trial took over weights."""
    if not any(trial.lineage for trial in findings.trials):
        return []
    changing = [each for each in parameters(findings) if not each.categories and each.low < each.high]
    return [_lanes(findings), *(_steps(findings, each) for each in changing)]


def descent(findings: Findings) -> list[tuple[str, int, int]]:
    """The trials through which the best one's weights came: name, and first and last images seen; the latest first."""
    trial, found = findings.best(), []
    trials = {each.name: each for each in findings.trials}
    until = trial.images_seen if trial else 0
    before = until + 1
    while trial is not None:
        taken = next((each for each in reversed(trial.lineage) if each.images_seen < before), None)
        found.append((trial.name, taken.images_seen if taken else 0, until))
        trial = trials.get(taken.donor) if taken else None
        until = before = taken.images_seen if taken else 0  # goes back in time
    return found


def _lanes(findings: Findings) -> Plot:
    stand = Standing(findings)
    lanes = [trial.name for trial in stand.worst_first[::-1]]
    height = TOP + LANE * len(lanes) + BOTTOM
    x = Axis([0.0, findings.total_images / 1000], NAMES, WIDE - EDGE, False)
    y = {name: TOP + LANE * (i + 0.5) for i, name in enumerate(lanes)}
    texts = [Text(x.at(value), height - 6, "x", text) for value, text in spelled(x.ticks)]
    texts += [Text(NAMES - 8, at + 4, "y", cut(name)) for name, at in y.items()]
    through = descent(findings)
    way = [f"M{x.at(start / 1000):.1f} {y[name]}H{x.at(end / 1000):.1f}" for name, start, end in through]
    shapes = [PlotShape("".join(way), "descent", "", "the way of the best trial's weights")] if way else []
    for trial in stand.worst_first:
        d = f"M{x.start} {y[trial.name]}L{x.at(trial.images_seen / 1000):.1f} {y[trial.name]}"
        shapes.append(stand.shape(d, "line", trial, f"trial {trial.name}"))
    moments: Counter[int] = Counter()
    for trial in findings.trials:
        for taken in trial.lineage:
            if taken.donor not in y:
                continue
            beside = 7 * moments[taken.images_seen]  # arrows of one moment stand side by side
            moments[taken.images_seen] += 1
            at, low, high = x.at(taken.images_seen / 1000) + beside, y[taken.donor], y[trial.name]
            tip = 6 if low < high else -6
            d = f"M{at:.1f} {low}V{high}M{at - 4:.1f} {high - tip}L{at:.1f} {high}L{at + 4:.1f} {high - tip}"
            values = ", ".join(f"{path} {said(value)}" for path, value in taken.params.items())
            label = f"{trial.name} takes the weights of {taken.donor} at {taken.images_seen / 1000:g} kimg: {values}"
            shapes.append(PlotShape(d, "arrow", trial.name, label))
    note = "an arrow goes from the trial whose weights were taken to the one that went on with them; broad: the way of "
    summary = f"{sum(moments.values())} times; the best came by " + " from ".join(name for name, _, _ in through)
    return Plot("Who took whose weights", f"{note}the best; across: kimg", summary, WIDE, height, [], shapes, texts)


def _steps(findings: Findings, parameter: Parameter) -> Plot:
    stand, (across, upwards) = Standing(findings), SMALL
    x, y = Axis([0.0, findings.total_images / 1000], *across, False), Axis.of(parameter, *upwards)
    (rules, texts), shapes = grid(x, y), []
    for trial in stand.worst_first:
        # The value before a trial's first takeover is not recorded.
        changes = [(taken.images_seen, parameter.place(taken.params)) for taken in trial.lineage]
        known = [(seen, place) for seen, place in changes or [(0, parameter.place(trial.params))] if place is not None]
        if known:
            ends = [*(seen for seen, _ in known[1:]), max(trial.images_seen, known[-1][0])]
            parts = [
                f"{x.at(seen / 1000):.1f} {y.at(place):.1f}L{x.at(end / 1000):.1f} {y.at(place):.1f}"
                for (seen, place), end in zip(known, ends, strict=True)
            ]
            label = f"trial {trial.name}: " + ", ".join(f"{number(v, 4)} from {s / 1000:g} kimg" for s, v in known)
            shapes.append(stand.shape("M" + "L".join(parts), "line", trial, label))
    note = "against kimg; of a trial that took over another's from there on"
    return Plot(parameter.path, note, "as it changed", WIDTH, HEIGHT, rules, shapes, texts)
