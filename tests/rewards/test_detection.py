"""Lists of labelled boxes: misses, extras, wrong labels, and the ways that COCO's AP is gamed as a reward."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_rewards import TargetError, get_reward, metrics, validate

# Three squares of side 10 in a row, two cats and a dog.
A, B, C, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [80, 80, 90, 90]
PETS = {"boxes": [A, B, C], "labels": ["cat", "cat", "Dog"]}


def said(*items):
    return json.dumps([{"bbox_2d": box, **({"label": label} if label else {})} for box, label in items])


CAT_A, CAT_B, DOG_C = (A, "cat"), (B, "cat"), (C, "dog")

# (answer, score, precision, recall, F1 at 0.5, reason)
ANSWERS = [
    (said(CAT_A, CAT_B, DOG_C), 1, 1, 1, 1, "ok"),
    (said(DOG_C, CAT_B, CAT_A), 1, 1, 1, 1, "ok"),
    ("```json\n" + said(CAT_A, CAT_B, (C, " DOG.")) + "\n```", 1, 1, 1, 1, "ok"),
    ("<think>[]</think><answer>" + said(CAT_A, CAT_B, DOG_C) + "</answer>", 1, 1, 1, 1, "ok"),
    # Misses: 2 Σ IoU / (n + 3).
    (said(CAT_A), 2 / 4, 1, 1 / 3, 1 / 2, "ok"),
    (said(CAT_A, DOG_C), 4 / 5, 1, 2 / 3, 4 / 5, "ok"),
    # Near: half of one, a third of another.
    (said(CAT_A, CAT_B, ([40, 0, 50, 5], "dog")), 2 * 2.5 / 6, 1, 1, 1, "ok"),
    (said(CAT_A, CAT_B, ([45, 0, 55, 10], "dog")), 2 * (2 + 1 / 3) / 6, 2 / 3, 2 / 3, 2 / 3, "ok"),
    # Extras and repeats count against the answer, wherever they stand.
    (said(CAT_A, CAT_B, DOG_C, (FAR, "cat")), 6 / 7, 3 / 4, 1, 6 / 7, "ok"),
    (said((FAR, "cat"), CAT_A, CAT_B, DOG_C), 6 / 7, 3 / 4, 1, 6 / 7, "ok"),
    (said(CAT_A, CAT_A, CAT_B, DOG_C), 6 / 7, 3 / 4, 1, 6 / 7, "ok"),
    (said(*[CAT_A, CAT_B, DOG_C] * 10), 6 / 33, 1 / 10, 1, 6 / 33, "ok"),
    (said(CAT_A, CAT_B, DOG_C, *[(FAR, "cat")] * 50), 6 / 56, 3 / 53, 1, 6 / 56, "ok"),
    # A label that is not in the image is an extra too, not dropped.
    (said(CAT_A, CAT_B, DOG_C, (FAR, "unicorn")), 6 / 7, 3 / 4, 1, 6 / 7, "ok"),
    # Labels: a wrong one matches nothing and takes no target from the right one.
    (said((A, "dog"), CAT_B, DOG_C), 4 / 6, 2 / 3, 2 / 3, 2 / 3, "ok"),
    (said((A, "dog"), CAT_A, CAT_B, DOG_C), 6 / 7, 3 / 4, 1, 6 / 7, "ok"),
    (said((A, None), (B, None), (C, None)), 0, 0, 0, 0, "ok"),
    (said((A, ""), CAT_B, DOG_C), 4 / 6, 2 / 3, 2 / 3, 2 / 3, "ok"),
    # A confidence claims nothing.
    (f'[{{"bbox_2d": {A}, "label": "cat", "confidence": 1.0}}]', 1 / 2, 1, 1 / 3, 1 / 2, "ok"),
    (said((FAR, "cat")), 0, 0, 0, 0, "ok"),
    ("[]", 0, 0, 0, 0, "ok"),
    ("None", 0, 0, 0, 0, "unparsable"),
    ("", 0, 0, 0, 0, "no_answer"),
    (said(CAT_A, CAT_B, DOG_C)[:-1], 0, 0, 0, 0, "truncated"),
    (said(CAT_A, CAT_B, DOG_C)[:-10], 0, 0, 0, 0, "truncated"),
    (said(CAT_A) + said(CAT_B), 0, 0, 0, 0, "unparsable"),
    (said(CAT_A, ([10, 10, 0, 0], "cat")), 0, 0, 0, 0, "bad_box"),
    (said(*[CAT_A] * 501), 0, 0, 0, 0, "too_long"),
    (json.dumps([[0, 0, 1, 1]] * 600), 0, 0, 0, 0, "too_many_boxes"),
    ('[{"bbox_2d": [0, 0, NaN, 10], "label": "cat"}]', 0, 0, 0, 0, "unparsable"),
]


@pytest.mark.parametrize(("answer", "score", "precision", "recall", "f1", "reason"), ANSWERS)
def test_detection(answer, score, precision, recall, f1, reason):
    reward = get_reward("detection")
    result = reward(answer, PETS)
    assert result.score == pytest.approx(score, abs=1e-12)
    assert result.parts == pytest.approx({"precision": precision, "recall": recall, "f1@0.5": f1}, abs=1e-12)
    assert result.reason == reason
    assert reward.accuracy(result) == result.parts["f1@0.5"]
    nested = {"boxes": [{"box": box, "label": label} for box, label in zip(PETS["boxes"], PETS["labels"])]}
    assert reward(answer, nested) == result


@pytest.mark.parametrize(
    ("answer", "score"),
    [("[]", 1), ("[[0, 0, 1, 1]]", 0), ("None", 0), ("none", 0), ("", 0), ("no objects", 0), ("null", 0), ("{}", 0)],
)
def test_nothing_to_find(answer, score):
    # VLM-R1 pays 1 where target and answer both say None.
    assert get_reward("detection")(answer, {"boxes": []}).score == score


def test_threshold_counts_pairs():
    reward = get_reward("detection", threshold=0.5)
    assert reward(said(CAT_A, CAT_B, ([40, 0, 50, 5], "dog")), PETS).score == 1
    assert reward(said(CAT_A, CAT_B, ([40, 0, 50, 4.9], "dog")), PETS).score == pytest.approx(4 / 6)
    assert get_reward("detection", threshold=0.9)(said(CAT_A, CAT_B, ([40, 0, 50, 5], "dog")), PETS).score == 4 / 6


def test_labels_can_be_left_out():
    reward = get_reward("detection", labels="ignore")
    assert reward(said((A, "dog"), (B, None), (C, "cat")), PETS).score == 1
    assert get_reward("detection")(said((A, "dog"), (B, None), (C, "x")), {"boxes": [A, B, C]}).score == 1


def test_what_ap_forgives_is_not_forgiven():
    """COCO's AP with equal scores, VLM-R1's reward, gives 1 to fifty wrong boxes after the right one."""
    pytest.importorskip("pycocotools")
    boxes = [A] + [FAR] * 50
    ap = metrics.average_precision([{"boxes": boxes, "scores": [1.0] * 51}], [{"boxes": [A]}]).ap
    assert ap == pytest.approx(1)
    assert get_reward("detection")(json.dumps(boxes), {"boxes": [A]}).score == pytest.approx(2 / 52)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=8), st.integers(1, 5))
def test_one_more_box_on_nothing_never_helps(corners, extra):
    target = {"boxes": [A, B, C]}
    boxes = [[x, y, x + 10, y + 10] for x, y in corners]
    reward = get_reward("detection")
    score = reward(json.dumps(boxes), target).score
    more = reward(json.dumps(boxes + [FAR] * extra), target).score
    assert more < score or score == 0


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ({"boxes": "x"}, "'boxes'"),
        ({"boxes": [[0, 0, 1]]}, "'boxes'[0]"),
        ({"boxes": [A, [1, 1, 0, 0]]}, "'boxes'[1]"),
        ({"boxes": [{"label": "cat"}]}, "'boxes'[0]"),
        ({"boxes": [{"box": A, "label": "cat"}, B]}, "mixes"),
        ({"boxes": [{"box": A, "label": "cat"}], "labels": ["cat"]}, "one way"),
        ({"boxes": [{"box": A, "label": "cat"}, {"box": B}]}, "'labels'"),
        ({"boxes": [A], "labels": []}, "'labels'"),
        ({"boxes": [A], "labels": ["  "]}, "'labels'"),
        ({"boxes": [A], "labels": [7]}, "'labels'"),
        ({"boxes": [A] * 501}, "at most 500"),
        ({"boxes": [[0, 0, 123456.123, 123456.123]] * 500}, "20000"),
        ({}, "'boxes'"),
    ],
)
def test_targets_that_cannot_be_scored(target, word):
    with pytest.raises(TargetError) as error:
        get_reward("detection").check(target)
    assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_gold_scores_one():
    nested = {"boxes": [{"box": A, "label": "smile :["}, {"box": A, "label": 'a "quoted" one'}]}
    for threshold in (None, 0.5, 1.0):
        validate("detection", [PETS, nested, {"boxes": []}, {"boxes": [A, A]}], threshold=threshold)
