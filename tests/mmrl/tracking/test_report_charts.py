"""Charts of the report: axes that fit, smoothed curves, intervals around held-out accuracies."""

import json
import re
from html import unescape

import pytest

from mmrl.tracking.report.charts import render_charts
from mmrl.tracking.report.intervals import wilson
from mmrl.tracking.report.page import write_report
from mmrl.tracking.report.plots import Frame, Series, draw, make_scale, smoothed
from mmrl.tracking.run_files import Run, StageSpan
from tests.support.browser import build_run

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def test_wilson_is_the_published_interval():
    """Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    published = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0.0, 0.1611)}
    published[1, 29] = (0.0061, 0.1718)
    for (hits, rows), ends in published.items():
        assert wilson(hits / rows, rows) == pytest.approx(ends, abs=5e-5)
    assert wilson(1.0, 20) == pytest.approx((1 - 0.1611, 1.0), abs=5e-5)
    assert wilson(0.5, 0) is None
    assert wilson(1.2, 10) is None


@pytest.mark.parametrize("values", [[0.0], [0.0] * 5, [1e-12, 3e-11], [-2e-10, 1e-10]])
def test_figures_that_are_zero_are_drawn_from_0_to_1(values):
    assert tuple(make_scale(values).ticks) == SHARES


def test_rounding_makes_no_axis_of_its_own():
    ticks = make_scale([1.0, 1.0 + 1e-9, 1.0 - 1e-9]).ticks
    assert ticks[0] == 0.0
    assert ticks[-1] == pytest.approx(1.25)


def test_a_small_share_has_a_range_that_shows_it_is_small():
    assert make_scale([0.0, 1e-7], least=0.01).ticks[-1] == pytest.approx(0.01)
    assert make_scale([0.0, 0.2], least=0.01).ticks[-1] == pytest.approx(0.2)
    run = Run(None, records=[{"step": s, "stage": "rl", "policy/clip_low": 2e-9, "own/share": 0.0} for s in (1, 2)])
    ticks = re.findall(r'text-anchor="end">([^<]+)</text>', render_charts(run))
    assert "0.010" in ticks
    assert not any("e-" in tick for tick in ticks)


def test_smoothing_is_a_mean_of_neighbours_that_keeps_a_line():
    line = [(step, 2.0 * step) for step in range(50)]
    assert [value for _, value in smoothed(line, 2.0)[10:40]] == pytest.approx([value for _, value in line[10:40]])
    noisy = [(step, float(step % 2)) for step in range(50)]
    assert [value for _, value in smoothed(noisy, 3.0)[10:40]] == pytest.approx([0.5] * 30, abs=1e-3)


def curve(svg, kind):
    """(x, y) of each point of a path, per run."""
    path = re.search(rf'<path class="{kind} s1" d="([^"]*)"', svg)[1]
    return [[tuple(map(float, point.split())) for point in run.split("L")] for run in path.split("M")[1:]]


def test_many_points_are_drawn_lightly_under_their_smoothed_curve():
    """A step of 0 to 1 at a stage's end stays a step: figures of two stages are not averaged."""
    points = [(step, float(step > 40)) for step in range(1, 101)]
    frame = Frame(1, 100, [StageSpan("sft", 0, 40), StageSpan("rl", 40, 100)])
    svg = draw([Series("a", "a", points, smooth=True)], frame, "", "")
    (raw,) = curve(svg, "raw")
    assert len(raw) == 100
    first, second = curve(svg, "curve")
    assert (len(first), len(second)) == (40, 60)
    assert len({y for _, y in first}) == len({y for _, y in second}) == 1
    assert 'class="raw ' not in draw([Series("a", "a", points)], frame, "", ""), "where it is not asked for"
    assert 'class="raw ' not in draw([Series("a", "a", points[:24], smooth=True)], frame, "", ""), "few points"


@pytest.fixture
def counted(tmp_path):
    """A run whose last evaluation counted its rows."""
    run = build_run(tmp_path / "demo")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if "eval/ocr" in line:
            line |= {"eval_rows/ocr": 100, "eval_rows/mean": 500, "eval/loss": 0.5, "eval_rows/loss": 3}
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_held_out_accuracies_have_intervals(counted):
    text = write_report(counted).read_text()
    final = json.loads((counted / "summary.json").read_text())["final"]
    for task, rows in (("ocr", 100), ("mean", 500)):
        low, high = wilson(final[task], rows)
        cell = f'<td class="final">{final[task]:.3f}<small title="95 % interval">{low:.2f}–{high:.2f}</small></td>'
        assert cell in text
    assert '<td class="final">0.905</td>' not in text
    figure = next(part for part in text.split("<figure>") if "<h3>ocr</h3>" in part)
    assert figure.count('class="bar s1"') == 6
    data = json.loads(unescape(re.search(r'data-chart="([^"]*)"', figure)[1]))
    assert data["series"][0]["bars"]["100"] == pytest.approx(wilson(final["ocr"], 100), rel=1e-4)
    assert "Bars are 95 % intervals" in text
    assert "Light lines are single steps" in text
    assert "eval_rows" not in text, "what is counted is no chart"


def test_without_counts_there_are_no_intervals(tmp_path):
    text = write_report(build_run(tmp_path / "demo")).read_text()
    assert "<small" not in text
    assert "Bars are" not in text
