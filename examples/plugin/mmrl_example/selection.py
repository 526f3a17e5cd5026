"""A rule of selection that keeps answers of few words."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from mmrl.contracts.generated import Answered
from mmrl.recipe.selections import SelectionSettings


class BriefSettings(SelectionSettings):
    """Answers of at most so many words."""

    adapter: ClassVar[str] = "mmrl_example.selection:brief"

    name: str = "example_brief"
    words: int = Field(20, ge=1, description="most words of an answer")


def brief(rows: Sequence[Answered], settings: BriefSettings) -> list[Answered]:
    """The rows with their answers of few words."""
    return [row.keep([a for a in row.answers if len(a.text.split()) <= settings.words]) for row in rows]
