"""GUI actions in each published action space, and the ways to score without acting right."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_rewards import TargetError, get_reward, parsers, validate
from vision_rewards.rewards.gui_action import token_f1

CLICK = {"action": "click", "box": [100, 40, 180, 60]}
TYPE = {"action": "type", "text": "Cheap flights to Rome"}


def r1(action, point=(0, 0), text="no input text", count=1):
    return str([{"action": action, "point": list(point), "input_text": text}] * count)


# (answer, type, point, step, reason) of GUI-R1's space against a click.
CLICKS = [
    (r1("click", (140, 50)), 1, 1, 1, "ok"),
    (f"<think>tap</think><answer>{r1('click', (100, 60))}</answer>", 1, 1, 1, "ok"),
    (json.dumps([{"action": "CLICK", "point": [140.5, 50], "input_text": ""}]), 1, 1, 1, "ok"),
    ('{"action": "click", "point": [140, 50]}', 1, 1, 1, "ok"),
    ("```json\n" + r1("click", (140, 50)).replace("'", '"') + "\n```", 1, 1, 1, "ok"),
    (r1("click", (99, 50)), 1, 0, 0, "ok"),
    (r1("click"), 1, 0, 0, "ok"),
    (r1("click", (0.14, 0.05)), 1, 0, 0, "ok"),
    ("[{'action': 'click', 'input_text': 'OK'}]", 1, 0, 0, "ok"),
    ("[{'action': 'click', 'point': '[140, 50]', 'input_text': ''}]", 1, 1, 1, "ok"),
    (r1("click", (100, 40, 180, 60)), 1, 0, 0, "ok"),
    (r1("long_press", (140, 50)), 0, 1, 0, "ok"),
    (r1("scroll", (140, 50), "down"), 0, 1, 0, "ok"),
    (r1("complete"), 0, 0, 0, "ok"),
    # Every action at once, or one the space does not have.
    (r1("click", (140, 50), count=2), 0, None, 0, "many_actions"),
    (r1("click", (140, 50))[:-1] + ", " + r1("scroll", (1, 1), "down")[1:], 0, None, 0, "many_actions"),
    (r1("tap", (140, 50)), 0, None, 0, "unknown_action"),
    (r1("finish", (140, 50)), 0, None, 0, "unknown_action"),
    ("[]", 0, None, 0, "unparsable"),
    ("click (140, 50)", 0, None, 0, "unparsable"),
    ("[{'action': ['click'], 'point': [140, 50]}]", 0, None, 0, "unparsable"),
    ("[{'action': 'click', 'point': [140, 50], 'input_text': 7}]", 0, None, 0, "unparsable"),
    ("[{'action': 'click', 'point': [140, NaN]}]", 0, None, 0, "unparsable"),
    ("__import__('os').system('true')", 0, None, 0, "unparsable"),
    (r1("click", (140, 50))[:-2], 0, None, 0, "truncated"),
    ("", 0, None, 0, "no_answer"),
]


@pytest.mark.parametrize(("answer", "kind", "point", "step", "reason"), CLICKS)
def test_click(answer, kind, point, step, reason):
    reward = get_reward("gui_action")
    result = reward(answer, CLICK)
    assert (result.score, result.reason) == (step, reason)
    assert result.parts == {"type": kind, "point": point, "text": None, "step": step}
    assert reward.accuracy(result) == step
    assert get_reward("gui_action", kind="graded")(answer, CLICK).score == (kind + step) / 2


# (text typed, right if compared exactly, right by F1 of the words ≥ ½) against "Cheap flights to Rome".
TEXTS = [
    ("Cheap flights to Rome", 1, 1),
    ("  cheap  flights to\nrome ", 1, 1),
    ("flights to Rome", 0, 1),
    ("rome to flights cheap", 0, 1),
    ("cheap flights to Paris", 0, 1),
    # 2 · 1 / (1 + 4) and 2 · 2 / (2 + 4).
    ("Rome", 0, 0),
    ("to Rome", 0, 1),
    ("cheap flights to Rome and all other places of Italy", 0, 1),
    ("cheap flights to Rome and all other places of the country of Italy", 0, 0),
    # A repeated word counts once: 2 · 1 / (8 + 4).
    ("Rome " * 8, 0, 0),
    ("a", 0, 0),
    ("cheapflightstorome", 0, 0),
    ("no input text", 0, 0),
    ("", 0, 0),
]


@pytest.mark.parametrize(("text", "exact", "f1"), TEXTS)
def test_typed_text(text, exact, f1):
    for match, score in (("exact", exact), ("f1", f1)):
        result = get_reward("gui_action", text_match=match)(r1("type", text=text), TYPE)
        assert result.score == result.parts["text"] == score
        assert get_reward("gui_action", text_match=match)(r1("click", text=text), TYPE).score == 0


def test_words_of_one_letter_are_not_parts_of_words():
    # GUI-R1 takes a lone word for right if it is part of the other.
    assert token_f1("a", "android") == token_f1("android", "a") == token_f1("", "") == 0
    assert token_f1("a a b", "a b b") == pytest.approx(2 / 3)
    reward = get_reward("gui_action", text_match="f1")
    assert reward(r1("scroll", text="down up left right"), {"action": "scroll", "text": "down"}).score == 0
    assert reward(r1("scroll", text="DOWN"), {"action": "scroll", "text": "down"}).score == 1


QWEN = {"action": "swipe", "text": "up"}


def tool(name, **arguments):
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


# (space, answer, target, score, reason)
SPACES = [
    ("ui_tars", "Thought: there.\nAction: click(start_box='(140,50)')", CLICK, 1, "ok"),
    ("ui_tars", "Action: click(start_box='<|box_start|>(140,50)<|box_end|>')", CLICK, 1, "ok"),
    ("ui_tars", "click(point='<point>140 50</point>')", CLICK, 1, "ok"),
    ("ui_tars", "Action: click(start_box='(14,50)')", CLICK, 0, "ok"),
    ("ui_tars", "Action: left_double(start_box='(140,50)')", CLICK, 0, "ok"),
    ("ui_tars", "Action: click(start_box='(140,50),(150,60)')", CLICK, 0, "ok"),
    ("ui_tars", "Action: click()", CLICK, 0, "ok"),
    ("ui_tars", "Action: click(start_box='(140,50)')\n\nclick(start_box='(140,50)')", CLICK, 0, "many_actions"),
    ("ui_tars", "Action: click(start_box='(1,5)')\nAction: click(start_box='(140,50)')", CLICK, 0, "many_actions"),
    ("ui_tars", "Action: click(start_box='(140,50)', start_box='(1,1)')", CLICK, 0, "unparsable"),
    ("ui_tars", "Action: click(start_box='(140,50)'", CLICK, 0, "unparsable"),
    ("ui_tars", "Action: click(start_box=(140,50))", CLICK, 0, "unparsable"),
    ("ui_tars", "Action: tap(start_box='(140,50)')", CLICK, 0, "unknown_action"),
    ("ui_tars", r"Action: type(content='It\'s\n')", {"action": "type", "text": "it's"}, 1, "ok"),
    ("ui_tars", "Action: scroll(start_box='(5,5)', direction='down')", {"action": "scroll", "text": "down"}, 1, "ok"),
    ("ui_tars", "Action: scroll(start_box='(5,5)', direction='up')", {"action": "scroll", "text": "down"}, 0, "ok"),
    ("ui_tars", "Action: finished(content='done')", {"action": "finish"}, 1, "ok"),
    (
        "ui_tars",
        "Action: drag(start_box='(1,1)', end_box='(140,50)')",
        {"action": "drag", "end_box": CLICK["box"]},
        1,
        "ok",
    ),
    ("ui_tars", "Action: drag(start_box='(140,50)')", {"action": "drag", "end_box": CLICK["box"]}, 0, "ok"),
    ("qwen_mobile_use", tool("mobile_use", action="click", coordinate=[140, 50]), CLICK, 1, "ok"),
    (
        "qwen_mobile_use",
        '{"name": "mobile_use", "arguments": {"action": "click", "coordinate": [140, 50]}}',
        CLICK,
        1,
        "ok",
    ),
    ("qwen_mobile_use", "Action: tap it.\n" + tool("mobile_use", action="click", coordinate=[140, 50]), CLICK, 1, "ok"),
    ("qwen_mobile_use", tool("computer_use", action="left_click", coordinate=[140, 50]), CLICK, 0, "unparsable"),
    ("qwen_mobile_use", tool("mobile_use", action="left_click", coordinate=[140, 50]), CLICK, 0, "unknown_action"),
    ("qwen_mobile_use", tool("mobile_use", action="click", coordinate=[140, 50]) * 2, CLICK, 0, "many_actions"),
    ("qwen_mobile_use", tool("mobile_use", action="click", coordinate=[140, 50])[:-12], CLICK, 1, "ok"),
    ("qwen_mobile_use", tool("mobile_use", action="click", coordinate=[140, 50])[:-15], CLICK, 0, "truncated"),
    ("qwen_mobile_use", tool("mobile_use", action="swipe", coordinate=[5, 90], coordinate2=[8, 10]), QWEN, 1, "ok"),
    ("qwen_mobile_use", tool("mobile_use", action="swipe", coordinate=[5, 10], coordinate2=[8, 90]), QWEN, 0, "ok"),
    ("qwen_mobile_use", tool("mobile_use", action="swipe", coordinate=[5, 5], coordinate2=[5, 5]), QWEN, 0, "ok"),
    ("qwen_mobile_use", tool("mobile_use", action="system_button", button="Back"), {"action": "press_back"}, 1, "ok"),
    (
        "qwen_mobile_use",
        tool("mobile_use", action="system_button", button="Off"),
        {"action": "press_back"},
        0,
        "unknown_action",
    ),
    (
        "qwen_mobile_use",
        tool("mobile_use", action="open", text="Clock"),
        {"action": "open_app", "text": "clock"},
        1,
        "ok",
    ),
    ("qwen_computer_use", tool("computer_use", action="left_click", coordinate=[140, 50]), CLICK, 1, "ok"),
    (
        "qwen_computer_use",
        tool("computer_use", action="key", keys=["ctrl", "c"]),
        {"action": "key", "text": "ctrl+c"},
        1,
        "ok",
    ),
    (
        "qwen_computer_use",
        tool("computer_use", action="scroll", pixels=-5),
        {"action": "scroll", "text": "down"},
        1,
        "ok",
    ),
    (
        "qwen_computer_use",
        tool("computer_use", action="terminate", status="failure"),
        {"action": "finish", "text": "success"},
        0,
        "ok",
    ),
]


@pytest.mark.parametrize(("space", "answer", "target", "score", "reason"), SPACES)
def test_action_spaces(space, answer, target, score, reason):
    result = get_reward("gui_action", space=space)(answer, target)
    assert (result.score, result.reason) == (score, reason)


def test_an_answer_of_another_space_earns_nothing():
    answers = {
        space: parsers.write_action(parsers.Action("click", (140.0, 50.0)), space) for space in parsers.ACTION_SPACES
    }
    for space in answers:
        for written, answer in answers.items():
            assert get_reward("gui_action", space=space)(answer, CLICK).score == float(space == written)


def test_radius_is_stated():
    target = {"action": "click", "point": [50, 50]}
    reward = get_reward("gui_action", radius=14)
    assert reward(r1("click", (50, 64)), target).score == 1
    assert reward(r1("click", (60, 60)), target).score == 0
    with pytest.raises(TargetError, match="radius"):
        get_reward("gui_action").check(target)


@pytest.mark.parametrize(
    ("target", "params", "word"),
    [
        ({"action": "clik"}, {}, "did you mean 'click'"),
        ({"action": 3}, {}, "'action'"),
        ({"action": "click"}, {}, "needs the key 'box'"),
        ({"action": "click", "box": [0, 0, 1]}, {}, "'box'"),
        ({"action": "click", "point": "x"}, {"radius": 5}, "'point'"),
        ({"action": "drag"}, {"space": "ui_tars"}, "box or end_box"),
        ({"action": "drag", "end_box": [1, 1, 0, 0]}, {"space": "ui_tars"}, "'end_box'"),
        ({"action": "type"}, {}, "needs the key 'text'"),
        ({"action": "type", "text": " "}, {}, "'text'"),
        ({"action": "scroll", "text": "downwards"}, {}, "up, down, left, right"),
        ({"action": "wait", "box": [0, 0, 1, 1]}, {}, "acts nowhere"),
        # What the space cannot say.
        ({"action": "swipe", "text": "up"}, {}, "'gui_r1' cannot say"),
        ({"action": "scroll", "text": "left"}, {"space": "qwen_computer_use"}, "cannot say"),
        ({"action": "drag", "box": [0, 0, 1, 1]}, {"space": "qwen_computer_use"}, "cannot say"),
        ({"action": "press_recent"}, {"space": "ui_tars"}, "cannot say"),
        ({"action": "type", "text": "Action: x"}, {"space": "ui_tars"}, "cannot say"),
    ],
)
def test_targets_that_cannot_be_scored(target, params, word):
    with pytest.raises(TargetError) as error:
        get_reward("gui_action", **params).check(target)
    assert word in str(error.value)
    assert "\n" not in str(error.value)


@st.composite
def targets(draw):
    kind = draw(st.sampled_from(sorted(parsers.ARGUMENTS)))
    target = {"action": kind}
    x, y, width, height = (draw(st.floats(1, 1000)) for _ in range(4))
    if "point" in parsers.ARGUMENTS[kind] and draw(st.booleans()):
        target["box"] = [x, y, x + width, y + height]
    if kind == "drag":
        target["end_box"] = [y, x, y + width, x + height]
    elif "point" in parsers.ARGUMENTS[kind]:
        target["box"] = [x, y, x + width, y + height]
    if "direction" in parsers.ARGUMENTS[kind]:
        target["text"] = draw(st.sampled_from(parsers.DIRECTIONS))
    elif "text" in parsers.ARGUMENTS[kind]:
        target["text"] = draw(st.text(min_size=1, max_size=20))
    return target


@settings(max_examples=200)
@given(targets(), st.sampled_from(sorted(parsers.ACTION_SPACES)), st.sampled_from(["exact", "f1"]))
def test_gold_scores_one_where_the_space_can_say_it(target, space, match):
    reward = get_reward("gui_action", space=space, text_match=match)
    try:
        reward.check(target)
    except TargetError as error:
        assert "cannot say" in str(error) or "visible" in str(error) or "read back" in str(error)  # noqa: PT017
        return
    validate(reward, [target])


@given(st.text("\\'\"()\n\tab,=", max_size=12))
def test_texts_survive_being_written(text):
    for space in parsers.ACTION_SPACES:
        action = parsers.Action("type", None, None, text)
        written = parsers.write_action(action, space)
        read, reason = parsers.parse_action(written, space)
        assert (read.type, read.text, reason) == ("type", text, "ok")
