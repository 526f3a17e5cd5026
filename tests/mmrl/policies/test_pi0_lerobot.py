"""lerobot's checkpoints: names, sizes, statistics, and everything that must stop the load."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.contracts.policy import played, recorded_units
from mmrl.policies.pi0 import lerobot, lerobot_config
from tests.support.flow import FAMILIES, load, sampled_rows
from tests.support.openvla import observation, observations
from tests.support.policy import log_probs

TINY = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
# Names as lerobot writes them, by hand.
NAMES = {
    "model.vlm.language_model.embed_tokens.weight": "model.paligemma_with_expert.paligemma.lm_head.weight",
    "model.vlm.language_model.norm.weight": "model.paligemma_with_expert.paligemma.model.language_model.norm.weight",
    "model.vlm.multi_modal_projector.linear.bias": (
        "model.paligemma_with_expert.paligemma.model.multi_modal_projector.linear.bias"
    ),
    "model.vlm.vision_tower.post_layernorm.bias": (
        "model.paligemma_with_expert.paligemma.model.vision_tower.vision_model.post_layernorm.bias"
    ),
    "model.dit.layers.1.self_attn.q_proj.weight": (
        "model.paligemma_with_expert.gemma_expert.model.layers.1.self_attn.q_proj.weight"
    ),
    "model.dit.layers.0.input_layernorm.dense.bias": (
        "model.paligemma_with_expert.gemma_expert.model.layers.0.input_layernorm.dense.bias"
    ),
    "embed_action_time.state_proj.weight": "model.state_proj.weight",
    "embed_action_time.time_mlp_in.bias": "model.time_mlp_in.bias",
    "action_out_proj.weight": "model.action_out_proj.weight",
}


def their_name(name: str) -> str:
    """lerobot's name of one of our weights."""
    if name in NAMES:
        return NAMES[name]
    gemma = "model.paligemma_with_expert.gemma_expert.model."
    pali = "model.paligemma_with_expert.paligemma.model."
    name = name.replace("model.vlm.vision_tower.", pali + "vision_tower.vision_model.")
    name = name.replace("model.vlm.", pali).replace("model.dit.", gemma)
    return name if name.startswith("model.paligemma") else "model." + name.removeprefix("embed_action_time.")


@pytest.mark.parametrize(("ours", "theirs"), NAMES.items())
def test_names(ours, theirs):
    assert lerobot.our_name(theirs) == ours


@pytest.fixture
def published(tiny_qwen, tmp_path, monkeypatch):
    """`published(family)`: (folder in lerobot's layout, the policy it was made from)."""
    monkeypatch.setitem(lerobot_config.VARIANTS, "tiny", TINY)
    monkeypatch.setattr(lerobot_config, "HEADS", {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32})
    vision = {"hidden_size": 64, "intermediate_size": 128, "patch_size": 7, "num_hidden_layers": 2}
    monkeypatch.setattr(lerobot_config, "SIGLIP", {**lerobot_config.SIGLIP, **vision, "num_attention_heads": 2})
    monkeypatch.setattr(lerobot_config, "VOCABULARY", 960)

    def make(family):
        policy = load(tiny_qwen(family), family)
        folder = tmp_path / family
        folder.mkdir()
        policy.processor.tokenizer.save_pretrained(folder)
        skipped = "model.dit.embed_tokens.weight"
        state = {their_name(k): v.contiguous() for k, v in policy.module.state_dict().items() if k != skipped}
        save_file(state, folder / "model.safetensors")
        mode = {"pi0": "MEAN_STD", "pi05": "QUANTILES"}[family]
        config = {
            "type": family, "paligemma_variant": "tiny", "action_expert_variant": "tiny", "chunk_size": 4,
            "max_state_dim": 4, "max_action_dim": 3, "num_inference_steps": 4, "image_resolution": [28, 28],
            "normalization_mapping": {"VISUAL": "IDENTITY", "STATE": mode, "ACTION": mode},
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        stats = policy.statistics["tabletop"]
        for name, kept in (("pre", ("action", "proprio")), ("post", ("action",))):
            features = {"action": "action", "proprio": "observation.state"}
            tensors = {f"{features[p]}.{k}": torch.tensor(v) for p in kept for k, v in stats[p].items()}
            file = f"policy_{name}processor_step_2_normalizer.safetensors"
            save_file(tensors, folder / file)
            normaliser = {"pre": "normalizer_processor", "post": "unnormalizer_processor"}[name]
            modes = {"eps": 1e-8, "features": {}, "norm_map": config["normalization_mapping"]}
            steps = [
                {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
                {"registry_name": "to_batch_processor", "config": {}},
                {"registry_name": normaliser, "config": modes, "state_file": file},
            ]
            (folder / f"policy_{name}processor.json").write_text(json.dumps({"steps": steps}))
        return folder, policy

    return make


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_gives_the_same_actions_and_is_saved_in_our_layout(published, tmp_path, family):
    folder, policy = published(family)
    other = load(folder, family, awake=False)
    assert other.kind == policy.kind
    # Each with prompts of its own: the two have different placeholders for images.
    rows, theirs = (sampled_rows(p, observations(3, size=(28, 28))) for p in (other, policy))
    for a, b in zip(rows, theirs):
        assert torch.allclose(a.decision.tokens, b.decision.tokens, atol=1e-6)
    assert torch.allclose(log_probs(other, rows), log_probs(policy, theirs), atol=1e-5)
    other.save_pretrained(tmp_path / "ours")
    again = load(tmp_path / "ours", family, awake=False)
    assert again.statistics == other.statistics
    assert torch.equal(log_probs(again, rows), log_probs(other, rows))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["config.json", "policy_preprocessor.json"])
def test_lerobot_s_pi05_pads_the_state_in_the_prompt(published, tmp_path, source):
    """A state of 4 values in a prompt of 7; 0 is in bin 128 of 256, as numpy.digitize(0, linspace(-1, 1, 257)[:-1])."""
    folder, policy = published("pi05")
    if source == "config.json":
        raw = json.loads((folder / source).read_text())
        (folder / source).write_text(json.dumps(raw | {"max_state_dim": 7}))
    else:
        raw = json.loads((folder / source).read_text())
        step = {"registry_name": "pi05_prepare_state_tokenizer_processor_step", "config": {"max_state_dim": 7}}
        (folder / source).write_text(json.dumps({"steps": [*raw["steps"], step]}))
    sample = replace(observation(), state=torch.tensor([0.0, 0.3, 0.6, 1.0]))
    (content,) = (message["content"] for message in sample.messages)
    task = content[-1]["text"]
    # q01 = 0 and q99 = 1 put these states at -1, -0.4, 0.2 and 1 - 2e-6.
    expected = f"Task: {task}, State: 0 76 153 255 128 128 128;\nAction: "
    other = load(folder, "pi05", awake=False)
    assert text_of(other, sample) == expected
    other.save_pretrained(tmp_path / "ours")
    assert text_of(load(tmp_path / "ours", "pi05", awake=False), sample) == expected
    assert text_of(policy, sample) == f"Task: {task}, State: 0 76 153 255;\nAction: ", "openpi's is not padded"


def text_of(policy, sample):
    """The text of a prompt, as its token ids say it."""
    (prompt,) = policy.prepare([sample])
    tokenizer = policy.processor.tokenizer
    ids = [i for i in prompt.input_ids.tolist() if i != policy.module.config.vlm_config.image_token_id]
    return tokenizer.decode(ids, skip_special_tokens=True)


def test_images_keep_their_proportions(published):
    folder, _ = published("pi0")
    other = load(folder, awake=False)
    (wide,) = other.prepare(observations(1, size=(56, 28)))
    assert wide.pixels.shape == (1, 3, 28, 28)
    rows = (wide.pixels[0].std((0, 2)) > 0.05).sum()
    assert 12 <= int(rows) <= 16, "a picture twice as wide as high fills half of the rows"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.action_out_proj.bias"), r"1 missing keys, first 'action_out_proj.bias'"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 unexpected keys, first 'extra'"),
        (lambda s: s.update({"model.action_out_proj.bias": torch.zeros(7)}), r"1 mismatched keys"),
    ],
)
def test_weights_that_do_not_fit_stop_the_load(published, change, message):
    folder, _ = published("pi0")
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load(folder, awake=False)


def test_configs_that_are_not_known_stop_the_load(published):
    folder, _ = published("pi0")
    raw = json.loads((folder / "config.json").read_text())

    def expect(error, message, **changed):
        (folder / "config.json").write_text(json.dumps(raw | changed))
        with pytest.raises(error, match=message):
            load(folder, awake=False)

    expect(ConfigError, "must share one of MEAN_STD", normalization_mapping={"ACTION": "MIN_MAX", "STATE": "MIN_MAX"})
    expect(ConfigError, "must share one of", normalization_mapping={"ACTION": "QUANTILES", "STATE": "MEAN_STD"})
    expect(CheckpointError, "unknown Gemma variant 'gemma_3b'.*gemma_300m", action_expert_variant="gemma_3b")
    expect(CheckpointError, "is a checkpoint of pi05, and policy.type 'pi0' reads pi0", type="pi05")
    expect(CheckpointError, "only squares are known", image_resolution=[28, 56])


def test_a_statistics_file_outside_the_checkpoint_is_refused(published):
    folder, _ = published("pi0")
    (folder / "policy_preprocessor.json").write_text(
        json.dumps({"steps": [{"registry_name": "normalizer_processor", "state_file": "../x.safetensors"}]})
    )
    with pytest.raises(CheckpointError, match="outside the checkpoint"):
        load(folder, awake=False)


# lerobot 0.4's config.json of π0, less sizes and features.
PUBLISHED = {
    "n_obs_steps": 1, "device": "cuda", "use_amp": False, "push_to_hub": True, "repo_id": "me/pi0", "private": None,
    "tags": None, "license": None, "dtype": "bfloat16", "n_action_steps": 4, "time_sampling_beta_alpha": 1.5,
    "time_sampling_beta_beta": 1.0, "time_sampling_scale": 0.999, "time_sampling_offset": 0.001, "min_period": 0.004,
    "max_period": 4.0, "rtc_config": None, "empty_cameras": 0, "gradient_checkpointing": True, "compile_model": False,
    "compile_mode": "max-autotune", "optimizer_lr": 2.5e-05, "optimizer_betas": [0.9, 0.95], "optimizer_eps": 1e-08,
    "optimizer_weight_decay": 0.01, "optimizer_grad_clip_norm": 1.0, "scheduler_warmup_steps": 1000,
    "scheduler_decay_steps": 30000, "scheduler_decay_lr": 2.5e-06, "tokenizer_max_length": 48, "pretrained_path": None,
    "input_features": {}, "output_features": {}, "freeze_vision_encoder": False, "train_expert_only": False,
    "use_peft": False, "use_relative_actions": False, "relative_exclude_joints": ["gripper"],
    "action_feature_names": None,
}  # fmt: skip


def rewritten(folder, name, change):
    """The folder with one of its JSON files changed."""
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def test_a_whole_published_config_is_read(published):
    folder, _ = published("pi0")
    rewritten(folder, "config.json", lambda raw: raw.update(PUBLISHED, time_sampling_scale=0.9))
    policy = load(folder, awake=False)
    assert policy.delta == ()
    assert policy._shape.time_scale == 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimiser_lr": 1e-4}, r"has optimiser_lr: 0\.0001, a key that is not known.*Did you mean 'optimizer_lr'"),
        ({"adapt_to_pi_aloha": True}, r"has adapt_to_pi_aloha: True; only False is known"),
        ({"use_delta_joint_actions_aloha": True}, r"has use_delta_joint_actions_aloha: True"),
        ({"n_obs_steps": 2}, "has n_obs_steps: 2; only 1 is known"),
        ({"use_peft": True}, "has use_peft: True"),
        ({"rtc_config": {"enabled": True}}, "has rtc_config"),
        ({"normalization_mapping": {"VISUAL": "MEAN_STD"}}, "normalises pictures by MEAN_STD"),
    ],
)
def test_a_key_that_would_change_what_is_computed_stops_the_load(published, changed, message):
    folder, _ = published("pi0")
    rewritten(folder, "config.json", lambda raw: raw.update(changed))
    with pytest.raises(CheckpointError, match=message):
        load(folder, awake=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"registry_name": "image_crop_resize_processor"}, "unknown processor step 'image_crop_resize_processor'"),
        ({"class": "mine.Step"}, r"unknown processor step 'mine\.Step'"),
        ({"registry_name": "to_batch_processor", "config": {"twice": 1}}, "unknown setting 'twice'"),
        ({"registry_name": "tokenizer_processor", "config": {"padding_side": "left"}}, "has padding_side: 'left'"),
        ({"registry_name": "normalizer_processor", "config": {"eps": 1e-3}}, "has eps: 0.001; only 1e-08 is known"),
        (
            {"registry_name": "normalizer_processor", "config": {"norm_map": {"STATE": "QUANTILES"}}},
            "normalises STATE by QUANTILES, and config.json by MEAN_STD",
        ),
    ],
)
def test_a_processor_step_that_is_not_known_stops_the_load(published, step, message):
    folder, _ = published("pi0")
    rewritten(folder, "policy_preprocessor.json", lambda content: content["steps"].append(step))
    with pytest.raises(CheckpointError, match=message):
        load(folder, awake=False)


def relative(folder, names=("x", "y", "left_gripper"), **config):
    """The folder as lerobot writes one that was trained on relative actions."""
    settings = {"enabled": True, "exclude_joints": ["gripper"], "action_names": names and list(names)}
    before = {"registry_name": "relative_actions_processor", "config": settings}
    after = {"registry_name": "absolute_actions_processor", "config": {"enabled": True}}
    rewritten(folder, "config.json", lambda raw: raw.update({"use_relative_actions": True, **config}))
    rewritten(folder, "policy_preprocessor.json", lambda content: content["steps"].insert(0, before))
    rewritten(folder, "policy_postprocessor.json", lambda content: content["steps"].append(after))


@pytest.mark.slow
def test_relative_actions_are_added_to_the_state_that_they_were_chosen_in(published, tmp_path):
    folder, policy = published("pi0")
    relative(folder)
    other = load(folder, awake=False)
    assert other.delta == (0, 1), "lerobot leaves out every dimension whose name holds an excluded one"
    prompts = other.prepare(observations(2, size=(28, 28)))
    units = torch.randn(2, 6)
    states = torch.stack([prompt.sensed for prompt in prompts])
    shown = played(other, units, 3, prompts)
    assert torch.allclose(shown[..., :2], policy.actions(units, 3)[..., :2] + states[:, None, :2])
    assert torch.allclose(shown[..., 2], policy.actions(units, 3)[..., 2])
    assert torch.allclose(recorded_units(other, shown, prompts), units, atol=1e-5)
    other.save_pretrained(tmp_path / "ours")
    assert load(tmp_path / "ours", awake=False).delta == (0, 1)
    with pytest.raises(ConfigError, match=r"delta_actions: \[0\], and .* was trained with \[0, 1\]"):
        load(tmp_path / "ours", awake=False, params={"delta_actions": [0]})


def test_without_names_lerobot_excludes_nothing(published):
    folder, _ = published("pi0")
    relative(folder, names=None)
    assert load(folder, awake=False).delta == (0, 1, 2)


def test_a_config_that_its_steps_contradict_is_refused(published):
    folder, _ = published("pi0")
    rewritten(folder, "config.json", lambda raw: raw.update(use_relative_actions=True))
    with pytest.raises(ConfigError, match="use_relative_actions True, and its processors' steps are not there"):
        load(folder, awake=False)


def test_a_missing_tokenizer_names_the_cure(published, monkeypatch):
    folder, policy = published("pi0")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(lerobot, "PALIGEMMA", "/nowhere/paligemma")
    with pytest.raises(CheckpointError, match=r"policy.params.tokenizer"):
        load(folder, awake=False)
    policy.processor.tokenizer.save_pretrained(folder.parent / "tokenizer")
    load(folder, awake=False, params={"tokenizer": str(folder.parent / "tokenizer")})


def test_the_published_sizes_are_known():
    """Of lerobot/pi0_base: 3.5 billion parameters."""
    assert lerobot_config.VARIANTS["gemma_2b"]["hidden_size"] == 2048
    assert lerobot_config.VARIANTS["gemma_300m"] == {
        "hidden_size": 1024,
        "num_hidden_layers": 18,
        "intermediate_size": 4096,
    }
