"""Ways to train a Qwen-VL policy: checkpointing, LoRA, frozen parts, rates by part, bfloat16, chunked logits."""

import re

import pytest
import torch

from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.objectives.rows import collate
from mmrl.policies import token_log_probs
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.training import OptimConfig
from mmrl.tracking.metrics import describe
from mmrl.trainer.figures import over_minibatches
from mmrl.trainer.optim import Optimizer
from mmrl.trainer.step import accumulate, plan_step, score
from tests.support.policy import (
    ALL_FAMILIES,
    adapt,
    demo_rows,
    digits,
    distance,
    gradients,
    image_sample,
    load,
    log_probs,
    sampled_rows,
    text_sample,
)

OBJECTIVE = resolve_objective("chord_mu", {"entropy": 0.05})


def rows_of(policy):
    samples = digits(3, "ocr", "counting")
    return [*sampled_rows(policy, samples[:2], 3), *demo_rows(policy, samples)]


def step_gradient(policy, rows, budget=100_000):
    accumulate(rows, plan_step(OBJECTIVE, rows, 0, 8), policy, budget)
    return gradients(policy)


def train(policy, rows, steps=3, **optim):
    optimizer = Optimizer(policy, OptimConfig(lr=3e-3, **optim), steps)
    for _ in range(steps):
        accumulate(rows, plan_step(OBJECTIVE, rows, 0, 8), policy, 300)
        optimizer.step()
    return optimizer


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL_FAMILIES)
@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_gradient_checkpointing_changes_no_gradient(tiny_qwen, family, lora):
    found = []
    for checkpointing in (False, True):
        policy = load(tiny_qwen(family), gradient_checkpointing=checkpointing, lora=lora)
        policy = adapt(policy) if lora else policy
        found.append(step_gradient(policy, rows_of(policy)))
    assert distance(*found) < 1e-6
    assert max(float(g.abs().max()) for g in found[0].values()) > 1e-3


@pytest.mark.parametrize("entropy", ["value", "gradient"])
def test_logits_in_chunks_change_no_log_prob_and_no_gradient(tiny_qwen, monkeypatch, entropy):
    policy = load(tiny_qwen("qwen2_5_vl"))
    rows = rows_of(policy)[:6]
    found = []
    for elements in (1 << 26, 3 * 528):
        monkeypatch.setattr(token_log_probs, "CHUNK_ELEMENTS", elements)
        likelihood = policy.log_probs(collate(rows), entropy)
        total = (likelihood.log_probs_RU * torch.arange(6)[:, None]).sum()
        total = total + likelihood.entropy_RU.sum() if entropy == "gradient" else total
        total.backward()
        found.append((likelihood, gradients(policy)))
    (one, g_one), (many, g_many) = found
    assert torch.allclose(one.log_probs_RU, many.log_probs_RU, atol=1e-6)
    assert torch.allclose(one.entropy_RU, many.entropy_RU, atol=1e-6)
    assert distance(g_one, g_many) < 1e-5


# --- LoRA


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_lora_trains_adapters_only_above_a_base_that_stays(tiny_qwen, family):
    base = load(tiny_qwen(family))
    policy = load(tiny_qwen(family), lora={"rank": 4})
    rows = rows_of(base)
    assert torch.allclose(log_probs(policy, rows[:6]), log_probs(base, rows[:6]), atol=1e-6)
    names = [name for name, _, _ in policy.trainable()]
    assert names
    assert all("lora_" in name and "visual" not in name for name in names)
    before = {k: v.clone() for k, v in policy.module.state_dict().items() if "lora_" not in k}
    adapt(policy)
    found = step_gradient(policy, rows)
    assert {name for name, g in found.items() if float(g.abs().max()) > 0} == set(names)
    train(policy, rows)
    after = policy.module.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert float((log_probs(policy, rows[:6]) - log_probs(base, rows[:6])).abs().max()) > 1e-2
    scored = score(rows[:6], "old", policy, 300)
    policy.keep_reference(base=True)
    with policy.reference():
        assert torch.allclose(log_probs(policy, rows[:6]), log_probs(base, rows[:6]), atol=1e-6)
    assert torch.equal(
        torch.cat([row.old for row in scored]), torch.cat([r.old for r in score(rows[:6], "old", policy, 300)])
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_saved_lora_policy_loads_in_plain_transformers_with_its_adapters_merged(tiny_qwen, tmp_path, family):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    policy = adapt(load(tiny_qwen(family), lora={"rank": 4, "vision": True, "targets": "all-linear"}))
    rows = rows_of(policy)[:6]
    expected = log_probs(policy, rows)
    before = {k: v.clone() for k, v in policy.module.state_dict().items()}
    policy.save_pretrained(tmp_path / "model")
    after = policy.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert torch.equal(log_probs(policy, rows), expected)
    _, info = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    AutoProcessor.from_pretrained(tmp_path / "model")
    assert not list((tmp_path / "model").glob("adapter*"))
    merged = load(tmp_path / "model", awake=False)
    assert float((log_probs(merged, rows) - expected).abs().max()) < 1e-5
    assert float((log_probs(load(tiny_qwen(family)), rows) - expected).abs().max()) > 1e-2


def test_lora_targets_name_whole_layers(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"), lora={"rank": 2, "targets": ["q_proj", "down_proj"]})
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name, _, _ in policy.trainable()}
    assert layers == {"q_proj", "down_proj"}
    for targets, hint in ((["proj"], ""), (["q_proj", "q_prj"], " Did you mean 'q_proj'?"), (["lm_head"], "")):
        message = (
            rf"'{targets[-1]}' names no linear layer that LoRA adapts in qwen_vl\.{re.escape(hint)}.* Allowed: down_p"
        )
        with pytest.raises(ConfigError, match=message):
            load(tiny_qwen("qwen2_5_vl"), lora={"rank": 2, "targets": targets})


def test_a_saved_full_policy_gives_the_same_log_probs_bit_for_bit(tiny_qwen, tmp_path):
    policy = load(tiny_qwen("qwen2_5_vl"))
    rows = rows_of(policy)[:6]
    train(policy, rows)
    policy.save_pretrained(tmp_path / "model")
    again = load(tmp_path / "model", awake=False)
    assert torch.equal(log_probs(again, rows), log_probs(policy, rows))


# --- what is trained


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize(
    "frozen", [["vision"], ["language"], ["vision", "projector"], ["vision", "language"], ["projector", "language"]]
)
def test_frozen_parts_stay_and_the_others_learn(tiny_qwen, family, frozen):
    policy = load(tiny_qwen(family), freeze=frozen)

    def part_of(name):
        merger = ".visual.merger." in name or ".visual.deepstack_merger_list." in name
        return "projector" if merger else "vision" if ".visual." in name else "language"

    before = {k: v.clone() for k, v in policy.module.named_parameters()}
    train(policy, rows_of(policy))
    moved = {part_of(k) for k, v in policy.module.named_parameters() if not torch.equal(v, before[k])}
    assert moved == {"vision", "projector", "language"} - set(frozen)
    assert {part_of(name) for name, _, _ in policy.trainable()} == moved


def test_the_vision_tower_has_its_own_rate_and_norms_are_not_decayed(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    optimizer = Optimizer(policy, OptimConfig(lr=1e-3, lr_vision=1e-5, weight_decay=0.1, warmup=2), 10)
    part_of = {id(p): part for _, p, part in policy.trainable()}
    seen = 0
    for group in optimizer.adamw.param_groups:
        for parameter in group["params"]:
            seen += 1
            assert group["peak"] == {"language": 1e-3, "vision": 1e-5}[part_of[id(parameter)]]
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)
    assert seen == len(part_of)
    assert set(part_of.values()) == {"language", "vision"}
    for rate in (0.5, 1.0, 1.0):
        optimizer.step()
        assert {group["lr"] for group in optimizer.adamw.param_groups} == {1e-3 * rate, 1e-5 * rate}


def test_every_rate_that_is_set_is_logged_and_the_last_of_a_step_is_kept(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"), value_head={})
    optimizer = Optimizer(policy, OptimConfig(lr=1e-3, lr_vision=1e-5, lr_value=1e-2, warmup=4), 10)
    figures = [optimizer.step() for _ in range(2)]
    rates = {"optim/lr": 1e-3, "optim/lr_vision": 1e-5, "optim/lr_value": 1e-2}
    assert {name: figures[0][name] for name in rates} == {name: rate / 4 for name, rate in rates.items()}
    joined = over_minibatches(figures)
    assert {name: joined[name] for name in rates} == {name: rate / 2 for name, rate in rates.items()}
    assert all(describe(name).name == name for name in rates)
    assert "optim/lr_value" not in Optimizer(policy, OptimConfig(), 10).step()


def test_a_gradient_that_is_not_finite_moves_nothing(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    optimizer = train(policy, rows_of(policy), steps=1)
    before = {k: v.clone() for k, v in policy.module.named_parameters()}
    next(policy.module.parameters()).grad = torch.full_like(next(policy.module.parameters()), torch.nan)
    assert optimizer.step()["optim/skipped"] == 1.0
    assert all(torch.equal(v, before[k]) for k, v in policy.module.named_parameters())
    assert all(p.grad is None for p in policy.module.parameters())


def test_optimizer_state_comes_back_where_text_prompts_left_the_vision_tower_alone(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    rows = sampled_rows(policy, [text_sample("How many?")], 4)
    optimizer = train(policy, rows)
    state = optimizer.state()
    assert not any("visual" in key for key in state)
    again = Optimizer(policy, OptimConfig(lr=3e-3), 3)
    again.load_state(state, optimizer.step_count)
    assert all(torch.equal(value, state[key]) for key, value in again.state().items())
    assert again.state().keys() == state.keys()


def test_the_kept_reference_does_not_move(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    rows = rows_of(policy)[:6]
    with pytest.raises(ConfigError, match="reference"), policy.reference():
        pass
    before = log_probs(policy, rows)
    policy.keep_reference()
    train(policy, rows)
    with policy.reference():
        assert torch.equal(log_probs(policy, rows), before)
    now = log_probs(policy, rows)
    assert float((now - before).abs().max()) > 1e-2
    state = {k: v.clone() for k, v in policy.reference_state().items()}
    other = load(tiny_qwen("qwen2_5_vl"), awake=False)
    other.load_reference(state)
    with other.reference():
        assert torch.equal(log_probs(other, rows), before)


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_a_reference_that_follows_is_a_moving_average(tiny_qwen, lora):
    policy = load(tiny_qwen("qwen2_5_vl"), **({"lora": lora} if lora else {}))
    with pytest.raises(ConfigError, match="no reference policy was kept"):
        policy.follow_reference(0.25)
    policy.keep_reference()
    start = {key: value.clone() for key, value in policy.reference_state().items()}
    with torch.no_grad():
        for _, parameter, _ in policy.trainable():
            parameter.add_(1.0)
    policy.follow_reference(0.25)
    policy.follow_reference(0.5)
    moved = policy.reference_state()
    steps = {key: float((moved[key] - value).mean()) for key, value in start.items()}
    assert len(steps) >= len(list(policy.trainable())) > 0
    assert all(step == pytest.approx(1 - 0.75 * 0.5, abs=1e-3) for step in steps.values() if step)
    assert sum(step != 0 for step in steps.values()) == len(list(policy.trainable()))


def test_under_lora_the_reference_is_the_adapters_as_they_were_kept(tiny_qwen):
    policy, base = load(tiny_qwen("qwen2_5_vl"), lora={"rank": 4}), load(tiny_qwen("qwen2_5_vl"))
    rows = rows_of(base)[:6]
    with pytest.raises(ConfigError, match=r"no reference .*kl\.reference: base"), policy.reference():
        pass
    assert policy.reference_state() is None
    train(adapt(policy), rows)
    before = log_probs(policy, rows)
    policy.keep_reference()
    train(policy, rows)
    after = log_probs(policy, rows)
    assert float((after - before).abs().max()) > 1e-2
    assert float((before - log_probs(base, rows)).abs().max()) > 1e-2
    names = [(name, id(parameter)) for name, parameter, _ in policy.trainable()]
    with policy.reference():
        assert torch.equal(log_probs(policy, rows), before)
    assert torch.equal(log_probs(policy, rows), after)
    assert [(name, id(parameter)) for name, parameter, _ in policy.trainable()] == names, "the optimizer's own"
    state = {k: v.clone() for k, v in policy.reference_state().items()}
    other = load(tiny_qwen("qwen2_5_vl"), lora={"rank": 4})
    other.load_reference(state)
    with other.reference():
        assert torch.equal(log_probs(other, rows), before)
    policy.keep_reference(base=True)
    assert policy.reference_state() is None
    with policy.reference():
        assert torch.allclose(log_probs(policy, rows), log_probs(base, rows), atol=1e-6)
    with pytest.raises(ConfigError, match=r"set policy\.lora"):
        base.keep_reference(base=True)


def test_bfloat16_keeps_float32_master_weights(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"), dtype="bfloat16", freeze=["vision", "projector"])
    exact = load(tiny_qwen("qwen2_5_vl"))
    rows = rows_of(exact)
    assert {p.dtype for _, p, _ in policy.trainable()} == {torch.float32}
    assert {p.dtype for n, p in policy.module.named_parameters() if ".visual." in n} == {torch.bfloat16}
    ours, theirs = log_probs(policy, rows[:6]), log_probs(exact, rows[:6])
    assert ours.dtype == torch.float32
    assert 0 < float((ours - theirs).abs().max()) < 0.5
    before = {k: v.clone() for k, v in policy.module.named_parameters()}
    optimizer = Optimizer(policy, OptimConfig(lr=1e-6), 1)
    accumulate(rows, plan_step(OBJECTIVE, rows, 0, 8), policy, 300)
    optimizer.step()
    for name, parameter, _ in policy.trainable():
        step = (parameter - before[name]).detach().abs().max()
        assert 0 < float(step) < 2e-6, name


# --- prompts


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_text_prompts_and_several_images_train_together(tiny_qwen, family):
    policy = load(tiny_qwen(family))
    images = [sample.images[0] for sample in digits(3, "ocr", "grounding", "counting")]
    samples = [image_sample(*images), text_sample("How many?"), image_sample(images[0])]
    prompts = policy.prepare(samples)
    image_id = policy.module.config.image_token_id
    for prompt, count in zip(prompts, (3, 0, 1)):
        patches = 0 if prompt.image_grid_thw is None else int(prompt.image_grid_thw.prod(-1).sum())
        assert len(prompt.resized) == count
        assert int((prompt.input_ids == image_id).sum()) == patches // 4
    rows = sampled_rows(policy, samples, 2)
    together = step_gradient(policy, [*rows, *demo_rows(policy, digits(1, "ocr"))])
    assert all(bool(torch.isfinite(g).all()) for g in together.values())
    only_text = step_gradient(policy, [*sampled_rows(policy, samples[1:2], 4), *rows[:0]])
    assert max(float(g.abs().max()) for n, g in only_text.items() if "visual" not in n) > 0
    assert max(float(g.abs().max()) for n, g in only_text.items() if "visual" in n) == 0


@pytest.mark.parametrize("mark", ["<|image_pad|>", "<|video_pad|>"])
def test_a_placeholder_in_the_text_is_a_bad_sample(tiny_qwen, mark):
    policy = load(tiny_qwen("qwen2_5_vl"))
    image = digits(1, "ocr")[0].images[0]
    for sample in (text_sample(f"What is {mark}?"), image_sample(image, text=f"{mark} what?")):
        with pytest.raises(BadSample, match="placeholder"):
            policy.prepare([sample])


def test_prompts_over_the_limit_and_missing_images_are_bad_samples(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"), max_prompt_tokens=20)
    with pytest.raises(BadSample, match=r"max_prompt_tokens 20"):
        policy.prepare(digits(1, "ocr"))
    assert policy.prepare([text_sample("1")])[0].length <= 20
    lost = image_sample(digits(1, "ocr")[0].images[0])
    with pytest.raises(BadSample, match="the prompt has 1 <image> marks and the row has 0 images"):
        policy.prepare([type(lost)(lost.id, lost.messages, lost.task, lost.target)])


def test_demonstrations_end_their_turn_or_are_refused(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    sample = digits(1, "ocr")[0]
    tokens = policy.demonstration(sample, 64)
    assert tokens[-1] == policy.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert policy.decode_text(tokens) == sample.demonstration
    assert len(policy.demonstration(sample, len(tokens))) == len(tokens)
    with pytest.raises(BadSample, match="max_new_tokens"):
        policy.demonstration(sample, len(tokens) - 1)
    with pytest.raises(BadSample, match="no demonstration"):
        policy.demonstration(text_sample("1"), 8)
