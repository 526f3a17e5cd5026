"""Prompts with videos: one prompt for engine and trainer, true times, budgets, coordinates, broken files."""

import re
import threading
from dataclasses import replace

import pytest
import torch
from PIL import Image

from mmrl.contracts.errors import BadSample, UserError
from mmrl.data.ahead import ReadAhead
from mmrl.data.media_reader import open_cache
from mmrl.recipe.budgets import VideoBudget
from mmrl.recipe.data import CacheConfig
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.reading import to_yaml
from mmrl.recipe.rollout import SamplingConfig
from mmrl.recipe.schema import load_recipe
from mmrl.trainer.step import accumulate, plan_step
from tests.support.engines import generate, hf
from tests.support.media import SHARED, needs_shared
from tests.support.policy import FAMILIES, demo_rows, distance, gradients, load, log_probs, sampled_rows, text_sample
from tests.support.videos import video_sample, write_video

SMALL = {"fps": 2.0, "min_pixels": 28 * 28, "max_pixels": 28 * 28 * 6}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return [
        write_video(folder / "a.mp4", 3, 8, 64, 48, seed=1),
        write_video(folder / "b.mp4", 2, 12, 96, 64, seed=2),
    ]


def mixed_samples(clips):
    """A video, two videos with an image between the text, an image alone, and text."""
    picture = Image.new("RGB", (84, 56), (200, 30, 90))
    return [
        video_sample(clips[0]),
        video_sample(*clips, images=[picture], text="Compare them."),
        video_sample(images=[picture], text="What is this?"),
        text_sample("Hello."),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("packing", ["group", "row"])
@pytest.mark.parametrize("family", FAMILIES)
def test_engine_and_trainer_agree_on_videos_images_and_text_in_one_batch(tiny_qwen, clips, family, packing):
    policy = load(tiny_qwen(family), video=SMALL, packing=packing)
    rows = sampled_rows(policy, mixed_samples(clips), 2)
    sampled = torch.cat([row.decision.log_probs for row in rows])
    assert float((log_probs(policy, rows) - sampled).abs().max()) < 1e-4
    assert float(sampled.std()) > 0.1


@pytest.mark.parametrize("side", ["left", "right"])
def test_sampling_does_not_depend_on_the_padding_side(tiny_qwen, clips, side):
    policy = load(tiny_qwen("qwen3_vl"), video=SMALL)
    prompts = policy.prepare(mixed_samples(clips))
    settings = SamplingConfig(max_new_tokens=5, temperature=0.0)
    together = generate(hf(policy, side=side), prompts, settings, 1, 0)
    for prompt, (completion,) in zip(prompts, together):
        ((alone,),) = generate(hf(policy), [prompt], settings, 1, 0)
        assert torch.equal(alone.tokens, completion.tokens)
        assert torch.allclose(alone.log_probs, completion.log_probs, atol=1e-4)


def logits_of(policy, *prompts):
    """The logits that follow each prompt."""
    return [policy.prefill([prompt], 1).logits_BV for prompt in prompts]


def test_every_frame_and_its_time_reach_the_model(tiny_qwen, clips):
    """Swapped frames, and other times of the same frames, change what the model sees; Qwen2-VL is told no times."""
    pictures = [Image.new("RGB", (56, 56), (40 * i, 200, 255 - 40 * i)) for i in range(6)]
    for family in FAMILIES:
        policy = load(tiny_qwen(family), video=SMALL)
        prompt = policy.prepare([video_sample(clips[0])])[0]
        # 2 of 8 per second: six even steps from frame 0 to frame 23, 4.6 apart.
        assert prompt.clips[0].timestamps == pytest.approx([number / 8 for number in (0, 5, 9, 14, 18, 23)])
        patches = len(prompt.pixel_values_videos) // int(prompt.video_grid_thw[0, 0])
        swapped = replace(prompt, pixel_values_videos=prompt.pixel_values_videos.roll(patches, 0))
        before, after = logits_of(policy, prompt, swapped)
        assert float((before - after).abs().max()) > 1e-3, family
        shown = [video_sample({"path": pictures, "source_fps": rate}) for rate in (4.0, 0.5)]
        fast, slow = policy.prepare(shown)
        assert fast.clips[0].timestamps == (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
        assert slow.clips[0].timestamps == (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
        assert torch.equal(fast.pixel_values_videos, slow.pixel_values_videos)
        quick, long = logits_of(policy, fast, slow)
        assert (float((quick - long).abs().max()) > 1e-3) == (family != "qwen2_vl"), family


def test_qwen2_5_positions_follow_seconds_not_frames(tiny_qwen, clips):
    """One second and three seconds of a clip at as many frames: the longer one spreads over more positions."""
    policy = load(tiny_qwen("qwen2_5_vl"), video={"frames": 6})
    short, whole = {"path": str(clips[0]), "start": 0.0, "end": 1.0}, str(clips[0])
    prompts = policy.prepare([video_sample(short), video_sample(whole)])
    assert len({len(p.clips[0].timestamps) for p in prompts}) == 1
    token = policy.module.config.video_token_id
    times = [p.positions[0][p.input_ids == token] for p in prompts]
    # 3 temporal patches at 4 positions per second; frames 0 to 8 of 8 per second are 1.125 s, the whole file is 3 s.
    assert [int(t.max() - t.min()) for t in times] == [int(2 * 4 * 1.125 / 3), int(2 * 4 * 3 / 3)]


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [({"timestamps": [0, 1, 2.75]}, [0.0, 2.75]), ({"timestamps": [0.5, 1, 1.5, 2]}, [0.0, 1.0])],
)
def test_qwen2_5_positions_of_named_times_are_those_times(tiny_qwen, clips, budget, seconds):
    """The last of three times is a patch of its own, and lies where it is."""
    policy = load(tiny_qwen("qwen2_5_vl"), video={"min_pixels": 784, "max_pixels": 784, **budget})
    (prompt,) = policy.prepare([video_sample(clips[0])])
    times = prompt.positions[0][prompt.input_ids == policy.module.config.video_token_id]
    assert (times - times[0]).tolist() == [int(4 * one) for one in seconds]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_frames_that_stay_keep_their_times_when_others_are_dropped(tiny_qwen, clips, family):
    policy = load(tiny_qwen(family), video={"fps": 8.0, "min_pixels": 784, "max_pixels": 1024, "drop": 0.5})
    (prompt,) = policy.prepare([video_sample(clips[0])])
    times = prompt.clips[0].timestamps
    assert len(times) == 12
    assert times[0] == 0.0
    assert times != tuple(i / 4 for i in range(12))
    if family == "qwen3_vl":
        text = policy.processor.tokenizer.decode(prompt.input_ids)
        assert all(f"<{(a + b) / 2:.1f} seconds>" in text for a, b in zip(times[::2], times[1::2]))
        return
    found = prompt.positions[0][prompt.input_ids == policy.module.config.video_token_id]
    assert (found - found[0]).tolist() == [int(4 * one) for one in times[::2]]


def test_qwen3_writes_the_true_times(tiny_qwen, clips):
    policy = load(tiny_qwen("qwen3_vl"), video=SMALL)
    prompt = policy.prepare([video_sample(clips[0])])[0]
    times = prompt.clips[0].timestamps
    text = policy.processor.tokenizer.decode(prompt.input_ids)
    for first, second in zip(times[::2], times[1::2]):
        assert f"<{(first + second) / 2:.1f} seconds>" in text


def shown_seconds(policy, sample):
    """Of each temporal patch: what Qwen3-VL's text says, or what Qwen2.5-VL's positions count from the video's mark."""
    (prompt,) = policy.prepare([sample])
    video = prompt.input_ids == policy.module.config.video_token_id
    if policy.module.config.model_type == "qwen3_vl":
        text = policy.processor.tokenizer.decode(prompt.input_ids)
        return [float(second) for second in re.findall(r"<([\d.]+) seconds>", text)]
    first = int(video.nonzero()[0])
    rate = policy.module.config.vision_config.tokens_per_second
    times = prompt.positions[0][video] - prompt.positions[0][first - 1] - 1
    return [int(time) / rate for time in times.unique()]


@pytest.mark.parametrize(
    ("clock", "qwen2_5", "qwen3"), [("clip", [0.0, 1.0], [0.2, 1.2]), ("file", [1.0, 2.0], [1.2, 2.2])]
)
def test_seconds_of_a_clip_are_one_thing_in_every_family(tiny_qwen, tmp_path, clock, qwen2_5, qwen3):
    """Qwen2.5-VL counts to the start of a patch of two frames, Qwen3-VL to its middle: 0.25 s, written as 0.2."""
    path = str(write_video(tmp_path / "long.mp4", 4, 2, 64, 48))
    for family, expected in (("qwen2_5_vl", qwen2_5), ("qwen3_vl", qwen3)):
        policy = load(tiny_qwen(family), video={"fps": 2.0, "clock": clock})
        # The end is the last frame's own second.
        assert shown_seconds(policy, video_sample({"path": path, "start": 1.0, "end": 2.5})) == expected
        (prompt,) = policy.prepare([video_sample({"path": path, "start": 1.0, "end": 2.5})])
        origin = 1.0 if clock == "clip" else 0.0
        assert prompt.clips[0].timestamps == pytest.approx([second - origin for second in (1.0, 1.5, 2.0, 2.5)])


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_dataset_says_what_its_seconds_count_from_and_uneven_frames_keep_to_it(tiny_qwen, tmp_path, family):
    path = str(write_video(tmp_path / "long.mp4", 8, 4, 64, 48))
    policy = load(tiny_qwen(family), video={"fps": 4.0, "drop": 0.5, "min_pixels": 784, "max_pixels": 1024})
    sample = video_sample({"path": path, "start": 4.0, "end": 7.75})
    of_clip = shown_seconds(policy, sample)
    of_file = shown_seconds(policy, replace(sample, budgets={"video": {"clock": "file"}}))
    assert of_clip[0] < 1.0
    assert of_file == pytest.approx([second + 4.0 for second in of_clip])


def test_named_times_are_of_the_file_in_every_family(tiny_qwen, clips):
    for family in ("qwen2_5_vl", "qwen3_vl"):
        policy = load(tiny_qwen(family), video={"timestamps": [1.0, 1.0, 2.0, 2.0], "max_pixels": 1024})
        assert shown_seconds(policy, video_sample(clips[0])) == [1.0, 2.0], family


def test_image_and_video_budgets_are_apart_and_a_datasets_own_comes_first(tiny_qwen, clips):
    policy = load(tiny_qwen(), video={"frames": 4, "max_pixels": 28 * 28 * 4, "min_pixels": 28 * 28})
    picture = Image.new("RGB", (280, 280))
    plain = video_sample(clips[1], images=[picture])
    tight = replace(plain, budgets={"video": {"frames": 2}, "image": {"max_pixels": 28 * 28 * 4}})
    a, b = policy.prepare([plain, tight])
    assert (len(a.clips[0].timestamps), len(b.clips[0].timestamps)) == (4, 2)
    assert a.resized == ((280, 280),)
    assert b.resized == ((56, 56),)
    assert a.clips[0].resized == b.clips[0].resized
    assert a.clips[0].resized[0] * a.clips[0].resized[1] <= 28 * 28 * 4


def test_tracks_are_converted_to_what_the_policy_sees(tiny_qwen, clips):
    target = {"track": {"0": [0, 0, 32, 24], "1": None, "2": [32, 24, 64, 48]}}
    demonstration = '{"0": [0, 0, 32, 24], "2": [32, 24, 64, 48]}'
    sample = video_sample(clips[0], target=target, task="tracking", demonstration=demonstration)
    for family, half in (("qwen2_vl", [0, 0, 500, 500]), ("qwen2_5_vl", [0, 0, 28, 28])):
        policy = load(tiny_qwen(family), video={**SMALL, "max_pixels": 56 * 56})
        prompt = policy.prepare([sample])[0]
        local = policy.localise(sample, prompt)
        assert prompt.clips[0].resized == (56, 56)
        assert local.target["track"]["0"] == half
        assert local.target["track"]["1"] is None
        assert local.demonstration.startswith(f'{{"0": {half}')


def test_the_gradient_with_videos_does_not_depend_on_micro_batches(tiny_qwen, clips):
    policy = load(tiny_qwen(), video=SMALL)
    samples = mixed_samples(clips)
    rows = sampled_rows(policy, samples, 2)
    demos = demo_rows(policy, [replace(s, demonstration="a 1") for s in samples])
    plan = plan_step(resolve_objective("chord_mu", {}), [*rows, *demos], 0, 8)
    found = []
    for budget in (1, 200, 10_000):
        accumulate([*rows, *demos], plan, policy, budget)
        found.append(gradients(policy))
    assert distance(found[0], found[1]) < 1e-5
    assert distance(found[0], found[2]) < 1e-5


def test_cached_and_read_ahead_videos_give_the_same_prompt(tiny_qwen, clips, tmp_path):
    plain, cached = (load(tiny_qwen(), video=SMALL) for _ in range(2))
    cached.videos.cache = open_cache(CacheConfig(folder=str(tmp_path / "cache")))
    samples = [video_sample(c) for c in clips]
    wanted = plain.prepare(samples)
    cached.videos.ahead = ReadAhead(10**9)
    for way in ("cold", "warm", "ahead"):
        if way == "ahead":
            cached.videos.ahead.want({key: job for one in samples for key, job in cached.videos.jobs(one).items()})
            assert any(t.name.startswith("read-ahead") for t in threading.enumerate())
        for a, b in zip(wanted, cached.prepare(samples)):
            assert torch.equal(a.pixel_values_videos, b.pixel_values_videos), way
            assert torch.equal(a.positions, b.positions), way
    cached.videos.ahead.close()
    assert cached.videos.cache.counts["hits"] >= 2


def test_a_sliver_stays_a_box(tiny_qwen, clips):
    """One pixel of 640 is less than half a unit of what the policy sees."""
    target = {"track": {"0": [10, 4, 10.2, 40], "1": [63.9, 0, 64, 48]}}
    policy = load(tiny_qwen("qwen2_5_vl"), video={**SMALL, "max_pixels": 56 * 56})
    sample = video_sample(clips[0], target=target, task="tracking")
    local = policy.localise(sample, policy.prepare([sample])[0])
    assert local.target["track"] == {"0": [8, 5, 9, 47], "1": [55, 0, 56, 56]}


@needs_shared
def test_a_large_picture_is_cached_with_the_size_of_its_file(tiny_qwen, tmp_path):
    """A cold and a warm cache give the same pixels, within a level of the processor's own."""
    budget = {"min_pixels": 3136, "max_pixels": 64 * 28 * 28}
    plain, cached = (load(tiny_qwen(), image=budget) for _ in range(2))
    cached.videos.cache = open_cache(CacheConfig(folder=str(tmp_path)))
    target = {"box": [0, 0, 900, 600]}
    sample = replace(video_sample(images=[None], target=target), images=(str(SHARED / "media/image/truck.jpg"),))
    wanted, cold, warm = plain.prepare([sample])[0], cached.prepare([sample])[0], cached.prepare([sample])[0]
    assert cached.videos.cache.counts["hits"] == 1
    assert torch.equal(cold.pixel_values, warm.pixel_values)
    assert wanted.image_sizes == cold.image_sizes == ((1800, 1200),)
    assert plain.localise(sample, wanted).target == cached.localise(sample, cold).target
    # One level of 255 in normalised pixels, whose deviation is about 0.27.
    assert float((wanted.pixel_values - cold.pixel_values).abs().max()) < 1.01 / 255 / 0.26


@pytest.mark.parametrize(("low", "high"), [(50176, 50176), (50176, 52684)])
def test_a_cache_changes_no_size_where_bounds_are_close(tiny_qwen, tmp_path, low, high):
    """Qwen's rule gives another size for what it has sized: 252 x 168 of 1800 x 1200, and 280 x 196 of that."""
    plain, cached = (load(tiny_qwen(), image={"min_pixels": low, "max_pixels": high}) for _ in range(2))
    cached.videos.cache = open_cache(CacheConfig(folder=str(tmp_path / "cache")))
    pictures = [tmp_path / "large.png", tmp_path / "small.png"]
    for path, size in zip(pictures, [(1800, 1200), (300, 200)]):
        Image.radial_gradient("L").resize(size).convert("RGB").save(path)
    sample = replace(video_sample(images=[None, None]), images=tuple(map(str, pictures)))
    wanted, cold, warm = plain.prepare([sample])[0], cached.prepare([sample])[0], cached.prepare([sample])[0]
    assert cached.videos.cache.counts["hits"] == 1
    assert wanted.resized == cold.resized == warm.resized
    assert wanted.image_sizes == cold.image_sizes == ((1800, 1200), (300, 200))
    assert torch.equal(cold.pixel_values, warm.pixel_values)
    assert float((wanted.pixel_values - cold.pixel_values).abs().max()) < 2.01 / 255 / 0.26


def test_errors_read_ahead_are_raised_where_the_sample_is_used(tiny_qwen, tmp_path):
    policy = load(tiny_qwen(), video=SMALL)
    (tmp_path / "broken.mp4").write_bytes(b"no video at all" * 50)
    sample = video_sample("broken.mp4", root=str(tmp_path), dataset="clips", row=7)
    policy.videos.ahead = ReadAhead(10**9)
    policy.videos.ahead.want(policy.videos.jobs(sample))
    with pytest.raises(BadSample, match=r"clips row 7 .*broken\.mp4.*not_a_video"):
        policy.prepare([sample])
    policy.videos.ahead.close()


@pytest.mark.parametrize(
    ("video", "reason"),
    [
        ("missing.mp4", "file 'missing.mp4' does not exist"),
        ("../outside.mp4", "leaves the media folder"),
        ({"path": "a.mp4", "begin": 1}, "unknown key of a video 'begin'"),
        (3, "a video is a path or a list of images, not int"),
    ],
)
def test_a_video_that_cannot_be_named_is_refused(tiny_qwen, tmp_path, video, reason):
    policy = load(tiny_qwen(), video=SMALL)
    (tmp_path / "a.mp4").touch()
    sample = replace(video_sample("x", root=str(tmp_path)), videos=(video,))
    with pytest.raises(BadSample, match=reason):
        policy.prepare([sample])


def test_the_count_of_videos_must_match_the_marks(tiny_qwen, clips):
    policy = load(tiny_qwen(), video=SMALL)
    sample = replace(video_sample(clips[0]), videos=(str(clips[0]), str(clips[1])))
    with pytest.raises(BadSample, match="the prompt has 1 <video> marks and the row has 2 videos"):
        policy.prepare([sample])


def test_budgets_that_contradict_are_refused_when_read():
    with pytest.raises(ValueError, match="frames fixes the number of frames"):
        VideoBudget(frames=8, fps=1.0)
    assert VideoBudget(fps=4.0).merged({}).fps == 4.0
    with pytest.raises(ValueError, match="min_pixels 9 is above max_pixels 4"):
        VideoBudget(min_pixels=9, max_pixels=4)
    assert VideoBudget(fps=1.0, max_frames=4).merged({"frames": 2}).frames == 2
    assert VideoBudget(frames=2).merged({"fps": 1.0}).frames is None


def test_a_resolved_recipe_reads_as_it_was_written(tiny_recipe, tmp_path):
    """A run's config.yaml carries every default, beside a fixed number of frames and a dataset's own settings."""
    budgets = {"image": {"max_pixels": 3136}, "video": {"shuffle": True, "max_frames": 4}}
    data = {"type": "file", "path": "rows.jsonl", **budgets}
    raw = {**tiny_recipe, "data": {"train": [data]}}
    raw["policy"] = {**raw["policy"], "video": {"frames": 6, "max_pixels": 3136}}
    first = load_recipe(raw)
    (tmp_path / "config.yaml").write_text(to_yaml(first))
    again = load_recipe(tmp_path / "config.yaml")
    assert again == first
    for recipe in (first, again):
        (train,) = recipe.data.train
        assert train.budgets == budgets
        merged = recipe.policy.video.merged(train.budgets["video"])
        assert (merged.frames, merged.max_frames, merged.max_pixels, merged.shuffle) == (None, 4, 3136, True)


def test_a_cache_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data\.cache\.folder .* cannot be used"):
        open_cache(CacheConfig(folder=str(tmp_path / "file")))
    assert open_cache(None) is None
