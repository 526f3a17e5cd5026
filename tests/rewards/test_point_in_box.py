"""GUI grounding: what hits, what is near, and the ways to cheat."""

import itertools
import json
import math

import numpy as np
import pytest

from vision_rewards import TargetError, get_reward, validate

# Centre (140, 50), 80 wide and 20 high.
BUTTON = {"box": [100, 40, 180, 60]}


def bell(dx, dy, alpha=0.5):
    return math.exp(-((dx / (alpha * 80)) ** 2 + (dy / (alpha * 20)) ** 2) / 2)


# (answer, hit, closeness, reason)
POINTS = [
    ("[140, 50]", 1, 1, "ok"),
    ("(140, 50)", 1, 1, "ok"),
    ("[140.0 50.0]", 1, 1, "ok"),
    ('{"point_2d": [140, 50], "label": "OK"}', 1, 1, "ok"),
    ('```json\n[{"point_2d": [140, 50]}]\n```', 1, 1, "ok"),
    ("<point>140 50</point>", 1, 1, "ok"),
    ('<point x="140" y="50" alt="OK">OK</point>', 1, 1, "ok"),
    ("<answer>[140, 50]</answer>", 1, 1, "ok"),
    ("<think>[0, 0]?</think>I click (140, 50).", 1, 1, "ok"),
    # The edges count.
    ("[100, 40]", 1, bell(40, 10), "ok"),
    ("[180, 60]", 1, bell(40, 10), "ok"),
    ("[180, 50]", 1, bell(40, 0), "ok"),
    ("[180.001, 50]", 0, bell(40.001, 0), "ok"),
    ("[140, 39.999]", 0, bell(0, 10.001), "ok"),
    ("[200, 50]", 0, bell(60, 0), "ok"),
    ("[140, 70]", 0, bell(0, 20), "ok"),
    # Of another coordinate space: nothing is divided by 1000 or by a size.
    ("[0.14, 0.05]", 0, bell(139.86, 49.95), "ok"),
    ("[0, 0]", 0, bell(140, 50), "ok"),
    ("[1e9, 1e9]", 0, 0, "ok"),
    # No default point, no best of many.
    ("no idea", 0, 0, "unparsable"),
    ("140, 50", 1, 1, "ok"),
    ("x=140, y=50", 1, 1, "ok"),
    ("[100, 40, 180, 60]", 0, 0, "unparsable"),
    ("[140, 50] [140, 50]", 0, 0, "many_points"),
    ("[140, 50], not [10, 10]", 0, 0, "many_points"),
    (str([[x, 50] for x in range(0, 200, 10)]), 0, 0, "many_points"),
    ("[140, 50", 0, 0, "unparsable"),
    ('{"point_2d": [140, 50]', 0, 0, "truncated"),
    ("[NaN, 50]", 0, 0, "unparsable"),
    ("[1e300, 50]", 0, 0, "bad_point"),
    ("", 0, 0, "no_answer"),
    ("<think>[140, 50]", 0, 0, "no_answer"),
]


@pytest.mark.parametrize(("answer", "hit", "closeness", "reason"), POINTS)
def test_point_in_box(answer, hit, closeness, reason):
    for kind, score in (("hit", hit), ("gaussian", closeness)):
        reward = get_reward("point_in_box", kind=kind)
        result = reward(answer, BUTTON)
        assert result.score == pytest.approx(score, abs=1e-12)
        assert result.reason == reason
        assert result.parts == {"hit": hit, "closeness": pytest.approx(closeness, abs=1e-12)}
        assert reward.accuracy(result) == hit


# (answer, hit, reason) where the answer is a box that is read by its centre.
BOXES = [
    ("[100, 40, 180, 60]", 1, "ok"),
    ("[139, 49, 141, 51]", 1, "ok"),
    ("[0, 0, 280, 100]", 1, "ok"),
    # A box that covers the button with its centre beside it.
    ("[0, 0, 1000, 1000]", 0, "ok"),
    ("[180, 40, 260, 60]", 0, "ok"),
    ("[140, 50]", 0, "unparsable"),
    ("[180, 60, 100, 40]", 0, "bad_box"),
    ("[100, 40, 180, 60] [0, 0, 9, 9]", 0, "many_boxes"),
    ("none", 0, "unparsable"),
]


@pytest.mark.parametrize(("answer", "hit", "reason"), BOXES)
def test_box_by_its_centre(answer, hit, reason):
    result = get_reward("point_in_box", answer="box")(answer, BUTTON)
    assert (result.score, result.reason) == (hit, reason)


def test_gaussian_falls_with_distance_in_sides_of_the_box():
    reward = get_reward("point_in_box", kind="gaussian", alpha=0.25)
    assert reward("[160, 50]", BUTTON).score == pytest.approx(math.exp(-1 / 2))
    assert reward("[140, 55]", BUTTON).score == pytest.approx(math.exp(-1 / 2))
    scores = [reward(f"[{140 + step}, 50]", BUTTON).score for step in range(0, 100, 5)]
    assert all(near > far for near, far in itertools.pairwise(scores))


@pytest.mark.parametrize("params", [{}, {"kind": "gaussian"}, {"answer": "box"}, {"kind": "gaussian", "answer": "box"}])
def test_gold_scores_one(params):
    corners = np.random.default_rng(0).uniform(-1000, 1000, (50, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).tolist()
    validate("point_in_box", [{"box": box} for box in boxes], **params)


def test_targets():
    for box in ([0, 0, 1], [1, 1, 0, 0], "x", [0, 0, float("nan"), 1]):
        with pytest.raises(TargetError, match="'box' is"):
            get_reward("point_in_box").check({"box": box})
    with pytest.raises(ValueError, match="'alpha'"):
        get_reward("point_in_box", alpha=0)
    assert json.loads(get_reward("point_in_box").gold(BUTTON)) == [140, 50]
