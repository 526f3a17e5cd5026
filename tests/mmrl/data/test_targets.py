"""Rows with plain answers: what the task's reward reads, or a refusal that says what to write."""

import json

import pytest
from PIL import Image

from mmrl.contracts.errors import BadSample
from mmrl.data.readers import FileDataset
from mmrl.recipe.data import FileData
from mmrl.recipe.rewards import RewardConfig
from mmrl.rollouts.rewarding import Rewarder
from vision_rewards import plain_answers


@pytest.fixture
def read(tmp_path):
    """Reads one row of a file."""
    Image.new("RGB", (28, 28)).save(tmp_path / "p0.png")

    def one(row, **options):
        (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
        return FileDataset(FileData(type="file", path=str(tmp_path / "rows.jsonl"), **options))[0]

    return one


@pytest.mark.parametrize("plain", [row for row in plain_answers() if row.form is not None], ids=lambda row: row.task)
def test_rows_of_every_task_reach_their_reward(read, plain):
    row = {"problem": "<image>q?", "answer": plain.answer, "images": ["p0.png"], "task": plain.task}
    sample = read(row | ({"options": plain.options} if plain.options else {}))
    judged = {"params": {"judge": {"policy": "tests.support.rewards:grade"}}}
    Rewarder([RewardConfig(name="route", params=judged)]).check(sample)


def test_a_task_of_another_published_name_is_the_same_task(read):
    row = {"problem": "<image>q?", "answer": "[3, 5]", "images": ["p0.png"], "task": "tvg"}
    assert read(row).target == read({**row, "task": "temporal_grounding"}).target == {"interval": [3, 5]}
    picked = {**row, "answer": "A, C", "options": ["w", "x", "y", "z"], "task": "multiple_select"}
    assert read(picked).target == {"answer": ["A", "C"], "options": {"A": "w", "B": "x", "C": "y", "D": "z"}}


def test_an_answer_that_cannot_hold_the_target_is_refused_or_only_learned_from(read):
    row = {"problem": "<image>q?", "answer": "[140, 50]", "images": ["p0.png"], "task": "gui_grounding"}
    with pytest.raises(BadSample, match=r"'answer': .*write the column `target`.*'box'.*gui_grounding") as error:
        read(row)
    assert error.value.task == "gui_grounding"
    learned = read({**row, "demonstration": "[140, 50]"})
    assert (learned.target, learned.demonstration) == ({"answer": "[140, 50]"}, "[140, 50]")
    with pytest.raises(BadSample, match="needs the key 'box'"):
        Rewarder([RewardConfig()]).check(learned)


def test_an_answer_that_does_not_fit_is_refused_with_a_demonstration_too(read):
    row = {"problem": "<image>q?", "answer": "many", "images": ["p0.png"], "demonstration": "many"}
    with pytest.raises(BadSample, match="not a number"):
        read(row, task="repetition_counting")
