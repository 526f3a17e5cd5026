"""Values and labels read off charts."""

import pytest

from vision_rewards import TargetError, get_reward, validate

# (answer, target, score, whether it is exact)
CASES = [
    ("100", 100, 1, 1),
    ("105", 100, 1, 0),
    ("95", 100, 1, 0),
    ("105.0001", 100, 0, 0),
    ("94.9999", 100, 0, 0),
    ("-100", 100, 0, 0),
    ("-104", -100, 1, 0),
    ("1.05", "1", 1, 0),
    ("0.0", 0, 1, 1),
    ("0", "0.0", 1, 1),
    ("0.01", 0, 0, 0),
    ("2019", "2019", 1, 1),
    ("2014", "2019", 0, 0),
    ("2014", 2019, 0, 0),
    ("2019.0", "2019", 1, 1),
    ("1950", "2019.0", 1, 0),
    ("1600", "1700", 0, 0),
    ("1400", "1499", 0, 0),
    ("1430", "1499", 1, 0),
    ("1,000", "1000", 1, 1),
    ("1000", "1,000", 1, 1),
    ("$5", "5", 1, 1),
    ("5", "$5", 1, 1),
    ("-5", "-$5", 1, 1),
    ("5", "-$5", 0, 0),
    ("5%", "5", 1, 1),
    ("5", "5%", 1, 1),
    ("0.05", "5%", 0, 0),
    ("5%", 0.05, 0, 0),
    ("100%", "96%", 1, 0),
    ("100%", "94%", 0, 0),
    ("five", "5", 1, 1),
    ("The value is 5.", "5", 1, 1),
    ("<answer>5</answer>", 5, 1, 1),
    ("1e2", "100", 1, 1),
    ("5 million", "5000000", 0, 0),
    ("1_000", "1000", 0, 0),
    ("4 5 6", "5", 0, 0),
    ("5 5", "5", 0, 0),
    ("nan", "5", 0, 0),
    ("inf", "5", 0, 0),
    ("1e999", "5", 0, 0),
    ("", "5", 0, 0),
    ("9" * 10_000, "5", 0, 0),
    ("Red", "red", 1, 1),
    ("Red.", "red", 1, 1),
    ("Answer: red", "red", 1, 1),
    ("the red", "red", 0, 0),
    ("reddish", "red", 0, 0),
    ("red, blue", "red", 0, 0),
    ("red red", "red", 0, 0),
    ("?", "red", 0, 0),
    ("", "red", 0, 0),
    ("Yes", "Yes", 1, 1),
    ("5 million", "5 million", 1, 1),
    ("5.1", "iPhone 5", 0, 0),
    ("iphone 5", "iPhone 5", 1, 1),
    ("[1, 2]", "[1, 2]", 1, 1),
    ("Q3 2019", "Q3 2019", 1, 1),
    ("Q3 2018", "Q3 2019", 0, 0),
]


@pytest.mark.parametrize(("answer", "target", "score", "exact"), CASES)
def test_chart(answer, target, score, exact):
    result = get_reward("chart")(answer, {"answer": target})
    assert (result.score, result.parts["exact"]) == (score, exact)


def test_years_can_be_relaxed_and_tolerance_set():
    assert get_reward("chart", exact_years=False)("2014", {"answer": "2019"}).score == 1
    assert get_reward("chart", tolerance=0)("100.5", {"answer": 100}).score == 0
    assert get_reward("chart", tolerance=0.5)("150", {"answer": 100}).score == 1


def test_every_kind_of_target_has_a_gold_answer():
    numbers = [0, -3, 2019, 0.1, 1e-7, 1e20, 12345678901234567890, -2.5e10]
    texts = ["$1,234.56", "12 %", "€5", "-5%", ".5", "red", "1.2.3", "-$5", "5-10", "3/4", "10:30", "−7"]
    validate("chart", [{"answer": answer} for answer in [*numbers, *texts]])


@pytest.mark.parametrize("answer", ["", " ", "?!", True, None, [5], float("nan"), 10**400, 123456789012345678901])
def test_targets_that_cannot_be_scored(answer):
    with pytest.raises(TargetError, match="'answer'"):
        get_reward("chart").check({"answer": answer})
