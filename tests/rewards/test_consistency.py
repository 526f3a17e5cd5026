"""Agreement of the answer with the last conclusion of the thinking."""

import pytest

from vision_rewards import TargetError, combine, get_reward

PETS = {"options": ["a cat", "a dog", "3"]}

# (thinking, answer, score, reason); the thinking in tags.
PLAIN = [
    ("The answer is 3.", "3", 1, "ok"),
    ("Two and one, so the answer is three.", "3", 1, "ok"),
    ("The answer is 3.0", "3", 1, "ok"),
    ("Final answer: 3 apples", "3", 1, "ok"),
    ("Answer: **3**", "3", 1, "ok"),
    ("The answer must be 3.", "3", 1, "ok"),
    ("So \\boxed{3}.", "3", 1, "ok"),
    ("The answer is 5. Wait. The answer is 3.", "3", 1, "ok"),
    ("The conclusion is: a red car", "A red car.", 1, "ok"),
    ("I choose a red car because it is fast.", "a red car", 1, "ok"),
    ("The result = -5", "-5", 1, "ok"),
    ("The answer is Mr. Smith.", "Mr. Smith", 1, "ok"),
    ("The answer is [10, 20, 30, 40]", "[10, 20, 30, 40]", 1, "ok"),
    ("The answer is:\nfirst line\nsecond line", "first line\nsecond line", 1, "ok"),
    ("The answer is 3. The answer is 5.", "3", 0, "ok"),
    ("The answer is 3.", "4", 0, "ok"),
    ("The answer is 3.", "33", 0, "ok"),
    ("The answer is 5.", "-5", 0, "ok"),
    ("The answer is 3 or 4.", "3", 0, "ok"),
    ("The answer is not 3.", "3", 0, "ok"),
    ("The answer is a car", "a red car", 0, "ok"),
    ("\\boxed{3} and \\boxed{4}", "3", 0, "ok"),
    ("The answer is 4, from \\boxed{3}", "4", 0, "ok"),
    ("Two and one make three.", "3", 0, "no_conclusion"),
    ("3", "3", 0, "no_conclusion"),
    ("The answer is", "3", 0, "no_conclusion"),
    ("The answer isn't clear: 3", "3", 0, "no_conclusion"),
    ("Answers: 3", "3", 0, "no_conclusion"),
    ("", "3", 0, "no_conclusion"),
    ("The answer is 3.", "", 0, "no_answer"),
    ("The answer is ?!", "?!", 0, "unparsable"),
]


@pytest.mark.parametrize(("thinking", "answer", "score", "reason"), PLAIN)
def test_plain_answers(thinking, answer, score, reason):
    result = get_reward("consistency")(f"<think>{thinking}</think><answer>{answer}</answer>", {})
    assert (result.score, result.reason) == (score, reason)


@pytest.mark.parametrize(
    ("thinking", "answer", "score"),
    [
        ("So the answer is B.", "B", 1),
        ("So the answer is (B) a dog.", "B", 1),
        ("I choose a dog.", "b.", 1),
        ("The correct option is B", "B. a dog", 1),
        ("A? The answer is A. No: the answer is B.", "B", 1),
        ("The answer is 3.", "C", 1),
        ("The answer is B because it barks.", "B", 1),
        ("The answer is A. The answer is B. The answer is C.", "B", 0),
        ("The answer is A or B.", "A", 0),
        ("The answer is not A.", "A", 0),
        # A sentence ends at its full stop.
        ("The answer is A. a dog", "A", 1),
        ("The answer is D.", "D", 0),
        ("The answer is all of them.", "A, B", 0),
    ],
)
def test_options(thinking, answer, score):
    for target in (PETS, {"options": {"A": "a cat", "B": "a dog", "C": "3"}}):
        completion = f"<think>{thinking}</think><answer>{answer}</answer>"
        assert get_reward("consistency")(completion, target).score == score


@pytest.mark.parametrize(
    "completion",
    [
        "The answer is 3. <answer>3</answer>",
        "<answer>3</answer>",
        "<think>The answer is 3.<answer>3</answer>",
        "<think>The answer is 3.</think><answer>3</answer><think>hm",
        "<answer>3</answer><think>The answer is 3.</think>",
        "<think>The answer is 3.</think>",
        "",
    ],
)
def test_without_thinking_there_is_nothing_to_agree_with(completion):
    assert get_reward("consistency")(completion, {}).score == 0


def test_a_template_may_open_the_thinking():
    assert get_reward("consistency")("The answer is 3.</think>3", {}).score == 1
    # Of two blocks the last one counts.
    blocks = "<think>The answer is 3.</think> <think>The answer is 4.</think>"
    assert [get_reward("consistency")(f"{blocks}{answer}", {}).score for answer in "34"] == [0, 1]


def test_it_says_nothing_about_being_right():
    reward = combine([("counting", 1), ("consistency", 1)])
    wrong = "<think>The answer is 4.</think><answer>4</answer>"
    result = reward(wrong, {"count": 3})
    assert (result.parts["counting"], result.parts["consistency"], reward.accuracy(result)) == (0, 1, 0)


@pytest.mark.parametrize("completion", ["<answer>7</answer>", "<think>Hm.</think><answer>7</answer>", "seven cats"])
def test_dress_makes_a_completion_consistent(completion):
    reward = get_reward("consistency")
    assert reward(reward.dress(completion), {}).score == 1


@pytest.mark.parametrize("options", [[], ["x"] * 27, "ab", [1, 2], {"a": "x"}])
def test_targets_that_are_refused(options):
    with pytest.raises(TargetError, match="'options'"):
        get_reward("consistency").check({"options": options})
