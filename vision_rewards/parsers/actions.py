"""One action of a GUI agent, in the action spaces that are published. A space is declared, never recognised."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vision_rewards.parsers.geometry import NUMBER, is_coordinate
from vision_rewards.parsers.json_values import parse_written_json
from vision_rewards.parsers.points import parse_points

# Types and what they act with. "direction" is one of up, down, left, right and stands in `text`.
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "click": ("point",),
    "double_click": ("point",),
    "right_click": ("point",),
    "middle_click": ("point",),
    "long_press": ("point",),
    "move": ("point",),
    "drag": ("point", "end"),
    "select": ("text",),
    "type": ("text",),
    "key": ("text",),
    "open_app": ("text",),
    "scroll": ("direction",),
    "swipe": ("direction",),
    "press_back": (),
    "press_enter": (),
    "press_home": (),
    "press_menu": (),
    "press_recent": (),
    "call_user": (),
    "wait": (),
    "impossible": (),
    "finish": (),
}
DIRECTIONS = ("up", "down", "left", "right")

_TEXT = r"'(?:[^'\\]|\\.){0,5000}+'|\"(?:[^\"\\]|\\.){0,5000}+\""
_CALL = re.compile(rf"\s{{0,20}}([a-z_]{{1,20}})\(((?:[^'\"()]|{_TEXT}){{0,5000}}+)\)\s{{0,20}}", re.DOTALL)
_ARGUMENT = re.compile(rf"([a-z_]{{1,20}})\s{{0,5}}=\s{{0,5}}({_TEXT})", re.DOTALL)
_CORNERS = re.compile(rf"\[\s?({NUMBER})\s?,\s?({NUMBER})\s?,\s?({NUMBER})\s?,\s?({NUMBER})\s?\]")
_ESCAPES = {"n": "\n", "t": "\t"}


class Action(NamedTuple):
    """One action: a type of `ARGUMENTS`, where it acts (and where a drag ends), and its text, key, app or direction."""

    type: str
    point: tuple[float, float] | None = None
    end: tuple[float, float] | None = None
    text: str | None = None


class ActionSpace(NamedTuple):
    """How one family of agents writes actions: `read` gives (action, "ok") or (None, reason), `write` what it reads."""

    read: Callable[[str], tuple[Action | None, str]]
    write: Callable[[Action], str | None]


def parse_action(text: str, space: str) -> tuple[Action | None, str]:
    """Read the one action of an answer.

    Args:
        text: an answer.
        space: a key of `ACTION_SPACES`.

    Returns:
        (action, "ok"), or (None, reason): "unparsable", "truncated", "many_actions", or "unknown_action" for a type
        that the space does not have.
    """
    return ACTION_SPACES[space].read(text)


def write_action(action: Action, space: str) -> str | None:
    """Write an action as `parse_action` reads it; None where the space cannot say it."""
    return ACTION_SPACES[space].write(action)


def direction_of(start: tuple[float, float], end: tuple[float, float]) -> str | None:
    """Where a swipe goes, by the larger of its two components (y points down); None where neither is larger."""
    x, y = end[0] - start[0], end[1] - start[1]
    if abs(x) == abs(y):
        return None
    if abs(x) > abs(y):
        return "right" if x > 0 else "left"
    return "down" if y > 0 else "up"


def _point(value: Any) -> tuple[float, float] | None:
    if isinstance(value, str):
        return _one_point(value)
    if isinstance(value, list) and len(value) == 2 and all(map(is_coordinate, value)):
        return float(value[0]), float(value[1])
    return None


def _inverse(names: Mapping[str, str]) -> dict[str, str]:
    inverse: dict[str, str] = {}
    for name, action in names.items():
        inverse.setdefault(action, name)
    return inverse


# GUI-R1: [{'action': 'click', 'point': [123, 300], 'input_text': 'no input text'}]
_GUI_R1 = {action: action for action in ARGUMENTS if action not in ("finish", "swipe")} | {"complete": "finish"}
_NO_TEXT = "no input text"


def _read_gui_r1(text: str) -> tuple[Action | None, str]:
    value, reason = parse_written_json(text)
    if reason != "ok":
        return None, reason
    items = value if isinstance(value, list) else [value]
    if len(items) != 1:
        return None, "many_actions" if items else "unparsable"
    item = items[0]
    if not isinstance(item, dict) or not isinstance(item.get("action"), str):
        return None, "unparsable"
    text = item.get("input_text")
    if text is not None and not isinstance(text, str):
        return None, "unparsable"
    return _make_action(item["action"], _GUI_R1, _point(item.get("point")), None, None if text == _NO_TEXT else text)


def _write_gui_r1(action: Action) -> str | None:
    if action.type not in _inverse(_GUI_R1) or action.end is not None:
        return None
    point = list(action.point) if action.point else [-100, -100]
    text = action.text if action.text is not None else _NO_TEXT
    return json.dumps([{"action": _inverse(_GUI_R1)[action.type], "point": point, "input_text": text}])


# Qwen's tools: <tool_call>{"name": "mobile_use", "arguments": {"action": "click", "coordinate": [x, y]}}</tool_call>
_COMPUTER = {
    "left_click": "click",
    "click": "click",
    "double_click": "double_click",
    "right_click": "right_click",
    "middle_click": "middle_click",
    "mouse_move": "move",
    "left_click_drag": "drag",
    "type": "type",
    "key": "key",
    "scroll": "scroll",
    "wait": "wait",
    "terminate": "finish",
}
_MOBILE = {
    "click": "click",
    "long_press": "long_press",
    "swipe": "swipe",
    "type": "type",
    "key": "key",
    "open": "open_app",
    "wait": "wait",
    "terminate": "finish",
}
_BUTTONS = {"Back": "press_back", "Home": "press_home", "Menu": "press_menu", "Enter": "press_enter"}


def _read_qwen(text: str, tool: str, names: Mapping[str, str]) -> tuple[Action | None, str]:
    if "<tool_call>" in text:
        calls = text.split("<tool_call>")[1:]
        if len(calls) > 1:
            return None, "many_actions"
        # A stop string takes the closing tag away; what is cut off earlier is no whole JSON.
        text = calls[0].partition("</tool_call>")[0]
    value, reason = parse_written_json(text)
    if reason != "ok":
        return None, reason
    arguments = value.get("arguments") if isinstance(value, dict) and value.get("name") == tool else None
    if not isinstance(arguments, dict) or not isinstance(arguments.get("action"), str):
        return None, "unparsable"
    name = arguments["action"]
    if name == "system_button" and tool == "mobile_use":
        button = _BUTTONS.get(str(arguments.get("button")))
        return (Action(button), "ok") if button else (None, "unknown_action")
    point, end = _point(arguments.get("coordinate")), _point(arguments.get("coordinate2"))
    return _make_action(name, names, *_qwen_arguments(names.get(name), arguments, point, end))


def _qwen_arguments(action, arguments, point, end):
    """(point, end, text) of a tool call, in the meaning of `Action`."""
    text = arguments.get("text")
    if action == "swipe":
        return None, None, direction_of(point, end) if point and end else None
    if action == "scroll":
        pixels = arguments.get("pixels")
        return point, None, ("up" if pixels > 0 else "down") if is_coordinate(pixels) and pixels else None
    if action == "drag":
        return None, point, None
    if action == "key" and isinstance(arguments.get("keys"), list):
        text = "+".join(map(str, arguments["keys"]))
    if action == "finish":
        text = arguments.get("status")
    return point, end, text if isinstance(text, str) else None


def _write_qwen(action: Action, tool: str, names: Mapping[str, str]) -> str | None:
    arguments: dict[str, Any] = {"action": _inverse(names).get(action.type)}
    if tool == "mobile_use" and action.type in _BUTTONS.values():
        arguments = {"action": "system_button", "button": _inverse(_BUTTONS)[action.type]}
    elif arguments["action"] is None:
        return None
    elif action.type == "swipe":
        ends = {"up": [1, 0], "down": [1, 2], "left": [0, 1], "right": [2, 1]}
        arguments |= {"coordinate": [1, 1], "coordinate2": ends.get(action.text)}
    elif action.type == "scroll":
        arguments["pixels"] = {"up": 1, "down": -1}.get(action.text)
    elif action.type == "drag":
        arguments["coordinate"] = list(action.end) if action.end else None
    else:
        if action.point:
            arguments["coordinate"] = list(action.point)
        if action.type == "key" and tool == "computer_use":
            arguments["keys"] = (action.text or "").split("+")
        elif action.text is not None:
            arguments["status" if action.type == "finish" else "text"] = action.text
    return f"<tool_call>\n{json.dumps({'name': tool, 'arguments': arguments})}\n</tool_call>"


# UI-TARS: Thought: …\nAction: click(start_box='(x,y)'), or click(point='<point>x y</point>')
_UI_TARS = {
    "click": "click",
    "left_double": "double_click",
    "right_single": "right_click",
    "long_press": "long_press",
    "drag": "drag",
    "type": "type",
    "hotkey": "key",
    "open_app": "open_app",
    "scroll": "scroll",
    "press_back": "press_back",
    "press_home": "press_home",
    "call_user": "call_user",
    "wait": "wait",
    "finished": "finish",
}
_UI_TARS_TEXT = {"key": "key", "open_app": "app_name", "scroll": "direction"}


def _read_ui_tars(text: str) -> tuple[Action | None, str]:
    labels = text.count("Action:")
    if labels > 1:
        return None, "many_actions"
    text = text.rpartition("Action:")[2]
    call = _CALL.match(text)
    if call is None:
        return None, "unparsable"
    if call.end() != len(text):
        return None, "many_actions" if _CALL.match(text, call.end()) else "unparsable"
    pairs = _ARGUMENT.findall(call[2])
    arguments = {key: re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), value[1:-1]) for key, value in pairs}
    if len(arguments) != len(pairs) or _ARGUMENT.sub("", call[2]).strip(" ,\n"):
        return None, "unparsable"
    point = _one_place(arguments.get("start_box", arguments.get("point", arguments.get("start_point"))))
    end = _one_place(arguments.get("end_box", arguments.get("end_point")))
    action = _UI_TARS.get(call[1])
    return _make_action(call[1], _UI_TARS, point, end, arguments.get(_UI_TARS_TEXT.get(action, "content")))


def _one_point(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    points, reason = parse_points(text)
    return (points[0][0], points[0][1]) if reason == "ok" and len(points) == 1 else None


def _one_place(text: str | None) -> tuple[float, float] | None:
    """A point, or the centre of `[x1, y1, x2, y2]`, as UI-TARS's desktop prompt has it."""
    corners = _CORNERS.fullmatch(text.strip()) if text is not None else None
    if corners is None:
        return _one_point(text)
    x1, y1, x2, y2 = map(float, corners.groups())
    return (x1 + x2) / 2, (y1 + y2) / 2


def _write_ui_tars(action: Action) -> str | None:
    name = _inverse(_UI_TARS).get(action.type)
    if name is None:
        return None
    arguments = []
    for key, point in (("start_box", action.point), ("end_box", action.end)):
        if point is not None:
            arguments.append(f"{key}='({point[0]!r},{point[1]!r})'")
    if action.text is not None:
        text = re.sub(r"[\\']", lambda m: "\\" + m[0], action.text).replace("\n", "\\n").replace("\t", "\\t")
        arguments.append(f"{_UI_TARS_TEXT.get(action.type, 'content')}='{text}'")
    return f"Action: {name}({', '.join(arguments)})"


def _make_action(name: str, names: Mapping[str, str], point, end, text) -> tuple[Action | None, str]:
    action = names.get(name.strip().lower())
    return (Action(action, point, end, text), "ok") if action else (None, "unknown_action")


ACTION_SPACES: Mapping[str, ActionSpace] = {
    "gui_r1": ActionSpace(_read_gui_r1, _write_gui_r1),
    "qwen_computer_use": ActionSpace(
        lambda text: _read_qwen(text, "computer_use", _COMPUTER),
        lambda action: _write_qwen(action, "computer_use", _COMPUTER),
    ),
    "qwen_mobile_use": ActionSpace(
        lambda text: _read_qwen(text, "mobile_use", _MOBILE),
        lambda action: _write_qwen(action, "mobile_use", _MOBILE),
    ),
    "ui_tars": ActionSpace(_read_ui_tars, _write_ui_tars),
}
