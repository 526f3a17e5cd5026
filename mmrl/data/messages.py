"""Conversations of rows, as the tools that write them have it, to messages; media that stand in a part stay in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmrl.contracts.errors import nearest
from mmrl.data.columns import SOURCE, TAG, Columns
from mmrl.data.references import IMAGE_KEYS, VIDEO_KEYS
from mmrl.data.turns import MARK, mark_the_rest, marked

ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
# What a part may hold beside its picture or video.
_PART_KEYS = {
    "text": ("text",),
    "image": (*IMAGE_KEYS, "detail"),
    "video": (*VIDEO_KEYS, "start", "end", "video_start", "video_end"),
}
_PART_KINDS = {"text": "text", "image": "image", "image_url": "image", "video": "video", "video_url": "video"}


def split_tags(text: str) -> list[dict[str, Any]]:
    """Message content of a text with `<image>` and `<video>` tags."""
    pieces = TAG.split(text)
    parts: list[dict[str, Any]] = []
    for number, piece in enumerate(pieces):
        if number % 2:
            parts.append({"type": piece})
        elif piece.strip():
            parts.append({"type": "text", "text": piece.strip("\n") if len(pieces) > 1 else piece})
    return parts


def text_message(role: str, text: str) -> dict[str, Any]:
    """A message of a row's text. Tags stand for media in what is asked; in an answer they are its own words."""
    content = [{"type": "text", "text": text}] if role == "assistant" else split_tags(text)
    return {"role": role, "content": content}


class Turns(NamedTuple):
    """A conversation.

    Attributes:
        messages: up to the last user turn, with what the row says of answers that are learned.
        answer: the text of a closing assistant turn; None where there is none.
        learned: whether that answer is.
    """

    messages: list[dict[str, Any]]
    answer: str | None
    learned: bool

    @property
    def demonstration(self) -> str | None:
        """The answer, where it is learned."""
        return self.answer if self.learned else None


def read_turns(row: Columns, column: str, answered: bool = True) -> Turns:
    """The conversation of a column.

    Args:
        column: a list of `{"role", "content"}` or of `{"from", "value"}`.
        answered: a closing assistant turn is an answer; without, there may be none.

    Raises:
        BadSample: a turn of another form or of another role.
    """
    messages = [_marked(row, column, number, turn) for number, turn in enumerate(row.items(column))]
    last = messages.pop() if answered and messages and messages[-1]["role"] == "assistant" else None
    if not messages or messages[-1]["role"] != "user":
        raise row.bad(f"column '{row.called(column)}' has no user message before the answer")
    if last is None:
        return Turns(messages, None, False)
    if any(part["type"] != "text" for part in last["content"]):
        raise row.bad(f"column '{row.called(column)}': the closing assistant message is not plain text")
    learned = last.get(MARK) is not False
    if not learned:
        mark_the_rest(messages)
    return Turns(messages, "".join(part["text"] for part in last["content"]), learned)


def _marked(row: Columns, column: str, number: int, turn: Any) -> dict[str, Any]:
    message = _message(row, column, number, turn)
    try:
        return marked(message, turn)
    except ValueError as error:
        raise row.bad(f"column '{row.called(column)}'[{number}]: {error}") from error


def _message(row: Columns, column: str, number: int, turn: Any) -> dict[str, Any]:
    place = f"column '{row.called(column)}'[{number}]"
    written = (turn.get("role") or turn.get("from")) if isinstance(turn, Mapping) else None
    role = ROLES.get(written) if isinstance(written, str) else None
    if role is None:
        named = f", not '{str(written)[:40]}'" if written is not None else ""
        raise row.bad(f"{place} needs a role: system, user (human) or assistant (gpt){named}")
    content = turn.get("content") if turn.get("content") is not None else turn.get("value")
    if isinstance(content, str):
        return text_message(role, content)
    if not isinstance(content, list):
        raise row.bad(f"{place}.content is {type(content).__name__}, expected text or a list")
    return {"role": role, "content": [_part(row, part, place) for part in content]}


def _part(row: Columns, part: Any, place: str) -> dict[str, Any]:
    filled = {key: value for key, value in part.items() if value is not None} if isinstance(part, Mapping) else {}
    named = filled.pop("type", None)
    if named is None:
        kinds = [kind for key, kind in _PART_KINDS.items() if key in filled]
        named = kinds[0] if len(kinds) == 1 else None
    kind = _PART_KINDS.get(named) if isinstance(named, str) else None
    if kind is None or (kind == "text" and not isinstance(filled.get("text"), str)):
        raise row.bad(f"{place}.content: a part is text with a text, image or video")
    # Arrow gives every part the keys of all, and some writers fill them with empty texts.
    foreign = [key for key, value in filled.items() if key not in _PART_KEYS[kind] and value not in ("", [], {})]
    if foreign:
        hint = nearest(foreign[0], _PART_KEYS[kind])
        cure = f".{hint}" if hint else "; pixels and frames are settings of the dataset (`image`, `video`)"
        raise row.bad(f"{place}.content: the key '{foreign[0]:.40}' of a part of type '{kind}' is not read{cure}")
    if kind == "text":
        return {"type": "text", "text": filled["text"]}
    source = row.part_source(kind, filled, place)
    return {"type": kind} if source is None else {"type": kind, SOURCE: source}
