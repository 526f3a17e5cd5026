"""Numbers graded by relative error."""

import pytest

from vision_rewards import get_reward

# (answer, target, thresholds of ten passed, relative accuracy). θ = 1 − k/20 passes where the error is below k/20:
# an error in [(k − 1)/20, k/20) passes 11 − k.
MRA = [
    ("100", 100, 10, 1),
    ("100.0 cm", 100, 10, 1),
    ("1e2", 100, 10, 1),
    ("<think>50?</think><answer>100</answer>", 100, 10, 1),
    ("104.9", 100, 10, 0.951),
    ("95.1", 100, 10, 0.951),
    ("105", 100, 9, 0.95),
    ("95", 100, 9, 0.95),
    ("109.99", 100, 9, 0.9001),
    ("110", 100, 8, 0.9),
    ("80", 100, 6, 0.8),
    ("75", 100, 5, 0.75),
    ("55", 100, 1, 0.55),
    ("145", 100, 1, 0.55),
    ("50", 100, 0, 0.5),
    ("150", 100, 0, 0.5),
    ("0", 100, 0, 0),
    ("200", 100, 0, 0),
    ("-100", 100, 0, 0),
    ("-100", -100, 10, 1),
    ("-80", -100, 6, 0.8),
    ("0.3", 0.3, 10, 1),
    ("0.315", 0.3, 9, 0.95),
    ("3", 3, 10, 1),
    ("three", 3, 10, 1),
    ("100.4", 100, 10, 0.996),
    ("0", 0, 10, 1),
    ("0.0001", 0, 0, 0),
    ("1e99", 1, 0, 0),
    ("50%", 50, 10, 1),
    ("50%", 0.5, 0, 0),
    ("1,000", 1000, 10, 1),
    ("100 or 100", 100, 0, 0),
    ("90 to 110", 100, 0, 0),
    ("1/2", 0.5, 10, 1),
    ("5 million", 5, 0, 0),
    ("nan", 100, 0, 0),
    ("inf", 100, 0, 0),
    ("1e999", 100, 0, 0),
    ("many", 100, 0, 0),
    ("", 100, 0, 0),
    ("<answer></answer>", 100, 0, 0),
]


@pytest.mark.parametrize(("answer", "target", "passed", "relative"), MRA)
def test_regression(answer, target, passed, relative):
    reward = get_reward("regression")
    result = reward(answer, {"answer": target})
    assert result.score == reward.accuracy(result) == passed / 10
    graded = get_reward("regression", metric="relative")
    other = graded(answer, {"answer": target})
    assert other.score == pytest.approx(relative, abs=1e-12)
    assert graded.accuracy(other) == passed / 10


def test_a_unit_other_than_the_targets_scores_zero():
    reward = get_reward("regression")
    assert [reward(text, {"answer": 2, "unit": "m"}).score for text in ("2 m", "2", "2 cm", "200 cm")] == [1, 1, 0, 0]
