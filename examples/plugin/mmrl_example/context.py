"""A context: answers are sampled behind one worked example, and scored without it."""

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from mmrl.contracts.types import Sample
from mmrl.recipe.contexts import ContextSettings


class ExampleSettings(ContextSettings):
    """One worked example in front of the conversation while answers are sampled."""

    adapter: ClassVar[str] = "mmrl_example.context:Example"

    name: str = "example_example"
    question: str = Field(description="what the example asks")
    answer: str = Field(description="how it is answered")


class Example:
    """See `ExampleSettings`."""

    def __init__(self, settings: ExampleSettings):
        self.settings = settings

    def shown(self, sample: Sample) -> Sample:
        """The sample with the example in front."""
        turns = (("user", self.settings.question), ("assistant", self.settings.answer))
        example = tuple({"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns)
        return replace(sample, messages=(*example, *sample.messages))
