"""A source of experience: answers of which the first line alone is read and scored."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mmrl.contracts.engine import Request
from mmrl.contracts.source import Ready, Terms
from mmrl.contracts.types import Group
from mmrl.rollouts.answers import AnswerSource, scored_groups


class FirstLine(AnswerSource):
    """Samples of kind `example_first_line`; the format of this package makes them."""

    def plan(self, ready: Sequence[Ready], terms: Terms) -> list[Group]:
        """See `Source.plan`."""
        means = self.means
        completions = means.engine.generate(
            [Request(one.prompts[0], terms.n) for one in ready], terms.sampling, terms.seed
        )
        return scored_groups(_FirstLineReader(means.policy), ready, completions, means.rewarder)


class _FirstLineReader:
    def __init__(self, policy: Any):
        self.policy = policy

    def decode_text(self, tokens: Tensor) -> str:
        """The first line of what the policy said."""
        return self.policy.decode_text(tokens).split("\n")[0]
