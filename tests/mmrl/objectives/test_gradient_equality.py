"""A step's gradient does not depend on micro-batches, padding or packing; answers see their prompt and themselves."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from PIL import Image

from benchmarks.double import Float64
from mmrl.objectives import kernel
from mmrl.objectives.batching import micro_batches
from mmrl.objectives.rows import collate
from mmrl.recipe.methods import resolve_objective
from mmrl.trainer.step import accumulate, plan_step
from tests.support.policy import (
    ALL_FAMILIES,
    demo_rows,
    digits,
    distance,
    doubled,
    gradients,
    image_sample,
    load,
    log_probs,
    sampled_rows,
    text_sample,
    whole_distance,
)

KERNELS = {
    "sft": resolve_objective("sft", {}),
    "rl": resolve_objective(
        "grpo",
        {"kl": {"weight": 0.2}, "entropy": 0.05, "mismatch": {"kind": "truncate", "cap": 1.5}},
    ),
    "mixed": resolve_objective("chord_mu", {"entropy": 0.05}),
}


def off_policy(rows):
    """The rows as in a later epoch: old, engine and reference log-probs away from the current ones."""
    g = torch.Generator().manual_seed(5)
    moved = []
    for row in rows:
        now = row.decision.log_probs.double()
        noisy = [now + 0.4 * torch.randn(len(now), dtype=torch.float64, generator=g) for _ in range(3)]
        decision = replace(row.decision, log_probs=noisy[2])
        moved.append(replace(row, old=noisy[0], reference=noisy[1], decision=decision))
    return moved


def rows_for(policy, kind):
    """9 rl rows over 3 image prompts and 4 demonstrations, of unequal lengths."""
    samples = digits(4, "ocr", "counting", think=True)
    rl = off_policy(sampled_rows(policy, [*samples[:2], text_sample("Count.")], 3, temperature=0.8))
    demos = demo_rows(policy, samples)
    return {"sft": demos, "rl": rl, "mixed": [*rl, *demos]}[kind]


def gradient(policy, rows, objective, split):
    """Gradients of one step; `split` is a token budget, or the sizes of consecutive micro-batches."""
    plan = plan_step(objective, rows, 0, 8)
    if isinstance(split, int):
        accumulate(rows, plan, policy, split)
        return gradients(policy)
    sizes = list(split)
    assert sum(sizes) == len(rows)
    for size in sizes:
        batch, rows = rows[:size], rows[size:]
        for temperature in sorted({row.temperature for row in batch}):
            part = [row for row in batch if row.temperature == temperature]
            entropy = "gradient" if any(row.stream == "rl" for row in part) else "none"
            kernel.loss(policy.log_probs(collate(part), entropy), part, plan)[0].backward()
    return gradients(policy)


def splits(count):
    """Micro-batches of 1, 2 and 8 rows, uneven ones, and token budgets from one row each to all at once."""
    even = [[size] * (count // size) + [count % size] * (count % size > 0) for size in (1, 2, 8)]
    return [*even, [count - 1, 1], [1, count - 3, 2], 1, 150, 260, 100_000]


# float32 rounds away 1e-7 of each product, and advantages of both signs cancel: single parameters then differ by more
# than the whole gradient does. Only float64 tells rounding from a normaliser off by a few parts in a million.
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KERNELS)
def test_gradient_of_every_parameter_does_not_depend_on_the_split(tiny_qwen, kind):
    policy = load(tiny_qwen("qwen2_5_vl"))
    rows = rows_for(policy, kind)
    with Float64():
        policy = doubled(policy)
        whole = gradient(policy, rows, KERNELS[kind], [len(rows)])
        assert any(float(value.abs().max()) > 0 for name, value in whole.items() if "visual" in name)
        for split in splits(len(rows)):
            assert distance(whole, gradient(policy, rows, KERNELS[kind], split)) < 1e-12, split


@pytest.mark.slow
@pytest.mark.parametrize("kind", KERNELS)
def test_gradient_in_float32_does_not_depend_on_the_split(tiny_qwen, kind):
    policy = load(tiny_qwen("qwen2_5_vl"), awake=False)
    samples = digits(4, "ocr", "counting", think=True)
    rl, demos = off_policy(sampled_rows(policy, samples, 8)), demo_rows(policy, samples)
    rows = {"sft": demos, "rl": rl, "mixed": [*rl, *demos]}[kind]
    whole = gradient(policy, rows, KERNELS[kind], [len(rows)])
    for split in splits(len(rows)):
        assert whole_distance(whole, gradient(policy, rows, KERNELS[kind], split)) < 1e-6, split


def test_budgets_split_unevenly_and_lose_no_row(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    rows = rows_for(policy, "mixed")
    sizes = {}
    for budget in (1, 150, 260, 100_000):
        batches = micro_batches(rows, policy, budget)
        sizes[budget] = [len(batch) for batch in batches]
        assert sorted(id(row) for batch in batches for row in batch) == sorted(map(id, rows))
        for batch in batches:
            prompts = {id(row.decision.prompt): row.decision.prompt for row in batch}
            lengths = [[r.units for r in batch if id(r.decision.prompt) == key] for key in prompts]
            assert len(batch) == 1 or policy.batch_tokens(list(prompts.values()), lengths) <= budget
    assert set(sizes[1]) == {1}
    assert len(sizes[100_000]) == 2  # two temperatures
    assert len(set(sizes[150])) > 1


def plain_inputs(policy, sample):
    """The processor's own inputs of one prompt."""
    text = policy.processor.apply_chat_template(list(sample.messages), add_generation_prompt=True, tokenize=False)
    return policy.processor(text=[text], images=list(sample.images) or None, return_tensors="pt")


def plain_log_probs(policy, inputs, row):
    """All log-probs [U, V] at one answer, from transformers' own forward."""
    inputs = dict(inputs)
    answer = row.decision.tokens[None]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], answer], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(answer)], 1)
    logits = policy.module(**inputs).logits[0, -row.units - 1 : -1] / row.temperature
    return logits.masked_fill(~policy.allowed_tokens(None), -1e9).log_softmax(-1)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_step_equals_autograd_through_the_plain_model(tiny_qwen, family):
    """GRPO with an entropy bonus and SFT at mu = 0.9, written out over transformers' forward, one answer at a time."""
    policy = load(tiny_qwen(family))
    samples = [*digits(2, "ocr", "counting"), text_sample("Count."), image_sample(*(s.images[0] for s in digits(2)))]
    rl, demos = sampled_rows(policy, samples, 2, temperature=0.8), demo_rows(policy, samples[:2])
    inputs = [plain_inputs(policy, sample) for sample in samples]
    with Float64():
        policy = doubled(policy)
        ours = gradient(policy, [*rl, *demos], KERNELS["mixed"], 200)
        units = sum(row.units for row in rl), sum(row.units for row in demos)
        for i, row in enumerate(rl):
            every = plain_log_probs(policy, inputs[i // 2], row)
            gain = row.advantage * every.gather(-1, row.decision.tokens[:, None]).sum()
            entropy = -(every.exp() * every).sum()
            ((-0.1 * gain - 0.05 * entropy) / units[0]).backward()
        for i, row in enumerate(demos):
            likelihood = plain_log_probs(policy, inputs[i], row).gather(-1, row.decision.tokens[:, None]).sum()
            (-0.9 * likelihood / units[1]).backward()
        assert distance(gradients(policy), ours) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL_FAMILIES)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_packing_a_group_equals_one_row_an_answer(tiny_qwen, family, dtype):
    found = {}
    for packing in ("group", "row"):
        policy = load(tiny_qwen(family), packing=packing)
        rows = rows_for(policy, "mixed")
        with Float64() if dtype == "float64" else nullcontext():
            policy = doubled(policy) if dtype == "float64" else policy
            found[packing] = gradient(policy, rows, KERNELS["mixed"], 300)
    assert distance(found["group"], found["row"]) < TOLERANCE[dtype]


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_images_sway_the_log_probs(tiny_qwen, family):
    policy = load(tiny_qwen(family))
    sample = digits(1, "ocr")[0]
    rows = sampled_rows(policy, [sample], 4)
    black = policy.prepare([replace(sample, images=(Image.new("RGB", sample.images[0].size),))])[0]
    blind = [replace(row, decision=replace(row.decision, prompt=black)) for row in rows]
    assert black.length == rows[0].decision.prompt.length
    assert float((log_probs(policy, rows) - log_probs(policy, blind)).abs().max()) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_the_order_of_two_images_matters_and_neighbours_do_not(tiny_qwen, family):
    policy = load(tiny_qwen(family))
    first, second = (sample.images[0] for sample in digits(2, "ocr", "grounding"))
    samples = [image_sample(first, second), image_sample(second, first), text_sample("How?"), image_sample(first)]
    rows = sampled_rows(policy, samples, 2)
    together = log_probs(policy, rows)
    alone = torch.cat([log_probs(policy, [row]) for row in rows])
    assert float((together - alone).abs().max()) < 1e-5
    prompts = policy.prepare(samples)
    swapped = [replace(row, decision=replace(row.decision, prompt=prompts[1])) for row in rows[:2]]
    assert float((log_probs(policy, rows[:2]) - log_probs(policy, swapped)).abs().max()) > 1e-3


@pytest.mark.parametrize("packing", ["group", "row"])
def test_an_answer_never_sees_another_answer(tiny_qwen, packing):
    policy = load(tiny_qwen("qwen2_5_vl"), packing=packing)
    rows = sampled_rows(policy, digits(2, "ocr"), 3)
    before = log_probs(policy, rows)
    ends = torch.tensor([row.units for row in rows]).cumsum(0)
    for i, row in enumerate(rows):
        tokens = (row.decision.tokens + 11) % 200
        changed = [*rows[:i], replace(row, decision=replace(row.decision, tokens=tokens)), *rows[i + 1 :]]
        difference = (log_probs(policy, changed) - before).abs()
        mine = torch.zeros(len(before), dtype=torch.bool)
        mine[ends[i] - row.units : ends[i]] = True
        assert float(difference[mine].max()) > 1e-3
        assert float(difference[~mine].max()) == 0.0


def test_log_probs_read_only_what_came_before(tiny_qwen):
    """Changing the last token of an answer changes its own log-prob only; changing the first changes later ones."""
    policy = load(tiny_qwen("qwen2_5_vl"))
    row = max(sampled_rows(policy, digits(1, "ocr"), 4), key=lambda row: row.units)
    tokens = row.decision.tokens
    before = log_probs(policy, [row])

    def moved(at):
        changed = tokens.clone()
        changed[at] = (changed[at] + 7) % 200
        return (log_probs(policy, [replace(row, decision=replace(row.decision, tokens=changed))]) - before).abs()

    assert float(moved(-1)[:-1].max()) == 0.0
    assert float(moved(0)[1:].max()) > 1e-3
