"""What `ocr` and `iou` give for right, wrong, near, malformed and hostile answers, by their definitions."""

import pytest

from vision_rewards import get_reward

LONG = "x" * 20_001


# (answer, edit, cer, exact, anls) against "Hello world", 11 characters.
HELLO = {"text": "Hello world"}
OCR = [
    ("Hello world", 1, 1, 1, 1),
    ("  Hello \n  world\t", 1, 1, 1, 1),
    ("hello world", 10 / 11, 10 / 11, 0, 1),
    ("HELLO WORLD", 2 / 11, 2 / 11, 0, 1),
    ("Hello worl", 10 / 11, 10 / 11, 0, 10 / 11),
    ("Hello world!", 11 / 12, 10 / 11, 0, 11 / 12),
    ("Helloworld", 10 / 11, 10 / 11, 0, 10 / 11),
    ("Hallo world", 10 / 11, 10 / 11, 0, 10 / 11),
    ("Hello", 5 / 11, 5 / 11, 0, 0),
    ("Hello w", 7 / 11, 7 / 11, 0, 7 / 11),
    ("H", 1 / 11, 1 / 11, 0, 0),
    ("zzz", 0, 0, 0, 0),
    ("zzz" + " " * 5000, 0, 0, 0, 0),
    ("Hello world" * 2, 1 / 2, 0, 0, 0),
    ("Hello world" * 10, 1 / 10, 0, 0, 0),
    ("Hello world" + "z" * 11, 1 / 2, 0, 0, 0),
    ("Hello world" + "z" * 99, 1 / 10, 0, 0, 0),
    ("", 0, 0, 0, 0),
    ("   ", 0, 0, 0, 0),
    ("<answer>Hello world</answer>", 1, 1, 1, 1),
    ("<answer> </answer>", 0, 0, 0, 0),
    ("<think>Hello world", 0, 0, 0, 0),
    ("<think>zzz</think>Hello world", 1, 1, 1, 1),
    ("Hello wörld", 10 / 11, 10 / 11, 0, 10 / 11),
    (LONG, 0, 0, 0, 0),
]

# (answer, IoU, reason) against the square from 0 to 10.
SQUARE = {"box": [0, 0, 10, 10], "label": "square"}
IOU = [
    ("[0, 0, 10, 10]", 1, "ok"),
    ("[0,0,10,5]", 1 / 2, "ok"),
    ("[5, 0, 15, 10]", 1 / 3, "ok"),
    ("[0, 0, 5, 5]", 1 / 4, "ok"),
    ("[0, 0, 20, 20]", 1 / 4, "ok"),
    ("[-10, -10, 10, 10]", 1 / 4, "ok"),
    ("[10, 0, 20, 10]", 0, "ok"),
    ("[100, 100, 200, 200]", 0, "ok"),
    ("[0.0, .0, 1e1, 1.0E+1]", 1, "ok"),
    ("[0 0 10 10]", 1, "ok"),
    ("(0, 0, 10, 10)", 1, "ok"),
    ("(0,0),(10,10)", 1, "ok"),
    ("<|box_start|>(0,0),(10,10)<|box_end|>", 1, "ok"),
    ("[[0, 0], [10, 10]]", 1, "ok"),
    ('{"bbox_2d": [0, 0, 10, 10], "label": "sq 1"}', 1, "ok"),
    ('```json\n[\n  {"bbox_2d": [0, 0, 10, 10], "label": "square"}\n]\n```', 1, "ok"),
    ("The square (1 of 2) is at [0, 0, 10, 10].", 1, "ok"),
    ("<answer>[0, 0, 10, 10]</answer>", 1, "ok"),
    ("<think>[5, 5, 6, 6]</think>[0, 0, 10, 10]", 1, "ok"),
    ("[0, 0, 10, 10] [0, 0, 10, 10]", 0, "many_boxes"),
    ("[[0, 0, 10, 10], [50, 50, 60, 60]]", 0, "many_boxes"),
    ("(0,0),(10,10),(20,20),(30,30)", 0, "many_boxes"),
    ('{"bbox_2d": [0,0,10,10], "bbox_2d": [1,1,9,9]}', 0, "many_boxes"),
    ("[0, 0, 10, 10]" * 1000, 0, "many_boxes"),
    ("[10, 10, 0, 0]", 0, "bad_box"),
    ("[10, 0, 0, 10]", 0, "bad_box"),
    ("[5, 5, 5, 5]", 0, "bad_box"),
    ("[0, 0, 0, 10]", 0, "bad_box"),
    ("[0, 0, 1e999, 10]", 0, "bad_box"),
    ("[-1e300, -1e300, 1e300, 1e300]", 0, "bad_box"),
    ("[NaN, 0, 10, 10]", 0, "unparsable"),
    ("[0, 0, Infinity, 10]", 0, "unparsable"),
    ("[0, 0, 10]", 0, "unparsable"),
    ("[0, 0, 10, 10, 1]", 0, "unparsable"),
    ("[0, 0, 10, 10", 0, "unparsable"),
    ("0, 0, 10, 10", 1, "ok"),
    ("[0, 0, 10, 10] or [5, 5]", 0, "unparsable"),
    ("[a, b, c, d]", 0, "unparsable"),
    ("none", 0, "unparsable"),
    ("", 0, "no_answer"),
    ("[" * 19_999, 0, "unparsable"),
    ("[1," * 6_000, 0, "unparsable"),
]


@pytest.mark.parametrize(("answer", "edit", "cer", "exact", "anls"), OCR)
def test_ocr(answer, edit, cer, exact, anls):
    for metric, score in {"edit": edit, "cer": cer, "exact": exact, "anls": anls}.items():
        reward = get_reward("ocr", metric=metric)
        result = reward(answer, HELLO)
        assert result.score == pytest.approx(score, abs=1e-12), metric
        folded = anls == 1 if metric == "anls" else exact
        assert reward.accuracy(result) == result.parts["exact"] == folded
    assert get_reward("ocr")(answer, HELLO).parts["similarity"] == pytest.approx(edit, abs=1e-12)


def test_ocr_can_ignore_case():
    assert get_reward("ocr", ignore_case=True)("HELLO WORLD", HELLO).parts["exact"] == 1


@pytest.mark.parametrize(("answer", "iou", "reason"), IOU)
def test_iou(answer, iou, reason):
    reward = get_reward("iou")
    result = reward(answer, SQUARE)
    assert result.score == pytest.approx(iou, abs=1e-12)
    assert result.reason == reason
    assert result.parts["iou"] == result.score
    assert reward.accuracy(result) == result.parts["iou@0.5"] == float(iou >= 0.5)
    for threshold in (0.25, 0.5, 0.9):
        assert get_reward("iou", threshold=threshold)(answer, SQUARE).score == float(result.score >= threshold)


@pytest.mark.parametrize(
    ("answer", "giou"),
    [
        ("[0,0,10,10]", 1.0),
        ("[0,0,5,5]", 0.25),
        # Hull 300 × 10, union 200.
        ("[20,0,30,10]", -1 / 3),
        ("[10,10,20,20]", -1 / 2),
    ],
)
def test_giou(answer, giou):
    assert get_reward("iou", kind="giou")(answer, SQUARE).score == pytest.approx((giou + 1) / 2, abs=1e-12)


def test_equal_small_boxes_overlap_fully():
    for box in ([3, 3, 4, 4], [0.1, 0.1, 0.10001, 0.10001]):
        assert get_reward("iou")(str(box), {"box": box}).score == 1
