"""Runs of two processes: the figures of one, checkpoints that either goes on from, one line where something fails."""

import json
import os
import signal

import pytest

from benchmarks.ranks import on_ranks
from mmrl import train
from mmrl.contracts.errors import UserError
from tests.support.runs import metrics, recipe

SETTINGS = {
    "steps": 2,
    "method": "co_train",
    "engine": {"seeds": "request"},
    # So small that both draw the same tokens, whatever rounding makes of the first update.
    "optim": {"lr": 1e-5},
    "evaluation": {"every": 2, "limit": 3, "sampling": {"temperature": 0.0, "max_new_tokens": 4}},
    "checkpoint": {"every": 1, "keep": 9},
    "parallel": {"timeout": 120},
}


def by_two(settings, **passed):
    """What training by two processes comes to in each: the summary, or the error and whether another one prints it."""

    def work():
        try:
            return train(settings, **passed).summary
        except UserError as error:
            return str(error), error.told

    return on_ranks(2, work)


def assert_close(one, other, *, steps):
    """The figures of two runs, equal but for rounding, of the steps that both have taken themselves."""
    lines = [[line for line in metrics(folder) if line["step"] in steps] for folder in (one, other)]
    assert [line.keys() for line in lines[0]] == [line.keys() for line in lines[1]]
    for mine, theirs in zip(*lines, strict=True):
        assert {k: v for k, v in theirs.items() if k != "stage"} == pytest.approx(
            {k: v for k, v in mine.items() if k != "stage"}, rel=1e-3, abs=1e-5
        )


@pytest.mark.slow
def test_two_processes_train_as_one_and_go_on_from_each_other_s_checkpoints(tiny_qwen, tmp_path):
    model = tiny_qwen()
    one = train(recipe(model, tmp_path, "one", **SETTINGS))
    first, second = by_two(recipe(model, tmp_path, "two", **SETTINGS))
    assert first == second
    assert first["final"] == pytest.approx(one.summary["final"], rel=1e-5)
    assert_close(one.folder, tmp_path / "two", steps=(0, 1, 2))
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in one.folder.iterdir()
    )
    assert json.loads((tmp_path / "two" / "summary.json").read_text()) == first

    resume = str(tmp_path / "two" / "checkpoints" / "step_000001")
    alone = train(recipe(model, tmp_path, "two_then_one", **SETTINGS, resume=resume))
    assert_close(tmp_path / "two", alone.folder, steps=(2,))
    resume = str(one.folder / "checkpoints" / "step_000001")
    by_two(recipe(model, tmp_path, "one_then_two", **SETTINGS, resume=resume))
    assert_close(one.folder, tmp_path / "one_then_two", steps=(2,))


def fails_in_the_second(text, sample):
    """A reward that one process cannot give."""
    if os.environ["RANK"] == "1":
        raise KeyError("the server is gone")
    return 0.5


@pytest.mark.slow
def test_what_fails_in_one_ends_both_with_its_line(tiny_qwen, tmp_path):
    settings = recipe(tiny_qwen(), tmp_path, **{**SETTINGS, "method": "grpo", "evaluation": {"limit": 1}})
    (first, told), (second, also_told) = by_two(settings, reward=fails_in_the_second)
    assert "the server is gone" in first
    assert first == f"process 1: {second}"
    assert (told, also_told) == (False, True)
    assert not (tmp_path / "run").exists()


ASKED: list[bool] = []


def stop_at_first(text, sample):
    """Graded; asks its own process to stop, where it is the second one."""
    if os.environ["RANK"] == "1" and not ASKED:
        ASKED.append(True)
        os.kill(os.getpid(), signal.SIGTERM)
    return (sum(map(ord, text)) % 7) / 7


@pytest.mark.slow
def test_a_signal_to_one_stops_both_after_the_step(tiny_qwen, tmp_path):
    settings = recipe(tiny_qwen(), tmp_path, **{**SETTINGS, "method": "grpo", "evaluation": {"limit": 1}})
    assert on_ranks(2, lambda: train(settings, reward=stop_at_first).signum) == [signal.SIGTERM] * 2
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_000001"]
