"""Checkpoint folders: the published layout, read and written back, and every problem of a load."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.policies import saving
from mmrl.policies.loading import difference
from mmrl.policies.openvla.config import OpenVLAConfig
from mmrl.recipe.rollout import SamplingConfig
from tests.support.engines import generate, hf
from tests.support.openvla import load, observations, sampled_rows

# Names in the index of openvla/openvla-7b; `*` stands for a layer's number.
PARTS = ("attn.proj", "attn.qkv", "mlp.fc1", "mlp.fc2", "norm1", "norm2")
BLOCK = [f"blocks.*.{part}.{leaf}" for part in PARTS for leaf in ("weight", "bias")]
PATCHES = ["patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed", "norm.weight", "norm.bias"]
DINO = [*BLOCK, *PATCHES, "blocks.*.ls1.scale_factor", "blocks.*.ls2.scale_factor", "cls_token", "reg_token"]
POOL = [f"{part}.{leaf}" for part in ("kv", "q", "proj", "norm", "mlp.fc1", "mlp.fc2") for leaf in ("weight", "bias")]
SIGLIP = [*BLOCK, *PATCHES, "attn_pool.latent", *(f"attn_pool.{name}" for name in POOL)]
LLAMA = [
    "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight", "model.layers.*.input_layernorm.weight",
    "model.layers.*.post_attention_layernorm.weight",
    *(f"model.layers.*.self_attn.{p}_proj.weight" for p in "qkvo"),
    *(f"model.layers.*.mlp.{p}_proj.weight" for p in ("gate", "up", "down")),
]  # fmt: skip
PROJECTOR = [f"fc{i}.{leaf}" for i in (1, 2, 3) for leaf in ("weight", "bias")]


def published_keys(dino: int, siglip: int, llama: int) -> set[str]:
    """Every key of a checkpoint with that many layers."""
    parts = (
        ("vision_backbone.featurizer.", DINO, dino),
        ("vision_backbone.fused_featurizer.", SIGLIP, siglip),
        ("projector.", PROJECTOR, 1),
        ("language_model.", LLAMA, llama),
    )
    return {
        prefix + name.replace("*", str(layer))
        for prefix, names, depth in parts
        for name in names
        for layer in range(depth)
    }


@pytest.fixture
def copy(tiny_qwen, tmp_path):
    """A copy of the tiny checkpoint that a test may damage."""
    return shutil.copytree(tiny_qwen("openvla"), tmp_path / "copy")


def edit_weights(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def greedy(policy, samples, units=6):
    settings = SamplingConfig(temperature=0.0, max_new_tokens=units)
    groups = generate(hf(policy), policy.prepare(samples), settings, 1, 0, restrict="action")
    return torch.stack([completion.tokens for (completion,) in groups])


def refused(folder, error=CheckpointError, type="openvla", **config) -> str:
    with pytest.raises(error) as found:
        load(folder, type, awake=False, **config)
    assert "\n" not in str(found.value)
    return str(found.value)


# --- layout


def test_the_full_size_model_has_the_published_weights():
    """982 tensors and 7,541,237,184 parameters: what the index of openvla/openvla-7b lists."""
    from mmrl.policies.openvla.model import OpenVLAForActionPrediction

    config = OpenVLAConfig(
        text_config={"model_type": "llama", "vocab_size": 32064, "pad_token_id": 32000},
        timm_model_ids=["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
        timm_override_act_layers=[None, None],
        image_sizes=[224, 224],
    )
    with torch.device("meta"):
        state = OpenVLAForActionPrediction(config).state_dict()
    assert set(state) == published_keys(24, 27, 32)
    assert len(state) == 982
    assert sum(tensor.numel() for tensor in state.values()) == 7_541_237_184
    assert config.token_count == 32000


def test_a_tiny_checkpoint_has_the_published_names(tiny_qwen):
    assert set(load_file(tiny_qwen("openvla") / "model.safetensors")) == published_keys(3, 3, 2)
    oft = tiny_qwen("openvla_oft")
    assert set(load_file(oft / "model.safetensors")) == published_keys(3, 3, 2)
    assert set(load_file(oft / "proprio_projector.safetensors")) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}


@pytest.mark.parametrize("shards", [False, True])
def test_a_folder_is_written_back_as_it_was_read(copy, tmp_path, monkeypatch, shards):
    (copy / "modeling_prismatic.py").write_text("published = True\n")
    raw = json.loads((copy / "config.json").read_text())
    raw |= {"auto_map": {"AutoConfig": "configuration_prismatic.OpenVLAConfig"}, "a_field_of_theirs": [1, 2]}
    (copy / "config.json").write_text(json.dumps(raw))
    if shards:
        monkeypatch.setattr(saving, "SHARD_SIZE", "1MB")
    load(copy, awake=False).save_pretrained(tmp_path / "again")
    written = {path.name for path in (tmp_path / "again").iterdir()}
    weights = {name for name in written if name.endswith(".safetensors")}
    if shards:
        index = json.loads((tmp_path / "again" / "model.safetensors.index.json").read_text())
        assert set(index["weight_map"]) == published_keys(3, 3, 2)
        assert set(index["weight_map"].values()) == weights
        assert len(weights) > 2
        assert f"model-00001-of-{len(weights):05d}.safetensors" in weights
    before = load_file(copy / "model.safetensors")
    after = {k: v for name in weights for k, v in load_file(tmp_path / "again" / name).items()}
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert {k for k in raw if k not in config} <= {"torch_dtype"}
    for key in raw.keys() - {"params", "text_config", "transformers_version"}:
        assert config[key] == raw[key], key
    assert config["architectures"] == ["OpenVLAForActionPrediction"]
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "modeling_prismatic.py"):
        assert (tmp_path / "again" / name).read_bytes() == (copy / name).read_bytes()
    statistics = json.loads((copy / "dataset_statistics.json").read_text())
    assert json.loads((tmp_path / "again" / "dataset_statistics.json").read_text()) == statistics
    load(tmp_path / "again", awake=False)


def test_a_published_config_reads_with_llama_s_defaults(tmp_path):
    """The published text_config names four fields; the rest is Llama 2's."""
    from transformers import AutoConfig

    raw = {
        "model_type": "openvla", "arch_specifier": "no-align+fused-gelu-mlp", "hf_llm_id": "meta-llama/Llama-2-7b-hf",
        "image_resize_strategy": "resize-naive", "image_sizes": [224, 224], "llm_backbone_id": "llama2-7b-pure",
        "llm_max_length": 2048, "n_action_bins": 256, "norm_stats": {"bridge_orig": {"action": {"q01": [0.0]}}},
        "output_projector_states": False, "pad_to_multiple_of": 64, "pad_token_id": 32000,
        "text_config": {"model_type": "llama", "pad_token_id": 32000, "torch_dtype": "bfloat16", "vocab_size": 32064},
        "timm_model_ids": ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
        "timm_override_act_layers": [None, None], "torch_dtype": "bfloat16", "transformers_version": "4.40.1",
        "use_fused_vision_backbone": True, "vision_backbone_id": "dinosiglip-vit-so-224px",
        "auto_map": {"AutoConfig": "configuration_prismatic.OpenVLAConfig"},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(raw))
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, OpenVLAConfig)
    text = config.text_config
    sizes = (text.hidden_size, text.intermediate_size, text.num_hidden_layers, text.num_attention_heads)
    assert sizes == (4096, 11008, 32, 32)
    assert (text.rms_norm_eps, text.num_key_value_heads, text.max_position_embeddings) == (1e-6, 32, 2048)
    assert text.rope_parameters["rope_theta"] == 10000.0
    config.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    for key in raw.keys() - {"text_config", "torch_dtype", "transformers_version"}:
        assert again[key] == raw[key], key
    assert again["text_config"].items() >= {"vocab_size": 32064, "pad_token_id": 32000, "model_type": "llama"}.items()


# --- save, load, act


@pytest.mark.slow
@pytest.mark.parametrize("family", ["openvla", "openvla_oft"])
def test_a_saved_policy_acts_the_same(tiny_qwen, tmp_path, family):
    policy = load(tiny_qwen(family), family)
    samples = observations(4)
    expected = greedy(policy, samples)
    assert len(set(map(tuple, expected.tolist()))) == 4, "observations sway the actions"
    assert not torch.equal(greedy(load(tiny_qwen(family), family, awake=False), samples), expected)
    policy.save_pretrained(tmp_path / "model")
    again = load(tmp_path / "model", family, awake=False)
    assert torch.equal(greedy(again, samples), expected)
    assert torch.equal(again.actions(expected, 3), policy.actions(expected, 3))
    rows = sampled_rows(policy, samples)
    one, other = (sampled_rows(p, samples) for p in (policy, again))
    assert len(rows) == len(one)
    assert all(torch.equal(a.decision.log_probs, b.decision.log_probs) for a, b in zip(one, other))


def test_params_are_saved_and_a_recipe_s_own_win(tiny_qwen, tmp_path):
    params = {"center_crop": 0.9, "gripper": "zero_one_open", "cameras": ["top"]}
    load(tiny_qwen("openvla"), awake=False, params=params).save_pretrained(tmp_path / "model")
    again = load(tmp_path / "model", awake=False)
    assert again.params.model_dump() == {"statistics": None, **params}
    assert again.images.crop == 0.9
    other = load(tmp_path / "model", awake=False, params={"gripper": "as_is", "center_crop": None})
    assert other.params.model_dump() == {"statistics": None, **params, "gripper": "as_is", "center_crop": None}


def test_a_value_head_is_kept_beside_the_model(tiny_qwen, tmp_path):
    policy = load(tiny_qwen("openvla"), value_head={})
    with torch.no_grad():
        for _, parameter, part in policy.trainable():
            if part == "value":
                parameter.normal_()
    policy.save_pretrained(tmp_path / "model")
    assert set(load_file(tmp_path / "model" / "model.safetensors")) == published_keys(3, 3, 2)
    again = load(tmp_path / "model", awake=False, value_head={})
    mine, theirs = policy.value_head.state_dict(), again.value_head.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in mine.items())
    assert load(tmp_path / "model", awake=False).value_head is None


def test_oft_s_own_projector_file_is_read(tiny_qwen, tmp_path):
    folder = shutil.copytree(tiny_qwen("openvla_oft"), tmp_path / "oft")
    state = load_file(folder / "proprio_projector.safetensors")
    (folder / "proprio_projector.safetensors").unlink()
    torch.save({f"module.{k}": v + 1 for k, v in state.items()}, folder / "proprio_projector--150000_checkpoint.pt")
    loaded = load(folder, "openvla_oft", awake=False).module.proprio_projector.state_dict()
    assert all(torch.equal(loaded[key], value + 1) for key, value in state.items())
    message = refused(folder, type="openvla_oft", params={"state_dim": 8})
    assert "does not fit policy.params.state_dim 8" in message


def test_a_projector_that_no_file_holds_is_new_where_the_recipe_asks_for_one(tiny_qwen, tmp_path):
    params = {"chunk": 2, "state_dim": 4}
    message = refused(tiny_qwen("openvla"), type="openvla_oft", params=params)
    assert "has no proprio_projector.safetensors" in message
    assert "policy.params.state_projector: new" in message
    asked = {**params, "state_projector": "new"}
    policy = load(tiny_qwen("openvla"), "openvla_oft", awake=False, params=asked)
    weights = policy.module.proprio_projector.fc1.weight
    assert bool(torch.isfinite(weights).all())
    assert float(weights.detach().std()) > 0.01
    # The saved one is the checkpoint's, though the recipe still asks: a resumed run has the same settings.
    policy.save_pretrained(tmp_path / "saved")
    assert "state_projector" not in json.loads((tmp_path / "saved" / "config.json").read_text())["params"]
    again = load(tmp_path / "saved", "openvla_oft", awake=False, params=asked).module.proprio_projector.fc1.weight
    assert torch.equal(again, weights)
    (tmp_path / "saved" / "proprio_projector.safetensors").unlink()
    assert "has no proprio_projector" in refused(tmp_path / "saved", type="openvla_oft")


# --- loads that stop


@pytest.fixture
def published_oft(tiny_qwen, tmp_path):
    """An OFT checkpoint as published: no `params` in its config, and a projector of 4 values."""
    folder = shutil.copytree(tiny_qwen("openvla_oft"), tmp_path / "published")
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"params": None}))
    state = load_file(folder / "proprio_projector.safetensors")
    (folder / "proprio_projector.safetensors").unlink()
    torch.save({f"module.{k}": v for k, v in state.items()}, folder / "proprio_projector--50000_checkpoint.pt")
    return folder


def test_a_state_that_would_be_ignored_is_refused(published_oft):
    message = refused(published_oft, type="openvla_oft", params={"chunk": 4})
    assert "reads the robot's state ('proprio_projector--50000_checkpoint.pt')" in message
    assert message.endswith("policy.params.state_dim is unset; set it to 4")
    load(published_oft, "openvla_oft", awake=False, params={"chunk": 4, "state_dim": 4})


def test_what_a_recipe_adds_to_a_published_config_makes_no_other_model(published_oft, tiny_qwen, tmp_path):
    """A run's checkpoint holds them, and a resumed run compares it with the one that the recipe names."""
    policy = load(published_oft, "openvla_oft", awake=False, params={"chunk": 4, "state_dim": 4})
    policy.save_pretrained(tmp_path / "saved")
    assert difference(str(tmp_path / "saved"), str(published_oft), "openvla_oft") is None
    assert difference(str(tmp_path / "saved"), str(tiny_qwen("openvla_oft", hidden=96)), "openvla_oft") is not None


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("action_head--50000_checkpoint.pt", "an L1 or diffusion head"),
        ("noisy_action_projector--50000_checkpoint.pt", "a diffusion head"),
        ("vision_backbone--50000_checkpoint.pt", "FiLM"),
    ],
)
def test_another_head_than_the_discrete_one_is_refused(published_oft, file, what):
    (published_oft / file).write_bytes(b"")
    message = refused(published_oft, type="openvla_oft", params={"chunk": 4, "state_dim": 4})
    assert f"acts with {what} ('{file}'), and policy.type openvla_oft decodes discrete tokens" in message


def test_openvla_refuses_checkpoints_of_oft(tiny_qwen, published_oft):
    message = refused(published_oft)
    assert "is a checkpoint of OpenVLA-OFT (proprio_projector--50000_checkpoint.pt)" in message
    assert "set policy.type to openvla_oft" in message
    assert "OpenVLA-OFT" in refused(tiny_qwen("openvla_oft"))
    (published_oft / "proprio_projector--50000_checkpoint.pt").rename(published_oft / "action_head--1_checkpoint.pt")
    assert "(action_head--1_checkpoint.pt)" in refused(published_oft)


def test_missing_unknown_and_misshapen_weights_stop_the_load(copy):
    shutil.copytree(copy, copy.parent / "b")
    shutil.copytree(copy, copy.parent / "c")
    edit_weights(copy, lambda s: s.pop("vision_backbone.featurizer.blocks.1.ls1.scale_factor"))
    message = refused(copy)
    assert "1 missing keys, first 'vision_backbone.featurizer.blocks.1.ls1.scale_factor'" in message
    edit_weights(copy.parent / "b", lambda s: s.update({"action_head.fc.weight": torch.zeros(2)}))
    assert "1 unexpected keys, first 'action_head.fc.weight'" in refused(copy.parent / "b")
    edit_weights(copy.parent / "c", lambda s: s.update({"projector.fc3.bias": torch.zeros(7)}))
    assert "1 mismatched keys, first 'projector.fc3.bias'" in refused(copy.parent / "c")


def test_weights_under_timm_s_own_names_are_not_taken(copy):
    """`gamma` instead of `scale_factor` is another model's file, not to be guessed at."""
    key = "vision_backbone.featurizer.blocks.0.ls1."
    edit_weights(copy, lambda s: s.update({f"{key}gamma": s.pop(f"{key}scale_factor")}))
    assert "missing keys" in refused(copy)


def test_damaged_files_stop_the_load(copy):
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes()[:-64])
    assert "weights file" in refused(copy)
    (copy / "preprocessor_config.json").unlink()
    edited = shutil.copytree(copy, copy.parent / "d")
    (edited / "config.json").write_text("{")
    assert "config.json' cannot be read" in refused(edited)


def test_other_models_and_settings_are_refused(tiny_qwen, copy):
    message = refused(tiny_qwen())
    assert (
        "is a checkpoint of qwen2_5_vl, and policy.type 'openvla' reads openvla; set policy.type to qwen_vl" in message
    )
    assert "qwen_vl" in refused(tiny_qwen("openvla"), type="qwen_vl")
    folder = tiny_qwen("openvla")
    assert "policy.params.crop: unknown key 'crop'" in refused(folder, ConfigError, params={"crop": 1})
    assert "policy.params.gripper: 'odd' is not allowed" in refused(folder, ConfigError, params={"gripper": "odd"})
    assert "policy.params.center_crop" in refused(folder, ConfigError, params={"center_crop": 1.5})
    assert "policy.action_bins" in refused(folder, ConfigError, action_bins=33)
    assert "policy.image" in refused(folder, ConfigError, image={"min_pixels": 4})
    assert "policy.params: unknown key 'params'. policy.type smolvlm, frame_selector, openvla" in refused(
        tiny_qwen(), ConfigError, type="qwen_vl", params={"x": 1}
    )
    assert "unknown part of qwen_vl 'backbone'" in refused(
        tiny_qwen(), ConfigError, type="qwen_vl", freeze=["backbone"]
    )
    assert "policy.params.chunk is unset" in refused(folder, ConfigError, type="openvla_oft")
    text = refused(folder, ConfigError, "openvla_oft", params={"chunk": 2}, attention="flash_attention_2")
    assert "policy.attention: 'flash_attention_2' is not allowed. Allowed: 'sdpa' or 'eager'" in text


def test_a_tokenizer_that_is_not_llama_s_is_refused(copy, tiny_qwen):
    for path in tiny_qwen().glob("tokenizer*"):
        shutil.copy(path, copy / path.name)
    assert "is not Llama's" in refused(copy)
