"""How many frames a file gives goes by the true times of its frames, not by what its header states."""

from fractions import Fraction

import numpy as np
import pytest

import video
from tests.support.clips import encode, scene

MILLISECONDS = Fraction(1, 1000)
EVERY_TENTH = [100 * number for number in range(60)]
# Three seconds of one frame per second, then three of ten.
SLOW_THEN_FAST = [0, 1000, 2000, *(3000 + 100 * number for number in range(30))]


@pytest.mark.parametrize("stated", [1000, 1])
def test_a_wrong_rate_in_a_header_is_not_believed(tmp_path, stated):
    pixels = scene(60, 64, 64)
    right = encode(tmp_path / "right.mp4", pixels, rate=10)
    wrong = encode(tmp_path / "wrong.mkv", pixels, rate=stated, pts=EVERY_TENTH, base=MILLISECONDS)
    import av

    with av.open(str(wrong)) as container:
        assert container.streams.video[0].average_rate == stated
    assert video.probe(wrong).fps == pytest.approx(10.0, rel=0.02)
    found, expected = (video.read_frames(path, fps=2.0) for path in (wrong, right))
    assert len(found) == len(expected) == 12
    assert found.metadata.indices == expected.metadata.indices
    assert found.metadata.sampled_fps == pytest.approx(2.0, rel=0.02)
    assert found.timestamps.tolist() == pytest.approx(expected.timestamps.tolist(), abs=1e-3)


def test_a_rate_that_is_about_right_is_the_stated_one(tmp_path):
    path = encode(tmp_path / "ntsc.mkv", scene(30, 64, 64), rate=Fraction(30000, 1001))
    assert video.probe(path).fps == pytest.approx(30000 / 1001, rel=1e-6)


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
@pytest.mark.parametrize(("start", "end"), [(0.0, 2.5), (1.0, 4.0), (3.5, 5.5)])
def test_a_clip_of_a_file_of_two_rates_shows_its_seconds(tmp_path, kind, start, end):
    path = encode(tmp_path / f"two.{kind}", scene(33, 64, 64), rate=10, pts=SLOW_THEN_FAST, base=MILLISECONDS)
    found = video.read_frames(path, fps=2.0, min_frames=2, start=start, end=end)
    times = found.timestamps.numpy()
    inside = [time / 1000 for time in SLOW_THEN_FAST if start <= time / 1000 <= end]
    assert np.all((times >= start - 1e-3) & (times <= end + 1e-3))
    assert (times[0], times[-1]) == pytest.approx((inside[0], inside[-1]), abs=1e-3)


def test_one_frame_and_short_files_give_what_they_have(tmp_path):
    one = encode(tmp_path / "one.mp4", scene(1, 64, 64))
    three = encode(tmp_path / "three.mp4", scene(3, 64, 64))
    assert video.read_frames(one, fps=2.0).metadata.indices == (0, 0)
    assert video.read_frames(one, frames=16).metadata.indices == (0, 0)
    assert video.read_frames(three, frames=16).metadata.indices == (0, 2)
