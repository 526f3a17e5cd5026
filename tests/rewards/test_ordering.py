"""Orders of given items."""

import pytest

from vision_rewards import TargetError, get_reward

# (answer, exact, positions of 4, pairs of 6, reason) against 3, 1, 4, 2.
NUMBERS = [
    ("[3, 1, 4, 2]", 1, 4, 6, "ok"),
    ("3 1 4 2", 1, 4, 6, "ok"),
    ("3, 1, 4, 2", 1, 4, 6, "ok"),
    ("3,1,4, and 2", 1, 4, 6, "ok"),
    ("3 -> 1 -> 4 -> 2", 1, 4, 6, "ok"),
    ("3→1→4→2", 1, 4, 6, "ok"),
    ("3\n1\n4\n2", 1, 4, 6, "ok"),
    ("1. 3\n2. 1\n3. 4\n4. 2", 1, 4, 6, "ok"),
    ("3142", 1, 4, 6, "ok"),
    ('["3", "1", "4", "2"]', 1, 4, 6, "ok"),
    ("```json\n[3, 1, 4, 2]\n```", 1, 4, 6, "ok"),
    ("<think>1 2 3 4</think><answer>(3, 1, 4, 2)</answer>", 1, 4, 6, "ok"),
    # One swap of neighbours: two positions and one pair wrong.
    ("[1, 3, 4, 2]", 0, 2, 5, "ok"),
    ("[3, 1, 2, 4]", 0, 2, 5, "ok"),
    # The ends swapped: two positions wrong; of the pairs, all but (1, 4) turn round.
    ("[2, 1, 4, 3]", 0, 2, 1, "ok"),
    # Rotated: no position; the last item has moved past three.
    ("[2, 3, 1, 4]", 0, 0, 3, "ok"),
    ("[2, 4, 1, 3]", 0, 0, 0, "ok"),
    ("[1, 2, 3, 4]", 0, 0, 3, "ok"),
    ("[3, 1, 4]", 0, 0, 0, "not_a_permutation"),
    ("[3, 1, 4, 2, 5]", 0, 0, 0, "not_a_permutation"),
    ("[3, 1, 4, 5]", 0, 0, 0, "not_a_permutation"),
    ("[0, 1, 2, 3]", 0, 0, 0, "not_a_permutation"),
    ("3 1 4 2 is the order", 0, 0, 0, "not_a_permutation"),
    ("[3, 3, 4, 2]", 0, 0, 0, "repeated"),
    ("[3, 1, 4, 2, 2]", 0, 0, 0, "repeated"),
    ("3 1 4 2, 3 1 4 2", 0, 0, 0, "repeated"),
    ("[3, 1, 4, 2] or [1, 3, 4, 2]", 0, 0, 0, "unparsable"),
    ("[[3, 1, 4, 2]]", 0, 0, 0, "unparsable"),
    ("[3, 1, 4, 2", 0, 0, 0, "unparsable"),
    ("[" * 100, 0, 0, 0, "unparsable"),
    ("", 0, 0, 0, "no_answer"),
]


@pytest.mark.parametrize(("answer", "exact", "positions", "pairs", "reason"), NUMBERS)
def test_order_of_numbers(answer, exact, positions, pairs, reason):
    target = {"order": [3, 1, 4, 2]}
    scores = {
        "exact": exact,
        "position": positions / 4,
        "pairwise": pairs / 6,
        "kendall": max(0, 2 * pairs / 6 - 1),
    }
    for metric, score in scores.items():
        reward = get_reward("ordering", metric=metric)
        result = reward(answer, target)
        assert (result.score, result.reason) == (pytest.approx(score), reason), metric
        assert reward.accuracy(result) == exact
        partial = get_reward("ordering", metric=metric, partial=0.2)(answer, target).score
        assert partial == pytest.approx(score if exact else 0.2 * score)


EVENTS = {"order": ["opens the door", "sits down", "drinks tea"]}
NAMES = [
    ("opens the door, sits down, drinks tea", 1),
    ("Opens the door -> Sits down -> Drinks tea.", 1),
    ("1. opens the door\n2. sits down\n3. drinks tea", 1),
    ('["opens the door", "sits down", "drinks tea"]', 1),
    ("opens-the-door; sits-down; and drinks-tea", 1),
    ("sits down, opens the door, drinks tea", 0),
    ("opens the door, sits down", 0),
    ("opens the door, sits down, drinks tea, leaves", 0),
    ("opens the door sits down drinks tea", 0),
    ("opens the door, sits, drinks tea", 0),
]


@pytest.mark.parametrize(("answer", "score"), NAMES)
def test_order_of_events(answer, score):
    assert get_reward("ordering")(answer, EVENTS).score == score


def test_letters_may_stand_without_blanks():
    target = {"order": ["C", "A", "B"]}
    assert [get_reward("ordering")(text, target).score for text in ("CAB", "cab", "C A B", "C>A>B", "ABC")] == [
        1
    ] * 4 + [0]
    # Two digits have no place of their own.
    assert get_reward("ordering")("1012", {"order": [10, 12]}).score == 0


@pytest.mark.parametrize("order", [[1], [], [1, 1], ["a", "A"], [1.5, 2], [True, False], ["a", ""], "AB", [[1], [2]]])
def test_targets_that_are_refused(order):
    with pytest.raises(TargetError, match="'order'"):
        get_reward("ordering").check({"order": order})
