"""Frame counts, clips and times: Qwen's rules as qwen-vl-utils applies them, true times by hand."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.qwen import qwen  # noqa: F401
from video import Budget, Sampling, VideoError
from video.sampling import Choice, Timeline, choose, clip_range, is_steady, smart_frames, timed_range

rates = st.sampled_from([10.0, 23.976, 24.0, 25.0, 29.97002997002997, 30.0, 59.94, 120.0])
fixture_is_constant = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_frames_do_not_depend_on_the_callers_default_dtype():
    even = choose(Sampling(fps=2), steady(900, 30.0)).indices
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert choose(Sampling(fps=2), steady(900, 30.0)).indices == even
    finally:
        torch.set_default_dtype(torch.float32)


def steady(frames, fps=10.0) -> Timeline:
    return Timeline("a.mp4", np.arange(frames) / fps, frames / fps, fps)


# Frames shown at 0, 0.1, 0.2, then every second: average 10 frames in 8.2 s.
UNEVEN = Timeline("vfr.mp4", np.array([0, 0.1, 0.2, 1.2, 2.2, 3.2, 4.2, 5.2, 6.2, 7.2]), 8.2, 10 / 8.2)


def outcome(call, *arguments, **keywords):
    """What a call returns, or None where it refuses."""
    try:
        return call(*arguments, **keywords)
    except ValueError:
        return None


@fixture_is_constant
@given(
    total=st.integers(1, 5000),
    rate=rates,
    fps=st.floats(0.05, 60),
    lower=st.none() | st.integers(1, 64),
    upper=st.none() | st.integers(1, 900),
)
def test_counts_by_rate_are_qwens(qwen, total, rate, fps, lower, upper):  # noqa: F811
    bounds = {k: v for k, v in (("min_frames", lower), ("max_frames", upper)) if v is not None}
    expected = outcome(qwen.smart_nframes, {"fps": fps, **bounds}, total, rate)
    assert outcome(smart_frames, total, rate, fps=fps, **bounds) == expected


@fixture_is_constant
@given(total=st.integers(1, 5000), frames=st.integers(1, 5000))
def test_counts_by_number_are_qwens(qwen, total, frames):  # noqa: F811
    expected = outcome(qwen.smart_nframes, {"nframes": frames}, total, 25.0)
    assert outcome(smart_frames, total, 25.0, frames=frames) == expected


@fixture_is_constant
@given(
    total=st.integers(1, 3000),
    rate=rates,
    start=st.none() | st.floats(-1, 60),
    length=st.none() | st.floats(0.01, 60),
)
def test_clips_are_qwens(qwen, total, rate, start, length):  # noqa: F811
    end = None if length is None else (start or 0.0) + length
    element = {"video_start": start, "video_end": end}
    expected = outcome(lambda: qwen.calculate_video_frame_range(element, total, rate)[:2])
    assert outcome(clip_range, steady(total, rate), start, end) == expected


@pytest.mark.parametrize(
    ("total", "asked", "taken"),
    [(20, 4, (0, 6, 13, 19)), (10, 4, (0, 3, 6, 9)), (4, 4, (0, 1, 2, 3)), (7, 2, (0, 6)), (9, 5, (0, 3, 5, 8))],
)
def test_frames_are_spread_evenly(total, asked, taken):
    """Ends included, fractions rounded to the nearest: 9 / 3, 19 / 3, 8 / 3; 5 is rounded to 4 (half to even)."""
    assert choose(Sampling(frames=asked), steady(total)).indices == taken


def test_the_rate_that_was_reached():
    choice = choose(Sampling(fps=2.0), steady(100))
    assert len(choice.indices) == 20
    assert choice.sampled_fps == pytest.approx(2.0)
    clip = choose(Sampling(fps=2.0, start=1.0, end=4.0), steady(100))
    # Frames 10 to 40 are 31 frames, 3.1 s: 6.2 frames at 2 fps, rounded down to 6.
    assert clip.indices == (10, 16, 22, 28, 34, 40)
    assert clip.sampled_fps == pytest.approx(6 / 3.1)


def test_other_temporal_patches():
    assert len(choose(Sampling(frames=7, frame_factor=3), steady(100)).indices) == 6
    assert len(choose(Sampling(frames=1, frame_factor=1), steady(1)).indices) == 1


def test_named_times_give_the_frame_on_screen():
    times = (0.0, 0.05, 0.1, 0.15, 1.19, 1.2, 8.1)
    assert choose(Sampling(timestamps=times), UNEVEN).indices == (0, 0, 1, 1, 2, 3, 9)
    assert choose(Sampling(timestamps=(2.0, 1.0)), steady(30)).indices == (20, 10)
    assert choose(Sampling(timestamps=tuple(UNEVEN.times)), UNEVEN).indices == tuple(range(10))


@pytest.mark.parametrize("time", [-0.01, 8.3])
def test_times_outside_are_refused(time):
    with pytest.raises(VideoError, match=r"vfr\.mp4: .* 0 to 8\.200 s \[bad_timestamp\]"):
        choose(Sampling(timestamps=(time,)), UNEVEN)


@pytest.mark.parametrize("rounding", ["qwen", "time"])
def test_clips_of_uneven_times_show_the_seconds_asked_for(rounding):
    """The average rate would put second 1 at frame 2, though at 1.2 s only frame 3 begins."""
    clip = choose(Sampling(all_frames=True, start=1.0, end=4.5, frame_factor=1, rounding=rounding), UNEVEN)
    assert clip.indices == (3, 4, 5, 6)
    assert clip.sampled_fps == (None if rounding == "qwen" else pytest.approx(1.0))


@pytest.mark.parametrize("times", [np.arange(10) / 10, np.arange(10) * 0.1, np.cumsum([0, *[0.1] * 9])])
@pytest.mark.parametrize("start", [0.3, 0.1 * 3, 0.1 + 0.1 + 0.1])
@pytest.mark.parametrize("end", [0.8, sum([0.1] * 8)])
def test_times_that_float_noise_parts_are_the_same_time(times, start, end):
    """0.1 * 3 is 0.30000000000000004, and eight times 0.1 add up to 0.7999999999999999: frames 3 to 8 all the same."""
    assert timed_range(Timeline("a.mp4", times, 1.0, 10.0), start, end) == (3, 8)


def test_times_that_lie_apart_are_told_apart():
    assert timed_range(steady(10), 0.3001, 0.5999) == (4, 5)


def test_frames_of_uneven_times_have_no_rate_unless_they_are_taken_by_time():
    assert choose(Sampling(frames=4), UNEVEN) == Choice((0, 3, 6, 9), None)
    assert choose(Sampling(frames=4, rounding="time"), UNEVEN).sampled_fps == pytest.approx(4 / 8.2)


def test_steady_is_what_rounded_times_are_too():
    rounded = np.round(np.arange(100) / 29.97, 3)
    assert is_steady(Timeline("a.mkv", rounded, 100 / 29.97, 29.97))
    assert not is_steady(UNEVEN)


def test_true_times_are_spread_evenly():
    choice = choose(Sampling(frames=4, rounding="time"), UNEVEN)
    # Even times are 0, 2.4, 4.8, 7.2; the nearest frames start at 0, 2.2, 5.2, 7.2.
    assert choice.indices == (0, 4, 7, 9)


def test_steady_videos_do_not_care_how_times_are_rounded():
    for start, end in ((None, None), (1.0, 4.0)):
        by_rate = choose(Sampling(fps=3.0, start=start, end=end), steady(100))
        by_time = choose(Sampling(fps=3.0, start=start, end=end, rounding="time"), steady(100))
        assert by_rate.indices == by_time.indices
        assert by_rate.sampled_fps == pytest.approx(by_time.sampled_fps)


@pytest.mark.parametrize("rounding", ["qwen", "time"])
@pytest.mark.parametrize(("start", "end"), [(20.0, None), (20.0, 30.0), (3.01, 3.05)])
def test_empty_clips_are_refused(rounding, start, end):
    sampling = Sampling(frames=2, start=start, end=end, rounding=rounding)
    with pytest.raises(VideoError, match=r"a\.mp4: clip from .* 100 in 10\.000 s \[bad_interval\]"):
        choose(sampling, steady(100))


def test_all_frames_repeat_the_last_up_to_a_whole_patch():
    assert choose(Sampling(all_frames=True), steady(5)).indices == (0, 1, 2, 3, 4, 4)
    assert choose(Sampling(all_frames=True), steady(4)).indices == (0, 1, 2, 3)
    assert choose(Sampling(all_frames=True), steady(1)).indices == (0, 0)
    assert choose(Sampling(all_frames=True), steady(5)).sampled_fps == 10.0


@pytest.mark.parametrize("asked", [{"frames": 40}, {"frames": 12}, {"fps": 5}])
def test_one_frame_is_taken_twice_where_a_patch_takes_two(asked):
    assert choose(Sampling(**asked), steady(1)).indices == (0, 0)
    assert choose(Sampling(**asked, frame_factor=1), steady(1)).indices == (0,)


@pytest.mark.parametrize(("frames", "taken"), [(3, (0, 2)), (4, (0, 1, 2, 3)), (5, (0, 1, 3, 4))])
def test_frames_above_the_length_are_capped(frames, taken):
    assert choose(Sampling(frames=16), steady(frames)).indices == taken


def test_the_frame_budget_caps_every_way():
    budget = Budget(28, max_frames=5)
    assert len(choose(Sampling(fps=10.0), steady(100), budget).indices) == 4
    assert len(choose(Sampling(fps=10.0, max_frames=2, min_frames=1), steady(100), budget).indices) == 2
    assert choose(Sampling(frames=50), steady(100), budget).indices == (0, 33, 66, 99)
    assert choose(Sampling(all_frames=True), steady(100), budget).indices == (0, 33, 66, 99)
    assert choose(Sampling(all_frames=True), steady(100), budget).sampled_fps == pytest.approx(0.4)
    assert len(choose(Sampling(timestamps=(0, 1, 2, 3, 4)), steady(100), budget).indices) == 5
    with pytest.raises(VideoError, match=r"6 timestamps given, 5 frames allowed \[over_budget\]"):
        choose(Sampling(timestamps=(0, 1, 2, 3, 4, 5)), steady(100), budget)


def test_a_generous_budget_changes_nothing():
    for sampling in (Sampling(fps=2.0), Sampling(frames=8), Sampling(all_frames=True)):
        assert choose(sampling, steady(100), Budget(28, max_frames=800)) == choose(sampling, steady(100))
