"""examples/plugin: a package of its own that adds one part of each kind, installed beside mmrl and used by one run."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mmrl.recipe.registries import REGISTRIES
from tests.support.paths import ROOT

PLUGIN = ROOT / "examples" / "plugin"
DECLARED = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """What a process sees where the package is installed. pip writes beside what it builds, so that is a copy."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(PLUGIN, folder / "source")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    target = ["--target", str(folder / "site"), str(folder / "source")]
    subprocess.run([sys.executable, *install, *target], check=True, timeout=600)
    path = os.pathsep.join([str(ROOT), str(folder / "site")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def mmrl(environment, *argv: str, folder: Path = ROOT) -> str:
    command = [sys.executable, "-m", "mmrl", *argv]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_adds_one_part_of_every_kind():
    assert {group.removeprefix("mmrl.") for group in DECLARED} == REGISTRIES.keys()
    assert all(len(parts) == 1 for parts in DECLARED.values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(REGISTRIES))
def test_an_installed_part_is_listed_with_its_package(environment, kind):
    (name,) = DECLARED[f"mmrl.{kind}"]
    lines = mmrl(environment, "list", kind).splitlines()
    (line,) = [line for line in lines if line.split()[0] == name]
    assert line.endswith("[mmrl-example]")


@pytest.mark.slow
def test_one_run_uses_every_part(environment, tmp_path):
    shutil.copy(PLUGIN / "questions.jsonl", tmp_path)
    text = (PLUGIN / "recipe.yaml").read_text()
    for parts in DECLARED.values():
        (name,) = parts
        # The format makes samples of the source's kind.
        assert name in text or name == "example_first_line", f"the recipe does not use {name}"
    settings = [f"output={tmp_path}", "tracking.console=none"]
    mmrl(environment, "train", str(PLUGIN / "recipe.yaml"), *settings, folder=tmp_path)
    run = tmp_path / "plugin"
    final = json.loads((run / "summary.json").read_text())["final"]
    assert 0.0 <= final["example_parity/score"] <= 1.0
    lines = (run / "lines.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]
    rollouts = [json.loads(line) for path in sorted((run / "rollouts").glob("*.jsonl")) for line in path.open()]
    assert any("example_brevity" in rollout["parts"] for rollout in rollouts)
