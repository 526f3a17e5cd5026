"""What a session measures, keeps and puts back, seen by the objects that it asks."""

import hashlib
import struct
from types import SimpleNamespace

import pytest
import torch

from mmrl.contracts.errors import CheckpointError
from mmrl.contracts.types import Decision, Trajectory
from mmrl.trainer import checkpoint
from mmrl.trainer.generating import weights_digest
from mmrl.trainer.place import Place
from mmrl.trainer.session import Session, restore_parameters


class Asked:
    """Takes any call and writes it down."""

    def __init__(self, **answers):
        self.calls, self.answers = [], answers

    def __getattr__(self, name):
        def call(*args, **options):
            self.calls.append((name, *args, *options.values()))
            return self.answers.get(name)

        return call


def session(**parts):
    made = object.__new__(Session)
    vars(made).update(parts)
    return made


REFERENCE = {"lora_A": torch.tensor([1.0, 2.0])}


@pytest.mark.parametrize(
    ("kept", "kl", "expected"),
    [
        (REFERENCE, {"weight": 0.1, "reference": "start"}, [("load_reference", REFERENCE)]),
        (REFERENCE, {"weight": 0.1, "reference": "base"}, [("load_reference", REFERENCE)]),
        ({}, {"weight": 0.1, "reference": "base"}, [("keep_reference", True)]),
        ({}, {"weight": 0.1, "reference": "start"}, []),
        ({}, {"weight": 0.0, "reference": "base"}, []),
    ],
)
def test_a_resumed_stage_has_the_reference_that_its_checkpoint_holds(kept, kl, expected):
    policy, optimizer, controllers = Asked(), Asked(), Asked()
    tensors = {"optimizer/step/w": torch.tensor(3.0), **{f"reference/{name}": value for name, value in kept.items()}}
    state = {"optimizer_steps": 3, "controllers": {"kl": 1}, "parts": {}}
    stage = SimpleNamespace(objective=SimpleNamespace(kl=SimpleNamespace(**kl), has_reference=kl["weight"] > 0))
    resumed = session(_resumed=tensors, _resumed_state=state, policy=policy)
    controllers.stateful = Asked()
    resumed.restore(optimizer, controllers, stage)
    assert policy.calls == expected
    assert optimizer.calls == [("load_state", {"step/w": tensors["optimizer/step/w"]}, 3)]
    with pytest.raises(RuntimeError, match="resumes nothing, or has put it back already"):
        resumed.restore(optimizer, controllers, stage)


def test_nothing_is_measured_where_nothing_is_held_out():
    evaluator = SimpleNamespace(measures=False, run=lambda *_: pytest.fail("something was measured"))

    class Held(Session):
        evaluator = None

    held = object.__new__(Held)
    Held.evaluator = evaluator
    assert held.evaluate(None, 1) == {}


@pytest.mark.parametrize(("step", "there", "saved"), [(2, False, True), (2, True, False), (0, False, False)])
def test_what_is_saved_before_a_failure_merges_nothing(tmp_path, step, there, saved):
    """A merged model takes time and memory, and the run goes on from the adapters alone."""
    if there:
        (tmp_path / f"step_{step:06d}").mkdir()
    calls = []
    failing = session(folder=tmp_path, tracker=Asked())
    failing.save = lambda *args: calls.append(args)
    failing.save_for_resume(Place(step=step), "optimizer", "controllers")
    assert [args[1:] for args in calls] == [("optimizer", "controllers")] * saved
    assert len(failing.tracker.calls) == saved
    assert Session.save.__defaults__ == (False,)


def test_exact_parameters_are_put_back_where_a_checkpoint_keeps_them():
    weight = torch.nn.Parameter(torch.zeros(2))
    policy = SimpleNamespace(trainable=lambda: [("w", weight, "language")])
    restore_parameters(policy, {"optimizer/w": torch.ones(2)})
    assert weight.tolist() == [0.0, 0.0]
    restore_parameters(policy, {f"{checkpoint.PARAMETER}w": torch.tensor([1.5, -2.0])})
    assert weight.tolist() == [1.5, -2.0]
    for other in ({"v": torch.ones(2)}, {"w": torch.ones(3)}):
        with pytest.raises(CheckpointError, match="does not hold 'w' as this recipe trains it"):
            restore_parameters(policy, {f"{checkpoint.PARAMETER}{name}": value for name, value in other.items()})


def test_that_evaluation_cuts_answers_is_said_once_and_only_of_longer_ones():
    recipe = SimpleNamespace(asks_held_out=True, evaluation_limit=lambda stage: 3)
    tracker = Asked()
    watched = session(_warned=False, now=SimpleNamespace(recipe=recipe), tracker=tracker)

    def groups(units):
        return [SimpleNamespace(trajectories=[Trajectory((Decision(None, torch.zeros(units)),), text="x")])]

    for units in (3, 4, 5):
        watched.warn_of_lengths(groups(units), None)
    ((said, line),) = tracker.calls
    assert (said, "cuts answers at 3 tokens, and a rollout has 4:" in line) == ("say", True)


def test_weights_are_told_apart_by_the_bits_of_those_that_train():
    policy = SimpleNamespace(trainable=lambda: [("w", torch.nn.Parameter(torch.tensor([1.0, -2.0])), "language")])
    assert weights_digest(policy) == hashlib.sha256(b"w" + struct.pack("<2f", 1.0, -2.0)).hexdigest()[:16]


@pytest.mark.parametrize(
    ("own", "others", "stays"),
    [(None, [None, None], None), (15, [None], 15), (None, [None, 2], 2), (None, [10, 2], 10)],
)
def test_a_signal_to_one_process_stops_all(own, others, stays):
    """Else one of them would wait for the others in its next step for ever."""
    world = SimpleNamespace(exchange=lambda what, signum: [signum, *others])
    made = session(world=world, stop=SimpleNamespace(signum=own))
    assert made.asked_to_stop() == (stays is not None)
    assert made.stop.signum == stays
