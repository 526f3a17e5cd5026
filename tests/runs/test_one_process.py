"""A run that goes on refuses a second one in its folder, and is read beside it."""

import os
import time

import pytest

from mmrl import train
from mmrl.contracts.errors import UserError
from mmrl.run import newest_model
from mmrl.tracking.comparison import compare
from mmrl.tracking.report.page import write_report
from mmrl.tracking.starts import read_starts
from tests.support import runs
from tests.support.runs import assert_same_run, recipe

SETTINGS = {
    "steps": 2,
    "checkpoint": {"every": 1},
    "evaluation": {"every": None, "limit": 1},
}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_in_its_folder_is_refused_and_changes_nothing(tiny_qwen, tmp_path, monkeypatch):
    """In its middle somebody also puts the clock back by eight hours, which changes no result."""
    whole = train(recipe(tiny_qwen("qwen2_5_vl"), tmp_path, "whole", **SETTINGS), reward=runs.reward)
    mine, tries = recipe(tiny_qwen("qwen2_5_vl"), tmp_path, "mine", **SETTINGS), []

    def reward(text, sample):
        folder = tmp_path / "mine"
        if not tries and (folder / "metrics.jsonl").exists():
            before = contents(folder)
            for change in ({}, {"resume": "auto"}, {"seed": 4, "resume": "auto"}):
                with pytest.raises(UserError, match=f"'{folder}' is in use by process {os.getpid()} on"):
                    train({**mine, **change})
                tries.append(change)
            assert contents(folder) == before
            clock = time.time
            monkeypatch.setattr(time, "time", lambda: clock() - 8 * 3600)
            write_report(folder, tmp_path / "beside.html")
            compare(whole.folder, folder)
        return runs.reward(text, sample)

    outcome = train(mine, reward=reward)
    assert_same_run(whole.folder, outcome.folder)
    assert 0 < outcome.summary["seconds"] < 8 * 3600
    assert read_starts(outcome.folder)[0].seconds == outcome.summary["seconds"]
    assert len(tries) == 3
    assert not list((tmp_path / "mine").glob(".run*"))
    assert newest_model(tmp_path / "mine").is_dir()


def test_a_run_that_stood_still_and_was_taken_over_ends_before_it_writes_more(tiny_qwen, tmp_path):
    folder, written = tmp_path / "mine", []

    def reward(text, sample):
        if (folder / "metrics.jsonl").exists() and not written:
            # Its lines so far are the other's to go on from.
            next(folder.glob(".run.*.lock")).rename(folder / "theirs")
            written.append(contents(folder))
        return runs.reward(text, sample)

    with pytest.raises(UserError, match="no longer this process's"):
        train(recipe(tiny_qwen("qwen2_5_vl"), tmp_path, "mine", **SETTINGS), reward=reward)
    after = contents(folder)
    for name in ("metrics.jsonl", "config.yaml"):
        assert after[folder / name] == written[0][folder / name]
    assert not list(folder.glob("checkpoints/step_*"))
