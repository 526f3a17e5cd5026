"""Parts of every family's model: what freezing stops and where adapters go follow from the modules' own names."""

import pytest

from mmrl.contracts.errors import ConfigError
from mmrl.policies import training
from mmrl.policies.opening import load_policy
from mmrl.recipe.policies.parts import ModelPart, owner_of
from mmrl.recipe.policies.registry import entry_of, policy_settings

OFT = {"chunk": 4, "state_dim": 4, "state_projector": "new"}
# Checkpoint, policy.type, settings.
FAMILIES = {
    "qwen2_vl": ("qwen_vl", {}),
    "qwen2_5_vl": ("qwen_vl", {}),
    "qwen3_vl": ("qwen_vl", {}),
    "qwen3_vl_moe": ("qwen_vl", {}),
    "smolvlm": ("smolvlm", {}),
    "idefics3": ("smolvlm", {}),
    "openvla": ("openvla", {}),
    "openvla_oft": ("openvla_oft", {"params": OFT}),
    "pi0": ("pi0", {}),
    "pi05": ("pi05", {"params": {"sampler": "noise"}}),
}
PARTS = [(family, part) for family, (kind, _) in FAMILIES.items() for part in entry_of(kind).parts]


def opened(tiny_qwen, family, **settings):
    kind, own = FAMILIES[family]
    return load_policy(policy_settings(type=kind, path=str(tiny_qwen(family)), device="cpu", **{**own, **settings}))


def trained_parts(policy):
    parts = entry_of(policy.config.type).parts
    return {owner_of(training.plain_name(n), parts) for n, p in policy.module.named_parameters() if p.requires_grad}


@pytest.mark.slow
@pytest.mark.parametrize(("family", "part"), PARTS)
def test_freezing_a_part_stops_that_one_alone(tiny_qwen, family, part):
    policy = opened(tiny_qwen, family, freeze=[part])
    assert trained_parts(policy) == entry_of(policy.config.type).parts.keys() - {part}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_go_where_the_family_says(tiny_qwen, family):
    parts = entry_of(FAMILIES[family][0]).parts
    roles = {"targets", "whole"}
    for vision in (False, True):
        policy = opened(tiny_qwen, family, lora={"rank": 2, "vision": vision})
        roles |= {"vision"} if vision else set()
        assert trained_parts(policy) == {name for name, part in parts.items() if part.lora in roles}
        for name, parameter in policy.module.named_parameters():
            role = parts[owner_of(training.plain_name(name), parts)].lora
            assert parameter.requires_grad == ("lora_" in name or role == "whole"), name


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_named_target_is_a_layer_of_the_family(tiny_qwen, family):
    opened(tiny_qwen, family, lora={"rank": 2, "targets": ["q_proj", "o_proj"]})
    with pytest.raises(
        ConfigError, match=r"'q_projs' names no linear layer .* Did you mean 'q_proj'\? Allowed: .*q_proj"
    ):
        opened(tiny_qwen, family, lora={"rank": 2, "targets": ["o_proj", "q_projs"]})


def test_the_default_targets_are_those_that_there_are_and_named_ones_must_be_there(tiny_qwen):
    policy = opened(tiny_qwen, "qwen3_vl_moe", lora={"rank": 2})
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name, _, _ in policy.trainable()}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj"}, "its experts are no linear layers"
    with pytest.raises(ConfigError, match=r"'up_proj' names no linear layer that LoRA adapts in qwen_vl"):
        opened(tiny_qwen, "qwen3_vl_moe", lora={"rank": 2, "targets": ["q_proj", "up_proj"]})


def test_a_module_belongs_to_the_part_that_names_it_most_closely():
    parts = {"vision": ModelPart(("model.visual",)), "projector": ModelPart(("model.visual.merger",))}
    assert owner_of("model.visual.blocks.0.weight", parts) == "vision"
    assert owner_of("model.visual.merger.mlp.weight", parts) == "projector"
    assert owner_of("model.visuals.weight", parts) is None


def test_a_family_that_forgets_a_module_is_refused(tiny_qwen, monkeypatch):
    monkeypatch.delitem(entry_of("qwen_vl").parts, "projector")
    monkeypatch.setitem(entry_of("qwen_vl").parts, "vision", ModelPart(("model.visual.blocks",)))
    with pytest.raises(ConfigError, match=r"says of no part of its model that it holds 'model\.visual\.patch_embed"):
        opened(tiny_qwen, "qwen2_5_vl")
