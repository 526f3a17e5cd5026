"""Places of finished rows are taken by the next prompts, and no token depends on it."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.engine import Request
from mmrl.objectives.rows import Row, collate
from mmrl.policies.token_policy import CachedState
from mmrl.recipe.rollout import SamplingConfig
from tests.support.engines import generate, hf
from tests.support.policy import digits, load, text_sample

SAMPLING = SamplingConfig(temperature=0.9, max_new_tokens=9)


def with_ends(policy):
    """Many tokens end an answer, so that answers differ in length."""
    policy.eos_ids = tuple(range(5, 120))
    return policy


def tokens_of(results):
    return [[completion.tokens.tolist() for completion in group] for group in results]


@pytest.fixture
def watched(monkeypatch):
    """How many rows each joining and each decoding of a token had."""
    counts = {"join": [], "decode": []}
    join = CachedState.join

    def noting(state, other):
        counts["join"].append(len(other.logits_BV))
        return join(state, other)

    monkeypatch.setattr(CachedState, "join", noting)
    return counts


def note_steps(policy, counts):
    decode = policy.decode

    def noting(state, tokens):
        counts["decode"].append(len(tokens))
        return decode(state, tokens)

    policy.decode = noting


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "smolvlm"])
def test_requests_with_seeds_get_the_same_tokens_at_any_place(tiny_qwen, watched, family):
    policy = load(tiny_qwen(family), **({"type": "smolvlm"} if family == "smolvlm" else {}))
    prompts = policy.prepare([*digits(4, "ocr", "grounding"), text_sample("How many?"), text_sample("Name it.")])
    with_ends(policy)
    requests = [Request(prompt, 2, seed=40 + i) for i, prompt in enumerate(prompts)]
    alone = [hf(policy).generate([request], SAMPLING, 0)[0] for request in requests]
    assert not watched["join"]
    note_steps(policy, watched)
    for size, order in ((2, range(6)), (4, range(6)), (6, range(5, -1, -1)), (256, range(6))):
        found = hf(policy, batch_size=size).generate([requests[i] for i in order], SAMPLING, 7)
        assert tokens_of(found) == tokens_of([alone[i] for i in order])
        assert max(watched["decode"]) <= max(size, 2)
        watched["decode"].clear()
    assert len({len(answer.tokens) for group in alone for answer in group}) > 2
    assert len(watched["join"]) >= 2
    rows = [
        Row(answer.decision(prompt), "rl", 1.0, i, len(answer.tokens), 2)
        for prompt, group in zip(prompts, hf(policy, batch_size=4).generate(requests, SAMPLING, 7))
        for i, answer in enumerate(group)
    ]
    with torch.no_grad():
        log_probs = policy.log_probs(collate(rows)).log_probs_RU
    gaps = [float((scored[: r.units] - r.decision.log_probs).abs().max()) for scored, r in zip(log_probs, rows)]
    assert max(gaps) < 1e-4


def test_taking_places_computes_fewer_tokens(tiny_qwen, watched):
    policy = with_ends(load(tiny_qwen("qwen2_5_vl")))
    note_steps(policy, watched)
    prompts = policy.prepare([text_sample(f"Number {i}?") for i in range(24)])
    seeded = [Request(prompt, seed=i) for i, prompt in enumerate(prompts)]
    answers = hf(policy, batch_size=6).generate(seeded, SAMPLING, 0)
    together = len(watched["decode"])
    watched["decode"].clear()
    apart = []
    for start in range(0, 24, 6):
        apart += hf(policy, batch_size=6).generate(seeded[start : start + 6], SAMPLING, 0)
    assert tokens_of(answers) == tokens_of(apart)
    assert all(torch.allclose(a.log_probs, b.log_probs, atol=1e-4) for (a,), (b,) in zip(answers, apart))
    assert together < 0.8 * len(watched["decode"])
    assert sum(len(answer.tokens) for (answer,) in answers) > 48


def test_prefixes_and_stop_texts_count_from_each_rows_own_start(tiny_qwen, watched):
    policy = with_ends(load(tiny_qwen("qwen2_5_vl")))
    prompts = policy.prepare([*digits(4, "ocr"), text_sample("How many?"), text_sample("Name it.")])
    requests = [Request(prompt, seed=i) for i, prompt in enumerate(prompts)]
    whole = [answer for (answer,) in hf(policy).generate(requests, SAMPLING, 0)]
    given = [max(0, len(answer.tokens) - 2 - i % 2) for i, answer in enumerate(whole)]
    prefixed = [replace(r, prefix=w.tokens[:k]) for r, w, k in zip(requests, whole, given)]
    continued = [answer for (answer,) in hf(policy, batch_size=2).generate(prefixed, SAMPLING, 0)]
    assert watched["join"]
    assert [answer.given for answer in continued] == given
    assert [answer.tokens.tolist() for answer in continued] == [answer.tokens.tolist() for answer in whole]
    longest = max(whole, key=lambda answer: len(answer.tokens))
    stopping = SAMPLING.model_copy(update={"stop": [policy.decode_text(longest.tokens[1:2])]})
    alone = [hf(policy).generate([request], stopping, 0)[0] for request in requests]
    assert tokens_of(hf(policy, batch_size=2).generate(requests, stopping, 0)) == tokens_of(alone)
    assert tokens_of(alone) != [[answer.tokens.tolist()] for answer in whole]


def test_engine_seeds_request_gives_each_prompt_a_seed_of_its_own(tiny_qwen, watched):
    policy = with_ends(load(tiny_qwen("qwen2_5_vl")))
    prompts = policy.prepare([text_sample("How many?")] * 6)
    first = generate(hf(policy, seeds="request"), prompts, SAMPLING, 2, 3)
    assert tokens_of(generate(hf(policy, 4, seeds="request"), prompts, SAMPLING, 2, 3)) == tokens_of(first)
    assert watched["join"]
    assert len({tuple(answer.tokens.tolist()) for group in first for answer in group}) > 6, "prompts are alike"
    assert tokens_of(generate(hf(policy, seeds="request"), prompts, SAMPLING, 2, 4)) != tokens_of(first)
    watched["join"].clear()
    by_call = generate(hf(policy, 4), prompts, SAMPLING, 2, 3)
    assert not watched["join"], "draws from the call's seed go batch after batch"
    assert tokens_of(by_call) != tokens_of(first)
