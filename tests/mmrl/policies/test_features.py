"""A frozen tower sees a prompt once per step, and nothing else changes by a bit."""

import gc

import pytest
import torch

from mmrl.policies.features import Features
from mmrl.recipe.methods import resolve_objective
from mmrl.trainer.step import accumulate, plan_step
from tests.support.policy import adapt, demo_rows, digits, gradients, image_sample, load, log_probs, sampled_rows
from tests.support.videos import video_sample, write_video

MIXED = resolve_objective("chord_mu", {"entropy": 0.05})
FAMILIES = (
    ("qwen2_5_vl", "qwen_vl", "model.visual", {"lora": {"rank": 4}}),
    ("qwen3_vl", "qwen_vl", "model.visual", {"freeze": ["vision", "projector"], "packing": "row"}),
    ("smolvlm", "smolvlm", "model.vision_model", {"lora": {"rank": 4}}),
)


def opened(folder, kind, settings, **more):
    policy = load(folder, type=kind, **settings, **more)
    return adapt(policy) if "lora" in settings else policy


def counted(policy, tower):
    calls = []
    policy._model.get_submodule(tower).register_forward_hook(lambda *_: calls.append(1))
    return calls


def step(policy):
    """Tokens, old and reference log-probs, and the gradients of two epochs in micro-batches."""
    sampled = sampled_rows(policy, digits(3, "ocr", "counting", "classification"), 2)
    rows = [*sampled, *demo_rows(policy, digits(1, "ocr"))]
    tokens = [row.decision.tokens for row in sampled]
    policy.keep_reference()
    old = log_probs(policy, rows)
    with policy.reference():
        reference = log_probs(policy, rows)
    for _ in range(2):
        accumulate(rows, plan_step(MIXED, rows, 0, 8), policy, 40)
    return tokens, old, reference, gradients(policy)


@pytest.mark.parametrize(("family", "kind", "tower", "settings"), FAMILIES)
def test_a_frozen_tower_sees_each_prompt_once_and_no_bit_changes(tiny_qwen, family, kind, tower, settings):
    once, anew = (opened(tiny_qwen(family), kind, settings, features_gb=gb) for gb in (1.0, 0.0))
    calls, more = counted(once, tower), counted(anew, tower)
    found, wanted = step(once), step(anew)
    assert len(calls) == 4, "three prompts and a demonstration"
    assert len(more) > 3 * len(calls)
    assert all(torch.equal(a, b) for a, b in zip(found[0], wanted[0], strict=True))
    assert torch.equal(found[1], wanted[1])
    assert torch.equal(found[2], wanted[2])
    assert any(float(gradient.abs().max()) > 0 for gradient in found[3].values())
    assert all(torch.equal(found[3][name], wanted[3][name]) for name in wanted[3])


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_features_of_pictures_and_videos_are_those_of_a_tower_that_trains(tiny_qwen, tmp_path, family):
    write_video(tmp_path / "a.mp4")
    frozen = load(tiny_qwen(family), freeze=["vision", "projector"], video={"max_frames": 4})
    trained = load(tiny_qwen(family), video={"max_frames": 4})
    pictures = [sample.images[0] for sample in digits(2, "ocr", "counting")]
    samples = [
        image_sample(*pictures),
        video_sample(str(tmp_path / "a.mp4"), images=pictures[:1]),
        *digits(1, "ocr"),
    ]
    rows = sampled_rows(trained, samples, 2)
    assert torch.allclose(log_probs(frozen, rows), log_probs(trained, rows), atol=1e-4)
    assert frozen.features.bytes > 0
    assert trained.features.bytes == 0, "they change with its weights"


def test_what_is_kept_is_bounded_and_goes_with_its_prompt():
    class Prompt:
        pass

    calls = []

    def compute():
        calls.append(1)
        return (torch.zeros(5),), [(torch.zeros(5),)]

    features = Features(limit=100)
    prompts = [Prompt() for _ in range(4)]
    for prompt in prompts * 2:
        features.of(prompt, "image", compute)
    assert features.bytes == 80, "the third would be beyond the limit"
    assert len(calls) == 2 + 2 * 2
    del prompt, prompts
    gc.collect()
    assert features.bytes == 0
