"""SmolVLM against transformers' own processor and model, and every family's promises: gap, gradients, round trips."""

import pytest
import torch
from PIL import Image

from benchmarks.double import Float64
from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.types import Sample
from mmrl.objectives import kernel
from mmrl.objectives.rows import Row, collate
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.rollout import SamplingConfig
from mmrl.trainer.step import accumulate, plan_step
from tests.support.engines import generate, hf
from tests.support.policy import (
    adapt,
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
)

FAMILIES = ("smolvlm", "idefics3")
MIXED = resolve_objective("chord_mu", {"entropy": 0.05})
GREEDY = SamplingConfig(temperature=0.0, max_new_tokens=10)


@pytest.fixture
def opened(tiny_qwen):
    def open_policy(family="smolvlm", **settings):
        return load(tiny_qwen(family), type="smolvlm", **settings)

    return open_policy


def samples():
    """Prompts of unequal length: one image of each size, two images, none."""
    images = [sample.images[0] for sample in digits(2, "ocr", "grounding")]
    return [*digits(3, "ocr", "grounding", "counting"), image_sample(*images), text_sample("How many?")]


def rows_of(policy):
    """9 rl rows over an image, two images and none, and 3 demonstrations, of unequal lengths."""
    return [*sampled_rows(policy, samples()[2:], 3), *demo_rows(policy, digits(3, "ocr", "counting"))]


def theirs(policy, sample):
    """The processor's own inputs of one prompt."""
    text = policy.processor.apply_chat_template(
        list(sample.messages), add_generation_prompt=True, tokenize=False, processor_kwargs={"padding": False}
    )
    return policy.processor(text=[text], images=[list(sample.images)] if sample.images else None, return_tensors="pt")


# --- the other side speaks


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_pixels_are_those_of_the_processor(opened, family):
    policy = opened(family)
    for sample, prompt in zip(samples(), policy.prepare(samples()), strict=True):
        inputs = theirs(policy, sample)
        assert torch.equal(prompt.input_ids, inputs["input_ids"][0])
        if sample.images:
            assert torch.equal(prompt.pixels_N3SS, inputs["pixel_values"][0])
            assert bool(inputs["pixel_attention_mask"].all()), "tiles have no padding that a mask would hide"
        else:
            assert prompt.pixels_N3SS is None


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("packing", ["group", "row"])
def test_log_probs_are_those_of_transformers_own_forward(opened, family, packing):
    policy = opened(family, packing=packing)
    rows = sampled_rows(policy, samples(), 2)
    found = policy.log_probs(collate(rows)).log_probs_RU.detach()
    for i, row in enumerate(rows):
        inputs = dict(theirs(policy, samples()[i // 2]))
        inputs["input_ids"] = torch.cat([inputs["input_ids"], row.decision.tokens[None]], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        with torch.no_grad():
            logits = policy.module(**inputs).logits[0, -row.units - 1 : -1]
        logits = logits.masked_fill(~policy.allowed_tokens(None), -torch.inf)
        wanted = logits.log_softmax(-1).gather(-1, row.decision.tokens[:, None]).squeeze(-1)
        assert float((found[i, : row.units] - wanted).abs().max()) < 1e-5
    assert float(found[found != 0].std()) > 0.1


def test_greedy_decoding_equals_transformers_generate(opened):
    policy = opened()
    answers = generate(hf(policy), policy.prepare(samples()), GREEDY, 1, seed=0)
    forbidden = (~policy.allowed_tokens(None)).nonzero().squeeze(-1).tolist()
    distinct = set()
    for sample, (answer,) in zip(samples(), answers, strict=True):
        inputs = theirs(policy, sample)
        whole = policy.module.eval().generate(**inputs, do_sample=False, max_new_tokens=10, suppress_tokens=forbidden)
        assert answer.tokens.tolist() == whole[0, inputs["input_ids"].shape[1] :].tolist()
        distinct.update(answer.tokens.tolist())
    assert len(distinct) >= 3


# --- engine and trainer


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_engine_and_trainer_agree_on_log_probs(opened, side, temperature):
    policy = opened()
    prompts = policy.prepare(samples())
    sampling = SamplingConfig(temperature=temperature, max_new_tokens=10, top_k=50)
    rows = []
    for prompt, group in zip(prompts, generate(hf(policy, side=side), prompts, sampling, 3, seed=4), strict=True):
        for answer in group:
            rows.append(Row(answer.decision(prompt), "rl", 1.0, len(rows), len(answer.tokens), 3))
    with torch.no_grad():
        found = policy.log_probs(collate(rows)).log_probs_RU
    gaps = [float((found[i, : r.units] - r.decision.log_probs).abs().max()) for i, r in enumerate(rows)]
    assert max(gaps) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_every_token_may_be_sampled_but_placeholders(opened, family):
    policy = opened(family)
    allowed, tokenizer = policy.allowed_tokens(None), policy.processor.tokenizer
    banned = {tokenizer.convert_ids_to_tokens(int(i)) for i in (~allowed[: len(tokenizer)]).nonzero()}
    tiles = {f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)}
    assert banned == {"<image>", "<fake_token_around_image>", "<global-img>", *tiles}
    assert not allowed[len(tokenizer) :].any(), "the table of embeddings is longer than the vocabulary"


@pytest.mark.slow
def test_gradients_depend_neither_on_packing_nor_on_the_split(opened):
    grouped, alone = opened(), opened(packing="row")
    rows = rows_of(grouped)
    with Float64():
        found = []
        for policy in (doubled(grouped), doubled(alone)):
            plan = plan_step(MIXED, rows, 0, 8)
            for size in (len(rows), 1, 5):
                for start in range(0, len(rows), size):
                    part = rows[start : start + size]
                    kernel.loss(policy.log_probs(collate(part), "gradient"), part, plan)[0].backward()
                found.append(gradients(policy))
    assert all(distance(found[0], other) < 1e-12 for other in found[1:])
    for part in ("vision_model", "connector", "text_model"):
        assert max(float(value.abs().max()) for name, value in found[0].items() if part in name) > 0


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, {"rank": 4, "vision": True}])
def test_gradient_checkpointing_changes_no_gradient(opened, lora):
    found = []
    for checkpointing in (False, True):
        policy = opened(gradient_checkpointing=checkpointing, lora=lora)
        policy = adapt(policy) if lora else policy
        rows = rows_of(policy)
        accumulate(rows, plan_step(MIXED, rows, 0, 8), policy, 300)
        found.append(gradients(policy))
    assert distance(*found) < 1e-6
    assert max(float(g.abs().max()) for g in found[0].values()) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [["vision"], ["language"], []])
def test_bfloat16_trains_float32_weights(opened, frozen):
    policy = opened(dtype="bfloat16", freeze=frozen)
    exact = opened()
    rows = sampled_rows(exact, samples(), 2)
    ours, wanted = log_probs(policy, rows), log_probs(exact, rows)
    assert {p.dtype for _, p, _ in policy.trainable()} == {torch.float32}
    assert 0 < float((ours - wanted).abs().max()) < 0.5
    policy.log_probs(collate(rows)).log_probs_RU.sum().backward()
    assert all(p.grad is not None for n, p, _ in policy.trainable() if "post_layernorm" not in n)


# --- checkpoints


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("settings", [{}, {"lora": {"rank": 4, "vision": True, "targets": "all-linear"}}])
def test_a_saved_policy_loads_in_plain_transformers(opened, tmp_path, family, settings):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    policy = adapt(opened(family, **settings)) if settings else opened(family)
    rows = sampled_rows(policy, samples(), 2)
    expected = log_probs(policy, rows)
    policy.save_pretrained(tmp_path / "model")
    model, info = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.config.model_type == family
    assert type(AutoProcessor.from_pretrained(tmp_path / "model")) is type(policy.processor)
    again = load(tmp_path / "model", type="smolvlm", awake=False)
    assert float((log_probs(again, rows) - expected).abs().max()) < (1e-5 if settings else 1e-9)


def test_a_critic_reads_the_state_before_the_answer_and_is_saved(opened, tmp_path):
    policy = opened(value_head={})
    torch.nn.init.normal_(policy.value_head.layers[-1].weight)
    rows = sampled_rows(policy, samples(), 2)
    values = policy.log_probs(collate(rows)).value_RV.detach()
    assert torch.allclose(values[::2], values[1::2], atol=1e-5), "one value per prompt"
    assert float(values[::2].std()) > 1e-3
    policy.save_pretrained(tmp_path / "model")
    again = load(tmp_path / "model", type="smolvlm", awake=False, value_head={})
    assert torch.equal(again.log_probs(collate(rows)).value_RV.detach(), values)


# --- tiles, boxes and what is refused


def test_tiles_follow_the_settings_and_are_saved(opened, tmp_path):
    image = Image.effect_noise((100, 50), 80).convert("RGB")
    counts = {}
    for name, params in {"own": {}, "one": {"split": False}, "many": {"longest_edge": 224}}.items():
        (prompt,) = opened(params=params).prepare([image_sample(image)])
        counts[name] = len(prompt.pixels_N3SS)
    assert counts == {"own": 1 * 2 + 1, "one": 1, "many": 2 * 4 + 1}
    opened(params={"longest_edge": 224}).save_pretrained(tmp_path / "model")
    again = load(tmp_path / "model", type="smolvlm", awake=False)
    assert len(again.prepare([image_sample(image)])[0].pixels_N3SS) == counts["many"]
    with pytest.raises(ConfigError, match=r"longest_edge: 392 pixels are 7 tiles of 56, .* for 6; .* at most 336"):
        opened(params={"longest_edge": 392})


def test_boxes_are_thousandths_of_the_image(opened):
    policy = opened()
    image = Image.new("RGB", (200, 100))
    content = [{"type": "image"}, {"type": "text", "text": "Where?"}]
    target, answer = {"box": [20, 10, 100, 60]}, "[20, 10, 100, 60]"
    sample = Sample("b", ({"role": "user", "content": content},), "grounding", target, (image,), demonstration=answer)
    local = policy.localise(sample, policy.prepare([sample])[0])
    assert local.target["box"] == [100, 100, 500, 600]
    assert local.demonstration == "[100, 100, 500, 600]"
    assert local.coordinates == policy.coordinates == "norm1000"


def test_messages_of_plain_text_are_those_of_one_part(opened):
    policy = opened()
    parts = text_sample("How many?")
    plain = Sample("t", ({"role": "user", "content": "How many?"},), "ocr", {"text": "1"})
    one, other = policy.prepare([parts, plain])
    assert torch.equal(one.input_ids, other.input_ids)


@pytest.mark.parametrize("mark", ["<image>", "<fake_token_around_image>", "<row_2_col_1>", "<global-img>"])
def test_a_placeholder_in_the_text_or_the_demonstration_is_a_bad_sample(opened, mark):
    policy = opened()
    with pytest.raises(BadSample, match=f"its text holds the placeholder {mark}"):
        policy.prepare([text_sample(f"What is {mark}?")])
    shown = Sample("d", text_sample("1").messages, "ocr", {"text": "1"}, demonstration=f"{mark} it is")
    with pytest.raises(BadSample, match="holds an image placeholder"):
        policy.demonstration(shown, 64)


def test_videos_long_prompts_and_miscounted_images_are_refused(opened):
    policy = opened(max_prompt_tokens=20)
    video = ({"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What?"}]},)
    with pytest.raises(BadSample, match=r"has a video, and policy\.type 'smolvlm' sees pictures alone; .* qwen_vl"):
        policy.prepare([Sample("v", video, "ocr", {"text": "1"}, videos=("a.mp4",))])
    with pytest.raises(BadSample, match=r"max_prompt_tokens 20; raise it or lower policy\.params\.longest_edge"):
        policy.prepare(digits(1, "ocr"))
    lost = image_sample(digits(1, "ocr")[0].images[0])
    with pytest.raises(BadSample, match="the prompt has 1 <image> marks and the row has 0 images"):
        policy.prepare([Sample(lost.id, lost.messages, lost.task, lost.target)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image": {"max_pixels": 9}}, r"policy\.image: unknown key 'image'"),
        ({"video": {"fps": 1.0}}, r"policy\.video: unknown key 'video'"),
        ({"action_bins": 9}, r"policy\.action_bins: unknown key 'action_bins'"),
        ({"params": {"longest": 9}}, r"policy\.params\.longest: unknown key 'longest'.* Did you mean 'longest_edge'"),
        ({"freeze": ["connector"]}, r"unknown part of smolvlm 'connector'"),
    ],
)
def test_settings_that_it_does_not_read_are_refused(opened, settings, message):
    with pytest.raises(ConfigError, match=message):
        opened(**settings)
