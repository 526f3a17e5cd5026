"""Form of the whole completion: its length, and whether it repeats itself."""

import math

import pytest

from vision_rewards import TargetError, combine, get_reward, validate

# (completion, n, distinct runs, all runs), counted by hand
REPETITION = [
    ("a b c d e f g h", 2, 7, 7),
    ("a b a b a b a b", 2, 2, 7),
    ("a b a b", 2, 2, 3),
    ("A a a a", 1, 1, 4),
    ("yes yes yes", 6, 1, 2),
    ("yes yes", 6, 1, 2),
    ("yes", 6, 1, 1),
    ("one two three four five six seven", 6, 4, 4),
    ("the cat. " * 10, 6, 3, 25),
    ("!!!!!!!!!!!!", 6, 1, 7),
    ("x" * 160, 6, 1, 6),
    ("ha" * 80, 6, 1, 6),
    ("红红红红红红红红红红红红", 6, 1, 7),
    ("红色汽车左转", 6, 4, 4),
    ("1 2 3 4 5 1 2 3 4 5", 5, 5, 6),
    ("a b c x a b c y a b c z", 3, 8, 10),
    ("\n".join(["loop"] * 100), 6, 1, 95),
    ("<think>so so so so</think><answer>3</answer>", 50, 9, 9),
    ("  spaced    words \n here ", 3, 2, 2),
    ("a\u200ba\u200ba\u200ba\u200b", 2, 2, 7),
]


@pytest.mark.parametrize(("completion", "n", "distinct", "total"), REPETITION)
def test_repetition(completion, n, distinct, total):
    strict = get_reward("repetition", n=n, allowed=0.0)(completion, {})
    assert strict.score == strict.parts["distinct"] == pytest.approx(distinct / total, abs=1e-12)
    lenient = get_reward("repetition", n=n, allowed=0.5)(completion, {})
    assert lenient.score == pytest.approx(min(1, 2 * distinct / total), abs=1e-12)


@pytest.mark.parametrize(
    ("completion", "reason"), [("", "no_answer"), (" \n\t", "no_answer"), ("x " * 500_001, "too_long")]
)
def test_nothing_to_measure(completion, reason):
    for name in ("repetition", "length"):
        result = get_reward(name)(completion, {})
        assert (result.score, result.reason) == (0, reason)


# (completion, length in words and marks)
WORDS = [
    ("one two three", 3),
    ("one, two.", 4),
    ("  one \n\n two ", 2),
    ("x" * 16, 1),
    ("x" * 17, 2),
    ("x" * 160, 10),
    ("!?!", 3),
    ("红色汽车", 4),
    ("don't", 3),
    ("<answer>3</answer>", 8),
]


@pytest.mark.parametrize(("completion", "words"), WORDS)
def test_length_in_words(completion, words):
    assert get_reward("length")(completion, {}).parts["length"] == words


# (length in characters, overlong, brevity) for low 100 and high 200
CURVES = [
    (1, 1, 1),
    (50, 1, 1),
    (100, 1, 1),
    (101, 99 / 100, 100 / 101),
    (125, 3 / 4, 4 / 5),
    (150, 1 / 2, 2 / 3),
    (199, 1 / 100, 100 / 199),
    (200, 0, 1 / 2),
    (400, 0, 1 / 4),
    (100_000, 0, 1 / 1000),
]


@pytest.mark.parametrize(("length", "overlong", "brevity"), CURVES)
def test_overlong_and_brevity(length, overlong, brevity):
    for kind, score in {"overlong": overlong, "brevity": brevity}.items():
        reward = get_reward("length", kind=kind, low=100, high=200, unit="characters")
        for text in ("x" * length, "\n" + "x" * length + " " * 50):
            assert reward(text, {}).score == pytest.approx(score, abs=1e-12)


# (progress from low to high, score of a right answer, of a wrong one), with floor 0.5 and wrong 0.2
COSINE = [
    (-1, 1, 0),
    (0, 1, 0),
    (1 / 4, 0.5 + 0.5 * (1 + math.sqrt(0.5)) / 2, 0.2 * (1 - math.sqrt(0.5)) / 2),
    (1 / 2, 0.75, 0.1),
    (1, 0.5, 0.2),
    (9, 0.5, 0.2),
]


@pytest.mark.parametrize(("progress", "right", "wrong"), COSINE)
def test_cosine(progress, right, wrong):
    reward = get_reward("length", kind="cosine", low=200, high=400, unit="characters", of="counting", wrong=0.2)
    for number, score in {"3": right, "4": wrong}.items():
        tags = f"<think></think>{number}"
        text = f"<think>{'x' * round(200 + 200 * progress - len(tags))}</think>{number}"
        result = reward(text, {"count": 3})
        assert result.score == pytest.approx(score, abs=1e-12)
        assert result.parts["accuracy"] == float(number == "3")


def test_a_wrong_answer_never_earns_the_curve_of_a_right_one():
    reward = get_reward("length", kind="cosine", low=10, high=20, of=["ocr", {"metric": "cer"}])
    for words in (1, 10, 15, 20, 1000):
        assert reward("<think>" + "w " * words + "</think>blue", {"text": "red"}).score == 0
    assert reward("", {"text": "red"}).score == 0
    assert reward("<think>red", {"text": "red"}).score == 0
    assert reward("red", {"text": "red"}).score == 1
    assert reward("x", {"count": 3}).score is None


def test_cosine_follows_its_judge():
    reward = get_reward("length", kind="cosine", of="route")
    assert reward.for_task("counting").judge.name == "counting"
    assert reward.for_task("counting")("3", {"count": 3}).score == 1
    assert get_reward("length").for_task("counting") == get_reward("length")
    validate(get_reward("length", kind="cosine", of="multiple_choice"), [{"answer": "A"}])
    with pytest.raises(TargetError, match="longer than low=2"):
        get_reward("length", kind="cosine", low=2, of="ocr").check({"text": "one two three"})


def test_combined_with_an_answer():
    both = combine([("counting", 3), ("repetition", 1), ("length", 1, {"low": 10, "high": 20})])
    validate(both, [{"count": 3}])
    result = both("three " * 2, {"count": 3})
    # Two numbers are no count; one pair of two words is one run of one word, twice.
    assert result.parts["counting"] == 0
    assert result.score == pytest.approx((0 + 0.5 / 0.8 + 1) / 5)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"low": 10, "high": 10}, ["'high'", "not above low=10"]),
        ({"kind": "cosine"}, ["'of'", "needs the reward"]),
        ({"of": "ocr"}, ["'of'", "other kinds none"]),
        ({"kind": "cosine", "of": "orc"}, ["did you mean 'ocr'"]),
        ({"kind": "cosine", "of": ["ocr"]}, ["'of'", "not a name"]),
        ({"kind": "cosine", "of": "ocr", "wrong": 0.9}, ["'wrong'", "floor=0.5"]),
        ({"kind": "long"}, ["'kind'", "overlong"]),
        ({"low": 0}, ["'low'"]),
    ],
)
def test_mistakes_in_length_are_named(params, words):
    with pytest.raises(ValueError, match=r"\w") as error:
        get_reward("length", **params)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("params", [{"n": 0}, {"n": 2.5}, {"n": 51}, {"allowed": 1}, {"allowed": -0.1}])
def test_mistakes_in_repetition_are_named(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        get_reward("repetition", **params)
