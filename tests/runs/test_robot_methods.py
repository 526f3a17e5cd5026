"""Every method that fits robots, two steps of each with tiny π0 and tiny OpenVLA."""

import json
import math

import pytest

from mmrl import train
from mmrl.contracts.errors import UserError
from mmrl.recipe.methods import METHODS
from mmrl.recipe.schema import load_recipe

TABLE = {"type": "tabletop", "tasks": ["reach"], "num_blocks": 1, "image_size": 28, "max_steps": 4, "reward": "dense"}
POLICIES = ("pi0", "openvla")
CRITIC = {"policy": {"value_head": {"width": 8}}}

# name -> (method, what the stage sets, what the policy needs besides)
CASES = {
    "sft": ("sft", {}, {}),
    "grpo": ("grpo", {}, {}),
    "ppo": ("ppo", {"minibatches": 2}, CRITIC),
    "co_train": ("co_train", {}, {}),
    "co_train with a critic": (
        "co_train",
        {"objective": {"advantage": {"baseline": "value", "scale": "batch_std"}, "value": {}}},
        CRITIC,
    ),
    "filtered_bc": ("filtered_bc", {}, {}),
    "injection": ("offline_mix", {}, {}),
    "gate": ("hpt", {"objective": {"entropy": 0.0, "streams": {"rl": {"max_units": 12}, "demo": {"terms": []}}}}, {}),
    "DAgger": ("dagger", {"rollout": {"n": 2, "action_chunk": 1}}, {}),
    "HG-DAgger": ("dagger", {"rollout": {"n": 2, "action_chunk": 1}, "objective": {"relabel": {"takeover": 0.5}}}, {}),
    "chunked_awr": ("chunked_awr", {}, CRITIC),
    "chunked_awr beside rollouts": (
        "chunked_awr",
        {"objective": {"rollouts": True, "streams": {"rl": {"from": "rollouts", "coefficient": {"kind": "ppo_clip"}}}}},
        CRITIC,
    ),
    "chunked_awr, a value per action": ("chunked_awr", {"epochs": 2}, {"policy": {"value_head": {"outputs": 2}}}),
}
REFUSED = {("injection", "pi0"): "objective.inject"}


def recipe(kind, model, output, name):
    method, stage, needs = CASES[name]
    return {
        "name": "run",
        "output": str(output),
        "threads": 1,
        "policy": {"type": kind, "path": str(model), "device": "cpu", **needs.get("policy", {})},
        "simulators": {"table": TABLE},
        "data": {
            "train": [
                {"type": "episodes", "simulator": "table", "size": 64},
                {"type": "episodes", "simulator": "table", "name": "poor", "first": 64, "expert_noise": 0.9},
            ]
        },
        "stages": [
            {
                "name": "one",
                "method": method,
                "steps": 2,
                "prompts": 3,
                "demonstrations": 3,
                "rollout": {"n": 2, "action_chunk": 2},
                **stage,
            }
        ],
        "checkpoint": {"best": None},
        "tracking": {"console": "none", "tensorboard": False},
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("name", CASES)
def test_two_steps_run(name, kind, tiny_qwen, tmp_path):
    raw = recipe(kind, tiny_qwen(kind), tmp_path, name)
    if (name, kind) in REFUSED:
        with pytest.raises(UserError, match=REFUSED[name, kind]):
            load_recipe(raw)
        return
    folder = train(raw).folder
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss/total" in line]
    assert len(steps) == 2
    for line in steps:
        assert line["optim/skipped"] == 0
        assert math.isfinite(line["loss/total"])
        assert line.get("gap/log_prob_max", 0.0) < 1e-3
    streams = load_recipe(raw).stages[0].method
    objective = METHODS.get(streams).objective
    if objective.get("demonstrations"):
        assert any(line["stream/demo_units"] > 0 for line in steps)
    if "offline" in objective:
        assert all(0 < line["offline/effective"] <= 1 for line in steps)
        assert all(line["loss/value"] >= 0 for line in steps)
    if objective.get("rollouts", True):
        assert all("episode/return" in line for line in steps)


def test_methods_for_robots_name_their_source_and_settings():
    from mmrl.objectives.docs import render

    page = render()
    for name in {method for method, _, _ in CASES.values()}:
        section = page.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
        assert section.lstrip().startswith("Source: ")
        assert "[`streams`](#stream)`." in section
    offline = page.split("\n## chunked_awr\n", 1)[1].split("\n## ", 1)[0]
    assert "It is not CO-RFT" in offline
    assert "`{weight: exp, temperature: 1.0, cap: 20.0}`" in offline
    relabelling = page.split("\n## dagger\n", 1)[1].split("\n## ", 1)[0]
    assert "arXiv 1810.02890" in relabelling
