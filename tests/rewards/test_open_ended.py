"""Free text: ROUGE, BLEU and keywords, with values counted by hand."""

import math

import pytest

from vision_rewards import TargetError, get_reward, validate

# Five words, four pairs.
CAR = {"answer": "A red car turns left."}


def mean(*scores):
    return sum(scores) / len(scores)


# (answer, ROUGE-1, ROUGE-2, ROUGE-L), each F1 = 2 · shared / (said + expected)
ROUGE = [
    ("A red car turns left.", 1, 1, 1),
    ("a RED car, turns left", 1, 1, 1),
    ("<answer>A red car turns left</answer>", 1, 1, 1),
    ("<think>A blue van stops.</think>A red car turns left", 1, 1, 1),
    ("A red car.", 6 / 8, 4 / 6, 6 / 8),
    ("A red car turns right", 8 / 10, 6 / 8, 8 / 10),
    ("car", 2 / 6, 0, 2 / 6),
    ("left turns car red a", 1, 0, 2 / 10),
    ("A red van turns left", 8 / 10, 4 / 8, 8 / 10),
    ("There is a red car that turns left here", 10 / 14, 6 / 12, 10 / 14),
    ("A red car turns left. A red car turns left.", 10 / 15, 8 / 13, 10 / 15),
    ("a a a a a", 2 / 10, 0, 2 / 10),
    ("blue van", 0, 0, 0),
    ("redcar", 0, 0, 0),
    ("red " * 4000, 2 / 4005, 0, 2 / 4005),
    ("...", 0, 0, 0),
    ("", 0, 0, 0),
    ("<answer></answer>", 0, 0, 0),
    ("<think>A red car turns left.", 0, 0, 0),
    ("x" * 20_001, 0, 0, 0),
]


@pytest.mark.parametrize(("answer", "one", "two", "longest"), ROUGE)
def test_rouge(answer, one, two, longest):
    assert get_reward("open_ended")(answer, CAR).score == pytest.approx(mean(one, two, longest), abs=1e-12)
    assert get_reward("open_ended", metric="rougeL")(answer, CAR).score == pytest.approx(longest, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("A red car turns left.", 1),
        # Precisions 4/5, 3/4, 2/3, 1/2.
        ("A red car turns right", (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        # Precisions 4/4, 3/3, 2/2, 1/1; brevity exp(1 − 5/4).
        ("A red car turns", math.exp(1 - 5 / 4)),
        ("car", math.exp(1 - 5)),
        # Three, then no pair of two: the first that is missing counts as 1/2 of a match. Brevity exp(1 − 5/3).
        ("left car red", math.exp(1 - 5 / 3) * (1 * (1 / 2 / 2) * (1 / 4 / 1)) ** (1 / 3)),
        ("blue van", 0),
        ("", 0),
    ],
)
def test_bleu(answer, score):
    assert get_reward("open_ended", metric="bleu")(answer, CAR).score == pytest.approx(score, abs=1e-12)


KEYS = {"keywords": ["red", ["car", "vehicle"], "left turn"]}
# (answer, score of `keywords`, score of `ordered_keywords`)
KEYWORDS = [
    ("A red car makes a left turn.", 1, 1),
    ("red car left turn", 1, 1),
    ("The RED vehicle: left turn!", 1, 1),
    ("A red car, a red car, makes a left turn", 1, 1),
    ("The car is red and makes a left turn.", 1, 2 / 3),
    ("A left turn by a red car", 1, 2 / 3),
    ("A left turn of a car in red", 1, 1 / 3),
    ("A red car turns left.", 2 / 3, 2 / 3),
    ("red", 1 / 3, 1 / 3),
    ("turn left, car", 1 / 3, 1 / 3),
    ("redcar left turns", 0, 0),
    ("carpet", 0, 0),
    ("blue", 0, 0),
    # Eight occurrences, four of which are free for three keywords: 3 / 4.
    ("red red red red red car left turn left turn", 3 / 4, 3 / 4),
    ("red " * 50, 1 / 25, 1 / 25),
    ("red car left turn " * 5, 3 / 7.5, 3 / 7.5),
    # 200 words, twice as many as are free.
    ("red car left turn" + " x" * 196, 1 / 2, 1 / 2),
    ("?!", 0, 0),
    ("", 0, 0),
    ("<think>red car left turn", 0, 0),
]


@pytest.mark.parametrize(("answer", "found", "ordered"), KEYWORDS)
def test_keywords(answer, found, ordered):
    for metric, score in {"keywords": found, "ordered_keywords": ordered}.items():
        result = get_reward("open_ended", metric=metric)(answer, KEYS)
        assert result.score == pytest.approx(score, abs=1e-12), metric
    assert 0 <= result.parts["recall"] <= 1


def test_the_best_reference_counts():
    target = {"answer": ["a cat", "a red car"]}
    assert get_reward("open_ended")("a cat", target).score == get_reward("open_ended")("a red car", target).score == 1
    # Against "a cat": 2/4 and no pair.
    assert get_reward("open_ended")("a dog", target).score == pytest.approx(mean(2 / 4, 0, 2 / 4))


def test_one_word_references_have_no_pairs():
    assert get_reward("open_ended")("cat", {"answer": "Cat!"}).score == 1
    assert get_reward("open_ended")("a cat", {"answer": "cat"}).score == pytest.approx(2 / 3)


def test_words_of_every_script_count():
    reward = get_reward("open_ended")
    assert reward("红色汽车左转", {"answer": "红色汽车左转。"}).score == 1
    # Four of six ideographs, three of five pairs.
    assert reward("红色汽车右停", {"answer": "红色汽车左转"}).score == pytest.approx(mean(4 / 6, 3 / 5, 4 / 6))
    assert reward("蓝天白云", {"answer": "红色汽车左转"}).score == 0
    assert reward("की", {"answer": "का"}).score == 0


def test_stems():
    target = {"answer": "cars turning"}
    assert get_reward("open_ended")("car turned", target).score == 0
    # rouge-score leaves words of three letters alone, and "cars" becomes "car".
    assert get_reward("open_ended", stem=True)("car turned", target).score == 1


def test_targets_need_what_the_metric_compares():
    assert get_reward("open_ended")("x", KEYS).score is None
    assert get_reward("open_ended", metric="keywords")("x", CAR).score is None
    validate("open_ended", [CAR, {"answer": ["x", "y z"]}, {"answer": "日本"}, {"answer": "don't stop — now"}])
    for metric in ("keywords", "ordered_keywords"):
        validate("open_ended", [KEYS, {"keywords": ["a"]}, {"keywords": ["a b", "c"]}], metric=metric)


@pytest.mark.parametrize(
    ("metric", "target"),
    [
        ("rouge", {"answer": ""}),
        ("rouge", {"answer": "?!"}),
        ("rouge", {"answer": []}),
        ("rouge", {"answer": ["a", "."]}),
        ("bleu", {"answer": 3}),
        ("rouge", {"answer": "x" * 20_001}),
        ("keywords", {"keywords": []}),
        ("keywords", {"keywords": "red"}),
        ("keywords", {"keywords": ["red", "!"]}),
        ("keywords", {"keywords": ["red", []]}),
        ("keywords", {"keywords": ["red", 3]}),
        ("keywords", {"keywords": ["red"] * 3}),
        ("keywords", {"keywords": [f"w{i}" for i in range(101)]}),
        ("ordered_keywords", {"keywords": ["a b", "a"]}),
        ("keywords", {"answer": "red"}),
    ],
)
def test_targets_that_cannot_be_scored(metric, target):
    with pytest.raises(TargetError, match=r"\w"):
        get_reward("open_ended", metric=metric).check(target)
