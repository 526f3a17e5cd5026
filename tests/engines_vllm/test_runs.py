"""A whole run samples with vLLM, proves every hand-over, and leaves a checkpoint where one fails."""

import json

import pytest

from mmrl import train
from mmrl.cli import main
from mmrl.contracts.errors import EngineError
from mmrl.engines.vllm.core import Core

ENGINE = {"name": "vllm", "cache_gb": 1, "max_length": 1024, "probe": {"shows": ["text", "image"]}}


def test_a_run_is_proved_at_each_step_and_a_failed_hand_over_leaves_a_checkpoint(workplace, tiny_recipe, monkeypatch):
    recipe = {**tiny_recipe, "engine": ENGINE, "steps": 3, "optim": {"lr": 1e-3}}
    outcome = train(recipe)
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "time/sync" in line]
    assert len(steps) == 3
    assert all(line["time/sync"] > 0 and line["gap/log_prob_max"] < 1e-4 for line in steps)
    assert all(line["gap/probe_text"] < 1e-4 and line["gap/probe_image"] < 1e-4 for line in steps)
    assert "gap/probe_video" not in steps[0]

    receive = Core.receive
    monkeypatch.setattr(
        Core, "receive", lambda core, weights, version: receive(core, iter(()) if version == 2 else weights, version)
    )
    # Demonstrations change the weights in every step, whatever is sampled.
    recipe = {
        **recipe,
        "name": "stopped",
        "method": "sft",
        "optim": {"lr": 1e-2},
        "engine": {**ENGINE, "probe": {"shows": ["text"], "bound": 1e-5}},
    }
    with pytest.raises(EngineError, match="scores its own samples at version 2 otherwise than the trainer does"):
        train(recipe)
    assert (workplace / "runs/stopped/checkpoints/step_000002/state.json").is_file()
    monkeypatch.undo()
    assert train({**recipe, "resume": "auto"}).summary["final"]


def test_a_dry_run_and_a_table_of_gaps(recipe_file, tiny_qwen, capsys):
    engine = ["engine.name=vllm", "engine.cache_gb=1", "engine.max_length=1024"]
    assert main(["train", str(recipe_file), "--dry-run", *engine]) == 0
    assert "seen in train.0: trainer: right -" in capsys.readouterr().out
    assert main(["gap", str(tiny_qwen()), "--engine", "hf", "--engine", "vllm", "--dtype", "float32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["hf", "vllm"]
    assert all(float(gap) < 1e-4 for line in lines[-2:] for gap in line.split()[2:])
