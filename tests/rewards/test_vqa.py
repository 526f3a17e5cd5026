"""VQA accuracy as a reward."""

import pytest

from vision_rewards import TargetError, get_reward, validate

# Six of ten say red, two crimson, one "the", one nothing.
TEN = {"answers": ["red"] * 6 + ["crimson"] * 2 + ["the", ""]}
# Two of ten: each of the two has one other who agrees, the eight others have two.
CRIMSON = (2 * 1 / 3 + 8 * 2 / 3) / 10
COLORS = [
    ("red", 1, "ok"),
    ("Red.", 1, "ok"),
    ("  RED\n", 1, "ok"),
    ("the red", 1, "ok"),
    ("a red!", 1, "ok"),
    ("<answer>red</answer>", 1, "ok"),
    ("<think>crimson?</think>red", 1, "ok"),
    ("crimson", CRIMSON, "ok"),
    ("the crimson", CRIMSON, "ok"),
    ("blue", 0, "ok"),
    ("reddish", 0, "ok"),
    ("re d", 0, "ok"),
    ("dark red", 0, "ok"),
    ("it is red", 1, "ok"),
    ("red crimson", 0, "ok"),
    ("red, crimson", 0, "ok"),
    ("red or crimson", 0, "ok"),
    ("red red", 0, "ok"),
    ("red/crimson", 0, "ok"),
    ("0", 0, "ok"),
    ("the", 0, "no_answer"),
    ("a an the", 0, "no_answer"),
    ("?!", 0, "no_answer"),
    (".", 0, "no_answer"),
    ("", 0, "no_answer"),
    ("<answer> </answer>", 0, "no_answer"),
    ("<think>red", 0, "no_answer"),
    ("red " * 4000, 0, "ok"),
    ("x" * 20_001, 0, "too_long"),
]


@pytest.mark.parametrize(("answer", "score", "reason"), COLORS)
def test_ten_annotators(answer, score, reason):
    result = get_reward("vqa")(answer, TEN)
    assert result.score == pytest.approx(score, abs=1e-12)
    assert (result.reason, result.parts["vqa_accuracy"]) == (reason, result.score)


@pytest.mark.parametrize(
    ("answers", "accuracy"),
    [
        (["x"] * 10, 1),
        (["x"] * 4 + list("abcdef"), 1),
        # Each of the three has two others, of three needed.
        (["x"] * 3 + list("abcdefg"), (3 * 2 / 3 + 7) / 10),
        (["x"] * 2 + list("abcdefgh"), CRIMSON),
        (["x", *"bcdefghij"], 9 * 1 / 3 / 10),
        (["x"] * 3, 2 / 3),
        (["x", "x"], 1 / 3),
    ],
)
def test_the_favourite_answer_scores_one(answers, accuracy):
    result = get_reward("vqa")("x", {"answers": answers})
    assert (result.score, result.parts["vqa_accuracy"]) == (1, pytest.approx(accuracy, abs=1e-12))
    validate("vqa", [{"answers": answers}])


@pytest.mark.parametrize(
    ("answer", "target", "score"),
    [
        ("two", "2", 1),
        ("2", "two", 1),
        ("none", "0", 1),
        ("a building", "building", 1),
        ("dont", "don't", 1),
        ("1,000", "1000", 1),
        ("3.5", "3.5", 1),
        ("35", "3.5", 0),
        ("eleven", "11", 0),
        ("-5", "5", 1),  # The evaluation drops every hyphen.
        ("U.S.A.", "usa", 1),
    ],
)
def test_one_annotator_is_matched_once_normalised(answer, target, score):
    assert get_reward("vqa")(answer, {"answers": [target]}).score == score


def test_possessives_as_in_textvqa():
    target = {"answers": ["john 's"] * 10}
    assert get_reward("vqa")("John's", target).score == 0
    assert get_reward("vqa", evalai=True)("John's", target).score == 1


def test_nothing_is_kept_between_calls():
    answers = ["Two cats", "two cats", "2 cats", "cats"]
    reward = get_reward("vqa")
    first = reward("two cats", {"answers": answers})
    for word in ("zebra", "two cats", "zero"):
        reward(word, {"answers": answers})
    assert reward("two cats", {"answers": answers}) == first
    assert answers == ["Two cats", "two cats", "2 cats", "cats"]
    assert first.parts["vqa_accuracy"] == pytest.approx((3 * 2 / 3 + 1) / 4)


@pytest.mark.parametrize("answers", [[], "red", ["red", 3], ["the"], ["", "?"], ["a"] * 101, ["x" * 1001], {"red": 1}])
def test_targets_that_cannot_be_scored(answers):
    with pytest.raises(TargetError, match="'answers'"):
        get_reward("vqa").check({"answers": answers})
