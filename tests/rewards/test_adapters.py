"""Rewards in the signatures of TRL, EasyR1 and verl."""

import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from vision_rewards import adapters, combine, get_reward

CHAT = [{"role": "assistant", "content": [{"type": "text", "text": "So it is "}, {"type": "text", "text": "B."}]}]


def test_trl_calls_with_prompts_completions_and_columns():
    reward = adapters.for_trl("math", answer="solution")
    assert reward.__name__ == "math"
    scores = reward(
        prompts=["1 + 2?", "1 + 2?", "2 + 2?"],
        completions=["So \\boxed{3}.", "4", "<answer>4</answer>"],
        completion_ids=[[1], [2], [3]],
        solution=["3", "3", "4"],
        trainer_state=object(),
    )
    assert scores == [1.0, 0.0, 1.0]


def test_trl_conversations_are_read_by_their_last_message():
    reward = adapters.for_trl("multiple_choice", answer="answer")
    completions = [CHAT, [{"role": "assistant", "content": "A"}, *CHAT], [{"role": "assistant", "content": "A"}]]
    options = [["a cat", "a dog"]] * 3
    assert reward(prompts=[[]] * 3, completions=completions, answer=["B"] * 3, options=options) == [1.0, 1.0, 0.0]
    for completion in (None, [], [{"role": "assistant"}], [{"content": [{"type": "image"}]}][:0], 3):
        with pytest.raises(TypeError, match="a completion is"):
            adapters.completion_text(completion)


def test_trl_columns_may_be_the_target():
    reward = adapters.for_trl(get_reward("iou", threshold=0.5), columns={"box": "solution"})
    boxes = [[0, 0, 10, 10], None]
    assert reward(prompts=["", ""], completions=["[0, 0, 10, 10]"] * 2, solution=boxes) == [1.0, None]
    assert adapters.for_trl("counting")(prompts=[""], completions=["three"], count=[3], other=["x"]) == [1.0]
    with pytest.raises(ValueError, match="no column 'solution'"):
        adapters.for_trl("counting", answer="solution")(prompts=[""], completions=["three"], count=[3])


def test_trl_groups_are_completions_of_one_prompt():
    reward = adapters.for_trl("majority")
    completions = ["3", "3", "4", "5", "5", "3"]
    assert reward(prompts=["a"] * 3 + ["b"] * 3, completions=completions) == [1.0, 1.0, 0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize("batch", [True, False])
def test_easyr1_gets_an_overall_score(batch):
    reward = combine([("math", 0.9), ("format", 0.1, {"pattern": "think_boxed"})])
    compute_score = adapters.for_easyr1(reward, task="math")
    inputs = [
        {"response": "<think>x</think>So \\boxed{3}.", "response_length": 9, "ground_truth": "3"},
        {"response": "3", "response_length": 1, "ground_truth": "3"},
        {"response": "<think>x</think>So \\boxed{4}.", "response_length": 9, "ground_truth": "3"},
    ]
    scores = compute_score(inputs) if batch else [compute_score(one) for one in inputs]
    assert [score["overall"] for score in scores] == pytest.approx([1.0, 0.9, 0.1])
    assert [score["accuracy"] for score in scores] == [1.0, 1.0, 0.0]
    assert all(isinstance(value, float) for score in scores for value in score.values())


def test_easyr1_rows_name_their_task():
    compute_score = adapters.for_easyr1("route")
    inputs = [
        {"response": "three", "ground_truth": "3", "problem_type": "counting"},
        {"response": "B", "ground_truth": "B", "problem_type": "multiple choice", "options": ["a", "b"]},
        {"response": "[0, 0, 10, 5]", "ground_truth": {"task": "grounding", "box": [0, 0, 10, 10]}},
    ]
    assert [score["overall"] for score in compute_score(inputs)] == [1.0, 1.0, 0.5]


def test_verl_calls_with_the_source_and_the_truth():
    compute_score = adapters.for_verl("multiple_choice")
    row = {"options": ["a cat", "a dog"], "index": 4}
    assert compute_score("vqa", "It's a dog.", "B", row)["score"] == 1.0
    assert compute_score(data_source="vqa", solution_str="A", ground_truth="B", extra_info=row)["acc"] == 0.0
    assert compute_score("vqa", "B", "B")["score"] == 1.0


def test_parameters_belong_to_a_name():
    assert adapters.for_verl("iou", threshold=0.5)("", "[0, 0, 10, 9]", [0, 0, 10, 10])["score"] == 1.0
    with pytest.raises(ValueError, match="threshold"):
        adapters.for_trl(get_reward("iou"), threshold=0.5)
    with pytest.raises(ValueError, match="did you mean 'iou'"):
        adapters.for_trl("iuo")


# What may be absent, and the rewards that run all the same.
HEAVY = (
    "torch transformers numpy scipy rapidfuzz shapely pycocotools lxml math_verify sympy sacrebleu jsonschema httpx "
    "stamina"
)
BARE = (
    "chart classification consistency counting gui_action length majority multiple_choice numeric ordering "
    "point_in_box regression temporal_iou timestamp vqa yes_no"
)


def test_rewards_of_short_answers_need_no_package():
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {HEAVY.split()}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from vision_rewards import adapters, get_reward
from vision_rewards.registry import reward_class
for name in {BARE.split()}:
    for target, completion, _, params in reward_class(name).spec().examples:
        get_reward(name, **params)(completion, target)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "rewards.md").read_text(encoding="utf-8")
    assert f"| nothing | {', '.join(f'`{name}`' for name in BARE.split())} |" in page
