"""Yes or no."""

import pytest

from vision_rewards import get_reward

YES = [
    ("yes", 1, "ok"),
    ("Yes.", 1, "ok"),
    ("TRUE", 1, "ok"),
    ("Answer: yes", 1, "ok"),
    ("no", 0, "ok"),
    ("false", 0, "ok"),
    ("yes no", 0, "unparsable"),
    ("yes and no", 0, "unparsable"),
    ("notice", 0, "unparsable"),
    ("know", 0, "unparsable"),
    ("yesterday", 0, "unparsable"),
    ("yes yes", 0, "unparsable"),
    ("1", 0, "unparsable"),
    ("**Yes**", 1, "ok"),
    ("The answer is: yes.", 1, "ok"),
    ("<think>no, no</think><answer>true</answer>", 1, "ok"),
    ("ｙｅｓ", 1, "ok"),
    ("No.", 0, "ok"),
    ("Not sure, yes", 0, "unparsable"),
    ("yes, I think so", 0, "unparsable"),
    ("not yes", 0, "unparsable"),
    ("y", 0, "unparsable"),
    ("nothing", 0, "unparsable"),
    ("eyes", 0, "unparsable"),
    ("none", 0, "unparsable"),
    ("yes" * 1000, 0, "unparsable"),
    ("<answer></answer>", 0, "no_answer"),
    ("", 0, "no_answer"),
]


@pytest.mark.parametrize(("answer", "score", "reason"), YES)
def test_yes_no(answer, score, reason):
    for target in ("yes", True, "True"):
        result = get_reward("yes_no")(answer, {"answer": target})
        assert (result.score, result.reason) == (score, reason)


def test_an_unreadable_answer_is_wrong_for_both():
    """Two unreadable sides are not equal: an empty string is no answer to an empty string."""
    for target in (True, False):
        for text in ("maybe", "notice", "", "know"):
            assert get_reward("yes_no")(text, {"answer": target}).score == 0
