"""The video cache's benchmark runs and prints what it promises. Speeds are never compared here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.benchmarks import result_of


@pytest.mark.slow
def test_video_cache_prints_its_result(tmp_path: Path) -> None:
    """A smoke run ends with the JSON line; sizes, which do not depend on the machine, are as promised."""
    pytest.importorskip("av")
    result = result_of("video_cache", "--small", "--folder", str(tmp_path))
    assert result["value"] > 0
    (video,) = result["details"]["videos"].values()
    count, channels, height, width = video["frames"]
    assert (count, channels) == (8, 3)
    assert video["bytes"]["uint8"] == count * 3 * height * width
    assert video["bytes"]["float32"] > 4 * video["bytes"]["uint8"]
    stored = video["stored"]
    assert stored["near-lossless"]["bytes"] < stored["lossless"]["bytes"] < stored["none"]["bytes"]
    assert stored["none"]["bytes"] < 1.01 * video["bytes"]["uint8"]
    assert set(result["details"]["training"]["first_batch_s"]) == {"decoded", "filling", "cached"}
    assert result["details"]["training"]["step_s"]["cached"] > 0
    assert list(tmp_path.iterdir()) == []
