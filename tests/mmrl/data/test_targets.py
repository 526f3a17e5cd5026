"""Rows with plain answers: what the task's reward reads, or a refusal that says what to write."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.types import Trajectory
from mmrl.data.mixture import open_dataset
from mmrl.data.readers import FileDataset
from mmrl.recipe.data import FileData
from mmrl.recipe.rewards import RewardConfig
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.rewarding import Rewarder
from mmrl.setup import open_eval_sets, open_train, open_train_sets
from tests.support.rewards import PARAMS
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
    judged = {"params": PARAMS | {"rubric": PARAMS["rubric"] | {"criteria": ["It is right."]}}}
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


CODE = """
def signs(completion, sample, scale=1):
    return scale * float(completion == sample.target["signs"][0])

def target_of(answer, options, task):
    if answer == "none":
        raise ValueError("'none' is no sign")
    return {"signs": [answer, *options.values()], "task": task} if answer != "list" else [answer]

signs.target_of = target_of
"""


@pytest.fixture
def signs(workplace, monkeypatch):
    """`signs(more)` writes a module with a reward of one's own."""
    monkeypatch.delitem(sys.modules, "sign_rewards", raising=False)
    return lambda more="": (workplace / "sign_rewards.py").write_text(CODE + more)


@pytest.mark.parametrize(("tasks", "mine"), [(None, True), (["My Signs"], True), (["others"], False)])
def test_a_reward_of_ones_own_shapes_plain_answers(workplace, signs, tasks, mine):
    signs(f"signs.tasks = {tasks}\n" if tasks else "")
    row = {"problem": "q?", "answer": "<answer>EXIT</answer>", "options": ["x"], "task": "my-signs"}
    (workplace / "rows.jsonl").write_text(
        "\n".join(json.dumps({**row, "answer": a}) for a in (row["answer"], "none", "list"))
    )
    rewarder = Rewarder([RewardConfig(name="sign_rewards:signs", params={"scale": 2} if tasks else {})])
    rows = open_dataset(FileData(type="file", path=str(workplace / "rows.jsonl"), limit=3), rewarder.target_of)
    assert rows[0].target == ({"signs": ["EXIT", "x"], "task": "my_signs"} if mine else {"answer": "EXIT"})
    if mine:
        with pytest.raises(BadSample, match="column 'answer': 'none' is no sign"):
            rows[1]
        with pytest.raises(ConfigError, match="reward 'signs': target_of returned list, not a mapping"):
            rows[2]


def route(**params):
    return RewardConfig(name="route", params=params)


@pytest.mark.parametrize(
    ("rewards", "answer", "target"),
    [
        ([route(aliases={"my signs": "counting"})], "3", {"count": 3}),
        ([RewardConfig(name="combine", params={"parts": [["ocr", 1], ["format", 1]]})], "EXIT", {"text": "EXIT"}),
        ([RewardConfig(name="format"), RewardConfig(name="iou")], "[1, 2, 3, 4]", {"box": [1, 2, 3, 4]}),
        ([RewardConfig(name="length", params={"kind": "cosine", "of": "counting"})], "3", {"count": 3}),
        ([RewardConfig(name="iou"), RewardConfig(name="numeric")], "3", {"answer": "3"}),
        ([RewardConfig(name="format")], "3", {"answer": "3"}),
        ([RewardConfig()], "3", {"answer": "3"}),
    ],
)
def test_a_task_that_no_reward_declares_is_shaped_by_the_reward_that_reads_it(rewards, answer, target):
    assert Rewarder(rewards).target_of("my_signs", answer) == target
    assert Rewarder(rewards).target_of("ocr", answer) == {"text": answer}


def test_training_and_evaluation_shape_rows_by_the_recipes_rewards(workplace, signs):
    signs()
    (workplace / "rows.jsonl").write_text(json.dumps({"problem": "q?", "answer": "EXIT", "task": "gui_action"}) + "\n")
    data = [{"type": "file", "path": "rows.jsonl"}]
    recipe = load_recipe(
        {
            **{"name": "signs", "policy": {"path": "none"}, "method": "grpo", "steps": 1},
            **{"data": {"train": data, "eval": data}, "rewards": [{"name": "sign_rewards:signs"}]},
        }
    )
    rewarder = Rewarder(recipe.rewards)
    preparer = SimpleNamespace(rewarder=rewarder, check=lambda sample, rewarded=True: None)
    wanted = {"signs": ["EXIT"], "task": "gui_action"}
    datasets = open_train_sets(recipe, rewarder, None)
    assert open_train(recipe, preparer, datasets, passed=False).next(1)[0].target == wanted
    (rows,) = open_eval_sets(recipe, shape=rewarder.target_of).values()
    assert rows[0].target == wanted


@pytest.mark.parametrize("written", [lambda target: target, json.dumps])
def test_a_written_target_goes_before_the_answer_in_every_format(read, written):
    target = {"box": [100, 40, 180, 60]}
    easyr1 = {"problem": "q?", "answer": "[140, 50]", "task": "gui_grounding"}
    assert read({**easyr1, "target": written({**target, "label": None})}).target == target
    video = {"problem": "q?", "solution": "[140, 50]", "problem_type": "gui grounding", "data_type": "text"}
    assert read({**video, "target": written(target)}).target == target
    talk = [{"from": "human", "value": "q?"}, {"from": "gpt", "value": "[140, 50]"}]
    sample = read({"conversations": talk, "accu_reward_method": "gui_grounding", "target": written(target)})
    assert (sample.target, sample.demonstration) == (target, "[140, 50]")
    with pytest.raises(BadSample, match="column 'target' is not JSON"):
        read({**easyr1, "target": "{"})
    with pytest.raises(BadSample, match="write the column `target`"):
        read({**easyr1, "target": written({"box": None})})


ASKED: list[str] = []


def judged(messages):
    ASKED.append(messages[1]["content"])
    return '{"reason": "right", "grade": 1}'


@pytest.mark.parametrize("name", ["judge", "combine"])
def test_a_judge_is_told_what_the_row_asks(read, name):
    """Files hold the question as the prompt; a column of that name goes before it."""
    params = {"policy": judged, "scale": 1, "reference": False}
    params = params if name == "judge" else {"parts": [["judge", 1.0, params]]}
    rewarder = Rewarder([RewardConfig(name=name, params=params)])
    row = {"problem": "<image>Which animal?", "images": ["p0.png"], "task": "judge", "answer": "a cat"}
    sample = read(row)
    for more, asked in (({}, "Which animal?"), ({"question": "Which pet?"}, "Which pet?")):
        sample = replace(sample, target=more)
        rewarder.check(sample)
        assert rewarder.score(Trajectory((), text=f"A dog, says the {name}."), sample).reward == 1.0
        assert f"Question:\n{asked}\n" in ASKED[-1]
    with pytest.raises(BadSample, match=f"reward '{name}' cannot read the target"):
        rewarder.check(replace(sample, target={}, messages=()))
