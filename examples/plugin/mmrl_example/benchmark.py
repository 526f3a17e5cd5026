"""A benchmark: is the digit on the scan odd or even?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from mmrl.contracts.benchmark import Scored
from mmrl.contracts.types import Sample
from mmrl.data.digits import Digits
from mmrl.recipe.data import DigitsData


class Parity:
    """Odd or even, of held-out scans of real digits."""

    about = "is the digit odd or even; 40 held-out scans of UCI's digits"

    def rows(self, root: str | None) -> Sequence[Sample]:
        """The questions; they need no file."""
        scans = Digits(DigitsData(type="digits", split="test", size=40, tasks=["classification"]))
        return [self._question(sample) for sample in scans]

    @staticmethod
    def _question(sample: Sample) -> Sample:
        parts = [{"type": "image"}, {"type": "text", "text": "Is this digit odd or even?"}]
        odd = int(sample.target["answer"]) % 2
        return replace(
            sample,
            messages=({"role": "user", "content": parts},),
            task="parity",
            target={"answer": "odd" if odd else "even"},
            demonstration=None,
        )

    def score(self, completion: str, sample: Sample) -> float:
        """1 where the right word stands in the answer and the wrong one does not."""
        words = completion.lower().split()
        right = sample.target["answer"]
        wrong = "even" if right == "odd" else "odd"
        return float(right in words and wrong not in words)

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """The share of right answers, and of those that said one of the two words."""
        return {
            "score": fmean(answer.score for answer in scored),
            "answered": fmean(float({"odd", "even"} & set(answer.text.lower().split()) != set()) for answer in scored),
        }
