"""What holds for every text and every target of the rewards of boxes, points, masks and tracks."""

import gc
import json
import math
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.spatial import HOSTILE, LARGE, SETTINGS, TARGETS
from vision_rewards import TargetError, get_reward

pytest.importorskip("pycocotools")

EVERY = [(name, params) for name in TARGETS for params in SETTINGS[name]]
FRAGMENTS = (
    "<think> </think> <answer> </answer> [ ] ( ) { } , : 1 0 10 0.5 1e9 NaN null true \" ' ``` ```json Action: "
    '{"bbox_2d": [0,0,5,5]} "label" {"boxes": {"1": "time": {"counts": [0,4] {"polygons": <|box_start|> <|box_end|> '
    "<tool_call> </tool_call> click(start_box='(1,1)') [{'action': 'click'}] <point>1 1</point> \u200b \ud83d"
)
TEXT = st.one_of(st.text(max_size=100), st.lists(st.sampled_from(FRAGMENTS.split(" ")), max_size=25).map(" ".join))


def checked(reward, target):
    try:
        reward.check(target)
    except TargetError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params"), EVERY)
def test_any_text_scores_in_range(name, params):
    reward = get_reward(name, **params)

    @settings(max_examples=25)
    @given(TEXT, TARGETS[name], st.data())
    def run(text, target, data):
        if not checked(reward, target):
            return
        gold = reward.gold(target)
        start, end = (data.draw(st.integers(0, len(gold))) for _ in range(2))
        # A cut-off answer, one with a piece missing, and one with something put in.
        for answer in (text, gold[:end], gold[:start] + gold[end:], gold[:start] + text + gold[start:]):
            result = reward(answer, target)
            assert 0 <= result.score <= 1
            assert 0 <= reward.accuracy(result) <= 1
            assert all(value is None or math.isfinite(value) for value in result.parts.values())
            json.dumps(result.parsed, allow_nan=False)
            assert reward(answer, target) == result

    run()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params"), EVERY)
def test_gold_scores_one_and_its_repetition_nothing(name, params):
    reward = get_reward(name, **params)

    @settings(max_examples=25)
    @given(TARGETS[name])
    def run(target):
        if checked(reward, target):
            gold = reward.gold(target)
            result = reward(gold, target)
            assert result.score == reward.accuracy(result) == 1.0
            for text in ("", " ", "<answer></answer>", "<think>" + gold, "\n".join([gold] * 3), "none"):
                assert reward(text, target).score == 0, text

    run()


@pytest.fixture
def alone():
    """Nothing that other tests left in memory is looked through meanwhile."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params"), EVERY)
@pytest.mark.parametrize("extract", ["auto", "raw"])
def test_no_text_is_slow(name, params, extract, alone):
    reward = get_reward(name, extract=extract, **params)
    for text in HOSTILE:
        start = time.thread_time()
        assert reward(text, LARGE).score < 0.1
        assert time.thread_time() - start < 1, text[:20]


@pytest.mark.parametrize("name", ["detection", "mask_iou"])
def test_no_text_takes_much_memory(name):
    reward = get_reward(name)
    texts = [
        json.dumps([[0, 0, 9, 9]] * 500),
        '{"polygons": [[' + ",".join(f"{x},{x % 2 * 2048}" for x in range(90)) + "]]}",
        f'{{"counts": [0, {2048 * 2048}]}}',
    ]
    reward(texts[0], LARGE)
    for text in texts:
        tracemalloc.start()
        reward(text, LARGE)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 200e6
