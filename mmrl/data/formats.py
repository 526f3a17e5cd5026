"""Column formats of dataset files: one small function per format turns a row into a sample.

A new format is one function here and one line of `mmrl.recipe.formats`, or `module:name` of a `Format`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmrl.contracts.errors import BadSample, UserError, unknown
from mmrl.contracts.types import Sample
from mmrl.data.columns import Columns
from mmrl.data.turns import MARK, any_marked, mark_the_rest, marked
from mmrl.recipe.formats import AUTO, FORMATS
from vision_rewards.plain import answer_text

COORDINATES = ("pixel", "norm1000", "norm1")
_TAG = re.compile(r"<(image|video)>")
# Streaming question types of OVO-Bench, which name a protocol and not a kind of answer.
_OVO_TASKS = {"rec": "counting", "crr": "yes_no", "ssr": "yes_no"}


def split_tags(text: str) -> list[dict[str, Any]]:
    """Message content of a text with `<image>` and `<video>` tags."""
    pieces = _TAG.split(text)
    parts: list[dict[str, Any]] = []
    for number, piece in enumerate(pieces):
        if number % 2:
            parts.append({"type": piece})
        elif piece.strip():
            parts.append({"type": "text", "text": piece.strip("\n") if len(pieces) > 1 else piece})
    return parts


def user_message(text: str, images: int = 0, videos: int = 0) -> dict[str, Any]:
    """A user message; media without any tag in the text come first."""
    parts = split_tags(text)
    if all(part["type"] == "text" for part in parts):
        parts = [{"type": "image"}] * images + [{"type": "video"}] * videos + parts
    return {"role": "user", "content": parts}


def read_mmrl(row: Columns) -> Sample:
    """mmrl's own columns: messages or prompt, images, videos, task, target, demonstration, coordinates."""
    messages, demonstration = _messages(row) if row.has("messages") else ([_prompt(row)], None)
    if row.has("demonstration"):
        demonstration = row.text("demonstration")
    target = row.written_target()
    if target is None and demonstration is None and not any_marked(messages):
        raise row.bad("column 'target' is missing, and there is no demonstration either")
    task = row.task_of("task") if target is not None or row.has("task") or row.task else "sft"
    if target is not None and not isinstance(target, Mapping):
        learned = demonstration is not None
        target = row.target(task, "target", target, row.options("options"), demonstrated=learned)
    coordinates = row.text("coordinates") if row.has("coordinates") else None
    if coordinates not in (None, *COORDINATES):
        raise row.bad(unknown("value in column 'coordinates':", coordinates, COORDINATES))
    return row.sample(
        messages,
        task,
        target or {},
        images=row.images("images"),
        videos=row.videos("videos"),
        demonstration=demonstration,
        coordinates=coordinates,
        own_id=True,
    )


def _prompt(row: Columns) -> dict[str, Any]:
    return {"role": "user", "content": split_tags(row.text("prompt"))}


def _messages(row: Columns) -> tuple[list[dict[str, Any]], str | None]:
    """Messages up to the last user turn, and the text of a closing assistant turn."""
    messages = []
    for number, message in enumerate(row.items("messages")):
        if not isinstance(message, Mapping) or message.get("role") not in ("system", "user", "assistant"):
            raise row.bad(f"column 'messages'[{number}] needs a role: system, user or assistant")
        content = message.get("content")
        if isinstance(content, str):
            parts = split_tags(content)
        elif isinstance(content, list):
            parts = [_part(row, part, number) for part in content]
        else:
            raise row.bad(f"column 'messages'[{number}].content is {type(content).__name__}, expected text or a list")
        messages.append(_marked(row, "messages", number, {"role": message["role"], "content": parts}, message))
    last = messages.pop() if messages and messages[-1]["role"] == "assistant" else None
    if not messages or messages[-1]["role"] != "user":
        raise row.bad("column 'messages' has no user message before the answer")
    if last and any(part["type"] != "text" for part in last["content"]):
        raise row.bad("column 'messages': the closing assistant message is not plain text")
    if last and last.get(MARK) is False:
        mark_the_rest(messages)
        return messages, None
    return messages, "".join(part["text"] for part in last["content"]) if last else None


def _marked(row: Columns, column: str, number: int, message: dict[str, Any], turn: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return marked(message, turn)
    except ValueError as error:
        raise row.bad(f"column '{column}'[{number}]: {error}") from error


def _part(row: Columns, part: Any, number: int) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind in ("image", "video"):
        return {"type": kind}
    raise row.bad(f"column 'messages'[{number}].content: a part is text with a text, image or video")


def read_easyr1(row: Columns) -> Sample:
    """EasyR1: problem with tags, answer, images, videos; the task is the dataset's."""
    task, learned = row.task_of("task"), row.has("demonstration")
    return row.sample(
        [{"role": "user", "content": split_tags(row.text("problem"))}],
        task,
        row.target(task, "answer", row.any("answer"), row.options("options"), demonstrated=learned),
        images=row.images("images"),
        videos=row.videos("videos"),
        demonstration=row.text("demonstration") if learned else None,
    )


def read_easyvideor1(row: Columns) -> Sample:
    """EasyVideoR1: problem, problem_type, data_type, path, options, solution; images and videos as in EasyR1."""
    kind = row.text("data_type").strip().lower() if row.has("data_type") else "video"
    if kind not in ("image", "video", "text"):
        raise row.bad(unknown("value in column 'data_type':", kind, ("image", "video", "text")))
    task = row.task_of("problem_type")
    task = _OVO_TASKS.get(task, task)
    options, solution = row.options("options"), row.any("solution")
    images = row.images("images") + (row.images("path") if kind == "image" else ())
    videos = row.videos("videos") + (row.videos("path") if kind == "video" else ())
    if kind != "text" and not images and not videos:
        raise row.bad(f"column 'path' is missing, and data_type is '{kind}'")
    problem = row.text("problem")
    lines = [f"{letter}. {text}".rstrip() for letter, text in options.items()]
    if any(line not in problem for line in lines):
        problem = "\n".join([problem, *lines])
    demonstration = _offline(row, solution)
    return row.sample(
        [user_message(problem, len(images), len(videos))],
        task,
        row.target(task, "solution", solution, options, demonstrated=demonstration is not None),
        images=images,
        videos=videos,
        demonstration=demonstration,
    )


def _offline(row: Columns, solution: Any) -> str | None:
    if row.has("offline_output") and row.values.get("has_offline_trajectory") is not False:
        return row.text("offline_output")
    if isinstance(solution, str) and "<answer>" in solution and answer_text(solution):
        return (row.text("process").strip() if row.has("process") else "") + solution.strip()
    return None


def read_vlm_r1(row: Columns) -> Sample:
    """VLM-R1: image (text or list), conversations of human and gpt, accu_reward_method; gpt's turn is the answer."""
    turns = row.items("conversations")
    senders = [turn.get("from") if isinstance(turn, Mapping) else None for turn in turns]
    start = 1 if senders[:1] == ["system"] else 0
    talk = senders[start:]
    if len(talk) < 2 or talk != ["human", "gpt"] * (len(talk) // 2):
        raise row.bad(f"column 'conversations' needs turns of human and gpt in turn, got {senders[:8]}")
    if not all(isinstance(turn.get("value"), str) for turn in turns):
        raise row.bad("column 'conversations' has a turn whose value is not text")
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    messages = [
        _marked(row, "conversations", i, {"role": roles[turn["from"]], "content": split_tags(turn["value"])}, turn)
        for i, turn in enumerate(turns)
    ]
    last = messages.pop()
    images = row.images("image")
    if not any(part["type"] == "image" for message in messages for part in message["content"]):
        messages[start] = user_message(turns[start]["value"], len(images))
    task = row.task_of("accu_reward_method")
    answer = turns[-1]["value"]
    target = row.target(task, "conversations", answer, demonstrated=True)
    if last.get(MARK) is False:
        mark_the_rest(messages)
    demonstration = None if last.get(MARK) is False else answer.strip()
    return row.sample(messages, task, target, images=images, demonstration=demonstration)


@dataclass(frozen=True, slots=True)
class Format:
    """A column format.

    Args:
        read: row to sample.
        required: groups of columns; one column of each group must be there.
        absent: columns that mark another format.
        tasks: columns that may name a row's task.
        renamed: what these call a task -> its name here.
    """

    read: Callable[[Columns], Sample]
    required: tuple[tuple[str, ...], ...]
    absent: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("task",)
    renamed: Mapping[str, str] = field(default_factory=dict)

    def known_task(self, row: Columns) -> str | None:
        """The task of a row that may be bad otherwise; None where neither it nor its dataset names one."""
        try:
            task = row.task_of(*self.tasks)
        except BadSample:
            return None
        return self.renamed.get(task, task)


MMRL = Format(read_mmrl, (("messages", "prompt"), ("target", "demonstration", "messages")))
EASYR1 = Format(read_easyr1, (("problem",), ("answer",)), absent=("problem_type", "data_type"))
EASYVIDEOR1 = Format(
    read_easyvideor1,
    (("problem",), ("solution",), ("problem_type", "data_type")),
    tasks=("problem_type",),
    renamed=_OVO_TASKS,
)
VLM_R1 = Format(read_vlm_r1, (("conversations",),), tasks=("accu_reward_method",))


def find_format(name: str, columns: Iterable[str], source: str) -> str:
    """The format of a file with these columns.

    Args:
        name: of a format, whose required columns are then checked, or `auto`.

    Raises:
        UserError: missing columns, or none or several formats fit; the message lists the columns seen.
    """
    columns = list(columns)
    listing = f"columns seen: {', '.join(sorted(columns)) or 'none'}"
    if name != AUTO:
        for group in FORMATS.get(name).required:
            if not set(group) & set(columns):
                wanted = " or ".join(f"'{column}'" for column in group)
                raise UserError(f"{source}: format '{name}' needs the column {wanted}; {listing}")
        return name
    fitting = [
        key
        for key, form in ((key, FORMATS.get(key)) for key in FORMATS.names())
        if all(set(group) & set(columns) for group in form.required) and not set(form.absent) & set(columns)
    ]
    if len(fitting) == 1:
        return fitting[0]
    problem = f"columns fit the formats {' and '.join(fitting)}" if fitting else "columns fit no known format"
    raise UserError(f"{source}: {problem}; set `format` to one of {', '.join(FORMATS.names())}; {listing}")
