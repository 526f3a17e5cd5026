"""OpenVLA-OFT's discrete head: one forward for a chunk, several cameras, the robot's state."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.double import Float64
from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.types import Decision
from mmrl.objectives.rows import Row, collate
from mmrl.recipe.rollout import SamplingConfig
from mmrl.trainer.step import accumulate, plan_step
from tests.support.engines import generate, hf
from tests.support.openvla import load, observation, observations, sampled_rows
from tests.support.openvla_training import OBJECTIVE, step_gradient, towers, train
from tests.support.policy import adapt, distance, gradients, log_probs

CHUNK, DIM = 4, 3
UNITS = CHUNK * DIM
TWO = ("top", "wrist")


def oft(tiny_qwen, **config):
    return load(tiny_qwen("openvla_oft"), "openvla_oft", **config)


def rows_of(policy, samples, n=2, units=UNITS, temperature=1.0, side="left"):
    prompts = policy.prepare(samples)
    settings = SamplingConfig(max_new_tokens=units, temperature=temperature)
    answers = generate(hf(policy, side=side), prompts, settings, n, 4, restrict="action")
    return [
        Row(a.decision(p, "action"), "rl", (-1.0) ** i, i, units, n)
        for p, group in zip(prompts, answers)
        for i, a in enumerate(group)
    ]


def composed(folder, prompt, channels_N6HW, eos):
    """Logits [U, V] by timm, the projectors by hand, and transformers' Llama made bidirectional by its own setting."""
    from transformers import LlamaConfig, LlamaForCausalLM

    state, proprio = load_file(folder / "model.safetensors"), load_file(folder / "proprio_projector.safetensors")
    linear, gelu = torch.nn.functional.linear, torch.nn.functional.gelu
    both = list(towers(state))
    patches = []
    for image in channels_N6HW:
        pairs = zip(both, image.split(3))
        x = torch.cat([t.get_intermediate_layers(c[None], n=[len(t.blocks) - 2])[0] for t, c in pairs], 2)
        for i in (1, 2, 3):
            x = linear(x, state[f"projector.fc{i}.weight"], state[f"projector.fc{i}.bias"])
            x = gelu(x) if i < 3 else x
        patches.append(x)
    token = linear(prompt.state[None, None], proprio["fc1.weight"], proprio["fc1.bias"])
    token = linear(gelu(token), proprio["fc2.weight"], proprio["fc2.bias"])
    config = LlamaConfig(
        vocab_size=960, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, attn_implementation="eager",
    )  # fmt: skip
    config.is_causal = False
    llama = LlamaForCausalLM(config).eval()
    llama.load_state_dict(
        {k.removeprefix("language_model."): v for k, v in state.items() if k.startswith("language_model.")}
    )
    text = llama.get_input_embeddings()(prompt.input_ids[prompt.input_ids >= 0])[None]
    slots, end = torch.zeros(1, UNITS, 128), llama.get_input_embeddings()(torch.tensor([[eos]]))
    embeds = torch.cat([text[:, :1], *patches, token, text[:, 1:], slots, end], 1)
    first = embeds.shape[1] - 1 - UNITS - 1
    return llama(inputs_embeds=embeds, use_cache=False).logits[0, first : first + UNITS]


@torch.no_grad()
@pytest.mark.parametrize("cameras", [("top",), TWO])
def test_log_probs_equal_a_bidirectional_llama_composed_by_hand(tiny_qwen, tmp_path, cameras):
    policy = oft(tiny_qwen)
    policy.save_pretrained(tmp_path / "model")
    rows = rows_of(policy, observations(3, cameras=cameras), n=1, temperature=1.6)
    found = policy.log_probs(collate(rows)).log_probs_RU
    first = policy.module.config.token_count - 256
    for i, row in enumerate(rows):
        prompt = row.decision.prompt
        channels = policy.images.normalise(prompt.pixels)
        logits = composed(tmp_path / "model", prompt, channels, policy.tokenizer.eos_token_id)
        every = (logits[:, first : first + 256] / 1.6).log_softmax(-1)
        expected = every.gather(-1, row.decision.tokens[:, None] - first).squeeze(-1)
        assert torch.allclose(found[i], expected, atol=1e-4), float((found[i] - expected).abs().max())
    assert float(found.std()) > 0.1


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("units", [UNITS, UNITS - DIM])
def test_engine_and_trainer_agree(tiny_qwen, side, units):
    policy = oft(tiny_qwen)
    rows = rows_of(policy, observations(4, cameras=TWO), n=3, units=units, temperature=1.6, side=side)
    engine = torch.cat([row.decision.log_probs for row in rows])
    assert float((log_probs(policy, rows) - engine).abs().max()) < 1e-4
    assert float(engine.std()) > 0.1


def test_tokens_of_a_chunk_do_not_depend_on_each_other(tiny_qwen):
    policy = oft(tiny_qwen)
    (row,) = rows_of(policy, observations(1), n=1)
    other = row.decision.tokens.roll(1)
    changed = replace(row, decision=replace(row.decision, tokens=torch.cat([other[:6], row.decision.tokens[6:]])))
    before, after = log_probs(policy, [row]), log_probs(policy, [changed])
    assert torch.equal(before[6:], after[6:])
    assert not torch.equal(before[:6], after[:6])


def test_a_chunk_cut_short_keeps_its_log_probs(tiny_qwen):
    """Executing fewer actions than are predicted: the slots behind them still stand in the row."""
    policy = oft(tiny_qwen)
    (row,) = rows_of(policy, observations(1), n=1)
    short = replace(row, decision=replace(row.decision, tokens=row.decision.tokens[:DIM]))
    assert torch.allclose(log_probs(policy, [short]), log_probs(policy, [row])[:DIM], atol=1e-5)


def test_a_longer_chunk_than_the_policy_s_is_refused(tiny_qwen):
    policy = oft(tiny_qwen, awake=False)
    text = rf"policy's chunk of {CHUNK} actions has {UNITS}; set it to at most {CHUNK}"
    with pytest.raises(ConfigError, match=text):
        rows_of(policy, observations(1), units=UNITS + DIM)
    (prompt,) = policy.prepare([observation()])
    row = Row(Decision(prompt, torch.full((UNITS + 1,), 700), restrict="action"), "rl", 1.0, 0, UNITS + 1)
    with pytest.raises(ConfigError, match=text):
        log_probs(policy, [row])


def test_rows_of_a_prompt_share_one_forward(tiny_qwen):
    policy = oft(tiny_qwen)
    rows = rows_of(policy, observations(2), n=5)
    seen = []
    policy.module.projector.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    log_probs(policy, rows)
    assert seen == [2]
    prompts = [rows[0].decision.prompt, rows[5].decision.prompt]
    assert policy.batch_tokens(prompts, [[UNITS] * 5] * 2) == 2 * (max(p.length for p in prompts) + UNITS + 1)


def test_cameras_state_and_images_sway_the_actions(tiny_qwen):
    policy = oft(tiny_qwen)
    sample = observation(cameras=TWO)
    rows = rows_of(policy, [sample], n=3)
    before = log_probs(policy, rows)

    def moved(other):
        (prompt,) = policy.prepare([other])
        assert prompt.length == rows[0].decision.prompt.length
        swapped = [replace(r, decision=replace(r.decision, prompt=prompt)) for r in rows]
        return float((log_probs(policy, swapped) - before).abs().max())

    assert moved(sample) == 0.0
    assert moved(replace(sample, images=sample.images[::-1])) > 1e-2
    assert moved(replace(sample, state=-sample.state)) > 1e-2
    assert moved(observation(cameras=TWO, black=True)) > 1e-2


def test_the_state_is_normalised_by_its_own_statistics(tiny_qwen):
    policy = oft(tiny_qwen, awake=False)
    entry = {
        "action": {"q01": [-1.0] * 3, "q99": [1.0] * 3},
        "proprio": {"q01": [0.0, -1.0, 0.0, 0.0], "q99": [2.0, 1.0, 1.0, 4.0], "mask": [True, True, False, True]},
    }
    policy.set_statistics("tabletop", entry)
    (prompt,) = policy.prepare([replace(observation(), state=torch.tensor([0.5, 9.0, 0.5, 2.0]))])
    assert torch.allclose(prompt.state, torch.tensor([-0.5, 1.0, 0.5, 0.0]), atol=1e-6)


def test_a_state_or_camera_that_does_not_fit_is_refused(tiny_qwen):
    policy = oft(tiny_qwen, awake=False)
    sample = observation()
    with pytest.raises(BadSample, match="has no robot state"):
        policy.prepare([replace(sample, state=None)])
    with pytest.raises(ConfigError, match=r"state_dim is 4, and the simulator's state has 7 values"):
        policy.prepare([replace(sample, state=torch.zeros(7))])
    seven = {"q01": [0.0] * 7, "q99": [1.0] * 7}
    policy.set_statistics("tabletop", {"action": {"q01": [0.0] * 3, "q99": [1.0] * 3}, "proprio": seven})
    with pytest.raises(ConfigError, match=r"entry 'proprio' of statistics 'tabletop' has 7 values"):
        policy.prepare([sample])
    named = oft(tiny_qwen, awake=False, params={"cameras": list(TWO)})
    with pytest.raises(ConfigError, match=r"unknown camera 'wrist'.* Allowed: top"):
        named.prepare([sample])
    assert named.prepare([observation(cameras=TWO[::-1])])[0].pixels.shape[0] == 2


def test_the_end_token_is_a_setting(tiny_qwen):
    rows = rows_of(oft(tiny_qwen), observations(2))
    without = oft(tiny_qwen, params={"stop_token": False})
    assert float((log_probs(without, rows) - log_probs(oft(tiny_qwen), rows)).abs().max()) > 1e-3
    own = rows_of(without, observations(2))
    engine = torch.cat([row.decision.log_probs for row in own])
    assert float((log_probs(without, own) - engine).abs().max()) < 1e-4


# --- training


@pytest.mark.slow
def test_the_gradient_of_every_parameter_does_not_depend_on_the_split(tiny_qwen):
    policy = oft(tiny_qwen)
    rows = sampled_rows(policy, observations(4, cameras=TWO), n=3, units=UNITS)
    with Float64():
        policy.module.double()
        whole = step_gradient(policy, rows)
        moved = {name.split(".")[0] for name, g in whole.items() if float(g.abs().max()) > 0}
        assert moved == {"vision_backbone", "projector", "language_model", "proprio_projector"}
        for size in (1, 2, 8):
            plan = plan_step(OBJECTIVE, rows, 0, 8)
            for start in range(0, len(rows), size):
                accumulate(rows[start : start + size], plan, policy, 100_000)
            assert distance(whole, gradients(policy)) < 1e-12, size


def test_frozen_backbones_leave_the_projectors(tiny_qwen):
    policy = oft(tiny_qwen, freeze=["backbone"])
    before = {k: v.clone() for k, v in policy.module.named_parameters()}
    train(policy, rows_of(policy, observations(4)))
    moved = {k.split(".")[0] for k, v in policy.module.named_parameters() if not torch.equal(v, before[k])}
    assert moved == {"projector", "proprio_projector"}


@pytest.mark.slow
def test_under_lora_the_state_s_projector_trains_whole_and_the_reference_keeps_the_old_one(tiny_qwen, tmp_path):
    base = oft(tiny_qwen)
    policy = oft(tiny_qwen, lora={"rank": 4})
    rows = rows_of(base, observations(3))
    before = log_probs(base, rows)
    assert torch.allclose(log_probs(policy, rows), before, atol=1e-5)
    with pytest.raises(ConfigError, match="reference"), policy.reference():
        pass
    policy.keep_reference()
    assert {n.split(".")[2] for n, _, _ in policy.trainable() if "lora_" not in n} == {"proprio_projector"}
    train(adapt(policy), rows)
    after = log_probs(policy, rows)
    assert float((after - before).abs().max()) > 1e-2
    with policy.reference():
        assert torch.allclose(log_probs(policy, rows), before, atol=1e-5)
    assert torch.equal(log_probs(policy, rows), after)
    kept = {k: v.clone() for k, v in policy.reference_state().items()}
    other = oft(tiny_qwen, lora={"rank": 4})
    train(other, rows)
    other.load_reference(kept)
    with other.reference():
        assert torch.allclose(log_probs(other, rows), before, atol=1e-5)
    policy.save_pretrained(tmp_path / "model")
    merged = load(tmp_path / "model", "openvla_oft", awake=False)
    assert float((log_probs(merged, rows) - after).abs().max()) < 1e-4


def test_values_come_from_the_state_before_the_first_slot(tiny_qwen):
    policy = oft(tiny_qwen, value_head={})
    torch.nn.init.normal_(policy.value_head.layers[-1].weight)
    rows = rows_of(policy, observations(3), n=2)
    values = policy.log_probs(collate(rows)).value_RV
    assert values.shape == (6, 1)
    assert torch.allclose(values[0::2], values[1::2], atol=1e-5)
    assert float(values.detach().std()) > 1e-3
