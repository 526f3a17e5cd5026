"""Weights reach vLLM whole, and what goes wrong stops the run: each guard with the guarded thing taken out."""

import re
from dataclasses import replace

import pytest
import torch

from mmrl.contracts.errors import EngineError
from mmrl.engines.vllm import core as vllm_core
from mmrl.engines.vllm.inputs import vllm_input
from mmrl.objectives.rows import Row, collate
from tests.support.policy import FAMILIES, load
from tests.support.vllm import SAMPLING, engine_of, gap, moved, sampled, samples

ROUNDING = 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_ten_training_steps_with_every_part_training(started, family):
    policy, engine = started(family)
    prompts = policy.prepare([samples()[name] for name in ("image", "video", "text")])
    optimizer = torch.optim.AdamW(policy.module.parameters(), lr=2e-3)
    parts = {"visual.": 0.0, "merger": 0.0, "language_model": 0.0}
    before = {name: p.detach().clone() for name, p in policy.module.named_parameters()}
    for step in range(1, 11):
        answers = sampled(engine, prompts, 2, seed=step)
        rows = [
            Row(a.decision(prompt), "rl", (-1.0) ** i, i, len(a.tokens))
            for prompt, group in zip(prompts, answers)
            for i, a in enumerate(group)
        ]
        weights = torch.tensor([row.advantage for row in rows])
        likelihood = policy.log_probs(collate(rows))
        optimizer.zero_grad()
        (-(weights[:, None] * likelihood.log_probs_RU).sum() / 8).backward()
        optimizer.step()
        stale = max(engine.gaps().values())
        report = engine.sync(policy, step)
        assert stale > 100 * ROUNDING, "the step changed what is sampled"
        assert max(report.figures.values()) < ROUNDING
        assert gap(policy, prompts, sampled(engine, prompts, 2, seed=step)) < ROUNDING
        assert report.bytes >= sum(p.numel() * 4 for p in policy.module.parameters())
    for name, parameter in policy.module.named_parameters():
        for part in parts:
            if part in name:
                parts[part] = max(parts[part], float((parameter.detach() - before[name]).abs().max()))
    assert all(change > 1e-3 for change in parts.values()), parts


def test_only_what_trains_is_handed_over(started):
    policy, engine = started("qwen2_5_vl")
    everything = engine.sync(policy, 20).tensors
    for name, parameter in policy.module.named_parameters():
        parameter.requires_grad_("language_model" in name)
    report = engine.sync(moved(policy, "language_model"), 21)
    for parameter in policy.module.parameters():
        parameter.requires_grad_(True)
    assert 0 < report.tensors < everything
    assert max(report.figures.values()) < ROUNDING


def stopped(engine, policy, version):
    """What the run is stopped with; the engine is then made right again."""
    with pytest.raises(EngineError) as caught:
        engine.sync(policy, version)
    return str(caught.value)


def test_without_the_reset_of_picture_embeddings_the_run_stops(started, monkeypatch):
    policy, engine = started("qwen2_5_vl")
    forget, calls = engine.core.forget, []
    # Only the first is left out: what is stale is then found by forgetting it.
    monkeypatch.setattr(
        engine.core, "forget", lambda: forget() if calls else calls.append(engine.core._llm.reset_prefix_cache())
    )
    message = stopped(engine, moved(policy, seed=1), 30)
    assert "stale: what it had computed with earlier weights (keys and values, embeddings of pictures)" in message
    assert "engine 'vllm' scores its own samples at version 30 otherwise than the trainer does" in message


def test_without_the_reset_of_keys_and_values_the_run_stops(started, monkeypatch):
    policy, engine = started("qwen2_5_vl")
    forget, calls = engine.core.forget, []
    monkeypatch.setattr(
        engine.core,
        "forget",
        lambda: forget() if calls else calls.append(engine.core._llm.llm_engine.reset_encoder_cache()),
    )
    assert "stale: what it had computed with earlier weights" in stopped(engine, moved(policy, seed=2), 31)


@pytest.mark.parametrize(
    ("moving", "stale"),
    [("visual.blocks", "'vision'"), ("visual.merger", "'projector'"), ("language_model", "'language'")],
)
def test_without_the_hand_over_the_run_stops_and_names_the_part(started, monkeypatch, moving, stale):
    policy, engine = started("qwen2_5_vl")
    receive, calls = engine.core.receive, []

    def once_nothing(weights, version):
        if calls:
            return receive(weights, version)
        calls.append(version)
        # An empty update still carries the version.
        return receive(iter(()), version)

    monkeypatch.setattr(engine.core, "receive", once_nothing)
    assert f"stale: the weights of {stale}" in stopped(engine, moved(policy, moving, 0.05, seed=3), 32)


@pytest.mark.parametrize(
    "name", ["layers.0.self_attn.k_proj.weight", "visual.blocks.1.mlp.up_proj.weight", "lm_head.weight"]
)
def test_without_one_tensor_the_run_stops(started, monkeypatch, name):
    policy, engine = started("qwen2_5_vl")
    receive, calls = engine.core.receive, []

    def without_it(weights, version):
        if calls:
            return receive(weights, version)
        kept = [(each, tensor) for each, tensor in weights if not each.endswith(name)]
        calls.append(len(kept))
        return receive(iter(kept), version)

    monkeypatch.setattr(engine.core, "receive", without_it)
    message = stopped(engine, moved(policy, seed=4), 33)
    assert calls
    assert "stale: the weights of" in message


def test_an_update_that_never_ends_is_told_by_its_version(started, monkeypatch):
    policy, engine = started("qwen2_5_vl")
    monkeypatch.setattr(engine.core, "receive", lambda weights, version: None)
    message = stopped(engine, policy, 34)
    monkeypatch.undo()
    assert "and was handed those of version 34" in message
    engine.sync(policy, 35)


def test_a_name_that_vllm_does_not_know_is_told_and_a_whole_hand_over_heals(started, monkeypatch):
    policy, engine = started("qwen2_5_vl")
    receive = engine.core.receive

    def renamed(weights, version):
        return receive(((name.replace("lm_head", "output"), tensor) for name, tensor in weights), version)

    monkeypatch.setattr(engine.core, "receive", renamed)
    assert "does not take the trainer's weights" in stopped(engine, policy, 36)
    monkeypatch.undo()
    assert max(engine.sync(policy, 37).figures.values()) < ROUNDING


def test_pixels_that_are_dropped_stop_the_run(started, monkeypatch):
    policy, engine = started("qwen2_5_vl")
    from vllm.inputs.engine import tokens_input

    monkeypatch.setattr(vllm_core, "vllm_input", lambda prompt, marks: tokens_input(prompt.ids))
    message = stopped(engine, policy, 38)
    assert re.search(r"failed while sampling: a prompt of \d+ image tokens came with patches of 0", message)


def test_other_pixels_stop_the_run(started, monkeypatch):
    policy, engine = started("qwen2_5_vl")

    def grey(prompt, marks):
        pixels = {name: 0 * tensor if name.startswith("pixel") else tensor for name, tensor in prompt.tensors.items()}
        items = tuple(replace(item, digest="grey " + item.digest) for item in prompt.items)
        return vllm_input(replace(prompt, tensors=pixels, items=items), marks)

    monkeypatch.setattr(vllm_core, "vllm_input", grey)
    assert "handing over every part again does not bring them together" in stopped(engine, policy, 39)


def test_ids_that_are_expanded_again_stop_the_run(started, monkeypatch):
    policy, engine = started("qwen2_5_vl")
    from vllm.inputs.engine import tokens_input

    monkeypatch.setattr(vllm_core, "vllm_input", lambda prompt, marks: tokens_input([prompt.ids[0], *prompt.ids]))
    with pytest.raises(EngineError, match=r"read a prompt of \d+ tokens, and was given another one of \d+"):
        sampled(engine, policy.prepare([samples()["text"]]), 1, SAMPLING)


def test_without_mmrls_positions_uneven_videos_are_wrong(started):
    policy, engine = started("qwen2_5_vl")
    model, prompts = engine.core.worker_model(), policy.prepare([samples()["uneven video"]])
    own = model.get_mrope_input_positions
    assert gap(policy, prompts, sampled(engine, prompts)) < 2 * ROUNDING
    del model.get_mrope_input_positions
    engine.core.forget()
    assert gap(policy, prompts, sampled(engine, prompts)) > 0.1
    model.get_mrope_input_positions = own
    engine.core.forget()


def test_float_patches_that_it_normalises_stop_the_run_before_its_first_step(tiny_qwen, monkeypatch):
    # The last one here: the processes' groups of an engine that closes are those of every engine.
    arguments = vllm_core._arguments
    monkeypatch.setattr(
        vllm_core,
        "_arguments",
        lambda *given: {k: v for k, v in arguments(*given).items() if k != "mm_device_do_normalize"},
    )
    policy = load(tiny_qwen("qwen2_vl"))
    with pytest.raises(EngineError, match="at version 0 otherwise than the trainer does"):
        engine_of(policy)
