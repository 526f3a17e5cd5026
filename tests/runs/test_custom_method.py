"""`examples/custom_method.py` is short, and trains by a coefficient and a controller that mmrl does not know."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

EXAMPLE = ROOT / "examples/custom_method.py"


def test_the_example_is_short():
    assert len([line for line in EXAMPLE.read_text().splitlines() if line.strip()]) < 40


@pytest.mark.slow
def test_the_example_trains_by_its_own_coefficient_and_controller(tmp_path):
    settings = ["steps=2", "prompts=2", "rollout.n=2", f"output={tmp_path}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *settings],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "custom_method/metrics.jsonl").read_text().splitlines()]
    powers = [line["control/streams.rl.coefficient.power"] for line in lines if "optim/grad_norm" in line]
    assert powers == pytest.approx([1.0, 0.9])
