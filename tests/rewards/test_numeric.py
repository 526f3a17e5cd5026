"""Numbers within a tolerance, with units."""

import pytest

from vision_rewards import TargetError, get_reward

# (answer, target, absolute tolerance, relative tolerance, score)
NUMERIC = [
    ("5", 5, 0, 0, 1),
    ("5 apples", 5, 0, 0, 1),
    ("1,000", 1000, 0, 0, 1),
    ("$5.50", "5.5", 0, 0, 1),
    ("50%", 50, 0, 0, 1),
    ("50%", "50%", 0, 0, 1),
    ("50%", 0.5, 0, 0, 0),
    ("1e3", 1000, 0, 0, 1),
    ("-0.5", -0.5, 0, 0, 1),
    ("0.0", 0, 0, 0, 1),
    ("five", 5, 0, 0, 1),
    ("5.1", 5, 0, 0, 0),
    ("1.1", 1.0, 0.1, 0, 1),
    ("1.11", 1.0, 0.1, 0, 0),
    ("105", 100, 0, 0.05, 1),
    ("105.01", 100, 0, 0.05, 0),
    ("-95", -100, 0, 0.05, 1),
    ("0.01", 0, 0, 0.05, 0),
    ("2014", 2019, 0, 0, 0),
    ("4 or 5", 5, 0, 0, 0),
    ("1/2", 0.5, 0, 0, 1),
    ("2/4", 0.5, 0, 0, 0),
    ("4/2", 2, 0, 0, 0),
    ("nan", 5, 0, 0, 0),
    ("inf", 5, 0, 1, 0),
    ("1e999", 5, 0, 0, 0),
    ("5 million", 5, 0, 0, 0),
    ("", 5, 0, 0, 0),
]


@pytest.mark.parametrize(("answer", "target", "absolute", "relative", "score"), NUMERIC)
def test_numeric(answer, target, absolute, relative, score):
    assert get_reward("numeric", abs=absolute, rel=relative)(answer, {"answer": target}).score == score


# (answer, unit, score) against 5.
UNITS = [
    ("5 m", "m", 1),
    ("5m", "m", 1),
    ("5", "m", 1),
    ("5.0 m.", "m", 1),
    ("five m", "m", 1),
    ("Answer: 5 metres", ["m", "metres"], 1),
    ("$5", "$", 1),
    ("$5.00", "$", 1),
    ("5 €", "€", 1),
    ("5e0 m", "m", 1),
    ("5 m/s", ["m/s", "m"], 1),
    ("5 km", "m", 0),
    ("5km", "m", 0),
    ("5 cm", ["m", "metres"], 0),
    ("5 M", "m", 0),
    ("5 m/s", "m", 0),
    ("5 apples", "m", 0),
    ("5 or so m", "m", 0),
    ("about 5 m", "m", 1),
    ("5 m 6 m", "m", 0),
    ("m", "m", 0),
    ("6 m", "m", 0),
]


@pytest.mark.parametrize(("answer", "unit", "score"), UNITS)
def test_units(answer, unit, score):
    assert get_reward("numeric")(answer, {"answer": 5, "unit": unit}).score == score


def test_a_percent_sign_has_one_reading():
    reward = get_reward("numeric")
    assert [reward("50%", {"answer": value}).score for value in (50, 0.5, "50%", 5000)] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    "target",
    [{"answer": 5, "unit": ""}, {"answer": 5, "unit": 3}, {"answer": 5, "unit": ["m", ""]},
     {"answer": "5 km", "unit": "m"}, {"answer": True}, {"answer": [5]}],
)  # fmt: skip
def test_targets_that_are_refused(target):
    with pytest.raises(TargetError):
        get_reward("numeric").check(target)
