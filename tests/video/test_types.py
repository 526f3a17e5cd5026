"""Specifications: refused when they contradict themselves, equal when their JSON is equal."""

import json
import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from video import Budget, Frames, ImageSpec, Sampling, VideoError, VideoMetadata, VideoSpec
from video.types import REASONS, spec_from_dict

seconds = st.floats(0, 1e5, allow_nan=False)
counts = st.integers(1, 10**9)


@st.composite
def samplings(draw):
    way = draw(st.sampled_from(["fps", "frames", "timestamps", "all_frames"]))
    value = {
        "fps": st.floats(1e-3, 240) | st.integers(1, 60),
        "frames": st.integers(1, 1000),
        "timestamps": st.lists(seconds, min_size=1, max_size=5),
        "all_frames": st.just(True),
    }[way]
    rest = {}
    if way != "timestamps":
        rest = {"start": draw(st.none() | seconds), "rounding": draw(st.sampled_from(["qwen", "time"]))}
    return Sampling(**{way: draw(value)}, frame_factor=draw(st.integers(1, 4)), **rest)


@st.composite
def budgets(draw):
    factor = draw(st.integers(1, 64))
    lower = draw(st.none() | st.integers(1, 10**6))
    upper = draw(st.none() | st.integers(max(lower or 1, factor**2), 10**7))
    return Budget(factor, lower, upper, draw(st.none() | counts), draw(st.none() | counts))


@given(samplings(), st.none() | budgets(), st.sampled_from(["auto", "pyav"]), st.none() | st.integers(0, 9))
def test_a_spec_survives_json_and_hashing(sampling, budget, backend, stream):
    spec = VideoSpec(sampling, budget, backend, stream=stream)
    again = spec_from_dict(json.loads(spec.canonical_json()))
    assert again == spec
    assert hash(again) == hash(spec)
    assert again.canonical_json() == spec.canonical_json()


def test_equal_settings_written_differently_are_one_spec():
    first = VideoSpec(Sampling(fps=2, start=1), Budget(factor=28, max_pixels=200704))
    second = VideoSpec(Sampling(start=1.0, fps=2.0), Budget(28, None, 200704))
    assert first == second
    assert first.canonical_json() == second.canonical_json()
    assert Sampling(timestamps=torch.tensor([0.5, 1.0])) == Sampling(timestamps=[0.5, 1])


def test_every_setting_reaches_the_json():
    base = VideoSpec(Sampling(fps=2.0), Budget(28))
    others = [
        VideoSpec(Sampling(fps=3.0), Budget(28)),
        VideoSpec(Sampling(fps=2.0, max_frames=8), Budget(28)),
        VideoSpec(Sampling(fps=2.0, min_frames=2), Budget(28)),
        VideoSpec(Sampling(fps=2.0, frame_factor=4), Budget(28)),
        VideoSpec(Sampling(fps=2.0, start=1.0), Budget(28)),
        VideoSpec(Sampling(fps=2.0, end=1.0), Budget(28)),
        VideoSpec(Sampling(fps=2.0, rounding="time"), Budget(28)),
        VideoSpec(Sampling(frames=2), Budget(28)),
        VideoSpec(Sampling(all_frames=True), Budget(28)),
        VideoSpec(Sampling(fps=2.0), Budget(32)),
        VideoSpec(Sampling(fps=2.0), Budget(28, min_pixels=784)),
        VideoSpec(Sampling(fps=2.0), Budget(28, max_pixels=784000)),
        VideoSpec(Sampling(fps=2.0), Budget(28, total_pixels=784000)),
        VideoSpec(Sampling(fps=2.0), Budget(28, max_frames=4)),
        VideoSpec(Sampling(fps=2.0), None),
        VideoSpec(Sampling(fps=2.0), Budget(28), "pyav"),
        VideoSpec(Sampling(fps=2.0), Budget(28), truncated="keep"),
        VideoSpec(Sampling(fps=2.0), Budget(28), stream=0),
        VideoSpec(Sampling(fps=2.0), Budget(28), source_fps=4.0),
        ImageSpec(Budget(28)),
        ImageSpec(None),
    ]
    texts = [spec.canonical_json() for spec in [base, *others]]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "exactly one"),
        ({"fps": 2, "frames": 4}, "fps and frames"),
        ({"frames": 4, "all_frames": True}, "frames and all_frames"),
        ({"fps": 0}, "fps=0 is not above 0"),
        ({"fps": float("nan")}, "finite"),
        ({"fps": "2"}, "fps='2'"),
        ({"frames": 2.5}, "frames=2.5"),
        ({"frames": True}, "frames=True"),
        ({"timestamps": ()}, "empty"),
        ({"timestamps": (1.0,), "start": 0.5}, "beside timestamps"),
        ({"frames": 4, "max_frames": 8}, "bound fps"),
        ({"fps": 2, "min_frames": 8, "max_frames": 4}, "min_frames=8 > max_frames=4"),
        ({"fps": 2, "start": 3, "end": 3}, "not before"),
        ({"fps": 2, "rounding": "nearest"}, "allowed: qwen, time"),
        ({"fps": 2, "frame_factor": 0}, "frame_factor=0"),
    ],
)
def test_contradictions_are_refused_in_words(settings, words):
    with pytest.raises(VideoError, match="bad_spec") as caught:
        Sampling(**settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_budget_needs_the_policys_factor():
    with pytest.raises(TypeError):
        Budget()
    with pytest.raises(VideoError, match="patch size times its merge size"):
        Budget(None)
    with pytest.raises(VideoError, match="min_pixels=10 > max_pixels=5"):
        Budget(28, 10, 5)
    with pytest.raises(VideoError, match="allowed: refuse, keep"):
        VideoSpec(Sampling(fps=2), None, truncated="maybe")


def test_an_error_crosses_processes_and_names_path_and_cure():
    error = VideoError("missing", "a.mp4", "no such file", "look elsewhere")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ValueError)
    assert (again.reason, again.path, str(again)) == ("missing", "a.mp4", str(error))
    assert str(error) == "a.mp4: no such file [missing]; look elsewhere"
    with pytest.raises(KeyError, match="allowed"):
        VideoError("oops", "a.mp4", "", "")
    assert all(reason.replace("_", "").isalpha() for reason in REASONS)


def test_frames_hold_what_they_say():
    about = VideoMetadata(2.0, 2, 1.0, 4, 4, 0, "h264", "pyav", indices=(0, 1))
    pixels, times = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.float64)
    assert len(Frames(pixels, times, about)) == 2
    assert VideoMetadata.from_dict(json.loads(about.canonical_json())) == about
    with pytest.raises(TypeError, match="uint8"):
        Frames(pixels.float(), times, about)
    with pytest.raises(TypeError, match=r"float64 \[2\]"):
        Frames(pixels, times.float(), about)


def test_importing_the_package_loads_nothing_heavy():
    code = "import video, sys; print([m for m in ('torch', 'av', 'decord', 'PIL', 'mmrl') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
