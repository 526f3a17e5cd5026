"""The learning runs of methods: every recipe is one that can be read, and verdicts say what they say."""

import pytest

from benchmarks.methods import learn
from mmrl.recipe.data import DigitsData
from mmrl.recipe.methods import METHODS
from mmrl.recipe.schema import load_recipe


def test_settings_are_of_methods():
    assert set(learn.SETTINGS) <= set(learn.methods()) <= set(METHODS.entries)


@pytest.mark.parametrize("method", learn.methods())
def test_every_arm_is_a_recipe(tmp_path, method):
    raw = learn.arm(method, {"base": "quickstart", "teacher": "quickstart"}, tmp_path, "x", 0, 12, 1e-3)
    assert sum(stage.steps for stage in load_recipe(raw).stages) == 12


def test_a_rejected_answer_is_a_wrong_one_of_the_same_task():
    rows = learn.Pairs(DigitsData(type="digits", size=40))
    tasks = {sample.task for sample in rows}
    assert len(tasks) > 3
    answers = {task: {sample.demonstration for sample in rows if sample.task == task} for task in tasks}
    assert all(s.rejected != s.demonstration and s.rejected in answers[s.task] for s in rows)


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        ({"stopped": "the loss is nan"}, "diverges"),
        ({"mean": 0.1, "start_mean": 0.3, "loss": 1.0, "start_loss": 1.0}, "diverges"),
        ({"mean": 0.3, "start_mean": 0.3, "loss": 1.0, "start_loss": 1.0005}, "stands still"),
        ({"mean": 0.3, "start_mean": 0.3, "loss": 1.1, "start_loss": 1.0}, "learns"),
        ({"mean": 0.31, "start_mean": 0.3, "loss": 1.0, "start_loss": 1.0}, "learns"),
    ],
)
def test_verdicts(figures, word):
    assert learn.verdict(figures) == word
    assert learn.result({"a": {"verdict": word}}, 1, 1)["value"] == (word != "learns")
