"""Where the checkout is, and the real inputs beside it that some tests read."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
