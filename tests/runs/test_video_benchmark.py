"""The video cache's benchmark runs and prints what it promises. Speeds are never compared here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.mark.slow
def test_video_cache_prints_its_result(tmp_path: Path) -> None:
    """A smoke run ends with the JSON line; sizes, which do not depend on the machine, are as promised."""
    pytest.importorskip("av")
    command = [sys.executable, "-m", "benchmarks.video_cache", "--small", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {"name", "value", "unit", "higher_is_better", "details"}
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
