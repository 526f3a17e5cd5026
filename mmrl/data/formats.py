"""Column formats of dataset files: one small function per format turns a row into a sample.

A new format is one function here and one line of `mmrl.recipe.formats`, or `module:name` of a `Format`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmrl.contracts.errors import BadSample, UserError, unknown
from mmrl.contracts.types import Sample
from mmrl.data.columns import Columns
from mmrl.data.messages import read_turns, text_message
from mmrl.data.turns import any_marked
from mmrl.recipe.formats import AUTO, FORMATS, OWN_COLUMNS
from vision_rewards.plain import answer_text

# The task of rows that are only learned from and name none.
SFT = "sft"
COORDINATES = ("pixel", "norm1000", "norm1")
# Streaming question types of OVO-Bench, which name a protocol and not a kind of answer.
_OVO_TASKS = {"rec": "counting", "crr": "yes_no", "ssr": "yes_no"}


def read_mmrl(row: Columns) -> Sample:
    """mmrl's own columns, and those of TRL and ms-swift: messages or prompt, images, videos, task; target, answer or
    solution; demonstration, completion or chosen; rejected; coordinates."""
    messages, demonstration = _asked(row)
    answer = next((column for column in ("target", "answer", "solution") if row.has(column)), "target")
    target = row.written_target() if answer == "target" else row.any(answer)
    if target is None and demonstration is None and not any_marked(messages):
        raise row.bad(f"column '{row.called('target')}' is missing, and there is no demonstration either")
    task = row.task_of("task") if target is not None or row.has("task") or row.task else SFT
    if target is not None and not isinstance(target, Mapping):
        learned = demonstration is not None
        target = row.target(task, answer, target, row.options("options"), demonstrated=learned)
    coordinates = row.text("coordinates") if row.has("coordinates") else None
    if coordinates not in (None, *COORDINATES):
        raise row.bad(unknown("value in column 'coordinates':", coordinates, COORDINATES))
    return row.sample(
        messages,
        task,
        target or {},
        images=row.media("image"),
        videos=row.media("video"),
        demonstration=demonstration,
        rejected=_rejected(row),
        coordinates=coordinates,
        own_id=True,
    )


def _asked(row: Columns) -> tuple[list[dict[str, Any]], str | None]:
    """What is asked, and the demonstration where there is one."""
    if row.has("messages"):
        turns = read_turns(row, "messages")
        messages, demonstration = turns.messages, turns.demonstration
    elif isinstance(row.values.get("prompt"), list):
        messages, demonstration = read_turns(row, "prompt", answered=False).messages, None
    else:
        messages, demonstration = [text_message("user", row.text("prompt"))], None
    if row.has("demonstration"):
        demonstration = row.text("demonstration")
    elif row.has("completion"):
        demonstration = _answer(row, "completion")
    elif row.has("chosen"):
        demonstration = _answer(row, "chosen")
    return messages, demonstration


def _rejected(row: Columns) -> str | None:
    """The worse answer of a pair."""
    return _answer(row, "rejected") if row.has("rejected") else None


def _answer(row: Columns, column: str) -> str:
    """TRL's completion, chosen or rejected: text, or a list of one assistant message."""
    written = row.any(column)
    if isinstance(written, list) and len(written) == 1 and isinstance(written[0], Mapping):
        content = written[0].get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        texts = [part.get("text") if isinstance(part, Mapping) else None for part in parts]
        if written[0].get("role") == "assistant" and all(isinstance(text, str) for text in texts) and "".join(texts):
            return "".join(texts)
    return row.text(column)


def read_verl(row: Columns) -> Sample:
    """verl: prompt (messages), reward_model.ground_truth, images, videos; the task is the dataset's.

    The answer is another column where the dataset names one: `columns: {answer: extra_info.answer}`.
    """
    messages = read_turns(row, "prompt", answered=False).messages
    task = row.task_of("task")
    column = "answer" if "answer" in row.names else "reward_model"
    answer = row.any(column)
    if column == "reward_model":
        answer = answer.get("ground_truth") if isinstance(answer, Mapping) else None
        if answer is None:
            raise row.bad("column 'reward_model' has no ground_truth")
    return row.sample(
        messages,
        task,
        row.target(task, column, answer, row.options("options")),
        images=row.media("image"),
        videos=row.media("video"),
    )


def read_easyr1(row: Columns) -> Sample:
    """EasyR1 and Visual-RFT: problem with tags, answer or solution, images, videos; the task is the dataset's."""
    task, learned = row.task_of("task"), row.has("demonstration")
    answer = "answer" if row.has("answer") or not row.has("solution") else "solution"
    return row.sample(
        [text_message("user", row.text("problem"))],
        task,
        row.target(task, answer, row.any(answer), row.options("options"), demonstrated=learned),
        images=row.media("image"),
        videos=row.media("video"),
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
    if row.has("path"):
        # `image` and `video` are notes of where it came from.
        images = row.images("images") + (row.images("path") if kind == "image" else ())
        videos = row.videos("videos") + (row.videos("path") if kind == "video" else ())
    else:
        images, videos = row.media("image"), row.media("video")
    if kind != "text" and not images and not videos:
        raise row.bad(f"column 'path' is missing, and data_type is '{kind}'")
    problem = row.text("problem")
    lines = [f"{letter}. {text}".rstrip() for letter, text in options.items()]
    if any(line not in problem for line in lines):
        problem = "\n".join([problem, *lines])
    demonstration = _offline(row, solution)
    return row.sample(
        [text_message("user", problem)],
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


def read_conversations(row: Columns) -> Sample:
    """LLaVA, LLaMA-Factory and VLM-R1: conversations of human and gpt, a system prompt, images, videos.

    The last answer of gpt is the demonstration and, where there is a task, the plain answer too.
    """
    messages, answer, learned = read_turns(row, "conversations")
    roles = [message["role"] for message in messages if message["role"] != "system"]
    if answer is None or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise row.bad(f"column '{row.called('conversations')}' needs turns of human and gpt in turn, and gpt's last")
    messages = _with_system(row, messages)
    task, target = _taught(row, "conversations", answer, "accu_reward_method", "task")
    return row.sample(
        messages,
        task,
        target,
        images=row.media("image"),
        videos=row.media("video"),
        demonstration=answer.strip() if learned else None,
    )


def read_alpaca(row: Columns) -> Sample:
    """Alpaca, as LLaMA-Factory and ms-swift have it: instruction, input, output, system, history, images, videos."""
    asked = "\n".join(row.text(column) for column in ("instruction", "input") if row.has(column))
    if not asked:
        raise row.bad(f"column '{row.called('instruction')}' is empty")
    messages = []
    for number, turn in enumerate(row.items("history")):
        if not isinstance(turn, (list, tuple)) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
            raise row.bad(f"column '{row.called('history')}'[{number}] is no pair of a question and an answer")
        messages += [text_message("user", turn[0]), text_message("assistant", turn[1])]
    answer = row.text("output")
    task, target = _taught(row, "output", answer, "task")
    return row.sample(
        _with_system(row, [*messages, text_message("user", asked)]),
        task,
        target,
        images=row.media("image"),
        videos=row.media("video"),
        demonstration=answer,
    )


def _taught(row: Columns, column: str, answer: str, *tasks: str) -> tuple[str, dict[str, Any]]:
    """Task and target of a row that is learned from, and that may name no task."""
    if not (row.task or any(map(row.has, tasks))):
        return SFT, {}
    task = row.task_of(*tasks)
    return task, row.target(task, column, answer, row.options("options"), demonstrated=True)


def _with_system(row: Columns, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not row.has("system"):
        return messages
    if messages[0]["role"] == "system":
        raise row.bad("has a system prompt in its turns and another in a column; leave one out")
    return [{"role": "system", "content": [{"type": "text", "text": row.text("system")}]}, *messages]


@dataclass(frozen=True, slots=True)
class Format:
    """A column format.

    Args:
        read: row to sample.
        required: groups of columns; one column of each group must be there.
        absent: columns that mark another format.
        tasks: columns that may name a row's task.
        renamed: what these call a task -> its name here.
        columns: all that are read, which `columns` of a dataset may give; empty: any.
        plain: rows may do without a task, and are then only learned from.
    """

    read: Callable[[Columns], Sample]
    required: tuple[tuple[str, ...], ...]
    absent: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("task",)
    renamed: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    plain: bool = False

    def known_task(self, row: Columns) -> str | None:
        """The task of a row that may be bad otherwise; None where neither it nor its dataset names one."""
        try:
            task = row.task_of(*self.tasks)
        except BadSample:
            return None
        return self.renamed.get(task, task)


_MEDIA = ("images", "image", "videos", "video")
MMRL = Format(
    read_mmrl,
    (("messages", "prompt"), ("target", "answer", "solution", "demonstration", "completion", "chosen", "messages")),
    absent=("reward_model",),
    columns=OWN_COLUMNS,
    plain=True,
)
VERL = Format(
    read_verl,
    (("prompt",), ("reward_model",)),
    columns=("prompt", "reward_model", "answer", "options", "target", "task", "id", *_MEDIA),
)
EASYR1 = Format(
    read_easyr1,
    (("problem",), ("answer", "solution")),
    absent=("problem_type", "data_type"),
    columns=("problem", "answer", "solution", "demonstration", "options", "target", "task", "id", *_MEDIA),
)
EASYVIDEOR1 = Format(
    read_easyvideor1,
    (("problem",), ("solution",), ("problem_type", "data_type")),
    tasks=("problem_type",),
    renamed=_OVO_TASKS,
    columns=(
        *("problem", "problem_type", "data_type", "path", "options", "solution", "process", "offline_output"),
        *("has_offline_trajectory", "target", "id", "problem_id", *_MEDIA),
    ),
)
CONVERSATIONS = Format(
    read_conversations,
    (("conversations",),),
    tasks=("accu_reward_method", "task"),
    columns=("conversations", "system", "accu_reward_method", "task", "options", "target", "id", *_MEDIA),
    plain=True,
)
ALPACA = Format(
    read_alpaca,
    (("instruction",), ("output",)),
    columns=("instruction", "input", "output", "system", "history", "task", "options", "target", "id", *_MEDIA),
    plain=True,
)


def find_format(name: str, columns: Iterable[str], source: str, mapped: bool = False) -> str:
    """The format of a file with these columns.

    Args:
        name: of a format, whose required columns are then checked, or `auto`.
        mapped: the dataset names columns of its own; they are mmrl's where no format fits.

    Raises:
        UserError: missing columns, or none or several formats fit; the message lists the columns seen.
    """
    columns = list(columns)
    listing = f"columns seen: {', '.join(sorted(columns)) or 'none'}"
    fitting = _fitting(columns) if name == AUTO else []
    if name != AUTO or (mapped and len(fitting) != 1):
        name = "mmrl" if name == AUTO else name
        for group in FORMATS.get(name).required:
            if not set(group) & set(columns):
                wanted = " or ".join(f"'{column}'" for column in group)
                raise UserError(f"{source}: format '{name}' needs the column {wanted}; {listing}")
        return name
    if len(fitting) == 1:
        return fitting[0]
    problem = f"columns fit the formats {' and '.join(fitting)}" if fitting else "columns fit no known format"
    cure = f"set `format` to one of {', '.join(FORMATS.names())}"
    if not fitting:
        cure = "say which is which with `columns`, such as {prompt: question, answer: label, images: img}, or " + cure
    raise UserError(f"{source}: {problem}; {cure}; {listing}")


def _fitting(columns: list[str]) -> list[str]:
    """Names of the formats that columns fit; one that has several names once."""
    fitting: list[str] = []
    for key in FORMATS.names():
        form = FORMATS.get(key)
        fits = all(set(group) & set(columns) for group in form.required) and not set(form.absent) & set(columns)
        if fits and all(FORMATS.get(other) is not form for other in fitting):
            fitting.append(key)
    return fitting
