"""Folders and lists of images: every frame, as qwen-vl-utils has it; and what recipes and rows may say instead."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mmrl.contracts.errors import BadSample
from mmrl.data.media_reader import MediaReader
from mmrl.data.mixture import open_dataset
from mmrl.recipe.budgets import VideoBudget
from mmrl.recipe.data import FileData
from tests.support.policy import load
from tests.support.qwen import qwen  # noqa: F401
from tests.support.videos import video_sample, write_video


def pictures(count, side=112, seed=0):
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)) for _ in range(count)]


def reader(factor=28, **budget):
    return MediaReader(VideoBudget(**{"min_pixels": factor**2, "max_pixels": 64 * factor**2, **budget}), factor, 2)


def taken(budget, source, clip=None):
    """Frame numbers read of a source."""
    video = {"path": source, **clip} if clip else source
    (frames,) = reader(**budget).read(video_sample(video))
    return list(frames.metadata.indices)


@pytest.mark.parametrize("patch", [14, 16])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 40])
def test_lists_are_read_as_qwen_vl_utils_reads_them(qwen, count, patch):  # noqa: F811
    listed = pictures(count, side=8 * patch)
    bounds = {"min_pixels": 4 * patch**2, "max_pixels": 256 * patch**2}
    expected, rate = qwen.fetch_video({"video": listed, **bounds}, image_patch_size=patch, return_video_sample_fps=True)
    (found,) = reader(2 * patch, **bounds).read(video_sample(listed))
    assert len(found) == len(expected) == count + count % 2
    assert torch.equal(found.pixels.float(), expected)
    assert found.metadata.sampled_fps == rate == 2.0


@pytest.mark.parametrize("kind", ["list", "folder"])
def test_settings_of_a_recipe(tmp_path, kind):
    listed = pictures(7)
    if kind == "folder":
        for number, picture in enumerate(listed):
            picture.save(tmp_path / f"{number}.png")
    source = listed if kind == "list" else str(tmp_path)
    whole = [0, 1, 2, 3, 4, 5, 6, 6]
    assert taken({}, source) == taken({"fps": 0.5, "min_frames": 2}, source) == whole
    assert taken({"max_frames": 8}, source) == whole
    assert taken({"max_frames": 5}, source) == [0, 2, 4, 6]
    assert taken({"frames": 4}, source) == [0, 2, 4, 6]
    assert taken({"all_frames": False, "fps": 1.0}, source) == [0, 2, 4, 6]
    assert taken({"timestamps": [0.0, 1.6, 3.0]}, source) == [0, 3, 6, 6]
    assert taken({"source_fps": 4.0}, source, {"start": 0.5, "end": 1.0}) == [2, 3, 4, 4]


def test_files_are_sampled_unless_all_frames_are_asked_for(tmp_path):
    path = str(write_video(tmp_path / "a.mp4", 2, 8))
    assert taken({}, path) == [0, 5, 10, 15]
    assert taken({"all_frames": True}, path) == list(range(16))
    assert taken({"all_frames": True, "max_frames": 6}, path) == [0, 3, 6, 9, 12, 15]


def test_a_row_says_which_frames_before_its_dataset_and_the_dataset_before_the_policy(tmp_path):
    write_video(tmp_path / "a.mp4", 2, 8)
    clips = [
        "a.mp4",
        {"path": "a.mp4", "all_frames": True},
        {"path": "a.mp4", "timestamps": [0, 0.5, 1.0]},
        {"path": "a.mp4", "all_frames": True, "start": 0, "end": 0.5},
        {"path": "a.mp4", "stream": 0, "timestamps": None},
    ]
    rows = [{"prompt": "<video>?", "videos": [clip], "task": "counting", "target": {"count": 1}} for clip in clips]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = FileData(type="file", path=str(tmp_path / "rows.jsonl"), video={"frames": 2})
    found = [list(reader().read(sample)[0].metadata.indices) for sample in open_dataset(data)]
    assert found == [[0, 15], list(range(16)), [0, 4, 8, 8], [0, 1, 2, 3, 4, 4], [0, 15]]


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        ({"timestamps": [9.0]}, r"9 s lies outside the video.*bad_timestamp"),
        ({"timestamps": [0.0], "start": 0.5}, "start and end given beside timestamps"),
        ({"timestamps": [0.0], "all_frames": True}, "timestamps and all_frames each say which frames are read"),
        ({"timestamps": "soon"}, "timestamps: Input should be a valid list"),
        ({"stream": 7}, "stream"),
        ({"all_frame": True}, "Did you mean 'all_frames'"),
    ],
)
def test_what_a_row_cannot_ask_for_is_a_bad_sample(tmp_path, clip, reason):
    write_video(tmp_path / "a.mp4", 2, 8)
    sample = video_sample({"path": "a.mp4", **clip}, root=str(tmp_path), dataset="clips", row=4)
    with pytest.raises(BadSample, match=reason) as caught:
        reader().read(sample)
    assert "clips row 4" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_of_one_picture_reaches_the_model(tiny_qwen):
    """Two frames, a temporal patch, of one picture; its time positions count half a second per frame."""
    policy = load(tiny_qwen("qwen2_5_vl"), video={"min_pixels": 784, "max_pixels": 3136})
    (prompt,) = policy.prepare([video_sample(pictures(1))])
    assert (prompt.frames, prompt.clips[0].patch_seconds) == (2, 1.0)
    assert prompt.video_grid_thw[0, 0] == 1
