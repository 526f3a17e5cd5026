"""Forms of a question, one of which is drawn for each draw of a row."""

from __future__ import annotations

import random

from mmrl.contracts.context import Dressed
from mmrl.contracts.types import Sample
from mmrl.recipe.contexts import TemplatesSettings
from mmrl.rollouts.contexts.forms import asked
from mmrl.rollouts.rewarding import Rewarder


class Templates:
    """Draws a form by the seed and the row; the same for all answers to it, and for its demonstration."""

    def __init__(self, settings: TemplatesSettings):
        self.settings = settings
        self.grades = [Rewarder(form.rewards) if form.rewards else None for form in settings.templates]

    def dress(self, sample: Sample, seed: int) -> Dressed:
        """See `Dresses.dress`. The last question's text is replaced; its pictures stay before the text."""
        number = random.Random(f"{seed} {sample.dataset} {sample.row}").randrange(len(self.grades))
        text = self.settings.templates[number].text.replace("{question}", sample.question)
        weight = self.settings.weight if self.grades[number] is not None else 0.0
        return Dressed(asked(sample, text), f"template {number}", self.grades[number], weight)
