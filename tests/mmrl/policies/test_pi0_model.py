"""The π0 adapter's forward passes against transformers' own, and π0.5's network against Gemma's."""

import pytest
import torch

from mmrl.objectives.rows import collate
from mmrl.policies.pi0.pi05_policy import prompt_text, state_bins
from tests.support.flow import DIM, FAMILIES, HORIZON, completions, demo_rows, load
from tests.support.openvla import observations


def inputs(policy, prompts):
    """What PI0ForConditionalGeneration takes."""
    width = max(p.length for p in prompts)
    pad = torch.nn.functional.pad
    return {
        "input_ids": torch.stack([pad(p.input_ids, (0, width - p.length)) for p in prompts]),
        "attention_mask": torch.stack([(torch.arange(width) < p.length).long() for p in prompts]),
        "pixel_values": torch.stack([p.pixels for p in prompts]),
        "pixel_attention_mask": torch.ones(len(prompts), 1, dtype=torch.bool),
        "state": torch.stack([p.state for p in prompts]),
    }


def test_prompts_are_those_of_transformers_processor(tiny_qwen):
    policy = load(tiny_qwen("pi0"))
    samples = observations(3)
    prompts = policy.prepare(samples)
    processor = policy.processor
    texts = [s.messages[0]["content"][-1]["text"] for s in samples]
    theirs = processor(images=[[*s.images] for s in samples], text=texts, padding=True)
    image = processor.image_token_id
    assert image == policy.module.config.vlm_config.image_token_id
    for prompt, ids, mask, pixels in zip(
        prompts, theirs["input_ids"], theirs["attention_mask"], theirs["pixel_values"]
    ):
        assert torch.equal(prompt.input_ids, ids[mask.bool()])
        assert torch.equal(prompt.pixels, pixels)


@torch.no_grad()
def test_the_ode_is_transformers_sample_actions(tiny_qwen):
    policy = load(tiny_qwen("pi0"))
    prompts = policy.prepare(observations(3))
    noise = torch.randn(3, HORIZON, DIM, generator=torch.Generator().manual_seed(0))
    theirs = policy.module.sample_actions(**inputs(policy, prompts), noise=noise, num_steps=4)
    ours = completions(policy, prompts, n=1, seed=0, temperature=0.0)
    for (one,), expected in zip(ours, theirs):
        assert torch.allclose(one.tokens, expected.flatten(), atol=1e-5)
        assert one.context is None
    assert float(theirs.std()) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("dims", [DIM, 5])
@pytest.mark.parametrize("shorter", [0, 1])
def test_the_supervised_loss_is_transformers_own(tiny_qwen, dims, shorter):
    """Also where the robot has fewer dimensions than the network; of a demonstration of fewer actions, over those."""
    policy = load(tiny_qwen("pi0", action_dim=dims))
    policy.statistics["tabletop"]["action"] = {"mean": [0.0] * DIM, "std": [0.6] * DIM}
    kept = HORIZON - shorter
    rows = [row for row in demo_rows(policy, observations(4)) if row.units == kept * DIM]
    torch.manual_seed(3)
    batch = collate(rows)
    found = policy.log_probs(batch).log_probs_RU
    points = [policy._demonstration_point(batch, r) for r in range(len(rows))]
    actions = torch.zeros(len(rows), HORIZON, dims)
    actions[:, :kept, :DIM] = torch.stack([row.decision.tokens for row in rows]).unflatten(1, (kept, DIM))
    noise = torch.stack([velocity for _, _, velocity in points]) + actions
    times = torch.stack([time for _, time, _ in points])
    prompts = [row.decision.prompt for row in rows]
    if shorter:
        point = times[:, None, None] * noise + (1 - times[:, None, None]) * actions
        v = policy.module(**inputs(policy, prompts), noise=point, timestep=times).logits
        theirs = (v - (noise - actions))[:, :kept].square().mean()
    else:
        theirs = policy.module(**inputs(policy, prompts), actions=actions, noise=noise, timestep=times).loss
    assert float(-found.detach().mean()) == pytest.approx(float(theirs.detach()), rel=1e-5)
    ours, expected = (
        torch.autograd.grad(loss, policy.module.action_out_proj.weight, retain_graph=True)[0]
        for loss in (-found.mean(), theirs)
    )
    assert torch.allclose(ours, expected, atol=1e-5)


def test_times_follow_the_published_distribution(tiny_qwen):
    """t = 0.001 + 0.999 Beta(1.5, 1), whose distribution function is u^1.5."""
    policy = load(tiny_qwen("pi0"), awake=False)
    g = torch.Generator().manual_seed(0)
    times = torch.stack([policy._draw_time(g) for _ in range(4000)]).sort().values
    expected = ((times - 0.001) / 0.999) ** 1.5
    # Kolmogorov-Smirnov: 1.95 / sqrt(n) at the 0.1 % level.
    assert float((expected - torch.arange(1, 4001) / 4000).abs().max()) < 1.95 / 4000**0.5


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_every_input_sways_the_velocity(tiny_qwen, family):
    policy = load(tiny_qwen(family), family)
    (prompt,) = policy.prepare(observations(1))
    (other,) = policy.prepare(observations(1, black=True))
    x, time = torch.randn(1, HORIZON, DIM), torch.tensor([0.5])
    at = lambda p, x, t: policy._velocity(policy._prefix([p]), x, t)[0]  # noqa: E731
    before = at(prompt, x, time)
    later = x.clone()
    later[:, -1] += 1
    for changed in (at(other, x, time), at(prompt, x, time / 2), at(prompt, later, time)):
        assert float((changed[:, 0] - before[:, 0]).abs().max()) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_the_critic_reads_the_observation_alone(tiny_qwen, family):
    policy = load(tiny_qwen(family), family, value_head={})
    prefix = policy._prefix(policy.prepare(observations(2)))
    states = [
        policy._critic_states(prefix, policy._velocity(prefix, x, t)[1])
        for x, t in ((torch.zeros(2, HORIZON, DIM), torch.ones(2)), (torch.randn(2, HORIZON, DIM), torch.rand(2)))
    ]
    assert torch.allclose(*states, atol=1e-5)
    assert float((states[0][0] - states[0][1]).abs().max()) > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_of_shorter_prompts_changes_nothing(tiny_qwen, family):
    policy = load(tiny_qwen(family), family)
    prompts = policy.prepare(observations(3))
    assert len({p.length for p in prompts}) > 1
    x, time = torch.randn(3, HORIZON, DIM), torch.tensor([1.0, 0.5, 0.25])
    together = policy._velocity(policy._prefix(prompts), x, time)[0]
    for i, prompt in enumerate(prompts):
        alone = policy._velocity(policy._prefix([prompt]), x[i : i + 1], time[i : i + 1])[0]
        assert torch.allclose(together[i : i + 1], alone, atol=1e-5)


@torch.no_grad()
def test_pi05_s_expert_with_neutral_norms_is_gemma(tiny_qwen):
    """Scale 0, shift 0, gate 1 make every adaptive norm a Gemma norm of weight 0."""
    from transformers import DynamicCache, GemmaModel

    policy = load(tiny_qwen("pi05"), "pi05")
    expert = policy.module.model.dit
    gemma = GemmaModel(policy.module.config.dit_config).eval()
    for name, norm in expert.named_modules():
        if name.endswith("norm"):
            norm.dense.weight.zero_()
            norm.dense.bias.copy_(torch.cat([torch.zeros(128), torch.ones(64)]))
    state = {k: v for k, v in expert.state_dict().items() if ".dense." not in k}
    missing = gemma.load_state_dict(state, strict=False).missing_keys
    assert all("norm" in k or k == "embed_tokens.weight" for k in missing)
    g = torch.Generator().manual_seed(1)
    x, seen = torch.randn(2, 5, 64, generator=g), torch.tensor([[True] * 3, [True, True, False]])
    prefix = [torch.randn(2, 2, 1, 3, 32, generator=g) for _ in expert.layers]

    def cache():
        made = DynamicCache()
        for i, (k, v) in enumerate(prefix):
            made.update(k, v, i)
        return made

    ours = expert(x, torch.randn(2, 64, generator=g), seen, cache())
    mask = torch.cat([seen, torch.ones(2, 5, dtype=torch.bool)], 1)[:, None, None].expand(2, 1, 5, 8)
    positions = seen.sum(1, keepdim=True) + torch.arange(5)
    theirs = gemma(inputs_embeds=x, attention_mask=mask, position_ids=positions, past_key_values=cache())
    assert torch.allclose(ours, theirs.last_hidden_state, atol=1e-5)


@torch.no_grad()
def test_adaptive_norms_are_the_published_formula(tiny_qwen):
    norm = load(tiny_qwen("pi05"), "pi05").module.model.dit.norm
    x, condition = torch.randn(2, 5, 64), torch.randn(2, 64)
    normed, gate = norm(x, condition)
    scale, shift, expected_gate = (norm.dense.weight @ condition.T + norm.dense.bias[:, None]).T[:, None].split(64, -1)
    rms = (x.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    assert torch.allclose(normed, x / rms * (1 + scale) + shift, atol=1e-5)
    assert torch.allclose(gate, expected_gate, atol=1e-6)


def test_a_new_pi05_starts_without_its_conditions(tiny_qwen):
    norm = load(tiny_qwen("pi05"), "pi05", awake=False).module.model.dit.layers[0].input_layernorm
    assert not norm.dense.weight.any()
    assert not norm.dense.bias.any()


def test_pi05_writes_the_state_into_its_prompt(tiny_qwen):
    import numpy as np

    state = torch.tensor([-1.0, -0.999, 0.0, 0.5, 0.9999, 1.0, -1.5, 2.0])
    expected = np.digitize(state.double().numpy(), bins=np.linspace(-1, 1, 257)[:-1]) - 1
    assert state_bins(state) == expected.tolist()
    text = prompt_text(" pick_up\nthe cup ", torch.tensor([0.0, 1.0]))
    assert text == "Task: pick up the cup, State: 128 255;\nAction: "
    policy = load(tiny_qwen("pi05"), "pi05", awake=False)
    (sample,) = observations(1)
    (prompt,) = policy.prepare([sample])
    bins = " ".join(map(str, state_bins(2 * sample.state - 1)))
    shown = policy.processor.tokenizer.decode(prompt.input_ids[16:], skip_special_tokens=True)
    assert prompt.state is None
    assert f"State: {bins};" in shown
