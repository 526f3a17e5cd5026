"""`train` and `evaluate`: what the commands do, for use from Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import yaml

from mmrl.contracts.errors import BadSample, CheckpointError, DeadPolicy, UserError
from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Sample
from mmrl.contracts.world import World
from mmrl.parallel.joining import joined
from mmrl.parallel.launch import refuse_ranks
from mmrl.recipe.checks.generating import generated_folder
from mmrl.recipe.generating import as_generating
from mmrl.recipe.reading import apply_overrides, read_yaml
from mmrl.recipe.record import PASSED, passed_code, record
from mmrl.recipe.schema import Recipe, load_recipe
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.rewarding import UserReward


@dataclass(frozen=True)
class RunOutcome:
    """What a run came to.

    Attributes:
        folder: the run's folder.
        summary: what summary.json holds: `start`, `after_<stage>`, `final`, each task to accuracy plus `mean`.
        signum: the signal that stopped it early, or None.
    """

    folder: Path
    summary: Mapping[str, Any]
    signum: int | None = None


def train(
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    reward: UserReward | None = None,
    train_data: Any = None,
    eval_data: Any = None,
) -> RunOutcome:
    """Runs a recipe: every stage, with evaluation, checkpoints, tracking and the report.

    Args:
        recipe: a `Recipe`, a YAML file or a mapping.
        overrides: `a.b=c` strings.
        reward: replaces the recipe's rewards: (completion, sample) to a number, to None where it does not apply, or
            to a mapping with `reward` and, optionally, `accuracy` and further parts; or a function in TRL's, EasyR1's
            or verl's form (docs/recipes.md).
        train_data: replaces the recipe's training mixture: a `datasets.Dataset`, a list of mappings with the columns
            of a file, or a sequence of `Sample`s. `mmrl.rows` reads other columns and forms.
        eval_data: replaces the recipe's held-out sets, likewise.

    Raises:
        UserError: anything the user can cure, in one line.
    """
    train_data, eval_data = _samples(train_data, "train_data"), _samples(eval_data, "eval_data")
    recipe = open_recipe(recipe, overrides, reward=reward, train_data=train_data, eval_data=eval_data)
    with joined(recipe.parallel, recipe.policy.device) as world:
        recipe.check_processes(world.size)
        return _train(recipe, world, reward, train_data, eval_data)


def _train(
    recipe: Recipe,
    world: World,
    reward: UserReward | None,
    train_data: Sequence[Sample] | None,
    eval_data: Sequence[Sample] | None,
) -> RunOutcome:
    from mmrl.setup import open_run
    from mmrl.tracking.claim import Claim
    from mmrl.tracking.console import final_table
    from mmrl.tracking.report.page import write_report
    from mmrl.trainer.loop import train_all
    from mmrl.trainer.stopping import StopRequest

    # What the clock says now, and how long since then whatever is done to the clock.
    began, start = time.time(), time.monotonic()
    place = None
    claimed = Claim(recipe.folder, recipe.resume) if world.writes else nullcontext()
    with StopRequest() as stop, _curable(recipe), claimed as claim:
        try:
            session, place = open_run(recipe, stop, reward, train_data, eval_data, began=began, world=world)
            if claim is not None:
                session.tracker.check_claim = claim.check
                for holder in claim.took_over:
                    session.tracker.say(f"the run was left by {holder}, which is gone: taken over")
            with closing(session), session.tracker:
                finished = train_all(session, place)
        except BaseException:
            # A run that never got through a step leaves no folder that would bar the next attempt.
            if claim is not None and (place is None or place.step == 0):
                claim.undo()
            raise
        summary = {"name": recipe.name, **place.evaluations, "steps": place.step, "finished": finished}
        if claim is not None:
            summary["seconds"] = round(session.tracker.starts.end(began + time.monotonic() - start), 1)
            session.tracker.summary(summary)
            write_report(recipe.folder)
        summary = world.exchange("the summary", summary)[0]
    if recipe.tracking.console != "none" and finished and world.writes:
        final_table(summary)
    return RunOutcome(recipe.folder, summary, None if finished else stop.signum)


@overload
def evaluate(
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    checkpoint: str | None = None,
    reward: UserReward | None = None,
    eval_data: Any = None,
    videos: str | Path | None = None,
) -> dict[str, float]: ...
@overload
def evaluate(*, model: str | Path, tasks: Sequence[str], **settings: Any) -> dict[str, Any]: ...


def evaluate(
    recipe: Recipe | str | Path | Mapping[str, Any] | None = None,
    *,
    model: str | Path | None = None,
    tasks: Sequence[str] = (),
    overrides: Sequence[str] = (),
    checkpoint: str | None = None,
    reward: UserReward | None = None,
    eval_data: Any = None,
    videos: str | Path | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Held-out accuracy per task and `mean`, and `loss` of demonstrations, of a recipe's own policy or of a run.

    With `model` and `tasks` instead of a recipe: benchmarks of a checkpoint, by name what each came to, as in
    results.json (`score`, `figures`, `intervals`, `failures`, `protocol`, …); `settings` are those of
    `mmrl.recipe.suite.SuiteConfig`, such as `output`, `data_root`, `limit`.

    Args:
        recipe: as for `train`, or the folder of a run: its recipe with its newest checkpoint.
        checkpoint: another checkpoint folder, instead of the recipe's policy.
        videos: where the films of the recipe's `evaluation.videos` go; None: none are made.
    """
    if model is not None or tasks or settings:
        if recipe is not None:
            raise UserError("evaluate takes a recipe or a run, or model= and tasks=, not both")
        from mmrl.evaluation.suite.opening import measure_suite

        refuse_ranks()
        return measure_suite({"model": str(model), "tasks": list(tasks), **settings}, overrides)
    if recipe is None:
        raise UserError("evaluate needs a recipe or a run, or model= and tasks=")
    return measure(
        recipe, overrides=overrides, checkpoint=checkpoint, reward=reward, eval_data=eval_data, videos=videos
    )[0]


def measure(
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    checkpoint: str | None = None,
    reward: UserReward | None = None,
    eval_data: Any = None,
    videos: str | Path | None = None,
) -> tuple[dict[str, float], dict[str, float]]:
    """(`evaluate`'s accuracy, further figures: `eval/truncated`, and what `evaluation.sparse_to_dense` took)."""
    refuse_ranks()
    folder = Path(recipe) if isinstance(recipe, str | Path) and Path(recipe).is_dir() else None
    if folder is not None:
        recipe = run_recipe(folder)
        checkpoint = checkpoint or str(newest_model(folder))
    eval_data = _samples(eval_data, "eval_data")
    recipe = open_recipe(recipe, overrides, ("eval_data", "reward"), reward=reward, eval_data=eval_data)
    stage = stage_of(recipe, checkpoint)
    recipe = recipe.of(stage)
    from mmrl.engines import open_engine
    from mmrl.rollouts.first_rows import check_held_out_rows
    from mmrl.rollouts.normalisation import complete_statistics
    from mmrl.rollouts.preparing import Preparer
    from mmrl.rollouts.simulators import Simulators
    from mmrl.setup import apply_threads, open_eval_sets, open_evaluator, open_policy, open_rewarder
    from mmrl.tracking.bad_samples import BadSamples
    from mmrl.tracking.videos import EpisodeVideos

    apply_threads(recipe)
    recipe.engine.check_installed()
    rewarder = open_rewarder(recipe, reward, eval_data)
    sets = open_eval_sets(recipe, eval_data, rewarder.target_of)
    if not sets and not recipe.evaluation.benchmarks:
        raise UserError("data.eval is empty, and evaluation.benchmarks too, so there is nothing to evaluate")
    with _curable(recipe):
        noting = BadSamples()
        noting.expect(check_held_out_rows(recipe, sets, rewarder))
        policy = open_policy(recipe, policy_at(recipe, checkpoint) if checkpoint else recipe.policy)
        if checkpoint is None:
            complete_statistics(policy, recipe)
        preparer = Preparer(policy, rewarder)
        films = EpisodeVideos(Path(videos), {}) if videos is not None and recipe.evaluation.videos else None
        simulators = Simulators(recipe.simulators, recipe.pipeline)
        with closing(simulators), closing(open_engine(recipe.engine, policy)) as engine:
            evaluator = open_evaluator(recipe, policy, engine, sets, preparer, simulators, noting.add)
            with _explained(policy):
                measured = evaluator.run(stage, films.keep if films else None)
    if films:
        films.close()
    return measured.results, measured.figures


def generate(
    recipe: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    stage: str | None = None,
    checkpoint: str | Path | None = None,
    output: str | Path | None = None,
    reward: UserReward | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> tuple[Path, Mapping[str, Any]]:
    """Has a recipe's policy answer its training data, and writes what a selection makes of the answers.

    Args:
        recipe: a YAML file or mapping with `generate`, or one that trains: then every answer is written.
        stage: the stage whose `generate` holds, where several have one.
        checkpoint: a checkpoint or run that answers, instead of the recipe's policy.
        output: the data set's folder; None: generated/<stage> in the recipe's run folder. What a killed call has left
            there is gone on with.
        reward: as for `train`.
        say: takes lines of progress.

    Returns:
        (the folder, what its index.json holds). `<folder>/data` is the data set: `{type: file, path: <folder>/data}`.

    Raises:
        UserError: anything the user can cure, in one line.
    """
    refuse_ranks()
    raw = dict(recipe) if isinstance(recipe, Mapping) else read_yaml(Path(recipe))
    opened = open_recipe(as_generating(apply_overrides(raw, overrides), stage), (), ("reward",), reward=reward)
    from mmrl.setup import open_generation
    from mmrl.trainer.generating import make

    (only,) = opened.stages
    folder = Path(output) if output is not None else generated_folder(opened.folder, only.name)
    config = policy_at(opened, str(_model_at(Path(checkpoint)))) if checkpoint is not None else opened.policy
    with _curable(opened), open_generation(opened, config, reward) as parts:
        return folder, make(parts, only, folder, say)


def _model_at(path: Path) -> Path:
    """The newest checkpoint of a run, or the checkpoint itself."""
    return newest_model(path) if (path / "checkpoints").is_dir() else path


def _samples(data: Any, name: str) -> Sequence[Sample] | None:
    from mmrl.data.from_python import as_samples

    return None if data is None else as_samples(data, name)


def open_recipe(
    recipe: Recipe | str | Path | Mapping[str, Any],
    overrides: Sequence[str],
    needed: Sequence[str] = PASSED,
    **passed: Any,
) -> Recipe:
    """The recipe itself, or the one read from a file or mapping, as a run records it (`mmrl.recipe.record`).

    Args:
        needed, passed: as for `record`; what is passed as None counts as not passed.

    Raises:
        UserError: overrides of a recipe that is read already; also as `load_recipe` and `record`.
    """
    passed = {name: part for name, part in passed.items() if part is not None}
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides, passed_code(passed))
    elif overrides:
        raise UserError("overrides apply to a file or mapping, not to a Recipe; pass them to load_recipe")
    return record(recipe, passed, needed)


def with_cure(error: BadSample, recipe: Recipe) -> BadSample:
    """The error, which also says that bad samples can be skipped where the recipe stops at them."""
    if recipe.data.on_bad_sample == "stop":
        said = f"{error.reason} Mend it" if error.reason.endswith((".", "?")) else f"{error.reason}; mend it"
        reason = f"{said}, or set data.on_bad_sample: skip"
        return BadSample(error.where, reason, path=error.path, task=error.task, alike=error.alike)
    return error


@contextmanager
def _curable(recipe: Recipe) -> Iterator[None]:
    """Inside, a bad sample says how it is cured, see `with_cure`."""
    try:
        yield
    except BadSample as error:
        raise with_cure(error, recipe) from None


@contextmanager
def _explained(policy: Policy) -> Iterator[None]:
    """Inside, a policy that gives nothing finite says which weights are at fault."""
    from mmrl.policies.alive import first_dead_tensor

    try:
        yield
    except DeadPolicy as error:
        raise DeadPolicy(
            f"'{policy.config.path}': {error}; {first_dead_tensor(policy)}; no figure is made of it: measure an "
            "earlier checkpoint with --checkpoint"
        ) from error


def run_recipe(folder: Path) -> Mapping[str, Any]:
    """The resolved recipe of a run's folder. Raises UserError when the folder is no run."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"'{folder}' is no run: it has no config.yaml")
    return yaml.safe_load(path.read_text())


def newest_model(folder: Path) -> Path:
    """What a policy is loaded from in a run's newest checkpoint: model/, or adapter/ under LoRA."""
    from mmrl.policies.digests import listed
    from mmrl.policies.loading import model_of

    checkpoints = listed(folder / "checkpoints")
    if not checkpoints:
        raise CheckpointError(f"run '{folder}' has no checkpoint yet")
    return model_of(checkpoints[-1])


def stage_of(recipe: Recipe, checkpoint: str | None) -> StageConfig:
    """The stage that a policy comes from: before training the first, else the checkpoint's, or the last."""
    if checkpoint is None:
        return recipe.stages[0]
    from mmrl.policies.digests import STATE, read_state

    path = Path(checkpoint)
    for folder in (path, path.parent):
        if (folder / STATE).is_file():
            return recipe.stages[min(read_state(folder)["place"]["stage"], len(recipe.stages) - 1)]
    return recipe.stages[-1]


def policy_at(recipe: Recipe, folder: str):
    """The recipe's policy settings with the weights of a checkpoint, adapters merged."""
    from mmrl.policies.loading import saved_model

    path = saved_model(Path(folder)) or Path(folder)
    return recipe.policy.model_copy(update={"path": str(path), "lora": None})
