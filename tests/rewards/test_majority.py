"""Agreement with a group's majority."""

import random
from collections import Counter

import pytest

from vision_rewards import TargetError, get_reward
from vision_rewards.rewards.majority import majority_answer, majority_scores

PETS = ["a cat", "a dog", "$5"]

# (completions, majority answer, scores)
GROUPS = [
    (["3", "3", "4"], "3", [1, 1, 0]),
    (["3", "three", "3.0", "4", "4"], "3", [1, 1, 1, 0, 0]),
    (["<think>4</think>3", "<answer>3</answer>", "4"], "3", [1, 1, 0]),
    (["The answer is 3.", "3", "5"], "3", [1, 1, 0]),
    (["A red car", "a red car.", "blue"], "a red car", [1, 1, 0]),
    (["-5", "−5", "5"], "-5", [1, 1, 0]),
    (["1,000", "1000", "1e3", "100"], "1000", [1, 1, 1, 0]),
    (["50%", "50", "0.5"], "50", [1, 1, 0]),
    (["3"], "3", [1]),
    (["3", "4"], None, [None, None]),
    (["3", "3", "4", "4", "5"], None, [None] * 5),
    (["", " ", "<think>3"], None, [None] * 3),
    (["", "", "3"], "3", [0, 0, 1]),
    (["?!", "...", "3"], "3", [0, 0, 1]),
    (["3 apples", "3 apples", "3"], "3 apples", [1, 1, 0]),
    (["none", "none", "zero"], "none", [1, 1, 0]),
    (["3\n4", "3 4", "3"], "3 4", [1, 1, 0]),
    ([], None, []),
    (["<answer>7</answer>", "\\boxed{8}", "7"], "7", [1, 0, 1]),
    (["7 7", "7 7", "7"], "7 7", [1, 1, 0]),
    (["seven", "7", "eight"], "7", [1, 1, 0]),
]


@pytest.mark.parametrize(("completions", "majority", "scores"), GROUPS)
def test_majority(completions, majority, scores):
    assert majority_answer(completions) == majority
    assert majority_scores(completions) == scores
    reward = get_reward("majority")
    results = [reward(text, {"majority": majority}).score for text in completions]
    assert results == scores


@pytest.mark.parametrize(
    ("completions", "majority", "scores"),
    [
        (["B", "(B)", "A"], "B", [1, 1, 0]),
        (["a dog", "B. a dog", "A"], "B", [1, 1, 0]),
        (["A or B", "A or B", "C"], "C", [0, 0, 1]),
        (["E", "E", "A"], "A", [0, 0, 1]),
        (["A", "B", "C"], None, [None] * 3),
    ],
)
def test_majority_of_options(completions, majority, scores):
    for options in (PETS, dict(zip("ABC", PETS))):
        assert majority_answer(completions, options=options) == majority
        assert majority_scores(completions, options=options) == scores
        target = {"majority": majority, "options": options}
        assert [get_reward("majority")(text, target).score for text in completions] == scores


def test_a_share_may_be_asked_for():
    group = ["3", "3", "4", "5"]
    assert majority_answer(group) == "3"
    assert majority_answer(group, min_share=0.5) is None
    assert majority_answer([*group, "3"], min_share=0.5) == "3"
    assert majority_scores(group, min_share=0.5) == [None] * 4
    # Unreadable completions stay in the denominator.
    assert majority_answer(["3", "", "", ""], min_share=0.3) is None


def test_the_order_of_the_group_changes_nothing():
    rng = random.Random(0)
    for _ in range(200):
        group = [str(rng.randrange(4)) for _ in range(rng.randrange(1, 9))]
        counts = Counter(group).most_common()
        tied = len(counts) > 1 and counts[0][1] == counts[1][1]
        shuffled = rng.sample(group, len(group))
        assert majority_answer(group) == majority_answer(shuffled) == (None if tied else counts[0][0])
        assert Counter(majority_scores(group)) == Counter(majority_scores(shuffled))


@pytest.mark.parametrize(
    "target",
    [{"majority": ""}, {"majority": "?!"}, {"majority": 3}, {"majority": "D", "options": PETS},
     {"majority": "A", "options": []}],
)  # fmt: skip
def test_targets_that_are_refused(target):
    with pytest.raises(TargetError):
        get_reward("majority").check(target)


def test_a_group_without_majority_has_no_score():
    assert get_reward("majority")("3", {"majority": None}).score is None
