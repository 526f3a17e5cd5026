"""Samplers that expect a pass rate by what the policy makes of a prompt: closed forms, learning, resuming, bad rows."""

import json

import numpy as np
import pytest

from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.sampler import Outcome, Pool
from mmrl.contracts.types import Sample
from mmrl.data.mixture import Mixture, make_sampler
from mmrl.data.samplers.dots import attention_pass_rates
from mmrl.data.samplers.ridge import Ridge
from mmrl.recipe.samplers import sampler_settings

ROWS, STATE = 200, 12


@pytest.fixture
def world():
    """States of rows, and pass rates that are a steep function of them."""
    chance = np.random.default_rng(3)
    states = chance.standard_normal((ROWS, STATE))
    rates = 1 / (1 + np.exp(-3.0 * states @ chance.standard_normal(STATE) / np.sqrt(STATE)))
    return states, rates


def made(states, seed=0, **settings):
    pool = Pool("a", len(states), features=lambda rows: [states[row] for row in rows])
    return make_sampler(sampler_settings(settings), [pool], seed)


def step(sampler, rates, n=8):
    rows = [sampler.row("all", sampler.choose("all")).row for _ in range(n)]
    # 8 answers, as many of them right as the rate says.
    right = [round(8 * rates[row]) for row in rows]
    sampler.update([Outcome(0, row, (1.0,) * k + (0.0,) * (8 - k), (), (), 0) for row, k in zip(rows, right)])
    return rows


def test_a_fading_ridge_is_weighted_least_squares():
    chance = np.random.default_rng(0)
    features = chance.standard_normal((30, 4)) * [1.0, 10.0, 0.1, 0.0] + 2.0
    values = chance.random(30)
    learner = Ridge(ridge=3.0, decay=0.5)
    for part in (slice(0, 10), slice(10, 18), slice(18, 30)):
        learner.learn(features[part], values[part])
    weights = np.repeat([0.25, 0.5, 1.0], [10, 8, 12])
    assert learner.rows == weights.sum()
    centre = weights @ features / weights.sum()
    deviation = np.sqrt(weights @ (features - centre) ** 2 / weights.sum())[:3]
    z = (features - centre)[:, :3] / deviation
    mean = weights @ values / weights.sum()
    slope = np.linalg.solve(z.T @ (weights[:, None] * z) + 3.0 * np.eye(3), z.T @ (weights * (values - mean)))
    # The last feature never changes, and says nothing.
    assert learner.predict(features) == pytest.approx(mean + z @ slope, abs=1e-9)
    again = Ridge(ridge=3.0, decay=0.5)
    again.load_state_dict(json.loads(json.dumps(learner.state_dict())))
    assert (again.predict(features) == learner.predict(features)).all()
    order = chance.permutation(30)
    assert (learner.predict(features[order]) == learner.predict(features)[order]).all()


def test_attention_follows_prompts_that_are_alike_and_no_noise():
    chance = np.random.default_rng(1)
    centres = 5 * chance.standard_normal((4, 6))
    kind = np.arange(80) % 4
    states = centres[kind] + 0.1 * chance.standard_normal((80, 6))
    rates = np.array([0.0, 0.25, 0.75, 1.0])[kind]
    predicted = attention_pass_rates(states[40:], states[:40], rates[:40])
    assert predicted == pytest.approx(rates[40:], abs=0.02)
    order = chance.permutation(40)
    assert attention_pass_rates(states[40:], states[order], rates[order]) == pytest.approx(predicted, abs=1e-12)
    # Each of two references says the opposite of the other: nothing is predicted but their mean.
    assert attention_pass_rates(states[40:], states[:2], np.array([0.0, 1.0])).tolist() == [0.5] * 40
    assert attention_pass_rates(states[40:], states[:40], np.full(40, 0.25)).tolist() == [0.25] * 40


@pytest.mark.parametrize("name", ["pcl", "dots"])
def test_it_finds_the_prompts_of_middling_difficulty(name, world):
    states, rates = world
    sampler = made(states, name=name, candidates=64, explore=0.1)
    rows = [step(sampler, rates) for _ in range(40)]

    def distance(drawn):
        return np.abs(rates[np.concatenate(drawn)] - 0.5).mean()

    assert distance(rows[20:]) < 0.6 * np.abs(rates - 0.5).mean()
    figures = sampler.figures()
    assert figures["error"] < 0.25
    assert abs(figures["estimate"] - 0.5) < 0.15
    assert made(states, name=name).figures() == {"seen": 0.0}


@pytest.mark.parametrize("name", ["pcl", "dots"])
def test_the_order_of_outcomes_changes_nothing(name, world):
    states, rates = world
    one, other = made(states, name=name), made(states, name=name)
    outcomes = [Outcome(0, row, (rates[row],), (), (), 0) for row in range(0, ROWS, 3)]
    one.update(outcomes)
    other.update(outcomes[::-1])
    assert one.state_dict() == other.state_dict()
    assert [step(one, rates) for _ in range(4)] == [step(other, rates) for _ in range(4)]


@pytest.mark.parametrize("name", ["pcl", "dots"])
def test_a_state_in_the_middle_of_a_step_goes_on_exactly(name, world):
    states, rates = world
    sampler = made(states, name=name, candidates=20, width=5) if name == "pcl" else made(states, name=name, every=3)
    for _ in range(4):
        step(sampler, rates)
    step(sampler, rates, n=3)
    [sampler.row("all", sampler.choose("all")) for _ in range(3)]
    again = made(states, **sampler.settings.model_dump())
    again.load_state_dict(json.loads(json.dumps(sampler.state_dict())))
    assert [step(again, rates) for _ in range(6)] == [step(sampler, rates) for _ in range(6)]
    assert again.state_dict() == sampler.state_dict()


def test_wide_states_are_projected_alike_by_every_sampler_of_a_seed(world):
    states, rates = world
    narrow, same, other = (made(states, seed, name="pcl", width=4) for seed in (0, 0, 1))
    for sampler in (narrow, same, other):
        sampler.update([Outcome(0, row, (rates[row],), (), (), 0) for row in range(50)])
    assert narrow.value.state_dict() == same.value.state_dict()
    assert narrow.value.state_dict() != other.value.state_dict()
    assert len(narrow.value.products_U) == 5


@pytest.mark.parametrize("name", ["pcl", "dots"])
def test_bad_rows_are_no_candidates_and_are_told_when_drawn(name, world):
    class Rows(list):
        def __getitem__(self, row):
            if row % 2:
                raise BadSample(f"own row {row}", "is bad")
            return Sample(f"s{row}", (), "ocr", {}, row=row)

    states, rates = world
    settings = sampler_settings({"name": name, "candidates": 8})
    mixture = Mixture(
        [Rows(range(20))],
        on_bad="skip",
        make=lambda pools, seed: make_sampler(settings, pools, seed),
        features=lambda samples: [states[sample.row] for sample in samples],
    )
    assert mixture.upcoming(4) == []
    for _ in range(6):
        rows = [sample.row for sample in mixture.next(4)]
        assert not any(row % 2 for row in rows)
        mixture.sampler.update([Outcome(0, row, (rates[row],), (), (), 0) for row in rows])
    assert not any(place % 2 for place in mixture.sampler.expected)


def test_without_a_policy_s_states_it_is_refused():
    with pytest.raises(UserError, match=r"data\.sampler: 'pcl' reads the policy's hidden states, and none is given"):
        make_sampler(sampler_settings({"name": "pcl"}), [Pool("a", 3)], 0)
