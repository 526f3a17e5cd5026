"""The OpenVLA policy against timm and Llama composed by hand, its own decoding, and ways to train it."""

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.double import Float64
from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Decision
from mmrl.objectives.rows import Row, collate
from mmrl.recipe.rollout import SamplingConfig
from mmrl.recipe.training import OptimConfig
from mmrl.trainer.optim import Optimizer
from mmrl.trainer.step import accumulate, plan_step
from tests.support.engines import generate, hf
from tests.support.openvla import load, observation, observations, sampled_rows
from tests.support.openvla_training import OBJECTIVE, step_gradient, towers, train
from tests.support.policy import adapt, distance, gradients, log_probs

# --- against an independent composition


def composed(folder, prompt, pixels_6HW, tokens):
    """Logits [U, V] at the tokens of an answer: features, projector, and transformers' own Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    state = load_file(folder / "model.safetensors")
    features = [
        tower.get_intermediate_layers(channels[None], n=[len(tower.blocks) - 2])[0]
        for tower, channels in zip(towers(state), pixels_6HW.split(3))
    ]
    x = torch.cat(features, 2)
    for i in (1, 2, 3):
        x = torch.nn.functional.linear(x, state[f"projector.fc{i}.weight"], state[f"projector.fc{i}.bias"])
        x = torch.nn.functional.gelu(x) if i < 3 else x
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=960, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=4,
        )
    ).eval()  # fmt: skip
    llama.load_state_dict(
        {k.removeprefix("language_model."): v for k, v in state.items() if k.startswith("language_model.")}
    )
    text = torch.cat([prompt.input_ids[prompt.input_ids >= 0], tokens])[None]
    embeds = llama.get_input_embeddings()(text)
    embeds = torch.cat([embeds[:, :1], x, embeds[:, 1:]], 1)
    return llama(inputs_embeds=embeds).logits[0, -len(tokens) - 1 : -1]


@torch.no_grad()
def test_log_probs_equal_timm_and_llama_composed_by_hand(tiny_qwen, tmp_path):
    policy = load(tiny_qwen("openvla"))
    policy.save_pretrained(tmp_path / "model")
    rows = sampled_rows(policy, observations(3), n=1, temperature=1.6)
    found = policy.log_probs(collate(rows), "value")
    first, last = policy.module.config.token_count - 256, policy.module.config.token_count
    for i, row in enumerate(rows):
        prompt, tokens = row.decision.prompt, row.decision.tokens
        channels = policy.images.normalise(prompt.pixels)[0]
        logits = composed(tmp_path / "model", prompt, channels, tokens)[:, first:last] / 1.6
        every = logits.log_softmax(-1)
        expected = every.gather(-1, tokens[:, None] - first).squeeze(-1)
        assert torch.allclose(found.log_probs_RU[i, : row.units], expected, atol=1e-4)
        entropy = -(every.exp() * every).sum(-1)
        assert torch.allclose(found.entropy_RU[i, : row.units], entropy, atol=1e-4)
    assert float(found.log_probs_RU.std()) > 0.1


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_cached_decoding_equals_the_full_forward(tiny_qwen, side):
    policy = load(tiny_qwen("openvla"))
    prompts = policy.prepare(observations(3))
    assert len({p.length for p in prompts}) > 1
    forced = torch.randint(640, 896, (6, 5), generator=torch.Generator().manual_seed(1))
    state, rows = policy.prefill(prompts, 2, side), torch.arange(6)
    cached = torch.zeros(6, 5, len(state.logits_BV[0]))
    for u in range(5):
        cached[rows, u] = state.logits_BV.log_softmax(-1)
        if u == 2:
            kept = torch.tensor([4, 1, 3])
            state, rows = state.select(kept), rows[kept]
        state = policy.decode(state, forced[rows, u])
    for b in rows.tolist():
        prompt = prompts[b // 2]
        ids = torch.cat([prompt.input_ids, forced[b]])
        causal = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()[None, None]
        hidden = policy._hidden(ids[None], torch.arange(len(ids)).expand(3, 1, -1), causal, [prompt])
        full = policy.module.get_output_embeddings()(hidden)[0, -6:-1].log_softmax(-1)
        assert torch.allclose(cached[b], full, atol=1e-5), float((cached[b] - full).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("packing", ["group", "row"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("temperature", [0.6, 1.6])
def test_engine_and_trainer_agree(tiny_qwen, packing, side, temperature):
    policy = load(tiny_qwen("openvla"), packing=packing)
    prompts = policy.prepare(observations(4))
    settings = SamplingConfig(max_new_tokens=6, temperature=temperature)
    rows = []
    for prompt, group in zip(prompts, generate(hf(policy, side=side), prompts, settings, 3, 4, restrict="action")):
        for answer in group:
            rows.append(Row(answer.decision(prompt, "action"), "rl", 1.0, len(rows), 6, 3))
    with torch.no_grad():
        found = policy.log_probs(collate(rows)).log_probs_RU
    engine = torch.stack([row.decision.log_probs for row in rows])
    assert float((found - engine).abs().max()) < 1e-4
    assert float(engine.std()) > 0.1
    chosen = torch.stack([row.decision.tokens for row in rows])
    assert int(chosen.min()) >= 640
    assert int(chosen.max()) < 896


def test_black_images_change_the_actions(tiny_qwen):
    """A policy that ignores its images acts, and fails silently."""
    policy = load(tiny_qwen("openvla"))
    rows = sampled_rows(policy, [observation()], n=4)
    (black,) = policy.prepare([observation(black=True)])
    blind = [Row(Decision(black, r.decision.tokens, restrict="action"), "rl", 1.0, 0, r.units) for r in rows]
    assert float((log_probs(policy, rows) - log_probs(policy, blind)).abs().max()) > 0.05


# --- gradients


@pytest.mark.slow
def test_the_gradient_of_every_parameter_does_not_depend_on_the_split(tiny_qwen):
    policy = load(tiny_qwen("openvla"), value_head={})
    rows = sampled_rows(policy, observations(4), n=3)
    with Float64():
        policy.module.double()
        policy.value_head.double()
        whole = step_gradient(policy, rows)
        moved = {name.split(".")[0] for name, g in whole.items() if float(g.abs().max()) > 0}
        assert moved == {"vision_backbone", "projector", "language_model"}
        for size in (1, 2, 8):
            plan = plan_step(OBJECTIVE, rows, 0, 8)
            for start in range(0, len(rows), size):
                accumulate(rows[start : start + size], plan, policy, 100_000)
            assert distance(whole, gradients(policy)) < 1e-12, size
        for budget in (1, 80, 200):
            assert distance(whole, step_gradient(policy, rows, budget)) < 1e-12, budget


def test_packing_changes_no_gradient(tiny_qwen):
    found = []
    for packing in ("group", "row"):
        policy = load(tiny_qwen("openvla"), packing=packing)
        found.append(step_gradient(policy, sampled_rows(policy, observations(3), n=3)))
    assert distance(*found) < 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"rank": 4, "vision": True}])
def test_gradient_checkpointing_changes_no_gradient(tiny_qwen, lora):
    found = []
    for checkpointing in (False, True):
        policy = load(tiny_qwen("openvla"), gradient_checkpointing=checkpointing, lora=lora)
        policy = adapt(policy) if lora else policy
        found.append(step_gradient(policy, sampled_rows(policy, observations(3))))
    assert distance(*found) < 1e-6
    assert max(float(g.abs().max()) for name, g in found[0].items() if "vision_backbone" in name) > 1e-4


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_implementations_agree(tiny_qwen, implementation):
    policy = load(tiny_qwen("openvla"), attention=implementation)
    rows = sampled_rows(load(tiny_qwen("openvla")), observations(3))
    expected = torch.cat([row.decision.log_probs for row in rows])
    assert torch.allclose(log_probs(policy, rows), expected, atol=1e-4)


# --- what is trained


@pytest.mark.slow
@pytest.mark.parametrize(
    ("frozen", "learning"),
    [
        ([], {"vision_backbone", "projector", "language_model"}),
        (["vision"], {"projector", "language_model"}),
        (["language"], {"vision_backbone", "projector"}),
        (["backbone"], {"projector"}),
        (["vision", "language"], {"projector"}),
    ],
)
def test_frozen_parts_stay_and_the_others_learn(tiny_qwen, frozen, learning):
    policy = load(tiny_qwen("openvla"), freeze=frozen)
    before = {k: v.clone() for k, v in policy.module.named_parameters()}
    train(policy, sampled_rows(policy, observations(4)))
    moved = {k for k, v in policy.module.named_parameters() if not torch.equal(v, before[k])}
    assert {name.split(".")[0] for name in moved} == learning
    named = {name for name, _, _ in policy.trainable()}
    assert moved <= named
    assert not named - moved, "what is called trainable learns"


def test_weights_behind_the_features_are_never_trained(tiny_qwen):
    policy = load(tiny_qwen("openvla"))
    for name, _, _ in policy.trainable():
        assert "blocks.2." not in name
        assert "attn_pool" not in name
        assert not name.endswith(("featurizer.norm.weight", "featurizer.norm.bias"))


def test_parts_have_their_own_rates(tiny_qwen):
    policy = load(tiny_qwen("openvla"), value_head={})
    optimizer = Optimizer(policy, OptimConfig(lr=1e-3, lr_vision=1e-5, lr_value=1e-2), 10)
    part_of = {id(p): part for _, p, part in policy.trainable()}
    rates = {"language": 1e-3, "vision": 1e-5, "value": 1e-2}
    seen = [(part_of[id(p)], group["peak"]) for group in optimizer.adamw.param_groups for p in group["params"]]
    assert {part for part, _ in seen} == set(rates)
    assert all(rates[part] == peak for part, peak in seen)


@pytest.mark.slow
def test_lora_trains_adapters_and_saves_them_merged(tiny_qwen, tmp_path):
    base = load(tiny_qwen("openvla"))
    policy = load(tiny_qwen("openvla"), lora={"rank": 4, "targets": "all-linear", "vision": True})
    rows = sampled_rows(base, observations(3))
    assert torch.allclose(log_probs(policy, rows), log_probs(base, rows), atol=1e-5)
    names = [name for name, _, _ in policy.trainable()]
    assert all("lora_" in name for name in names)
    assert not any("lm_head" in name for name in names)
    assert {part for _, _, part in policy.trainable()} == {"vision", "language"}
    assert {name.split(".")[2] for name in names} == {"vision_backbone", "projector", "language_model"}
    assert {name.split(".")[3] for name in names if ".projector." in name} == {"fc1", "fc2", "fc3"}
    frozen = {k: v.clone() for k, v in policy.module.state_dict().items() if "lora_" not in k}
    adapt(policy)
    train(policy, rows)
    after = policy.module.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in frozen.items())
    expected = log_probs(policy, rows)
    assert float((expected - log_probs(base, rows)).abs().max()) > 1e-2
    policy.keep_reference(base=True)
    with policy.reference():
        assert torch.allclose(log_probs(policy, rows), log_probs(base, rows), atol=1e-5)
    policy.save_pretrained(tmp_path / "model")
    assert (
        load_file(tmp_path / "model" / "model.safetensors").keys()
        == load_file(tiny_qwen("openvla") / "model.safetensors").keys()
    )
    merged = load(tmp_path / "model", awake=False)
    assert float((log_probs(merged, rows) - expected).abs().max()) < 1e-4


def test_the_kept_reference_does_not_move(tiny_qwen):
    policy = load(tiny_qwen("openvla"))
    rows = sampled_rows(policy, observations(3))
    with pytest.raises(ConfigError, match="reference"), policy.reference():
        pass
    before = log_probs(policy, rows)
    policy.keep_reference()
    train(policy, rows)
    with policy.reference():
        assert torch.equal(log_probs(policy, rows), before)
    assert float((log_probs(policy, rows) - before).abs().max()) > 1e-2
    other = load(tiny_qwen("openvla"), awake=False)
    other.load_reference({k: v.clone() for k, v in policy.reference_state().items()})
    with other.reference():
        assert torch.equal(log_probs(other, rows), before)


def test_bfloat16_keeps_float32_master_weights(tiny_qwen):
    policy = load(tiny_qwen("openvla"), dtype="bfloat16", freeze=["vision"])
    exact = load(tiny_qwen("openvla"))
    rows = sampled_rows(exact, observations(3))
    assert {p.dtype for _, p, _ in policy.trainable()} == {torch.float32}
    frozen = {p.dtype for n, p in policy.module.named_parameters() if n.startswith("vision_backbone")}
    assert frozen == {torch.bfloat16}
    ours, theirs = log_probs(policy, rows), log_probs(exact, rows)
    assert ours.dtype == torch.float32
    assert 0 < float((ours - theirs).abs().mean()) < 0.2
    found = step_gradient(policy, rows)
    assert all(bool(torch.isfinite(g).all()) for g in found.values())


def test_values_come_from_the_state_before_the_first_token(tiny_qwen):
    policy = load(tiny_qwen("openvla"), value_head={"outputs": 2})
    torch.nn.init.normal_(policy.value_head.layers[-1].weight)
    rows = sampled_rows(policy, observations(3), n=2)
    values = policy.log_probs(collate(rows)).value_RV
    assert values.shape == (6, 2)
    assert torch.allclose(values[0::2], values[1::2], atol=1e-5), "rows of one prompt have one value"
    assert float(values[0::2].detach().std()) > 1e-3
    short = [Row(Decision(r.decision.prompt, r.decision.tokens[:1], restrict="action"), "rl", 1.0, 0, 1) for r in rows]
    assert torch.allclose(policy.log_probs(collate(short)).value_RV, values, atol=1e-5)
