"""`mmrl train --dry-run`: everything a run needs is opened and checked, nothing is trained and nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from mmrl.contracts.engine import Engine, Request
from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.policy import Policy, acting
from mmrl.contracts.types import Sample
from mmrl.data.alike import first_of_each
from mmrl.data.mixture import open_dataset
from mmrl.data.turns import turns_of
from mmrl.engines import open_engine
from mmrl.evaluation.loss import NO_LIMIT
from mmrl.evaluation.sees import answers_pictures, check_sight, look
from mmrl.policies.boxes import agrees
from mmrl.policies.companions import open_companions
from mmrl.policies.loading import resolve_device
from mmrl.recipe.beginnings import opened_at
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.objective import Objective
from mmrl.recipe.rollout import SamplingConfig
from mmrl.recipe.schema import Recipe
from mmrl.rollouts.answers import demonstrated_units
from mmrl.rollouts.cameras import in_use, settle_cameras
from mmrl.rollouts.episodes import Play
from mmrl.rollouts.experts import refusals
from mmrl.rollouts.normalisation import settle_statistics
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.simulators import Simulators
from mmrl.rollouts.sources import SOURCES
from mmrl.run import with_cure
from mmrl.setup import apply_threads, open_eval_sets, open_policy, with_companions, with_dtype, with_model
from mmrl.tracking.claim import Claim
from mmrl.tracking.sinks import check_sinks
from mmrl.trainer import checkpoint, memory
from mmrl.trainer.beginning import check_sources
from mmrl.trainer.memory import readable

PROBED_ROWS = 32
# Rows of each dataset that rewards of one's own are called on.
TRIED_ROWS = 4


@dataclass
class Probe:
    """What the first rows of one dataset turned out to be."""

    name: str
    rows: int
    size: int
    prompts: list[int] = field(default_factory=list)
    visual: list[int] = field(default_factory=list)
    demonstrations: list[int] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    unseen: Counter[str] = field(default_factory=Counter)  # kind -> rows whose prompts only sampling makes
    other_places: int = 0  # demonstrations that name another box or point than their target
    bad: list[BadSample] = field(default_factory=list)


def dry_run(recipe: Recipe) -> str:
    """Checks a recipe end to end and describes the run it would be.

    Data is probed by its first 32 rows of each dataset. The memory figures are those of `mmrl.trainer.memory.estimate`,
    whose docstring has the formulas; they hold for prompts as long as the probed ones.

    Raises:
        UserError: whatever would stop the run; bad samples, one line per kind of fault, unless `data.on_bad_sample` is
            `skip`.
    """
    recipe = with_companions(with_model(with_dtype(recipe)))
    apply_threads(recipe)
    Claim(recipe.folder, recipe.resume).undo()
    resumed = checkpoint.resume_from(recipe.resume, recipe.folder / "checkpoints", recipe.checkpoint.on_damaged)
    check_sinks(recipe.tracking)
    for each in recipe.apart():
        each.engine.check_installed()
    free = memory.available(resolve_device(recipe.policy.device))
    parts = [_open_part(part) for part in recipe.apart()]
    check_sources(recipe)
    policy = open_policy(recipe, recipe.of(recipe.stages[0]).policy)
    datasets = [rows for part in parts for _, rows in part.train.values()]
    settle_statistics(policy, datasets, recipe.simulators)
    settle_cameras(policy, datasets, in_use(recipe))
    sights: list[str] = []
    for part in parts:
        with closing(open_engine(part.recipe.engine, policy)) as engine:
            _try_simulators(part.recipe, policy, engine)
            sights += _look(policy, engine, part.train)
    limit = max(stage.rollout.max_new_tokens for stage in recipe.stages)
    probes: list[Probe] = []
    bad: list[BadSample] = []
    cut: list[str] = []
    for part in parts:
        new, faults = _probe_part(part, policy)
        probes, bad = probes + new, bad + faults
        cut += _cut_by_evaluation(part.recipe, new)
    lines = [f"recipe '{recipe.name}': {recipe.policy.path} on {policy.device}, run folder {recipe.folder}"]
    lines += [f"resumes from {resumed.source}"] if resumed.source else []
    for name, companion in open_companions(recipe.companions, policy).items():
        lines.append(f"companion {name}: {recipe.companions[name].path}, {readable(companion.nbytes)} of weights")
    lines += _describe_data(probes, limit)
    lines += dict.fromkeys(cut)
    lines += sights
    lines += [f"  bad sample, skipped: {line}" for line in first_of_each(bad)]
    lines += _describe_stages(recipe)
    lines += _describe_memory(recipe, policy, probes, free)
    return "\n".join(lines)


@dataclass(frozen=True)
class OpenedPart:
    """The data of stages with equal sections: `train` by its place, each with its config; `held_out` by its name."""

    recipe: Recipe
    rewarder: Rewarder
    train: dict[str, tuple[Any, Sequence[Sample]]]
    held_out: dict[str, Sequence[Sample]]


def _open_part(recipe: Recipe) -> OpenedPart:
    rewarder, train = Rewarder(recipe.rewards), {}
    at = f"stages.{recipe.stages[0].name}: " if recipe.stages[0].own_sections else ""
    for i, config in enumerate(recipe.data.train):
        train[f"{at}train.{i}"] = (config, open_dataset(config, rewarder.target_of))
    held_out = {f"{at}eval {name}": rows for name, rows in open_eval_sets(recipe, shape=rewarder.target_of).items()}
    return OpenedPart(recipe, rewarder, train, held_out)


def _probe_part(part: OpenedPart, policy: Policy) -> tuple[list[Probe], list[BadSample]]:
    """What the first rows of each dataset turned out to be, and what is wrong with them.

    Raises:
        UserError: bad samples, where the recipe stops at them; also as `_check_demonstrations`.
    """
    recipe, train, preparer = part.recipe, part.train, Preparer(policy, part.rewarder)
    probes = [
        _probe(f"{key} {config.name or config.type}", data, preparer, rewarded=recipe.rolls_out(config))
        for key, (config, data) in train.items()
    ]
    probes += [_probe(name, data, preparer) for name, data in part.held_out.items()]
    drawn = [probe for probe, (config, _) in zip(probes, train.values()) if config.use != "rollouts"]
    _check_demonstrations(recipe, policy, drawn)
    bad = [error for probe in probes for error in probe.bad]
    bad += _too_long(recipe, train, policy)
    if bad and recipe.data.on_bad_sample == "stop":
        raise UserError("\n".join(map(str, first_of_each(with_cure(error, recipe) for error in bad))))
    return probes, bad


def _look(policy: Policy, engine: Engine, train: Mapping[str, tuple[Any, Sequence[Sample]]]) -> list[str]:
    """A line for each training set that shows pictures or videos. Raises UserError where they are not seen."""
    lines = []
    for key, (config, data) in train.items() if answers_pictures(policy) else ():
        sight = look(policy, engine, data)
        if sight is not None:
            check_sight(sight, policy.config.dtype, f"{key} {config.name or config.type}")
            lines.append(f"  seen in {key}: {sight.figures()}")
    return lines


def _try_simulators(recipe: Recipe, policy: Policy, engine: Engine) -> None:
    """Starts an episode in each simulator and has the policy choose, but not play, its first actions."""
    first: dict[str, Sample] = {}
    for data in (*recipe.data.train, *recipe.data.eval):
        if isinstance(data, EpisodeData):
            first.setdefault(data.simulator, open_dataset(data)[0])
    chunks = {stage.rollout.action_chunk for stage in recipe.stages}
    if recipe.evaluation.action_chunk is not None:
        chunks.add(recipe.evaluation.action_chunk)
    simulators = Simulators(recipe.simulators, recipe.pipeline, refusals(recipe.data.train, recipe.stages))
    try:
        for name, sample in sorted(first.items()):
            episodes = Play(simulators.get(name, 1), [sample])
            episodes.begin()
            units = acting(policy).units_per_action(episodes.env.action_dim)
            prompts = policy.prepare([episodes.view(0)])
            for chunk in sorted(chunks):
                requests = [Request(prompt, restrict="action") for prompt in prompts]
                engine.generate(requests, SamplingConfig(max_new_tokens=chunk * units), 0)
    finally:
        simulators.close()


def _probe(name: str, data: Sequence[Sample], preparer: Preparer, rewarded: bool | None = None) -> Probe:
    """The first rows made ready.

    Args:
        rewarded: a reward has to read them; None: where they are not demonstrations alone, as in evaluation.
    """
    probe = Probe(name, min(PROBED_ROWS, len(data)), len(data))
    policy = preparer.policy
    for row in range(probe.rows):
        try:
            sample = data[row]
            scored = not preparer.rewarder.only_learned(sample) if rewarded is None else rewarded
            ready = preparer.make(sample, scored)
            if scored and SOURCES.get(sample.kind).rewarded and row < TRIED_ROWS:
                preparer.rewarder.try_own([ready.sample])
        except BadSample as error:
            probe.bad.append(error)
            continue
        sample = ready.sample
        probe.other_places += not agrees(sample)
        if not ready.prompts:
            probe.unseen[sample.kind] += 1
            continue
        probe.prompts += [prompt.length for prompt in ready.prompts]
        probe.visual += [_visual_tokens(policy, prompt) for prompt in ready.prompts]
        if sample.steps:
            probe.chunks += [len(demonstrated_units(policy, step, 0)) for step in sample.steps]
        elif sample.demonstrated:
            # Chunks of actions have their own length, which rollout.max_new_tokens does not limit.
            lengths = probe.demonstrations if sample.actions is None else probe.chunks
            lengths += [len(demonstrated_units(policy, turn, NO_LIMIT)) for turn in ready.turns or (sample,)]
    return probe


def _visual_tokens(policy: Policy, prompt: Any) -> int:
    config = policy.module.config
    tokens = [getattr(config, name) for name in ("image_token_id", "video_token_id") if hasattr(config, name)]
    return sum(int((prompt.input_ids == token).sum()) for token in tokens)


def _check_demonstrations(recipe: Recipe, policy: Policy, probes: Sequence[Probe]) -> None:
    """Refuses, where a stage draws demonstrations, a training set that was read to its end without one, or one of
    more actions than the policy predicts."""
    drawing = [stage.name for stage in recipe.stages if stage.objective.demonstrations]
    for probe in probes:
        undecided = probe.demonstrations or probe.chunks or probe.unseen or probe.bad
        if drawing and probe.rows == probe.size and not undecided:
            raise UserError(
                f"{probe.name}: none of the {probe.size} rows has a demonstration, which stage '{drawing[0]}' draws; "
                "add them or choose a method without (grpo)"
            )
        if drawing and probe.chunks:
            acting(policy).check_units(max(probe.chunks))


def _too_long(recipe: Recipe, train: dict, policy: Policy) -> list[BadSample]:
    """Demonstrations among the probed rows that a stage which trains on them would refuse."""
    limits = [s.rollout.max_new_tokens for s in recipe.stages if _demonstrates(s.objective)]
    errors = []
    for _, data in train.values():
        for row in range(min(PROBED_ROWS, len(data)) if limits else 0):
            try:
                sample = data[row]
                # Episodes have a length of their own, whether a simulator's expert demonstrates them or a file does.
                if sample.demonstrated and SOURCES.get(sample.kind).recorded and not sample.steps:
                    for turn in turns_of(sample) if sample.actions is None else [sample]:
                        demonstrated_units(policy, turn, min(limits))
            except BadSample as error:
                errors.append(error)
    return errors


def _demonstrates(objective: Objective) -> bool:
    return objective.draws_demonstrations


def _describe_data(probes: Sequence[Probe], limit: int) -> list[str]:
    lines = ["data"]
    for probe in probes:
        figures = [f"first {probe.rows} of {probe.size} rows"]
        if probe.prompts:
            figures.append(f"prompt tokens {_spread(probe.prompts)}, of them visual tokens {_spread(probe.visual)}")
        if probe.demonstrations:
            over = sum(length > limit for length in probe.demonstrations)
            note = f", {over} above rollout.max_new_tokens {limit}" if over else ""
            lengths = f"{len(probe.demonstrations)} demonstrations of {_spread(probe.demonstrations)} tokens"
            figures.append(lengths + note)
        if probe.chunks:
            figures.append(f"{len(probe.chunks)} demonstrations of actions, {_spread(probe.chunks)} units each")
        figures += [f"{count} {kind}" for kind, count in probe.unseen.items()]
        if probe.other_places:
            figures.append(f"{probe.other_places} demonstrations name another box or point than their target")
        if probe.bad:
            figures.append(f"{len(probe.bad)} bad")
        lines.append(f"  {probe.name}: {'; '.join(figures)}")
    if any(probe.prompts for probe in probes):
        lines.append("  (tokens as min/median/max)")
    return lines


def _cut_by_evaluation(recipe: Recipe, probes: Sequence[Probe]) -> list[str]:
    """A line where demonstrations are longer than evaluation lets an answer become."""
    if not recipe.asks_held_out:
        return []
    limit = max(recipe.evaluation_limit(stage) for stage in recipe.stages)
    lengths = [length for probe in probes for length in probe.demonstrations]
    over = sum(length > limit for length in lengths)
    if not over:
        return []
    return [
        f"  evaluation cuts answers at {limit} tokens, and {over} of {len(lengths)} demonstrations are longer; raise "
        "evaluation.sampling.max_new_tokens, or leave it out for rollout.max_new_tokens"
    ]


def _spread(values: Sequence[int]) -> str:
    return f"{min(values)}/{median(values):g}/{max(values)}"


def _describe_stages(recipe: Recipe) -> list[str]:
    lines = ["stages"]
    for number, stage in enumerate(recipe.stages):
        objective = stage.objective
        figures = [f"{stage.steps} steps", f"{stage.optimizer_steps} optimizer steps"]
        if objective.rollouts:
            count = stage.prompts * stage.rollout.n
            figures.append(f"{count} rollouts per step ({stage.prompts} prompts x {stage.rollout.n})")
        if objective.demonstrations:
            figures.append(f"{stage.demonstrations} demonstrations per step")
        if opened_at(recipe, number) == number:
            figures.append(f"starts from {', '.join(stage.origin or ['the stage before'])}, opened anew")
        lines.append(f"  {stage.name} ({stage.method}): {', '.join(figures)}")
    return lines


def _describe_memory(recipe: Recipe, policy: Policy, probes: Sequence[Probe], free: int) -> list[str]:
    longest = max((pair for probe in probes for pair in zip(probe.prompts, probe.visual)), default=(0, 0))
    guess = memory.estimate(recipe, policy, *longest)
    share = guess.trainable / max(1, guess.parameters)
    uses = {
        "weights": guess.weights,
        "reference copy": guess.reference,
        "AdamW moments": guess.moments,
        "gradients": guess.gradients,
        "activations of a micro-batch": guess.activations,
        "logits of a micro-batch": guess.logits,
        "key-value cache of a rollout batch": guess.cache,
    }
    fits = "fits" if guess.peak <= 0.8 * free else "is close to the limit" if guess.peak <= free else "does not fit"
    cure = "" if fits == "fits" else "; lower micro_tokens or engine.batch_size, or set policy.lora"
    note = "" if longest[0] else " (prompts of episodes are not counted)"
    return [
        f"parameters: {guess.parameters:,}, trainable {guess.trainable:,} ({share:.1%})",
        f"memory, estimated{note}",
        *(f"  {name}: {readable(size)}" for name, size in uses.items() if size),
        f"  peak: {readable(guess.peak)} of {readable(free)} available: {fits}{cure}",
    ]
