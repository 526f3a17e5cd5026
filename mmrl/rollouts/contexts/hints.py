"""Sets of a row's hints behind the question, small ones first."""

from __future__ import annotations

from itertools import combinations, islice

from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample
from mmrl.recipe.contexts import HintsSettings, InstructionSettings
from mmrl.rollouts.contexts.instruction import Instruction


class Hints:
    """One of the sets of a row's hints; which one, the settings' level says. A row of fewer sets shows its last."""

    def __init__(self, settings: HintsSettings):
        self.settings = settings

    def shown(self, sample: Sample) -> Sample:
        """The sample with the set behind its last user message. Raises BadSample where it has no hints."""
        hints = self._hints(sample)
        sizes = range(1, min(self.settings.most, len(hints)) + 1)
        sets = (each for size in sizes for each in combinations(hints, size))
        *_, chosen = islice(sets, self.settings.level + 1)
        text = self.settings.text.replace("{hints}", "; ".join(chosen))
        return Instruction(InstructionSettings(text=text)).shown(sample)

    def _hints(self, sample: Sample) -> list[str]:
        column = self.settings.column
        if column is None:
            lines = [line.strip() for line in (sample.demonstration or "").splitlines() if line.strip()]
            hints = lines if len(lines) > 1 else (sample.demonstration or "").split()
            missing = "no demonstration, of which rollout.context 'hints' shows parts"
        else:
            written = sample.columns.get(column)
            hints = [str(each) for each in written if str(each).strip()] if isinstance(written, list) else []
            missing = f"no list of texts in column '{column}', which rollout.context 'hints' shows"
        if not hints:
            raise BadSample(sample.where, f"has {missing}; add it, or leave the context out")
        return hints
