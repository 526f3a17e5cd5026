"""Column formats of dataset files: one small function per format turns a row into a sample.

A new format is one function and one line of FORMATS.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmrl.data.media import resolve_media
from mmrl.data.targets import answer_text, normalise_task, read_options, shape_target
from mmrl.data.videos import CLIP_KEYS
from mmrl.errors import BadSample, UserError, unknown
from mmrl.types import Sample

COORDINATES = ("pixel", "norm1000", "norm1")
_TAG = re.compile(r"<(image|video)>")
# Streaming question types of OVO-Bench, which name a protocol and not a kind of answer.
_OVO_TASKS = {"rec": "counting", "crr": "yes_no", "ssr": "yes_no"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row and what its dataset says about it; every accessor raises BadSample with the column's name.

    Args:
        values: the columns.
        number: the row's number in the dataset.
        place: file and row, for errors.
        dataset: the dataset's name.
        root: the folder of media paths; None refuses paths.
        task: task of rows that name none.
        coordinates: how boxes are written where the row does not say.
    """

    values: Mapping[str, Any]
    number: int
    place: str
    dataset: str
    root: str | None
    task: str | None
    coordinates: str

    @property
    def key(self) -> str:
        """The row's own id, else its number."""
        for column in ("id", "problem_id"):
            value = self.values.get(column)
            if isinstance(value, (str, int)) and str(value).strip():
                return str(value)
        return str(self.number)

    @property
    def where(self) -> str:
        """Where an error message points to."""
        return f"{self.place} (id {self.key:.80})"

    def bad(self, reason: str) -> BadSample:
        """An error about this row."""
        return BadSample(self.where, reason)

    def has(self, column: str) -> bool:
        """Whether the column holds something: null, blank text and empty lists do not count."""
        value = self.values.get(column)
        return not (value is None or (isinstance(value, str) and not value.strip()) or value == [] or value == {})

    def any(self, column: str) -> Any:
        """The column's value, which must be there."""
        if column not in self.values or self.values[column] is None:
            raise self.bad(f"column '{column}' is missing; the row has {', '.join(map(str, self.values)) or 'none'}")
        return self.values[column]

    def text(self, column: str) -> str:
        """The column as text that is not blank."""
        value = self.any(column)
        if not isinstance(value, str):
            raise self.bad(f"column '{column}' is {type(value).__name__}, expected text")
        if not value.strip():
            raise self.bad(f"column '{column}' is empty")
        return value

    def items(self, column: str) -> list[Any]:
        """The column as a list; one value is a list of one, an absent column an empty list."""
        if not self.has(column):
            return []
        value = self.values[column]
        return list(value) if isinstance(value, (list, tuple)) else [value]

    def images(self, column: str) -> tuple[Any, ...]:
        """Image sources of the column: bytes, or paths that exist under the root."""
        return tuple(self._image(item, column) for item in self.items(column))

    def _image(self, item: Any, column: str) -> Any:
        if isinstance(item, Mapping):
            item = item.get("bytes") or item.get("path")
        if isinstance(item, bytes):
            return item
        return self._path(item, column, "an image")

    def videos(self, column: str) -> tuple[Any, ...]:
        """Videos of the column: paths of files or folders that exist under the root, or clips of such."""
        return tuple(self._video(item, column) for item in self.items(column))

    def _video(self, item: Any, column: str) -> Any:
        if isinstance(item, (list, tuple)):
            return [self._path(frame, column, "an image") for frame in item]
        if not isinstance(item, Mapping):
            return self._path(item, column, "a video", folders=True)
        path = item.get("path")
        if isinstance(path, Mapping):
            raise self.bad(f"column '{column}': the path of a clip is a path or a list of images")
        clip = {key: item[key] for key in CLIP_KEYS[1:] if item.get(key) is not None}
        return {"path": self._video(path, column), **clip} if clip else self._video(path, column)

    def _path(self, item: Any, column: str, what: str, folders: bool = False) -> str:
        if not isinstance(item, str) or not item:
            raise self.bad(f"column '{column}' holds {type(item).__name__}, not {what}")
        if self.root is None:
            raise self.bad(f"column '{column}' has the path '{item}', and the dataset has no folder; set its `root`")
        try:
            resolve_media(item, self.root, self.where, folders)
        except BadSample as error:
            raise self.bad(f"column '{column}': {error.reason}") from error
        return item

    def task_of(self, *columns: str) -> str:
        """The row's task from the first of `columns` that names one, else the dataset's."""
        named = [self.text(column) for column in columns if self.has(column)] or ([self.task] if self.task else [])
        task = normalise_task(named[0]) if named else ""
        if not task:
            raise self.bad(f"no task: fill column '{columns[0]}', or set `task` of the dataset")
        return task

    def target(self, task: str, column: str, value: Any, options: Mapping[str, str] | None = None) -> dict[str, Any]:
        """`shape_target`, with errors that name the column."""
        try:
            return shape_target(task, value, options)
        except (ValueError, RecursionError) as error:
            raise self.bad(f"column '{column}': {error} (task {task})") from error

    def options(self, column: str) -> dict[str, str]:
        """`read_options`, with errors that name the column."""
        try:
            return read_options(self.values.get(column))
        except ValueError as error:
            raise self.bad(f"column '{column}': {error}") from error

    def sample(
        self,
        messages: Iterable[Mapping[str, Any]],
        task: str,
        target: Mapping[str, Any],
        *,
        images: tuple[Any, ...] = (),
        videos: tuple[str, ...] = (),
        demonstration: str | None = None,
        coordinates: str | None = None,
        own_id: bool = False,
    ) -> Sample:
        """The sample, once its messages are found to be complete.

        Args:
            own_id: the row's id is unique; otherwise the row number is put behind it.
        """
        messages = tuple(messages)
        self._check(messages, demonstration, len(images), len(videos))
        plain = own_id or self.key == str(self.number)
        return Sample(
            id=self.key if plain else f"{self.key}/{self.number}",
            messages=messages,
            task=task,
            target=target,
            images=images,
            videos=videos,
            demonstration=demonstration,
            dataset=self.dataset,
            row=self.number,
            root=self.root,
            coordinates=coordinates or self.coordinates,
        )

    def _check(self, messages: tuple[Mapping[str, Any], ...], answer: str | None, images: int, videos: int) -> None:
        parts = [part for message in messages for part in message["content"]]
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        if not text.strip():
            raise self.bad("the prompt is empty: it holds no text")
        try:
            (text + (answer or "")).encode()
        except UnicodeEncodeError as error:
            raise self.bad(f"the text is not valid Unicode: {error.reason}") from error
        for kind, count in (("image", images), ("video", videos)):
            tags = sum(part["type"] == kind for part in parts)
            if tags != count:
                raise self.bad(f"the prompt has {tags} <{kind}> tags and the row has {count} {kind}s; they must agree")


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


def read_mmrl(row: Row) -> Sample:
    """mmrl's own columns: messages or prompt, images, videos, task, target, demonstration, coordinates."""
    messages, demonstration = _messages(row) if row.has("messages") else ([_prompt(row)], None)
    if row.has("demonstration"):
        demonstration = row.text("demonstration")
    target: Any = row.values.get("target")
    if isinstance(target, str) and target.strip().startswith("{"):
        try:
            target = json.loads(target)
        except (ValueError, RecursionError) as error:
            raise row.bad(f"column 'target' is not JSON: {error}") from error
    if target is None and demonstration is None:
        raise row.bad("column 'target' is missing, and there is no demonstration either")
    task = row.task_of("task") if target is not None or row.has("task") or row.task else "sft"
    if isinstance(target, Mapping):
        # Parquet writes every key of a struct into every row.
        target = {str(key): value for key, value in target.items() if value is not None}
    elif target is not None:
        target = row.target(task, "target", target, row.options("options"))
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


def _prompt(row: Row) -> dict[str, Any]:
    return {"role": "user", "content": split_tags(row.text("prompt"))}


def _messages(row: Row) -> tuple[list[dict[str, Any]], str | None]:
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
        messages.append({"role": message["role"], "content": parts})
    last = messages.pop() if messages and messages[-1]["role"] == "assistant" else None
    if not messages or messages[-1]["role"] != "user":
        raise row.bad("column 'messages' has no user message before the answer")
    if last and any(part["type"] != "text" for part in last["content"]):
        raise row.bad("column 'messages': the closing assistant message is not plain text")
    return messages, "".join(part["text"] for part in last["content"]) if last else None


def _part(row: Row, part: Any, number: int) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind in ("image", "video"):
        return {"type": kind}
    raise row.bad(f"column 'messages'[{number}].content: a part is text with a text, image or video")


def read_easyr1(row: Row) -> Sample:
    """EasyR1: problem with tags, answer, images, videos; the task is the dataset's."""
    task = row.task_of("task")
    return row.sample(
        [{"role": "user", "content": split_tags(row.text("problem"))}],
        task,
        row.target(task, "answer", row.any("answer"), row.options("options")),
        images=row.images("images"),
        videos=row.videos("videos"),
        demonstration=row.text("demonstration") if row.has("demonstration") else None,
    )


def read_easyvideor1(row: Row) -> Sample:
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
    return row.sample(
        [user_message(problem, len(images), len(videos))],
        task,
        row.target(task, "solution", solution, options),
        images=images,
        videos=videos,
        demonstration=_offline(row, solution),
    )


def _offline(row: Row, solution: Any) -> str | None:
    if row.has("offline_output") and row.values.get("has_offline_trajectory") is not False:
        return row.text("offline_output")
    if isinstance(solution, str) and "<answer>" in solution and answer_text(solution):
        return (row.text("process").strip() if row.has("process") else "") + solution.strip()
    return None


def read_vlm_r1(row: Row) -> Sample:
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
    messages = [{"role": roles[turn["from"]], "content": split_tags(turn["value"])} for turn in turns[:-1]]
    images = row.images("image")
    if not any(part["type"] == "image" for message in messages for part in message["content"]):
        messages[start] = user_message(turns[start]["value"], len(images))
    task = row.task_of("accu_reward_method")
    answer = turns[-1]["value"]
    return row.sample(
        messages, task, row.target(task, "conversations", answer), images=images, demonstration=answer.strip()
    )


@dataclass(frozen=True, slots=True)
class Format:
    """A column format.

    Args:
        read: row to sample.
        required: groups of columns; one column of each group must be there.
        absent: columns that mark another format.
        tasks: columns that may name a row's task.
    """

    read: Callable[[Row], Sample]
    required: tuple[tuple[str, ...], ...]
    absent: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("task",)


FORMATS: dict[str, Format] = {
    "mmrl": Format(read_mmrl, (("messages", "prompt"), ("target", "demonstration", "messages"))),
    "easyr1": Format(read_easyr1, (("problem",), ("answer",)), absent=("problem_type", "data_type")),
    "easyvideor1": Format(
        read_easyvideor1, (("problem",), ("solution",), ("problem_type", "data_type")), tasks=("problem_type",)
    ),
    "vlm_r1": Format(read_vlm_r1, (("conversations",),), tasks=("accu_reward_method",)),
}


def find_format(name: str, columns: Iterable[str], source: str) -> str:
    """The format of a file with these columns.

    Args:
        name: a key of FORMATS, whose required columns are then checked, or `auto`.

    Raises:
        UserError: missing columns, or none or several formats fit; the message lists the columns seen.
    """
    columns = list(columns)
    seen = f"columns seen: {', '.join(sorted(columns)) or 'none'}"
    if name != "auto":
        for group in FORMATS[name].required:
            if not set(group) & set(columns):
                wanted = " or ".join(f"'{column}'" for column in group)
                raise UserError(f"{source}: format '{name}' needs the column {wanted}; {seen}")
        return name
    fitting = [
        key
        for key, form in FORMATS.items()
        if all(set(group) & set(columns) for group in form.required) and not set(form.absent) & set(columns)
    ]
    if len(fitting) == 1:
        return fitting[0]
    problem = f"columns fit the formats {' and '.join(fitting)}" if fitting else "columns fit no known format"
    raise UserError(f"{source}: {problem}; set `format` to one of {', '.join(FORMATS)}; {seen}")
