"""Stages whose settings cannot work together. Imports nothing heavy: recipes are refused while they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmrl.recipe.objective import Objective
from mmrl.recipe.policies.registry import entry_of
from mmrl.recipe.policy import PolicyConfig, TrainedConfig
from mmrl.recipe.rewards import check_own


def check_objective(stage: Any) -> None:
    """Objective and rollouts of one stage (`StageConfig`) fit each other.

    Raises:
        ValueError: they do not.
    """
    rollout, objective, where = stage.rollout, stage.objective, f"stages.{stage.name}"
    check_minibatches(stage, objective)
    if not objective.rollouts:
        return
    if rollout.n < 2 and objective.advantage.group_relative:
        raise ValueError(f"{where}: rollout.n is 1, so every group-relative advantage is 0; set n to 2 or more")
    if rollout.temperature == 0.0:
        raise ValueError(f"{where}: rollout.temperature 0 samples one answer n times; set it above 0")
    why = objective.advantage.misfit(rollout)
    if why is not None:
        raise ValueError(f"{where}: objective.advantage.{why}")
    for name, transform in objective.reward_transforms.items():
        why = transform.misfit(rollout)
        if why is not None:
            raise ValueError(f"{where}: objective.reward_transforms.{name}.{why}")


def check_critic(stage: Any, policy: PolicyConfig) -> None:
    """The value head of a policy (`PolicyConfig`) and the chunks of actions fit the stage's objective.

    Raises:
        ValueError: they do not.
    """
    if stage.objective.value is None:
        return
    head, where = policy.value_head if isinstance(policy, TrainedConfig) else None, f"stages.{stage.name}"
    if head is None:
        raise ValueError(f"{where}: method '{stage.method}' trains a critic; set policy.value_head: {{}}")
    if head.outputs not in (1, stage.rollout.action_chunk):
        raise ValueError(
            f"{where}: policy.value_head.outputs {head.outputs} is neither 1 nor rollout.action_chunk "
            f"{stage.rollout.action_chunk}"
        )


def check_value_head(stages: Sequence[Any], policy: PolicyConfig) -> None:
    """A policy (`PolicyConfig`) has a value head only where one of the stages (`StageConfig`) trains a critic.

    Raises:
        ValueError: none does.
    """
    head = policy.value_head if isinstance(policy, TrainedConfig) else None
    if head is not None and all(stage.objective.value is None for stage in stages):
        methods = ", ".join(f"'{stage.method}'" for stage in stages)
        raise ValueError(f"policy.value_head: no stage trains a critic (method {methods}); leave it out")


def check_adapters(stage: Any, policy: PolicyConfig) -> None:
    """LoRA of a policy (`PolicyConfig`) fits the stage's KL and its optimizer steps.

    Raises:
        ValueError: it does not.
    """
    lora, where = policy.lora if isinstance(policy, TrainedConfig) else None, f"stages.{stage.name}"
    if lora is None and stage.objective.kl.reference == "base":
        raise ValueError(
            f"{where}: objective.kl.reference base is the model below LoRA's adapters; set policy.lora, or reference "
            "to start"
        )
    updates = stage.minibatches * stage.epochs
    if lora is not None and lora.dropout > 0 and updates > 1 and stage.objective.reading_ratios():
        # Log-probs before the first update are scored without dropout: ratios would be noise from the first update on.
        raise ValueError(
            f"{where}: policy.lora.dropout {lora.dropout} changes the log-probs of every update, and minibatches x "
            f"epochs {updates} compare them with those before the first, which have none; set dropout to 0, or "
            "minibatches and epochs to 1"
        )


def check_context(stage: Any, policy: PolicyConfig) -> None:
    """The context of a stage's answers (`StageConfig`) is one that the policy (`PolicyConfig`) can take.

    Raises:
        ValueError: it is not.
    """
    context, where = stage.rollout.context, f"stages.{stage.name}"
    if context is None:
        return
    if context.continues and (entry_of(policy.type).engine or "tokens") != "tokens":
        raise ValueError(
            f"{where}: rollout.context '{context.name}' has answers continue tokens, and policy.type '{policy.type}' "
            "samples whole decisions; leave it out"
        )
    for i, form in enumerate(getattr(context, "templates", ())):
        check_own(form.rewards, f"{where}.rollout.context.templates.{i}.rewards")
        if form.rewards and stage.objective.inject is not None:
            raise ValueError(
                f"{where}: an injected demonstration is scored without rollout.context.templates.{i}.rewards, and "
                "would be compared with answers that are scored with them; leave one of them out"
            )
    reads = stage.objective.reading_ratios() & set(stage.objective.of("rollouts"))
    if getattr(context, "corrected", False) and stage.generate is None and not reads:
        raise ValueError(
            f"{where}: rollout.context.corrected changes ratios, and no coefficient of rollouts reads them; leave it "
            "out"
        )
    if any(arm.answer is not None for arm in getattr(context, "arms", ())):
        _check_answers_of_arms(stage, where)


def _check_answers_of_arms(stage: Any, where: str) -> None:
    if stage.objective.pairs:
        raise ValueError(
            f"{where}: an answer of rollout.context.arms would stand in place of both answers of a pair; leave answer "
            "out"
        )
    if stage.generate is not None:
        raise ValueError(
            f"{where}: what is generated shows the row's own pictures, and an answer of rollout.context.arms is right "
            "for other ones; leave answer out"
        )


def check_minibatches(stage: Any, objective: Objective) -> None:
    """Every optimizer step of a stage (`StageConfig`) has its share of what the stage draws.

    A stream weighs the same in each step that holds it, however few trajectories it has there, so that one which is
    missing from some steps would weigh too little over the whole batch. RLinf-Co draws new demonstrations for every
    optimizer step; here those of a step of training are dealt to its optimizer steps.

    Raises:
        ValueError: some would lack a stream.
    """
    count, where = stage.minibatches, f"stages.{stage.name}"
    for key, is_drawn in (("prompts", objective.rollouts), ("demonstrations", objective.demonstrations)):
        if is_drawn and count > getattr(stage, key):
            raise ValueError(
                f"{where}: minibatches {count} exceeds {key} {getattr(stage, key)}, and each optimizer step takes its "
                f"share of them; raise {key}, or lower minibatches"
            )
    if objective.buffer is not None and count > objective.buffer.size:
        raise ValueError(
            f"{where}: minibatches {count} exceeds objective.buffer.size {objective.buffer.size}, and each optimizer "
            "step takes its share of what the buffer gives; raise size, or lower minibatches"
        )
    if count == 1 or len(objective.streams) == 1:
        return
    # Under `sum` an optimizer step's rollouts weigh by their number, so that demonstrations which are in few of the
    # steps weigh at least as much over the batch as they would in a single one.
    even = all(stream.per_prompt for stream in objective.streams.values())
    summed = all(objective.streams[name].normalise == "sum" for name in objective.of("rollouts", "injected"))
    if objective.gate is not None and not (even or summed):
        raise ValueError(
            f"{where}: with minibatches {count} a gate may give fewer demonstrations than optimizer steps, and they "
            "would weigh too little; set per_prompt: true in both of objective.streams, normalise: sum in that of the "
            "rollouts, or minibatches to 1"
        )
    if objective.filter is None:
        return
    if stage.minibatch_by == "group":
        raise ValueError(
            f"{where}: minibatches {count} with minibatch_by group, and a filter may keep a single group, which would "
            "miss from some optimizer steps beside the demonstrations; set minibatch_by to trajectory, or minibatches "
            "to 1"
        )
    if count > stage.rollout.n:
        raise ValueError(
            f"{where}: minibatches {count} exceeds rollout.n {stage.rollout.n}, and a filter may keep a single group, "
            "which would miss from some optimizer steps beside the demonstrations; raise n, or lower minibatches"
        )
