"""What a recipe asks of a policy that it cannot do. Nothing here imports torch: recipes are refused when they are read.

What each policy can do stands in its entry of `mmrl.recipe.policies.registry`, and what it reads in its settings there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from mmrl.contracts.errors import ConfigError, unknown
from mmrl.contracts.policy import params_of
from mmrl.recipe.auxiliary_terms import AUXILIARY_TERMS
from mmrl.recipe.checks.recorded import gripper_reading
from mmrl.recipe.choosing import has_key
from mmrl.recipe.coefficients import COEFFICIENTS
from mmrl.recipe.controllers import CONTROLLERS
from mmrl.recipe.objective import Objective
from mmrl.recipe.policies.registry import POLICIES, Entry, Rule, alternatives, entry_of, policies_for, settings_model
from mmrl.recipe.policy import Binned, PolicyConfig, TrainedConfig
from mmrl.recipe.registry import Registry
from mmrl.recipe.simulators import SimulatorConfig
from mmrl.recipe.unit_weights import UNIT_WEIGHTS

GIVES = {
    "answers": "is answered in text",
    "episodes": "is acted in a simulator",
    "actions": "holds recorded actions",
}
MISSING = object()
# What a policy that converts its gripper's command takes and makes of it, and why other readings do not fit.
CONVERTED = "close_positive"
CLASHES = {
    "open_fraction": ("both convert", "policy.params.gripper to as_is, or "),
    "open_positive": ("are opposite readings of", ""),
}


def check_policy(policy: PolicyConfig) -> None:
    """Raises ConfigError on parts of a policy (`PolicyConfig`) that it does not have, or that are all frozen."""
    entry, freeze = entry_of(policy.type), policy.freeze if isinstance(policy, TrainedConfig) else []
    for part in freeze:
        if part not in entry.freezable:
            raise ConfigError(f"policy.freeze: {unknown(f'part of {policy.type}', part, entry.freezable)}")
    if entry.parts and entry.frozen_by(freeze) >= set(entry.parts):
        raise ConfigError(f"policy.freeze: [{', '.join(freeze)}] leaves nothing to train; leave one of them out")


def check_stage(stage: Any, policy: PolicyConfig) -> None:
    """Raises ConfigError on what a stage (`StageConfig`) asks of a policy that it cannot do."""
    entry, where = entry_of(policy.type), f"stages.{stage.name}."
    if not entry.trains:
        raise ConfigError(
            f"{where}method '{stage.method}' trains, and policy.type '{policy.type}' has no gradients here: it is a "
            "model behind a server; it answers benchmarks (mmrl eval --model … --tasks …) and generates data (mmrl "
            "generate)"
        )
    _check_method(stage, policy)
    for kind, settings in (("objective", stage.objective), ("rollout", stage.rollout)):
        _check_rules(kind, settings, policy, entry, where)
    _check_parts(stage.objective, policy.type, entry, where)


def check_evaluation(evaluation: Any, policy: PolicyConfig) -> None:
    """Raises ConfigError on sampling settings (`EvalConfig`) that a policy does not have: as in its rollouts."""
    entry, own, at = entry_of(policy.type), "rollout.", "evaluation.sampling."
    rules = (replace(rule, key=at + rule.key.removeprefix(own)) for rule in entry.rules if rule.key.startswith(own))
    _check_rules("evaluation", evaluation, policy, replace(entry, rules=tuple(rules)))


def check_data(data: Any, policy: PolicyConfig) -> None:
    """Raises ConfigError on datasets (`DataConfig`) that a policy can do nothing with."""
    entry = entry_of(policy.type)
    for key, datasets in (("train", data.train), ("eval", data.eval)):
        for i, dataset in enumerate(datasets):
            if dataset.gives is None:
                continue
            if dataset.gives not in entry.learns:
                raise ConfigError(
                    f"data.{key}.{i}: type '{dataset.type}' {GIVES[dataset.gives]}, which policy.type '{policy.type}' "
                    f"does not do; set policy.type to {alternatives(policies_for(dataset.gives))}, or give it "
                    f"{_describe_types(entry.learns)}"
                )
            stateless = getattr(dataset, "stateless", None)
            if entry.state and stateless is not None:
                raise ConfigError(
                    f"data.{key}.{i}.{stateless} leaves out the robot's state, and policy.type '{policy.type}' reads "
                    "it; name the feature that holds it, or use a policy without"
                )
            # A family without the key has the bins of its checkpoint, or none.
            if dataset.gives != "answers" and isinstance(policy, Binned) and policy.action_bins is None:
                raise ConfigError(
                    f"policy.action_bins is unset, and data of type '{dataset.type}' needs it; 33 is a start"
                )


def check_sampler(data: Any, policy: PolicyConfig) -> None:
    """Raises ConfigError on a sampler (of a `DataConfig`) that reads prompts where the policy or data have none."""
    if not data.sampler.reads_prompts:
        return
    place = f"data.sampler.name: '{data.sampler.name}' reads the policy's hidden state of prompts"
    if not entry_of(policy.type).states:
        able = [name for name in POLICIES if entry_of(name).states]
        raise ConfigError(
            f"{place}, which policy.type '{policy.type}' does not give; use difficulty, or set policy.type to "
            f"{alternatives(able)}"
        )
    for i, dataset in enumerate(data.train):
        if dataset.use != "demonstrations" and dataset.gives not in (None, "answers"):
            raise ConfigError(
                f"{place}, and data.train.{i} of type '{dataset.type}' {GIVES[dataset.gives]}; use difficulty, or set "
                f"data.train.{i}.use to demonstrations"
            )


def check_gripper(params: Any, simulators: Mapping[str, SimulatorConfig], train: Sequence[Any] = ()) -> None:
    """Raises ConfigError where what a policy converts the gripper's command from or to is not what the others have.

    Args:
        params: `policy.params` of a recipe, or a loaded policy's, which a checkpoint may have been saved with; None: it
            has none.
        simulators: the recipe's.
        train: its training sets (`AnyData`), of which those of recorded actions are looked at.
    """
    gripper = getattr(params, "gripper", None)
    if gripper in (None, "as_is"):
        return
    for name, config in simulators.items():
        reading, other = gripper_reading(config), f"simulators.{name}.gripper"
        if reading in CLASHES:
            why, cure = CLASHES[reading]
            raise ConfigError(
                f"policy.params.gripper '{gripper}' and {other} '{reading}' {why} the gripper's command, so that it "
                f"would open where it should close; set {cure}{other} to {CONVERTED}"
            )
    for i, data in enumerate(train):
        key = "gripper" if getattr(data, "gripper_to", None) is None else "gripper_to"
        recorded = getattr(data, key, None)
        if recorded not in (None, CONVERTED):
            raise ConfigError(
                f"data.train.{i}.{key} '{recorded}' does not fit policy.params.gripper '{gripper}', which takes "
                f"demonstrations as {CONVERTED} and converts them itself; set data.train.{i}.gripper_to to {CONVERTED}"
            )


def check_state(params: Any, data: Any, simulators: Mapping[str, SimulatorConfig]) -> None:
    """Raises ConfigError on episodes (of a `DataConfig`) whose robot has a state of another size than a policy is said
    to read; of a simulator that does not say how large it is, the first episode tells.

    Args:
        params: `policy.params` of a recipe or of a loaded policy.
    """
    size = getattr(params, "state_dim", None)
    for dataset in (*data.train, *data.eval):
        if size is None or dataset.gives != "episodes" or dataset.simulator not in simulators:
            continue
        given = simulators[dataset.simulator].source.state_dim
        if given not in (None, size):
            raise ConfigError(
                f"policy.params.state_dim is {size}, and simulators.{dataset.simulator} gives a state of {given} "
                f"values; set state_dim to {given} with a checkpoint that reads that, or leave it out with one that "
                "reads no state"
            )


def check_pictures(data: Any, simulators: Mapping[str, SimulatorConfig]) -> None:
    """Raises ConfigError on episodes (of a `DataConfig`) in a simulator that shows no policy anything but its state."""
    for dataset in (*data.train, *data.eval):
        if dataset.gives != "episodes":
            continue
        name = dataset.simulator
        if name in simulators and simulators[name].value("observation") == "state":
            raise ConfigError(
                f"simulators.{name}.observation: 'state' shows no pictures, and every policy sees at least one camera; "
                f"set simulators.{name}.observation to rgb"
            )


def _describe_types(kinds: Iterable[str]) -> str:
    names = {"answers": "rows with questions (file, digits, video_digits, jigsaw)", "episodes": "data of type episodes"}
    return " or ".join(names[kind] for kind in kinds if kind in names)


def _check_method(stage: Any, policy: PolicyConfig) -> None:
    """The sampler that a method stands for is the policy's."""
    for key, value in stage.objective.params.items():
        if not has_key(type(policy), ("params", key)):
            able = [name for name in POLICIES if has_key(settings_model(name), ("params", key))]
            raise ConfigError(
                f"stages.{stage.name}: method '{stage.method}' needs a flow policy; set policy.type to one of "
                f"{', '.join(able)}, or use another method"
            )
        current = getattr(params_of(policy), key)
        if current != value:
            raise ConfigError(
                f"stages.{stage.name}: method '{stage.method}' needs policy.params.{key}: {value}, and it is "
                f"{current}; change one"
            )


def _check_rules(kind: str, settings: Any, policy: PolicyConfig, entry: Entry, where: str = "") -> None:
    for rule in entry.rules:
        head, *path = rule.key.split(".")
        value = _value_at(settings, path) if head == kind else MISSING
        if value is not MISSING and value not in rule.allowed and not _is_excused(rule, policy):
            raise ConfigError(
                f"{where}{rule.key}: {_as_json(value)} does not fit policy.type '{policy.type}', which {rule.why}. "
                f"Allowed: {', '.join(map(_as_json, rule.allowed))}"
            )


def _check_parts(objective: Objective, policy: str, entry: Entry, where: str) -> None:
    """What coefficients, auxiliary terms and controllers read of the units of their streams, the policy has."""
    gives = {
        name: entry.sampled if stream.origin == "rollouts" else entry.shown
        for name, stream in objective.streams.items()
    }
    for name, stream in objective.streams.items():
        place, kind = f"{where}objective.streams.{name}", stream.coefficient.kind
        if COEFFICIENTS.get(kind).needs - gives[name]:
            allowed = [other for other in COEFFICIENTS if COEFFICIENTS.get(other).needs <= gives[name]]
            raise ConfigError(
                f"{place}.coefficient.kind: {kind} does not fit policy.type '{policy}', which "
                f"{_describe_lack(gives[name])}. Allowed: {', '.join(allowed)}"
            )
        for key, weight in stream.weights.items():
            _check_needs(f"{place}.weights.{key}", weight.kind, UNIT_WEIGHTS, gives[name], policy)
        if stream.origin != "rollouts" and stream.terms and not gives[name]:
            raise ConfigError(
                f"{place}.terms: {', '.join(stream.terms)} does not fit policy.type '{policy}', which "
                f"{_describe_lack(gives[name])}. Allowed: []"
            )
    for name, term in objective.auxiliary_terms.items():
        has = frozenset.intersection(*(gives[stream] for stream in objective.term_streams(name)))
        _check_needs(f"{where}objective.auxiliary_terms.{name}", term.kind, AUXILIARY_TERMS, has, policy)
    for name, controller in objective.controllers.items():
        _check_needs(f"{where}objective.controllers.{name}", controller.kind, CONTROLLERS, entry.sampled, policy)


def _check_needs(place: str, kind: str, registry: Registry, has: frozenset[str], policy: str) -> None:
    missing = registry.get(kind).needs - has
    if missing:
        raise ConfigError(
            f"{place}: {kind} reads {' and '.join(sorted(missing))}, and policy.type '{policy}' gives "
            f"{', '.join(sorted(has)) or 'nothing'} of these units; leave it out"
        )


def _describe_lack(has: frozenset[str]) -> str:
    if has:
        return "has densities for its actions, and this kind reads probabilities"
    return "has a loss for demonstrations and no likelihood of them"


def _is_excused(rule: Rule, policy: PolicyConfig) -> bool:
    return rule.unless is not None and getattr(params_of(policy), rule.unless[0]) == rule.unless[1]


def _value_at(settings: Any, path: list[str]) -> Any:
    """What stands at a path of attributes and keys; MISSING where there is no such key."""
    for part in path:
        settings = settings.get(part, MISSING) if isinstance(settings, dict) else getattr(settings, part, MISSING)
    return settings


def _as_json(value: Any) -> str:
    """A value as YAML would have it."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
    return value if isinstance(value, str) else json.dumps(value)
