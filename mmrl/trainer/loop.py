"""The top loop: collect, weigh, update, hand over the weights, look, save."""

from __future__ import annotations

import time

import torch

from mmrl.contracts.errors import CheckpointError, DeadPolicy
from mmrl.contracts.policy import media_of
from mmrl.data.reading_ahead import reading_ahead
from mmrl.objectives.controllers import Controllers
from mmrl.objectives.schedules import stream_weights
from mmrl.objectives.stateful import Stateful
from mmrl.policies.boxes import agrees
from mmrl.recipe.objective import Objective
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import Builder, StepBatch
from mmrl.tracking.metrics import is_wall_clock
from mmrl.trainer.beginning import begin_stage
from mmrl.trainer.checkpoint import step_name
from mmrl.trainer.comparing import heads_of
from mmrl.trainer.figures import describe, metrics_of, over_minibatches, resources
from mmrl.trainer.generating import generate_stage
from mmrl.trainer.optim import Optimizer
from mmrl.trainer.place import Place, refuse_unknown_figures
from mmrl.trainer.rows import make_rows, outcomes
from mmrl.trainer.scoring import measure_references, score_rollouts
from mmrl.trainer.seeding import derive, seed_everything
from mmrl.trainer.session import Session
from mmrl.trainer.step import accumulate, minibatches, plan_step, prepare


def train_all(session: Session, place: Place) -> bool:
    """Runs every stage from `place` on. Returns False when a signal stopped it.

    Raises:
        DeadPolicy: the policy gives nothing finite any more, or shows a sign of `health` for too long.
    """
    saved = step_name(place.step)
    session.proven.saved = saved if (session.folder / saved).is_dir() else None
    try:
        return _train_stages(session, place)
    except DeadPolicy as error:
        raise session.explain(error, place) from error


def _train_stages(session: Session, place: Place) -> bool:
    stages = session.recipe.stages
    refuse_unknown_figures(stages)
    # Rounds that a checkpoint does not know of are yet to come.
    session.tracker.rounds(place.rounds)
    if place.step == 0 and "start" not in place.evaluations:
        session.enter(stages[0], place.updates)
        begin_stage(session, place)
        seen = session.look_if_due(place.step)
        place.evaluations["start"] = session.evaluate(stages[0], place.step)
        if place.evaluations["start"] or seen:
            session.log(place, stages[0], seen, place.evaluations["start"])
    while place.stage < len(stages):
        stage = stages[place.stage]
        session.enter(stage, place.updates)
        begin_stage(session, place)
        if stage.generate is not None:
            if not generate_stage(session, stage):
                return False
            _next_stage(session, place)
            continue
        with reading_ahead(session.mixture, media_of(session.policy), session.now.recipe.data.prefetch_gb):
            if not train_stage(session, stage, place):
                return False
        _next_stage(session, place)
    ran = [stage for i, stage in enumerate(stages) if stage.generate is None and i not in place.skipped]
    trained = [f"after_{stage.name}" for stage in ran]
    place.evaluations["final"] = place.evaluations.pop(trained[-1]) if trained else {}
    return True


def _next_stage(session: Session, place: Place) -> None:
    for line in place.next_stage(session.recipe.stages):
        session.tracker.say(line)
    session.tracker.rounds(place.rounds)


def train_stage(session: Session, stage: StageConfig, place: Place) -> bool:
    """Runs one stage from `place.stage_step` on. Returns False when a signal stopped it."""
    if place.stage_step > stage.steps:
        raise CheckpointError(
            f"stages.{stage.name}.steps is {stage.steps}, and the checkpoint is past it, at {place.stage_step}; "
            "raise steps, or set `resume: never` and another `name`"
        )
    optimizer, controllers = Optimizer(session.policy, stage.optim, stage.optimizer_steps), Controllers(stage)
    if place.stage_step:
        session.restore(optimizer, controllers, stage)
    elif stage.objective.has_reference:
        session.policy.keep_reference(base=stage.objective.kl.reference == "base")
    builder = _make_builder(session, stage, controllers)
    builder.read_ahead(session.now.recipe.data.prefetch)
    while place.stage_step < stage.steps and not place.over:
        control = controllers.control()
        now = controllers.applied(control)
        builder.stage, builder.objective, optimizer.rate = now, now.objective, control.learning_rate
        with session.kept_on_error(place, optimizer, controllers):
            batch = collect(session, now, builder, place)
        metrics = train_step(session, now, now.objective, batch, optimizer, place, controllers.stateful)
        session.observe(now, metrics, batch.sampled, optimizer.broken)
        metrics |= builder.reading() | control.figures()
        metrics = session.agree(metrics, [*batch.sampled, *batch.demonstrations])
        controllers.observe({name: figure for name, figure in metrics.items() if not is_wall_clock(name)})
        place.step, place.stage_step = place.step + 1, place.stage_step + 1
        place.watch(stage, metrics)
        ended = place.stage_step == stage.steps or place.over
        try:
            metrics |= hand_over(session, place)
            session.gaps.observe(metrics)
            metrics |= session.look_if_due(place.step)
            began = time.perf_counter()
            results = session.evaluate_if_due(place, ended)
        except DeadPolicy:
            session.log(place, stage, metrics, None)
            raise
        except Exception:
            session.log(place, stage, metrics, None)
            session.save_for_resume(place, optimizer, controllers)
            raise
        if results:
            metrics["time/eval"] = time.perf_counter() - began
            place.watch(stage, {f"eval/{name}": value for name, value in results.items()}, held_out=True)
            ended = ended or place.over
        if ended:
            place.evaluations[f"after_{stage.name}"] = results or {}
        session.log(place, stage, metrics, results)
        stopped = session.asked_to_stop()
        session.save_if_due(place, optimizer, controllers, results, ended)
        if stopped and not (ended and place.is_last(session.recipe.stages)):
            return False
    if f"after_{stage.name}" not in place.evaluations:
        # The run goes on from a failure in this very evaluation.
        results = place.evaluations[f"after_{stage.name}"] = session.evaluate(stage, place.step)
        if results:
            place.watch(stage, {f"eval/{name}": value for name, value in results.items()}, held_out=True)
        session.log(place, stage, {}, results)
        session.save_if_due(place, optimizer, controllers, results, ended=True)
    return True


def _make_builder(session: Session, stage: StageConfig, controllers: Controllers) -> Builder:
    return Builder(
        session.policy,
        session.engine,
        session.mixture,
        session.preparer,
        session.simulators,
        stage,
        stage.objective,
        controllers.stateful.waiting,
    )


def hand_over(session: Session, place: Place) -> dict[str, float]:
    """The weights go to the engine; what that took and showed."""
    report = session.engine.sync(session.policy, place.updates)
    return {"time/sync": report.seconds, **report.figures}


def collect(session: Session, stage: StageConfig, builder: Builder, place: Place) -> StepBatch:
    """The step's batch; what the next one draws begins to be read."""
    seed = step_seed(session, stage, place)
    seed_everything(seed)
    batch = builder.collect(derive(seed, "rollout"), place.stage_step / stage.steps)
    builder.read_ahead(session.now.recipe.data.prefetch)
    return batch


def step_seed(session: Session, stage: StageConfig, place: Place) -> int:
    """Of all that a step draws."""
    return derive(session.recipe.seed, stage.name, place.stage_step)


def train_step(
    session: Session,
    stage: StageConfig,
    objective: Objective,
    batch: StepBatch,
    optimizer: Optimizer,
    place: Place,
    stateful: Stateful | None = None,
) -> dict:
    """The optimizer steps of one batch."""
    seed = step_seed(session, stage, place)
    metrics = {**batch.metrics, **describe(batch)}
    update_start = time.perf_counter()
    policy, budget, world = session.policy, session.recipe.micro_tokens, session.world
    companions = session.companions
    measured = measure_references(batch.rollouts, objective, policy, budget, companions, world)
    rows, groups = make_rows(batch, objective, stage, measured, stateful)
    rows = score_rollouts(rows, objective, stage, policy, budget, measured, companions, world)
    heads = heads_of(objective, policy, companions)
    shuffle = torch.Generator().manual_seed(derive(seed, "minibatches"))
    weights = stream_weights(objective.streams, place.stage_step)
    figures = []
    for part in minibatches(rows, stage.minibatches, stage.epochs, shuffle, stage.minibatch_by):
        plan = plan_step(objective, part, place.stage_step, stage.rollout.max_new_tokens)
        prepared = prepare(part, objective, policy, budget, world)
        sums = accumulate(prepared, plan, policy, budget, heads=heads, world=world)
        figures.append(metrics_of(sums, weights, objective) | optimizer.step())
    session.mixture.sampler.update(outcomes(batch.sampled, place.updates))
    place.updates += len(figures)
    if objective.has_reference and objective.kl.decay is not None:
        policy.follow_reference(1 - objective.kl.decay)
    metrics |= over_minibatches(figures)
    session.warn_of_lengths([*batch.sampled, *batch.demonstrations], stage)
    session.note_rollouts(place.step + 1, stage, [*groups, *batch.demonstrations])
    update_seconds = time.perf_counter() - update_start
    metrics |= resources(rows, batch.metrics["time/rollout"] + update_seconds, update_seconds)
    metrics |= {"data/skipped": float(session.mixture.skipped), "data/epoch": float(max(session.mixture.epochs))}
    metrics |= {f"sampler/{name}": value for name, value in session.mixture.sampler.figures().items()}
    if elsewhere := sum(not agrees(group.sample) for group in batch.demonstrations):
        metrics["data/other_places"] = elsewhere / len(batch.demonstrations)
    return metrics
