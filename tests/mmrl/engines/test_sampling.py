"""Choosing the next token: supports against plain python, frequencies against the softmax."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chisquare

from mmrl.engines.sampling import sample_tokens
from mmrl.recipe.rollout import SamplingConfig

NUMBER = 4000


def kept(logits, allowed, sampling):
    """Token -> probability that it is drawn with, in plain python."""
    scaled = {t: x / sampling.temperature for t, x in enumerate(logits) if allowed[t]}
    top = max(scaled.values())
    weights = {t: math.exp(x - top) for t, x in scaled.items()}
    order = sorted(weights, key=weights.get, reverse=True)
    if sampling.top_k:
        order = order[: sampling.top_k]
    if sampling.top_p < 1.0:
        total, nucleus = sum(weights[t] for t in order), []
        for token in order:
            nucleus.append(token)
            if sum(weights[t] for t in nucleus) >= sampling.top_p * total:
                break
        order = nucleus
    order = [t for t in order if weights[t] >= sampling.min_p * weights[order[0]]]
    total = sum(weights[t] for t in order)
    return {t: weights[t] / total for t in order}


def draw(logits, allowed, sampling, number=NUMBER, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.tensor(logits)[None].expand(number, -1)
    return sample_tokens(rows, torch.tensor(allowed), sampling, generator)


@given(
    steps=st.lists(st.integers(-20, 20), min_size=2, max_size=12, unique=True),
    allowed_seed=st.integers(0, 2**12 - 1),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_k=st.integers(0, 13),
    top_p=st.floats(0.05, 1.0),
    min_p=st.floats(0.0, 0.9),
)
def test_only_tokens_of_the_truncated_distribution_are_drawn(steps, allowed_seed, temperature, top_k, top_p, min_p):
    logits = [step / 8 for step in steps]
    allowed = [bool(allowed_seed >> i & 1) for i in range(len(logits))]
    assume(any(allowed))
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    reference = kept(logits, allowed, SamplingConfig(**settings))
    # Where the nucleus or min-p ends within float32 rounding of a token, either side is right.
    for nudge in (-1e-5, 1e-5):
        near = {**settings, "top_p": min(1.0, top_p + nudge), "min_p": max(0.0, min_p + nudge)}
        assume(kept(logits, allowed, SamplingConfig(**near)).keys() == reference.keys())
    tokens, log_probs = draw(logits, allowed, SamplingConfig(**settings), number=400)
    assert set(tokens.tolist()) <= reference.keys()
    certain = [token for token, p in reference.items() if p > 0.1]  # missed with a chance below 1e-18
    assert set(certain) <= set(tokens.tolist())
    whole = kept(logits, allowed, SamplingConfig(temperature=temperature))
    expected = [math.log(whole[token]) for token in tokens.tolist()]
    assert log_probs.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0},
        {"top_k": 3},
        {"top_p": 0.8},
        {"min_p": 0.3},
        {"temperature": 0.7, "top_k": 6, "top_p": 0.9, "min_p": 0.02},
    ],
)
def test_frequencies_match_the_softmax(settings):
    sampling = SamplingConfig(**settings)
    logits, allowed = [0.3, -1.0, 1.2, 0.0, 0.9, -0.4, 5.0, 0.5], [True] * 6 + [False, True]
    tokens, _ = draw(logits, allowed, sampling, seed=11)
    reference = kept(logits, allowed, sampling)
    observed = torch.bincount(tokens, minlength=len(logits)).tolist()
    assert all(observed[t] == 0 for t in range(len(logits)) if t not in reference)
    assert len(reference) > 1
    found = chisquare([observed[t] for t in reference], [NUMBER * p for p in reference.values()])
    assert found.pvalue > 0.001


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.8}, {"min_p": 0.3}])
def test_the_frequency_test_would_see_a_wrong_temperature(settings):
    """The chi-square above has the power to reject a distribution that is slightly off."""
    logits, allowed = [0.3, -1.0, 1.2, 0.0, 0.9, -0.4, 5.0, 0.5], [True] * 6 + [False, True]
    sampling = SamplingConfig(**settings)
    wrong = kept(logits, allowed, sampling.model_copy(update={"temperature": 1.3 * sampling.temperature}))
    tokens, _ = draw(logits, allowed, sampling, seed=11)
    observed = torch.bincount(tokens, minlength=len(logits)).tolist()
    both = [t for t in wrong if observed[t]]
    total, mass = sum(observed[t] for t in both), sum(wrong[t] for t in both)
    found = chisquare([observed[t] for t in both], [total * wrong[t] / mass for t in both])
    assert found.pvalue < 0.001


def test_greedy_takes_the_best_allowed_token_and_reports_it_at_temperature_one():
    tokens, log_probs = draw([0.0, 3.0, 1.0, 2.0], [True, False, True, True], SamplingConfig(temperature=0.0), 2)
    assert tokens.tolist() == [3, 3]
    expected = 2.0 - math.log(math.exp(0.0) + math.exp(1.0) + math.exp(2.0))
    assert log_probs.tolist() == pytest.approx([expected] * 2)


def test_draws_of_a_row_are_places_in_its_cumulative_distribution():
    logits, allowed = torch.tensor([2.0, 9.0, 0.0, 1.0, -2.0, 3.0]), torch.tensor([1, 0, 1, 1, 1, 0]).bool()
    settings = SamplingConfig(temperature=0.7, top_k=3)
    places = (torch.arange(NUMBER, dtype=torch.float64) + 0.5) / NUMBER
    ends = torch.tensor([0.0, 1.0 - 2.0**-53], dtype=torch.float64)
    tokens, log_probs = sample_tokens(logits.expand(NUMBER + 2, -1), allowed, settings, torch.cat([places, ends]))
    expected = kept(logits.tolist(), allowed.tolist(), settings)
    shares = torch.bincount(tokens[:NUMBER], minlength=6) / NUMBER
    assert shares.tolist() == pytest.approx([expected.get(token, 0.0) for token in range(6)], abs=2 / NUMBER)
    assert tokens[NUMBER:].tolist() == [0, 3], "the ends are tokens that have a share"
    assert torch.equal(tokens[:NUMBER], tokens[:NUMBER].sort().values)
    scaled = (logits / 0.7).masked_fill(~allowed, -torch.inf).log_softmax(-1)
    assert torch.allclose(log_probs, scaled[tokens])
