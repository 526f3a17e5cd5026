"""Frame selection: the distribution of ordered choices, the policy around a frozen reader, and that it learns."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import mmrl
from mmrl.contracts.errors import BadSample, CheckpointError, ConfigError, UserError
from mmrl.data.media_reader import open_cache
from mmrl.data.video_digits import FPS, VideoDigits
from mmrl.objectives.rows import Row, collate
from mmrl.policies.frame_selector import plackett_luce
from mmrl.policies.frame_selector.policy import FILE, evenly_spaced
from mmrl.policies.opening import load_policy
from mmrl.recipe.data import CacheConfig, VideoDigitsData
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.reading import read_yaml
from mmrl.recipe.rollout import SamplingConfig
from tests.support.engines import frames, generate, hf
from tests.support.paths import CONFIGS
from tests.support.policy import load
from tests.support.videos import video_sample, write_video
from video import Sampling, VideoSpec, read

SMALL = {"fps": 2.0, "min_pixels": 28 * 28, "max_pixels": 28 * 28 * 4}

# --- the distribution


def by_hand(scores, order):
    """The probability of an ordered choice: one softmax after another, over what is left."""
    left, probability = list(range(len(scores))), 1.0
    for index in order:
        probability *= math.exp(scores[index]) / sum(math.exp(scores[i]) for i in left)
        left.remove(index)
    return probability


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_log_probs_and_entropies_are_those_of_every_ordered_choice(k):
    scores = [0.3, -1.2, 2.0, 0.0]
    orders = list(itertools.permutations(range(4), k))
    order_RU = torch.tensor(orders)
    choices = plackett_luce.choices(torch.tensor(scores, dtype=torch.float64).expand(len(orders), -1), order_RU)
    log_probs = plackett_luce.order_log_probs(choices, order_RU).sum(1)
    wanted = torch.tensor([by_hand(scores, order) for order in orders], dtype=torch.float64)
    assert torch.allclose(log_probs.exp(), wanted, atol=1e-12)
    assert float(log_probs.exp().sum()) == pytest.approx(1.0)
    # By the chain rule, the expected sum of the choices' entropies is the entropy of the whole.
    whole = -(wanted * wanted.log()).sum()
    assert float((wanted * plackett_luce.entropies(choices).sum(1)).sum()) == pytest.approx(float(whole))


def test_samples_come_as_often_as_their_probability_says():
    scores, n = [0.5, -0.5, 1.0, 0.0], 20_000
    drawn = plackett_luce.gumbel_top_k(torch.tensor(scores), 2, n, torch.Generator().manual_seed(0)).tolist()
    for order in itertools.permutations(range(4), 2):
        p = by_hand(scores, order)
        assert drawn.count(list(order)) / n == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))


def test_padding_is_never_chosen_and_leaves_the_gradient_finite():
    scores = torch.tensor([[1.0, 0.0, -math.inf], [0.5, 2.0, 1.0]], requires_grad=True)
    order = torch.tensor([[1, 0], [2, 0]])
    choices = plackett_luce.choices(scores, order)
    log_probs = plackett_luce.order_log_probs(choices, order)
    assert float(log_probs[0, 1].detach()) == pytest.approx(0.0)
    (log_probs.sum() + plackett_luce.entropies(choices).sum()).backward()
    assert bool(scores.grad.isfinite().all())
    assert scores.grad[0, 2] == 0.0


# --- the policy


def selector(folder, *, moments=2, video=SMALL, awake=True, **params):
    """The policy of a tiny reader whose answers vary, its scores drawn at random where `awake`."""
    config = policy_settings(
        type="frame_selector", path=str(folder), device="cpu", video=video, params={"moments": moments, **params}
    )
    policy = load_policy(config)
    policy.reader.module.load_state_dict(load(folder).module.state_dict())
    if awake:
        torch.manual_seed(0)
        torch.nn.init.normal_(policy.module.score.weight)
    return policy


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A video of six moments, and one of three."""
    folder = tmp_path_factory.mktemp("clips")
    return [write_video(folder / "a.mp4", 6, 8, seed=1), write_video(folder / "b.mp4", 3, 8, seed=2)]


def rows_of(prompts, completions):
    rows = []
    for prompt, group in zip(prompts, completions):
        for one in group:
            rows.append(Row(one.decision(prompt), "rl", 1.0, len(rows), len(one.tokens), len(group)))
    return rows


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_engine_and_trainer_give_the_same_log_probs(tiny_qwen, clips, family):
    policy = selector(tiny_qwen(family), moments=4)
    prompts = policy.prepare([video_sample(c) for c in clips])
    assert [len(p.features_NH) for p in prompts] == [6, 3]
    engine = frames(policy, 16)
    groups = generate(engine, prompts, SamplingConfig(temperature=0.7, max_new_tokens=3), 5, seed=1)
    assert [{len(c.tokens) for c in group} for group in groups] == [{4}, {3}]
    assert all(len(set(c.tokens.tolist())) == len(c.tokens) for group in groups for c in group)
    rows = rows_of(prompts, groups)
    likelihood = policy.log_probs(collate(rows), entropy="gradient")
    sampled = torch.cat([row.decision.log_probs for row in rows])
    assert torch.allclose(likelihood.log_probs_RU[likelihood.mask_RU], sampled, atol=1e-6)
    assert float(sampled.std()) > 0.1
    assert not bool(likelihood.entropy_RU[~likelihood.mask_RU].any())


def test_the_text_is_what_the_frozen_reader_says_of_the_moments_chosen(tiny_qwen, clips, monkeypatch):
    policy = selector(tiny_qwen())
    prompts = policy.prepare([video_sample(clips[0])])
    shown = []
    real = policy.show
    monkeypatch.setattr(policy, "show", lambda prompt, chosen: shown.append(tuple(chosen)) or real(prompt, chosen))
    settings = SamplingConfig(temperature=1.0, max_new_tokens=5)
    (group,) = generate(frames(policy, 16), prompts, settings, 24, seed=0)
    assert len({tuple(c.tokens.tolist()) for c in group}) > len(shown) == len(set(shown)), "each set is answered once"
    for completion in group:
        alone = real(prompts[0], completion.tokens.tolist())
        greedy = SamplingConfig(temperature=0.0, max_new_tokens=5)
        ((answer,),) = generate(hf(policy.reader), [alone], greedy, 1, 0)
        assert policy.reader.decode_text(answer.tokens) == completion.text
    assert len({c.text for c in group}) > 1


def test_the_reader_sees_the_chosen_frames_in_the_order_of_time(tiny_qwen, clips):
    for family in ("qwen2_5_vl", "qwen3_vl"):
        policy = selector(tiny_qwen(family))
        (prompt,) = policy.prepare([video_sample(clips[0])])
        times = prompt.candidates.timestamps.tolist()
        shown = policy.show(prompt, [4, 1])
        assert shown.clips[0].timestamps == (times[2], times[3], times[8], times[9])
        assert shown.frames == prompt.frames == 4
        everything = policy.reader.prepare([video_sample(clips[0])])[0]
        patches = everything.pixel_values_videos.unflatten(0, (6, -1))
        assert torch.equal(shown.pixel_values_videos.unflatten(0, (2, -1)), patches[[1, 4]])
        assert shown.clips[0].patch_seconds == everything.clips[0].patch_seconds
        if family == "qwen3_vl":
            text = policy.reader.processor.tokenizer.decode(shown.input_ids)
            assert f"<{(times[8] + times[9]) / 2:.1f} seconds>" in text


@pytest.mark.parametrize("cached", [False, True])
def test_a_row_may_have_images_beside_its_video(tiny_qwen, clips, tmp_path, cached):
    """The reader is shown them as without a selector, small ones and, through the cache, large ones."""
    policy = selector(tiny_qwen())
    if cached:
        policy.videos.cache = open_cache(CacheConfig(folder=str(tmp_path / "cache"), image_pixels=1))
    Image.linear_gradient("L").resize((84, 56)).save(tmp_path / "a.png")
    sample = video_sample(clips[0], images=[str(tmp_path / "a.png")])
    (prompt,) = policy.prepare([sample])
    (whole,) = policy.reader.prepare([sample])
    shown = policy.show(prompt, [4, 1])
    assert torch.equal(shown.pixel_values, whole.pixel_values)
    assert shown.image_sizes == whole.image_sizes == ((84, 56),)
    assert shown.frames == 4
    ((one,),) = generate(frames(policy, 4), [prompt], SamplingConfig(max_new_tokens=2), 1, 0)
    assert len(one.tokens) == 2


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_features_are_of_one_moment_each(tiny_qwen, clips, family):
    """A change of one frame changes the features of its moment and of no other."""
    policy = selector(tiny_qwen(family))
    (prompt,) = policy.prepare([video_sample(clips[0])])
    pixels = prompt.candidates.pixels.clone()
    pixels[5] = 255 - pixels[5]
    changed = policy._features(replace(prompt.candidates, pixels=pixels))
    moved = (changed - prompt.features_NH).abs().amax(1)
    assert float(moved[2]) > 1e-3
    assert float(moved[[0, 1, 3, 4, 5]].max()) < 1e-5


def test_only_the_selector_trains_and_starts_without_a_preference(tiny_qwen, clips):
    policy = selector(tiny_qwen(), awake=False)
    prompts = policy.prepare([video_sample(c) for c in clips])
    groups = generate(frames(policy, 16), prompts[:1], SamplingConfig(max_new_tokens=2), 3, seed=0)
    for completion in groups[0]:
        assert completion.log_probs.tolist() == pytest.approx([-math.log(6), -math.log(5)], abs=1e-6)
    policy.log_probs(collate(rows_of(prompts, groups))).log_probs_RU.sum().backward()
    assert all(p.grad is None for p in policy.reader.module.parameters())
    assert {name for name, p, _ in policy.trainable() if p.grad is not None} == {
        name for name, _ in policy.module.named_parameters()
    }


def test_greedy_takes_the_highest_scores_and_the_control_ignores_them(tiny_qwen, clips):
    policy = selector(tiny_qwen())
    prompts = policy.prepare([video_sample(clips[0])])
    greedy = SamplingConfig(temperature=0.0, max_new_tokens=2)
    ((one,),) = generate(frames(policy, 4), prompts, greedy, 1, 0)
    assert one.tokens.tolist() == policy.scores(prompts)[0].topk(2).indices.tolist()
    uniform = selector(tiny_qwen(), choose="uniform")
    ((one,),) = generate(frames(uniform, 4), uniform.prepare([video_sample(clips[0])]), greedy, 1, 0)
    assert one.tokens.tolist() == [0, 5]
    assert evenly_spaced(16, 4) == [0, 5, 10, 15]


def test_what_does_not_fit_is_refused(tiny_qwen, clips, tmp_path):
    policy = selector(tiny_qwen())
    with pytest.raises(BadSample, match="has 2 videos, and frame_selector chooses from one"):
        policy.prepare([video_sample(*clips)])
    with pytest.raises(BadSample, match="the prompt has 0 <video> marks and the row has 1 videos"):
        policy.prepare([replace(video_sample(*clips), videos=(str(clips[0]),), messages=(), id="x")])
    with pytest.raises(ConfigError, match="learns from rewards"):
        policy.demonstration(video_sample(clips[0], demonstration="a"), 8)
    with pytest.raises(ConfigError, match=r"policy\.lora: unknown key 'lora'"):
        load_policy(policy_settings(type="frame_selector", path=str(tiny_qwen()), lora={}))
    with pytest.raises(UserError, match=r"policy\.params.*moment"):
        load_policy(policy_settings(type="frame_selector", path=str(tiny_qwen()), params={"moment": 3}))
    policy.save_pretrained(tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"does not fit policy\.params\.width 8"):
        load_policy(policy_settings(type="frame_selector", path=str(tmp_path / "model"), params={"width": 8}))


def test_a_demonstrated_answer_is_no_demonstration_of_a_choice(tiny_qwen, clips):
    policy = selector(tiny_qwen())
    sample = video_sample(clips[0], demonstration="a")
    (prompt,) = policy.prepare([sample])
    assert policy.localise(sample, prompt).demonstration is None


# --- through the trainer


def recipe(folder, reader, **changes):
    data = {"type": "video_digits", "tasks": ["classification"], "slots": 6, "folder": str(folder / "files")}
    return {
        "name": "selection",
        "output": str(folder),
        "threads": 1,
        "policy": {"type": "frame_selector", "path": str(reader), "params": {"moments": 2}, "video": SMALL},
        "data": {"train": [{**data, "size": 8}], "eval": [{**data, "size": 2, "split": "test"}]},
        "method": "grpo",
        "objective": {"kl": {"weight": 0.01}, "entropy": 0.001},
        "steps": 4,
        "prompts": 2,
        "minibatches": 2,
        "rollout": {"n": 4, "max_new_tokens": 3},
        "evaluation": {"sampling": {"max_new_tokens": 3}},
        "optim": {"lr": 1e-2},
        "checkpoint": {"every": 2, "keep": 4},
        "tracking": {"console": "none", "tensorboard": False},
        **changes,
    }


def by_time(completion, sample):
    """Any reward that differs inside a group: a random reader is never right."""
    return {"reward": (len(completion) % 5) / 4, "accuracy": 0.0}


@pytest.mark.slow
def test_a_run_resumes_bit_for_bit_and_its_model_loads_without_mmrl(tiny_qwen, tmp_path):
    reader = tmp_path / "reader"
    load(tiny_qwen()).save_pretrained(reader)
    whole = mmrl.train(recipe(tmp_path / "whole", reader), reward=by_time).folder
    again = mmrl.train(
        recipe(tmp_path / "again", reader, resume=str(whole / "checkpoints" / "step_000002")), reward=by_time
    ).folder
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText

    ends = [load_file(run / "checkpoints" / "step_000004" / "model" / FILE) for run in (whole, again)]
    start = load_file(whole / "checkpoints" / "step_000002" / "model" / FILE)
    assert all(torch.equal(a, ends[1][name]) for name, a in ends[0].items())
    assert any(not torch.equal(a, ends[0][name]) for name, a in start.items())
    model = AutoModelForImageTextToText.from_pretrained(whole / "checkpoints" / "step_000004" / "model")
    given = AutoModelForImageTextToText.from_pretrained(reader)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), given.parameters())), "the reader is frozen"
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "length/mean" in line]
    assert len(steps) == 4
    assert all(line["length/mean"] == 2.0 and line["gap/log_prob_max"] < 1e-6 for line in steps)
    assert set(mmrl.evaluate(whole, reward=by_time)) == {"classification", "mean"}


def test_a_digit_flashes_in_one_second_and_the_answer_says_which(tmp_path):
    settings = {"tasks": ["classification"], "slots": 8, "folder": str(tmp_path)}
    data = VideoDigits(VideoDigitsData(type="video_digits", think=True, **settings))
    seen = set()
    for row in range(8):
        sample = data[row]
        pixels = read(sample.videos[0], VideoSpec(Sampling(all_frames=True, frame_factor=1), None)).pixels.float()
        middle = pixels[FPS // 2 :: FPS].mean(1).flatten(1)
        inked = ((middle - middle.median(1, keepdim=True).values).abs() > 60).any(1)
        assert int(inked.sum()) == 1
        second = int(inked.nonzero())
        seen.add(second)
        assert f"A {sample.target['answer']} flashes at {second}." in sample.demonstration
    assert len(seen) > 3


@pytest.mark.slow
def test_selection_learned_from_answers_beats_evenly_spaced_moments(tmp_path):
    """Both checked-in recipes, the second shortened: the reader answers what it is shown, and learning finds what."""
    quiet = {"output": str(tmp_path), "tracking": {"console": "none", "tensorboard": False}}
    reader = mmrl.train(read_yaml(CONFIGS / "frame_selection_reader.yaml") | quiet)
    assert reader.summary["final"]["mean"] >= 0.9
    raw = read_yaml(CONFIGS / "frame_selection.yaml") | quiet | {"steps": 20, "prompts": 8}
    raw["evaluation"]["every"] = 20
    raw["data"]["eval"][0]["size"] = 100
    raw["policy"]["path"] = str(tmp_path / Path(raw["policy"]["path"]).relative_to("runs"))
    selection = mmrl.train(raw).summary
    raw["policy"]["params"]["choose"] = "uniform"
    uniform = mmrl.evaluate(raw)
    assert selection["start"]["mean"] <= 0.25
    assert uniform["mean"] <= 0.25
    assert selection["final"]["mean"] >= 0.85
