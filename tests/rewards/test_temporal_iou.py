"""Intervals of time: one, and several."""

import pytest

from vision_rewards import TargetError, get_reward

# (answer, IoU with [10, 20] in seconds, reason)
ONE = [
    ("[10, 20]", 1, "ok"),
    ("10-20", 1, "ok"),
    ("10 s to 20 s", 1, "ok"),
    ("from 10 to 20 seconds", 1, "ok"),
    ("between 10 s and 20 s", 1, "ok"),
    ("00:10 – 00:20", 1, "ok"),
    ("00:00:10.0-00:00:20", 1, "ok"),
    ("00:00:10.000 --> 00:00:20.000", 1, "ok"),
    ('{"start": 10, "end": 20}', 1, "ok"),
    ('```json\n{"time": [10.0, 20.0]}\n```', 1, "ok"),
    ('[{"start_time": "00:10", "end_time": "00:20"}]', 1, "ok"),
    ("It starts at 00:00:10 and ends at 00:00:20.", 1, "ok"),
    ("<think>5-6 or 7-8</think><answer>[10, 20]</answer>", 1, "ok"),
    ("１０ to ２０", 1, "ok"),
    ("[15, 25]", 5 / 15, "ok"),
    ("[10, 15]", 1 / 2, "ok"),
    ("[5, 25]", 10 / 20, "ok"),
    ("[12, 14]", 1 / 5, "ok"),
    ("[0, 1000]", 1 / 100, "ok"),
    ("[20, 30]", 0, "ok"),
    ("[0, 10]", 0, "ok"),
    ("1 to 2 min", 0, "ok"),
    ("[20, 10]", 0, "bad_interval"),
    ("[10, 10]", 0, "bad_interval"),
    ("0 to 99999999", 0, "bad_interval"),
    ("[10, 20], [10, 20]", 0, "many_intervals"),
    ("[0, 5] or [10, 20]", 0, "many_intervals"),
    (", ".join(f"{s}-{s + 1}" for s in range(60)), 0, "many_intervals"),
    ("[10, 20, 30]", 0, "unparsable"),
    ("10 20", 0, "unparsable"),
    ("10", 0, "unparsable"),
    ("10 to", 0, "unparsable"),
    ("10 to 20, clip 3", 0, "unparsable"),
    ("frames 10 to 20", 0, "unparsable"),
    ("10% to 20%", 0, "unparsable"),
    ("-10 to 20", 0, "unparsable"),
    ("10:75 to 20:80", 0, "unparsable"),
    ("[NaN, 20]", 0, "unparsable"),
    ("[10, Infinity]", 0, "unparsable"),
    ("1e1 to 2e1", 0, "unparsable"),
    ("ten to twenty", 0, "unparsable"),
    ("", 0, "no_answer"),
    ("<answer>[10, 20]", 0, "no_answer"),
]


@pytest.mark.parametrize(("answer", "iou", "reason"), ONE)
@pytest.mark.parametrize("interval", [[10, 20], [[10.0, 20.0]], ["00:10", "20 s"]])
def test_one_interval(answer, iou, reason, interval):
    reward = get_reward("temporal_iou")
    result = reward(answer, {"interval": interval})
    assert (result.score, result.reason) == (pytest.approx(iou, abs=1e-12), reason)
    assert result.parts["iou"] == result.score
    for level in (0.3, 0.5, 0.7):
        assert result.parts[f"iou@{level}"] == float(result.score >= level)
        assert get_reward("temporal_iou", threshold=level)(answer, {"interval": interval}).score == float(iou >= level)
    assert reward.accuracy(result) == float(iou >= 0.5)


@pytest.mark.parametrize(
    ("answer", "giou"),
    # Against [10, 20]: overlap less the gap's share of the hull.
    [("[10, 20]", 1), ("[20, 30]", 0), ("[30, 40]", -10 / 30), ("[0, 1]", -9 / 20), ("[15, 25]", 1 / 3), ("x", -1)],
)
def test_generalized(answer, giou):
    score = get_reward("temporal_iou", kind="giou")(answer, {"interval": [10, 20]}).score
    assert score == pytest.approx((1 + giou) / 2, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "score"),
    # Against [10, 20] of 100 s: IoU times one less each end's error over the duration.
    [("[10, 20]", 1), ("[15, 25]", 1 / 3 * 0.95 * 0.95), ("[10, 40]", 1 / 3 * 1 * 0.8), ("[0, 20]", 1 / 2 * 0.9 * 1),
     ("[10, 400]", 1 / 9 * 1 * 0.2), ("[30, 40]", 0), ("[200, 300]", 0)],
)  # fmt: skip
def test_boundary(answer, score):
    reward = get_reward("temporal_iou", kind="boundary")
    assert reward(answer, {"interval": [10, 20], "duration": 100}).score == pytest.approx(score, abs=1e-12)


def test_an_answer_beyond_the_video_is_cut_to_it():
    reward = get_reward("temporal_iou")
    assert reward("[10, 500]", {"interval": [10, 20], "duration": 20}).score == 1
    assert reward("[10, 500]", {"interval": [10, 20]}).score == pytest.approx(10 / 490)
    assert reward("[30, 40]", {"interval": [10, 20], "duration": 25}).score == 0


# (answer, IoU of the moments covered, soft F1 of the best matching) against [0, 10] and [20, 30].
SEVERAL = [
    ("[0, 10], [20, 30]", 1, 1),
    ("[[20, 30], [0, 10]]", 1, 1),
    ('[{"start": 0, "end": 10}, {"start": 20, "end": 30}]', 1, 1),
    ("0-10 and 20-30", 1, 1),
    # IoU 10/30 with either, so that one of the two matches: 2 · (1/3) / 3.
    ("[0, 30]", 20 / 30, 2 * (10 / 30) / 3),
    ("[0, 10]", 10 / 20, 2 * 1 / 3),
    ("[0, 5], [20, 25]", 10 / 20, 2 * (1 / 2 + 1 / 2) / 4),
    ("[0, 10], [0, 10]", 10 / 20, 2 * 1 / 4),
    ("[0, 10], [20, 30], [40, 50]", 20 / 30, 2 * 2 / 5),
    ("[0, 5], [5, 10], [20, 30]", 1, 2 * (1 / 2 + 1) / 5),
    ("[12, 18]", 0, 0),
    ("[0, 10], [30, 20]", 0, 0),
    ("[0, 10], 25", 0, 0),
    (", ".join(f"[{s}, {s + 1}]" for s in range(101)), 0, 0),
    ("", 0, 0),
]


@pytest.mark.parametrize(("answer", "union", "match"), SEVERAL)
def test_several_intervals(answer, union, match):
    target = {"interval": [[0, 10], [20, 30]]}
    result = get_reward("temporal_iou")(answer, target)
    assert result.score == result.parts["iou"] == pytest.approx(union, abs=1e-12)
    assert get_reward("temporal_iou", several="match")(answer, target).score == pytest.approx(match, abs=1e-12)


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ({"interval": [20, 10]}, "start < end"),
        ({"interval": [10, 10]}, "start < end"),
        ({"interval": [-1, 10]}, "start < end"),
        ({"interval": [1, 2, 3]}, "start < end"),
        ({"interval": []}, "start < end"),
        ({"interval": [[1, 2], 3]}, "start < end"),
        ({"interval": "1-2"}, "start < end"),
        ({"interval": [True, 2]}, "start < end"),
        ({"interval": [0, float("nan")]}, "start < end"),
        ({"interval": ["x", "y"]}, "start < end"),
        ({"interval": [[0, 10], [5, 20]]}, "touch"),
        ({"interval": [[0, 10], [10, 20]]}, "touch"),
        ({"interval": [0, 10], "duration": 5}, "'duration'"),
        ({"interval": [0, 10], "duration": True}, "'duration'"),
    ],
)
def test_targets_that_are_refused(target, word):
    with pytest.raises(TargetError, match=word):
        get_reward("temporal_iou").check(target)


def test_settings_that_do_not_fit():
    with pytest.raises(TargetError, match="needs it"):
        get_reward("temporal_iou", kind="boundary").check({"interval": [0, 1]})
    with pytest.raises(ValueError, match="kind='iou' only"):
        get_reward("temporal_iou", kind="giou", threshold=0.5)
    with pytest.raises(ValueError, match="every interval"):
        get_reward("temporal_iou", threshold=0)
