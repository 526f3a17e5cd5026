"""Gaps of engine and trainer are held against those of the first steps."""

import json

import pytest

from mmrl import train
from mmrl.contracts.engine import SyncReport
from mmrl.contracts.errors import ConfigError, EngineError
from mmrl.engines.hf import HFEngine
from mmrl.recipe.health import GapPatience
from mmrl.recipe.schema import load_recipe
from mmrl.trainer.gap_gate import LEAST, GapGate

TEXT, IMAGE = "gap/probe_text", "gap/probe_image"


def gate(lines, **settings):
    return GapGate(GapPatience(**{"learn": 2, "times": 4.0, "warn": 2, "stop": 3, **settings}), lines.append)


def test_each_figure_has_a_floor_of_its_own():
    lines = []
    watched = gate(lines)
    for text, image in ((0.01, 0.2), (0.02, 0.1), (0.07, 0.7), (0.09, 0.7)):
        watched.observe({TEXT: text, IMAGE: image, "gap/log_prob_max": 50.0, "reward/mean": 50.0})
    assert lines == [], "one step above it is not yet said"
    watched.observe({TEXT: 0.09, IMAGE: 0.7})
    assert lines == [
        "for 2 steps in a row gap/probe_text was above 4 times its floor of 0.02 nats, the last at 0.09: the engine "
        "samples from another distribution than the trainer scores (health.gap)"
    ]
    with pytest.raises(EngineError, match=r"^for 3 steps in a row gap/probe_text .* health\.gap\.stop is 3$"):
        watched.observe({TEXT: 0.09, IMAGE: 0.7})


def test_a_step_within_it_starts_the_count_again_and_a_figure_that_is_no_number_counts():
    lines = []
    watched = gate(lines)
    for gap in (0.1, 0.1, 0.5, 0.1, 0.5, float("nan")):
        watched.observe({TEXT: gap})
    assert len(lines) == 1
    assert "the last at nan" in lines[0]


def test_rounding_has_a_floor():
    watched = gate([], stop=1, warn=None)
    for gap in (1e-8, 0.0, 4 * LEAST):
        watched.observe({TEXT: gap})
    with pytest.raises(EngineError, match="floor of 1e-05 nats"):
        watched.observe({TEXT: 4.1 * LEAST})


def test_it_goes_on_from_its_state():
    lines = []
    first, second = gate(lines), gate(lines)
    for gap in (0.1, 0.1, 0.9):
        first.observe({TEXT: gap})
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.observe({TEXT: 0.9})
    assert len(lines) == 1
    second.load_state_dict({})
    with pytest.raises(EngineError):
        second.observe({TEXT: 0.9})


def test_settings_are_checked(tiny_recipe):
    assert load_recipe(tiny_recipe).health.gap.times == 10.0
    with pytest.raises(ConfigError, match=r"health\.gap\.times"):
        load_recipe({**tiny_recipe, "health": {"gap": {"times": 1.0}}})


def test_a_run_whose_engine_drifts_stops_with_a_checkpoint(workplace, tiny_recipe, monkeypatch):
    monkeypatch.setattr(
        HFEngine, "sync", lambda engine, policy, version: SyncReport(version, figures={TEXT: 0.01 * 100**version})
    )
    recipe = {**tiny_recipe, "health": {"gap": {"learn": 1, "warn": None, "stop": 1}}, "data": {**tiny_recipe["data"]}}
    recipe["data"]["eval"] = []
    with pytest.raises(
        EngineError, match=r"for 1 steps in a row gap/probe_text was above 10 times its floor of 1 nats"
    ):
        train(recipe)
    assert (workplace / "runs/small/checkpoints/step_000002/state.json").is_file()
    lines = [json.loads(line) for line in (workplace / "runs/small/metrics.jsonl").read_text().splitlines()]
    assert lines[-1][TEXT] == 100.0
