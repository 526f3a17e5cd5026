"""What holds for every registered reward, every text and every target."""

import copy
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.rewards import ANSWERS, NAMES, examples
from vision_rewards import TargetError, combine, get_reward, list_rewards, validate

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
COORDINATE = st.one_of(st.integers(-1000, 1000), st.floats(-1000, 1000))
FRAGMENTS = (
    "<think> </think> <answer> </answer> \\boxed{ } [ ] ( ) { } , . : ; - 1 0 10 1e9 NaN Infinity A B (A) B. yes no "
    'hundred Answer: {"bbox_2d": [0,0,5,5] "label" "point_2d": [3,4] "x" ```json ``` % ² \u200b \ud83d $ 1/3 = ^ _ '
    "\\frac{1}{2} <table> <tr> <td> </td> </tr> </table> <point> from to 00:12 12.5 seconds frame click(1,2) import plt"
)
CASES = {name: examples(name) for name in NAMES}


def texts_for(name):
    """Any text; fragments of all notations; the reward's own examples cut, joined and edited."""
    own = [example.completion for _, example in CASES[name]]
    own += [reward.gold(example.target) for reward, example in CASES[name]]
    pieces = st.lists(st.sampled_from(FRAGMENTS.split(" ")), max_size=25).map(" ".join)
    cut = st.builds(
        lambda text, a, b: text[min(a, b) :] + text[: max(a, b)], st.sampled_from(own), *[st.integers(0, 80)] * 2
    )
    insert = st.builds(
        lambda text, at, piece: text[:at] + piece + text[at:], st.sampled_from(own), st.integers(0, 80), pieces
    )
    joined = st.lists(st.sampled_from(own), min_size=1, max_size=4).map(" ".join)
    boxes = st.lists(COORDINATE, min_size=2, max_size=5).map(str)
    return st.one_of(st.text(max_size=200), pieces, cut, insert, joined, boxes)


def runs(name, most):
    """Hypothesis settings; rewards that wait for a worker get fewer runs."""
    waits = any(reward.waits for reward, _ in CASES[name])
    return settings(max_examples=most // 4 if waits else most, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", NAMES)
def test_examples_hold_and_start_with_a_right_answer(name):
    assert len(CASES[name]) >= 3, "a right answer, a wrong one, and one that shows what is special"
    for reward, example in CASES[name]:
        reward.check(example.target)
        reward(example.completion, example.target)
        assert example.why
        json.dumps([example.target, example.params])
    reward, first = CASES[name][0]
    result = reward(first.completion, first.target)
    assert result.score == reward.accuracy(result) == 1.0
    scores = {reward(example.completion, example.target).score for reward, example in CASES[name]}
    assert len(scores) > 1, "not every example is right"


@pytest.mark.parametrize("name", NAMES)
def test_gold_scores_one(name):
    for reward, example in CASES[name]:
        validate(reward, [example.target])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_any_text_scores_in_range_and_changes_nothing(name):
    spec = list_rewards()[name]

    @runs(name, 60)
    @given(st.sampled_from(CASES[name]), texts_for(name))
    def run(case, text):
        reward, example = case
        target = copy.deepcopy(dict(example.target))
        before = copy.deepcopy(target)
        result = reward(text, target)
        assert target == before
        assert isinstance(result.reason, str)
        assert all(value is None or math.isfinite(value) for value in result.parts.values())
        json.dumps(result.parsed, allow_nan=False)
        assert reward(text, target) == result
        if result.score is None:
            return
        assert 0 <= result.score <= 1
        assert 0 <= reward.accuracy(result) <= 1
        if name not in ("combine", "route"):
            assert set(result.parts) == set(spec.parts)

    run()


EMPTY = (
    "",
    " ",
    "\n\t ",
    "<answer></answer>",
    "<answer> \n</answer>",
    "\\boxed{}",
    "<think></think>",
    "</think>",
)


@pytest.mark.parametrize("name", ANSWERS)
def test_nothing_earns_nothing(name):
    for reward, example in CASES[name]:
        gold = reward.gold(example.target)
        for text in (*EMPTY, f"<think>{gold}", f"<think>{gold}</think>", f"<think>{gold}</think><answer></answer>"):
            result = reward(text, example.target)
            assert not result.score, (text, example.why)
            assert result.score is None or reward.accuracy(result) == 0


# Their answers are sets of points or of moments: saying one twice, or a part of it, says the same.
SETS = {"mask_iou", "temporal_iou"}


def dumps_of(name, reward, example):
    """The gold answer over and over, and every gold answer to targets of its kind at once."""

    def kind(case):
        target, params = case[1].target, case[1].params
        return [(key, type(target[key])) for key in sorted(target)], sorted(params.items())

    gold = reward.gold(example.target)
    alike = [one.gold(other.target) for one, other in CASES[name] if kind((one, other)) == kind((reward, example))]
    others = [text for text in dict.fromkeys(alike) if text != gold]
    yield from ("\n".join([gold] * 5), ", ".join([gold] * 5), " ".join([gold] * 50))
    if others:
        yield from ("\n".join([gold, *others]), " or ".join([gold, *others]), ", ".join([*others, gold]))


@pytest.mark.parametrize("name", sorted(set(ANSWERS) - SETS))
def test_answers_to_everything_are_never_right(name):
    for reward, example in CASES[name]:
        for text in dumps_of(name, reward, example):
            if "<answer>" in text:
                # Of several tags the last one counts; what is repeated here is their content.
                text = f"<answer>{text.replace('<answer>', '').replace('</answer>', '')}</answer>"
            result = reward(text, example.target)
            assert result.score is None or result.score < 1, (text[:200], example.why)
            assert result.score is None or reward.accuracy(result) < 1, (text[:200], example.why)


@pytest.mark.parametrize("name", NAMES)
def test_completion_must_be_text(name):
    reward, example = CASES[name][0]
    for value in (None, b"x", ["x"], 3):
        with pytest.raises(TypeError, match="a completion is a str"):
            reward(value, example.target)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if any(example.target for _, example in CASES[name])])
def test_any_target_is_scored_or_refused(name):
    """A target's values replaced by anything: TargetError, no score, or a score whose gold answer is 1."""
    values = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10),
        st.lists(st.integers(-9, 9), max_size=5), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
        st.just(10**400), st.just([[1, 2], [3]]),
    )  # fmt: skip

    @runs(name, 50)
    @given(st.sampled_from([case for case in CASES[name] if case[1].target]), st.data())
    def run(case, data):
        reward, example = case
        target = dict(example.target)
        target[data.draw(st.sampled_from(sorted(target)))] = data.draw(values)
        try:
            reward.check(target)
        except ValueError as error:
            message = str(error)
        else:
            message = ""
            validate(reward, [target])
        assert "\n" not in message

    run()


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
    "iou": st.fixed_dictionaries({"box": boxes()}, optional={"label": WORDS}),
    "multiple_choice": choices(),
    "numeric": st.fixed_dictionaries({"answer": st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9)}),
    "ocr": st.fixed_dictionaries({"text": WORDS}),
    "yes_no": st.fixed_dictionaries({"answer": st.sampled_from(["yes", "No", True, False, "true"])}),
}
SETTINGS = {
    "classification": [{}, {"extract": "answer"}, {"extract": "boxed"}, {"extract": "raw"}],
    "iou": [{}, {"threshold": 0.5}, {"kind": "giou"}],
    "numeric": [{}, {"abs": 0.5, "rel": 0.1}],
    "ocr": [{"metric": metric} for metric in ("edit", "cer", "exact", "anls")],
}


@pytest.mark.parametrize(("name", "params"), [(n, p) for n in TARGETS for p in SETTINGS.get(n, [{}])])
def test_gold_of_any_accepted_target_scores_one(name, params):
    reward, accepted = get_reward(name, **params), []

    @settings(max_examples=40)
    @given(TARGETS[name])
    def run(target):
        try:
            reward.check(target)
        except TargetError:
            return
        accepted.append(target)
        validate(reward, [target])

    run()
    # Of yes and no there are five targets in all.
    assert len(accepted) >= 5, "a check that refused everything would prove nothing"


def test_naming_everything_earns_nothing():
    assert get_reward("multiple_choice")("A B C D", {"answer": "A", "options": list("wxyz")}).score == 0
    assert get_reward("classification")("cat dog bird", {"answer": "cat"}).score == 0
    assert get_reward("counting")(" ".join(map(str, range(100))), {"count": 7}).score == 0
    grid = [[x, y, x + 10, y + 10] for x in range(0, 100, 10) for y in range(0, 100, 10)]
    assert get_reward("iou")(json.dumps(grid), {"box": [0, 0, 10, 10]}).score == 0
    seconds = json.dumps([[start, start + 1] for start in range(100)])
    assert get_reward("temporal_iou")(seconds, {"interval": [10, 20]}).score == 0
    assert get_reward("temporal_iou")(seconds, {"interval": [[10, 14], [15, 20]]}).score == pytest.approx(0.09)
    pages = " ".join(f"word{i}" for i in range(1000))
    assert get_reward("ocr")(pages, {"text": "word7"}).score < 0.01


@settings(max_examples=40)
@given(st.text(max_size=100), TARGETS["ocr"])
def test_combination_is_the_weighted_mean(text, target):
    ocr, form = get_reward("ocr"), get_reward("format")
    both = combine([("ocr", 3), ("format", 1)])
    try:
        both.check(target)
    except TargetError:
        return
    result = both(text, target)
    assert result.score == pytest.approx((3 * ocr(text, target).score + form(text, target).score) / 4)
    assert both(both.gold(target), target).score == 1
