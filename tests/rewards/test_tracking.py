"""Tracking over all ground-truth frames, and the ways to score with few or too many of them."""

import json

import pytest

from vision_rewards import TargetError, get_reward, validate

STILL = [0, 0, 10, 10]
TARGET = {"track": {"1": STILL, "2": STILL, "3": STILL, "4": STILL}}


def boxes(*items):
    return json.dumps({"boxes": {str(frame): box for frame, box in items}})


ALL = [(frame, STILL) for frame in (1, 2, 3, 4)]
HALF, THIRD = [0, 0, 10, 5], [5, 0, 15, 10]

# (answer, score, mean IoU over target frames, success rate at 0.5, coverage, reason)
ANSWERS = [
    (boxes(*ALL), 1, 1, 1, 1, "ok"),
    (boxes(*reversed(ALL)), 1, 1, 1, 1, "ok"),
    (json.dumps({str(frame): box for frame, box in ALL}), 1, 1, 1, 1, "ok"),
    (json.dumps([{"frame": frame, "bbox_2d": box, "label": "x"} for frame, box in ALL]), 1, 1, 1, 1, "ok"),
    (json.dumps([{"time": float(frame), "bbox": box} for frame, box in ALL]), 1, 1, 1, 1, "ok"),
    ("```json\n" + boxes(*ALL) + "\n```", 1, 1, 1, 1, "ok"),
    ("<think>" + boxes((1, HALF)) + "</think><answer>" + boxes(*ALL) + "</answer>", 1, 1, 1, 1, "ok"),
    (boxes(("01", STILL), ("2.0", STILL), (3, STILL), (4, STILL)), 1, 1, 1, 1, "ok"),
    # One tracked frame of many cannot score 1: EasyVideoR1's mean over common frames is 1 here.
    (boxes((1, STILL)), 1 / 4, 1 / 4, 1 / 4, 1 / 4, "ok"),
    (boxes((1, STILL), (2, STILL), (3, STILL)), 3 / 4, 3 / 4, 3 / 4, 3 / 4, "ok"),
    # Near boxes.
    (boxes((1, HALF), (2, STILL), (3, STILL), (4, STILL)), 3.5 / 4, 3.5 / 4, 1, 1, "ok"),
    (boxes((1, THIRD), (2, THIRD), (3, THIRD), (4, THIRD)), 1 / 3, 1 / 3, 0, 1, "ok"),
    (boxes((1, [50, 50, 60, 60]), (2, STILL)), 1 / 4, 1 / 4, 1 / 4, 1 / 2, "ok"),
    # Extra frames are misses.
    (boxes(*ALL, (5, STILL)), 4 / 5, 1, 1, 1, "ok"),
    (boxes(*[(frame, STILL) for frame in range(100)]), 4 / 100, 1, 1, 1, "ok"),
    (boxes((7, STILL), (8, STILL)), 0, 0, 0, 0, "ok"),
    (boxes((1.5, STILL)), 0, 0, 0, 0, "ok"),
    # A frame said to be without the object is no box.
    (boxes(*ALL[:3], (4, None), (9, None)), 3 / 4, 3 / 4, 3 / 4, 3 / 4, "ok"),
    ('{"boxes": {}}', 0, 0, 0, 0, "ok"),
    # Malformed.
    ('{"boxes": {"1": [0, 0, 10, 10], "1.0": [0, 0, 10, 10]}}', 0, 0, 0, 0, "unparsable"),
    ('{"boxes": {"1": [0, 0, 10, 10], "1": [0, 0, 5, 5]}}', 0, 0, 0, 0, "unparsable"),
    ("[0, 0, 10, 10]", 0, 0, 0, 0, "unparsable"),
    (boxes(*ALL) + boxes(*ALL), 0, 0, 0, 0, "unparsable"),
    (boxes(*ALL)[:-1], 0, 0, 0, 0, "truncated"),
    (boxes((1, [10, 10, 0, 0])), 0, 0, 0, 0, "bad_box"),
    (boxes((1, [0, 0, 10])), 0, 0, 0, 0, "bad_box"),
    ('{"boxes": {"1": [0, 0, NaN, 10]}}', 0, 0, 0, 0, "unparsable"),
    (json.dumps({str(frame): None for frame in range(1500)}), 0, 0, 0, 0, "too_many_frames"),
    ("", 0, 0, 0, 0, "no_answer"),
]


@pytest.mark.parametrize(("answer", "score", "iou", "success", "coverage", "reason"), ANSWERS)
def test_tracking(answer, score, iou, success, coverage, reason):
    result = get_reward("tracking")(answer, TARGET)
    assert result.score == pytest.approx(score, abs=1e-12)
    assert result.parts == pytest.approx({"iou": iou, "success@0.5": success, "coverage": coverage}, abs=1e-12)
    assert result.reason == reason


def test_frames_without_the_object():
    target = {"track": {1: STILL, 2: None, 3: STILL}}
    reward = get_reward("tracking")
    assert reward(boxes((1, STILL), (3, STILL)), target).score == 1
    assert reward(boxes((1, STILL), (2, None), (3, STILL)), target).score == 1
    assert reward(boxes((1, STILL), (2, STILL), (3, STILL)), target).score == pytest.approx(2 / 3)


def test_success_rate():
    reward = get_reward("tracking", threshold=0.5)
    assert reward(boxes((1, HALF), (2, HALF), (3, THIRD), (4, STILL)), TARGET).score == 3 / 4
    assert reward(boxes((1, HALF), (2, HALF), (3, HALF), (4, STILL), (5, STILL)), TARGET).score == 4 / 5


@pytest.mark.parametrize(
    ("track", "word"),
    [
        ({}, "1 to 1000 frames"),
        ([STILL], "'track'"),
        ({"a": STILL}, "the frame 'a'"),
        ({-1: STILL}, "the frame -1"),
        ({"1": STILL, 1: STILL}, "two spellings"),
        ({"1": [0, 0, 1]}, "'track'['1']"),
        ({"1": None}, "no box in any frame"),
        ({str(frame): [0.12345, 0.12345, 10.12345, 10.12345] for frame in range(900)}, "20000"),
        (dict.fromkeys(range(1001), STILL), "1 to 1000 frames"),
        ({float("nan"): STILL}, "the frame nan"),
    ],
)
def test_targets_that_cannot_be_scored(track, word):
    with pytest.raises(TargetError) as error:
        get_reward("tracking").check({"track": track})
    assert word in str(error.value)


def test_gold_scores_one():
    targets = [TARGET, {"track": {0: STILL, 0.5: [0.1, 0.2, 0.3, 0.7], "12.25": None}}, {"track": {1234567: STILL}}]
    for threshold in (None, 0.5, 1.0):
        validate("tracking", targets, threshold=threshold)
