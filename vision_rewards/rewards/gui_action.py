"""One step of a GUI agent: what it does, where, and with which text."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import (
    ACTION_SPACES,
    ARGUMENTS,
    DIRECTIONS,
    Action,
    collapse_spaces,
    is_coordinate,
    parse_action,
    write_action,
)
from vision_rewards.rewards.iou import check_box
from vision_rewards.rewards.point_in_box import in_box
from vision_rewards.types import AnswerReward, RewardResult, TargetError, nearest, param

_CLICK = {"action": "click", "box": [100, 40, 180, 60]}
_TYPE = {"action": "type", "text": "cheap flights to Rome"}
_QWEN = (
    '<tool_call>\n{"name": "mobile_use", "arguments": {"action": "swipe", "coordinate": [5, 9], "coordinate2": [5, 2]}}'
)


def token_f1(first: str, second: str) -> float:
    """F1 of the words of two texts in lower case, each counted as often as both have it; in [0, 1]."""
    first_counts, second_counts = Counter(first.lower().split()), Counter(second.lower().split())
    shared = (first_counts & second_counts).total()
    return 2.0 * shared / (first_counts.total() + second_counts.total()) if shared else 0.0


@dataclass(frozen=True, kw_only=True)
class GuiAction(AnswerReward):
    """Whether the answer is the right action with the right arguments."""

    name = "gui_action"
    summary = "One GUI action: its type, its point and its text."
    target_keys: ClassVar = {
        "action": "str: " + ", ".join(ARGUMENTS),
        "box?": "[x1, y1, x2, y2] of what to click, press, move to or drag from",
        "point?": "[x, y] instead of `box`; needs the parameter `radius`",
        "end_box?": "[x1, y1, x2, y2] where a drag ends",
        "text?": "str: what to type or select, the key, the app, or the direction (up, down, left, right) of a scroll",
    }
    places: ClassVar = {"box": "box", "end_box": "box", "point": "point"}
    formula = (
        "step: [type, point and text are all right]; graded: ([type] + [type, point and text]) / 2. "
        "Point: inside `box`, or within `radius` of `point`. Text: equal up to case and white space, or, where it has "
        "several words, word F1 > ½"
    )
    source = (
        "step: AndroidControl's step accuracy, GUI-R1's accuracy reward; graded: UI-R1's sum of type and coordinate "
        "reward, halved; text_match=f1: GUI-R1; radius: AITW's 14% of the screen"
    )
    closes = (
        "exactly one action: a list of several earns 0",
        "a text that contains the right one or is part of it is not right: GUI-R1 accepts one letter of one word",
        "words count as often as both sides have them: repeating one gains nothing, and neither do three guesses",
        "a click on no point earns no point: (0, 0) is not a default",
        "the action space is declared: names of another space are unknown, and text is never evaluated",
        "a point needs a stated radius: 140 of 1000 is the whole screen in units of 0 to 1",
    )
    tasks = ("gui action", "gui agent", "android control", "gui navigation")
    examples = (
        (_CLICK, "<answer>[{'action': 'click', 'point': [140, 50], 'input_text': 'no input text'}]</answer>", "a hit"),
        (
            _CLICK,
            "[{'action': 'click', 'point': [10, 50], 'input_text': 'no input text'}]",
            "the right type",
            {"kind": "graded"},
        ),
        (_CLICK, "Thought: the button.\nAction: click(start_box='(140,50)')", "UI-TARS", {"space": "ui_tars"}),
        (
            _TYPE,
            "[{'action': 'type', 'point': [0, 0], 'input_text': 'flights to Rome'}]",
            "most words",
            {"text_match": "f1"},
        ),
        ({"action": "swipe", "text": "up"}, f"{_QWEN}\n</tool_call>", "Qwen's tool", {"space": "qwen_mobile_use"}),
        (
            {"action": "click", "point": [140, 50]},
            "[{'action': 'click', 'point': [150, 55], 'input_text': ''}]",
            "near the point",
            {"radius": 14},
        ),
        ({"action": "finish"}, "[{'action': 'complete', 'point': [0, 0], 'input_text': ''}]", "no arguments"),
    )
    part_defaults: ClassVar = {"type": 0.0, "point": None, "text": None, "step": 0.0}
    metric_part = "step"

    space: str = param("gui_r1", "the action space that the answer is written in", choices=tuple(ACTION_SPACES))
    kind: str = param("step", "`graded`: half for the type alone", choices=("step", "graded"))
    text_match: str = param("exact", "how a text is compared", choices=("exact", "f1"))
    radius: float | None = param(None, "how far from `point` still counts, in its own units", low=0)

    def check_target(self, target):
        kind, text = target["action"], target.get("text")
        if not isinstance(kind, str) or kind not in ARGUMENTS:
            raise TargetError(f"'action' is {kind!r}; {nearest(str(kind), ARGUMENTS)}")
        for key in ("box", "end_box"):
            if target.get(key) is not None:
                check_box(target, key)
        if target.get("point") is not None:
            self._check_point(target)
        if text is not None and (not isinstance(text, str) or not text.strip()):
            raise TargetError(f"'text' is {text!r}, not a str with visible characters")
        needed = ARGUMENTS[kind]
        if "direction" in needed and text not in DIRECTIONS:
            raise TargetError(f"'text' is {text!r}; a {kind} needs a direction: {', '.join(DIRECTIONS)}")
        if "text" in needed and text is None:
            raise TargetError(f"a {kind} needs the key 'text'")
        keys = {"point": "box" if target.get("box") is not None else "point", "end": "end_box"}
        stated = [target.get(keys[argument]) is not None for argument in needed if argument in keys]
        if stated and not any(stated):
            raise TargetError(f"a {kind} needs the key {'box' if 'end' not in needed else 'box or end_box'!r}")
        if not needed and any(target.get(key) is not None for key in ("box", "point", "end_box")):
            raise TargetError(f"a {kind} acts nowhere: remove 'box', 'point' and 'end_box'")
        action = self._gold_action(target)
        written = write_action(action, self.space)
        if written is None or not self._right(parse_action(written, self.space)[0], target)["step"]:
            raise TargetError(f"the space {self.space!r} cannot say {str(action)[:80]}; choose another")

    def _check_point(self, target):
        point = target["point"]
        if not isinstance(point, (list, tuple)) or len(point) != 2 or not all(map(is_coordinate, point)):
            raise TargetError(f"'point' is {str(point)[:60]}, not [x, y]")
        if target.get("box") is None and self.radius is None:
            raise TargetError("'point' without 'box' needs the parameter 'radius', in the units of the point")

    def _gold_action(self, target) -> Action:
        def centre(key):
            box = target.get(key)
            return ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) if box is not None else None

        point = centre("box")
        if point is None and target.get("point") is not None:
            point = tuple(target["point"])
        return Action(target["action"], point, centre("end_box"), target.get("text"))

    def gold_answer(self, target):
        return write_action(self._gold_action(target), self.space)

    def score_answer(self, answer, target):
        action, reason = parse_action(answer, self.space)
        if action is None:
            return self.failed(reason)
        parts = self._right(action, target)
        score = parts["step"] if self.kind == "step" else (parts["type"] + parts["step"]) / 2
        return RewardResult(score, parts, action._asdict(), "ok")

    def _right(self, action: Action | None, target) -> dict[str, float | None]:
        """Each part of a step: 1 or 0, or None where the target does not ask for it."""
        if action is None:
            return dict(self.part_defaults)
        places = [
            self._hits(action.point, target.get("box"), target.get("point")),
            self._hits(action.end, target.get("end_box"), None),
        ]
        places = [place for place in places if place is not None]
        point = float(all(places)) if places else None
        text = self._same_text(action.text, target["text"]) if target.get("text") is not None else None
        kind = float(action.type == target["action"])
        step = float(kind == 1.0 and point in (None, 1.0) and text in (None, 1.0))
        return {"type": kind, "point": point, "text": text, "step": step}

    def _hits(self, point, box, centre) -> bool | None:
        if box is None and centre is None:
            return None
        if point is None:
            return False
        return in_box(point, box) if box is not None else math.dist(point, centre) <= self.radius

    def _same_text(self, text: str | None, expected: str) -> float:
        if text is None:
            return 0.0
        if self.text_match == "f1" and expected not in DIRECTIONS:
            # One word of two would pass for a text of one word, and so would three guesses.
            several = len(expected.split()) > 1
            return float(token_f1(text, expected) > 0.5 if several else text.strip().casefold() == expected.casefold())
        return float(collapse_spaces(text).casefold() == collapse_spaces(expected).casefold())
