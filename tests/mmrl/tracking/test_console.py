"""The terminal: modes, lines, time left, the final table."""

import pytest

from mmrl.tracking import console
from mmrl.tracking.console import Clock, Live, Plain, Silent, duration, final_table, make_console
from mmrl.tracking.heldout import evaluations_in, heldout_table

FIGURES = {"reward/mean": 0.51234, "policy/kl_ref": 1.5e-05, "throughput/tokens_per_s": 1234.5, "optim/lr": 1e-5}
EVAL = {
    "final": {"ocr": 0.9, "mean": 0.7},
    "after_sft": {"mean": 0.4, "ocr": 0.5, "counting": 0.3},
    "start": {"ocr": 0.1, "mean": 0.1},
}


def test_modes(monkeypatch):
    monkeypatch.setattr(console.sys.stdout, "isatty", lambda: False, raising=False)
    assert isinstance(make_console("auto", "a", 1, 0), Plain)
    assert isinstance(make_console("none", "a", 1, 0), Silent)
    live = make_console("live", "a", 1, 0)
    assert isinstance(live, Live)
    live.close()


def test_plain_is_one_line_a_call(capsys):
    view = Plain("demo", 100, 0)
    view.update(7, "rl", FIGURES)
    view.update(7, "rl", {"eval/ocr": 0.5})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("step   7/100  rl")
    assert "reward 0.512  KL 1.5e-05  tokens/s 1,234" in first
    assert "eval/ocr 0.500" in second


def test_live_shows_progress_figures_and_markup_as_text(capsys):
    view = Live("[bold]run", 10, 0)
    view.update(4, "[red]rl", FIGURES)
    view.update(5, "[red]rl", {"eval/[x]": 0.5})
    view.close()
    out = capsys.readouterr().out
    for words in ("[bold]run", "[red]rl", "5/10", "0.512", "eval/[x]", "left"):
        assert words in out


def test_time_left_counts_only_this_process(monkeypatch):
    now = iter([100.0, 130.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now))
    clock = Clock(total=100, done=50)
    assert clock.left(50) is None
    assert clock.left(60) == 3.0 * 40


@pytest.mark.parametrize(
    ("seconds", "text"), [(8, "8s"), (192, "3m12s"), (7500, "2h05m"), (273600, "3d04h"), (59.6, "1m00s")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_heldout_columns_are_in_time_order_and_mean_is_last():
    table = heldout_table(EVAL)
    assert table.columns == ("start", "after_sft", "final")
    assert table.rows == (("counting", (None, 0.3, None)), ("ocr", (0.1, 0.5, 0.9)), ("mean", (0.1, 0.4, 0.7)))
    assert heldout_table({"final": {"ocr": "bad"}, "start": 3}).rows == ()


def test_evaluations_are_rebuilt_from_figures():
    steps = [(0, "sft", 0.1), (2, "sft", 0.3), (4, "sft", 0.5), (6, "rl", 0.8)]
    records = [{"step": step, "stage": stage, "eval/ocr": value} for step, stage, value in steps]
    records.insert(2, {"step": 3, "stage": "sft", "loss/total": 1.0})
    expected = {"start": {"ocr": 0.1}, "after_sft": {"ocr": 0.5}, "latest": {"ocr": 0.8}}
    assert evaluations_in(records, {"sft": 4, "rl": 10}) == expected, "rl has not reached its end"
    assert heldout_table(expected).columns == ("start", "after_sft", "latest")


def test_final_table(capsys):
    final_table(EVAL)
    out = capsys.readouterr().out
    assert "after sft" in out
    rows = [line for line in out.splitlines() if "ocr" in line or "counting" in line or "mean" in line]
    assert [word for word in rows[0].split() if word[0].isalnum() or word == "–"] == ["counting", "–", "0.300", "–"]
    assert "0.700" in rows[-1]
    final_table({})
    assert capsys.readouterr().out == ""
