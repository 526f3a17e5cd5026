"""Saved and loaded again, robot policies act and judge as before: plain, with a critic, with merged adapters."""

import pytest
import torch

from mmrl.contracts.types import Decision
from mmrl.objectives.rows import Row, collate
from mmrl.recipe.rollout import SamplingConfig
from tests.support.engines import generate, own
from tests.support.flow import load as load_flow
from tests.support.openvla import load as load_openvla
from tests.support.openvla import observations

FAMILIES = ("openvla", "openvla_oft", "pi0", "pi05")
DIM = 3
VARIANTS = {
    "plain": {},
    "value head": {"value_head": {"outputs": 2}},
    "lora": {"lora": {"rank": 4, "vision": True}},
    "lora and value head": {"lora": {"rank": 4}, "value_head": {}},
}


def load(folder, family, **config):
    return (load_flow if family.startswith("pi") else load_openvla)(folder, family, **config)


def stir(policy):
    """Moves all that is trained, as training would; adapters and heads start as no change at all."""
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, parameter, part in policy.trainable():
            size = 0.3 if part == "value" else 0.05
            parameter.add_(size * torch.randn(parameter.shape, generator=g))
    return policy


def played(policy, temperature):
    """(actions [B, C, A] in the simulator's units, decisions) at three observations."""
    prompts = policy.prepare(observations(3))
    settings = SamplingConfig(max_new_tokens=2 * DIM, temperature=temperature)
    chosen = [one for (one,) in generate(own(policy, 8), prompts, settings, 1, 5, restrict="action")]
    actions = policy.actions(torch.stack([one.tokens for one in chosen]), DIM)
    decisions = [Decision(p, c.tokens, c.log_probs, "action", context=c.context) for p, c in zip(prompts, chosen)]
    return actions, decisions


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_policy_acts_and_judges_the_same(tiny_qwen, tmp_path, family, variant):
    settings = VARIANTS[variant]
    # Adapters are merged into what is saved, so the base has to be a folder of its own.
    load(tiny_qwen(family), family).save_pretrained(tmp_path / "base")
    policy = stir(load(tmp_path / "base", family, awake=False, **settings))
    policy.save_pretrained(tmp_path / "model")
    again = load(tmp_path / "model", family, awake=False, **{k: v for k, v in settings.items() if k != "lora"})
    # Merged weights differ from base and adapter in rounding.
    limit = 2e-3 if "lora" in settings else 0.0
    for temperature in (0.0, 1.0):
        (before, decisions), (after, _) = played(policy, temperature), played(again, temperature)
        if family.startswith("pi"):
            assert float((before - after).abs().max()) <= limit
        else:
            assert torch.equal(before, after), "the same tokens"
    rows = [Row(d, "rl", 1.0, i, len(d.tokens)) for i, d in enumerate(decisions)]
    with torch.no_grad():
        one, other = (p.log_probs(collate(rows)) for p in (policy, again))
    assert float((one.log_probs_RU - other.log_probs_RU).abs().max()) <= limit
    if "value_head" in settings:
        assert float(one.value_RV.std()) > 1e-3, "the critic tells the observations apart"
        assert float((one.value_RV - other.value_RV).abs().max()) <= limit
    base, _ = played(load(tmp_path / "base", family, awake=False), 0.0)
    assert float((base - played(policy, 0.0)[0]).abs().max()) > 1e-3, "what was trained matters"
