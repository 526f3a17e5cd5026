"""Rewards of one's own before and in a run: called by the checks; a failure late in a run leaves a checkpoint."""

import json

import pytest
import yaml

import mmrl
from mmrl.cli import main
from mmrl.contracts.errors import UserError
from tests.support import runs
from tests.support.runs import CALLS, assert_same_run


@pytest.fixture
def recipe(tiny_qwen, tmp_path):
    CALLS.update(n=0, fails_at=None)
    raw = runs.recipe(tiny_qwen("qwen2_5_vl"), tmp_path / "runs", steps=5)
    return raw | {"rewards": [{"name": "tests.support.runs:fragile"}]}


def checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("step_*"))


# 4 held-out answers at the start, 8 rollouts per step, 4 held-out answers after the third.
@pytest.mark.parametrize(
    ("fails_at", "step"),
    [(4 + 8 * 2 + 3, 2), (4 + 8 * 3 + 2, 3), (8 + 8 * 5 + 2, 5)],
    ids=["rollouts", "held out", "end"],
)
@pytest.mark.slow
def test_a_failure_leaves_a_checkpoint_from_which_the_run_goes_on(recipe, fails_at, step):
    whole = mmrl.train({**recipe, "name": "whole"}).folder
    CALLS.update(n=0, fails_at=fails_at)
    with pytest.raises(UserError, match=r"reward 'fragile' failed: KeyError: 'the server is gone' .*sample digits row"):
        mmrl.train(recipe)
    folder = whole.parent / "run"
    assert checkpoints(folder)[-1] == f"step_{step:06d}"
    outcome = mmrl.train(recipe, overrides=["resume=auto"])
    assert outcome.summary["steps"] == 5
    if step == 2:
        # Figures of an evaluation that failed are missing from metrics.jsonl in the other cases.
        assert_same_run(folder, whole)
    last = [f / "checkpoints" / "step_000005" / "model" / "model.safetensors" for f in (folder, whole)]
    assert last[0].read_bytes() == last[1].read_bytes()
    assert outcome.summary["final"] == json.loads((whole / "summary.json").read_text())["final"]


def test_a_failure_in_the_first_step_leaves_nothing(recipe):
    CALLS.update(fails_at=6)
    with pytest.raises(UserError, match="the server is gone"):
        mmrl.train(recipe)
    assert not (mmrl.load_recipe(recipe).folder).exists()


def test_checks_call_it_on_first_rows(recipe, workplace, capsys):
    path = workplace / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    for command in (["train", str(path), "--dry-run"], ["rewards", "check", str(path)]):
        CALLS.update(n=0, fails_at=None)
        assert main(command) == 0
        # Four rows of the training set and four of the held-out one.
        assert CALLS["n"] == 8
    assert "'fragile', a function of yours, gives the demonstrations or right answers" in capsys.readouterr().out
    for command in (["train", str(path), "--dry-run"], ["rewards", "check", str(path)]):
        CALLS.update(n=0, fails_at=2)
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "reward 'fragile' failed: KeyError: 'the server is gone'" in said
        assert "sample digits row 1 (id " in said


@pytest.mark.slow
def test_a_trl_function_trains(recipe):
    def fragile(prompts, completions, task, **kwargs):
        return [runs.reward(completion[0]["content"], None) for completion in completions]

    outcome = mmrl.train({**recipe, "name": "trl"}, reward=fragile)
    CALLS.update(n=0)
    assert_same_run(outcome.folder, mmrl.train({**recipe, "name": "own"}).folder)
