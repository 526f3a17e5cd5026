"""A stage in which the policy makes data, and `mmrl generate`, which is such a stage alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mmrl.contracts.engine import Engine
from mmrl.contracts.errors import BadSample
from mmrl.contracts.policy import Policy
from mmrl.contracts.source import Means
from mmrl.contracts.types import Sample
from mmrl.recipe.checks.generating import generated_folder
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.schema import Recipe
from mmrl.recipe.secrets import masked
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.generate import Generation, described, generate
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.simulators import Simulators
from mmrl.rollouts.sources import terms_of
from mmrl.tracking.bad_samples import BadSamples
from mmrl.trainer.seeding import derive
from mmrl.trainer.session import Session


def weights_digest(policy: Policy) -> str:
    """A digest of the trained weights' bits."""
    digest = hashlib.sha256()
    for name, parameter, _ in policy.trainable():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Generating:
    """What answers and rewards; `recipe` is as it stands in the stage, whose training data are `datasets`."""

    recipe: Recipe
    datasets: Sequence[Sequence[Sample]]
    policy: Policy
    engine: Engine
    preparer: Preparer
    simulators: Simulators


def generation(parts: Generating, stage: StageConfig, folder: Path, **ears: Callable[..., Any]) -> Generation:
    """What a stage's data are made with.

    Args:
        folder: where they are written.
        ears: `note`, `say` and `stopped` of `Generation`.
    """
    config, recipe = stage.generate, parts.recipe
    if config is None:
        raise ValueError(f"stage '{stage.name}' does not generate")
    return Generation(
        config,
        folder,
        Means(parts.policy, parts.engine, parts.simulators, parts.preparer.rewarder),
        parts.preparer,
        replace(terms_of(stage.rollout), chunk=stage.rollout.action_chunk, recorded=True),
        _settings(recipe, stage, parts.policy),
        f"{recipe.name}/{stage.name}",
        lambda shard: derive(recipe.seed, stage.name, shard),
        skip=recipe.data.on_bad_sample == "skip",
        **ears,
    )


def asked(parts: Generating) -> list[Sequence[Sample]]:
    """The datasets whose rows are answered: all but those that are for demonstrations alone."""
    return [rows for rows, data in zip(parts.datasets, parts.recipe.data.train) if data.use != "demonstrations"]


def make(parts: Generating, stage: StageConfig, folder: Path, say: Callable[[str], object]) -> Mapping[str, Any]:
    """Makes a data set outside of a run. Raises UserError as `generate` does."""
    noting = BadSamples(folder / "bad_samples.jsonl")

    def note(error: BadSample) -> None:
        noting.add("train", error, None)

    index = generate(generation(parts, stage, folder, note=note, say=say), asked(parts))
    if index is None:
        raise RuntimeError("nothing stops a data set that is made outside of a run")
    return index


def _settings(recipe: Recipe, stage: StageConfig, policy: Policy) -> Mapping[str, Any]:
    """All that the answers depend on."""
    config = stage.generate
    return {
        # Not the loaded policy's: one that goes on from a checkpoint was loaded from there.
        "policy": recipe.policy.path,
        "weights": weights_digest(policy),
        "engine": masked(recipe.engine.model_dump(mode="json")),
        "rollout": stage.rollout.model_dump(mode="json"),
        "data": recipe.data.model_dump(mode="json", include={"train", "on_bad_sample"}),
        "rewards": [reward.model_dump(mode="json") for reward in recipe.rewards],
        **_of_simulators(recipe),
        "generate": config.model_dump(mode="json", include={"blind", "shard", "log_probs"}) if config else None,
        "seed": recipe.seed,
        "stage": stage.name,
    }


def _of_simulators(recipe: Recipe) -> Mapping[str, Any]:
    named = {data.simulator for data in recipe.data.train if isinstance(data, EpisodeData)}
    used = {name: recipe.simulators[name].model_dump(mode="json") for name in sorted(named)}
    # Groups of worlds sample from seeds of their own.
    return {"simulators": used, "pipeline": recipe.pipeline} if used else {}


def generate_stage(session: Session, stage: StageConfig) -> bool:
    """Makes the stage's data, or goes on with it. Returns False when a signal stopped it."""
    now, tracker = session.now, session.tracker
    parts = Generating(now.recipe, now.datasets, session.policy, session.engine, now.preparer, session.simulators)

    def note(error: BadSample) -> None:
        tracker.bad_sample("train", error, None, None)

    task = generation(
        parts,
        stage,
        generated_folder(session.recipe.folder, stage.name),
        note=note,
        say=tracker.say,
        stopped=lambda: session.stop.signum is not None,
    )
    # Answers of weights that the run no longer has are of no use to it.
    index = generate(task, asked(parts), again=True)
    for line in described(index) if index is not None else ():
        tracker.say(f"{stage.name}: {line.strip()}")
    return index is not None
