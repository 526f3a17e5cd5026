"""Masks as run lengths, as polygons and by points that choose, and hostile forms of each."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_rewards import TargetError, get_reward, metrics, validate

pytest.importorskip("pycocotools")

# The left half of an image 4 wide and 4 high: the first 8 pixels in column order.
LEFT = {"mask": {"size": [4, 4], "counts": [0, 8, 8]}}
LEFT_BY_OUTLINE = {"mask": {"size": [4, 4], "polygons": [[0, 0, 2, 0, 2, 4, 0, 4]]}}


def packed(mask):
    from pycocotools import mask as coco

    return coco.encode(np.asfortranarray(np.asarray(mask, dtype=np.uint8)))["counts"].decode()


# (answer, IoU, reason)
ANSWERS = [
    ('{"size": [4, 4], "counts": [0, 8, 8]}', 1, "ok"),
    ('{"counts": [0, 8, 8]}', 1, "ok"),
    ('{"counts": [0, 4, 0, 4, 8]}', 1, "ok"),
    (json.dumps({"counts": packed([[1, 1, 0, 0]] * 4)}), 1, "ok"),
    ('{"polygons": [[0, 0, 2, 0, 2, 4, 0, 4]]}', 1, "ok"),
    ('{"segmentation": [[[0, 0], [2, 0], [2, 4], [0, 4]]]}', 1, "ok"),
    ("[[0, 0], [2, 0], [2, 4], [0, 4]]", 1, "ok"),
    ("[0, 0, 2, 0, 2, 4, 0, 4]", 1, "ok"),
    ("[[0, 0, 1, 0, 1, 4, 0, 4], [1, 0, 2, 0, 2, 4, 1, 4]]", 1, "ok"),
    ("<think>x</think><answer>```json\n[0, 0, 2, 0, 2, 4, 0, 4]\n```</answer>", 1, "ok"),
    # Near and wrong.
    ('{"counts": [0, 16]}', 8 / 16, "ok"),
    ('{"counts": [0, 4, 12]}', 4 / 8, "ok"),
    ('{"counts": [4, 8, 4]}', 4 / 12, "ok"),
    ('{"counts": [8, 8]}', 0, "ok"),
    ('{"counts": [16]}', 0, "ok"),
    ("[0, 0, 4, 0, 4, 4, 0, 4]", 8 / 16, "ok"),
    ("[0, 0, 2, 0, 2, 2, 0, 2]", 4 / 8, "ok"),
    ("[2, 0, 4, 0, 4, 4, 2, 4]", 0, "ok"),
    # Another size, or runs that do not cover the image.
    ('{"size": [2, 8], "counts": [0, 8, 8]}', 0, "bad_size"),
    ('{"size": [4, 4, 1], "counts": [0, 8, 8]}', 0, "bad_size"),
    ('{"size": [100000, 100000], "counts": [0, 8, 8]}', 0, "bad_size"),
    ('{"counts": [0, 8]}', 0, "bad_runs"),
    ('{"counts": [0, 8, 80000000]}', 0, "bad_runs"),
    ('{"counts": [-8, 8, 16]}', 0, "bad_runs"),
    ('{"counts": [0, 8.0, 8]}', 0, "bad_runs"),
    ('{"counts": "\\u00ff"}', 0, "bad_runs"),
    ('{"counts": "P"}', 0, "bad_runs"),
    ('{"counts": 7}', 0, "bad_runs"),
    # Polygons outside the image, too short, or huge.
    ("[0, 0, 2, 0, 2, 1000, 0, 4]", 0, "bad_polygon"),
    ("[-1, 0, 2, 0, 2, 4, 0, 4]", 0, "bad_polygon"),
    ("[0, 0, 2, 0]", 0, "bad_polygon"),
    (json.dumps([0, 0, 4, 4] * 1500), 0, "bad_polygon"),
    ("[0, 0, 1e300, 0, 2, 4]", 0, "unparsable"),
    ("[0, 0, 2, 0, 2]", 0, "unparsable"),
    ("[]", 0, "unparsable"),
    ('{"polygons": []}', 0, "unparsable"),
    ("the left half", 0, "unparsable"),
    ('{"counts": [0, 8, 8]', 0, "truncated"),
    ('{"counts": [0, 8, 8]} {"counts": [8, 8]}', 0, "unparsable"),
    ("", 0, "no_answer"),
]


@pytest.mark.parametrize(("answer", "iou", "reason"), ANSWERS)
def test_mask_iou(answer, iou, reason):
    for target in (LEFT, LEFT_BY_OUTLINE):
        result = get_reward("mask_iou")(answer, target)
        assert result.score == result.parts["iou"] == pytest.approx(iou, abs=1e-12)
        assert result.reason == reason
        assert result.parts["iou@0.5"] == float(iou >= 0.5)
        assert get_reward("mask_iou", threshold=0.5)(answer, target).score == float(iou >= 0.5)


def test_empty_mask_is_written_not_left_out():
    empty = {"mask": {"size": [4, 4], "counts": [16]}}
    reward = get_reward("mask_iou")
    assert reward('{"counts": [16]}', empty).score == 1
    assert reward('{"counts": [15, 1]}', empty).score == 0
    for nothing in ("", "[]", "none", '{"polygons": []}'):
        assert reward(nothing, empty).score == 0


# Rows 0–1, row 0, columns 0–1, everything.
CANDIDATES = np.zeros((4, 4, 4), dtype=bool)
CANDIDATES[0, :2] = CANDIDATES[1, :1] = CANDIDATES[2, :, :2] = CANDIDATES[3] = True


def as_runs(mask):
    return {"size": list(mask.shape), "counts": metrics.encode_runs(mask)}


CHOICE = {"mask": as_runs(CANDIDATES[0]), "candidates": [as_runs(mask) for mask in CANDIDATES]}

# (answer, IoU, reason) where points choose the smallest candidate that covers them all; the first two rows are right.
POINTS = [
    ("[[3.5, 1.5]]", 1, "ok"),
    ("(0.5, 0.5), (3.9, 1.9)", 1, "ok"),
    ('[{"point_2d": [2, 1], "label": "rows"}]', 1, "ok"),
    ('{"points": [[0, 0], [3, 1]]}', 1, "ok"),
    ("[[2, 0]]", 4 / 8, "ok"),
    ("[0.5, 0.5]", 4 / 8, "ok"),
    ("[[0, 1]]", 1, "ok"),
    ("[[0, 2]]", 4 / 12, "ok"),
    ("[[0, 0], [0, 3]]", 4 / 12, "ok"),
    ("[[3, 3]]", 8 / 16, "ok"),
    # Points everywhere leave only what covers everything.
    (json.dumps([[x, y] for x in range(4) for y in range(4)]), 8 / 16, "ok"),
    (json.dumps([[x, y] for x in range(4) for y in range(4)] * 3), 0, "too_many_points"),
    ("[[4, 0]]", 0, "no_candidate"),
    ("[[-0.5, 0]]", 0, "no_candidate"),
    ("[[2, 1], [2, 40]]", 0, "no_candidate"),
    ("[0, 0, 4, 2]", 0, "unparsable"),
    ('{"counts": [0, 8, 8]}', 0, "unparsable"),
    ("top rows", 0, "unparsable"),
    ("[[3, 1]", 0, "truncated"),
    ("[[1e300, 1]]", 0, "bad_point"),
    ("[[NaN, 1]]", 0, "unparsable"),
    ("", 0, "no_answer"),
]


@pytest.mark.parametrize(("answer", "iou", "reason"), POINTS)
def test_points_choose_a_candidate(answer, iou, reason):
    result = get_reward("mask_iou", answer="points")(answer, CHOICE)
    assert result.score == pytest.approx(iou, abs=1e-12)
    assert result.reason == reason


@settings(max_examples=60)
@given(st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=6, unique_by=tuple), st.data())
def test_any_candidate_can_be_chosen(bits, data):
    masks = [np.array(row).reshape(3, 4) for row in bits]
    wanted = data.draw(st.sampled_from(masks))
    target = {"mask": as_runs(wanted), "candidates": [as_runs(mask) for mask in masks]}
    if wanted.any():
        validate("mask_iou", [target], answer="points")
    else:
        with pytest.raises(TargetError, match="empty"):
            get_reward("mask_iou", answer="points").check(target)
    validate("mask_iou", [target])


@pytest.mark.parametrize(
    ("target", "params", "word"),
    [
        ({"mask": "x"}, {}, "'mask'"),
        ({"mask": {"counts": [0, 16]}}, {}, "unparsable"),
        ({"mask": {"size": [4, 4], "counts": [0, 15]}}, {}, "bad_runs"),
        ({"mask": {"size": [0, 4], "counts": []}}, {}, "bad_size"),
        ({"mask": {"size": [9000, 9000], "counts": [81000000]}}, {}, "bad_size"),
        ({"mask": {"size": [4, 4], "polygons": [[0, 0, 9, 0, 9, 9]]}}, {}, "bad_polygon"),
        ({"mask": {"size": [4, 4], "polygons": [[0.1, 0.1, 0.2, 0.1, 0.2, 0.2]]}}, {}, "no pixel"),
        ({"mask": {"size": [200, 200], "counts": [1] * 40000}}, {}, "20000"),
        (LEFT, {"answer": "points"}, "'candidates'"),
        (LEFT | {"candidates": []}, {"answer": "points"}, "'candidates'"),
        (LEFT | {"candidates": [{"size": [2, 2], "counts": [0, 4]}]}, {"answer": "points"}, "'candidates'[0]"),
        (LEFT | {"candidates": [{"size": [4, 4], "counts": [8, 8]}]}, {"answer": "points"}, "none of 'candidates'"),
        (
            {"mask": as_runs(np.ones((1024, 1024))), "candidates": [as_runs(np.ones((1024, 1024)))] * 17},
            {"answer": "points"},
            "17 × 1024 × 1024",
        ),
    ],
)
def test_targets_that_cannot_be_scored(target, params, word):
    with pytest.raises(TargetError) as error:
        get_reward("mask_iou", **params).check(target)
    assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_gold_scores_one():
    rng = np.random.default_rng(0)
    targets = [LEFT, LEFT_BY_OUTLINE]
    for _ in range(20):
        mask = rng.random(rng.integers(1, 20, 2)) < 0.5
        targets += [{"mask": as_runs(mask)}, {"mask": {"size": list(mask.shape), "counts": packed(mask)}}]
    validate("mask_iou", targets)
    validate("mask_iou", [CHOICE | {"mask": item} for item in CHOICE["candidates"]], answer="points")
