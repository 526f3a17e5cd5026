"""Segment attention: plans, every way of computing it against a masked softmax, and what it does not serve."""

import json
import shutil

import pytest
import torch

from benchmarks.double import Float64
from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import Decision
from mmrl.objectives.rows import Row, collate
from mmrl.policies.attention import interface, kernels, merged
from mmrl.policies.attention.interface import no_mask
from mmrl.policies.attention.kernels import attend, kernel_for
from mmrl.policies.attention.plan import plan_segments
from tests.support.policy import (
    digits,
    distance,
    doubled,
    gradients,
    image_sample,
    load,
    sampled_rows,
    text_sample,
)

# Two sequences: a prompt with answers, of which one is a conversation that branches and one is empty, and a prompt with
# one answer.
LENGTHS = (7, 4, 3, 2, 5, 0, 6, 3)
PARENTS = (None, 0, 0, 2, 2, 0, None, 6)
PLAN = plan_segments(LENGTHS, PARENTS)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}


def test_a_segment_sees_its_ancestors_and_all_that_see_it_stand_behind_it():
    assert [(s.start, s.end) for s in PLAN.segments] == [
        (0, 7), (7, 11), (11, 14), (14, 16), (16, 21), (21, 21), (21, 27), (27, 30),
    ]  # fmt: skip
    assert [s.reach for s in PLAN.segments] == [21, 11, 21, 16, 21, 21, 30, 30]
    assert PLAN.length == 30
    assert PLAN.path(0) == ((0, 7),)
    assert PLAN.path(1) == ((0, 11),)
    assert PLAN.path(3) == ((0, 7), (11, 16))
    assert PLAN.path(4) == ((0, 7), (11, 14), (16, 21))
    assert PLAN.path(7) == ((21, 30),)


@pytest.mark.parametrize("parents", [(None, None, 0), (None, 0, 0, 1), (None, 2, 0)])
def test_a_segment_apart_from_what_it_continues_is_refused(parents):
    with pytest.raises(ValueError, match="does not stand before it unbroken"):
        plan_segments([1] * len(parents), parents)


def test_scores_computed_grow_by_the_same_for_each_further_answer():
    plans = [plan_segments([100] + [20] * n, [None] + [0] * n) for n in (1, 2, 3, 64)]
    areas = [[(q.stop - q.start) * (k.stop - k.start) for q, k, _ in merged.calls(plan)] for plan in plans]
    assert [sum(area) for area in areas] == [100 * 100 + n * (20 * 20 + 20 * 100) for n in (1, 2, 3, 64)]
    # The prompt to itself, each answer to itself, and all answers to the prompt at once.
    assert len(areas[-1]) == 1 + 64 + 1


def seen_TT(lengths, parents):
    """bool [T, T] of query and key, token by token."""
    owner = torch.tensor([i for i, length in enumerate(lengths) for _ in range(length)])
    seen = torch.zeros(len(owner), len(owner), dtype=torch.bool)
    for query, segment in enumerate(owner.tolist()):
        above = {segment}
        while parents[segment] is not None:
            segment = parents[segment]
            above.add(segment)
        for key in range(query + 1):
            seen[query, key] = int(owner[key]) in above
    return seen


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("kernel", ["merged", "paths", "products"])
@pytest.mark.parametrize("key_heads", [6, 2])
def test_every_kernel_is_a_softmax_over_what_each_token_sees(kernel, key_heads, dtype):
    g = torch.Generator().manual_seed(0)
    shapes = [(1, heads, PLAN.length, 8) for heads in (6, key_heads, key_heads, 6)]
    # Large scores: a sum of exponentials that is put together wrongly would show.
    query, key, value, slope = (3 * torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes)
    inputs = [x.to(dtype).requires_grad_() for x in (query, key, value)]
    out = attend(kernel, *inputs, PLAN, 0.3, 0.0)
    out.backward(slope.to(dtype))
    exact = [x.detach().double().requires_grad_() for x in inputs]
    repeated = [x.repeat_interleave(6 // key_heads, 1) for x in exact[1:]]
    scores = 0.3 * exact[0] @ repeated[0].mT
    plain = scores.masked_fill(~seen_TT(LENGTHS, PARENTS), -torch.inf).softmax(-1) @ repeated[1]
    plain.backward(slope.to(dtype).double())
    assert out.dtype == dtype
    for ours, theirs in [(out.detach(), plain.detach()), *((x.grad, y.grad) for x, y in zip(inputs, exact))]:
        assert float((ours - theirs).norm() / theirs.norm()) < TOLERANCE[dtype]


def test_dropout_drops_weights_and_recomputes_the_same_ones():
    inputs = [torch.randn(1, 2, PLAN.length, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        out = attend("paths", *inputs, PLAN, None, 0.5)
        assert not torch.allclose(out, attend("paths", *inputs, PLAN, None, 0.0))
        slope = torch.randn(out.shape, dtype=out.dtype)
        out.backward(slope)
        # The output is linear in the values.
        assert float((inputs[2].grad * inputs[2].detach()).sum()) == pytest.approx(float((out.detach() * slope).sum()))


@pytest.mark.parametrize(
    ("case", "kernel"),
    [
        (("sdpa", "cpu", 0.0, True), "merged"),
        (("flash_attention_2", "cpu", 0.0, True), "merged"),
        (("sdpa", "cpu", 0.1, True), "paths"),
        (("sdpa", "cpu", 0.0, False), "paths"),
        (("sdpa", "cuda", 0.0, True), "paths"),
        (("flash_attention_2", "cuda", 0.0, True), "paths"),
        (("eager", "cpu", 0.0, True), "products"),
        (("eager", "cuda", 0.0, True), "products"),
    ],
)
def test_the_kernel_follows_from_the_setting_and_the_device(case, kernel):
    assert kernel_for(*case) == kernel


def scored(policy, rows):
    """Gradients of a sum over log-probs, entropies and values."""
    likelihood = policy.log_probs(collate(rows), "gradient")
    weights = torch.linspace(-1, 1, likelihood.log_probs_RU.shape[1], dtype=likelihood.log_probs_RU.dtype)
    (likelihood.log_probs_RU * weights + likelihood.entropy_RU).sum().backward(retain_graph=True)
    likelihood.value_RV.square().sum().backward()
    return gradients(policy)


def prompts():
    """Prompts with one picture, with none, and with two."""
    pictures = digits(2, "ocr", "grounding")
    return [pictures[0], text_sample("How many?"), image_sample(*(sample.images[0] for sample in pictures))]


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["sdpa", "eager", "checkpointing", "on CUDA"])
def test_groups_equal_rows_for_log_probs_entropies_and_values(tiny_qwen, monkeypatch, setting):
    more = {"eager": {"attention": "eager"}, "checkpointing": {"gradient_checkpointing": True}}.get(setting, {})
    if setting == "on CUDA":
        monkeypatch.setattr(interface, "kernel_for", lambda attention, *rest: kernel_for(attention, "cuda", *rest[1:]))
    found = {}
    for packing in ("group", "row"):
        policy = load(tiny_qwen("qwen2_5_vl"), packing=packing, value_head={"width": 8}, **more)
        g = torch.Generator().manual_seed(0)
        for parameter in policy.value_head.parameters():
            parameter.data.normal_(generator=g)
        rows = sampled_rows(policy, prompts(), 3)
        if setting == "checkpointing":
            # Backward computes again outside of `Float64`.
            found[packing] = scored(policy, rows)
            continue
        policy.value_head.double()
        with Float64():
            found[packing] = scored(doubled(policy), rows)
    assert distance(found["group"], found["row"]) < (2e-5 if setting == "checkpointing" else 1e-12)


def test_groups_equal_rows_under_autocast(tiny_qwen):
    found = {}
    for packing in ("group", "row"):
        policy = load(tiny_qwen("qwen2_5_vl"), packing=packing, dtype="bfloat16", awake=False)
        rows = sampled_rows(policy, [text_sample("How many?")], 2)
        policy.log_probs(collate(rows)).log_probs_RU.sum().backward()
        found[packing] = gradients(policy)
    assert distance(found["group"], found["row"]) < 0.1


@pytest.mark.parametrize("checkpointing", [False, True])
def test_only_the_language_model_gets_the_plan_and_nothing_builds_a_mask(tiny_qwen, monkeypatch, checkpointing):
    policy = load(tiny_qwen("qwen2_5_vl"), gradient_checkpointing=checkpointing)
    rows = sampled_rows(policy, digits(2, "ocr"), 3)
    plans = []
    monkeypatch.setattr(interface, "attend", lambda *a: plans.append(a[4]) or kernels.attend(*a))
    for name in ("sdpa", "segments_over_sdpa"):
        monkeypatch.setitem(
            interface.AttentionMaskInterface._global_mapping, name, lambda **_: pytest.fail("a mask is built")
        )
    policy.log_probs(collate(rows)).log_probs_RU.sum().backward()
    layers = policy.module.config.get_text_config().num_hidden_layers
    assert len(plans) == layers * (1 + checkpointing)
    assert all(plan is plans[0] for plan in plans)
    assert [s.parent for s in plans[0].segments] == [None, 0, 0, 0, None, 4, 4, 4]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_layer_that_is_not_told_of_the_plan_fails(tiny_qwen, attention):
    policy = load(tiny_qwen("qwen2_5_vl"), attention=attention)
    ids = torch.arange(5)[None]
    with pytest.raises(RuntimeError):
        policy._hidden(ids, torch.arange(5).expand(3, 1, -1), no_mask(policy.device), [])


def test_rows_that_a_plan_does_not_fit_are_refused(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    with pytest.raises(ValueError, match="a plan of 30 tokens for 1 rows of 5"):
        policy._hidden(
            torch.arange(5)[None], torch.arange(5).expand(3, 1, -1), no_mask(policy.device), [], segments=PLAN
        )


def test_sliding_windows_are_refused_by_name_in_groups_and_seen_in_rows(tiny_qwen, tmp_path):
    folder = shutil.copytree(tiny_qwen("qwen2_5_vl"), tmp_path / "sliding")
    config = json.loads((folder / "config.json").read_text())
    text = config["text_config"]
    text |= {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
    text["layer_types"] = ["sliding_attention"] * text["num_hidden_layers"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="'group' does not fit layers of sliding_attention; set it to 'row'"):
        load(folder)
    policy = load(folder, packing="row")
    prompt, tokens_U = policy.prepare([text_sample("How many are there?")])[0], torch.arange(10, 16)
    with torch.no_grad():
        ours_U = policy.log_probs(collate([Row(Decision(prompt, tokens_U), "demo", 1.0, 0, 6)])).log_probs_RU[0]
        logits_UV = policy.module(torch.cat([prompt.input_ids, tokens_U])[None]).logits[0, -7:-1]
    logits_UV = logits_UV.masked_fill(~policy.allowed_tokens(None), -torch.inf)
    theirs_U = logits_UV.log_softmax(-1).gather(-1, tokens_U[:, None])[:, 0]
    assert torch.allclose(ours_U, theirs_U, atol=1e-5)


@pytest.mark.parametrize("name", interface.UNSERVED)
def test_what_an_attention_asks_for_besides_is_refused_by_name(name):
    x = torch.zeros(1, 1, PLAN.length, 4)
    with pytest.raises(ConfigError, match=f"'group' does not fit Linear with {name}; set it to 'row'"):
        interface._attention("sdpa", torch.nn.Linear(1, 1), x, x, x, None, segments=PLAN, **{name: 1})


def test_flash_attention_is_asked_for_by_its_own_name_outside_of_groups(tiny_qwen, monkeypatch):
    """The package is for CUDA: what transformers hands to it is looked at."""
    asked = []
    kernel = "transformers.integrations.flash_attention._flash_attention_forward"
    monkeypatch.setattr(kernel, lambda query, *_, **more: asked.append(more) or query)
    policy = load(tiny_qwen("qwen2_5_vl"))
    module = policy.module.get_decoder().layers[0].self_attn
    query, key = torch.randn(1, 4, 5, 8), torch.randn(1, 2, 5, 8)
    interface._attention("flash_attention_2", module, query, key, key, None, scaling=0.5)
    assert asked[0]["attn_implementation"] == "flash_attention_2"
    assert module.config._attn_implementation == "segments_over_sdpa"
    plan = plan_segments([5], [None])
    inside, _ = interface._attention("flash_attention_2", module, query, key, key, None, segments=plan)
    assert inside.shape == (1, 5, 4, 8)
    assert len(asked) == 1
