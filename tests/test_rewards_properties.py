"""What holds for every text and every target."""

import copy
import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_rewards import TargetError, combine, get_reward, list_rewards

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
COORDINATE = st.one_of(st.integers(-1000, 1000), st.floats(-1000, 1000))
FRAGMENTS = (
    "<think> </think> <answer> </answer> \\boxed{ } [ ] ( ) , . - 1 0 10 1e9 NaN A B (A) B. yes no three hundred "
    'Answer: {"bbox_2d": [0,0,5,5] ```json ``` % ² \u200b \ud83d'
)
TEXT = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(FRAGMENTS.split(" ")),
        max_size=25,
    ).map(" ".join),
    st.lists(COORDINATE, min_size=4, max_size=4).map(str),
)


@st.composite
def boxes(draw):
    x, y = draw(COORDINATE), draw(COORDINATE)
    return [x, y, x + draw(st.integers(1, 500)), y + draw(st.integers(1, 500))]


@st.composite
def choices(draw):
    options = draw(st.lists(st.text(max_size=10), min_size=1, max_size=26))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(options)]
    as_mapping = draw(st.booleans())
    return {"answer": draw(st.sampled_from(letters)), "options": dict(zip(letters, options)) if as_mapping else options}


TARGETS = {
    "classification": st.fixed_dictionaries({"answer": WORDS | st.integers()}, optional={"synonyms": st.lists(WORDS)}),
    "counting": st.fixed_dictionaries({"count": st.integers(0, 10**15)}),
    "format": st.just({}),
    "iou": st.fixed_dictionaries({"box": boxes()}, optional={"label": WORDS}),
    "multiple_choice": choices(),
    "numeric": st.fixed_dictionaries({"answer": st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9)}),
    "ocr": st.fixed_dictionaries({"text": WORDS}),
    "yes_no": st.fixed_dictionaries({"answer": st.sampled_from(["yes", "No", True, False, "true"])}),
}
SETTINGS = {
    "classification": [{}, {"extract": "answer"}, {"extract": "boxed"}, {"extract": "raw"}],
    "format": [{"pattern": pattern} for pattern in ("answer", "think_answer", "none")],
    "iou": [{}, {"threshold": 0.5}, {"kind": "giou"}],
    "numeric": [{}, {"abs": 0.5, "rel": 0.1}],
    "ocr": [{"metric": metric} for metric in ("edit", "cer", "exact", "anls")],
}
EVERY = [(name, params) for name in TARGETS for params in SETTINGS.get(name, [{}])]
ANSWERS = [name for name in TARGETS if name != "format"]


def checked(reward, target):
    try:
        reward.check(target)
    except TargetError:
        return False
    return True


def test_every_reward_is_covered():
    assert set(TARGETS) | {"combine", "route"} == set(list_rewards())


@pytest.mark.parametrize(("name", "params"), EVERY)
def test_any_text_scores_in_range(name, params):
    reward = get_reward(name, **params)

    @settings(max_examples=60, deadline=None)
    @given(TEXT, TARGETS[name])
    def run(text, target):
        if not checked(reward, target):
            return
        before = copy.deepcopy(target)
        result = reward(text, target)
        assert 0 <= result.score <= 1
        assert 0 <= reward.accuracy(result) <= 1
        assert all(value is None or math.isfinite(value) for value in result.parts.values())
        json.dumps(result.parsed, allow_nan=False)
        assert set(result.parts) == set(list_rewards()[name].parts)
        assert target == before
        assert reward(text, target) == result

    run()


@pytest.mark.parametrize(("name", "params"), EVERY)
def test_gold_scores_one(name, params):
    reward = get_reward(name, **params)

    @settings(max_examples=60, deadline=None)
    @given(TARGETS[name])
    def run(target):
        if checked(reward, target):
            result = reward(reward.gold(target), target)
            assert result.score == reward.accuracy(result) == 1.0

    run()


@pytest.mark.parametrize("name", ANSWERS)
def test_degenerate_answers_score_zero(name):
    reward = get_reward(name)

    @settings(max_examples=40, deadline=None)
    @given(TARGETS[name])
    def run(target):
        if not checked(reward, target):
            return
        gold = reward.gold(target)
        for empty in ("", " ", "\n\t ", "<answer></answer>", "<answer> </answer>", "<think>" + gold, "</think>"):
            assert reward(empty, target).score == 0, empty
        many = reward(" ; ".join([gold] * 5), target)
        assert many.score == 0 or (name == "ocr" and many.score <= 0.25 and many.parts["exact"] == 0)

    run()


def test_naming_everything_earns_nothing():
    assert get_reward("multiple_choice")("A B C D", {"answer": "A", "options": list("wxyz")}).score == 0
    assert get_reward("classification")("cat dog bird", {"answer": "cat"}).score == 0
    assert get_reward("counting")(" ".join(map(str, range(100))), {"count": 7}).score == 0
    grid = [[x, y, x + 10, y + 10] for x in range(0, 100, 10) for y in range(0, 100, 10)]
    assert get_reward("iou")(json.dumps(grid), {"box": [0, 0, 10, 10]}).score == 0
    pages = " ".join(f"word{i}" for i in range(1000))
    assert get_reward("ocr")(pages, {"text": "word7"}).score < 0.01


HOSTILE = [
    *("[" * 20_000, "{" * 20_000, "[1," * 6_000, "[1 " * 6_000, "(" + "1" * 19_000, "1" * 20_000, "1," * 10_000),
    *("- " * 10_000, "." * 20_000, "[ " * 10_000, ("[" + "1" * 20 + " " * 20) * 480, "one " * 5_000, "ﷺ" * 20_000),
    *("A " * 10_000, "<think>" * 100_000, "<answer>" * 100_000, "\\boxed{" * 100_000, "\\" * 20_000, " " * 900_000),
]


@pytest.mark.parametrize("name", ANSWERS)
def test_no_text_is_slow(name):
    target = {"answer": {"yes_no": "yes", "multiple_choice": "A"}.get(name, 5), "box": [0, 0, 1, 1], "count": 1}
    target |= {"text": "x" * 20_000, "options": ["x" * 1000] * 26}
    for extract in ("auto", "boxed", "raw"):
        reward = get_reward(name, extract=extract)
        for text in HOSTILE:
            if extract == "boxed" and name == "ocr":
                target["text"] = "x"
            start = time.process_time()
            assert reward(text, target).score < 1
            assert time.process_time() - start < 1, text[:20]


@pytest.mark.parametrize("name", [*ANSWERS, "format"])
def test_completion_must_be_text(name):
    target = {"answer": "A", "box": [0, 0, 1, 1], "count": 1, "text": "x"}
    with pytest.raises(TypeError, match="a completion is a str, not NoneType"):
        get_reward(name)(None, target)


@settings(max_examples=60, deadline=None)
@given(TEXT, TARGETS["ocr"])
def test_combination_is_the_weighted_mean(text, target):
    ocr, form = get_reward("ocr"), get_reward("format")
    both = combine([("ocr", 3), ("format", 1)])
    if checked(both, target):
        result = both(text, target)
        assert result.score == pytest.approx((3 * ocr(text, target).score + form(text, target).score) / 4)
        assert both(both.gold(target), target).score == 1
