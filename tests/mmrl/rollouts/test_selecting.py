"""Every rule of selection on rows whose profile is known."""

import pytest

from mmrl.contracts.errors import ConfigError, UserError
from mmrl.contracts.generated import Answer, answered
from mmrl.recipe.generating import GenerateConfig
from mmrl.recipe.selections import selection_settings
from mmrl.rollouts.selecting import select


def row(name, *answers, task="ocr"):
    """Answers as (text, reward, length), each as accurate as it is rewarded above 1/2."""
    made = [
        Answer(i, text, reward, float(reward >= 0.5), length, parsed=text[0])
        for i, (text, reward, length) in enumerate(answers)
    ]
    return answered({"id": name, "task": task}, made)


EASY = row("easy", ("a1", 1.0, 5), ("a2", 0.9, 3), ("a1", 1.0, 5))
MIXED = row("mixed", ("b", 0.1, 9), ("c1", 0.5, 4), ("c2", 0.8, 7), ("d", 0.4, 2), task="counting")
HOPELESS = row("hopeless", ("e", 0.0, 1), ("f", 0.2, 8))
ROWS = [EASY, MIXED, HOPELESS]


def test_equal_pairs_are_told_by_the_first_answers():
    """Of 1.0, 0.9, 1.0: both 1.0 differ as much from 0.9; among four right and wrong ones the first of each stand."""
    assert kept({"name": "contrast", "by": "form"})["easy"] == [0, 1]
    tied = row("tied", ("f", 0.2, 1), ("a", 1.0, 1), ("g", 0.2, 1), ("b", 1.0, 1))
    for by in ("accuracy", "reward"):
        (left,), _ = select([tied], [selection_settings({"name": "contrast", "by": by})])
        assert [answer.number for answer in left.answers] == [0, 1]
        assert left.pairs == ((1, 0),)


def kept(*rules):
    rows, _ = select(ROWS, [selection_settings(rule) for rule in rules])
    return {each.row["id"]: [answer.number for answer in each.answers] for each in rows}


def test_the_profile_of_a_row():
    assert (MIXED.pass_rate, MIXED.majority, MIXED.agreement, MIXED.sampled) == (0.5, "'c'", 0.5, 4)
    assert (EASY.pass_rate, HOPELESS.pass_rate) == (1.0, 0.0)
    assert HOPELESS.mean_reward == 0.1


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("right", {"easy": [0, 1, 2], "mixed": [1, 2]}),
        ("wrong", {"mixed": [0, 3], "hopeless": [0, 1]}),
        ("best", {"easy": [0], "mixed": [2], "hopeless": [1]}),
        ({"name": "best", "k": 2}, {"easy": [0, 2], "mixed": [1, 2], "hopeless": [0, 1]}),
        ("worst", {"easy": [1], "mixed": [0], "hopeless": [0]}),
        ({"name": "pass_rate", "low": 0.0, "high": 0.5}, {"mixed": [0, 1, 2, 3], "hopeless": [0, 1]}),
        ("inconsistent", {"mixed": [0, 1, 2, 3]}),
        ({"name": "hard", "k": 1}, {"hopeless": [0, 1]}),
        ({"name": "hard", "share": 0.67}, {"mixed": [0, 1, 2, 3], "hopeless": [0, 1]}),
        ({"name": "top", "k": 4}, {"easy": [0, 1, 2], "mixed": [2]}),
        ("shortest_right", {"easy": [1], "mixed": [1]}),
        ("longest_right", {"easy": [0], "mixed": [2]}),
        ("majority", {"easy": [0, 1, 2], "mixed": [1, 2], "hopeless": [0]}),
        ({"name": "majority", "agreement": 0.6}, {"easy": [0, 1, 2]}),
        ("distinct", {"easy": [0, 1], "mixed": [0, 1, 2, 3], "hopeless": [0, 1]}),
        ({"name": "length", "low": 3, "high": 7}, {"easy": [0, 1, 2], "mixed": [1, 2]}),
        ({"name": "contrast"}, {"mixed": [2, 3]}),
        ({"name": "contrast", "by": "form"}, {"easy": [0, 1], "mixed": [1, 2]}),
        ({"name": "contrast", "by": "reward", "margin": 0.3}, {"mixed": [0, 2]}),
    ],
)
def test_what_a_rule_keeps(rule, left):
    assert kept(rule) == left


def test_pairs_name_the_better_answer_first():
    pairs = {each.row["id"]: each.pairs for each in select(ROWS, [selection_settings("contrast")])[0]}
    assert pairs == {"mixed": ((2, 3),)}
    rules = [selection_settings({"name": "contrast", "by": "form"}), selection_settings("right")]
    assert {each.row["id"]: each.pairs for each in select(ROWS, rules)[0]} == {"easy": ((0, 1),), "mixed": ((2, 1),)}


def test_a_pair_that_a_later_rule_breaks_is_gone():
    rules = [selection_settings("contrast"), selection_settings("right")]
    assert [each.pairs for each in select(ROWS, rules)[0]] == [()]


def test_so_many_of_each_value_of_a_column():
    left = kept({"name": "per", "column": "task", "k": 2})
    assert sum(len(left.get(name, [])) for name in ("easy", "hopeless")) == 2
    assert len(left["mixed"]) == 2
    with pytest.raises(UserError, match="row easy has no column 'topic'; it has id, task"):
        kept({"name": "per", "column": "topic", "k": 2})


def test_rules_apply_in_turn_and_are_counted():
    rows, counts = select(ROWS, [selection_settings("inconsistent"), selection_settings({"name": "right", "at": 0.5})])
    assert [str(count) for count in counts] == ["inconsistent 9 -> 4", "right (at 0.5) 4 -> 2"]
    assert [each.row["id"] for each in rows] == ["mixed"]


def test_nothing_left_says_what_each_rule_left():
    with pytest.raises(UserError) as error:
        kept("inconsistent", {"name": "length", "low": 50})
    said = (
        "select: nothing is left of 9 answers to 3 rows: inconsistent 9 -> 4; length (low 50, truncated False) 4 -> 0"
    )
    assert str(error.value).startswith(said)


def test_a_function_of_one_s_own(workplace):
    (workplace / "rules.py").write_text(
        "def only(rows, name):\n    return [row for row in rows if row.row['id'] == name]\n\n\n"
        "def broken(rows):\n    return [1]\n"
    )
    assert kept({"name": "rules:only", "params": {"name": "easy"}}) == {"easy": [0, 1, 2]}
    with pytest.raises(UserError, match="select: 'rules:only' failed: TypeError"):
        kept("rules:only")
    with pytest.raises(UserError, match="'rules:broken' gave something else than rows"):
        kept("rules:broken")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("bset", "select.name: unknown selection 'bset'. Did you mean 'best'?"),
        ({"name": "best", "n": 2}, "select.best.n: unknown key 'n'"),
        ({"name": "pass_rate", "low": 0.8, "high": 0.2}, "select.pass_rate: low 0.8 is above high 0.2"),
        ({"name": "hard"}, "select.hard: 'hard' needs k or share"),
        ({"name": "top", "k": 1, "share": 0.5}, "select.top: 'top' needs k or share"),
        (3, "select: a rule's name, or a mapping with it, is needed"),
    ],
)
def test_what_is_no_rule_is_refused(given, said):
    with pytest.raises(ConfigError) as error:
        selection_settings(given)
    assert str(error.value).startswith(said)


def test_pairs_are_written_where_a_rule_makes_some():
    with pytest.raises(ValueError, match="write: pairs needs a rule that makes them"):
        GenerateConfig(write="pairs", select=["best"])
    assert GenerateConfig(write="pairs", select=["contrast"]).select[0].by == "accuracy"
