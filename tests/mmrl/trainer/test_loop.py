"""What the loop tells the builder of a step, and what is made of its rows and told of its weights."""

from types import SimpleNamespace

import torch

from mmrl.contracts.types import Decision
from mmrl.objectives.rows import Row
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.streams import Stream
from mmrl.rollouts.collect import StepBatch
from mmrl.trainer import step as trainer_step
from mmrl.trainer.loop import collect
from mmrl.trainer.place import Place
from mmrl.trainer.resuming import _weight_jumps


class Told:
    """A builder that writes down what it is told."""

    def __init__(self):
        self.progress, self.ahead = [], []

    def collect(self, seed, progress):
        self.progress.append(progress)
        return StepBatch()

    def read_ahead(self, count):
        self.ahead.append(count)


def test_a_step_is_collected_at_its_share_of_the_stage_and_the_next_one_is_read_ahead():
    told, stage = Told(), SimpleNamespace(name="rl", steps=4)
    recipe = SimpleNamespace(seed=0, data=SimpleNamespace(prefetch=7))
    session = SimpleNamespace(recipe=recipe, now=SimpleNamespace(recipe=recipe))
    for done in range(4):
        # Steps of an earlier stage do not count.
        collect(session, stage, told, Place(step=10 + done, stage=1, stage_step=done))
    assert told.progress == [0, 1 / 4, 2 / 4, 3 / 4]
    assert told.ahead == [7, 7, 7, 7]


def test_only_weights_of_streams_that_move_are_told_to_jump():
    peak = {"from": "demonstrations", "weight": {"peak": 0.8, "valley": 0.2, "warmup": 9, "start": 0.8}}
    old = {"demo": Stream(**peak), "rl": Stream(**{"from": "rollouts"}, weight=0.5), "gone": Stream(**peak)}
    new = {"demo": Stream(**{"from": "demonstrations"}, weight=0.2), "rl": old["rl"]}
    before, after = (SimpleNamespace(objective=SimpleNamespace(streams=streams)) for streams in (old, new))
    assert _weight_jumps(before, after, 4) == ["the weight of stream demo jumps from 0.8 to 0.2"]
    assert _weight_jumps(before, before, 4) == []


def test_what_prepares_is_shown_the_rows_of_its_streams_that_have_a_loss(monkeypatch):
    rows = [
        Row(Decision(None, torch.zeros(2, dtype=torch.long)), stream, 1.0, i, 2, masked=masked)
        for i, (stream, masked) in enumerate((("rl", False), ("rl", True), ("demo", False)))
    ]
    objective = resolve_objective(
        "chord_mu", {"streams": {"rl": {"coefficient": {"kind": "bapo", "low": 0.6, "high": 1.2}}}}
    )
    shown = []
    monkeypatch.setattr(trainer_step, "micro_batches", lambda rows, *_: shown.extend(rows) or [])
    monkeypatch.setattr(trainer_step, "give", lambda rows, seen, objective: rows)
    policy = SimpleNamespace(module=torch.nn.Identity())
    assert trainer_step.prepare(rows, objective, policy, 9) == rows
    assert [row.trajectory for row in shown] == [0]
