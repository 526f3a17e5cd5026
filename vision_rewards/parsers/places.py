"""Where in a completion one answer of several stands: a tag, a key of a JSON answer, and which forms of it count."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from vision_rewards.parsers.extract import EXTRACT_MODES, MAX_ANSWER, MAX_COMPLETION, extract_answer, wrap_answer
from vision_rewards.parsers.json_values import parse_json, parse_written_json
from vision_rewards.parsers.short_answers import statements

# What `extract` may be: where the answer stands, or `bare`, which also wants nothing around it.
MODES = (*EXTRACT_MODES, "bare")
TAG_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}", re.IGNORECASE | re.ASCII)


class Place(NamedTuple):
    """Where one answer stands.

    Attributes:
        modes: the forms that count, in the order in which they are tried; `MODES`.
        tag: the tag that "auto", "bare" and "answer" look for. One that is not `answer` has to be there, and may stand
            before the thinking or around it.
        field: the key of a JSON object, or of the objects of a list, that holds the answer; None: all of it is.
    """

    modes: tuple[str, ...] = ("auto",)
    tag: str = "answer"
    field: str | None = None

    def read(self, completion: str) -> tuple[str | None, str]:
        """(answer, "ok"), or (None, reason): as `extract_answer`, "not_bare", "unparsable", "no_field"."""
        if self == _USUAL:
            return extract_answer(completion, "auto")
        first = ""
        for mode in self.modes:
            text, reason = self._locate(completion, mode)
            if text is not None and mode == "bare" and _is_dressed(text):
                text, reason = None, "not_bare"
            if text is not None and self.field is not None:
                text, reason = _field(text, self.field)
            if text is not None:
                return text, reason
            first = first or reason
        return None, first

    def write(self, text: str) -> str:
        """A completion that holds this answer here and nothing else."""
        text = text if self.field is None else json.dumps({self.field: _value(text)}, ensure_ascii=False)
        if self.tag != "answer":
            return f"<{self.tag}>{text}</{self.tag}>"
        return wrap_answer(text, self.modes[0])

    def _locate(self, completion: str, mode: str) -> tuple[str | None, str]:
        if self.tag == "answer" or mode in ("boxed", "raw"):
            return extract_answer(completion, "auto" if mode == "bare" else mode)
        if len(completion) > MAX_COMPLETION:
            return None, "too_long"
        start, end = f"<{self.tag}>", f"</{self.tag}>"
        closed = completion.rfind(end)
        opened = completion.rfind(start, 0, closed) if closed >= 0 else -1
        text = completion[opened + len(start) : closed].strip() if opened >= 0 else ""
        if not text:
            return None, "no_answer"
        return (text, "ok") if len(text) <= MAX_ANSWER else (None, "too_long")


def write_together(places: Sequence[tuple[Place, str]]) -> str:
    """One completion that holds several answers, each in its place; of two in one place the first counts."""
    tags: dict[str, Any] = {}
    for place, text in places:
        if place.field is None:
            tags.setdefault(place.tag, text)
        elif isinstance(fields := tags.setdefault(place.tag, {}), dict):
            fields.setdefault(place.field, _value(text))
    last = tags.pop("answer", None)
    written = [f"<{tag}>{_text(answer)}</{tag}>" for tag, answer in tags.items()]
    if last is not None:
        modes = next(place.modes for place, _ in places if place.tag == "answer")
        mode = "answer" if written and modes[0] in ("auto", "bare") else modes[0]
        written.append(wrap_answer(_text(last), mode))
    return "".join(written)


def _is_dressed(text: str) -> bool:
    layers = statements(text)
    return len(layers) > 1 and layers[-1] != layers[0].rstrip(".。")


def _field(text: str, field: str) -> tuple[str | None, str]:
    """What a key of a JSON answer holds, as text; of several objects the list of what they hold."""
    value, reason = parse_written_json(text)
    if reason != "ok":
        return None, reason
    items = value if isinstance(value, list) else [value]
    values = [item[field] for item in items if isinstance(item, dict) and item.get(field) is not None]
    if not values or len(values) != len(items):
        return None, "no_field"
    inside = _text(values[0] if len(values) == 1 else values).strip()
    return (inside, "ok") if inside else (None, "no_answer")


def _value(text: str) -> Any:
    """An answer as a JSON value: a list, an object or a number that is written alike, else the text."""
    value, reason = parse_json(text)
    return value if reason == "ok" and not isinstance(value, str) and _text(value) == text else text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_USUAL = Place()
