"""A column format: `question`, `reply`, and `picture` as a path."""

from dataclasses import replace

from mmrl.contracts.types import Sample
from mmrl.data.columns import Columns
from mmrl.data.formats import Format, text_message


def read_questions(row: Columns) -> Sample:
    """Rows of `question`, `reply` and `picture`; the source of this package plays them."""
    pictures = row.images("picture")
    task = row.task_of("task")
    message = text_message("user", row.text("question"))
    sample = row.sample([message], task, row.target(task, "reply", row.any("reply")), images=pictures)
    return replace(sample, kind="example_first_line")


QUESTIONS = Format(read_questions, (("question",), ("reply",)))
