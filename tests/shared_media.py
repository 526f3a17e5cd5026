"""Real images, videos and benchmark rows that lie next to the repository and are not part of it."""

from pathlib import Path

import pytest

SHARED = (Path(__file__).resolve().parents[2] / "shared").resolve()

needs_shared = pytest.mark.skipif(not (SHARED / "media").is_dir(), reason=f"no real media at {SHARED}")
