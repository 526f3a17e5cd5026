"""The kernel's gradient against autograd of each published loss, written out here sequence by sequence in float64."""

import math
from dataclasses import replace

import pytest
import torch

from mmrl.objectives.advantages import group_advantages
from tests.support.toy import L_MAX, Toy, assert_same, objective_of, ppo_term


@pytest.fixture(params=range(4))
def toy(request):
    return Toy(request.param)


def sft_of(kind, **settings):
    return objective_of("sft", streams={"demo": {"coefficient": {"kind": kind, **settings}}})


# --- supervised streams


def test_sft_is_the_negative_log_likelihood_averaged_over_all_tokens(toy):
    published = -sum(toy.p(i).log().sum() for i in toy.indices("demo")) / toy.units("demo")
    assert_same(toy.kernel_gradient(objective_of("sft")), toy.gradient(published))


def test_dft_maximises_the_mean_probability(toy):
    published = -sum(toy.p(i).sum() for i in toy.indices("demo")) / toy.units("demo")
    assert_same(toy.kernel_gradient(sft_of("dft")), toy.gradient(published))


def test_chord_phi_weighs_tokens_by_p_times_one_minus_p(toy):
    terms = [((toy.p(i) * (1 - toy.p(i))).detach() * toy.p(i).log()).sum() for i in toy.indices("demo")]
    assert_same(toy.kernel_gradient(sft_of("chord_phi")), toy.gradient(-sum(terms) / toy.units("demo")))


def test_luffy_shapes_the_probability(toy):
    gamma = 0.3
    published = -sum((toy.p(i) / (toy.p(i) + gamma)).sum() for i in toy.indices("demo")) / toy.units("demo")
    assert_same(toy.kernel_gradient(sft_of("luffy", gamma=gamma)), toy.gradient(published))


# --- policy gradients


@pytest.mark.parametrize(
    "clip", [{"low": 0.2, "high": 0.2}, {"low": 0.2, "high": 0.28}, {"low": 0.1, "high": 0.3, "dual": 1.2}]
)
def test_ppo_clip_is_the_clipped_surrogate(toy, clip):
    ours = objective_of("dapo", streams={"rl": {"coefficient": {"kind": "ppo_clip", **clip}}})
    published = -sum(ppo_term(toy, i, **clip).sum() for i in toy.indices("rl")) / toy.units("rl")
    assert_same(toy.kernel_gradient(ours), toy.gradient(published))


def test_every_clip_of_the_toy_cuts_some_units_and_keeps_some():
    low = high = dual = kept = 0
    for toy in map(Toy, range(4)):
        for i in toy.indices("rl"):
            r, a = (toy.p(i).detach() / toy.old[i, : toy.lengths[i]].exp()), toy.advantages[i]
            high += int((r > 1.3).sum()) if a > 0 else 0
            low += int((r < 0.8).sum()) if a < 0 else 0
            dual += int((r > 1.2).sum()) if a < 0 else 0
            kept += int(((r > 0.8) & (r < 1.2)).sum())
    assert min(low, high, dual, kept) >= 5


def test_cispo_keeps_the_gradient_of_clipped_units(toy):
    ours = objective_of("dapo", streams={"rl": {"coefficient": {"kind": "cispo", "low": 0.2, "high": 0.28}}})
    terms = [
        (
            (toy.p(i) / toy.old[i, : toy.lengths[i]].exp()).detach().clamp(0.8, 1.28)
            * toy.advantages[i]
            * toy.p(i).log()
        ).sum()
        for i in toy.indices("rl")
    ]
    assert_same(toy.kernel_gradient(ours), toy.gradient(-sum(terms) / toy.units("rl")))


def test_gmpo_is_the_geometric_mean_of_ratios_bounded_on_one_side(toy):
    """J = mean over answers of sgn(A) (prod_t min(r_t sgn, clip(r_t) sgn) sgn)^(1/T) |A|, arXiv 2507.20673."""
    published = 0.0
    for i in toy.indices("rl"):
        sign = 1.0 if toy.advantages[i] > 0 else -1.0
        r = toy.p(i) / toy.old[i, : toy.lengths[i]].exp()
        bounded = sign * torch.minimum(sign * r, sign * r.clamp(math.exp(-0.4), math.exp(0.4)))
        published = published - bounded.prod() ** (1 / toy.lengths[i]) * toy.advantages[i] / 6
    ours = objective_of("grpo", streams={"rl": {"coefficient": {"kind": "gmpo"}}})
    assert_same(toy.kernel_gradient(ours), toy.gradient(published))


def test_sapo_is_the_gradient_of_a_soft_gate(toy):
    """J = mean over answers and tokens of f(r) A, f(r) = 4 / tau sigmoid(tau (r - 1)), arXiv 2511.20347."""
    published = 0.0
    for i in toy.indices("rl"):
        tau = 1.0 if toy.advantages[i] > 0 else 1.05
        r = toy.p(i) / toy.old[i, : toy.lengths[i]].exp()
        published = published - (4 / tau * torch.sigmoid(tau * (r - 1)) * toy.advantages[i]).mean() / 6
    ours = objective_of("grpo", streams={"rl": {"coefficient": {"kind": "sapo"}}})
    assert_same(toy.kernel_gradient(ours), toy.gradient(published))


def test_reinforce_ignores_the_ratio(toy):
    ours = objective_of("dapo", streams={"rl": {"coefficient": {"kind": "one"}}})
    published = -sum((toy.advantages[i] * toy.p(i).log()).sum() for i in toy.indices("rl")) / toy.units("rl")
    assert_same(toy.kernel_gradient(ours), toy.gradient(published))


def test_grpo_averages_over_tokens_and_then_over_answers(toy):
    published = -sum(ppo_term(toy, i).mean() for i in toy.indices("rl")) / 6
    assert_same(toy.kernel_gradient(objective_of("grpo")), toy.gradient(published))


def test_dr_grpo_divides_by_a_constant(toy):
    published = -sum(ppo_term(toy, i).sum() for i in toy.indices("rl")) / (6 * L_MAX)
    assert_same(toy.kernel_gradient(objective_of("dr_grpo")), toy.gradient(published))
    halved = objective_of("dr_grpo", streams={"rl": {"max_units": 2 * L_MAX}})
    assert_same(toy.kernel_gradient(halved), toy.gradient(published) / 2)


def test_dapo_averages_over_all_tokens_and_clips_higher(toy):
    published = -sum(ppo_term(toy, i, high=0.28).sum() for i in toy.indices("rl")) / toy.units("rl")
    assert_same(toy.kernel_gradient(objective_of("dapo")), toy.gradient(published))


def test_gspo_clips_one_ratio_per_answer_in_the_published_range(toy):
    """J = mean over answers of min(s A, clip(s, 1 - 3e-4, 1 + 4e-4) A), s = (pi(y) / pi_old(y))^(1/|y|), 2507.18071."""
    now = toy.all_log_probs().detach()
    clipped = 0
    published = 0.0
    for i, log_s in zip(toy.indices("rl"), (-5e-4, -2e-4, 1e-4, 3.5e-4, 4.5e-4, 1e-3)):
        n, advantage = toy.lengths[i], toy.advantages[i]
        spread = toy.old[i, :n] - now[i, :n]
        toy.old[i, :n] = now[i, :n] + spread - spread.mean() - log_s
        s = (toy.p(i).log().sum() - toy.old[i, :n].sum()).div(n).exp()
        published = published - torch.minimum(s * advantage, s.clamp(1 - 3e-4, 1 + 4e-4) * advantage) / 6
        clipped += bool(s > 1 + 4e-4) if advantage > 0 else bool(s < 1 - 3e-4) and advantage < 0
    ours = toy.kernel_gradient(objective_of("gspo"))
    assert_same(ours, toy.gradient(published))
    assert sum(not bool(ours[i].any()) for i in toy.indices("rl") if toy.advantages[i]) == clipped


def test_rloo_is_reinforce_with_the_others_as_baseline(toy):
    """J = mean over answers of (r - mean of the k - 1 others) log pi(y), the answer's log-prob whole, 2402.14740."""
    rewards = [1.0, 0.0, 0.25, 0.5, 0.5, 1.0]
    groups = [rewards[:3], rewards[3:]]
    objective = objective_of("rloo")
    toy.advantages[:6] = [a for group in group_advantages(groups, objective.advantage) for a in group]
    toy.old = toy.all_log_probs().detach()
    published = 0.0
    for i in toy.indices("rl"):
        others = [r for j, r in enumerate(groups[i // 3]) if j != i % 3]
        published = published - (rewards[i] - sum(others) / 2) * toy.p(i).prod().log() / 6
    assert_same(toy.kernel_gradient(objective), toy.gradient(published))


def test_rloo_clips_the_ratio_of_the_whole_answer_in_later_updates(toy):
    published = 0.0
    for i in toy.indices("rl"):
        r = toy.p(i).prod() / toy.old[i, : toy.lengths[i]].exp().prod()
        published = published - torch.minimum(r * toy.advantages[i], r.clamp(0.8, 1.2) * toy.advantages[i]) / 6
    assert_same(toy.kernel_gradient(objective_of("rloo")), toy.gradient(published))


def test_kl_without_advantage_still_pulls(toy):
    toy.advantages[:6] = [0.0] * 6
    differences = [toy.p(i).log() - toy.reference[i, : toy.lengths[i]] for i in toy.indices("rl")]
    published = 0.1 * sum(((-d).exp() - 1 + d).sum() for d in differences) / toy.units("rl")
    ours = objective_of("dapo", kl={"weight": 0.1})
    assert_same(toy.kernel_gradient(ours), toy.gradient(published))


def test_entropy_bonus_is_the_token_mean_over_rollouts(toy):
    bonus = 0.0
    for i in toy.indices("rl"):
        distribution = torch.distributions.Categorical(logits=toy.logits[i, : toy.lengths[i]])
        bonus = bonus + distribution.entropy().sum() / toy.units("rl")
    published = -sum(ppo_term(toy, i).mean() for i in toy.indices("rl")) / 6 - 0.5 * bonus
    assert_same(toy.kernel_gradient(objective_of("grpo", entropy=0.5)), toy.gradient(published))


@pytest.mark.parametrize("kind", ["truncate", "mask"])
def test_mismatch_weights_the_surrogate(toy, kind):
    cap = 1.5
    published = 0.0
    for i in toy.indices("rl"):
        n = toy.lengths[i]
        rho = (toy.old[i, :n] - toy.rollout[i, :n]).exp()
        inside = ((rho <= cap) & (rho >= 1 / cap)).double()
        weight = torch.minimum(rho, torch.tensor(cap)) if kind == "truncate" else inside
        published = published - (weight * ppo_term(toy, i)).mean() / 6
    ours = objective_of("grpo", mismatch={"kind": kind, "cap": cap})
    assert_same(toy.kernel_gradient(ours), toy.gradient(published))


def test_without_old_log_probs_the_ratio_is_one_and_the_mismatch_is_measured_from_now(toy):
    """One optimizer step per batch: the policy that updates is the one that the mismatch compares with the engine."""
    rows = [replace(row, old=None) for row in toy.rows("rl")]
    toy.rows = lambda *streams, **_: rows
    published = 0.0
    for i in toy.indices("rl"):
        rho = (toy.p(i).log().detach() - toy.rollout[i, : toy.lengths[i]]).exp().clamp(max=2.0)
        published = published - (rho * toy.advantages[i] * toy.p(i).log()).mean() / 6
    assert_same(toy.kernel_gradient(objective_of("grpo", mismatch={"kind": "truncate"})), toy.gradient(published))


# --- mixtures


@pytest.mark.parametrize(("step", "mu"), [(0, 0.9), (50, 0.05 + 0.85 * 0.5), (200, 0.05), (999, 0.05)])
def test_chord_mu_mixes_grpo_and_sft_by_its_schedule(toy, step, mu):
    ours = objective_of("chord_mu", streams={"demo": {"weight": {"decay": 100}}}, kl={"weight": 0.1})
    rl = 0.0
    for i in toy.indices("rl"):
        d = toy.p(i).log() - toy.reference[i, : toy.lengths[i]]
        rl = rl - (ppo_term(toy, i) - 0.1 * ((-d).exp() - 1 + d)).sum() / toy.units("rl")
    sft = -sum(toy.p(i).log().sum() for i in toy.indices("demo")) / toy.units("demo")
    assert_same(toy.kernel_gradient(ours, step=step), toy.gradient((1 - mu) * rl + mu * sft))


def entropy_of(toy, *streams):
    """Token mean of the entropy over the units of the streams."""
    chosen = [i for stream in streams for i in toy.indices(stream)]
    distributions = [torch.distributions.Categorical(logits=toy.logits[i, : toy.lengths[i]]) for i in chosen]
    return sum(d.entropy().sum() for d in distributions) / sum(toy.lengths[i] for i in chosen)


def test_hpt_is_the_published_loss_of_one_micro_batch(toy):
    """compute_policy_loss(loss_remove_clip, loss_remove_token_mean) + 1.0 x compute_sft_pure_loss - 0.001 x entropy.

    Ratios are those of a later update; in the first one they are 1.
    """
    ratios = {i: toy.p(i) / toy.old[i, : toy.lengths[i]].exp() for i in toy.indices("rl")}
    rl = -sum((r * toy.advantages[i]).sum() for i, r in ratios.items()) / L_MAX
    sft = -sum(toy.p(i).log().sum() for i in toy.indices("demo")) / toy.units("demo")
    published = rl + sft - 0.001 * entropy_of(toy, "rl", "demo")
    assert_same(toy.kernel_gradient(objective_of("hpt")), toy.gradient(published))


def test_per_prompt_weighs_rolled_out_and_gated_prompts_alike(toy):
    """Two groups of three rollouts and three gated prompts: five prompts, each with one fifth of the loss."""
    rl = -sum((toy.advantages[i] * toy.p(i).log()).sum() / L_MAX / 3 for i in toy.indices("rl"))
    demo = -sum(toy.p(i).log().mean() for i in toy.indices("demo"))
    streams = {
        "rl": {"coefficient": {"kind": "one"}, "normalise": "constant", "per_prompt": True},
        "demo": {"normalise": "sequence", "per_prompt": True},
    }
    ours = objective_of("hpt", streams=streams, entropy=0.0)
    assert_same(toy.kernel_gradient(ours), toy.gradient((rl + demo) / 5))


def test_offline_mix_is_easyvideor1s_clip_dual_clip_and_token_mean(toy):
    # Ratios on either side of every bound.
    ratios = torch.tensor([0.7, 1.25, 3.5, 1.0, 1.35, 2.9, 0.9, 3.1], dtype=torch.float64)
    toy.old = toy.all_log_probs().detach() - ratios.log()
    toy.advantages[:6], toy.lengths[:6] = [1.0, -1.0, 0.5, -0.5, 2.0, 0.0], [8] * 6
    published = -sum(ppo_term(toy, i, high=0.3, dual=3.0).sum() for i in toy.indices("rl")) / toy.units("rl")
    assert_same(toy.kernel_gradient(objective_of("offline_mix")), toy.gradient(published))


def test_filtered_bc_is_the_share_of_the_successes_times_their_cloning(toy):
    toy.advantages[:6] = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    successes = [i for i in toy.indices("rl") if toy.advantages[i]]
    units = sum(toy.lengths[i] for i in successes)
    cloning = -sum(toy.p(i).log().sum() for i in successes) / units
    assert_same(toy.kernel_gradient(objective_of("filtered_bc")), toy.gradient(cloning * units / toy.units("rl")))


def test_kl_and_entropy_leave_demonstrations_alone(toy):
    toy.advantages[:6] = [0.0] * 6
    ours = objective_of("chord_mu", kl={"weight": 0.1}, entropy=0.1)
    ours_sft = objective_of("chord_mu")
    demo = toy.indices("demo")
    assert torch.equal(toy.kernel_gradient(ours)[demo], toy.kernel_gradient(ours_sft)[demo])
    assert float(toy.kernel_gradient(ours)[toy.indices("rl")].abs().max()) > 0
    assert float(toy.kernel_gradient(ours_sft)[toy.indices("rl")].abs().max()) == 0
