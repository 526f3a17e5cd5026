"""Questions about a video, scored by the kind of their answer."""

import pytest

from vision_rewards import TargetError, get_reward

CHOICE = {"answer": "B", "options": ["runs", "jumps", "3"]}
OPEN = {"answer": "He opens the red door."}

CASES = [
    (CHOICE, "B", 1, "ok"),
    (CHOICE, "<answer>(B) jumps</answer>", 1, "ok"),
    (CHOICE, "jumps", 1, "ok"),
    (CHOICE, "3", 0, "ok"),
    (CHOICE, "A, B, C", 0, "many_letters"),
    (CHOICE, "he jumps", 0, "unparsable"),
    ({"answer": "C"}, "(C)", 1, "ok"),
    ({"answer": "C"}, "yes", 0, "unparsable"),
    ({"answer": ["A", "B"], "options": ["x", "y", "z"]}, "A and B", 1, "ok"),
    ({"answer": ["A", "B"], "options": ["x", "y", "z"]}, "A, B, C", 0, "ok"),
    ({"answer": "Yes"}, "yes.", 1, "ok"),
    ({"answer": False}, "No", 1, "ok"),
    ({"answer": False}, "notice", 0, "unparsable"),
    ({"answer": "no"}, "yes and no", 0, "unparsable"),
    ({"answer": 3}, "three times", 1, "ok"),
    ({"answer": 3}, "30", 0, "ok"),
    ({"answer": 3}, "2 or 3", 0, "many_numbers"),
    ({"answer": 0}, "0", 1, "ok"),
    # ROUGE needs words: a number as text is an open answer of one word.
    ({"answer": "3"}, "3", 1, "ok"),
    ({"answer": "3"}, "33", 0, "ok"),
    (OPEN, "he opens the red door", 1, "ok"),
    (OPEN, "She sleeps", 0, "ok"),
    (OPEN, "", 0, "no_answer"),
    # Four of five words in order: F1 of words and of the longest run 2·4/9, of the 2 pairs out of 3 and 4 4/7.
    (OPEN, "He opens the door.", (2 * 4 / 9 + 2 * 2 / 7 + 2 * 4 / 9) / 3, "ok"),
    # Listing all that may be seen loses precision: 5 of 50 words; F1 2·5/55, pairs 2·4/53.
    (OPEN, "He opens the red door." + " word" * 45, (2 * 5 / 55 + 2 * 4 / 53 + 2 * 5 / 55) / 3, "ok"),
]


@pytest.mark.parametrize(("target", "answer", "score", "reason"), CASES)
def test_video_qa(target, answer, score, reason):
    result = get_reward("video_qa")(answer, target)
    assert (result.score, result.reason) == (pytest.approx(score), reason)


def test_it_scores_as_the_reward_it_picks():
    route = get_reward("video_qa", extract="boxed", params={"multiple_choice": {"several": "subset"}})
    several = {"answer": ["A", "B"], "options": ["x", "y", "z"]}
    for target, name in [(CHOICE, "multiple_choice"), ({"answer": True}, "yes_no"), ({"answer": 3}, "numeric"),
                         (OPEN, "open_ended")]:  # fmt: skip
        other = get_reward(name, extract="boxed")
        for text in ("\\boxed{B}", "\\boxed{yes}", "\\boxed{3}", "\\boxed{He opens it}", "B", ""):
            assert route(text, target).score == other(text, target).score
            assert route.accuracy(route(text, target)) == other.accuracy(other(text, target))
    assert route("\\boxed{A}", several).score == 0.5


@pytest.mark.parametrize(
    "target", [{"answer": "D", "options": ["x"]}, {"answer": ""}, {"answer": {}}, {"answer": "?!"}]
)
def test_targets_that_are_refused(target):
    with pytest.raises(TargetError):
        get_reward("video_qa").check(target)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="did you mean 'yes_no'"):
        get_reward("video_qa", params={"yes_on": {}})
    with pytest.raises(ValueError, match="no parameter"):
        get_reward("video_qa", params={"numeric": {"absolute": 1}})
