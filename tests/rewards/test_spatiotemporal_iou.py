"""Tubes in space and time: vIoU and tIoU, and what EasyVideoR1's mean over common frames pays for too little."""

import json

import pytest

from vision_rewards import TargetError, get_reward, validate

BOX, HALF = [0, 0, 10, 10], [0, 0, 10, 5]
TARGET = {"time": [2, 6], "track": {str(frame): BOX for frame in (2, 3, 4, 5)}}


def tube(frames, time=None, box=BOX):
    return json.dumps({**({"time": time} if time else {}), "boxes": {str(frame): box for frame in frames}})


# (answer, vIoU, tIoU of the stated intervals, reason)
ANSWERS = [
    (tube([2, 3, 4, 5], [2, 6]), 1, 1, "ok"),
    (tube([5, 4, 3, 2], [2.0, 6.0]), 1, 1, "ok"),
    (tube([2, 3, 4, 5]), 1, 0, "ok"),
    ("<answer>```json\n" + tube([2, 3, 4, 5], [2, 6]) + "\n```</answer>", 1, 1, "ok"),
    (tube([2, 3, 4, 5], [2, 4]), 1, 1 / 2, "ok"),
    (tube([2, 3, 4, 5], [4, 8]), 1, 2 / 6, "ok"),
    (tube([2, 3, 4, 5], [0, 40]), 1, 4 / 40, "ok"),
    (tube([2, 3, 4, 5], [6, 8]), 1, 0, "ok"),
    (tube([2, 3, 4, 5], [2, 6], HALF), 1 / 2, 1, "ok"),
    (tube([2, 3, 4, 5], [2, 6], [10, 0, 20, 10]), 0, 1, "ok"),
    # Part of the tube, and more than it.
    (tube([2, 3], [2, 4]), 2 / 4, 1 / 2, "ok"),
    (tube([4, 5, 6, 7], [4, 8]), 2 / 6, 2 / 6, "ok"),
    (tube(range(40), [0, 40]), 4 / 40, 4 / 40, "ok"),
    (tube([2, 3], [2, 4], HALF), 1 / 4, 1 / 2, "ok"),
    # One right box and a poor interval: 0.55 by EasyVideoR1's rule.
    (tube([2], [2, 2.4]), 1 / 4, 1 / 10, "ok"),
    (tube([2], [2, 6]), 1 / 4, 1, "ok"),
    (tube([8, 9], [8, 10]), 0, 0, "ok"),
    (tube([], [2, 6]), 0, 1, "ok"),
    (json.dumps([{"time": frame, "bbox_2d": BOX} for frame in (2, 3, 4, 5)]), 1, 0, "ok"),
    # Malformed.
    (tube([2, 3, 4, 5], [6, 2]), 0, 0, "bad_time"),
    (tube([2, 3, 4, 5], [2, 2]), 0, 0, "bad_time"),
    (tube([2, 3, 4, 5], [2, 3, 4]), 0, 0, "bad_time"),
    (tube([2, 3, 4, 5], "2 to 6"), 0, 0, "bad_time"),
    (tube([2], [2, 6], [10, 10, 0, 0]), 0, 0, "bad_box"),
    (tube([2, 3, 4, 5], [2, 6])[:-2], 0, 0, "truncated"),
    ('{"time": [2, 6]}', 0, 0, "unparsable"),
    ("[2, 6]", 0, 0, "unparsable"),
    ("from 2 to 6 seconds", 0, 0, "unparsable"),
    ("", 0, 0, "no_answer"),
]


@pytest.mark.parametrize(("answer", "viou", "tiou", "reason"), ANSWERS)
def test_spatiotemporal_iou(answer, viou, tiou, reason):
    for metric, score in (("viou", viou), ("mean", (viou + tiou) / 2)):
        reward = get_reward("spatiotemporal_iou", metric=metric)
        result = reward(answer, TARGET)
        assert result.score == pytest.approx(score, abs=1e-12), metric
        assert result.reason == reason
        parts = {"viou": viou, "tiou": tiou, "viou@0.3": float(viou > 0.3), "viou@0.5": float(viou > 0.5)}
        assert result.parts == pytest.approx(parts, abs=1e-12)
        assert reward.accuracy(result) == pytest.approx(viou)


def test_time_in_frames_where_the_target_states_none():
    target = {"track": TARGET["track"]}
    result = get_reward("spatiotemporal_iou")(tube([4, 5, 6, 7], None, HALF), target)
    assert result.parts["tiou"] == pytest.approx(2 / 6)
    assert result.score == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("target", "params", "word"),
    [
        ({"track": TARGET["track"], "time": [6, 2]}, {}, "'time'"),
        ({"track": TARGET["track"], "time": "2-6"}, {}, "'time'"),
        ({"track": TARGET["track"]}, {"metric": "mean"}, "needs the key 'time'"),
        ({"track": {}}, {}, "'track'"),
        ({"time": [2, 6]}, {}, "'track'"),
    ],
)
def test_targets_that_cannot_be_scored(target, params, word):
    with pytest.raises(TargetError) as error:
        get_reward("spatiotemporal_iou", **params).check(target)
    assert word in str(error.value)


def test_gold_scores_one():
    targets = [TARGET, {"time": [0.1, 12.7], "track": {0.5: BOX, "1": None, "2": HALF}}]
    for metric in ("viou", "mean"):
        validate("spatiotemporal_iou", targets, metric=metric)
    validate("spatiotemporal_iou", [{"track": {"7": BOX}}])
