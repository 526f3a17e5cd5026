"""Counts: exact, within one, by relative error."""

import pytest

from vision_rewards import get_reward
from vision_rewards.parsers import parse_number

# (answer, score, absolute error, reason) against 3.
COUNTING = [
    ("3", 1, 0, "ok"),
    ("three", 1, 0, "ok"),
    ("Three.", 1, 0, "ok"),
    ("There are 3 cats.", 1, 0, "ok"),
    ("there are three", 1, 0, "ok"),
    ("3.0", 1, 0, "ok"),
    ("+3", 1, 0, "ok"),
    ("**3**", 1, 0, "ok"),
    ("３", 1, 0, "ok"),
    ("<think>2 and 1</think>3", 1, 0, "ok"),
    ("1 <answer>3</answer> 2", 1, 0, "ok"),
    ("2", 0, 1, "ok"),
    ("zero", 0, 3, "ok"),
    ("twenty", 0, 17, "ok"),
    ("30", 0, 27, "ok"),
    ("33", 0, 30, "ok"),
    ("3,000", 0, 2997, "ok"),
    ("-3", 0, 6, "ok"),
    ("−3", 0, 6, "ok"),
    ("1 2 3", 0, None, "many_numbers"),
    ("3 3", 0, None, "many_numbers"),
    ("2 or 3", 0, None, "many_numbers"),
    ("3-4", 0, None, "many_numbers"),
    ("1 row of 3 = three", 0, None, "many_numbers"),
    ("twenty-three", 0, 20, "ok"),
    ("3/1", 0, None, "many_numbers"),
    ("three hundred", 0, None, "unparsable"),
    ("3 million", 0, None, "unparsable"),
    ("minus three", 0, 6, "ok"),
    ("3k", 0, None, "unparsable"),
    ("3rd", 0, None, "unparsable"),
    ("3%", 0, None, "unparsable"),
    ("3²", 0, None, "unparsable"),
    ("3.5", 0, None, "unparsable"),
    ("1.2.3", 0, None, "unparsable"),
    ("v3", 0, None, "unparsable"),
    ("threesome", 0, None, "unparsable"),
    ("many", 0, None, "unparsable"),
    ("3" * 5000, 0, None, "unparsable"),
    ("3e999", 0, None, "unparsable"),
    ("", 0, None, "no_answer"),
    ("<think>3", 0, None, "no_answer"),
]


@pytest.mark.parametrize(("answer", "score", "error", "reason"), COUNTING)
def test_counting(answer, score, error, reason):
    result = get_reward("counting")(answer, {"count": 3})
    closeness = 0.0 if error is None else 1 / (1 + error)
    assert (result.score, result.parts["closeness"], result.reason) == (score, closeness, reason)


@pytest.mark.parametrize(("answer", "score", "error", "reason"), COUNTING)
def test_graded_counting(answer, score, error, reason):
    """Within one: |n − 3| ≤ 1; relative: max(0, 1 − |n − 3| / 3)."""
    near = 0.0 if error is None else float(error <= 1)
    relative = 0.0 if error is None else max(0.0, 1 - error / 3)
    for metric, expected in {"off_by_one": near, "relative": relative}.items():
        reward = get_reward("counting", metric=metric)
        result = reward(answer, {"count": 3})
        assert result.score == pytest.approx(expected), metric
        assert reward.accuracy(result) == score


@pytest.mark.parametrize(
    ("answer", "count", "relative"),
    [("0", 0, 1), ("1", 0, 0), ("5", 0, 0), ("18", 20, 0.9), ("40", 20, 0), ("999", 18, 0), ("1", 2, 0.5)],
)
def test_relative_error_of_small_and_large_counts(answer, count, relative):
    assert get_reward("counting", metric="relative")(answer, {"count": count}).score == pytest.approx(relative)


@pytest.mark.parametrize("answer", ["not 3", "There are not 3", "3 million", "three dozen", "a third", "half of 6"])
def test_words_that_change_a_number_are_not_skipped(answer):
    assert get_reward("counting")(answer, {"count": 3}).score == 0


# Scales, fractions, signs and powers, as they are written beside a number.
WORDS = (
    "hundred hundreds thousand thousands million millions billion billions trillion trillions mln mio mrd bn tn "
    "dozen dozens doz dz gross lakh lakhs lac lacs crore crores half third thirds quarter quarters "
    "minus negative not squared cubed factorial"
)
CHANGING = WORDS.split()


def test_a_number_beside_each_word_that_changes_it_is_refused():
    refused = dict.fromkeys(CHANGING, (None, "unparsable"))
    assert {word: parse_number(f"3 {word}") for word in CHANGING} == refused
    # In words some say a number of their own: three dozen are 36.
    said = {word: parse_number(f"four {word}") for word in CHANGING}
    assert said == refused


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("one third", (None, "unparsable")),
        ("two thirds", (None, "unparsable")),
        ("1,234", (1234, "ok")),
        ("I think 1,234.", (1234, "ok")),
        # The comma behind them may part thousands, items of a list or clauses.
        ("1,234, I think", (None, "many_numbers")),
        ("1,234,", (None, "many_numbers")),
        ("1,234,5", (None, "many_numbers")),
    ],
)
def test_numbers_that_could_be_read_in_two_ways_are_not_guessed(text, number):
    assert parse_number(text) == number
