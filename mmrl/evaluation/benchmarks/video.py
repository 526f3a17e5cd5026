"""Video benchmarks: rows of EasyVideoR1's evaluation files, or the columns of their own sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from mmrl.contracts.errors import BadSample
from mmrl.data.columns import Columns
from mmrl.evaluation.benchmarks.files import Asked, FileBenchmark, video
from vision_rewards.plain import answer_text, read_options, structure_of

_FIELD = re.compile(r"\{([^{}]+)\}")


class VideoBenchmark(FileBenchmark):
    """Questions about videos.

    Attributes:
        own: what its own set calls `question`, `options` and `answer`; empty: only EasyVideoR1's rows are read.
        path: of a video in its own set, with columns in braces.
        renamed: column of EasyVideoR1's rows -> what its own set calls it.
        tasks: problem type of EasyVideoR1's rows -> task, where it is none that a reward declares.
    """

    own: ClassVar[Mapping[str, str]] = {}
    path: ClassVar[str] = ""
    renamed: ClassVar[Mapping[str, str]] = {"original_question_type": "question_type"}
    tasks: ClassVar[Mapping[str, str]] = {}

    def asked(self, row: Columns) -> Asked:
        """See `FileBenchmark.asked`."""
        return self.easyvideor1(row) if row.has("problem") or not self.own else self.native(row)

    def easyvideor1(self, row: Columns) -> Asked:
        """A row of EasyVideoR1's files: problem, problem_type, options, solution, path."""
        question, options = row.text("problem"), row.options("options")
        task = row.task_of("problem_type")
        lines = [f"{letter}. {text}".rstrip() for letter, text in options.items()]
        return Asked(
            question,
            self.tasks.get(task, task),
            answer_text(row.text("solution")),
            options,
            shown=not lines or any(line not in question for line in lines),
            videos=video(row, row.text("path")),
            columns={
                "problem_type": task,
                **{name: row.values[old] for old, name in self.renamed.items() if row.has(old)},
            },
        )

    def native(self, row: Columns) -> Asked:
        """A row of the set itself: multiple choice."""
        names = {"question": "question", "options": "options", "answer": "answer", **self.own}
        options = listed(row, names["options"])
        return Asked(
            row.text(names["question"]),
            "multiple_choice",
            row.any(names["answer"]),
            options,
            videos=video(row, self.native_path(row)),
        )

    def native_path(self, row: Columns) -> str:
        """The video of a row of the set itself."""
        return _FIELD.sub(lambda match: str(row.any(match[1])), self.path)


def listed(row: Columns, column: str) -> dict[str, str]:
    """Options by letter, those that are filled: a list, a mapping, or either as Python writes it.

    Raises:
        BadSample: anything else, or none.
    """
    value: Any = row.any(column)
    try:
        options = read_options(structure_of(value))
    except ValueError as error:
        raise row.bad(f"column '{column}': {error}") from error
    filled = {letter: text for letter, text in options.items() if text}
    if not filled:
        raise row.bad(f"column '{column}' has no options")
    return filled


def numbered(row: Columns, prefix: str, blank: str = "N/A") -> dict[str, str]:
    """Options of the columns `<prefix>0`, `<prefix>1` and so on, those that hold `blank` left out."""
    texts: list[str] = []
    while f"{prefix}{len(texts)}" in row.values:
        text = row.any(f"{prefix}{len(texts)}")
        if text == blank:
            break
        texts.append(str(text))
    if not texts:
        raise row.bad(f"column '{prefix}0' is missing or empty")
    return read_options(texts)


def letter_at(row: Columns, column: str) -> str:
    """The letter of an option's number, from 0 on."""
    value = row.any(column)
    try:
        return chr(ord("A") + int(value))
    except (ValueError, TypeError):
        raise BadSample(row.where, f"column '{column}' is {value!r:.40}, not the number of an option") from None
