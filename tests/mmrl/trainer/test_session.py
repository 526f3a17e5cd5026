"""What a session measures, keeps and puts back, seen by the objects that it asks."""

from types import SimpleNamespace

import pytest
import torch

from mmrl.trainer.place import Place
from mmrl.trainer.session import Session


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
