"""Groups of answers: prompts to completions to rewarded trajectories of one decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmrl.config import SamplingConfig
from mmrl.rollouts.rewarding import Rewarder
from mmrl.types import DEMO, Decision, Group, Prompt, Sample, Trajectory


def answer(
    policy: Any,
    engine: Any,
    pairs: Sequence[tuple[Sample, Prompt]],
    sampling: SamplingConfig,
    n: int,
    seed: int,
    rewarder: Rewarder,
) -> list[Group]:
    """Samples n answers to each prompt and scores them."""
    completions = engine.generate([prompt for _, prompt in pairs], sampling, n, seed)
    drafts = []
    for (sample, prompt), answers in zip(pairs, completions):
        texts = [policy.decode_text(completion.tokens) for completion in answers]
        seen = rewarder.with_group(texts, sample) if n > 1 else sample
        for completion, text in zip(answers, texts):
            decision = Decision(prompt, completion.tokens, completion.log_probs)
            drafts.append((Trajectory((decision,), text=text, truncated=completion.truncated), seen))
    scored = iter(rewarder.score_all(drafts))
    return [Group(sample, tuple(next(scored) for _ in answers)) for (sample, _), answers in zip(pairs, completions)]


def demonstrate(policy: Any, sample: Sample, prompt: Prompt, max_units: int) -> Group:
    """The sample's demonstration as a group of one. Raises BadSample where it is missing or too long."""
    tokens = policy.demonstration(sample, max_units)
    trajectory = Trajectory((Decision(prompt, tokens),), source=DEMO, text=sample.demonstration or "")
    return Group(sample, (trajectory,))
