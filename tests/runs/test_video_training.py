"""Training with a cache and with videos read ahead: the same run, its figures, and threads that end however it ends."""

import json
import os
import signal
import threading

import pytest

import mmrl
from mmrl.contracts.errors import UserError
from mmrl.data.robot.lerobot import LeRobotDataset
from mmrl.tracking.metrics import describe, is_wall_clock
from tests.support.robot_data import write_lerobot
from tests.support.runs import assert_same_run, recipe
from tests.support.videos import write_video

VIDEO = {"frames": 4, "min_pixels": 28 * 28, "max_pixels": 28 * 28 * 4}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Six rows, each with a video of its own."""
    folder = tmp_path_factory.mktemp("media")
    rows = []
    for number in range(6):
        write_video(folder / f"{number}.mp4", 2, 8, 64, 48, seed=number)
        target = {"task": "counting", "target": {"count": number}, "demonstration": str(number)}
        rows.append({"prompt": "<video>How many?", "videos": [f"{number}.mp4"], **target})
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def video_recipe(model, output, media, name="run", data=None, **settings):
    raw = recipe(model, output, name, evaluation={}, **{"method": "grpo", "steps": 4, **settings})
    raw["policy"]["video"] = VIDEO
    raw["data"] = {"train": [{"type": "file", "path": str(media / "train.jsonl")}], **(data or {})}
    return raw


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def alive():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.slow
def test_reading_ahead_and_the_cache_change_nothing_of_a_run(tiny_qwen, tmp_path, media):
    """A method that draws prompts and demonstrations; with room for all, and for nothing, of what is ahead."""
    settings = {"method": "chord_mu", "steps": 3}
    model, cache = tiny_qwen(), {"folder": str(tmp_path / "cache")}
    plain = mmrl.train(video_recipe(model, tmp_path, media, "plain", data={"prefetch": 0}, **settings))
    for name, data in (
        ("cold", {"prefetch": 4, "cache": cache}),
        ("warm", {"prefetch": 4, "cache": cache}),
        ("narrow", {"prefetch": 64, "prefetch_gb": 1e-9}),
    ):
        other = mmrl.train(video_recipe(model, tmp_path, media, name, data=data, **settings))
        assert_same_run(plain.folder, other.folder)
        assert alive() == []


@pytest.mark.slow
def test_figures_of_reading_are_logged_and_documented(tiny_qwen, tmp_path, media):
    model, data = tiny_qwen(), {"prefetch": 4, "cache": {"folder": str(tmp_path / "cache")}}
    steps = {}
    for name in ("cold", "warm"):
        steps[name] = lines(mmrl.train(video_recipe(model, tmp_path, media, name, data=data)).folder)
    keys = [key for key in steps["cold"][0] if key.startswith("video/")]
    assert len(keys) == 9
    total = {name: {key: sum(step[key] for step in found) for key in keys} for name, found in steps.items()}
    for name, found in total.items():
        assert found["video/read"] == 8, name
        assert found["video/read_ahead"] >= 1, name
        assert found["video/cache_rebuilt"] == found["video/cache_not_stored"] == found["video/cache_evicted"] == 0
        assert found["video/wait_seconds"] > 0
    assert total["cold"]["video/cache_misses"] == 6
    assert total["cold"]["video/decode_seconds"] > 0
    assert total["warm"]["video/cache_misses"] == total["warm"]["video/decode_seconds"] == 0
    assert total["warm"]["video/cache_hits"] >= 8
    assert any(s.get("memory/read_ahead_gb", 0) > 0 for s in steps["warm"])
    for key in (*keys, "memory/read_ahead_gb"):
        assert describe(key).name == key
        assert is_wall_clock(key)


def test_a_damaged_entry_is_counted(tiny_qwen, tmp_path, media):
    model, cache = tiny_qwen(), tmp_path / "cache"
    mmrl.train(video_recipe(model, tmp_path, media, "cold", steps=3, data={"cache": {"folder": str(cache)}}))
    for entry in cache.glob("*/*.safetensors"):
        content = bytearray(entry.read_bytes())
        content[-9] ^= 1
        entry.write_bytes(content)
    again = mmrl.train(video_recipe(model, tmp_path, media, "again", steps=3, data={"cache": {"folder": str(cache)}}))
    assert sum(line["video/cache_rebuilt"] for line in lines(again.folder)) == 6


def test_runs_without_videos_log_no_figures_of_them(tiny_qwen, tmp_path):
    outcome = mmrl.train(recipe(tiny_qwen(), tmp_path, steps=1))
    assert not [key for line in lines(outcome.folder) for key in line if key.startswith("video/")]


def test_a_stop_by_signal_ends_the_threads(tiny_qwen, tmp_path, media):
    def reward(text, sample):
        if not sent:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))
        return len(text) % 3 / 3

    sent = []
    outcome = mmrl.train(video_recipe(tiny_qwen(), tmp_path, media, data={"prefetch": 6}), reward=reward)
    assert outcome.signum == signal.SIGTERM
    assert [line["step"] for line in lines(outcome.folder)] == [1]
    assert alive() == []


def test_an_error_of_training_is_raised_and_ends_the_threads(tiny_qwen, tmp_path, media):
    calls = []

    def reward(text, sample):
        calls.append(text)
        if len(calls) > 8:
            raise KeyError("a bug in a reward")
        return len(text) % 3 / 3

    with pytest.raises(Exception, match="a bug in a reward"):
        mmrl.train(video_recipe(tiny_qwen(), tmp_path, media, data={"prefetch": 6}), reward=reward)
    assert len(calls) > 8
    assert alive() == []


@pytest.mark.parametrize("on_bad", ["stop", "skip"])
def test_a_video_that_broke_is_named_where_its_row_is_drawn(tiny_qwen, tmp_path, media, on_bad):
    """Its reading fails in a thread, steps before."""
    import shutil

    folder = tmp_path / "media"
    shutil.copytree(media, folder)
    (folder / "3.mp4").write_bytes(b"no video at all" * 50)
    raw = video_recipe(tiny_qwen(), tmp_path, folder, data={"prefetch": 6, "on_bad_sample": on_bad}, steps=6)
    if on_bad == "stop":
        with pytest.raises(UserError, match=r"train\.jsonl row 3 .*3\.mp4.*not_a_video.*on_bad_sample: skip"):
            mmrl.train(raw)
    else:
        outcome = mmrl.train(raw)
        assert outcome.summary["finished"]
        assert lines(outcome.folder)[-1]["data/skipped"] >= 1
    assert alive() == []


def test_recorded_rows_are_built_once_each_and_in_threads(tiny_qwen, tmp_path, monkeypatch):
    built, build = [], LeRobotDataset._row

    def counted(self, row):
        built.append((row, threading.current_thread().name))
        return build(self, row)

    data = {"type": "lerobot", "path": str(write_lerobot(tmp_path / "arm", (10, 8))), "image_size": 28}
    raw = recipe(tiny_qwen(), tmp_path, method="sft", steps=4, demonstrations=3, evaluation={})
    raw["policy"]["action_bins"] = 33
    raw["data"] = {"train": [data], "prefetch": 3}
    raw.pop("rewards")
    raw.pop("rollout")
    monkeypatch.setattr(LeRobotDataset, "_row", counted)
    mmrl.train(raw)
    drawn = [row for row, _ in built]
    # Twelve drawn, and the three that the last look was ahead of the end by.
    assert len(drawn) == len(set(drawn))
    assert 12 <= len(drawn) <= 15
    assert sum(name.startswith("read-ahead") for _, name in built) >= 1
    assert alive() == []
