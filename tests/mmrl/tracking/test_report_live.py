"""The page of a run that goes on, is killed, or goes on from an earlier start."""

import json
import re

import pytest

from mmrl.contracts.errors import UserError
from mmrl.recipe.tracking import TrackingConfig
from mmrl.tracking.report import live
from mmrl.tracking.report.live import LiveReport
from mmrl.tracking.report.page import write_report
from mmrl.tracking.run_files import read_run
from mmrl.tracking.tracker import Tracker
from tests.support.browser import build_run

QUIET = TrackingConfig(console="none", tensorboard=False)


class Clock:
    """Time that passes where it is told to, and by what a page costs."""

    def __init__(self, monkeypatch, cost=0.0):
        self.now, self.cost, self.written = 100.0, cost, []
        monkeypatch.setattr(live, "write_report", self.write)

    def write(self, folder):
        self.written.append(self.now)
        self.now += self.cost

    def __call__(self):
        return self.now


def pages(clock, updates, every):
    """Seconds (from the start) at which pages are written, of (second, evaluated) updates."""
    report = LiveReport(None, every, pytest.fail, clock)
    for second, evaluated in updates:
        clock.now = max(clock.now, 100.0 + second)
        report.update(evaluated)
    return [at - 100.0 for at in clock.written]


def test_the_first_figures_evaluations_and_time_bring_a_page(monkeypatch):
    updates = [(0, False), (1, False), (2, True), (30, False), (61, False), (62, False), (63, True), (124, False)]
    assert pages(Clock(monkeypatch), updates, 60.0) == [0, 2, 62, 63, 124]
    assert pages(Clock(monkeypatch), updates, None) == [0, 2, 63]


def test_a_page_takes_no_more_than_its_share_of_the_time(monkeypatch):
    """One second of writing is followed by 50 without."""
    updates = [(second, True) for second in range(200)]
    assert pages(Clock(monkeypatch, cost=1.0), updates, 1.0) == [0, 51, 102, 153]


def test_a_page_that_cannot_be_made_is_told_once_and_stops_nothing(monkeypatch, tmp_path):
    def fail(folder):
        raise KeyError("what")

    monkeypatch.setattr(live, "write_report", fail)
    said = []
    report = LiveReport(tmp_path, 0.001, said.append, iter(range(100)).__next__)
    for _ in range(5):
        report.update(True)
    assert said == ["report.html could not be written, and training goes on: KeyError: 'what'"]


def test_a_full_disk_does_stop_it(monkeypatch, tmp_path):
    def full(folder):
        raise UserError("cannot write")

    monkeypatch.setattr(live, "write_report", full)
    with pytest.raises(UserError, match="cannot write"):
        LiveReport(tmp_path, None, pytest.fail).update(True)


def test_a_killed_run_has_a_page(tmp_path):
    """Nothing is closed, as of a run that was killed."""
    tracker = Tracker(tmp_path / "run", QUIET, 3)
    assert not (tmp_path / "run" / "report.html").exists()
    tracker.log(0, "rl", {"eval/ocr": 0.25, "eval/mean": 0.25, "eval_rows/ocr": 8})
    text = (tmp_path / "run" / "report.html").read_text()
    assert "The run has not finished: summary.json is missing." in text
    assert ">0.250<small" in text
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")] == []


def test_the_end_of_a_run_writes_its_own_page(tmp_path):
    with Tracker(tmp_path / "run", QUIET, 1) as tracker:
        tracker.log(1, "rl", {"reward/mean": 1.0})
    assert not (tmp_path / "run" / "report.html").exists()


def summarised(run, **facts):
    old = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**old, **facts}))
    return write_report(run).read_text()


def test_a_run_that_goes_on_does_not_show_the_table_of_its_last_start(tmp_path):
    """Its summary is of step 40, where it was stopped; metrics.jsonl has come to 100."""
    run = build_run(tmp_path / "demo")
    stale = {"final": {"ocr": 0.111, "mean": 0.111}}
    text = summarised(run, steps=40, finished=True, **stale)
    assert "0.111" not in re.sub(r'data-chart="[^"]*"', "", text)
    assert "summary.json is of step 40, and the run has gone on." in text
    assert '<th scope="col">latest</th>' in text
    assert "0.111" in summarised(run, steps=100, **stale), "that of a whole run is believed"
    assert not read_run(run).outdated


def test_a_stopped_run_shows_its_latest_evaluation(tmp_path):
    run = build_run(tmp_path / "demo")
    (run / "summary.json").write_text(json.dumps({"start": {"ocr": 0.2}, "steps": 100, "finished": False}))
    assert '<th scope="col">latest</th>' in write_report(run).read_text()
