"""Line charts as SVG text, drawn without a plotting library."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from mmrl.tracking.run_files import StageSpan

WIDTH, HEIGHT = 400, 232
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 36, 38
POINTS = 300
COLOURS = 6
# Points up to which each is marked and none is smoothed.
FEW = 24
# A smoothed point stands for its neighbours within this share of the curve.
SMOOTHING = 1 / 60
# Below, a figure is 0 and a relative difference none.
ZERO, ROUNDING = 1e-9, 1e-6

Point = tuple[int, float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """One curve.

    Attributes:
        points: (step, value) in step order; None leaves a gap.
        smooth: draw a smoothed curve over a light one of the values, where there are many.
        intervals: step -> (low, high) around the value there.
    """

    name: str
    label: str
    points: Sequence[Point]
    smooth: bool = False
    intervals: Mapping[int, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Frame:
    """What the charts of a page share: the step axis, the stages, and (step, what changed there, in words)."""

    first: int
    last: int
    spans: Sequence[StageSpan] = ()
    changes: Sequence[tuple[int, str]] = ()

    def x(self, step: float) -> float:
        """Pixels from the left edge."""
        share = (step - self.first) / max(1, self.last - self.first)
        return LEFT + share * (WIDTH - LEFT - RIGHT)


@dataclass(frozen=True, slots=True)
class Scale:
    """The value axis."""

    ticks: Sequence[float]

    def y(self, value: float) -> float:
        """Pixels from the top edge."""
        low, high = self.ticks[0], self.ticks[-1]
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def thin(points: Sequence[Point], limit: int = POINTS) -> list[Point]:
    """At most `limit` points: each the mean of its bucket at the bucket's last step."""
    if len(points) <= limit:
        return list(points)
    size = math.ceil(len(points) / limit)
    thinned = []
    for start in range(0, len(points), size):
        bucket = points[start : start + size]
        values = [value for _, value in bucket if value is not None]
        thinned.append((bucket[-1][0], sum(values) / len(values) if values else None))
    return thinned


def segments(points: Sequence[Point], breaks: Sequence[int] = ()) -> Iterator[list[tuple[int, float]]]:
    """Runs of points with values, cut at gaps and after the steps of `breaks`."""
    run: list[tuple[int, float]] = []
    for step, value in points:
        if run and (value is None or any(run[-1][0] <= at < step for at in breaks)):
            yield run
            run = []
        if value is not None:
            run.append((step, value))
    if run:
        yield run


def smoothed(points: Sequence[tuple[int, float]], width: float) -> list[tuple[int, float]]:
    """Each value as the mean of its neighbours, which weigh by a Gaussian of `width` points."""
    reach = math.ceil(3 * width)
    weights = [math.exp(-0.5 * (offset / width) ** 2) for offset in range(reach + 1)]
    means = []
    for index, (step, _) in enumerate(points):
        near = range(max(0, index - reach), min(len(points), index + reach + 1))
        total = sum(weights[abs(other - index)] for other in near)
        means.append((step, sum(weights[abs(other - index)] * points[other][1] for other in near) / total))
    return means


def make_scale(values: Sequence[float], unit_range: bool = False, least: float = 0.0) -> Scale:
    """Round ticks around `values`; 0 is kept in view when it is near.

    Values that differ, or differ from 0, by no more than rounding are drawn as equal.

    Args:
        unit_range: show all of [0, 1].
        least: values from 0 up have at least this range.
    """
    if unit_range and all(0 <= value <= 1 for value in values):
        return Scale((0.0, 0.25, 0.5, 0.75, 1.0))
    low, high = min(values), max(values)
    if max(abs(low), abs(high)) < ZERO:
        return Scale((0.0, 0.25, 0.5, 0.75, 1.0))
    if low >= 0:
        high = max(high, least)
    if low > 0 and low < 0.75 * high:
        low = 0.0
    elif high < 0 and high > 0.75 * low:
        high = 0.0
    if high - low <= ROUNDING * max(abs(high), abs(low)):
        margin = abs(high) * 0.1
        low, high = (0.0, high + margin) if high > 0 else (low - margin, high + margin)
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    bottom, top = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Scale([index * step for index in range(bottom, max(top, bottom + 1) + 1)])


def number(value: float | None) -> str:
    """Short and readable: `0.812`, `12.4`, `1.2k`, `3.0e-6`."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3:
        return f"{value:.1e}".replace("e-0", "e-")
    for limit, divisor, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if size >= limit:
            return f"{value / divisor:.3g}{letter}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 100 else f"{value:.3g}"


def _tick(value: float, step: float) -> str:
    if abs(value) < step / 1e6:
        value = 0.0
    if 1e-3 <= step < 1000 and abs(value) < 1e4:
        decimals = max(0, -math.floor(math.log10(step)))
        decimals += round(step * 10**decimals, 6) % 1 != 0
        return f"{value:.{decimals}f}"
    if step < 1e-3 and value:
        return f"{value:.1e}".replace("e-0", "e-")
    return number(value)


def draw(
    series: Sequence[Series], frame: Frame, axis: str, title: str, unit_range: bool = False, least: float = 0.0
) -> str:
    """One chart as an `<svg>`; empty text where no curve has a value.

    Args:
        series: at most six curves, told apart by colour classes s1 … s6.
        frame: step axis and stages.
        axis: label of the value axis, with its unit.
        title: for screen readers.
        unit_range, least: as of `make_scale`.
    """
    curves = [(s, thin(s.points)) for s in series]
    values = [value for _, points in curves for _, value in points if value is not None]
    if not values:
        return ""
    ends = [end for s in series for interval in s.intervals.values() for end in interval]
    scale = make_scale([*values, *ends], unit_range, least)
    body = [*_grid(scale, axis), *_steps(frame), *_stages(frame), *_changes(frame)]
    for index, (s, points) in enumerate(curves, start=1):
        body += _bars(s.intervals, frame, scale, index)
        body += _curve(points, frame, scale, index, s.smooth)
    body.append(f'<line class="cross" y1="{TOP}" y2="{HEIGHT - BOTTOM}" visibility="hidden"/>')
    data = {
        "frame": [frame.first, frame.last, LEFT, WIDTH - RIGHT],
        "series": [
            {
                "label": s.label,
                "x": [x for x, _ in points],
                "y": [_short(y) for _, y in points],
                **({"bars": {x: [_short(end) for end in ends] for x, ends in s.intervals.items()}} if ends else {}),
            }
            for s, points in curves
        ],
    }
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" aria-label="{escape(title)}" '
        f'data-chart="{escape(json.dumps(data, separators=(",", ":")))}">{"".join(body)}</svg>'
    )


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _grid(scale: Scale, axis: str) -> list[str]:
    step = scale.ticks[1] - scale.ticks[0]
    parts = [f'<text class="axis" x="2" y="12">{escape(axis)}</text>']
    for tick in scale.ticks:
        y = scale.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_tick(tick, step)}</text>')
    return parts


def _steps(frame: Frame) -> list[str]:
    width = max(1, frame.last - frame.first)
    size = max(1, next(f * p for p in (10**e for e in range(12)) for f in (1, 2, 5) if f * p >= width / 5))
    ticks = range(math.ceil(frame.first / size) * size, frame.last + 1, size)
    bottom = HEIGHT - BOTTOM
    parts = [
        f'<text class="tick" x="{frame.x(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick}</text>'
        for tick in ticks
    ]
    parts.append(f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">step</text>')
    return parts


def _stages(frame: Frame) -> list[str]:
    if len(frame.spans) < 2:
        return []
    parts = []
    for span in frame.spans:
        if span.start > frame.last or span.end <= frame.first:
            continue
        left, right = frame.x(max(span.start, frame.first)), frame.x(min(span.end, frame.last))
        if span.start > frame.first:
            parts.append(f'<line class="stage" x1="{left:.1f}" x2="{left:.1f}" y1="{TOP - 8}" y2="{HEIGHT - BOTTOM}"/>')
        room = int((right - left - 6) / 6)
        if room >= 2:
            name = span.name if len(span.name) <= room else span.name[: room - 1] + "…"
            parts.append(f'<text class="stage-name" x="{left + 4:.1f}" y="{TOP - 5}">{escape(name)}</text>')
    return parts


def _changes(frame: Frame) -> list[str]:
    parts = []
    for step, text in frame.changes:
        if frame.first <= step <= frame.last:
            x = f"{frame.x(step):.1f}"
            line = f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            parts.append(
                f'<g class="change">{line}<circle cx="{x}" cy="{TOP}" r="3"/><title>{escape(text)}</title></g>'
            )
    return parts


def _bars(intervals: Mapping[int, tuple[float, float]], frame: Frame, scale: Scale, index: int) -> list[str]:
    return [
        f'<line class="bar s{index}" x1="{frame.x(step):.1f}" x2="{frame.x(step):.1f}" y1="{scale.y(low):.1f}" '
        f'y2="{scale.y(high):.1f}"/>'
        for step, (low, high) in intervals.items()
    ]


def _curve(points: Sequence[Point], frame: Frame, scale: Scale, index: int, smooth: bool) -> list[str]:
    count = sum(value is not None for _, value in points)
    if count <= FEW:
        runs = [*segments(points)]
        marks = [
            f'<circle class="mark s{index}" cx="{frame.x(step):.1f}" cy="{scale.y(value):.1f}" r="2.6"/>'
            for run in runs
            for step, value in run
        ]
        return [_path(runs, frame, scale, f"curve s{index}"), *marks]
    if not smooth:
        return [_path([*segments(points)], frame, scale, f"curve s{index}")]
    # Stages differ in what they do: their figures are not averaged into each other.
    runs = [smoothed(run, max(1.0, count * SMOOTHING)) for run in segments(points, [span.end for span in frame.spans])]
    return [
        _path([*segments(points)], frame, scale, f"raw s{index}"),
        _path(runs, frame, scale, f"curve s{index}"),
    ]


def _path(runs: Sequence[Sequence[tuple[int, float]]], frame: Frame, scale: Scale, kind: str) -> str:
    lines = ["L".join(f"{frame.x(step):.1f} {scale.y(value):.1f}" for step, value in run) for run in runs]
    return f'<path class="{kind}" d="{"".join(f"M{line}" for line in lines)}"/>'
