"""Modules of the working folder: found where a recipe names them, and never in place of anything else."""

import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.importing import import_named
from mmrl.recipe.working_folder import WorkingFolder, leave_path
from vision_rewards.pool import bounded, set_workers

ROOT = Path(__file__).parents[3]
RECIPE = {
    "name": "x",
    "policy": {"path": "p"},
    "data": {"train": [{"type": "digits"}]},
    "rewards": [{"name": "brevity_here:reward"}],
    "method": "grpo",
    "steps": 1,
}
SHADOWS = ("random", "yaml", "json", "torch", "pydantic", "video", "accelerate", "vision_rewards", "selectors")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder with a user's modules, and files by the names of what mmrl imports, which raise."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [each for each in sys.meta_path if not isinstance(each, WorkingFolder)])
    (tmp_path / "brevity_here.py").write_text(
        "import helper_here\n\ndef reward(completion, sample):\n    import late_here\n    return late_here.VALUE\n\n"
        "def double(value):\n    return 2 * value\n"
    )
    (tmp_path / "helper_here.py").write_text("")
    (tmp_path / "late_here.py").write_text("VALUE = 0.5\n")
    for name in ("brevity_here", "helper_here", "late_here"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name}.py of the working folder was run')\n")
    (tmp_path / "robotics").mkdir()
    (tmp_path / "robotics" / "__init__.py").write_text("raise RuntimeError('robotics was run')\n")
    return tmp_path


def test_named_module_and_what_it_imports(folder):
    reward = import_named("brevity_here:reward")
    assert reward("text", None) == 0.5
    assert str(folder) not in sys.path


def test_nothing_else_is_found(folder):
    import_named("brevity_here:reward")
    (folder / "probed_here.py").write_text("")
    assert importlib.util.find_spec("probed_here") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("probed_here")


def test_name_that_something_else_has_too(folder):
    with pytest.raises(
        ConfigError, match=r"module has no function 'f'\. It is .*/video/__init__\.py, which goes before"
    ):
        import_named("video:f")


def test_worker_process_finds_it_too(folder):
    double = import_named("brevity_here:double")
    set_workers(1)
    try:
        assert bounded(double, 21) == 42
    finally:
        set_workers(None)


def test_finder_puts_itself_in_place_when_unpickled(folder):
    import_named("brevity_here:reward")
    (finder,) = (each for each in sys.meta_path if isinstance(each, WorkingFolder))
    sent = pickle.dumps(finder)
    sys.meta_path.remove(finder)
    there = pickle.loads(sent)
    assert sys.meta_path[-1] is there
    assert there.folder == str(folder)
    assert there.found == {"brevity_here", "helper_here"}


def test_working_folder_of_a_command(folder):
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [sys.executable, "-m", "mmrl", "config", "recipe.yaml"]
    done = subprocess.run(
        command, env={**environment, "PYTHONPATH": str(ROOT)}, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "brevity_here:reward" in done.stdout


def test_the_working_folder_leaves_the_path_of_modules(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for first in ("", str(folder)):
        monkeypatch.setattr(sys, "path", [first, "/elsewhere"])
        with monkeypatch.context() as patch:
            patch.setattr(sys, "flags", SimpleNamespace(safe_path=False))
            leave_path()
        assert sys.path == ["/elsewhere"]
