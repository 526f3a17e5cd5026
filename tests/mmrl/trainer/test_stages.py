"""A run's stages and steps in the order of their effects, with hands that only write down what they are told."""

from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmrl.contracts.types import Group, Sample
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.until import Loop, RoundsUntil
from mmrl.rollouts.collect import StepBatch
from mmrl.trainer import checkpoint, loop
from mmrl.trainer import session as session_module
from mmrl.trainer.place import Place
from mmrl.trainer.seeding import derive
from mmrl.trainer.session import Session


class Written:
    """Any call, written down under its name."""

    def __init__(self, log, **answers):
        self._log, self._answers = log, answers

    def __getattr__(self, name):
        def call(*args, **options):
            self._log.append((name, *args))
            answer = self._answers.get(name)
            return answer(*args) if callable(answer) else answer

        return call


def stage_of(name, steps=2, generate=None):
    objective = SimpleNamespace(has_reference=False, demonstrations=False)
    own = {"generate": generate, "until": None, "optim": None, "optimizer_steps": 9, "loops": ()}
    return SimpleNamespace(name=name, steps=steps, objective=objective, **own)


@pytest.fixture
def written(monkeypatch):
    """(session, log): a run whose steps give the figures `loss` and `time/step`."""
    log = []
    control = SimpleNamespace(learning_rate=0.5, figures=dict)
    controllers = Written(log, control=control, applied=lambda control: control.stage)
    evaluated = iter(range(9))
    session = Written(
        log,
        look_if_due={},
        evaluate=lambda *_: {"mean": float(next(evaluated))},
        evaluate_if_due=lambda place, ended: {"mean": float(next(evaluated))} if ended else None,
        agree=lambda metrics, groups: metrics,
        asked_to_stop=False,
    )

    @contextmanager
    def kept_on_error(*_):
        yield

    recipe = SimpleNamespace(data=SimpleNamespace(prefetch=1, prefetch_gb=1.0), seed=3, micro_tokens=8)
    session.recipe = session.now = recipe
    recipe.recipe, session.kept_on_error = recipe, kept_on_error
    session.gaps = session.policy = session.mixture = session.engine = session.tracker = Written(log)
    monkeypatch.setattr(loop, "Optimizer", lambda *_: SimpleNamespace(broken=""))
    monkeypatch.setattr(loop, "Controllers", lambda stage: setattr(control, "stage", stage) or controllers)
    controllers.stateful = None
    monkeypatch.setattr(loop, "_make_builder", lambda *_: Written(log, reading={}))
    monkeypatch.setattr(loop, "collect", lambda *_: StepBatch())
    monkeypatch.setattr(loop, "train_step", lambda *_: {"loss": 2.0, "time/step": 4.0})
    monkeypatch.setattr(loop, "hand_over", lambda session, place: log.append(("sync", place.step)) or {})
    monkeypatch.setattr(loop, "begin_stage", lambda session, place: log.append(("begins", place.stage)))
    monkeypatch.setattr(loop, "generate_stage", lambda session, stage: log.append(("generates", stage.name)) or True)
    monkeypatch.setattr(loop, "reading_ahead", lambda *_: nullcontext())
    monkeypatch.setattr(loop, "media_of", lambda policy: None)
    return session, log


def names(log, *wanted):
    return [call[0] for call in log if call[0] in wanted]


def test_the_final_evaluation_is_that_of_the_last_stage_that_trained(written):
    session, log = written
    session.recipe.stages = [
        stage_of("sft"),
        stage_of("made", generate=1),
        stage_of("rl", 1),
        stage_of("more", generate=1),
    ]
    place = Place()
    assert loop._train_stages(session, place)
    assert place.evaluations == {"start": {"mean": 0.0}, "after_sft": {"mean": 1.0}, "final": {"mean": 2.0}}
    assert (place.step, place.stage, place.stage_step) == (3, 4, 0)
    assert [call[1] for call in log if call[0] == "generates"] == ["made", "more"]
    assert [call[1] for call in log if call[0] == "sync"] == [1, 2, 3]


def test_a_step_is_observed_before_it_is_evaluated_logged_and_saved(written):
    session, log = written
    session.recipe.stages = [stage_of("rl", 1)]
    assert loop.train_stage(session, session.recipe.stages[0], Place())
    order = ("control", "observe", "sync", "evaluate_if_due", "log", "asked_to_stop", "save_if_due")
    assert names(log, *order) == [
        *("control", "observe", "observe", "sync", "observe", "evaluate_if_due"),
        *("log", "asked_to_stop", "save_if_due"),
    ]
    # The health of the session, the controllers, and the gaps; what the clock decides moves no controller.
    assert [call[1] for call in log if call[0] == "observe"][1] == {"loss": 2.0}
    (logged,) = [call for call in log if call[0] == "log"]
    assert logged[3]["loss"] == 2.0
    assert logged[4] == {"mean": 0.0}


def test_rounds_know_of_an_evaluation_that_a_resumed_stage_repeats(written):
    """The stage's last evaluation failed: the run goes on with it, and what it gives may end the rounds."""
    session, _ = written
    stage = stage_of("rl", 1)
    until = RoundsUntil(figure="eval/mean", above=0.5, window=1)
    stage.loops = (Loop(name="stages.0", round=1, rounds=3, until=until),)
    session.recipe.stages = [stage]
    place = Place(step=1, stage_step=1)
    assert loop.train_stage(session, stage, place)
    assert place.rounds["stages.0"]["measured"] == [0.0]


def test_a_signal_ends_a_stage_but_not_the_last_step_of_all(written):
    session, _ = written
    first, last = stage_of("sft", 2), stage_of("rl", 1)
    session.recipe.stages = [first, last]
    session._answers["asked_to_stop"] = True
    place = Place()
    assert not loop.train_stage(session, first, place)
    assert place.stage_step == 1
    assert loop.train_stage(session, last, Place(step=2, stage=1))


@pytest.mark.parametrize("decay", [None, 0.99])
def test_a_step_s_updates_follow_one_seed_and_count(written, monkeypatch, decay):
    """Two optimizer steps; one of three demonstrations has the places that the policy writes."""
    session, log = written
    monkeypatch.undo()
    objective = resolve_objective("grpo", {"kl": {"weight": 0.1, "decay": decay} if decay else {}})
    stage = SimpleNamespace(
        name="rl", minibatches=2, epochs=1, minibatch_by="trajectory", rollout=SimpleNamespace(max_new_tokens=4)
    )
    generators = []
    session.mixture = SimpleNamespace(sampler=Written(log, figures={"drawn": 7.0}), skipped=3, epochs=[1, 4])
    session.companions, session.world = {}, None
    for name in ("measure_references", "score_rollouts", "heads_of", "plan_step", "prepare", "accumulate"):
        monkeypatch.setattr(loop, name, lambda *_, **__: None)
    monkeypatch.setattr(loop, "make_rows", lambda *_: ([], []))
    monkeypatch.setattr(loop, "minibatches", lambda rows, m, e, shuffle, by: generators.append(shuffle) or [[], []])
    monkeypatch.setattr(loop, "metrics_of", lambda *_: {"loss": 1.0})
    monkeypatch.setattr(loop, "over_minibatches", lambda figures: {"loss": float(len(figures))})
    monkeypatch.setattr(loop, "resources", lambda rows, step, update: {"time/step": step - update})
    monkeypatch.setattr(loop, "describe", lambda batch: {})
    monkeypatch.setattr(loop, "outcomes", lambda groups, version: [("version", version)])
    optimizer = SimpleNamespace(step=lambda: {"grad_norm": 1.0})
    shown = [Group(Sample(str(i), (), "t", {}), ()) for i in range(3)]
    monkeypatch.setattr(loop, "agrees", lambda sample: sample.id == "0")
    place = Place(step=5, stage_step=2, updates=10)
    batch = StepBatch(demonstrations=tuple(shown), metrics={"time/rollout": 8.0})
    metrics = loop.train_step(session, stage, objective, batch, optimizer, place)
    assert metrics == {
        **{"loss": 2.0, "time/rollout": 8.0, "time/step": pytest.approx(8.0)},
        **{"data/skipped": 3.0, "data/epoch": 4.0, "sampler/drawn": 7.0, "data/other_places": pytest.approx(2 / 3)},
    }
    (shuffle,) = generators
    assert shuffle.initial_seed() == derive(derive(3, "rl", 2), "minibatches")
    assert place.updates == 12
    assert [call for call in log if call[0] == "update"] == [("update", [("version", 10)])]
    follows = [call[1] for call in log if call[0] == "follow_reference"]
    assert follows == ([] if decay is None else [pytest.approx(0.01)])
    noted = [call for call in log if call[0] == "note_rollouts"]
    assert [call[1] for call in noted] == [6]


def saver(log, best="mean", every=None, merged="end", stages=("sft", "rl"), signum=None):
    made = object.__new__(Session)
    config = SimpleNamespace(every=every, merged=merged, best=best)
    shown = [SimpleNamespace(name=name, generate=1 if name == "made" else None, loops=()) for name in stages]
    made.recipe = SimpleNamespace(checkpoint=config, stages=shown)
    made.now = SimpleNamespace(recipe=made.recipe)
    made.program = SimpleNamespace(measured_as=lambda name: "data")
    made.stop = SimpleNamespace(signum=signum)
    made.save = lambda place, optimizer, controllers, merged=False: log.append((place.step, merged))
    return made


def test_the_best_is_the_first_of_equals_and_a_loss_is_best_where_it_falls():
    for best, scores, where in (("mean", [0.2, 0.5, 0.5, 0.4], 2), ("loss", [0.5, 0.2, 0.2, 0.4], 2)):
        log = []
        session, place = saver(log, best), Place(step=0)
        for score in scores:
            place.step += 1
            session.save_if_due(place, None, None, {best: score}, ended=False)
        assert place.best["step"] == where
        assert [step for step, _ in log] == [1, 2]


@pytest.mark.parametrize(
    ("merged", "stages", "stage", "ended", "expected"),
    [
        ("end", ("sft", "rl"), 1, True, [(4, True)]),
        ("end", ("sft", "rl"), 0, True, [(4, False)]),
        ("end", ("rl", "made"), 0, True, [(4, True)]),
        ("end", ("sft", "rl"), 1, False, [(4, False)]),
        ("always", ("sft", "rl"), 0, False, [(4, True)]),
        ("never", ("sft", "rl"), 1, True, [(4, False)]),
    ],
)
def test_merged_weights_are_written_at_the_end_of_what_trains(merged, stages, stage, ended, expected):
    log = []
    place = Place(step=4, stage=stage)
    saver(log, None, every=2, merged=merged, stages=stages).save_if_due(place, None, None, None, ended)
    assert log == expected
    assert place.ends == ({stages[stage]: 4} if ended else {})


def test_checkpoints_come_every_n_steps_and_when_asked_to_stop():
    for signum, expected in ((None, [3, 6]), (15, [1, 2, 3, 4, 5, 6])):
        log = []
        for step in range(1, 7):
            saver(log, None, every=3, signum=signum).save_if_due(Place(step=step), None, None, None, ended=False)
        assert [step for step, _ in log] == expected


def test_rotation_keeps_the_best_the_healthy_and_what_later_stages_start_from(monkeypatch):
    kept = []
    session = saver([])
    del session.save
    session.policy, session.folder, session._evaluated = None, "run", 7
    session.world, session.proven = SimpleNamespace(writes=True), SimpleNamespace(healthy="step-6", prove=lambda: None)
    session._write = lambda *_: None
    monkeypatch.setattr(session_module, "refuse_dead_weights", lambda policy: None)
    monkeypatch.setattr(session_module, "needed_later", lambda recipe, stage: {"sft"})
    monkeypatch.setattr(checkpoint, "rotate", lambda folder, config, names: kept.append(names))
    place = Place(step=9, best={"folder": "step-3"}, ends={"sft": 4, "rl": 8})
    session.save(place, None, None)
    assert kept == [{"step-3", "step-6", checkpoint.step_name(4)}]
    assert session.proven.saved == checkpoint.step_name(9)
    place.best = None
    session.save(place, None, None)
    assert kept[1] == {None, "step-6", checkpoint.step_name(4)}


def test_what_was_answered_held_out_is_noted_with_its_figures(monkeypatch):
    log = []
    session = saver([], best=None)
    measured = SimpleNamespace(groups=("g",), figures={"n": 1.0}, rows={"mean": 8}, results={"mean": 0.5})
    evaluator = SimpleNamespace(measures=True, run=lambda stage, keep: measured)
    monkeypatch.setattr(Session, "evaluator", evaluator)
    monkeypatch.setattr(Session, "_spelling", "as is")
    session.recipe.folder, session.tracker = Path("run"), Written(log)
    session.world = SimpleNamespace(writes=True, exchange=lambda what, mine: [mine, {"mean": 0.25}])
    assert session.evaluate(SimpleNamespace(name="rl"), 6) == {"mean": 0.5}
    assert log == [("held_out", 6, "rl", ("g",), "as is")]
    assert session._figures == {"n": 1.0, f"{session_module.ROWS}mean": 8}
    assert session._evaluated == 6
    session.log(Place(step=6), SimpleNamespace(name="rl"), {"loss": 2.0}, {"mean": 0.5})
    assert log[1] == ("log", 6, "rl", {"loss": 2.0, "eval/mean": 0.5, **session._figures})
    session.log(Place(step=7), SimpleNamespace(name="rl"), {"loss": 2.0}, None)
    assert log[2] == ("log", 7, "rl", {"loss": 2.0})


def test_a_normaliser_of_nothing_divides_by_one():
    """Bounds of an optimizer step without units of a kind: 0 / 1."""
    objective = resolve_objective("ppo", {})
    plan = loop.plan_step(objective, [], 0, 16)
    assert (plan.entropy_units, plan.value_targets) == (1.0, 1.0)
    assert set(plan.term_units.values()) <= {1.0}
    assert torch.tensor([normaliser.denominator for normaliser in plan.normalisers.values()]).gt(0).all()


def test_weights_are_proven_by_a_step_that_alarms_nobody():
    log = []
    for alarmed in (False, True):
        session = SimpleNamespace(health=Written(log), proven=Written(log))
        session.health.alarmed = alarmed
        Session.observe(session, None, {}, [], "")
    assert names(log, "observe", "prove") == ["observe", "prove", "observe"]
