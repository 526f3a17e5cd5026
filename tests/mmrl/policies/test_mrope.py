"""M-RoPE positions against the published rule, written out by hand, and against transformers where they agree."""

import pytest
import torch

from mmrl.policies.qwen_vl.mrope import IMAGE, TEXT, VIDEO, mrope_positions
from tests.support.policy import FAMILIES, image_sample, load
from tests.support.videos import video_sample, write_video

GRID = torch.tensor


def positions(types, images=None, videos=None, seconds=(), rate=None):
    grids = [GRID(g) if g is not None else None for g in (images, videos)]
    return mrope_positions(GRID(types), *grids, 2, seconds, rate).tolist()


def test_text_counts_up_alike_in_all_three():
    assert positions([TEXT] * 3) == [[0, 1, 2]] * 3


def test_an_image_spans_height_and_width_at_one_time_and_text_goes_on_after_its_largest():
    types = [TEXT] * 2 + [IMAGE] * 6 + [TEXT] * 2
    time, height, width = positions(types, images=[[1, 4, 6]])
    assert time == [0, 1, *[2] * 6, 5, 6]
    assert height == [0, 1, 2, 2, 2, 3, 3, 3, 5, 6]
    assert width == [0, 1, 2, 3, 4, 2, 3, 4, 5, 6]


def test_qwen2_counts_temporal_patches_and_text_goes_on_after_the_last():
    time, height, width = positions([TEXT, *[VIDEO] * 4, TEXT], videos=[[4, 2, 2]], seconds=[9.0])
    assert time == [0, 1, 2, 3, 4, 5]
    assert height == width == [0, 1, 1, 1, 1, 5]


def test_qwen2_5_counts_seconds_and_cuts_fractions_at_the_end():
    # 2 positions per second: patches 0.75 s apart lie at 0, 1.5, 3, 4.5.
    time, _, _ = positions([TEXT, *[VIDEO] * 4, TEXT], videos=[[4, 2, 2]], seconds=[0.75], rate=2.0)
    assert time == [0, 1, 2, 4, 5, 6]


def test_patches_that_do_not_come_evenly_lie_at_their_own_seconds():
    time, _, _ = positions([TEXT, *[VIDEO] * 3, TEXT], videos=[[3, 2, 2]], seconds=[(0.0, 2.5, 20.0)], rate=2.0)
    assert time == [0, 1, 6, 41, 42]
    time, _, _ = positions([TEXT, *[VIDEO] * 3, TEXT], videos=[[3, 2, 2]], seconds=[(0.0, 2.5, 20.0)])
    assert time == [0, 1, 2, 3, 4], "Qwen2-VL counts patches"


def test_the_reported_example_of_a_long_video():
    """huggingface/transformers#45381, as v5.2 had it: 15 text tokens, 84 patches of 12 x 16 tokens, text at 348."""
    types = [TEXT] * 15 + [VIDEO] * 16128 + [TEXT] * 10
    time, height, width = positions(types, videos=[[84, 24, 32]], seconds=[2.0], rate=2.0)
    video = slice(15, -10)
    assert (time[15], max(time[video]), max(height[video]), max(width[video])) == (15, 347, 26, 30)
    assert time[-10:] == height[-10:] == width[-10:] == list(range(348, 358))


def test_frames_parted_by_written_times_are_pictures_of_their_own():
    types = [TEXT, *[VIDEO] * 4, TEXT, *[VIDEO] * 4, TEXT]
    time, height, _ = positions(types, videos=[[2, 4, 4]], seconds=[1.0])
    assert time == [0, 1, 1, 1, 1, 3, 4, 4, 4, 4, 6]
    assert height == [0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6]


def test_videos_and_images_take_their_own_grids_in_order():
    types = [VIDEO] * 2 + [TEXT] + [IMAGE] * 4 + [TEXT] + [VIDEO] * 3
    time, _, _ = positions(types, images=[[1, 4, 4]], videos=[[2, 2, 2], [3, 2, 2]], seconds=[1.0, 2.0], rate=2.0)
    assert time == [0, 2, 3, 4, 4, 4, 4, 6, 7, 11, 15]


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_transformers_where_that_follows_the_published_rule(tiny_qwen, tmp_path, family):
    """Images in every family; videos in Qwen3-VL, and in the others while a video is shorter than it is wide."""
    policy = load(tiny_qwen(family), video={"fps": 2, "min_frames": 2, "min_pixels": 4 * 56 * 56})
    clip = write_video(tmp_path / "clip.mp4", seconds=1, width=112, height=112)
    from PIL import Image

    samples = [image_sample(Image.new("RGB", (84, 140)), Image.new("RGB", (56, 56))), video_sample(clip)]
    for prompt in policy.prepare(samples):
        theirs, _ = policy.module.model.get_rope_index(
            prompt.input_ids[None],
            mm_token_type_ids=torch.tensor(policy.processor.create_mm_token_type_ids([prompt.input_ids.tolist()])),
            image_grid_thw=prompt.image_grid_thw,
            video_grid_thw=prompt.video_grid_thw.clone() if prompt.video_grid_thw is not None else None,
            second_per_grid_ts=torch.tensor([0.5] * len(prompt.clips)),
        )
        assert torch.equal(prompt.positions, theirs[:, 0])
