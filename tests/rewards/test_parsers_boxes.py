"""Reading JSON, boxes, points and tracks out of answers, strictly and as the evaluation suites do."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_rewards import parsers
from vision_rewards.parsers.json_values import single_quotes_to_json

NUMBERS = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**19), 10**19), st.floats(-1e300, 1e300), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=12,
)


def nested(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("[1, 2.5]", [1, 2.5], "ok"),
        ("  null ", None, "ok"),
        ("```json\n[1]\n```", [1], "ok"),
        ("```\n[1]\n```", [1], "ok"),
        ('```["a b"]```', ["a b"], "ok"),
        ("Here it is:\n```json\n[1]\n```\nDone [2].", [1], "ok"),
        ('"]]]["', "]]][", "ok"),
        ('"a\\"]"', 'a"]', "ok"),
        (nested(16), None, "ok"),
        (nested(17), None, "unparsable"),
        ("[1", None, "truncated"),
        ('{"a": [1, 2]', None, "truncated"),
        ('["a', None, "truncated"),
        ("```json\n[1]", None, "truncated"),
        ("```json\n[1\n```", None, "truncated"),
        ("```json\n[1]\n```\n```json\n[2]\n```", None, "unparsable"),
        ("[1] [2]", None, "unparsable"),
        ("[1]]", None, "unparsable"),
        ("the box is [1]", None, "unparsable"),
        ("['a']", None, "unparsable"),
        ("[1,]", None, "unparsable"),
        ("[NaN]", None, "unparsable"),
        ("[Infinity]", None, "unparsable"),
        ("[1e999]", None, "unparsable"),
        ("[" + "9" * 21 + "]", None, "unparsable"),
        ("[" + "9" * 5000 + "]", None, "unparsable"),
        ('{"a": 1, "a": 2}', None, "unparsable"),
        ("", None, "unparsable"),
        ("[" * 20_000, None, "truncated"),
        (nested(10_000), None, "unparsable"),
        ('["]"' + "]" * 5000 + "[" * 6000, None, "truncated"),
    ],
)
def test_json(text, value, reason):
    found, why = parsers.parse_json(text)
    assert why == reason
    if text != nested(16):
        assert found == value


@given(VALUES)
def test_json_reads_what_json_writes(value):
    for text in (json.dumps(value), f"```json\n{json.dumps(value, indent=1)}\n```"):
        if text.count("```") in (0, 2):
            assert parsers.parse_json(text) == (value, "ok")


@given(VALUES, st.data())
def test_json_that_is_cut_off_is_refused(value, data):
    text = json.dumps([value])
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    assert parsers.parse_json(cut)[1] != "ok"


@given(st.lists(st.one_of(st.text("ab'\"\\\n\t[]{},é", max_size=8), st.integers()), max_size=5))
def test_single_quotes_become_json(values):
    # Python prints a string with an apostrophe in double quotes, which stay as they are.
    values = [value for value in values if not repr(value).startswith('"')]
    assert json.loads(single_quotes_to_json(repr(values))) == values


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"bbox_2d": [0, 0, 9, 9], "label": "a"', "truncated"),
        ('[{"bbox_2d": [0, 0, 9, 9]}, {"bbox_2d": [1,', "unparsable"),
        ("[[0, 0, 9, 9]", "truncated"),
        ("```json\n[0, 0, 9, 9]", "truncated"),
        ('{"bbox_2d": [0, 0, 9, 9], "label": "smile :["}', "ok"),
        ("[0, 0, 9, 9]]", "ok"),
    ],
)
def test_boxes_of_a_cut_off_answer(text, reason):
    assert parsers.parse_boxes(text)[1] == reason


CAT = ([1.0, 2.0, 3.0, 4.0], "cat")
LABELLED = [
    ('[{"bbox_2d": [1, 2, 3, 4], "label": "cat"}]', [CAT], "ok"),
    ('{"bbox_2d": [1, 2, 3, 4], "label": "cat"}', [CAT], "ok"),
    ('```json\n[\n\t{"bbox_2d": [1, 2, 3, 4], "label": "cat"}\n]\n```', [CAT], "ok"),
    ('[{"bbox": [1, 2, 3, 4], "category": "cat", "score": 0.9}]', [CAT], "ok"),
    ('[{"box": [1, 2, 3, 4]}]', [(CAT[0], None)], "ok"),
    ('[{"bbox_2d": [1, 2, 3, 4], "label": null}]', [(CAT[0], None)], "ok"),
    ("[[1, 2, 3, 4], [1, 2, 3, 4]]", [(CAT[0], None)] * 2, "ok"),
    ("[1, 2, 3, 4]", [(CAT[0], None)], "ok"),
    ("[]", [], "ok"),
    ("<|object_ref_start|>cat<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>", [CAT], "ok"),
    (
        "a <|object_ref_start|>cat<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|><|box_start|>(1,2),(3,4)"
        "<|box_end|> and <|object_ref_start|>dog<|object_ref_end|><|box_start|>(5,6),(7,8)<|box_end|>",
        [CAT, CAT, ([5.0, 6.0, 7.0, 8.0], "dog")],
        "ok",
    ),
    ("<|box_start|>(1,2),(3,4)<|box_end|>", [(CAT[0], None)], "ok"),
    ("<|box_start|>(1,2),(3,4)<|box_end|><|box_start|>(1,2)", [], "unparsable"),
    ("<|box_start|>(1,2),(3,4)<|box_end|><|box_end|>", [], "unparsable"),
    ("<|box_end|><|box_start|>(1,2),(3,4)<|box_end|>", [], "unparsable"),
    ("<|box_start|>1,2,3,4<|box_end|>", [], "unparsable"),
    ('[{"bbox_2d": [1, 2, 3, 4], "label": "cat"}, {"bbox_2d": [5,', [], "truncated"),
    ('[{"bbox_2d": [1, 2, 3, 4], "bbox": [1, 2, 3, 4]}]', [], "unparsable"),
    ('[{"bbox_2d": [1, 2, 3, 4], "label": 7}]', [], "unparsable"),
    ('[{"label": "cat"}]', [], "unparsable"),
    ('[{"bbox_2d": [1, 2, 3]}]', [], "unparsable"),
    ('[{"bbox_2d": "1, 2, 3, 4"}]', [], "unparsable"),
    ("[{'bbox_2d': [1, 2, 3, 4], 'label': 'cat'}]", [([1, 2, 3, 4], "cat")], "ok"),
    ("None", [], "unparsable"),
    ("null", [], "unparsable"),
    ("no objects", [], "unparsable"),
    ('[{"bbox_2d": [3, 2, 1, 4]}]', [], "bad_box"),
    ('[{"bbox_2d": [1, 2, 1, 4]}]', [], "bad_box"),
    ('[{"bbox_2d": [0, 0, 1e10, 4]}]', [], "bad_box"),
    ('[{"bbox_2d": [0, 0, true, 4]}]', [], "bad_box"),
    (json.dumps([[0, 0, 1, 1]] * 500), [([0.0, 0.0, 1.0, 1.0], None)] * 500, "ok"),
    (json.dumps([[0, 0, 1, 1]] * 501), [], "too_many_boxes"),
]


@pytest.mark.parametrize(("text", "boxes", "reason"), LABELLED)
def test_labelled_boxes(text, boxes, reason):
    assert parsers.parse_labelled_boxes(text) == (boxes, reason)


POINTS = [
    ("[3, 4]", [[3.0, 4.0]], "ok"),
    ("(3.5 , .5)", [[3.5, 0.5]], "ok"),
    ("[3 4]", [[3.0, 4.0]], "ok"),
    ('{"point_2d": [3, 4], "label": "OK button 2"}', [[3.0, 4.0]], "ok"),
    ('```json\n[{"point_2d": [3, 4]}]\n```', [[3.0, 4.0]], "ok"),
    ("<point>3 4</point>", [[3.0, 4.0]], "ok"),
    ("<point>3, 4</point>", [[3.0, 4.0]], "ok"),
    ('<point x="61.5" y="40.4" alt="dog">dog</point>', [[61.5, 40.4]], "ok"),
    ("click at (3, 4) (the second one)", [[3.0, 4.0]], "ok"),
    ("[3, 4] or [5, 6]", [[3.0, 4.0], [5.0, 6.0]], "ok"),
    ("[[3, 4]]", [[3.0, 4.0]], "ok"),
    ("[1, 2, 3, 4]", [], "unparsable"),
    ("[1, 2, 3]", [], "unparsable"),
    ("[3, 4] in [0, 0, 9, 9]", [[3.0, 4.0]], "unparsable"),
    ("3, 4", [[3.0, 4.0]], "ok"),
    ("x=3, y=4", [[3.0, 4.0]], "ok"),
    ("[NaN, 4]", [], "unparsable"),
    ("<point>3 4", [], "unparsable"),
    ("[3, 4] <point x=1 y=2>", [[3.0, 4.0]], "unparsable"),
    ('{"point_2d": [3, 4]', [[3.0, 4.0]], "truncated"),
    ("[1e300, 4]", [[1e300, 4.0]], "bad_point"),
    ("", [], "unparsable"),
]


@pytest.mark.parametrize(("text", "points", "reason"), POINTS)
def test_points(text, points, reason):
    assert parsers.parse_points(text) == (points, reason)


BOX = [0.0, 0.0, 1.0, 1.0]
TRACKS = [
    ('{"boxes": {"1": [0, 0, 1, 1], "2.5": [0, 0, 1, 1]}}', {1.0: BOX, 2.5: BOX}, None, "ok"),
    ('{"time": [1, 2.5], "boxes": {"1": [0, 0, 1, 1]}}', {1.0: BOX}, (1.0, 2.5), "ok"),
    ('{"1": [0, 0, 1, 1]}', {1.0: BOX}, None, "ok"),
    ('[{"frame": 1, "bbox_2d": [0, 0, 1, 1]}]', {1.0: BOX}, None, "ok"),
    ('[{"time": "1.0", "bbox": [0, 0, 1, 1], "label": "cat"}]', {1.0: BOX}, None, "ok"),
    ('{"boxes": {"1": [0, 0, 1, 1], "2": null}}', {1.0: BOX}, None, "ok"),
    ('{"boxes": {}}', {}, None, "ok"),
    ('{"boxes": {"1": [0, 0, 1, 1], "1.0": [0, 0, 1, 1]}}', None, None, "unparsable"),
    ('{"boxes": {"1": [0, 0, 1, 1], "1": [0, 0, 1, 1]}}', None, None, "unparsable"),
    ('{"boxes": {"one": [0, 0, 1, 1]}}', None, None, "unparsable"),
    ('{"boxes": {"-1": [0, 0, 1, 1]}}', None, None, "unparsable"),
    ('{"boxes": [[0, 0, 1, 1]]}', None, None, "unparsable"),
    ('{"boxes": {"1": "x"}}', None, None, "unparsable"),
    ('[{"frame": 1, "time": 1, "bbox": [0, 0, 1, 1]}]', None, None, "unparsable"),
    ("[[0, 0, 1, 1]]", None, None, "unparsable"),
    ("7", None, None, "unparsable"),
    ('{"time": [1, 2]}', None, None, "unparsable"),
    ('{"boxes": {"1": [1, 0, 0, 1]}}', None, None, "bad_box"),
    ('{"time": [2, 1], "boxes": {"1": [0, 0, 1, 1]}}', None, None, "bad_time"),
    ('{"time": [1, 1], "boxes": {"1": [0, 0, 1, 1]}}', None, None, "bad_time"),
    ('{"boxes": {"1": [0, 0, 1, 1]', None, None, "truncated"),
    (json.dumps({str(frame): None for frame in range(1001)}), None, None, "too_many_frames"),
]


@pytest.mark.parametrize(("text", "boxes", "time", "reason"), TRACKS)
def test_tracks(text, boxes, time, reason):
    expected = parsers.Track(boxes, time) if boxes is not None else None
    assert parsers.parse_track(text) == (expected, reason)


def test_frames_have_one_number():
    assert [parsers.frame_number(key) for key in (12, "12", "012", "12.0", 12.0)] == [12.0] * 5
    assert [parsers.frame_number(key) for key in (-1, "x", "", "1e3", None, True, 1e10)] == [None] * 7


def test_spaces_are_declared():
    assert parsers.rescale([500, 250, 1000, 1000], "norm1000", (640, 480)) == [320, 120, 640, 480]
    assert parsers.rescale([0.5, 0.25], "norm1", "norm1000") == [500, 250]
    assert parsers.rescale([320, 240], (640, 480), (1280, 480)) == [640, 240]
    # One pixel of an image is one pixel, however small it looks.
    assert parsers.rescale([1, 1], (640, 480), (640, 480)) == [1, 1]
    for bad in ([[1, 2, 3], "norm1", "norm1000"], [[1, 2], "norm100", "norm1"], [[1, 2], (0, 4), "norm1"]):
        with pytest.raises(ValueError, match=r"x, y pairs|unknown|above 0"):
            parsers.rescale(*bad)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        # Rows of the facts about lmms-eval's readers: what it does not read is the empty box.
        ("[0.1, 0.2, 0.3, 0.4]", [0.1, 0.2, 0.3, 0.4]),
        ("first [1, 2, 3, 4] then [5, 6, 7, 8]", [1, 2, 3, 4]),
        ("<think>[1, 2, 3, 4]</think>", [1, 2, 3, 4]),
        ("[-1, 2, 3, 4]", [-1, 2, 3, 4]),
        ("(0.1, 0.2, 0.3, 0.4)", [0, 0, 0, 0]),
        ("[.1, .2, .3, .4]", [0, 0, 0, 0]),
        ("[1e-1, 2, 3, 4]", [0, 0, 0, 0]),
        ("[0.1 0.2 0.3 0.4]", [0, 0, 0, 0]),
    ],
)
def test_lmms_eval_box(text, box):
    assert parsers.parse_box_lmms_eval(text) == box


def test_vlmevalkit_point():
    assert parsers.parse_point_vlmevalkit("pyautogui.click(x=0.31, y=0.5)") == [0.31, 0.5]
    assert parsers.parse_point_vlmevalkit("x=1, y=2 x=3, y=4") == [1, 2]
    for miss in ("", "(3, 4)", "x=1,y=2", "x=1.2.3, y=4"):
        assert parsers.parse_point_vlmevalkit(miss) == [0, 0]


def test_lenient_boxes_keep_what_is_whole():
    cut = '```json\n[{"bbox_2d": [1, 2, 3, 4], "label": "cat"}, {"bbox_2d": [5, 6, 7, 8], "label": "d'
    # The box of the cut object stands outside any whole one and so has no label.
    assert parsers.parse_boxes_lenient(cut) == [CAT, ([5.0, 6.0, 7.0, 8.0], None)]
    assert parsers.parse_boxes_lenient(cut[:50]) == [CAT]
    assert parsers.parse_boxes_lenient("It's here: {'bbox_2d': [1, 2, 3, 4], 'label': 'cat'}") == [CAT]
    assert parsers.parse_boxes_lenient("[3, 2, 1, 4] and [1, 2, 3, 4]") == [(CAT[0], None)]
    assert parsers.parse_boxes_lenient("none") == []


@settings(max_examples=200)
@given(st.text(st.sampled_from("[](){}<>|\"'\\,.:-+0123456789eE \n`xyabox_point2dNaN"), max_size=120))
def test_no_text_breaks_a_reader(text):
    for name in parsers.ACTION_SPACES:
        parsers.parse_action(text, name)
    assert parsers.parse_mask(text, (4, 4))[1]
    for reader in (parsers.parse_boxes, parsers.parse_labelled_boxes, parsers.parse_points, parsers.parse_track):
        value, reason = reader(text)
        assert value is not None or reason != "ok"
    assert len(parsers.parse_box_lmms_eval(text)) == 4
    assert len(parsers.parse_point_vlmevalkit(text)) == 2
    assert all(parsers.is_box(item.box) for item in parsers.parse_boxes_lenient(text))


@given(st.lists(st.tuples(NUMBERS, NUMBERS, st.floats(1, 100), st.floats(1, 100)), max_size=6))
def test_strict_boxes_are_those_written(items):
    boxes = [[x, y, x + width, y + height] for x, y, width, height in items]
    found, reason = parsers.parse_labelled_boxes(json.dumps([{"bbox_2d": box} for box in boxes]))
    assert reason == "ok"
    assert [item.box for item in found] == boxes
