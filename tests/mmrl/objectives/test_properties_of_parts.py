"""What holds of the parts that remember, switch or judge, whatever they are given."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmrl.contracts.errors import ConfigError
from mmrl.objectives.advantages import weigh_groups
from mmrl.objectives.controllers import Controllers
from mmrl.objectives.preferences import contrast, judge
from mmrl.objectives.scored import Scored
from mmrl.objectives.seen import Seen
from mmrl.recipe.coefficients import BCO, CoPG
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.training import StageConfig

NORMS = st.lists(st.floats(1e-3, 1e3), min_size=6, max_size=6)


def switched(norms, warmup, gamma, cut=None):
    """Which steps are supervised, the controller put back from its state before step `cut`."""
    own = {"switch": {"warmup": warmup, "gamma": gamma, "seed": 3}}
    stage = StageConfig(name="x", method="sasr", steps=9, objective={"controllers": own})
    controllers, supervised = Controllers(stage), []
    for step, norm in enumerate(norms):
        if step == cut:
            resumed = Controllers(stage)
            resumed.load_state_dict(json.loads(json.dumps(controllers.state_dict())))
            controllers = resumed
        control = controllers.control()
        demo, rl = (control.objective[f"streams.{name}.weight"] for name in ("demo", "rl"))
        assert sorted((demo, rl)) == [0.0, 1.0]
        supervised.append(bool(demo))
        controllers.observe({"optim/grad_norm": norm})
    return supervised


@given(NORMS, st.integers(1, 4), st.floats(0.1, 10.0), st.integers(0, 5))
def test_a_switch_begins_supervised_and_goes_on_from_its_state(norms, warmup, gamma, cut):
    whole = switched(norms, warmup, gamma)
    assert all(whole[:warmup])
    assert switched(norms, warmup, gamma, cut) == whole


def test_a_switch_is_drawn_by_the_norm_of_supervised_steps_alone():
    """p = G / (G + gamma G_w): with gamma near 0 always, with a huge one never; RL's norms say nothing."""
    assert all(switched([1.0] * 40, 2, 1e-9))
    assert not any(switched([1.0] * 40, 2, 1e9)[2:])
    drawn = switched([1.0] * 400, 1, 1.0)
    assert 0.4 < sum(drawn) / len(drawn) < 0.6
    # After the warm-up nothing supervised is drawn, so that what follows cannot change it.
    assert switched([1.0] * 2 + [1e6] * 38, 2, 1e9) == switched([1.0] * 40, 2, 1e9)


def test_a_switch_needs_two_streams_with_weights_of_their_own():
    with pytest.raises(ConfigError, match=r"streams.demo.weight is no number of the objective"):
        resolve_objective("grpo", {"controllers": {"switch": {}}})
    with pytest.raises(ConfigError, match=r"streams.rl.weight is no number of the objective"):
        resolve_objective("chord_phi", {"controllers": {"switch": {}}})


GROUPS = st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=4)


@given(GROUPS, st.floats(0.0, 1.0), st.floats(0.2, 3.0))
def test_success_scales_what_is_negative_alone(groups, low, power):
    scored = [[Scored(float(right), {}, float(right), 1, 8) for right in group] for group in groups]
    own = {"success_scale": {"low": low, "power": power}}
    plain = weigh_groups(scored, resolve_objective("grpo", {}))
    scaled = weigh_groups(scored, resolve_objective("grpo", {"advantage_transforms": own}))
    for group, before, after in zip(groups, plain, scaled, strict=True):
        factor = low + (1 - low) * (sum(group) / len(group)) ** power
        assert after == pytest.approx([a * factor if a < 0 else a for a in before])
        assert all(abs(a) <= abs(b) + 1e-12 for a, b in zip(after, before, strict=True))


@given(st.integers(0, 10_000), st.integers(1, 5), st.floats(0.05, 2.0))
def test_bco_pulls_the_chosen_up_and_the_rejected_down_as_autograd_does(seed, pairs, beta):
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 5, (2 * pairs,), generator=g).tolist()
    now = [torch.randn(n, dtype=torch.float64, generator=g).requires_grad_() for n in lengths]
    reference = [torch.randn(n, dtype=torch.float64, generator=g) for n in lengths]
    signs = [1.0 if i % 2 == 0 else -1.0 for i in range(2 * pairs)]
    rows = [
        Seen(p.detach(), p.detach(), p.detach(), q, None, sign, i, i // 2, None)
        for i, (p, q, sign) in enumerate(zip(now, reference, signs, strict=True))
    ]
    earned = torch.stack([beta * (p - q).sum() for p, q in zip(now, reference, strict=True)])
    middle = earned.mean().detach()
    loss = -torch.nn.functional.logsigmoid(torch.tensor(signs, dtype=torch.float64) * (earned - middle)).sum()
    slopes = torch.autograd.grad(loss, now)
    for pull, slope, sign in zip(judge(rows, BCO(kind="bco", beta=beta)), slopes, signs, strict=True):
        assert float(pull) * sign > 0
        assert torch.allclose(-pull.expand_as(slope), slope, rtol=1e-10, atol=1e-14)
    # In any order of the rows.
    mixed = judge(rows[::-1], BCO(kind="bco", beta=beta))[::-1]
    assert torch.equal(torch.stack(mixed), torch.stack(judge(rows, BCO(kind="bco", beta=beta))))


@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(0.05, 2.0), st.floats(-3.0, 3.0))
def test_copg_pulls_sum_to_nothing_and_a_constant_reward_more_changes_nothing(seed, size, beta, more):
    g = torch.Generator().manual_seed(seed)
    own = CoPG(kind="copg", beta=beta)

    def pulls(shift):
        return [float(pull) for pull in contrast([replace(row, advantage=row.advantage + shift) for row in rows], own)]

    now, reference = torch.randn(2, size, 3, dtype=torch.float64, generator=g)
    rewards = torch.randn(size, dtype=torch.float64, generator=g).tolist()
    rows = [Seen(p, p, p, q, None, r, i, 0, None) for i, (p, q, r) in enumerate(zip(now, reference, rewards))]
    assert sum(pulls(0.0)) == pytest.approx(0.0, abs=1e-9)
    assert pulls(more) == pytest.approx(pulls(0.0), abs=1e-9)
    if size == 1:
        assert pulls(0.0) == [0.0]
