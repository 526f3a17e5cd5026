"""Reading ahead without being asked: videos and pictures, in training and evaluation, and nothing of a run changes."""

import json
import threading

import pytest
import torch
from PIL import Image

import mmrl
from mmrl.contracts.errors import BadSample
from mmrl.data import media_reader as reading
from mmrl.data.ahead import ReadAhead
from mmrl.data.digits import Digits
from mmrl.data.media_reader import MediaReader, open_cache
from mmrl.evaluation.runner import evaluate
from mmrl.recipe.data import CacheConfig
from mmrl.recipe.evaluation import EvalConfig
from mmrl.recipe.rewards import RewardConfig
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.simulators import Simulators
from tests.support.engines import hf
from tests.support.policy import load
from tests.support.runs import assert_same_run, recipe
from tests.support.videos import video_sample, write_video

VIDEO = {"frames": 4, "min_pixels": 784, "max_pixels": 784 * 4}


def alive():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Six rows with a video, a picture file, or both."""
    folder, rows = tmp_path_factory.mktemp("media"), []
    for number in range(6):
        write_video(folder / f"{number}.mp4", 2, 8, 64, 48, seed=number)
        Image.radial_gradient("L").rotate(30 * number).resize((84, 56)).save(folder / f"{number}.png")
        shown = {"videos": [f"{number}.mp4"] if number % 3 else [], "images": [f"{number}.png"] if number % 2 else []}
        if not any(shown.values()):
            shown["images"] = [f"{number}.png"]
        tags = "<video>" * len(shown["videos"]) + "<image>" * len(shown["images"])
        answer = {"task": "counting", "target": {"count": number}, "demonstration": str(number)}
        rows.append({"prompt": f"{tags}How many?", **shown, **answer})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def media_recipe(model, output, media, name, **data):
    held_out = {"every": 2, "batch_size": 2, "sampling": {"max_new_tokens": 3}}
    raw = recipe(model, output, name, method="chord_mu", steps=4, evaluation=held_out)
    raw["policy"]["video"] = VIDEO
    rows = {"type": "file", "path": str(media / "rows.jsonl")}
    raw["data"] = {"train": [rows], "eval": [rows], **data}
    return raw


@pytest.fixture
def where(monkeypatch):
    """Names of the threads that decoded videos, and pictures."""
    found = {"video": [], "image": []}

    def noted(kind, real):
        def call(*args, **settings):
            found[kind].append(threading.current_thread().name)
            return real(*args, **settings)

        return call

    import video.reading

    monkeypatch.setattr(video.reading, "read", noted("video", video.reading.read))
    monkeypatch.setattr(reading, "load_image", noted("image", reading.load_image))
    return found


@pytest.mark.slow
def test_by_default_videos_and_pictures_are_read_ahead_and_nothing_changes(tiny_qwen, tmp_path, media, where):
    model = tiny_qwen()
    plain = mmrl.train(media_recipe(model, tmp_path, media, "plain", prefetch=0))
    assert not [name for names in where.values() for name in names if name.startswith("read-ahead")]
    default = mmrl.train(media_recipe(model, tmp_path, media, "default"))
    assert_same_run(plain.folder, default.folder)
    assert alive() == []
    lines = [json.loads(line) for line in (default.folder / "metrics.jsonl").read_text().splitlines()]
    assert sum(line.get("video/read_ahead", 0) for line in lines) >= 1
    raw = media_recipe(model, tmp_path, media, "no held-out data")
    raw["data"].pop("eval")
    for names in where.values():
        names.clear()
    mmrl.train(raw)
    for kind, names in where.items():
        assert any(name.startswith("read-ahead") for name in names), kind


@pytest.mark.slow
def test_large_pictures_go_through_the_cache_ahead_of_their_use(tiny_qwen, tmp_path, media):
    model, cache = tiny_qwen(), {"folder": str(tmp_path / "cache"), "image_pixels": 1000}
    plain = mmrl.train(media_recipe(model, tmp_path, media, "plain", prefetch=0, cache=cache))
    for name in ("warm", "cold"):
        folder = {**cache, "folder": str(tmp_path / name)} if name == "cold" else cache
        other = mmrl.train(media_recipe(model, tmp_path, media, name, cache=folder))
        assert_same_run(plain.folder, other.folder)


def test_rows_that_hold_their_pictures_are_not_built_twice(tiny_qwen, tmp_path, monkeypatch):
    built, build = [], Digits._row
    monkeypatch.setattr(Digits, "_row", lambda self, row: built.append(row) or build(self, row))
    raw = recipe(tiny_qwen(), tmp_path, method="sft", steps=3, evaluation={})
    raw["data"].pop("eval")
    mmrl.train(raw)
    # Before the weights are loaded, one row shows that there are demonstrations, and 32 that they can be read.
    assert len(built) == 1 + min(32, raw["data"]["train"][0]["size"]) + 6


@pytest.mark.parametrize("cached", [False, True])
def test_pictures_read_ahead_give_the_same_prompt(tiny_qwen, tmp_path, media, cached):
    policy = load(tiny_qwen(), video=VIDEO)
    if cached:
        policy.videos.cache = open_cache(CacheConfig(folder=str(tmp_path), image_pixels=1000))
    encoded = (media / "3.png").read_bytes()
    samples = [video_sample(images=[source]) for source in (str(media / "1.png"), encoded, Image.new("RGB", (56, 56)))]
    wanted = policy.prepare(samples)
    policy.videos.ahead = ReadAhead(10**9)
    jobs = [policy.videos.jobs(sample) for sample in samples]
    assert [len(one) for one in jobs] == [1, 1, 0]
    policy.videos.ahead.want(jobs[0] | jobs[1])
    found = policy.prepare(samples)
    policy.videos.ahead.close()
    for a, b in zip(wanted, found, strict=True):
        assert torch.equal(a.pixel_values, b.pixel_values)
        assert (a.image_sizes, a.resized) == (b.image_sizes, b.resized)


def test_a_broken_picture_is_refused_in_the_row_that_uses_it(tiny_qwen, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture" * 20)
    policy = load(tiny_qwen())
    first, second = (video_sample(images=["a.png"], root=str(tmp_path), dataset="rows", row=row) for row in (1, 2))
    policy.videos.ahead = ReadAhead(10**9)
    policy.videos.ahead.want(policy.videos.jobs(first))
    with pytest.raises(BadSample, match=r"rows row 2 .*image 'a\.png' cannot be read") as caught:
        policy.prepare([second])
    assert caught.value.path == "a.png"
    policy.videos.ahead.close()


# --- evaluation


def measured(policy, samples, **settings):
    preparer = Preparer(policy, Rewarder([RewardConfig(name="route")]))
    ahead = {key: settings.pop(key) for key in ("prefetch", "prefetch_gb") if key in settings}
    config = EvalConfig(batch_size=2, sampling={"max_new_tokens": 3}, **settings)
    return evaluate(policy, hf(policy, 2), {"v": samples}, config, preparer, Simulators({}), **ahead).accuracy


def held_out(media, count=6):
    target = {"task": "counting", "target": {"count": 1}}
    return [video_sample(media / f"{number}.mp4", **target) for number in range(count)]


def test_evaluation_reads_ahead_beside_what_training_holds(tiny_qwen, media, where):
    policy = load(tiny_qwen(), video=VIDEO)
    samples = held_out(media)
    plain = measured(policy, samples, prefetch=0)
    assert not any(name.startswith("read-ahead") for name in where["video"])
    kept = policy.videos.ahead = ReadAhead(10**9)
    ((key, job),) = policy.videos.jobs(samples[0]).items()
    started = threading.Event()
    kept.want({key: lambda: started.set() or job()})
    assert started.wait(20)
    where["video"].clear()
    assert measured(policy, samples) == plain
    assert policy.videos.ahead is kept
    assert any(name.startswith("read-ahead") for name in where["video"])
    assert kept.take(key, lambda: pytest.fail("what training had read was dropped"))[1]
    kept.close()
    assert alive() == []


def test_each_level_of_a_sparse_to_dense_evaluation_is_read_once(tiny_qwen, media, where):
    """What is read ahead of the next batch is read at its first level, not as the policy would."""
    policy, dense = load(tiny_qwen(), video=VIDEO), {"frames": [2, 4], "samples": 2}
    figures = measured(policy, held_out(media), sparse_to_dense=dense, prefetch=0)
    alone = len(where["video"])
    where["video"].clear()
    assert measured(policy, held_out(media), sparse_to_dense=dense) == figures
    assert len(where["video"]) == alone
    assert any(name.startswith("read-ahead") for name in where["video"])


def test_threads_of_an_evaluation_end_when_it_raises(tiny_qwen, media, tmp_path):
    policy = load(tiny_qwen(), video=VIDEO)
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 50)
    with pytest.raises(BadSample, match="not_a_video"):
        measured(policy, [*held_out(media, 3), video_sample(tmp_path / "broken.mp4")])
    assert policy.videos.ahead is None
    assert alive() == []


def test_a_reader_without_the_size_of_images_leaves_them_to_the_policy(media):
    from mmrl.recipe.budgets import VideoBudget

    sample = video_sample(media / "1.mp4", images=[str(media / "1.png")])
    assert len(MediaReader(VideoBudget(**VIDEO), 28, 2).jobs(sample)) == 1
