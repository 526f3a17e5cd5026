"""Video rows from a file to a reward, and every method of answers on rows with videos, images and text."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

import mmrl
from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import DEMO, POLICY, Sample
from mmrl.data.media_reader import open_cache
from mmrl.data.mixture import Mixture, open_dataset
from mmrl.recipe.data import CacheConfig, FileData
from mmrl.recipe.methods import METHODS, resolve_objective
from mmrl.recipe.rewards import RewardConfig
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.answers import demonstrate
from mmrl.rollouts.collect import Builder
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.trainer.rows import make_rows
from tests.support.engines import hf
from tests.support.media import SHARED, needs_shared
from tests.support.policy import FAMILIES, load
from tests.support.runs import metrics, recipe
from tests.support.videos import write_video

SMALL = {"frames": 4, "min_pixels": 28 * 28, "max_pixels": 28 * 28 * 4}
# problem type -> (options, solution).
KINDS = {
    "multiple choice": (["A. a cup", "B. a book"], "<answer>B</answer>"),
    "open-ended": (None, "<answer>A red car turns left.</answer>"),
    "temporal grounding": (None, "<answer>[0.5, 1.5]</answer>"),
    "spatial-temporal grounding": (
        None, '<answer>{"time": [0, 1], "boxes": {"0": [8, 8, 40, 32], "1": [16, 8, 48, 32]}}</answer>',
    ),
    "tracking": (None, '<answer>{"boxes": {"0": [8, 8, 40, 32], "1": [16, 8, 48, 32]}}</answer>'),
    "event ordering": (None, "<answer>[2, 1, 3]</answer>"),
    "numerical": (None, "<answer>3.5</answer>"),
}  # fmt: skip


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A folder of rows of every kind, whose videos are a file, a clip, a folder of frames and a list of images."""
    folder = tmp_path_factory.mktemp("media")
    write_video(folder / "a.mp4", 2, 8, 64, 48, seed=1)
    (folder / "frames").mkdir()
    for number in range(8):
        Image.new("RGB", (64, 48), (number * 30, 90, 10)).save(folder / f"frames/{number}.png")
    listed = [f"frames/{number}.png" for number in range(0, 8, 2)]
    sources = ["a.mp4", {"path": "a.mp4", "start": 0.0, "end": 1.5}, "frames", listed]
    rows = []
    for number, (kind, (options, solution)) in enumerate(KINDS.items()):
        row = {"problem": f"<video>{kind}?", "problem_type": kind, "data_type": "video", "solution": solution}
        rows.append({**row, "videos": [sources[number % 4]], **({"options": options} if options else {})})
    (folder / "easy.jsonl").write_text("\n".join(map(json.dumps, rows)))
    counting = {"task": "counting", "target": {"count": 1}, "demonstration": "1"}
    mixed = [
        {"prompt": "<video>How many?", "videos": ["a.mp4"], **counting},
        {"prompt": "<video><image>How many in <video>?", "videos": ["frames", "a.mp4"], "images": ["frames/0.png"]},
        {"prompt": "<image>How many?", "images": ["frames/3.png"], **counting},
        {"prompt": "One?", **counting},
    ]
    (folder / "mixed.jsonl").write_text("\n".join(json.dumps({**counting, **row}) for row in mixed))
    return folder


def opened(media, name, **settings):
    return open_dataset(FileData(type="file", path=str(media / name), **settings))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gold_answer_of_every_kind_of_video_task_scores_one(tiny_qwen, media, family):
    """Through the whole way: read, prepared, boxes turned into what the policy writes, demonstrated, scored."""
    policy, rewarder = load(tiny_qwen(family), video=SMALL), Rewarder([RewardConfig(name="route")])
    preparer = Preparer(policy, rewarder)
    samples = opened(media, "easy.jsonl", format="easyvideor1")
    assert len(samples) == len(KINDS)
    for sample in samples:
        preparer.check(sample)
        ready = preparer.take(sample)
        assert ready.prompts[0].frames == 4
        (trajectory,) = demonstrate(policy, ready, 400).trajectories
        assert int(trajectory.decisions[0].tokens[-1]) == policy.end_of_turn
        scored = rewarder.score(trajectory, ready.sample)
        assert (scored.reward, scored.accuracy) == (1.0, 1.0), sample.task
        wrong = replace(trajectory, text="nothing of use")
        assert rewarder.score(wrong, ready.sample).reward == 0.0, sample.task


def builder_of(policy, samples, method, **objective):
    preparer = Preparer(policy, Rewarder([RewardConfig(name="route")]))
    stage = StageConfig(name="s", method=method, steps=1, prompts=4, rollout={"n": 3, "max_new_tokens": 6})
    mixture = Mixture([samples], check=preparer.check)
    return Builder(policy, hf(policy), mixture, preparer, None, stage, resolve_objective(method, objective)), stage


def test_folders_and_lists_have_the_frame_rate_that_is_said(tiny_qwen, media):
    """8 frames: 4 s at the default of 2 per second, 0.8 s where the row says 10, 1 s where the dataset says 8."""
    policy = load(tiny_qwen("qwen3_vl"), video=SMALL)
    listed = [f"frames/{number}.png" for number in range(8)]
    fast = {"path": "frames", "source_fps": 10}
    rows = [{"prompt": "<video>?", "videos": [v], "task": "counting", "target": {"count": 1}} for v in (
        "frames", listed, fast, {"path": listed, "source_fps": 10}, {"path": "frames", "source_fps": 4, "end": 0.9},
    )]  # fmt: skip
    (media / "rates.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def times(**settings):
        prompts = policy.prepare(list(opened(media, "rates.jsonl", **settings)))
        return [[round(time * 10) for time in prompt.clips[0].timestamps] for prompt in prompts]

    assert times() == [[0, 10, 25, 35], [0, 10, 25, 35], [0, 2, 5, 7], [0, 2, 5, 7], [0, 2, 5, 8]]
    assert times(video={"source_fps": 8})[0] == [0, 2, 6, 9]


def test_a_frame_that_leads_out_of_the_root_is_refused(tiny_qwen, tmp_path):
    folder = tmp_path / "root/frames"
    folder.mkdir(parents=True)
    for path in (tmp_path / "secret.png", folder / "0.png", folder / "1.png"):
        Image.new("RGB", (64, 48)).save(path)
    (folder / "0b.png").symlink_to(folder / "0.png")
    (folder / "notes.txt").symlink_to(tmp_path / "gone")
    row = {"prompt": "<video>?", "videos": ["frames"], "task": "counting", "target": {"count": 1}}
    (tmp_path / "root/rows.jsonl").write_text(json.dumps(row))
    policy = load(tiny_qwen(), video={**SMALL, "frames": 2})
    assert policy.prepare([opened(tmp_path / "root", "rows.jsonl")[0]])[0].frames == 2
    (folder / "2.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(BadSample, match=r"rows\.jsonl row 0 .*2\.png' .*leaves the media folder"):
        policy.prepare([opened(tmp_path / "root", "rows.jsonl")[0]])


@pytest.mark.parametrize("below", [None, 0.5])
def test_offline_mix_puts_demonstrations_with_their_end_and_tag_into_video_groups(tiny_qwen, media, below):
    policy = load(tiny_qwen(), video=SMALL)
    made, stage = builder_of(policy, opened(media, "mixed.jsonl"), "offline_mix", inject={"below": below})
    batch = made.collect(0)
    for group, sampled in zip(batch.rollouts, batch.sampled, strict=True):
        means = sum(t.accuracy for t in sampled.trajectories) / 3
        mixed = below is None or means < below
        assert [t.origin for t in group.trajectories] == [POLICY, POLICY, DEMO if mixed else POLICY]
        if mixed:
            demo = group.trajectories[-1]
            assert int(demo.decisions[0].tokens[-1]) == policy.end_of_turn
            assert demo.decisions[0].prompt is group.trajectories[0].decisions[0].prompt
            assert demo.reward == 1.0
    with_videos = [g for g in batch.rollouts if g.trajectories[0].decisions[0].prompt.frames]
    assert {g.trajectories[0].decisions[0].prompt.frames for g in with_videos} == {4, 8}
    rows, _ = make_rows(batch, made.objective, stage)
    assert {row.stream for row in rows} == {"rl"}


def of_answers():
    """Methods that learn from answers: not from a flow policy's steps, an expert, recorded rewards or pairs."""
    left_out = {"pi_rl_sde", "pi_rl_noise", "chunked_awr", "dagger", "dpo", "dpo_sft", "ipo", "mpo", "slic"}
    left_out |= {"step_dpo"}
    assert left_out <= set(METHODS)
    return sorted(set(METHODS) - left_out)


# Learns where a group has right answers and wrong ones, and a random policy's are all wrong.
NEEDS_A_RIGHT_ANSWER = {"nft"}
ROLLOUTS = {
    "reinforce_ada": {"pool": {"size": 8}},
    "prefix_rft": {"context": {"name": "prefix", "share": 0.25, "low": 0.5, "learned": 0.5}},
}


@pytest.mark.slow
@pytest.mark.parametrize("method", of_answers())
def test_every_method_trains_on_videos_images_and_text(tiny_qwen, media, tmp_path, method):
    raw = recipe(tiny_qwen(), tmp_path, method=method, prompts=4, demonstrations=4, evaluation={})
    raw |= {"steps": 2, "rollout": {"n": 4, "max_new_tokens": 20, **ROLLOUTS.get(method, {})}}
    if METHODS.get(method).objective and "value" in METHODS.get(method).objective:
        raw["policy"]["value_head"] = {}
    raw["policy"]["video"] = SMALL
    if METHODS.get(method).objective:
        named = {name for _, name in resolve_objective(method, {}).companions()}
        raw["companions"] = {name: {"path": str(tiny_qwen(seed=1))} for name in named}
    raw["data"] = {"train": [{"type": "file", "path": str(media / "mixed.jsonl")}], "prefetch": 4}
    outcome = mmrl.train(raw)
    lines = metrics(outcome.folder)
    assert outcome.summary["finished"]
    assert all(line["loss/total"] is not None and line["data/skipped"] == 0 for line in lines)
    learned = any(line.get("optim/grad_norm", 0) > 0 for line in lines)
    assert learned or method in NEEDS_A_RIGHT_ANSWER, "nothing was learned from"
    everything = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    assert sum(line.get("video/read", 0) for line in everything) >= 3


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("kind", ["png", "jpg", "bytes", "rgba", "grey"])
def test_large_pictures_of_every_kind_are_cached_with_the_pixels_of_the_processor(tiny_qwen, tmp_path, kind):
    picture = Image.open(SHARED / "media/image/truck.jpg")
    picture = picture.convert({"rgba": "RGBA", "grey": "L"}.get(kind, "RGB"))
    if kind == "rgba":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    path = tmp_path / ("a.jpg" if kind == "jpg" else "a.png")
    picture.save(path)
    source = path.read_bytes() if kind == "bytes" else str(path)
    messages = ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},)
    sample = Sample("a", messages, "ocr", {"text": "1"}, images=(source,))
    budget = {"min_pixels": 3136, "max_pixels": 64 * 28 * 28}
    plain, cached = (load(tiny_qwen(), image=budget) for _ in range(2))
    cached.videos.cache = open_cache(CacheConfig(folder=str(tmp_path / "cache")))
    wanted, cold, warm = plain.prepare([sample])[0], cached.prepare([sample])[0], cached.prepare([sample])[0]
    assert cached.videos.cache.counts["hits"] == 1
    assert torch.equal(cold.pixel_values, warm.pixel_values)
    assert wanted.image_sizes == cold.image_sizes
    assert float((wanted.pixel_values - cold.pixel_values).abs().max()) < 1.01 / 255 / 0.26
