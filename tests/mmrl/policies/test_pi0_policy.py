"""π0 and π0.5 as policies: sampling, scoring, gradients, freezing, LoRA, and bad input."""

from dataclasses import replace

import pytest
import torch

from benchmarks.double import Float64
from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.objectives.rows import collate
from mmrl.recipe.methods import resolve_objective
from mmrl.trainer.step import accumulate, plan_step
from tests.support.engines import flow, generate
from tests.support.flow import DIM, FAMILIES, HORIZON, UNITS, completions, demo_rows, load, sampled_rows
from tests.support.openvla import observation, observations
from tests.support.policy import distance, gradients, log_probs

SAMPLERS = (
    {"sampler": "sde"},
    {"sampler": "sde", "trained": "all"},
    {"sampler": "sde", "trained": [0, 2]},
    {"sampler": "noise", "trained": "all"},
    {"sampler": "cps"},
    {"sampler": "noise", "trained": "all", "mean_over": "chain"},
)
MIXED = resolve_objective("co_train", {})


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("params", SAMPLERS, ids=str)
def test_engine_and_trainer_agree(tiny_qwen, family, params):
    policy = load(tiny_qwen(family), family, params=params)
    rows = sampled_rows(policy, n=3)
    engine = torch.cat([row.decision.log_probs for row in rows])
    assert float((log_probs(policy, rows) - engine).abs().max()) < 1e-4
    assert float(engine.std()) > 0.1
    with torch.no_grad():
        policy.module.action_out_proj.bias.add_(0.1)
    assert float((log_probs(policy, rows) - engine).abs().max()) > 1e-3, "log-probs follow the weights"


@torch.no_grad()
def test_log_probs_are_the_densities_of_the_steps(tiny_qwen):
    """Mean over the trained steps of torch's Gaussian, with the velocity of transformers' forward pass."""
    policy = load(tiny_qwen("pi0"), params={"trained": "all", "eta": 0.7})
    (row, *_) = sampled_rows(policy, observations(1))
    context, prompt = row.decision.context, row.decision.prompt
    assert context.steps_S.tolist() == [0, 1, 2, 3]
    total = torch.zeros(HORIZON, DIM)
    for step in range(4):
        t, x = 1 - step / 4, context.before_SHD[step]
        v = policy.module(
            input_ids=prompt.input_ids[None], pixel_values=prompt.pixels[None], state=prompt.state[None],
            pixel_attention_mask=torch.ones(1, 1, dtype=torch.bool), attention_mask=torch.ones(1, prompt.length),
            noise=x[None], timestep=torch.tensor([t]),
        ).logits[0]  # fmt: skip
        s = 0.7 * (t / (1 - t if t < 1 else 0.25)) ** 0.5
        mean = x - 0.25 * (v + s**2 / (2 * t) * (x + (1 - t) * v))
        total += torch.distributions.Normal(mean, 0.5 * s).log_prob(context.after_SHD[step])
        if step < 3:
            assert torch.equal(context.after_SHD[step], context.before_SHD[step + 1])
    assert torch.allclose(log_probs(policy, [row]), total.flatten() / 4, atol=1e-4)
    assert torch.equal(row.decision.tokens, context.after_SHD[-1].flatten())


def test_over_the_chain_the_noise_that_it_starts_from_is_one_more_term(tiny_qwen):
    """RLinf's joint_logprob: the mean of K + 1 log-densities and entropies, the first of them N(0, 1)'s."""
    policy = load(tiny_qwen("pi0"), params={"sampler": "noise", "trained": "all"})
    (row, *_) = sampled_rows(policy, observations(1))
    normal = torch.distributions.Normal(0.0, 1.0)
    start = normal.log_prob(row.decision.context.before_SHD[0]).flatten()
    theirs = policy.log_probs(collate([row]), "gradient")
    policy.params = policy.params.model_copy(update={"mean_over": "chain"})
    ours = policy.log_probs(collate([row]), "gradient")
    assert torch.allclose(ours.log_probs_RU[0], (4 * theirs.log_probs_RU[0] + start) / 5, atol=1e-5)
    assert torch.allclose(ours.entropy_RU[0], (4 * theirs.entropy_RU[0] + normal.entropy()) / 5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_learnt_noise_has_the_density_and_entropy_of_its_gaussians(tiny_qwen, family):
    """log sigma^2 lies between those of noise_low and noise_high; the gradient in a log-deviation is z^2 - 1."""
    low, high = 0.1, 0.3
    params = {"sampler": "noise", "trained": "all", "noise_low": low, "noise_high": high}
    policy = load(tiny_qwen(family), family, params=params)
    (row, *_) = sampled_rows(policy, observations(1))
    context, head = row.decision.context, policy.module.noise_head.layers
    prefix = policy._prefix([row.decision.prompt]).take(torch.zeros(4, dtype=torch.long))
    v, states = policy._velocity(prefix, context.before_SHD, 1 - torch.arange(4) / 4)
    raw = head(states[:, -HORIZON:])
    raw.retain_grad()
    low_log, high_log = (2 * torch.tensor(x).log() for x in (low, high))
    std = (0.5 * (low_log + (high_log - low_log) * (raw.tanh() + 1) / 2)).exp()
    normal = torch.distributions.Normal(context.before_SHD - v / 4, std)
    expected = normal.log_prob(context.after_SHD).mean(0)
    found = policy.log_probs(collate([row]), "gradient")
    assert torch.allclose(found.log_probs_RU[0], expected.flatten(), atol=1e-5)
    assert torch.allclose(found.entropy_RU[0], normal.entropy().mean(0).flatten(), atol=1e-5)
    assert float(std.detach().max()) - float(std.detach().min()) > 0.05
    expected.sum().backward()
    z = (context.after_SHD - normal.mean) / std
    slope = (high_log - low_log) / 4 * (1 - raw.tanh() ** 2)
    assert torch.allclose(raw.grad, (z**2 - 1) * slope / 4, atol=1e-5)


def test_one_step_is_drawn_for_each_decision(tiny_qwen):
    policy = load(tiny_qwen("pi0"))
    rows = sampled_rows(policy, observations(4), n=16)
    steps = torch.cat([row.decision.context.steps_S for row in rows])
    assert len(steps) == len(rows)
    assert set(steps.tolist()) == {0, 1, 2, 3}
    cps = load(tiny_qwen("pi0"), params={"sampler": "cps"})
    steps = torch.cat([row.decision.context.steps_S for row in sampled_rows(cps, observations(4), n=16)])
    assert set(steps.tolist()) == {0, 1, 2}, "the last step of Flow-CPS has no noise"


@pytest.mark.parametrize("params", SAMPLERS[::5], ids=str)
def test_the_seed_decides_and_greedy_has_no_noise(tiny_qwen, params):
    policy = load(tiny_qwen("pi0"), params=params)
    prompts = policy.prepare(observations(2))

    def tokens(**kwargs):
        return torch.stack([one.tokens for group in completions(policy, prompts, **kwargs) for one in group])

    assert torch.equal(tokens(seed=1), tokens(seed=1))
    assert not torch.equal(tokens(seed=1), tokens(seed=2))
    greedy = [one for group in completions(policy, prompts, temperature=0.0) for one in group]
    assert all(one.context is None and not one.log_probs.any() for one in greedy)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("params", SAMPLERS[::3], ids=str)
def test_the_gradient_of_every_parameter_does_not_depend_on_the_split(tiny_qwen, family, params):
    policy = load(tiny_qwen(family), family, params=params)
    rows = sampled_rows(policy, observations(4), n=3) + demo_rows(policy, observations(4))
    torch.manual_seed(5)
    plan = plan_step(MIXED, rows, 0, UNITS)
    with Float64():
        policy.module.double()
        found = {}
        for size in (len(rows), 1, 2, 8):
            for start in range(0, len(rows), size):
                accumulate(rows[start : start + size], plan, policy, 10**9)
            found[size] = gradients(policy)
    whole = found.pop(len(rows))
    assert sum(float(g.abs().sum()) > 0 for g in whole.values()) > 40
    for size, gradient in found.items():
        assert distance(whole, gradient) < 1e-9, size


def test_a_demonstration_s_noise_depends_on_the_step_s_seed_and_on_the_row(tiny_qwen):
    policy = load(tiny_qwen("pi0"))
    rows = demo_rows(policy, observations(3))

    def losses(chosen, seed):
        torch.manual_seed(seed)
        torch.rand(3)
        return [x for row in chosen for x in log_probs(policy, [row]).tolist()]

    together = log_probs(policy, rows).tolist() if torch.manual_seed(1) else []
    assert losses(rows, 1) == pytest.approx(together, abs=1e-4)
    assert losses(rows[::-1], 1) != losses(rows, 1)
    assert losses(rows, 2) != pytest.approx(together, abs=1e-2)
    assert all(x <= 0 for x in together)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_save_and_load_gives_the_same_actions_and_scores(tiny_qwen, tmp_path, family):
    settings = {"params": {"sampler": "noise", "trained": "all"}, "value_head": {"outputs": 2}}
    policy = load(tiny_qwen(family), family, **settings)
    rows = sampled_rows(policy)
    policy.set_statistics("other", {part: dict(v) for part, v in policy.statistics["tabletop"].items()})
    policy.save_pretrained(tmp_path / "model")
    policy.params = policy.params.model_copy(update={"statistics": "tabletop"})
    settings["params"] = {**settings["params"], "statistics": "other"}
    again = load(tmp_path / "model", family, awake=False, **settings)
    assert again.statistics == policy.statistics
    assert torch.equal(log_probs(policy, rows), log_probs(again, rows))
    for a, b in zip(rows, sampled_rows(again)):
        assert torch.equal(a.decision.tokens, b.decision.tokens)
    both = [p.log_probs(collate(rows)).value_RV for p in (policy, again)]
    assert both[0].shape == (6, 2)
    assert torch.equal(*both)


def test_a_saved_pi0_loads_with_plain_transformers(tiny_qwen, tmp_path):
    from transformers import AutoProcessor, PI0ForConditionalGeneration

    policy = load(tiny_qwen("pi0"), params={"sampler": "noise", "trained": "all"}, value_head={})
    policy.save_pretrained(tmp_path / "model")
    model, info = PI0ForConditionalGeneration.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(model.action_out_proj.weight, policy.module.action_out_proj.weight)
    assert AutoProcessor.from_pretrained(tmp_path / "model").image_processor.size == {"height": 28, "width": 28}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_backbone_leaves_the_expert(tiny_qwen, family):
    policy = load(tiny_qwen(family), family, freeze=["backbone"], value_head={})
    assert not any(".vlm." in name for name, _, _ in policy.trainable())
    assert {part for _, _, part in policy.trainable()} == {"language", "value"}
    policy.log_probs(collate(sampled_rows(policy))).log_probs_RU.sum().backward()
    assert policy.module.model.dit.layers[0].mlp.up_proj.weight.grad is not None
    assert all(p.grad is None for p in policy.module.model.vlm.parameters())
    vision = load(tiny_qwen(family), family, freeze=["vision"])
    assert not any("vision_tower" in name for name, _, _ in vision.trainable())
    assert {part for _, _, part in load(tiny_qwen(family), family).trainable()} == {"vision", "language"}
    both = [name for name, _, _ in load(tiny_qwen(family), family, freeze=["vision", "language"]).trainable()]
    assert {name.split(".")[2] for name in both if name.startswith("model.vlm.")} == {"multi_modal_projector"}
    assert any(name.startswith("model.dit.") for name in both)


@pytest.mark.slow
def test_lora_adapts_both_language_models_and_keeps_a_reference_of_the_rest(tiny_qwen, tmp_path):
    plain = load(tiny_qwen("pi0"))
    seeing = [name for name, _, _ in load(tiny_qwen("pi0"), lora={"rank": 4, "vision": True}).trainable()]
    for part in ("vision_tower", "multi_modal_projector"):
        assert any(f".{part}." in name and "lora_A" in name for name in seeing)
    plain.save_pretrained(tmp_path / "base")
    policy = load(tmp_path / "base", awake=False, lora={"rank": 4})
    rows = sampled_rows(policy)
    before = log_probs(policy, rows)
    assert torch.allclose(before, log_probs(plain, rows), atol=1e-5)
    with pytest.raises(ConfigError, match="reference"), policy.reference():
        pass
    policy.keep_reference()
    names = [name for name, _, _ in policy.trainable()]
    for part in ("dit", "language_model"):
        assert any(f".{part}.layers.0.self_attn.q_proj.lora_A" in name for name in names)
    assert any("action_out_proj.weight" in name for name in names)
    with torch.no_grad():
        for _, parameter, _ in policy.trainable():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    after = log_probs(policy, rows)
    assert float((after - before).abs().max()) > 1e-2
    with policy.reference():
        assert torch.allclose(log_probs(policy, rows), before, atol=1e-5)
    assert torch.equal(log_probs(policy, rows), after)
    policy.save_pretrained(tmp_path / "merged")
    assert torch.allclose(log_probs(load(tmp_path / "merged", awake=False), rows), after, atol=1e-3)


def test_rows_of_a_prompt_share_its_pass(tiny_qwen):
    policy = load(tiny_qwen("pi0"))
    rows = sampled_rows(policy, observations(2), n=5)
    seen = []
    policy.module.model.vlm.vision_tower.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    log_probs(policy, rows)
    assert seen == [2]
    prompts = [rows[0].decision.prompt, rows[5].decision.prompt]
    assert policy.batch_tokens(prompts, [[UNITS] * 5] * 2) == 2 * max(p.length for p in prompts) + 10 * (HORIZON + 1)


def test_statistics_turn_actions_into_units_and_back(tiny_qwen):
    entry = {"mean": [0.0, 1.0, 2.0], "std": [1.0, 2.0, 0.5], "q01": [-1.0, 0.0, 0.0], "q99": [1.0, 4.0, 1.0]}
    actions = torch.tensor([[[1.0, 3.0, 2.5], [-1.0, 1.0, 0.0]]])
    expected = {"pi0": [1.0, 1.0, 1.0, -1.0, 0.0, -4.0], "pi05": [1.0, 0.5, 4.0, -1.0, -0.5, -1.0]}
    for family in FAMILIES:
        policy = load(tiny_qwen(family), family, awake=False, params={"statistics": "mine"})
        policy.set_statistics("mine", {"action": entry})
        units = policy.action_units(actions)
        assert units[0].tolist() == pytest.approx(expected[family], abs=1e-5)
        assert torch.allclose(policy.actions(units, DIM), actions, atol=1e-6)


def test_bad_input_is_refused(tiny_qwen):
    policy = load(tiny_qwen("pi0"), awake=False)
    with pytest.raises(ConfigError, match=r"actions have 7 dimensions and the policy's statistics 3"):
        policy.units_per_action(7)
    with pytest.raises(BadSample, match="has no robot state"):
        policy.prepare([replace(observation(), state=None)])
    with pytest.raises(ConfigError, match=r"the robot's state has 8 values, the policy's statistics 4"):
        policy.prepare([replace(observation(), state=torch.zeros(8))])
    prompts = policy.prepare([observation()])
    with pytest.raises(ConfigError, match=r"rollout.action_chunk 5 is beyond the 4 actions"):
        completions(policy, prompts, units=UNITS + DIM)
    with pytest.raises(ConfigError, match=r"acts in simulators and answers no text"):
        generate(flow(policy, 8), prompts, None, 1, 0)
    with pytest.raises(ConfigError, match=r"entry 'action': std is missing"):
        policy.set_statistics("x", {"action": {"mean": [0.0] * 3}})
    policy.statistics = {}
    policy._normalisers = {}
    with pytest.raises(ConfigError, match="holds no normalisation statistics"):
        policy.units_per_action(3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"params": {"trained": [0, 4]}}, r"sampler 'sde' of 4 steps .* 0 to 3"),
        ({"params": {"sampler": "cps", "steps": 1}}, "needs 2 steps or more"),
        ({"params": {"sampler": "cps", "eta": 1.0}}, "set it below 1"),
        ({"params": {"mean_over": "chain"}}, "set trained to all, not one"),
        ({"params": {"trained": [1, 1]}}, "must name different steps"),
        ({"params": {"noise_low": 0.2}}, "noise_low 0.2 is not below"),
        ({"params": {"samplr": "sde"}}, r"samplr.*sampler"),
        (
            {"gradient_checkpointing": True},
            "policy.gradient_checkpointing: unknown key .* qwen_vl, smolvlm, openvla and openvla_oft read it",
        ),
        ({"action_bins": 5}, "policy.action_bins: unknown key .* qwen_vl reads it"),
        ({"freeze": ["experts"]}, "unknown part of pi0 'experts'. Did you mean 'expert'"),
    ],
)
def test_bad_settings_are_refused(tiny_qwen, settings, message):
    with pytest.raises(ConfigError, match=message):
        load(tiny_qwen("pi0"), awake=False, **settings)


@pytest.mark.slow
def test_a_tokenizer_in_the_settings_replaces_the_checkpoint_s(tiny_qwen, tmp_path):
    folder = tiny_qwen("pi0")
    tokenizer = load(folder, awake=False).processor.tokenizer
    tokenizer.add_tokens(["sesame"])
    tokenizer.save_pretrained(tmp_path)
    policy = load(folder, awake=False, params={"tokenizer": str(tmp_path)})
    assert "sesame" in policy.processor.tokenizer.get_vocab()
    assert "sesame" not in load(folder, awake=False).processor.tokenizer.get_vocab()
    with pytest.raises(ConfigError, match=r"policy.params.tokenizer: '.*nowhere' cannot be had"):
        load(folder, awake=False, params={"tokenizer": str(tmp_path / "nowhere")})
