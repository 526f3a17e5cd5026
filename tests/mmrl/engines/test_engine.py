"""The hf engine against the trainer's log-probs, against transformers' own generate, and against its own promises."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmrl.contracts.types import Decision
from mmrl.objectives.rows import Row, collate
from mmrl.policies.tiny import write_tiny
from mmrl.policies.token_policy import CachedState
from mmrl.recipe.rollout import SamplingConfig
from tests.support.engines import generate, hf
from tests.support.policy import ALL_FAMILIES, FAMILIES, digits, image_sample, load, text_sample

GREEDY = SamplingConfig(temperature=0.0, max_new_tokens=10)


def mixed_samples():
    """Prompts of unequal length: one image of each size, two images, none."""
    images = [sample.images[0] for sample in digits(2, "ocr", "grounding")]
    return [*digits(3, "ocr", "grounding", "counting"), image_sample(*images), text_sample("How many?")]


def end_early(policy, prompts):
    """Makes some of the answers end at different steps: tokens of a greedy run become end tokens."""
    policy.eos_ids = ()
    answers = generate(hf(policy), prompts, GREEDY, 1, 0)
    policy.eos_ids = tuple({int(completion.tokens[i]) for i, (completion,) in enumerate(answers) if i > 0})


def tokens_of(results):
    return [[completion.tokens.tolist() for completion in group] for group in results]


@pytest.mark.parametrize("family", ALL_FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_engine_and_trainer_agree_on_log_probs(tiny_qwen, family, side, temperature):
    policy = load(tiny_qwen(family))
    prompts = policy.prepare(mixed_samples())
    end_early(policy, prompts)
    sampling = SamplingConfig(temperature=temperature, max_new_tokens=10, top_k=50, top_p=0.9)
    rows = []
    for prompt, group in zip(prompts, generate(hf(policy, side=side), prompts, sampling, 3, seed=4)):
        for answer in group:
            rows.append(Row(answer.decision(prompt), "rl", 1.0, len(rows), len(answer.tokens), 3))
    with torch.no_grad():
        log_probs = policy.log_probs(collate(rows)).log_probs_RU
    gaps = [float((log_probs[i, : r.units] - r.decision.log_probs).abs().max()) for i, r in enumerate(rows)]
    assert max(gaps) < 1e-4
    assert len({row.units for row in rows}) > 1
    assert float(log_probs.std()) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_decoding_equals_transformers_generate(tiny_qwen, family):
    policy = load(tiny_qwen(family))
    samples = mixed_samples()
    ours = generate(hf(policy), policy.prepare(samples), GREEDY, 1, seed=0)
    forbidden = (~policy.allowed_tokens(None)).nonzero().squeeze(-1).tolist()
    distinct, different = set(), set()
    for sample, (answer,) in zip(samples, ours):
        text = policy.processor.apply_chat_template(list(sample.messages), add_generation_prompt=True, tokenize=False)
        encoded = policy.processor(text=[text], images=list(sample.images) or None, return_tensors="pt")
        theirs = policy.module.eval().generate(
            **encoded, do_sample=False, max_new_tokens=GREEDY.max_new_tokens, suppress_tokens=forbidden
        )[0, encoded["input_ids"].shape[1] :]
        assert answer.tokens.tolist() == theirs.tolist()
        distinct.update(theirs.tolist())
        different.add(tuple(theirs.tolist()))
    assert len(distinct) >= 3
    assert len(different) >= 3


def test_equal_seeds_give_equal_answers_and_others_do_not(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    prompts = policy.prepare(mixed_samples())
    sampling = SamplingConfig(max_new_tokens=6)
    first, again, other = (generate(hf(policy), prompts, sampling, 2, seed) for seed in (7, 7, 8))
    assert tokens_of(first) == tokens_of(again)
    for a, b in zip(first, again):
        assert all(torch.equal(x.log_probs, y.log_probs) for x, y in zip(a, b))
    assert tokens_of(first) != tokens_of(other)
    assert any(a.tokens.tolist() != b.tokens.tolist() for a, b in first)


def test_global_randomness_is_neither_read_nor_moved(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    prompts = policy.prepare(digits(1, "ocr"))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = generate(hf(policy), prompts, SamplingConfig(max_new_tokens=6), 2, 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert tokens_of(generate(hf(policy), prompts, SamplingConfig(max_new_tokens=6), 2, 3)) == tokens_of(first)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["left", "right"])
def test_greedy_answers_do_not_depend_on_the_batch(tiny_qwen, side):
    policy = load(tiny_qwen("qwen2_5_vl"))
    prompts = policy.prepare(mixed_samples())
    end_early(policy, prompts)
    alone = [tokens_of(generate(hf(policy, side=side), [prompt], GREEDY, 1, 0))[0] for prompt in prompts]
    for batch_size in (1, 2, 256):
        engine = hf(policy, batch_size=batch_size, side=side)
        assert tokens_of(generate(engine, prompts, GREEDY, 1, 0)) == alone
    turned = generate(hf(policy, side=side), prompts[::-1], GREEDY, 3, 0)
    assert tokens_of(turned) == [group * 3 for group in alone[::-1]]
    assert len({len(group[0]) for group in alone}) > 1


def test_dropping_finished_rows_changes_nothing(tiny_qwen, monkeypatch):
    policy = load(tiny_qwen("qwen2_5_vl"))
    prompts = policy.prepare(mixed_samples())
    end_early(policy, prompts)
    select, cuts = CachedState.select, []

    def noting(state, rows):
        cuts.append(len(rows))
        return select(state, rows)

    monkeypatch.setattr(CachedState, "select", noting)
    found, counts = [], []
    for threshold in (0.0, 0.75, 1.01):
        monkeypatch.setattr("mmrl.engines.hf.COMPACT_BELOW", threshold)
        cuts.clear()
        found.append(generate(hf(policy), prompts, GREEDY, 2, 0))
        counts.append(len(cuts))
    assert tokens_of(found[0]) == tokens_of(found[1]) == tokens_of(found[2])
    for groups in zip(*found):
        for kept, *cut in zip(*groups):
            assert all(torch.allclose(kept.log_probs, other.log_probs, atol=1e-5) for other in cut)
    assert counts[0] == 0
    assert counts[2] >= 2


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_placeholders_are_never_sampled_however_likely(tmp_path, temperature):
    policy = load(write_tiny("qwen2_5_vl", tmp_path / "odd", size={"vocab": 501}))
    config, vocabulary = policy.module.config, policy.module.get_output_embeddings().weight.shape[0]
    unused = range(len(policy.processor.tokenizer), vocabulary)
    forbidden = [config.image_token_id, config.video_token_id, *unused]

    def prefer(module, inputs, logits):
        return logits.index_fill(-1, torch.tensor(forbidden), 50.0)

    prompts = policy.prepare(digits(2, "ocr"))
    sampling = SamplingConfig(temperature=temperature, max_new_tokens=8)
    with policy.module.get_output_embeddings().register_forward_hook(prefer):
        answers = [answer for group in generate(hf(policy), prompts, sampling, 4, 0) for answer in group]
        row = Row(answers[0].decision(prompts[0]), "rl", 1.0, 0, len(answers[0].tokens))
        with torch.no_grad():
            likelihood = policy.log_probs(collate([row]), entropy="value")
    assert not {t for answer in answers for t in answer.tokens.tolist()} & set(forbidden)
    assert torch.allclose(likelihood.log_probs_RU[0], answers[0].log_probs, atol=1e-4)
    assert bool(torch.isfinite(likelihood.entropy_RU).all())
    assert len(unused) > 0


def test_a_stop_text_ends_the_answer_where_it_appears(tiny_qwen, monkeypatch):
    policy = load(tiny_qwen("qwen2_5_vl"))
    prompts = policy.prepare(digits(2, "ocr"))
    only_digits = torch.zeros_like(policy.allowed_tokens(None))
    only_digits[[policy.processor.tokenizer.convert_tokens_to_ids(c) for c in "0123456789"]] = True
    monkeypatch.setattr(policy, "allowed_tokens", lambda restrict: only_digits)
    sampling = SamplingConfig(max_new_tokens=20)
    ended = 0
    for seed in range(4):
        free = generate(hf(policy), prompts, sampling, 1, seed)[0][0]
        text = policy.decode_text(free.tokens)
        stop = text[4:6]  # two tokens
        limited = sampling.model_copy(update={"stop": ["never in there", stop]})
        answer = generate(hf(policy), prompts, limited, 1, seed)[0][0]
        assert policy.decode_text(answer.tokens) == text[: text.index(stop) + 2]
        assert free.truncated
        assert not answer.truncated
        ended += len(answer.tokens)
    assert ended < 4 * 8


def test_truncated_says_whether_the_limit_cut_the_answer(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    prompts = policy.prepare(digits(1, "ocr"))

    def answer(limit):
        return generate(hf(policy), prompts, SamplingConfig(max_new_tokens=limit), 1, seed=0)[0][0]

    policy.eos_ids = ()
    tokens = answer(10).tokens.tolist()
    last = next(i for i in range(4, 10) if tokens[i] not in tokens[:i])
    policy.eos_ids = (tokens[last],)
    cut, ended = answer(last), answer(last + 1)
    assert (cut.tokens.tolist(), cut.truncated) == (tokens[:last], True)
    assert (ended.tokens.tolist(), ended.truncated) == (tokens[: last + 1], False)


def test_restricted_sampling_gives_full_length_answers_of_allowed_tokens(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"), action_bins=5)
    policy.eos_ids = (*policy.eos_ids, *policy.action_ids().tolist())  # an end token must not end a restricted answer
    prompts = policy.prepare(digits(2, "ocr"))
    answers = generate(hf(policy), prompts, SamplingConfig(max_new_tokens=6), 8, 1, restrict="action")
    seen = set()
    for prompt, group in zip(prompts, answers):
        for answer in group:
            assert len(answer.tokens) == 6
            assert not answer.truncated
            seen.update(answer.tokens.tolist())
            row = Row(Decision(prompt, answer.tokens, restrict="action"), "rl", 1.0, 0, 6)
            with torch.no_grad():
                log_probs = policy.log_probs(collate([row])).log_probs_RU[0]
            assert torch.allclose(log_probs, answer.log_probs, atol=1e-4)
    assert seen == set(policy.action_ids().tolist())


class WeightCasts(TorchDispatchMode):
    """Counts casts of a module's weights to bfloat16."""

    def __init__(self, module):
        super().__init__()
        self.weights, self.count = {p.data_ptr() for p in module.parameters()}, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        cast = operation is torch.ops.aten._to_copy.default and (kwargs or {}).get("dtype") is torch.bfloat16
        self.count += cast and args[0].data_ptr() in self.weights
        return operation(*args, **(kwargs or {}))


def test_weights_are_cast_once_in_a_rollout_and_anew_in_the_next(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"), dtype="bfloat16")
    prompts = policy.prepare(digits(2, "ocr"))
    policy.eos_ids, counts, answers = (), [], []
    for tokens in (2, 6):
        with WeightCasts(policy.module) as casts:
            answers.append(generate(hf(policy), prompts, SamplingConfig(max_new_tokens=tokens), 2))
        counts.append(casts.count)
    assert counts[0] == counts[1] > 20
    with torch.no_grad():
        policy.module.get_output_embeddings().weight.neg_()
    turned = generate(hf(policy), prompts, SamplingConfig(max_new_tokens=6), 2)
    assert tokens_of(turned) != tokens_of(answers[1]), "stale casts"


def test_training_mode_comes_back_even_after_an_error(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    prompts = policy.prepare(digits(1, "ocr"))
    policy.module.train()
    with pytest.raises(ValueError, match="token set"):
        generate(hf(policy), prompts, GREEDY, 1, 0, restrict="nothing")
    assert policy.module.training
    policy.module.eval()
    generate(hf(policy), prompts, GREEDY, 1, 0)
    assert not policy.module.training
