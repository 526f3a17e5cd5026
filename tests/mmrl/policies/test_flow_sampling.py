"""Denoising steps against closed forms: a Gaussian whose velocity field is known exactly, and torch's own densities."""

import math

import pytest
import torch
from torch.distributions import Normal

from mmrl.policies.flow import sampling

MEAN, STD = 0.7, 0.3


def exact_velocity(x, t):
    """E[eps - a | x_t] for a ~ N(MEAN, STD^2), eps ~ N(0, 1), x_t = t eps + (1 - t) a, by Gaussian conditioning."""
    variance = t**2 + (1 - t) ** 2 * STD**2
    centred = x - (1 - t) * MEAN
    eps = t / variance * centred
    action = MEAN + (1 - t) * STD**2 / variance * centred
    return eps - action


def simulate(kind, steps, eta, count=40_000):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(count, generator=g, dtype=torch.float64)
    for step in range(steps):
        t = sampling.time_of(torch.tensor([step]), steps).double()
        v = exact_velocity(x, t)
        move = sampling.ode(x, v, t, 1 / steps) if kind == "ode" else kind(x, v, t, 1 / steps, eta)
        x = move.mean + move.std * torch.randn(count, generator=g, dtype=torch.float64)
    return x


@pytest.mark.slow
@pytest.mark.parametrize("eta", [0.3, 0.5, 1.0])
def test_flow_sde_keeps_the_exact_marginal_of_a_gaussian(eta):
    x = simulate(sampling.flow_sde, 400, eta)
    # Four standard errors of mean and deviation, and the discretisation's own error.
    assert float(x.mean()) == pytest.approx(MEAN, abs=4 * STD / 200 + 2e-3)
    assert float(x.std()) == pytest.approx(STD, abs=4 * STD / 200 / math.sqrt(2) + 4e-3)


@pytest.mark.slow
def test_flow_cps_and_the_ode_keep_it_too():
    for x in (simulate(sampling.flow_cps, 400, 0.1), simulate("ode", 400, 0.0)):
        assert float(x.mean()) == pytest.approx(MEAN, abs=0.01)
        assert float(x.std()) == pytest.approx(STD, abs=0.01)


def test_few_steps_give_the_known_bias():
    """K = 4 steps, by hand-computed linear recursions of the variance."""
    for eta in (0.0, 0.5, 1.0):
        variance = 1.0
        for step in range(4):
            t, d = 1 - step / 4, 0.25
            at = lambda x, t=t: float(exact_velocity(torch.tensor(x, dtype=torch.float64), t))  # noqa: E731
            slope = at(1.0) - at(0.0)
            noise = eta**2 * t / max(1 - t, d)
            gain = 1 - d * (slope + noise / (2 * t) * (1 + (1 - t) * slope))
            variance = gain**2 * variance + noise * d
        kind = sampling.flow_sde if eta else "ode"
        assert float(simulate(kind, 4, eta).std()) == pytest.approx(math.sqrt(variance), rel=0.02)


def test_the_sde_mean_is_the_published_drift():
    """x - d [v + s^2 / (2 t) (x + (1 - t) v)], s = eta sqrt(t / (1 - t)), and std = s sqrt(d)."""
    g = torch.Generator().manual_seed(1)
    x, v = torch.randn(2, 50, generator=g, dtype=torch.float64).unbind()
    for t in (0.25, 0.5, 0.75):
        move = sampling.flow_sde(x, v, torch.tensor([t], dtype=torch.float64), 0.25, 0.5)
        s = 0.5 * math.sqrt(t / (1 - t))
        drift = v + s**2 / (2 * t) * (x + (1 - t) * v)
        assert torch.allclose(move.mean, x - 0.25 * drift, atol=1e-12)
        assert float(move.std) == pytest.approx(s / 2)
    first = sampling.flow_sde(x, v, torch.tensor([1.0], dtype=torch.float64), 0.25, 0.5)
    assert float(first.std) == pytest.approx(0.5), "the first step's deviation is eta"
    last = sampling.flow_sde(x, v, torch.tensor([0.25], dtype=torch.float64), 0.25, 0.5)
    assert float(last.std) == pytest.approx(0.5 / math.sqrt(4 * 3)), "the last one's is eta / sqrt(K (K - 1))"


@pytest.mark.parametrize("kind", [sampling.flow_sde, sampling.flow_cps])
def test_without_noise_a_step_is_the_ode_s(kind):
    g = torch.Generator().manual_seed(2)
    x, v = torch.randn(2, 50, generator=g, dtype=torch.float64).unbind()
    for t in (1.0, 0.75, 0.25):
        time = torch.tensor([t], dtype=torch.float64)
        move = kind(x, v, time, 0.25, 0.0)
        assert torch.allclose(move.mean, sampling.ode(x, v, time, 0.25).mean, atol=1e-12)
        assert float(move.std) == 0.0


def test_densities_are_torch_s_and_so_are_their_gradients():
    g = torch.Generator().manual_seed(3)
    x, mean = torch.randn(2, 5, 4, generator=g, dtype=torch.float64).unbind()
    std = torch.rand(5, 1, generator=g, dtype=torch.float64) + 0.1
    mean.requires_grad_()
    ours = sampling.log_density(x, sampling.Transition(mean, std))
    theirs = Normal(mean, std).log_prob(x)
    assert torch.allclose(ours, theirs, atol=1e-12)
    (gradient,) = torch.autograd.grad(ours.sum(), mean)
    assert torch.allclose(gradient, (x - mean) / std**2, atol=1e-12)
    assert torch.allclose(sampling.entropy(std), Normal(torch.zeros(5, 1), std).entropy(), atol=1e-12)


def test_the_density_s_gradient_in_the_velocity():
    """d log N / d v by autograd equals (x' - mean) / std^2 dmean/dv, dmean/dv by differences."""
    g = torch.Generator().manual_seed(4)
    x, v, after = torch.randn(3, 6, generator=g, dtype=torch.float64).unbind()
    t, d, eta, h = torch.tensor([0.5], dtype=torch.float64), 0.25, 0.7, 1e-6
    v.requires_grad_()
    move = sampling.flow_sde(x, v, t, d, eta)
    (gradient,) = torch.autograd.grad(sampling.log_density(after, move).sum(), v)
    with torch.no_grad():
        slope = (sampling.flow_sde(x, v + h, t, d, eta).mean - sampling.flow_sde(x, v - h, t, d, eta).mean) / (2 * h)
    assert torch.allclose(gradient, (after - move.mean) / move.std**2 * slope, rtol=1e-6)


def test_a_deterministic_step_has_density_and_entropy_0_and_no_nan_gradient():
    x = torch.randn(3, generator=torch.Generator().manual_seed(5), requires_grad=True)
    move = sampling.ode(x, x, torch.ones(3), 0.25)
    value = sampling.log_density(torch.zeros(3), move)
    assert torch.equal(value, torch.zeros(3))
    assert torch.equal(sampling.entropy(move.std), torch.zeros(3))
    value.sum().backward()
    assert torch.equal(x.grad, torch.zeros(3))
