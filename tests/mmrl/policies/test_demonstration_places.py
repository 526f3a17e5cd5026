"""Whatever the rewards read as a box or point is converted in a demonstration as in its target; other numbers stay."""

import pytest

import vision_rewards
from mmrl.contracts.types import Sample
from mmrl.policies.boxes import Canvas, agrees, localise

# A picture of 1000 x 500 that the model sees at 476 x 224.
CANVAS = Canvas((1000, 500), (476, 224))
BOX, POINT = {"box": [100, 100, 500, 400]}, {"point": [500, 250]}
CLICK = {"action": "click", "box": [450, 200, 550, 300]}
TRACK = {"time": [1, 2], "track": {"1": [100, 100, 500, 400]}}


def moved(target, text, convention="resized_pixel", canvas=CANVAS):
    sample = Sample("s", (), "grounding", target, demonstration=text)
    return localise(sample, convention, [canvas], [canvas])


@pytest.mark.parametrize(
    ("target", "written", "expected"),
    [
        (
            BOX,
            '{"bbox_2d": [100, 100, 500, 400], "label": "cup 3"}',
            '{"bbox_2d": [48, 45, 238, 179], "label": "cup 3"}',
        ),
        (BOX, "<|box_start|>(100,100),(500,400)<|box_end|>", "<|box_start|>(48,45),(238,179)<|box_end|>"),
        (BOX, "[[100, 100], [500, 400]]", "[[48, 45], [238, 179]]"),
        (BOX, "<box>100 100 500 400</box>", "<box>48 45 238 179</box>"),
        (BOX, "100, 100, 500, 400", "48, 45, 238, 179"),
        (BOX, '{"x1": 100, "y1": 100, "x2": 500, "y2": 400}', '{"x1": 48, "y1": 45, "x2": 238, "y2": 179}'),
        (BOX, "from (100, 100) to (500, 400)", "from (48, 45) to (238, 179)"),
        (BOX, '["100", "100", "500", "400"]', '["48", "45", "238", "179"]'),
        (BOX, '{"bbox": "100, 100, 500, 400"}', '{"bbox": "48, 45, 238, 179"}'),
        (BOX, "[100px, 100px, 500px, 400px]", "[48px, 45px, 238px, 179px]"),
        (BOX, "{100, 100, 500, 400}", "{48, 45, 238, 179}"),
        (BOX, "【100，100，500，400】", "【48，45，238，179】"),
        (BOX, '{"box_2d": [100, 100, 400, 500]}', '{"box_2d": [45, 48, 179, 238]}'),
        (BOX, "(200, 200)", "(95, 90)"),
        (POINT, '{"point_2d": [500, 250], "label": "cup"}', '{"point_2d": [238, 112], "label": "cup"}'),
        (POINT, "x=500, y=250", "x=238, y=112"),
        (POINT, '{"time": [1, 2], "point": [500, 250]}', '{"time": [1, 2], "point": [238, 112]}'),
        (POINT, "<point>500 250</point>", "<point>238 112</point>"),
        (POINT, '<point x="500" y="250" alt="a">cup</point>', '<point x="238" y="112" alt="a">cup</point>'),
        (CLICK, "click(500, 250)", "click(238, 112)"),
        (CLICK, "Action: click(start_box='(500,250)')", "Action: click(start_box='(238,112)')"),
        (
            CLICK,
            "[{'action': 'click', 'point': [500, 250], 'input_text': 'no input text'}]",
            "[{'action': 'click', 'point': [238, 112], 'input_text': 'no input text'}]",
        ),
        (
            TRACK,
            '{"time": [1, 2], "boxes": {"1": [100, 100, 500, 400]}}',
            '{"time": [1, 2], "boxes": {"1": [48, 45, 238, 179]}}',
        ),
    ],
)
def test_every_form_is_converted_where_it_stands(target, written, expected):
    assert moved(target, written).demonstration == expected
    assert agrees(moved(target, written))


@pytest.mark.parametrize(
    ("name", "target", "written"),
    [
        ("iou", BOX, "<|box_start|>(100,100),(500,400)<|box_end|>"),
        ("iou", BOX, "<think>not [1, 2, 3, 4]</think><answer>[[100, 100], [500, 400]]</answer>"),
        ("point_in_box", {"box": [450, 200, 550, 300]}, '{"point_2d": [500, 250]}'),
    ],
)
def test_a_right_demonstration_earns_full_marks_after_conversion(name, target, written):
    reward = vision_rewards.get_reward(name)
    assert reward(written, target).score == 1.0
    sample = moved(target, written)
    assert sample.target != target
    assert reward(sample.demonstration, sample.target).score == pytest.approx(1.0)


@pytest.mark.parametrize(
    "kept",
    [
        "the numbers [1, 2, 3, 4] on the wall",
        "(3, 4) of them",
        "[4, 3, 2, 1]",
        "[1, 2, 3, 4, 5]",
        "[1700, 1, 1800, 90]",
    ],
)
def test_numbers_of_a_thought_that_are_no_box_stay(kept):
    text = f"<think>{kept}, a cup at [300, 100, 400, 200]</think>[100, 100, 500, 400]"
    expected = f"<think>{kept}, a cup at [143, 45, 190, 90]</think>[48, 45, 238, 179]"
    assert moved(BOX, text).demonstration == expected


def test_a_thought_names_the_targets_own_point_and_box():
    text = "<think>at (500, 250), so</think><answer>(500, 250)</answer>"
    assert moved(POINT, text).demonstration == "<think>at (238, 112), so</think><answer>(238, 112)</answer>"
    small = {"box": [1, 2, 3, 4]}
    assert (
        moved(small, "<think>[1, 2, 3, 4]</think>[1, 2, 3, 4]").demonstration
        == "<think>[0, 1, 1, 2]</think>[0, 1, 1, 2]"
    )


@pytest.mark.parametrize(
    ("target", "written", "right"),
    [
        (BOX, "[100, 100, 500, 400]", True),
        (BOX, "[101, 99, 500, 400]", True),
        (BOX, "[10, 100, 500, 400]", False),
        (BOX, "(100,100),(500,400)", True),
        (BOX, "(10,100),(500,400)", False),
        (BOX, "<think>[10, 10, 90, 90]</think>[100, 100, 500, 400]", True),
        (BOX, "<think>[100, 100, 500, 400]</think>[10, 10, 90, 90]", False),
        (BOX, "<thinking>[100, 100, 500, 400]</thinking>[10, 10, 90, 90]", False),
        (BOX, "[THINK][10, 10, 90, 90][/THINK][100, 100, 500, 400]", True),
        (BOX, "[100, 100, 500, 400]<ANSWER>[10, 10, 90, 90]</ANSWER>", False),
        (BOX, "(200, 200)", True),
        (BOX, "(20, 200)", False),
        (BOX, "There is no cup.", True),
        (POINT, "click(500, 250)", True),
        (POINT, "click(50, 250)", False),
        ({"answer": "A"}, "[1, 2, 3, 4]", True),
    ],
)
def test_a_demonstration_of_another_place_is_told_apart(target, written, right):
    assert agrees(Sample("s", (), "grounding", target, demonstration=written)) is right
