"""Prompts that wait for their demonstrations: which, in what order, and exactly after a resume."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmrl
from mmrl.contracts.errors import ConfigError
from mmrl.objectives.stateful import Stateful
from mmrl.objectives.waiting import Place, Waiting
from mmrl.recipe.collecting import Buffer
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.schema import load_recipe
from tests.support.runs import metrics, recipe

ROUNDS = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=12)


@given(ROUNDS, st.integers(1, 4), st.integers(0, 5), st.integers(0, 12))
def test_the_newest_come_out_once_and_a_resume_changes_nothing(rounds, size, spare, cut):
    own = Buffer(size=size, most=size + spare)
    whole, expected = Waiting(own), []
    for step, rows in enumerate(rounds):
        if step == cut:
            resumed = Waiting(own)
            resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
            whole = resumed
        whole.add([Place(0, row, step) for row in rows])
        for row in rows:
            expected = [known for known in expected if known[1] != row] + [(0, row, step)]
        expected = expected[-size - spare :]
        released = whole.release()
        assert len(released) in (0, size)
        assert bool(released) == (len(expected) >= size)
        if released:
            assert [tuple(place) for place in released] == expected[: -size - 1 : -1]
            expected = expected[:-size]
        assert len(whole) == len(expected)


def test_a_state_goes_with_the_stage_and_not_without_a_buffer():
    stateful = Stateful(resolve_objective("relift", {}))
    assert stateful.state_dict() == {"buffer": {"waiting": []}}
    assert Stateful(resolve_objective("grpo", {})).waiting is None


@pytest.mark.parametrize(
    ("method", "objective", "said"),
    [
        ("relift", {"buffer": {"most": 2}}, "most 2 is below size 128"),
        ("sft", {"buffer": {}}, "buffer needs rollouts: true"),
        ("grpo", {"buffer": {}}, "none is from demonstrations, which this objective makes"),
        (
            "relift",
            {"buffer": None},
            "streams.demo takes demonstrations, .* set demonstrations: true, a gate or a buffer",
        ),
    ],
)
def test_what_cannot_be_is_refused(method, objective, said):
    with pytest.raises(ConfigError, match=said):
        resolve_objective(method, objective)


def settings(model, folder, name, **other):
    raw = recipe(model, folder, name, method="relift", steps=4, evaluation={}, **other)
    # Nothing that a random policy says is right: every prompt with a demonstration waits.
    raw["objective"] = {"buffer": {"size": 3}}
    return raw


def test_more_optimizer_steps_than_the_buffer_gives_are_refused(tmp_path):
    raw = settings("quickstart", tmp_path, "x", minibatches=4, prompts=4)
    with pytest.raises(ConfigError, match=r"minibatches 4 exceeds objective.buffer.size 3"):
        load_recipe(raw)


@pytest.mark.slow
def test_a_run_learns_what_it_did_not_solve_and_resumes_exactly(tiny_qwen, tmp_path):
    model = tiny_qwen()
    straight = mmrl.train(settings(model, tmp_path, "straight")).folder
    lines = [line for line in metrics(straight) if "group/waiting" in line]
    assert sum(line["group/released"] for line in lines) >= 3
    for line in lines:
        assert bool(line["group/released"]) == (line["stream/demo_units"] > 0)
    mmrl.train(settings(model, tmp_path, "parts"), overrides=["steps=2", "optim.schedule=constant"])
    mmrl.train(settings(model, tmp_path, "parts"), overrides=["resume=auto", "optim.schedule=constant"])
    whole = mmrl.train(settings(model, tmp_path, "whole"), overrides=["optim.schedule=constant"]).folder
    figures = ("group/waiting", "group/released", "optim/grad_norm")
    resumed, wanted = (
        [[line[key] for key in figures] for line in metrics(folder) if "group/waiting" in line]
        for folder in (tmp_path / "parts", whole)
    )
    assert len(wanted) == 4
    assert resumed == wanted
