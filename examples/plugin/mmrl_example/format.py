"""A column format: `question`, `reply`, and `picture` as a path."""

from mmrl.contracts.types import Sample
from mmrl.data.columns import Columns
from mmrl.data.formats import Format, user_message


def read_questions(row: Columns) -> Sample:
    """Rows of `question`, `reply` and `picture`."""
    pictures = row.images("picture")
    task = row.task_of("task")
    message = user_message(row.text("question"), images=len(pictures))
    return row.sample([message], task, row.target(task, "reply", row.any("reply")), images=pictures)


QUESTIONS = Format(read_questions, (("question",), ("reply",)))
