"""Fixtures that several test files share."""

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

PARALLEL = "PYTEST_XDIST_WORKER" in os.environ
if PARALLEL:
    # Read when torch is imported. Workers with as many threads each as there are cores take turns on them.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What imports make lives to the end: looking through it for garbage, again and again, is a fifth of all processor time.
gc.disable()

# The same examples in every run, however long each takes: what fails here fails everywhere.
settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the fast tier: all that is not slow.

    Side by side, the minutes of the learning runs go first: last, one worker would end long after the other.
    """
    for item in items:
        if item.get_closest_marker("slow") is None:
            item.add_marker("fast")
    if PARALLEL:
        items.sort(key=lambda item: item.path.parent.name != "learning")


def pytest_collection_finish() -> None:
    """All that collecting the tests has made is left out of garbage collection, which begins here."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.fixture(autouse=True)
def alike_in_every_run(monkeypatch) -> None:
    """Torch draws the same whichever tests ran before, and a stalled machine ends no reward's worker."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
    if pool := sys.modules.get("vision_rewards.pool"):
        monkeypatch.setattr(pool, "CLOCK_FACTOR", 60.0)


@pytest.fixture(autouse=True)
def short_configs() -> None:
    """Transformers formats each config that it reads, for messages that nobody sees: a fifth of a tiny run."""
    if transformers := sys.modules.get("transformers.configuration_utils"):
        transformers.PreTrainedConfig.__repr__ = object.__repr__


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory) -> Callable[..., Path]:
    """`tiny_qwen(family="qwen2_5_vl", seed=0, **size)`: the folder of a tiny checkpoint, written once per session."""
    written: dict[Any, Path] = {}

    def folder(family: str = "qwen2_5_vl", seed: int = 0, **size: int) -> Path:
        from mmrl.policies.tiny import write_tiny

        key = (family, seed, tuple(sorted(size.items())))
        if key not in written:
            written[key] = write_tiny(family, tmp_path_factory.mktemp(family), seed=seed, size=size)
        return written[key]

    return folder


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def tiny_recipe(tiny_qwen) -> dict[str, Any]:
    """A recipe as a mapping: two RL steps of a tiny model on digits."""
    return {
        "name": "small",
        "threads": 1,
        "policy": {"path": str(tiny_qwen())},
        "data": {
            "train": [{"type": "digits", "size": 16, "tasks": ["classification"]}],
            "eval": [{"type": "digits", "size": 4, "split": "test", "tasks": ["classification"]}],
        },
        "method": "grpo",
        "steps": 2,
        "prompts": 2,
        "demonstrations": 2,
        "rollout": {"n": 2, "max_new_tokens": 6},
        "evaluation": {"sampling": {"temperature": 0.0, "max_new_tokens": 6}},
        "tracking": {"console": "none", "tensorboard": False},
    }


@pytest.fixture
def recipe_file(workplace, tiny_recipe) -> Path:
    """That recipe as a file in an otherwise empty working folder."""
    path = workplace / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe))
    return path


@pytest.fixture(scope="session")
def maniskill() -> None:
    """Skips where ManiSkill cannot run."""
    from tests.support.simulators import skip_without

    skip_without("mani_skill")


@pytest.fixture(scope="session")
def libero() -> Path:
    """LIBERO's assets beside the checkout; skips where LIBERO cannot run."""
    from tests.support.media import SHARED
    from tests.support.simulators import skip_without

    skip_without("libero")
    assets = SHARED / "libero_assets"
    if not assets.is_dir():
        pytest.skip(f"no LIBERO assets at {assets}")
    return assets
