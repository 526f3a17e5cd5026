"""Opening a run: the folder, the policy, the data, and the checkpoint it goes on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmrl.contracts.engine import Engine
from mmrl.contracts.errors import BadSample, CheckpointError, UserError
from mmrl.contracts.policy import Normalising, Policy, media_of, params_of
from mmrl.contracts.types import Sample
from mmrl.contracts.world import ALONE, World
from mmrl.data.media_reader import open_cache
from mmrl.data.mixture import Mixture, open_dataset, open_mixture
from mmrl.data.rows import Rows
from mmrl.data.targets import Shape
from mmrl.engines import open_engine
from mmrl.evaluation.runner import Evaluator
from mmrl.parallel.alike import check_alike, material_facts, program_facts
from mmrl.policies.companions import open_companions, settle_companions
from mmrl.policies.loading import PACKAGED, checkpoint_path, difference, model_of, resolve_dtype
from mmrl.policies.opening import load_policy
from mmrl.policies.statistics import read_statistics
from mmrl.recipe.beginnings import resumed_policy
from mmrl.recipe.checks.evaluation import check_held_out
from mmrl.recipe.checks.generating import reads_from
from mmrl.recipe.checks.policies import check_gripper, check_state
from mmrl.recipe.policies.registry import entry_of
from mmrl.recipe.policy import PolicyConfig
from mmrl.recipe.reading import to_yaml
from mmrl.recipe.schema import Recipe
from mmrl.rollouts.cameras import in_use, settle_cameras
from mmrl.rollouts.experts import refusals
from mmrl.rollouts.first_rows import check_data
from mmrl.rollouts.normalisation import complete_statistics, settle_statistics
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.prompt_features import PromptFeatures
from mmrl.rollouts.rewarding import Rewarder, UserReward
from mmrl.rollouts.simulators import Simulators
from mmrl.tracking.opening import opening_line
from mmrl.tracking.silent import SilentTracker
from mmrl.tracking.sinks import check_sinks
from mmrl.tracking.tracker import Tracker
from mmrl.trainer import checkpoint
from mmrl.trainer.beginning import check_sources
from mmrl.trainer.generating import Generating
from mmrl.trainer.opened import Opened, Program
from mmrl.trainer.place import Place, read_place
from mmrl.trainer.resuming import report_changes
from mmrl.trainer.seeding import derive, seed_everything
from mmrl.trainer.session import Session, fingerprint, restore_parameters
from mmrl.trainer.stopping import StopRequest
from mmrl.trainer.surroundings import differences, surroundings

# What processes compare before they begin.
START = "the start"


def open_run(
    recipe: Recipe,
    stop: StopRequest,
    reward: UserReward | None = None,
    train_data: Sequence[Sample] | None = None,
    eval_data: Sequence[Sample] | None = None,
    *,
    began: float,
    world: World = ALONE,
) -> tuple[Session, Place]:
    """Everything a run needs, at its beginning or at the checkpoint it resumes from.

    Nothing is written before recipe, data and policy have proved usable.

    Args:
        began: when the run was started (Unix seconds).
        world: the processes that train together, of which the first one writes.
    """
    check_alike(world, START, lambda: program_facts(to_yaml(recipe)))
    recipe = with_companions(with_model(with_dtype(recipe)))
    apply_threads(recipe)
    seed_everything(derive(recipe.seed, "setup"))
    resumed = checkpoint.resume_from(recipe.resume, recipe.folder / "checkpoints", recipe.checkpoint.on_damaged)
    source, state = resumed.source, resumed.state
    tensors = checkpoint.tensors_of(source) if source else None
    check_sinks(recipe.tracking)
    for part in recipe.apart():
        part.engine.check_installed()
    check_sources(recipe, state["place"]["stage"] + (state["place"]["stage_step"] > 0) if state else 0)
    given = Given(reward, train_data, eval_data)
    # Data that a stage is yet to generate are opened when it has.
    behind = _stages_behind(recipe, state)
    sets = [open_sets(part, given, world) for part in recipe.apart() if reads_from(part) <= behind]
    policy = open_policy(recipe, resumed_policy(recipe, state, source))
    companions = open_companions(recipe.companions, policy)
    program = open_program(recipe, sets, policy, given, world)
    statistics = settle(policy, program, recipe)
    recipe = with_params(recipe, policy)
    _make_deterministic(policy.device)
    place = _resume_run(recipe, resumed, tensors, policy, program)
    # Each has read what it goes on from, before the first one removes what came after.
    check_alike(world, START, lambda: {"step": place.step, **material_facts(policy, program.datasets)})
    tracker = _open_tracker(recipe, place, world)
    with _closed_on_error(tracker):
        now = program.of(recipe.stages[min(place.stage, len(recipe.stages) - 1)].name)
        if world.writes:
            changes = _changes(tracker, recipe, resumed, place, policy, now.preparer.rewarder)
            tracker.say(opening_line(recipe, policy, program.datasets))
            tracker.begin(place.step, began, to_yaml(recipe), changes)
            tracker.environment(policy=recipe.policy.path, device=str(policy.device), **statistics)
            if recipe.resume != "never":
                checkpoint.drop_after(recipe.folder / "checkpoints", place.step)
        tracker.expect([bad for each in sets for bad in each.bad])
        program.tell(partial(tracker.bad_sample, "train"), tracker.say)
        simulators = Simulators(recipe.simulators, recipe.pipeline, _expert_uses(sets))
        engine = open_engine(now.recipe.engine, policy, world)
        if place.updates:
            engine.sync(policy, place.updates)
    parts = (policy, engine, program, simulators, tracker, stop, partial(_open_anew, recipe, program))
    return Session(recipe, *parts, tensors, state, companions, world), place


def _stages_behind(recipe: Recipe, state: Mapping[str, Any] | None) -> set[str]:
    """The stages that have run where a checkpoint was written."""
    place: Mapping[str, Any] = state["place"] if state else {"stage": 0}
    return {recipe.stages[i].name for i in range(place["stage"]) if i not in place.get("skipped", ())}


def settle(policy: Policy, program: Program, recipe: Recipe) -> dict[str, Any]:
    """Gives a policy what it takes from the training data; what `settle_statistics` says of it."""
    statistics = settle_statistics(policy, program.datasets, recipe.simulators)
    settle_cameras(policy, program.datasets, in_use(recipe))
    return statistics


def _open_anew(recipe: Recipe, program: Program, config: PolicyConfig) -> Policy:
    """A policy for stages to come, in place of the run's."""
    policy = open_policy(recipe, config)
    settle(policy, program, recipe)
    program.take(policy)
    return policy


def _expert_uses(sets: Sequence[Sets]) -> dict[str, str]:
    """See `mmrl.rollouts.experts.refusals`."""
    uses: dict[str, str] = {}
    for each in sets:
        uses |= {} if each.passed else refusals(each.recipe.data.train, each.recipe.stages)
    return uses


def _open_tracker(recipe: Recipe, place: Place, world: World) -> Tracker:
    if not world.writes:
        return SilentTracker(recipe.folder)
    resume_step = place.step if recipe.resume != "never" else None
    return Tracker(recipe.folder, recipe.tracking, total_steps(recipe), resume_step)


@dataclass(frozen=True, slots=True)
class Given:
    """What is given from Python in place of a recipe's own parts."""

    reward: UserReward | None = None
    train_data: Sequence[Sample] | None = None
    eval_data: Sequence[Sample] | None = None


@dataclass(frozen=True, slots=True)
class Sets:
    """The data of stages with equal sections, before a model is loaded.

    Attributes:
        recipe: as it stands in these stages, which are its `stages`.
        passed: `datasets` are given from Python, and are none of the recipe's.
        bad: see `check_data`.
    """

    recipe: Recipe
    rewarder: Rewarder
    datasets: Sequence[Sequence[Sample]]
    eval_sets: Mapping[str, Sequence[Sample]]
    passed: bool
    bad: Sequence[tuple[str, BadSample]]


def open_sets(recipe: Recipe, given: Given, world: World = ALONE) -> Sets:
    """Opens the data of a recipe as some of its stages have it; what is given replaces the recipe's own."""
    stage = recipe.stages[0]
    reward = given.reward if stage.rewards is None else None
    train_data = given.train_data if stage.data is None else None
    eval_data = given.eval_data if stage.data is None else None
    rewarder = open_rewarder(recipe, reward, train_data, eval_data, world=world)
    datasets = open_train_sets(recipe, rewarder, train_data)
    eval_sets = open_eval_sets(recipe, eval_data, rewarder.target_of)
    bad = check_data(recipe, datasets, eval_sets, rewarder, train_data is not None)
    return Sets(recipe, rewarder, datasets, eval_sets, train_data is not None, bad)


@contextmanager
def open_generation(recipe: Recipe, config: PolicyConfig, reward: UserReward | None) -> Iterator[Generating]:
    """What answers and rewards the training data of a recipe whose one stage generates, open as long as it is needed.

    Args:
        config: the policy that answers.
    """
    recipe = with_model(with_dtype(recipe.model_copy(update={"policy": config})))
    apply_threads(recipe)
    seed_everything(derive(recipe.seed, "setup"))
    sets = open_sets(recipe.of(recipe.stages[0]), Given(reward))
    policy = open_policy(recipe, recipe.policy)
    complete_statistics(policy, recipe)
    _make_deterministic(policy.device)
    simulators = Simulators(recipe.simulators, recipe.pipeline)
    with closing(open_engine(sets.recipe.engine, policy)) as engine, closing(simulators):
        yield Generating(sets.recipe, sets.datasets, policy, engine, Preparer(policy, sets.rewarder), simulators)


def open_program(recipe: Recipe, sets: Sequence[Sets], policy: Policy, given: Given, world: World = ALONE) -> Program:
    """What each stage works with. Stages that have the same training data go on with one walk through them.

    Args:
        sets: those of the recipe's parts that are open already.
    """
    walks: list[tuple[Any, Mixture]] = []
    known = {each.recipe.stages[0].name: each for each in sets}

    def open_part(part: Recipe, policy: Policy) -> Opened:
        each = known.get(part.stages[0].name) or open_sets(part, given, world)
        preparer = Preparer(policy, each.rewarder)
        drawn = each.recipe.data.model_dump(include={"train", "sampler", "seed", "on_bad_sample"}), each.passed
        mixture = next((mixture for key, mixture in walks if key == drawn), None)
        if mixture is None:
            mixture = open_train(each.recipe, preparer, each.datasets, each.passed, world)
            walks.append((drawn, mixture))
        return Opened(each.recipe, each.datasets, each.eval_sets, mixture, preparer)

    return Program(recipe.apart(), policy, open_part, lambda part: part.stages[0].name in known)


def _make_deterministic(device: torch.device) -> None:
    if device.type == "cpu":
        # Repeated indices are otherwise summed in the order in which threads arrive.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False


@contextmanager
def _closed_on_error(tracker: Tracker) -> Iterator[None]:
    try:
        yield
    except BaseException:
        tracker.close()
        raise


def _changes(
    tracker: Tracker, recipe: Recipe, resumed: checkpoint.Resumed, place: Place, policy: Policy, rewarder: Rewarder
) -> list[str]:
    """What differs from what the steps so far were taken with, a line each; newer checkpoints that are damaged."""
    earlier, state = _earlier_recipe(tracker, place, resumed.source), resumed.state
    lines = [f"passed over: {problem}; going on from step {place.step}" for problem in resumed.passed_over]
    if earlier is None or state is None:
        return lines
    lines += report_changes(earlier, recipe, place, state["optimizer_steps"], rewarder)
    return lines + differences(state["surroundings"], surroundings(policy.device), place.step)


def _earlier_recipe(tracker: Tracker, place: Place, source: Path | None) -> Path | None:
    """The recipe that the steps so far were taken with: of this run, or of the one whose checkpoint it goes on from."""
    if source is None or place.step == 0:
        return None
    return tracker.starts.before(place.step) or source.parent.parent / "config.yaml"


def open_rewarder(
    recipe: Recipe, reward: UserReward | None, *data: Sequence[Sample] | None, world: World = ALONE
) -> Rewarder:
    """The recipe's rewards, or the user's in their place.

    Args:
        data: what is given in place of the recipe's data.

    Raises:
        UserError: nothing would call the user's.
    """
    if reward is not None and not recipe.rewards and all(samples is None for samples in data):
        raise UserError(
            "reward: nothing calls it: the recipe's data hold episodes and recorded actions alone, and a simulator "
            "rewards its episodes; leave it out, or add data with questions"
        )
    return Rewarder(recipe.rewards, reward, world)


def open_evaluator(
    recipe: Recipe,
    policy: Policy,
    engine: Engine,
    sets: Mapping[str, Sequence[Sample]],
    preparer: Preparer,
    simulators: Simulators,
    bad_sample: Callable[[str, BadSample, str, int], object],
) -> Evaluator:
    """The recipe's held-out evaluation; `bad_sample` takes note of "eval", the sample, its dataset and its row."""
    seed, note = derive(recipe.seed, "eval"), partial(bad_sample, "eval")
    return Evaluator(recipe, policy, engine, sets, preparer, simulators, seed, note)


def open_policy(recipe: Recipe, config: PolicyConfig) -> Policy:
    """Loads a policy, which reads videos through the recipe's cache of decoded ones.

    Raises:
        ConfigError: what the checkpoint was saved with contradicts the recipe's simulators, recorded data or video
            budgets; also as `load_policy`.
    """
    policy = load_policy(config)
    videos = media_of(policy)
    if videos:
        videos.check("policy.video")
        videos.cache = open_cache(recipe.data.cache)
    for part in recipe.apart():
        check_gripper(params_of(policy), recipe.simulators, part.data.train)
        check_state(params_of(policy), part.data, recipe.simulators)
        for key, sets in (("train", part.data.train), ("eval", part.data.eval)):
            for i, data in enumerate(sets):
                if videos:
                    videos.check(f"data.{key}.{i}.video", data.budgets.get("video", {}))
    return policy


def with_params(recipe: Recipe, policy: Policy) -> Recipe:
    """The recipe with all of the `policy.params` of a loaded policy: also those that its checkpoint was saved with."""
    params = params_of(policy)
    if params is None:
        return recipe
    whole = params.model_copy(update={name: getattr(params, name) for name in type(params).model_fields})
    return recipe.model_copy(update={"policy": recipe.policy.model_copy(update={"params": whole})})


def with_dtype(recipe: Recipe) -> Recipe:
    """The recipe with the dtype that `policy.dtype: auto` stands for on its device, as a run records it."""
    return recipe.model_copy(update={"policy": resolve_dtype(recipe.policy)})


def with_model(recipe: Recipe) -> Recipe:
    """The recipe with the model's folder where `policy.path` names a run or a checkpoint, as a run records it."""
    policy = recipe.policy
    named = policy.path in PACKAGED or not entry_of(policy.type).trains
    if named or not Path(policy.path).expanduser().is_dir():
        return recipe
    model = checkpoint_path(policy.path, policy.type)
    if Path(model) == Path(policy.path).expanduser():
        return recipe
    return recipe.model_copy(update={"policy": policy.model_copy(update={"path": model})})


def with_companions(recipe: Recipe) -> Recipe:
    """The recipe with each companion's folder, dtype and digest, as a run records it."""
    return recipe.model_copy(update={"companions": settle_companions(recipe.companions, recipe.policy)})


def apply_threads(recipe: Recipe) -> None:
    """Sets torch's CPU threads where the recipe asks for a number."""
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)


def open_train_sets(recipe: Recipe, rewarder: Rewarder, data: Sequence[Sample] | None) -> list[Sequence[Sample]]:
    """The training datasets; `data` replaces the recipe's."""
    if data is not None:
        if isinstance(data, Rows):
            data.shape_targets(rewarder.target_of)
        return [data]
    return [open_dataset(config, rewarder.target_of) for config in recipe.data.train]


def open_train(
    recipe: Recipe, preparer: Preparer, datasets: Sequence[Sequence[Sample]], passed: bool, world: World = ALONE
) -> Mixture:
    """The training mixture.

    Args:
        datasets: as `open_train_sets` gives them.
        passed: they are given from Python, and are none of the recipe's.
    """
    features = PromptFeatures(preparer, recipe.micro_tokens, world) if recipe.data.sampler.reads_prompts else None
    return open_mixture(recipe.data, recipe.seed, preparer.check, datasets, passed, features)


def open_eval_sets(
    recipe: Recipe, data: Sequence[Sample] | None = None, shape: Shape | None = None
) -> dict[str, Sequence[Sample]]:
    """Held-out sets by name; `data` replaces the recipe's.

    Args:
        shape: see `open_dataset`.

    Raises:
        ConfigError: training plays their starts too.
    """
    if data is not None:
        if shape is not None and isinstance(data, Rows):
            data.shape_targets(shape)
        return {"eval": data}
    check_held_out(recipe.data, recipe.simulators, Simulators(recipe.simulators).start_count)
    sets: dict[str, Sequence[Sample]] = {}
    for name, config in recipe.data.named_eval().items():
        sets[name] = open_dataset(config, shape)
    return sets


def total_steps(recipe: Recipe) -> int:
    """Steps of all stages."""
    return sum(stage.steps for stage in recipe.stages)


def trained_policy(recipe: Recipe, source: Path) -> Policy:
    """The policy with the exact weights of a checkpoint, and the statistics that it follows there.

    Raises:
        CheckpointError: it does not load, or is of other policy settings.
    """
    tensors, state = checkpoint.load(source)
    policy = load_policy(resumed_policy(recipe, state, source))
    if isinstance(policy, Normalising):
        for name, entry in read_statistics(None, model_of(source)).items():
            policy.set_statistics(name, entry)
    restore_parameters(policy, tensors)
    return policy


def _resume_run(
    recipe: Recipe,
    resumed: checkpoint.Resumed,
    tensors: Mapping[str, torch.Tensor] | None,
    policy: Policy,
    program: Program,
) -> Place:
    """Where training goes on, with the weights and the place in the data of there; or where it begins."""
    source, state = resumed.source, resumed.state
    if source is None or state is None or tensors is None:
        return Place()
    place = read_place(source, state, [stage.name for stage in recipe.stages])
    problem = difference(str(model_of(source)), recipe.policy.path, recipe.policy.type)
    if problem is None and state["parameters"] != fingerprint(policy):
        problem = "other parameters are trained: policy.freeze or policy.lora differ"
    if problem is not None:
        raise CheckpointError(
            f"checkpoint '{source}' is of another model than policy.path '{recipe.policy.path}' ({problem}); "
            "set `resume: never` and another `name`, or restore the recipe"
        )
    program.load_state_dict(state)
    restore_parameters(policy, tensors)
    return place
