"""Recipes that ask of a policy what it cannot do are refused while they are read; entries name what there is."""

import re
import subprocess
import sys
from importlib import import_module

import pytest

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.policies.registry import POLICIES, entry_of, params_model
from mmrl.recipe.policy import PolicyConfig
from mmrl.recipe.rollout import RolloutConfig
from mmrl.recipe.schema import load_recipe

EPISODES = {"type": "episodes", "simulator": "table"}
DATA = {
    "text": {"type": "digits"},
    "video": {"type": "video_digits"},
    "episodes": EPISODES,
    "recorded": {"type": "libero_hdf5", "path": "x.hdf5"},
    "python": {"type": "python", "function": "module:function"},
}


def recipe(type, data="episodes", method="grpo", **policy):
    return {
        "name": "x",
        "policy": {"type": type, "path": "anywhere", **policy},
        "simulators": {"table": {"type": "tabletop"}},
        "data": {"train": [DATA[data]]},
        "method": method,
        "steps": 1,
    }


def refused(raw, *overrides) -> str:
    with pytest.raises(ConfigError) as found:
        load_recipe(raw, overrides)
    assert "\n" not in str(found.value)
    return str(found.value)


# --- data


@pytest.mark.parametrize("type", ["openvla", "openvla_oft", "pi0", "pi05"])
@pytest.mark.parametrize("data", ["text", "video"])
def test_robot_policies_answer_nothing(type, data):
    line = refused(recipe(type, data))
    assert line.startswith(f"data.train.0: type '{DATA[data]['type']}' is answered in text, which policy.type '{type}'")
    assert line.endswith("set policy.type to qwen_vl, or give it data of type episodes")
    held_out = recipe(type)
    held_out["data"]["eval"] = [EPISODES, DATA[data]]
    assert refused(held_out).startswith("data.eval.1: type ")


@pytest.mark.parametrize("data", ["episodes", "recorded"])
def test_a_frame_selector_does_not_act(data):
    line = refused(recipe("frame_selector", data))
    assert "which policy.type 'frame_selector' does not do; set policy.type to qwen_vl, openvla or pi0" in line


def test_what_fits_is_read():
    for type in ("openvla", "openvla_oft", "pi0", "pi05"):
        for data in ("episodes", "python"):
            load_recipe(recipe(type, data))
        load_recipe(recipe(type, "recorded", "sft"))
    load_recipe(recipe("frame_selector", "video"))
    for data in DATA:
        load_recipe(recipe("qwen_vl", data, action_bins=5))
    mixed = recipe("qwen_vl", action_bins=5)
    mixed["data"]["train"].append(DATA["text"])
    load_recipe(mixed)


@pytest.mark.parametrize("data", ["episodes", "recorded"])
def test_text_policies_need_bins_to_act(data):
    assert refused(recipe("qwen_vl", data)).startswith("policy.action_bins is unset, and data of type ")
    assert "has its checkpoint's own actions. Allowed: null" in refused(recipe("openvla", action_bins=5))


# --- methods


CASES = [
    # type, data, method, overrides, what the line says
    ("frame_selector", "video", "sft", [], "stages.sft.objective.demonstrations: true does not fit .* Allowed: false"),
    ("frame_selector", "video", "chord_mu", [], "objective.demonstrations: true .* learns from rewards"),
    ("frame_selector", "video", "hpt", [], "stages.hpt.objective.gate: {.*} does not fit .* Allowed: null"),
    ("frame_selector", "video", "offline_mix", [], "stages.offline_mix.objective.inject: {} .* Allowed: null"),
    ("frame_selector", "video", "ppo", [], "stages.ppo.objective.value: {.* has no critic; use a method without one"),
    ("frame_selector", "video", "grpo", ["policy.lora={}"], "policy.lora: {} .* trains its selector alone"),
    ("frame_selector", "video", "grpo", ["policy.freeze=[vision]"], "policy.freeze: .* no part 'vision'"),
    ("frame_selector", "video", "grpo", ["policy.params.moment=3"], "policy.params.moment: .* Did you mean 'moments'"),
    ("openvla", "episodes", "pi_rl_sde", ["policy.value_head={}"], "set policy.type to one of pi0, pi05, or use an"),
    ("qwen_vl", "episodes", "pi_rl_noise", ["policy.action_bins=5"], "method 'pi_rl_noise' needs a flow policy"),
    ("pi0", "episodes", "pi_rl_noise", [], "needs policy.params.sampler: noise, and it is sde; change one"),
    ("pi05", "episodes", "pi_rl_sde", ["policy.params.trained=all"], "params.trained: one, and it is all; change one"),
    ("pi0", "episodes", "grpo", ["objective.entropy=0.01"], "0.01 .*sampler noise has it learnt. Allowed: 0.0"),
    ("pi0", "episodes", "hpt", [], "objective.entropy: 0.001 does not fit policy.type 'pi0'"),
    ("pi0", "episodes", "chord_mu", ["objective.streams.demo.coefficient.kind=chord_phi"], "chord_phi does not fit"),
    (
        "pi05",
        "episodes",
        "grpo",
        ["objective.streams.rl.coefficient.kind=luffy"],
        "Allowed: cispo, gmpo, one, ppo",
    ),
    ("pi0", "episodes", "offline_mix", [], "inject: {} .* method co_train learns from them"),
    ("pi0", "episodes", "grpo", ["rollout.temperature=0.7"], "0.7 .* policy.params.eta. Allowed: 0.0, 1.0"),
    ("pi0", "episodes", "grpo", ["evaluation.sampling.temperature=0.3"], "^evaluation.*0.3 .*eta. Allowed: 0.0, 1.0"),
    ("pi05", "episodes", "grpo", ["evaluation.sampling.top_k=5"], "^evaluation.sampling.top_k: 5 .* samples no tokens"),
    ("pi0", "episodes", "grpo", ["rollout.top_p=0.9"], "stages.grpo.rollout.top_p: 0.9 .* samples no tokens"),
    ("pi0", "episodes", "grpo", ["policy.gradient_checkpointing=true"], "reads a key-value cache. Allowed: false"),
    ("pi0", "episodes", "grpo", ["policy.freeze=[experts]"], "unknown part of pi0 'experts'. Did you mean 'expert'"),
    ("qwen_vl", "text", "grpo", ["policy.freeze=[backbone]"], "unknown part of qwen_vl 'backbone'. Allowed: language"),
    (
        "qwen_vl",
        "text",
        "grpo",
        ["policy.freeze=[vision, projector, language]"],
        "leaves nothing to train; leave one of them out",
    ),
    ("qwen_vl", "text", "grpo", ["policy.params={x: 1}"], "policy.params: qwen_vl has none; remove x"),
    ("openvla", "episodes", "grpo", ["policy.params.crop=1"], "policy.params.crop: unknown key 'crop'"),
    ("openvla", "episodes", "grpo", ["policy.image.max_pixels=99"], "policy.image.max_pixels: 99 .* Allowed: null"),
    (
        "openvla_oft",
        "episodes",
        "grpo",
        ["policy.attention=flash_attention_2", "policy.packing=row"],
        "policy.attention: flash_attention_2 .* both directions. Allowed: sdpa, eager",
    ),
    ("qwen_vl", "text", "grpo", ["engine.name=flow"], "'flow' does not sample policy.type 'qwen_vl'. Allowed: hf"),
    ("pi0", "episodes", "grpo", ["engine.name=frames"], "'frames' does not sample .* Allowed: flow"),
    ("pi0", "episodes", "ppo", [], "method 'ppo' trains a critic; set policy.value_head: {}"),
    ("openvla", "recorded", "dagger", [], "relabelling .* data.train has no data of type episodes"),
    ("pi5", "episodes", "grpo", [], "policy.type: unknown policy 'pi5'. Did you mean 'pi05'?"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}-{''.join(case[3][:1])}")
def test_what_does_not_fit_is_refused_in_a_line(case):
    type, data, method, overrides, expected = case
    line = refused(recipe(type, data, method), *overrides)
    assert re.search(expected, line), line


def test_an_entropy_bonus_fits_learnt_noise():
    load_recipe(recipe("pi0", method="pi_rl_noise", params={"sampler": "noise", "trained": "all"}, value_head={}))


def test_reading_a_recipe_imports_no_torch():
    code = (
        "import sys; from mmrl.recipe.schema import load_recipe; "
        "raw = {'name': 'x', 'simulators': {'t': {'type': 'tabletop'}}, "
        "'data': {'train': [{'type': 'episodes', 'simulator': 't'}]}, 'method': 'grpo', 'steps': 1}; "
        "types = ('openvla', 'openvla_oft', 'pi0', 'pi05'); "
        "[load_recipe({**raw, 'policy': {'type': type, 'path': 'y'}}) for type in types]; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- entries


@pytest.mark.parametrize("name", POLICIES)
def test_entries_name_what_there_is(name):
    """A rule about a setting that does not exist would never hold."""
    entry = entry_of(name)
    module, _, adapter = entry.adapter.partition(":")
    assert hasattr(getattr(import_module(module), adapter), "from_pretrained")
    objective = resolve_objective("co_train", {})
    settings = {
        "policy": PolicyConfig(path="x"),
        "objective": objective,
        "rollout": RolloutConfig(),
    }
    for rule in entry.rules:
        head, *path = rule.key.split(".")
        value = settings[head]
        for part in path:
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        assert rule.unless is None or rule.unless[0] in params_model(name).model_fields
    assert (params_model(name) is None) == (entry.params is None)
