"""video_digits: real files whose frames show what the target says, the same on every machine and in every split."""

import os
from itertools import pairwise

import numpy as np
import pytest
import torch

import vision_rewards
from mmrl.contracts.errors import UserError
from mmrl.data.augmentation import augmented
from mmrl.data.digits import SIDE, split_scans
from mmrl.data.video_digits import FPS, TASKS, VideoDigits, default_folder
from mmrl.recipe.data import VideoDigitsData
from mmrl.recipe.schema import load_recipe
from tests.support.videos import write_video
from video import Sampling, VideoSpec
from video.reading import read

ALL = VideoSpec(Sampling(all_frames=True, frame_factor=1), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("video_digits")


def rows(folder, count=1, **settings):
    data = VideoDigits(VideoDigitsData(type="video_digits", folder=str(folder), **settings))
    return [data[i] for i in range(count)]


def ink_BYX(sample, slots=4):
    """bool [slots, cells, cells]: which quarter-digit squares hold ink in the middle of each second."""
    frames = read(sample.videos[0], ALL).pixels.float().mean(1)
    assert len(frames) == slots * FPS
    middle = frames[FPS // 2 :: FPS]
    paper = middle.flatten(1).median(1).values
    dark = (paper[:, None, None] - middle).clamp(min=0)
    return dark.unfold(1, 14, 14).unfold(2, 14, 14).amax((-1, -2)) > 60


def shown_in(dark_YX, x, y):
    """Whether the digit's square at (x, y) holds ink."""
    return bool(dark_YX[y // 14 : y // 14 + 2, x // 14 : x // 14 + 2].any())


@pytest.mark.parametrize("task", TASKS)
def test_the_gold_answer_scores_one_and_so_does_the_demonstration(folder, task):
    for think in (False, True):
        for sample in rows(folder, 12, tasks=[task], think=think):
            reward = vision_rewards.get_reward("route").for_task(sample.task)
            vision_rewards.validate(reward, [sample.target])
            assert reward(sample.demonstration, sample.target).score == 1.0


def test_digits_appear_in_the_order_and_number_of_the_target(folder):
    for sample in rows(folder, 10, tasks=["ordering", "counting"], slots=4):
        cells = ink_BYX(sample).unfold(1, 2, 2).unfold(2, 2, 2).flatten(3).any(-1).flatten(1).sum(1).tolist()
        assert all(a <= b for a, b in pairwise(cells)), "what has appeared stays"
        wanted = sample.target.get("count") or len(sample.target["order"])
        assert cells[-1] == wanted


def test_a_digit_is_visible_in_its_interval_only(folder):
    for sample in rows(folder, 10, tasks=["temporal_grounding"]):
        start, end = sample.target["interval"]
        cells = ink_BYX(sample).unfold(1, 2, 2).unfold(2, 2, 2).flatten(3).any(-1).flatten(1).sum(1).tolist()
        assert cells == [2 if start <= slot < end else 1 for slot in range(4)]


def test_a_track_is_where_the_digit_is(folder):
    for sample in rows(folder, 10, tasks=["tracking"]):
        dark = ink_BYX(sample)
        for slot, (x1, y1, x2, y2) in enumerate(sample.target["track"].values()):
            assert (x2 - x1, y2 - y1) == (SIDE, SIDE)
            outside = dark[slot].clone()
            outside[y1 // 14 : y2 // 14, x1 // 14 : x2 // 14] = False
            assert shown_in(dark[slot], x1, y1)
            assert not bool(outside.any())


def test_a_tube_is_where_the_digit_is_and_only_while_it_is_there(folder):
    for sample in rows(folder, 10, tasks=["spatial_temporal_grounding"]):
        dark, (start, end) = ink_BYX(sample), sample.target["time"]
        assert list(map(int, sample.target["track"])) == list(range(start, end))
        for slot in range(4):
            assert bool(dark[slot].any()) == (start <= slot < end)
        for slot, (x1, y1, *_) in sample.target["track"].items():
            assert shown_in(dark[int(slot)], x1, y1)


def test_seconds_are_counted_where_the_digit_is_visible(folder):
    for sample in rows(folder, 10, tasks=["numeric"]):
        cells = ink_BYX(sample).unfold(1, 2, 2).unfold(2, 2, 2).flatten(3).any(-1).flatten(1).sum(1).tolist()
        assert cells.count(2) == sample.target["answer"]


def test_rows_do_not_depend_on_what_was_read_before(folder, tmp_path):
    forwards = rows(folder, 6)
    data = VideoDigits(VideoDigitsData(type="video_digits", folder=str(tmp_path)))
    for i in reversed(range(6)):
        again = data[i]
        assert (again.messages, again.target) == (forwards[i].messages, forwards[i].target)
        pixels = [read(s.videos[0], ALL).pixels for s in (again, forwards[i])]
        assert torch.equal(*pixels)


def test_a_file_is_written_once_and_whole(folder):
    (sample,) = rows(folder, 1, seed=77)
    from pathlib import Path

    path = Path(sample.videos[0])
    before = path.stat().st_mtime_ns
    assert rows(folder, 1, seed=77)[0].videos == sample.videos
    assert path.stat().st_mtime_ns == before
    assert not list(folder.rglob("*.part"))


def test_splits_share_no_scan():
    train, test = (set(np.concatenate(split_scans(split)).tolist()) for split in ("train", "test"))
    assert not train & test


def test_bad_settings_are_refused(tmp_path, monkeypatch):
    base = {"name": "v", "policy": {"path": "x"}, "method": "sft", "steps": 1}
    with pytest.raises(UserError, match=r"unknown video_digits task 'trackin'. Did you mean 'tracking'"):
        load_recipe({**base, "data": {"train": [{"type": "video_digits", "tasks": ["trackin"]}]}})
    with pytest.raises(UserError, match="canvas"):
        load_recipe({**base, "data": {"train": [{"type": "video_digits", "canvas": 57}]}})
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*; set `folder` of the video_digits data"):
        rows(tmp_path / "file", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "mmrl" / "video_digits"


# --- frames in another order, and fewer of them


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    path = write_video(tmp_path_factory.mktemp("aug") / "v.mp4", seconds=2, fps=8)
    return read(str(path), ALL)


def test_shuffling_permutes_pictures_and_keeps_times(frames):
    one = augmented(frames, "a", True, 0.0, 2)
    assert torch.equal(one.timestamps, frames.timestamps)
    assert not torch.equal(one.pixels, frames.pixels)
    codes = [sorted(map(bytes, x.pixels.flatten(1).numpy())) for x in (one, frames)]
    assert codes[0] == codes[1]
    assert torch.equal(augmented(frames, "a", True, 0.0, 2).pixels, one.pixels)
    assert not torch.equal(augmented(frames, "b", True, 0.0, 2).pixels, one.pixels)


@pytest.mark.parametrize(("drop", "left"), [(0.5, 8), (0.3, 12), (0.99, 2)])
def test_dropping_keeps_order_times_and_whole_patches(frames, drop, left):
    one = augmented(frames, "a", False, drop, 2)
    assert len(one) == left
    times = one.timestamps.tolist()
    assert times == sorted(times)
    for picture, time in zip(one.pixels, times):
        assert torch.equal(picture, frames.pixels[frames.timestamps.tolist().index(time)])
    assert times[0] == frames.timestamps[0], "from which time positions count"
    assert one.metadata.sampled_fps is None, "frames no longer come evenly"


def test_nothing_asked_changes_nothing(frames):
    assert augmented(frames, "a", False, 0.0, 2) is frames


def test_what_a_killed_process_was_writing_goes_at_the_next_start(tmp_path):
    (tmp_path / "ab").mkdir()
    old, new, other = (tmp_path / "ab" / name for name in ("tmp1.part", "tmp2.part", "c.mp4"))
    for path in (old, new, other):
        path.touch()
    long_ago = new.stat().st_mtime - 601
    for path in (old, other):
        os.utime(path, (long_ago, long_ago))
    rows(tmp_path)
    assert not old.exists()
    assert new.exists()
    assert other.exists()
