"""The kinds of the iou reward, and answers that are cut off; `test_rewards_cases.py` has its table of answers."""

import itertools
import json

import numpy as np
import pytest

from vision_rewards import get_reward, metrics

SQUARE = {"box": [0, 0, 10, 10]}

# (answer, IoU, GIoU, DIoU, share of 0.50 … 0.95 reached, centre inside) against the square from 0 to 10.
KINDS = [
    ("[0, 0, 10, 10]", 1, 1, 1, 1, 1),
    ("[0, 0, 10, 5]", 1 / 2, 1 / 2, 1 / 2 - 6.25 / 200, 0.1, 1),
    ("[0, 0, 10, 8]", 4 / 5, 4 / 5, 4 / 5 - 1 / 200, 0.7, 1),
    ("[0, 0, 10, 7.4]", 0.74, 0.74, 0.74 - 1.69 / 200, 0.5, 1),
    ("[0, 0, 5, 5]", 1 / 4, 1 / 4, 1 / 4 - 12.5 / 200, 0, 1),
    ("[2.5, 2.5, 7.5, 7.5]", 1 / 4, 1 / 4, 1 / 4, 0, 1),
    ("[0, 0, 20, 20]", 1 / 4, 1 / 4, 1 / 4 - 50 / 800, 0, 1),
    ("[5, 0, 15, 10]", 1 / 3, 1 / 3, 1 / 3 - 25 / 325, 0, 1),
    ("[6, 0, 16, 10]", 1 / 4, 1 / 4, 1 / 4 - 36 / 356, 0, 0),
    ("[5, 5, 15, 15]", 1 / 7, 1 / 7 - 50 / 225, 1 / 7 - 50 / 450, 0, 1),
    ("[10, 0, 20, 10]", 0, 0, -100 / 500, 0, 0),
    ("[10, 10, 20, 20]", 0, -1 / 2, -200 / 800, 0, 0),
    ("[20, 0, 30, 10]", 0, -1 / 3, -400 / 1000, 0, 0),
    ("[90, 0, 100, 10]", 0, -8 / 10, -8100 / 10100, 0, 0),
    ("[-10, -10, 20, 20]", 1 / 9, 1 / 9, 1 / 9, 0, 1),
    ("[0, 0, 10, 9.5]", 0.95, 0.95, 0.95 - 0.0625 / 200, 1, 1),
    # What is no box earns nothing, of whatever kind.
    ("[10, 10, 0, 0]", None, None, None, None, None),
    ("[5, 5, 5, 5]", None, None, None, None, None),
    ("[0, 0, 10, 10] [0, 0, 10, 10]", None, None, None, None, None),
    ("[0, 0, 10, 10", None, None, None, None, None),
    ('{"bbox_2d": [0, 0, 10, 10], "label": "squ', None, None, None, None, None),
    ("```json\n[0, 0, 10, 10]", None, None, None, None, None),
    ("[0, 0, NaN, 10]", None, None, None, None, None),
    ("none", None, None, None, None, None),
    ("", None, None, None, None, None),
]


@pytest.mark.parametrize(("answer", "iou", "giou", "diou", "steps", "center"), KINDS)
def test_kinds(answer, iou, giou, diou, steps, center):
    def scaled(value):
        return 0 if value is None else (value + 1) / 2

    expected = {"iou": iou or 0, "giou": scaled(giou), "diou": scaled(diou), "steps": steps or 0, "center": center or 0}
    for kind, score in expected.items():
        result = get_reward("iou", kind=kind)(answer, SQUARE)
        assert result.score == pytest.approx(score, abs=1e-12), kind
        assert result.parts["iou"] == pytest.approx(iou or 0, abs=1e-12)
        assert (result.reason == "ok") == (iou is not None)


def test_graded_kinds_rise_as_a_distant_box_comes_closer():
    target = [100, 100, 120, 120]
    for kind in ("giou", "diou"):
        scores = [
            get_reward("iou", kind=kind)(str([x, 100, x + 20, 120]), {"box": target}).score for x in range(0, 101, 10)
        ]
        assert all(near > far for far, near in itertools.pairwise(scores))
        assert scores[-1] == 1
    assert get_reward("iou")(str([0, 100, 20, 120]), {"box": target}).score == 0


def test_steps_are_cocos_average_precision_of_one_box():
    pytest.importorskip("pycocotools")
    rng = np.random.default_rng(0)
    for _ in range(30):
        side = rng.uniform(3, 10)
        answer = [0.0, 0.0, 10.0, side]
        coco = metrics.average_precision([{"boxes": [answer], "scores": [1]}], [{"boxes": [SQUARE["box"]]}])
        score = get_reward("iou", kind="steps")(json.dumps(answer), SQUARE).score
        assert score == pytest.approx(coco.ap, abs=1e-9)


@pytest.mark.parametrize("kind", ["iou", "giou", "diou", "steps", "center"])
@pytest.mark.parametrize(
    "box", [[3, 3, 4, 4], [0.1, 0.1, 0.3, 0.7], [-1e9, -1e9, 1e9, 1e9], [0.1, 0.2, 0.1001, 0.2001]]
)
def test_equal_boxes_score_one(kind, box):
    assert get_reward("iou", kind=kind)(json.dumps(box), {"box": box}).score == 1
