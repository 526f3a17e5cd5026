"""Paraphrases of a question."""

from __future__ import annotations

from collections.abc import Sequence

from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample
from mmrl.recipe.contexts import ParaphrasesSettings
from mmrl.rollouts.contexts.forms import asked


class Paraphrases:
    """The forms that the recipe gives, or the row's own question and the paraphrases in one of its columns."""

    def __init__(self, settings: ParaphrasesSettings):
        self.settings = settings

    def forms(self, sample: Sample) -> Sequence[Sample]:
        """See `Rephrases.forms`."""
        if self.settings.texts:
            return [asked(sample, text.replace("{question}", sample.question)) for text in self.settings.texts]
        written = sample.columns.get(self.settings.column or "")
        if not isinstance(written, list) or not written or not all(isinstance(t, str) and t.strip() for t in written):
            raise BadSample(
                sample.where,
                f"has no list of texts in column '{self.settings.column}', which rollout.context 'paraphrases' asks; "
                "add it, or give texts",
            )
        return [sample, *(asked(sample, text) for text in written)]
