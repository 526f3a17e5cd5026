"""Line charts as SVG text, drawn without a plotting library."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mmrl.tracking.run_files import StageSpan

WIDTH, HEIGHT = 400, 232
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 36, 38
POINTS = 300
COLOURS = 6


@dataclass(frozen=True, slots=True)
class Series:
    """One curve: (step, value) in step order; None leaves a gap."""

    name: str
    label: str
    points: Sequence[tuple[int, float | None]]


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


def thin(points: Sequence[tuple[int, float | None]], limit: int = POINTS) -> list[tuple[int, float | None]]:
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


def make_scale(values: Sequence[float], unit_range: bool = False) -> Scale:
    """Round ticks around `values`; 0 is kept in view when it is near, and [0, 1] whole for `unit_range`."""
    if unit_range and all(0 <= value <= 1 for value in values):
        return Scale((0.0, 0.25, 0.5, 0.75, 1.0))
    low, high = min(values), max(values)
    if low > 0 and low < 0.75 * high:
        low = 0.0
    elif high < 0 and high > 0.75 * low:
        high = 0.0
    if high - low <= 1e-12 * max(abs(high), abs(low)) or high == low:
        margin = abs(high) * 0.1 or 1.0
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


def draw(series: Sequence[Series], frame: Frame, axis: str, title: str, unit_range: bool = False) -> str:
    """One chart as an `<svg>`; empty text where no curve has a value.

    Args:
        series: at most six curves, told apart by colour classes s1 … s6.
        frame: step axis and stages.
        axis: label of the value axis, with its unit.
        title: for screen readers.
        unit_range: show all of [0, 1].
    """
    curves = [(s, thin(s.points)) for s in series]
    values = [value for _, points in curves for _, value in points if value is not None]
    if not values:
        return ""
    scale = make_scale(values, unit_range)
    body = [*_grid(scale, axis), *_steps(frame), *_stages(frame), *_changes(frame)]
    for index, (_, points) in enumerate(curves, start=1):
        body.append(_curve(points, frame, scale, index))
    body.append(f'<line class="cross" y1="{TOP}" y2="{HEIGHT - BOTTOM}" visibility="hidden"/>')
    data = {
        "frame": [frame.first, frame.last, LEFT, WIDTH - RIGHT],
        "series": [
            {"label": s.label, "x": [x for x, _ in points], "y": [_short(y) for _, y in points]} for s, points in curves
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


def _curve(points: Sequence[tuple[int, float | None]], frame: Frame, scale: Scale, index: int) -> str:
    path, marks, pen = [], [], "M"
    few = sum(value is not None for _, value in points) <= 24
    for step, value in points:
        if value is None:
            pen = "M"
            continue
        x, y = frame.x(step), scale.y(value)
        path.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
        if few:
            marks.append(f'<circle class="mark s{index}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>')
    return f'<path class="curve s{index}" d="{"".join(path)}"/>' + "".join(marks)
