"""Which figures the report draws, in which order, and the charts as HTML."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from html import escape
from typing import Any

from mmrl.contracts.heldout import ROWS, TRUNCATED
from mmrl.tracking.metrics import describe
from mmrl.tracking.report.intervals import wilson
from mmrl.tracking.report.plots import COLOURS, Frame, Point, Series, draw, number
from mmrl.tracking.report.starts import changes_of
from mmrl.tracking.run_files import Run

# What the charts of held-out accuracy leave to charts of their own.
LEFT = (TRUNCATED, "eval/loss", "eval/loss/*")


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        figures: by name or pattern, in order, without those of `besides`.
        unit_range, least: see `make_scale`.
        each: one chart per figure.
        smooth: see `Series`.
    """

    title: str
    figures: tuple[str, ...]
    axis: str
    unit_range: bool = False
    each: bool = False
    besides: tuple[str, ...] = ()
    least: float = 0.0
    smooth: bool = True


SECTIONS: tuple[tuple[str, tuple[Chart, ...]], ...] = (
    (
        "Reward",
        (
            Chart("Mean reward", ("reward/mean",), "reward"),
            Chart("Accuracy of rollouts", ("accuracy/mean", "accuracy/*"), "share correct", unit_range=True),
            Chart("Spread of the reward", ("reward/std",), "standard deviation"),
            Chart("Reward parts", ("reward/*",), "mean of the part"),
            Chart("Groups", ("group/zero_advantage", "group/kept", "group/gated"), "share of groups", unit_range=True),
        ),
    ),
    (
        "Sampler",
        (
            Chart("Chance of each category", ("sampler/share/*",), "share", unit_range=True),
            Chart("Value of each category", ("sampler/value/*",), "mean absolute advantage"),
            Chart("Rows", ("sampler/seen", "sampler/resting", "sampler/estimate"), "share", unit_range=True),
            Chart("Error of the pass rates expected", ("sampler/error",), "share", unit_range=True),
            Chart("Stage of the curriculum", ("sampler/stage",), "stage", smooth=False),
        ),
    ),
    (
        "Held-out accuracy over training",
        (
            Chart("", ("eval/mean", "eval/*"), "accuracy", unit_range=True, each=True, besides=LEFT, smooth=False),
            Chart("Held-out loss", ("eval/loss", "eval/loss/*"), "nats per token", smooth=False),
            Chart("Held-out answers cut by the limit", (TRUNCATED,), "share of answers", unit_range=True, smooth=False),
        ),
    ),
    (
        "Episodes",
        (
            Chart("Success", ("episode/success*",), "share of episodes", unit_range=True),
            Chart("Return", ("episode/return",), "sum of rewards"),
            Chart("Episode length", ("episode/length",), "simulator steps"),
        ),
    ),
    (
        "Policy and answers",
        (
            Chart("Entropy", ("policy/entropy",), "nats per token"),
            Chart("KL to the reference", ("policy/kl_ref",), "nats per token"),
            Chart("Engine against trainer log-probs", ("gap/*",), "gap, nats"),
            Chart("Clipped units", ("policy/clip_*",), "share of units", least=0.01),
            Chart("Probability ratio", ("policy/ratio_*",), "ratio"),
            Chart("Answer length", ("length/mean", "length/max"), "tokens"),
            Chart("Cut by the length limit", ("length/truncated",), "share of answers", unit_range=True),
        ),
    ),
    (
        "Optimisation",
        (
            Chart("Loss", ("loss/total", "loss/*"), "loss"),
            Chart("Gradient norm before clipping", ("optim/grad_norm",), "norm"),
            Chart("Learning rate", ("optim/lr", "optim/lr_*"), "learning rate", smooth=False),
            Chart("Stream weights", ("stream/*_weight",), "weight in the loss", smooth=False),
            Chart("Units per stream", ("stream/*_units",), "units per step"),
        ),
    ),
    (
        "Speed and memory",
        (
            Chart("Tokens per second", ("throughput/tokens_per_s",), "tokens/s"),
            Chart("Samples per second", ("throughput/samples_per_s",), "samples/s"),
            Chart("Time of a step", ("time/step", "time/rollout", "time/update", "time/*"), "seconds"),
            Chart("Memory", ("memory/*",), "GB"),
        ),
    ),
    (
        "Videos",
        (
            Chart("Videos read", ("video/read", "video/read_ahead"), "videos"),
            Chart("Decoding, and waiting for frames", ("video/*_seconds",), "seconds"),
            Chart("Cache", ("video/cache_hits", "video/cache_misses", "video/cache_*"), "videos"),
        ),
    ),
)
OTHERS = 60
# What is drawn, told where it is.
LEGEND = (
    ('class="raw ', "Light lines are single steps, strong ones means over neighbouring steps of a stage."),
    ('class="bar ', "Bars are 95 % intervals (Wilson) over the held-out rows."),
)


def curves(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Point]]:
    """Points of every figure; a step logged twice keeps its last value."""
    values: dict[str, dict[int, float | None]] = {}
    for record in records:
        for name, value in record.items():
            numeric = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
            if name not in ("step", "stage", "time") and numeric:
                finite = value is not None and math.isfinite(value)
                values.setdefault(name, {})[record["step"]] = value if finite else None
    return {name: sorted(points.items()) for name, points in values.items()}


def render_charts(run: Run) -> str:
    """All charts as HTML sections; figures that no chart names come last, folded away."""
    points = curves(run.records)
    left = {
        name
        for name, values in points.items()
        if any(value is not None for _, value in values) and not name.startswith(ROWS)
    }
    steps = [record["step"] for record in run.records]
    frame = Frame(min(steps, default=0), max(steps, default=1), run.spans, changes_of(run))
    page = []
    for title, charts in SECTIONS:
        figures = []
        for chart in charts:
            names = _take(chart.figures, left, chart.besides)
            batches = [[name] for name in names] if chart.each else _batches(names)
            figures += [_figure(chart, batch, points, frame) for batch in batches]
        if figures:
            page.append(f'<section><h2>{escape(title)}</h2><div class="charts">{"".join(figures)}</div></section>')
    page.insert(0, _legend(page))
    others = [
        _figure(Chart("", (name,), unit, unit == "share", each=True), [name], points, frame)
        for name, unit in ((name, _unit(name)) for name in sorted(left)[:OTHERS])
    ]
    if others:
        page.append(
            f"<section><details><summary><h2>Other figures ({len(left)})</h2></summary>"
            f'<div class="charts">{"".join(others)}</div></details></section>'
        )
    return "".join(page)


def render_comparison(runs: Mapping[str, Run]) -> str:
    """A chart per figure that several runs have, with a curve per run; what a run lacks is left out.

    Args:
        runs: by the labels of their curves, at most six.
    """
    points = {label: curves(run.records) for label, run in runs.items()}
    counts = Counter(name for values in points.values() for name in values)
    left = {name for name, count in counts.items() if count > 1}
    steps = [record["step"] for run in runs.values() for record in run.records]
    frame = Frame(min(steps, default=0), max(steps, default=1))
    page = []
    for title, charts in SECTIONS:
        figures = []
        for chart in charts:
            for name in _take(chart.figures, left, chart.besides):
                series = [
                    _series(name, label, values, chart.smooth) for label, values in points.items() if name in values
                ]
                figures.append(_draw_figure(name, chart, series, frame))
        if figures:
            page.append(f'<section><h2>{escape(title)}</h2><div class="charts">{"".join(figures)}</div></section>')
    return _legend(page) + "".join(page)


def _legend(page: Sequence[str]) -> str:
    """What is drawn in a page's charts besides their curves, told once."""
    words = [words for sign, words in LEGEND if any(sign in part for part in page)]
    return f'<p class="muted reading">{" ".join(words)}</p>' if words else ""


def _take(patterns: Sequence[str], left: set[str], besides: Sequence[str]) -> list[str]:
    names: list[str] = []
    open_to_it = {name for name in left if not any(fnmatchcase(name, pattern) for pattern in besides)}
    for pattern in patterns:
        names += sorted(name for name in open_to_it if fnmatchcase(name, pattern) and name not in names)
    left.difference_update(names)
    return names


def _batches(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + COLOURS] for start in range(0, len(names), COLOURS)]


def _unit(name: str) -> str:
    try:
        unit = describe(name).unit
    except LookupError:
        return "value"
    return "value" if unit == "1" else unit


def _figure(chart: Chart, names: Sequence[str], points: Mapping[str, list[Point]], frame: Frame) -> str:
    title = chart.title if not chart.each else names[0].removeprefix("eval/")
    return _draw_figure(title, chart, [_series(name, _label(name), points, chart.smooth) for name in names], frame)


def _series(name: str, label: str, points: Mapping[str, list[Point]], smooth: bool) -> Series:
    """A figure's curve; a held-out accuracy with the interval around each of its values."""
    rows = dict(points.get(f"{ROWS}{name.removeprefix('eval/')}", ())) if name.startswith("eval/") else {}
    intervals = {step: wilson(value, rows.get(step) or 0) for step, value in points[name] if value is not None}
    known = {step: interval for step, interval in intervals.items() if interval is not None}
    return Series(name, label, points[name], smooth, known)


def _draw_figure(title: str, chart: Chart, series: Sequence[Series], frame: Frame) -> str:
    single = len(series) == 1
    legend = "".join(
        f'<span class="key"><i class="swatch s{index}"></i>{escape(s.label)} <b>{number(_latest(s.points))}</b></span>'
        for index, s in enumerate(series, start=1)
    )
    latest = f'<b class="latest" title="last value">{number(_latest(series[0].points))}</b>' if single else ""
    gaps = sum(value is None for s in series for _, value in s.points)
    note = f'<p class="gap-note">{gaps} value{"s" if gaps > 1 else ""} not finite or not defined</p>' if gaps else ""
    name = series[0].name
    under = f'<code title="{escape(_meaning(name))}">{escape(name)}</code>' if single else legend
    svg = draw(series, frame, chart.axis, f"{title}: {chart.axis} by step", chart.unit_range, chart.least)
    return (
        f'<figure><figcaption><h3>{escape(title)}</h3>{latest}</figcaption><p class="keys">{under}</p>'
        f'{svg}<output class="tip" hidden></output>{note}</figure>'
    )


def _label(name: str) -> str:
    return name.partition("/")[2] or name


def _meaning(name: str) -> str:
    try:
        return describe(name).description
    except LookupError:
        return "not documented"


def _latest(points: Sequence[Point]) -> float | None:
    return next((value for _, value in reversed(points) if value is not None), None)
