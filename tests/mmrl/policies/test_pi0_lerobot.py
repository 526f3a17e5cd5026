"""lerobot's checkpoints: names, sizes, statistics, and everything that must stop the load."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmrl.contracts.errors import CheckpointError, ConfigError
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
            steps = [{"registry_name": "rename"}, {"registry_name": "normalizer", "state_file": file}]
            (folder / f"policy_{name}processor.json").write_text(json.dumps({"steps": steps}))
        return folder, policy

    return make


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
    (folder / "policy_preprocessor.json").write_text(json.dumps({"steps": [{"state_file": "../x.safetensors"}]}))
    with pytest.raises(CheckpointError, match="outside the checkpoint"):
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
