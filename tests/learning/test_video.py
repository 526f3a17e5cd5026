"""The video quickstart, shortened, learns what happens when (slow: four minutes)."""

import pytest

import mmrl
from tests.support.learning import recipe


@pytest.mark.slow
def test_video_quickstart_learns_what_happens_when(tmp_path):
    """Two thirds of its SFT steps and a fifth of its RL steps, on half of their demonstrations and prompts.

    Time is used: with its frames in random order, the same policy no longer knows the order of events.
    """
    raw = recipe("quickstart_video", tmp_path)
    sft, rl = raw["stages"]
    raw["stages"] = [{**sft, "steps": 60, "demonstrations": 32}, {**rl, "steps": 30, "prompts": 16}]
    raw["evaluation"] = {**raw["evaluation"], "limit": 125}
    summary = mmrl.train(raw).summary
    start, taught, final = (summary[when] for when in ("start", "after_sft", "final"))
    assert taught["mean"] >= start["mean"] + 0.25
    assert final["mean"] >= taught["mean"] + 0.05
    tasks = ("multiple_choice", "counting", "ordering", "temporal_grounding", "tracking")
    assert all(final[task] > start[task] for task in tasks)
    shuffled = sum(final[f"shuffled/{task}"] for task in tasks) / len(tasks)
    assert shuffled <= final["mean"] - 0.1
    assert final["shuffled/ordering"] <= final["ordering"] - 0.2
