"""Real images, videos and benchmark rows that lie next to the repository and are not part of it."""

import pytest

from tests.support.paths import ROOT

SHARED = (ROOT.parent / "shared").resolve()

needs_shared = pytest.mark.skipif(not (SHARED / "media").is_dir(), reason=f"no real media at {SHARED}")
