"""What every engine promises: prefixes are continued, seeds of one request, versions, temperature, what ended it."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.engine import Request
from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Decision, Span, StopReason
from mmrl.objectives.rows import Row, collate
from mmrl.recipe.rollout import SamplingConfig
from tests.support.engines import flow, frames, generate, hf
from tests.support.flow import UNITS
from tests.support.flow import load as load_flow
from tests.support.openvla import load as load_openvla
from tests.support.openvla import observations
from tests.support.policy import digits, load, text_sample

GREEDY = SamplingConfig(temperature=0.0, max_new_tokens=10)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_greedy_completion_continues_from_its_first_units(tiny_qwen, side):
    policy = load(tiny_qwen("qwen2_5_vl"))
    policy.eos_ids = ()
    prompts = policy.prepare([*digits(3, "ocr", "grounding"), text_sample("How many?")])
    engine = hf(policy, side=side)
    whole = [answer for (answer,) in generate(engine, prompts, GREEDY)]
    requests = [Request(p, prefix=w.tokens[:k]) for p, w, k in zip(prompts, whole, (3, 1, 9, 0))]
    continued = [answer for (answer,) in engine.generate(requests, GREEDY, seed=5)]
    for answer, expected, given in zip(continued, whole, (3, 1, 9, 0), strict=True):
        assert answer.tokens.tolist() == expected.tokens.tolist()
        assert answer.given == given
        assert answer.log_probs[:given].tolist() == [0.0] * given
        assert torch.allclose(answer.log_probs[given:], expected.log_probs[given:], atol=1e-5)
        assert answer.versions == (Span(0, given, 10),)
    assert len({tuple(answer.tokens.tolist()) for answer in whole}) > 1
    other = whole[1].tokens[:2].flip(0)
    ((turned,),) = engine.generate([Request(prompts[0], prefix=other)], GREEDY, seed=5)
    assert turned.tokens[:2].tolist() == other.tolist() != whole[0].tokens[:2].tolist(), "also where it would say else"


def test_what_follows_a_prefix_is_scored_as_the_trainer_scores_it(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    (prompt,) = policy.prepare(digits(1, "ocr"))
    policy.eos_ids = ()
    ((first,),) = generate(hf(policy), [prompt], SamplingConfig(max_new_tokens=8), 1, 1)
    settings = SamplingConfig(temperature=0.7, max_new_tokens=8)
    (answers,) = hf(policy).generate([Request(prompt, 6, prefix=first.tokens[:4])], settings, 2)
    rows = [Row(answer.decision(prompt), "rl", 1.0, i, 8) for i, answer in enumerate(answers)]
    with torch.no_grad():
        log_probs = policy.log_probs(collate(rows)).log_probs_RU
    for answer, scored in zip(answers, log_probs):
        assert answer.tokens[:4].tolist() == first.tokens[:4].tolist()
        assert torch.allclose(answer.log_probs[4:], scored[4:], atol=1e-4)
    assert len({tuple(answer.tokens.tolist()) for answer in answers}) > 1


def test_a_prefix_that_has_ended_or_fills_the_limit_is_refused(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    (prompt,) = policy.prepare(digits(1, "ocr"))
    ended = torch.tensor([5, policy.eos_ids[0], 5])
    with pytest.raises(ValueError, match="ends its completion at unit 1"):
        hf(policy).generate([Request(prompt, prefix=ended)], GREEDY, 0)
    with pytest.raises(ValueError, match="10 units leaves nothing to sample below the limit of 10"):
        hf(policy).generate([Request(prompt, prefix=torch.full((10,), 5))], GREEDY, 0)


def test_engines_of_whole_decisions_continue_nothing(tiny_qwen):
    policy = load_flow(tiny_qwen("pi0"))
    (prompt,) = policy.prepare(observations(1))
    request = Request(prompt, restrict="action", prefix=torch.zeros(2))
    with pytest.raises(ConfigError, match="engine 'flow' samples whole decisions, and continues no prefix"):
        flow(policy).generate([request], SamplingConfig(max_new_tokens=UNITS), 0)


@pytest.mark.parametrize("kind", ["answers", "chunks"])
def test_a_request_with_a_seed_of_its_own_does_not_depend_on_those_beside_it(tiny_qwen, kind):
    if kind == "answers":
        policy, sampling, restrict = load(tiny_qwen("qwen2_5_vl")), SamplingConfig(max_new_tokens=6), None
        engine, prompts = hf(policy), policy.prepare(digits(3, "ocr"))
    else:
        policy, sampling, restrict = load_flow(tiny_qwen("pi0")), SamplingConfig(max_new_tokens=UNITS), "action"
        engine, prompts = flow(policy), policy.prepare(observations(3))
    mine = Request(prompts[1], 2, restrict, seed=9)
    others = [Request(prompts[0], 2, restrict), Request(prompts[2], 2, restrict)]
    (alone,) = engine.generate([mine], sampling, seed=0)
    first, among, last = engine.generate([others[0], mine, others[1]], sampling, seed=4)
    for a, b in zip(alone, among, strict=True):
        assert torch.equal(a.tokens, b.tokens)
        assert torch.allclose(a.log_probs, b.log_probs, atol=1e-5)
    for a, b in zip([*first, *last], [c for group in engine.generate(others, sampling, seed=4) for c in group]):
        assert torch.equal(a.tokens, b.tokens), "nor do those beside it depend on it"
    (moved,) = engine.generate([replace(mine, seed=10)], sampling, seed=0)
    assert any(not torch.equal(a.tokens, b.tokens) for a, b in zip(alone, moved))


def test_requests_of_different_sizes_come_back_in_their_order(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"), action_bins=5)
    prompts = policy.prepare(digits(3, "ocr"))
    sampling = SamplingConfig(max_new_tokens=4)
    requests = [Request(prompts[0], 1), Request(prompts[1], 3, "action"), Request(prompts[2], 1)]
    answers = hf(policy).generate(requests, sampling, 0)
    assert [len(group) for group in answers] == [1, 3, 1]
    assert [{answer.stop for answer in group} <= {StopReason.WHOLE} for group in answers] == [False, True, False]
    greedy = generate(hf(policy), prompts[:1], GREEDY)
    mixed = hf(policy).generate([Request(prompts[1], 2), Request(prompts[0])], GREEDY, 0)
    assert mixed[1][0].tokens.tolist() == greedy[0][0].tokens.tolist()


def test_completions_carry_version_and_temperature_into_their_decisions(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    prompts = policy.prepare(digits(1, "ocr"))
    engine = hf(policy)
    assert engine.sync(policy, 17).version == 17
    ((hot,),) = generate(engine, prompts, SamplingConfig(temperature=1.7, max_new_tokens=4))
    ((greedy,),) = generate(engine, prompts, GREEDY)
    assert (hot.temperature, greedy.temperature) == (1.7, 1.0)
    assert hot.versions == (Span(17, 0, len(hot.tokens)),)
    decision = hot.decision(prompts[0])
    assert (decision.temperature, decision.versions) == (hot.temperature, hot.versions)
    assert decision.first(1).versions == (Span(17, 0, 1),)
    assert Row(decision, "rl", 1.0, 0, 4).temperature == 1.7
    assert collate([Row(decision, "rl", 1.0, 0, 4)]).temperature == 1.7


def test_a_decision_is_cut_with_the_versions_of_its_units():
    decision = Decision(None, torch.arange(6), torch.zeros(6), versions=(Span(1, 0, 2), Span(2, 2, 5), Span(3, 5, 6)))
    cut = decision.first(3)
    assert (len(cut.tokens), len(cut.log_probs), cut.versions) == (3, 3, (Span(1, 0, 2), Span(2, 2, 3)))


@pytest.mark.slow
def test_what_ended_a_completion_is_told_apart(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    prompts = policy.prepare(digits(1, "ocr"))
    policy.eos_ids = ()
    ((cut,),) = generate(hf(policy), prompts, GREEDY)
    assert (cut.stop, cut.truncated) == (StopReason.LENGTH, True)
    policy.eos_ids = (int(cut.tokens[3]),)
    ((ended,),) = generate(hf(policy), prompts, GREEDY)
    assert (ended.stop, ended.truncated) == (StopReason.END, False)
    policy.eos_ids = ()
    text = policy.decode_text(cut.tokens[:4])
    ((said,),) = generate(hf(policy), prompts, GREEDY.model_copy(update={"stop": [text[-1]]}))
    assert (said.stop, said.truncated) == (StopReason.TEXT, False)
    robot = load_openvla(tiny_qwen("openvla"))
    settings = SamplingConfig(max_new_tokens=3)
    ((acted,),) = generate(hf(robot), robot.prepare(observations(1)), settings, restrict="action")
    assert (acted.stop, acted.truncated) == (StopReason.WHOLE, False)


def test_an_engine_samples_between_start_and_close_alone(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    prompts, engine = policy.prepare(digits(1, "ocr")), hf(policy)
    engine.close()
    with pytest.raises(RuntimeError, match="engine 'hf' is not started, or was closed"):
        generate(engine, prompts, GREEDY)


@pytest.mark.parametrize(
    ("open_one", "other"), [(hf, "pi0"), (flow, "qwen2_5_vl"), (frames, "qwen2_5_vl")], ids=["hf", "flow", "frames"]
)
def test_an_engine_refuses_a_policy_that_it_cannot_sample(tiny_qwen, open_one, other):
    policy = (load_flow if other == "pi0" else load)(tiny_qwen(other))
    with pytest.raises(ConfigError, match=rf"engine '\w+' does not sample policy.type '{policy.config.type}'"):
        open_one(policy)
