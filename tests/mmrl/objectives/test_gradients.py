"""The kernel's gradient against autograd of each published loss, written out here sequence by sequence in float64."""

import math
from dataclasses import replace

import pytest
import torch

from mmrl.contracts.types import Decision, Likelihood
from mmrl.objectives import kernel
from mmrl.objectives.rows import Row
from mmrl.recipe.methods import resolve_objective
from mmrl.trainer.step import plan_step

VOCABULARY = 11
L_MAX = 16
PPO = {"kind": "ppo_clip", "low": 0.2, "high": 0.2}


class Toy:
    """Random logits of a few sequences: 2 groups of 3 rollouts and 3 demonstrations, of different lengths."""

    def __init__(self, seed: int):
        g = torch.Generator().manual_seed(seed)
        self.streams = ["rl"] * 6 + ["demo"] * 3
        self.lengths = torch.randint(1, 9, (9,), generator=g).tolist()
        self.logits = torch.randn(9, 8, VOCABULARY, dtype=torch.float64, generator=g).mul(2).requires_grad_()
        self.tokens = torch.randint(0, VOCABULARY, (9, 8), generator=g)
        self.advantages = [*torch.randn(6, dtype=torch.float64, generator=g).tolist(), 1.0, 1.0, 1.0]
        self.advantages[1] = 0.0
        all_units = self.all_log_probs().detach()
        noise = torch.randn(3, 9, 8, dtype=torch.float64, generator=g)
        self.old, self.reference = all_units + 0.5 * noise[0], all_units + 0.7 * noise[1]
        self.rollout = self.old + 0.6 * noise[2]

    def all_log_probs(self):
        return self.logits.log_softmax(-1).gather(-1, self.tokens[:, :, None]).squeeze(-1)

    def indices(self, stream):
        return [i for i, name in enumerate(self.streams) if name == stream]

    def p(self, i):
        """Probabilities of sequence i's tokens, as a differentiable vector."""
        return self.logits[i, : self.lengths[i]].softmax(-1).gather(-1, self.tokens[i, : self.lengths[i], None])[:, 0]

    def units(self, stream):
        return sum(self.lengths[i] for i in self.indices(stream))

    def rows(self, *streams, group_size=3):
        rows = []
        for i, n in enumerate(self.lengths):
            is_rl = self.streams[i] == "rl"
            decision = Decision(None, self.tokens[i, :n], self.rollout[i, :n] if is_rl else None)
            row = Row(decision, self.streams[i], self.advantages[i], i, n, group_size if is_rl else 1)
            if is_rl:
                row = replace(row, old=self.old[i, :n], reference=self.reference[i, :n])
            rows.append(row)
        return [row for row in rows if row.stream in streams]

    def kernel_gradient(self, objective, step=0, **kwargs):
        rows = self.rows(*objective.streams, **kwargs)
        plan = plan_step(objective, rows, step, L_MAX)
        chosen = [row.trajectory for row in rows]
        width = max(self.lengths[i] for i in chosen)
        mask = torch.arange(width)[None] < torch.tensor([self.lengths[i] for i in chosen])[:, None]
        log_all = self.logits[chosen, :width].log_softmax(-1)
        log_probs = self.all_log_probs()[chosen, :width] * mask
        entropy = -(log_all.exp() * log_all).sum(-1) * mask
        total, _ = kernel.loss(Likelihood(log_probs, mask, entropy), rows, plan)
        return torch.autograd.grad(total, self.logits)[0]

    def gradient(self, loss):
        return torch.autograd.grad(loss, self.logits, retain_graph=True)[0]


def assert_same(ours, published):
    assert float(published.abs().max()) > 1e-4, "the published gradient is zero, so this compares nothing"
    assert float((ours - published).abs().max()) <= 1e-10 * float(published.abs().max())


@pytest.fixture(params=range(4))
def toy(request):
    return Toy(request.param)


def objective_of(method="grpo", **overrides):
    return resolve_objective(method, overrides)


def sft_of(kind, **settings):
    return objective_of("sft", streams={"demo": {"coefficient": {"kind": kind, **settings}}})


def ppo_term(toy, i, low=0.2, high=0.2, dual=None):
    """Sum over tokens of the clipped surrogate (to maximise)."""
    n, advantage = toy.lengths[i], toy.advantages[i]
    r = toy.p(i) / toy.old[i, :n].exp()
    surrogate = torch.minimum(r * advantage, r.clamp(1 - low, 1 + high) * advantage)
    if dual is not None and advantage < 0:
        surrogate = torch.maximum(surrogate, torch.full_like(surrogate, dual * advantage))
    return surrogate


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


@pytest.mark.parametrize("kind", ["k2", "k3"])
def test_kl_in_the_loss_is_averaged_as_the_stream_is(toy, kind):
    beta = 0.3
    published = 0.0
    for i in toy.indices("rl"):
        difference = toy.p(i).log() - toy.reference[i, : toy.lengths[i]]
        kl = difference.square() / 2 if kind == "k2" else (-difference).exp() - 1 + difference
        published = published - (ppo_term(toy, i) - beta * kl).mean() / 6
    ours = objective_of("grpo", kl={"weight": beta, "kind": kind})
    assert_same(toy.kernel_gradient(ours), toy.gradient(published))


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


def test_hpt_weighs_a_prompt_alike_whether_it_is_rolled_out_or_demonstrated(toy):
    """Two groups of three rollouts and three gated prompts: five prompts, each with one fifth of the loss."""
    rl = -sum((toy.advantages[i] * toy.p(i).log()).sum() / L_MAX / 3 for i in toy.indices("rl"))
    demo = -sum(toy.p(i).log().mean() for i in toy.indices("demo"))
    entropy = sum(
        torch.distributions.Categorical(logits=toy.logits[i, : toy.lengths[i]]).entropy().sum()
        for i in toy.indices("rl")
    )
    published = (rl + demo) / 5 - 0.001 * entropy / toy.units("rl")
    assert_same(toy.kernel_gradient(objective_of("hpt")), toy.gradient(published))


def test_kl_and_entropy_leave_demonstrations_alone(toy):
    toy.advantages[:6] = [0.0] * 6
    ours = objective_of("chord_mu", kl={"weight": 0.1}, entropy=0.1)
    ours_sft = objective_of("chord_mu")
    demo = toy.indices("demo")
    assert torch.equal(toy.kernel_gradient(ours)[demo], toy.kernel_gradient(ours_sft)[demo])
    assert float(toy.kernel_gradient(ours)[toy.indices("rl")].abs().max()) > 0
    assert float(toy.kernel_gradient(ours_sft)[toy.indices("rl")].abs().max()) == 0
