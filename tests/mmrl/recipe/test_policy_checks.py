"""Recipes that ask of a policy what it cannot do are refused while they are read; entries name what there is."""

import itertools
import re
import subprocess
import sys
from importlib import import_module

import pytest
import yaml

from mmrl.commands.config import recipe_schema
from mmrl.contracts.errors import ConfigError
from mmrl.recipe.choosing import has_key
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.policies.registry import POLICIES, entry_of, policy_settings, settings_model
from mmrl.recipe.policy import PolicyConfig
from mmrl.recipe.reading import to_yaml
from mmrl.recipe.rollout import RolloutConfig
from mmrl.recipe.schema import load_recipe
from tests.support.paths import ROOT

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
    assert line.endswith("set policy.type to qwen_vl, smolvlm or frame_selector, or give it data of type episodes")
    held_out = recipe(type)
    held_out["data"]["eval"] = [EPISODES, DATA[data]]
    assert refused(held_out).startswith("data.eval.1: type ")


@pytest.mark.parametrize("data", ["episodes", "recorded"])
def test_a_frame_selector_does_not_act(data):
    line = refused(recipe("frame_selector", data))
    assert "which policy.type 'frame_selector' does not do; set policy.type to qwen_vl, openvla, openvla_oft, " in line


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


@pytest.mark.parametrize("type", ["pi0", "pi05"])
def test_a_policy_that_reads_the_state_is_not_given_data_without(type):
    for data, said in (
        ({"type": "lerobot", "path": "x", "state": None}, "data.train.0.state: null leaves out the robot's state"),
        ({"type": "maniskill_h5", "path": "x.h5", "state": False}, "data.train.0.state: false leaves out"),
    ):
        raw = recipe(type, "recorded", "sft") | {"data": {"train": [data]}}
        assert refused(raw).startswith(said)
        load_recipe({**raw, "policy": {"type": "openvla", "path": "anywhere"}})


@pytest.mark.parametrize("data", ["episodes", "recorded"])
def test_text_policies_need_bins_to_act(data):
    assert refused(recipe("qwen_vl", data)).startswith("policy.action_bins is unset, and data of type ")
    line = refused(recipe("openvla", action_bins=5))
    assert line.startswith("policy.action_bins: unknown key 'action_bins'. policy.type qwen_vl reads it. Allowed: type")


# --- methods


CASES = [
    # type, data, method, overrides, what the line says
    ("frame_selector", "video", "sft", [], "stages.sft.objective.demonstrations: true does not fit .* Allowed: false"),
    ("frame_selector", "video", "chord_mu", [], "objective.demonstrations: true .* learns from rewards"),
    ("frame_selector", "video", "hpt", [], "stages.hpt.objective.gate: {.*} does not fit .* Allowed: null"),
    ("frame_selector", "video", "offline_mix", [], "stages.offline_mix.objective.inject: {} .* Allowed: null"),
    ("frame_selector", "video", "ppo", [], "stages.ppo.objective.value: {.* has no critic; use a method without one"),
    ("frame_selector", "video", "grpo", ["policy.lora={}"], "policy.lora: unknown key .* pi0 and pi05 read it"),
    ("frame_selector", "video", "grpo", ["policy.freeze=[vision]"], "policy.freeze: unknown key 'freeze'"),
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
        "Allowed: one, ppo_clip, cispo, gmpo",
    ),
    ("pi0", "episodes", "grpo", ["objective.auxiliary_terms.z_loss={}"], "z_loss: z_loss reads normaliser, .*'pi0'"),
    (
        "pi0",
        "episodes",
        "grpo",
        ["objective.controllers={adaptive_entropy: {target: 1.0}}"],
        "stages.grpo.objective.controllers.adaptive_entropy: adaptive_entropy reads entropy, .* gives ratio of these",
    ),
    ("frame_selector", "video", "grpo", ["objective.auxiliary_terms.z_loss={}"], "z_loss reads normaliser"),
    (
        "pi0",
        "episodes",
        "co_train",
        ["objective.streams.demo.terms=[kl]"],
        "demo.terms: kl does not fit",
    ),
    ("pi0", "episodes", "offline_mix", [], "inject: {} .* method co_train learns from them"),
    ("pi0", "episodes", "grpo", ["rollout.temperature=0.7"], "0.7 .* policy.params.eta. Allowed: 0.0, 1.0"),
    ("pi0", "episodes", "grpo", ["evaluation.sampling.temperature=0.3"], "^evaluation.*0.3 .*eta. Allowed: 0.0, 1.0"),
    ("pi05", "episodes", "grpo", ["evaluation.sampling.top_k=5"], "^evaluation.sampling.top_k: 5 .* samples no tokens"),
    ("pi0", "episodes", "grpo", ["rollout.top_p=0.9"], "stages.grpo.rollout.top_p: 0.9 .* samples no tokens"),
    ("pi0", "episodes", "grpo", ["policy.gradient_checkpointing=true"], "unknown key .* openvla_oft read it"),
    ("pi0", "episodes", "grpo", ["policy.freeze=[experts]"], "unknown part of pi0 'experts'. Did you mean 'expert'"),
    ("qwen_vl", "text", "grpo", ["policy.freeze=[backbone]"], "unknown part of qwen_vl 'backbone'. Allowed: language"),
    (
        "qwen_vl",
        "text",
        "grpo",
        ["policy.freeze=[vision, projector, language]"],
        "leaves nothing to train; leave one of them out",
    ),
    ("qwen_vl", "text", "grpo", ["policy.params={x: 1}"], "policy.params: unknown key 'params'. policy.type smolvlm"),
    ("openvla", "episodes", "grpo", ["policy.params.crop=1"], "policy.params.crop: unknown key 'crop'"),
    ("openvla", "episodes", "grpo", ["policy.image.max_pixels=99"], "policy.image: unknown key 'image'. .* read it"),
    (
        "openvla_oft",
        "episodes",
        "grpo",
        ["policy.attention=flash_attention_2"],
        "policy.attention: 'flash_attention_2' is not allowed. Allowed: 'sdpa' or 'eager'",
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
    settings = {"objective": resolve_objective("co_train", {}), "rollout": RolloutConfig()}
    model = settings_model(name)
    assert issubclass(model, PolicyConfig)
    assert policy_settings(type=name, path="x").type == name
    for rule in entry.rules:
        head, *path = rule.key.split(".")
        value = settings[head]
        for part in path:
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        assert rule.unless is None or has_key(model, ("params", rule.unless[0]))


# --- settings belong to their family


OTHERS = [
    ("openvla", "policy.video={fps: 7.0}", "qwen_vl, frame_selector and endpoint"),
    ("pi0", "policy.video={fps: 7.0}", "qwen_vl, frame_selector and endpoint"),
    ("openvla", "policy.image={total_pixels: 3136}", "qwen_vl, frame_selector and endpoint"),
    ("pi05", "policy.image={total_pixels: 3136}", "qwen_vl, frame_selector and endpoint"),
    ("pi0", "policy.packing=row", "qwen_vl, smolvlm and openvla"),
    ("openvla_oft", "policy.packing=row", "qwen_vl, smolvlm and openvla"),
    ("frame_selector", "policy.packing=row", "qwen_vl, smolvlm and openvla"),
    ("frame_selector", "policy.action_bins=9", "qwen_vl"),
    ("frame_selector", "policy.gradient_checkpointing=true", "qwen_vl, smolvlm, openvla and openvla_oft"),
    ("openvla", "policy.params={eta: 0.5}", "pi0 and pi05"),
    ("pi0", "policy.params={gripper: as_is}", "openvla and openvla_oft"),
]


@pytest.mark.parametrize(("type", "override", "readers"), OTHERS)
def test_a_key_of_another_family_is_unknown_and_says_whose_it_is(type, override, readers):
    line = refused(recipe(type, "video" if type == "frame_selector" else "episodes"), override)
    assert f". policy.type {readers} read{'s' if ' and ' not in readers else ''} it. Allowed: " in line


def test_a_state_of_another_size_than_the_simulators_is_refused_where_that_is_known():
    table = recipe("openvla_oft", "episodes", params={"state_dim": 5})
    line = refused(table)
    assert "policy.params.state_dim is 5, and simulators." in line
    assert "gives a state of 4 values; set state_dim to 4" in line
    (name,) = table["simulators"]
    libero, maniskill = ({**table, "simulators": {name: {"type": type}}} for type in ("libero", "maniskill"))
    assert "gives a state of 8 values" in refused(libero)
    assert load_recipe(libero, ["policy.params.state_dim=8"]).policy.params.state_dim == 8
    assert load_recipe(maniskill).policy.params.state_dim == 5


def test_a_misspelt_key_of_a_family_is_refused_with_the_nearest():
    line = refused(recipe("qwen_vl", "text", vido={}))
    assert "unknown key 'vido'. Did you mean 'video'? Allowed: type, path" in line
    assert "policy.lora.rnk: unknown key 'rnk'. Did you mean 'rank'?" in refused(recipe("pi0", lora={"rnk": 1}))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"noise_low": 0.1}, "noise_low 0.1 is read by sampler noise alone"),
        ({"sampler": "noise", "eta": 0.1}, "eta 0.1 is read by sampler sde and cps"),
    ],
)
def test_noise_of_another_sampler_is_refused(params, said):
    assert said in refused(recipe("pi0", params=params))


def test_null_takes_a_key_of_another_family_back():
    """So that overrides turn a recipe of one family into that of another."""
    raw = recipe("qwen_vl", action_bins=5)
    read = load_recipe(raw, ["policy.type=openvla", "policy.action_bins=null"])
    assert read == load_recipe(recipe("openvla"))
    assert "unknown key 'action_bin'." in refused(raw, "policy.action_bin=null")


@pytest.mark.parametrize(("key", "value"), [("video", {"fps": 1.0}), ("image", {"max_pixels": 3136})])
def test_budgets_of_data_are_refused_where_no_policy_reads_them(key, value):
    raw = recipe("openvla")
    raw["data"]["train"] = [{**EPISODES, key: value}]
    assert refused(raw) == f"data.train.0.{key}: policy.type 'openvla' does not read it; leave it out"
    raw = recipe("pi0")
    raw["data"]["cache"] = {"folder": "x"}
    assert refused(raw) == "data.cache: policy.type 'pi0' reads no videos; leave it out"


@pytest.mark.parametrize("name", [name for name in POLICIES if entry_of(name).trains])
def test_settings_survive_writing(name):
    """A resolved recipe carries every default, and is read again as it was."""
    given = recipe(name, {"frame_selector": "video", "smolvlm": "text"}.get(name, "episodes"))
    if name == "qwen_vl":
        given["policy"]["action_bins"] = 5
    read = load_recipe(given)
    assert load_recipe(yaml.safe_load(to_yaml(read))) == read
    assert type(read.policy) is settings_model(name)


def test_the_schema_has_the_keys_of_each_family():
    branches = {
        b["if"]["properties"]["type"]["const"]: b["then"] for b in recipe_schema()["properties"]["policy"]["allOf"]
    }
    assert list(branches) == POLICIES.names()
    assert "packing" in branches["qwen_vl"]["properties"]
    assert "packing" not in branches["pi0"]["properties"]


MINE = """
from mmrl.recipe.policies.registry import Entry
from mmrl.recipe.policy import TrainedConfig

class MySettings(TrainedConfig):
    wheels: int = 4

CAR = Entry("my_family:Car", "my_family:MySettings", ("episodes",))
"""


def test_a_value_head_that_no_stage_trains_is_refused():
    assert load_recipe(recipe("openvla", method="ppo", value_head={})).policy.value_head is not None
    assert refused(recipe("openvla", value_head={})) == (
        "policy.value_head: no stage trains a critic (method 'grpo'); leave it out"
    )


def test_a_family_of_one_s_own_brings_its_settings(workplace):
    (workplace / "my_family.py").write_text(MINE)
    read = load_recipe(recipe("my_family:CAR", method="ppo", wheels=3, value_head={})).policy
    assert (read.type, read.wheels, read.value_head.outputs) == ("my_family:CAR", 3, 1)
    line = refused(recipe("my_family:CAR", wheel=3))
    assert line.startswith("policy.wheel: unknown key 'wheel'. Did you mean 'wheels'? Allowed: type, path")
    line = refused(recipe("my_family:CAR", packing="row"))
    assert line.startswith("policy.packing: unknown key 'packing'. policy.type qwen_vl, smolvlm and openvla read it.")


def test_the_table_of_keys_in_the_docs_is_that_of_the_models():
    lines = (ROOT / "docs/recipes.md").read_text().splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("| key | qwen_vl |"))
    columns = [cell.strip().split(", ") for cell in lines[header].strip("|").split("|")][1:]
    assert [name for names in columns for name in names] == POLICIES.names()
    told: dict[str, set[str]] = {name: {"type"} for name in POLICIES}
    for line in itertools.takewhile(lambda line: line.startswith("|"), lines[header + 2 :]):
        keys, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for names, cell in zip(columns, cells):
            for name in names if cell else ():
                told[name] |= set(re.findall(r"`(\w+)`", keys))
    assert told == {name: set(settings_model(name).model_fields) for name in POLICIES}
