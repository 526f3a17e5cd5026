"""Groups of answers: prompts to completions to rewarded trajectories of one decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from mmrl.contracts.engine import Engine, Request
from mmrl.contracts.types import DEMO, Decision, Group, Prompt, Sample, Trajectory
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.rewarding import Rewarder


def answer(
    policy: Any,
    engine: Engine,
    pairs: Sequence[tuple[Sample, Prompt]],
    sampling: SamplingConfig,
    n: int,
    seed: int,
    rewarder: Rewarder,
) -> list[Group]:
    """Samples n answers to each prompt and scores them."""
    completions = engine.generate([Request(prompt, n) for _, prompt in pairs], sampling, seed)
    drafts = []
    for (sample, prompt), answers in zip(pairs, completions):
        texts = [one.text if one.text is not None else policy.decode_text(one.tokens) for one in answers]
        seen = rewarder.with_group(texts, sample) if n > 1 else sample
        for completion, text in zip(answers, texts):
            decision = completion.decision(prompt)
            drafts.append((Trajectory((decision,), text=text, truncated=completion.truncated), seen))
    scored = iter(rewarder.score_all(drafts))
    return [Group(sample, tuple(next(scored) for _ in answers)) for (sample, _), answers in zip(pairs, completions)]


def demonstrate(policy: Any, sample: Sample, prompt: Prompt | tuple[Prompt, ...], max_units: int) -> Group:
    """The sample's demonstration as a group of one. Raises BadSample where it is missing or too long.

    Args:
        prompt: of a whole recorded episode, that of each of its steps.
    """
    if sample.steps:
        return _recorded_episode(policy, sample, prompt)
    if sample.actions is not None:
        decision = Decision(prompt, demonstrated_units(policy, sample, max_units), restrict="action")
        shown = {"actions": sample.actions.tolist()}
        return Group(sample, (Trajectory((decision,), source=DEMO, info=shown),))
    tokens = demonstrated_units(policy, sample, max_units)
    trajectory = Trajectory((Decision(prompt, tokens),), source=DEMO, text=sample.demonstration or "")
    return Group(sample, (trajectory,))


def _recorded_episode(policy: Any, sample: Sample, prompts: Sequence[Prompt]) -> Group:
    """A recorded episode as a trajectory of a decision for each of its steps, with the rewards they earned."""
    decisions = []
    for step, prompt in zip(sample.steps, prompts, strict=True):
        units = demonstrated_units(policy, step, 0)
        decisions.append(
            Decision(prompt, units, restrict="action", reward=sum(step.rewards), step_rewards=step.rewards)
        )
    total = sum(decision.reward for decision in decisions)
    trajectory = Trajectory(tuple(decisions), source=DEMO, reward=total, parts={"return": total})
    # As of a played one, the group's sample shows the first observation.
    return Group(replace(sample.steps[0], id=sample.id), (trajectory,))


def demonstrated_units(policy: Any, sample: Sample, max_units: int) -> Tensor:
    """The units of a sample's demonstration; `max_units` limits text, chunks of actions have their own length.

    Raises:
        BadSample: it has none, or one that this policy cannot represent.
    """
    if sample.actions is None:
        return policy.demonstration(sample, max_units)
    return policy.action_units(sample.actions[None])[0]
