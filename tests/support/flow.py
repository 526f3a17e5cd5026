"""What the tests of flow policies share: awake tiny policies, sampled rows and demonstrations."""

import torch

from mmrl.contracts.types import Decision
from mmrl.objectives.rows import Row
from mmrl.policies.opening import load_policy
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.rollout import SamplingConfig
from tests.support.engines import flow, generate
from tests.support.openvla import observations

HORIZON, DIM = 4, 3
UNITS = HORIZON * DIM
FAMILIES = ("pi0", "pi05")


def load(folder, type="pi0", *, awake: bool = True, **config):
    """The policy of a folder on the CPU; `awake` draws weights large enough for every input to sway the outputs."""
    policy = load_policy(policy_settings(path=str(folder), type=type, device="cpu", **config))
    g = torch.Generator().manual_seed(0)
    heads = [] if policy.value_head is None else list(policy.value_head.named_parameters())
    with torch.no_grad():
        for name, parameter in [*policy.module.named_parameters(), *heads]:
            if awake and "lora_" not in name:
                noise = torch.randn(parameter.shape, generator=g)
                parameter.add_(noise / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.1 * noise)
    return policy


def completions(policy, prompts, n=2, units=UNITS, seed=0, temperature=1.0):
    """n chunks of each prompt by the policy's engine."""
    sampling = SamplingConfig(max_new_tokens=units, temperature=temperature)
    return generate(flow(policy), prompts, sampling, n, seed, restrict="action")


def sampled_rows(policy, samples=None, n=2, units=UNITS, seed=0) -> list[Row]:
    """rl rows; advantages differ in sign, and every second row is cut short by an action, as at an episode's end."""
    prompts = policy.prepare(samples or observations(3))
    rows = []
    for prompt, group in zip(prompts, completions(policy, prompts, n, units, seed)):
        for one in group:
            i, kept = len(rows), units - DIM * (len(rows) % 2)
            decision = one.decision(prompt, "action").first(kept)
            rows.append(Row(decision, "rl", (-1.0) ** i * (0.5 + 0.1 * i), i, kept, n))
    return rows


def demo_rows(policy, samples=None, first=1000) -> list[Row]:
    """demo rows of random actions, of different lengths."""
    g = torch.Generator().manual_seed(7)
    rows = []
    for i, prompt in enumerate(policy.prepare(samples or observations(3))):
        actions = torch.rand(1, HORIZON - i % 2, DIM, generator=g) * 2 - 1
        units = policy.action_units(actions)[0]
        rows.append(Row(Decision(prompt, units, restrict="action"), "demo", 1.0, first + i, len(units)))
    return rows
