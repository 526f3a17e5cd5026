"""A whole run of SmolVLM: SFT and then RL, from the tiny checkpoint to one that loads in transformers."""

import pytest

import mmrl
from mmrl.cli import main
from tests.support.runs import last_checkpoint, metrics, recipe

STAGES = [
    {"name": "sft", "method": "sft", "steps": 12, "demonstrations": 8, "optim": {"lr": 3e-3}},
    {"name": "rl", "method": "grpo", "steps": 2, "prompts": 2, "optim": {"lr": 3e-4}},
]


@pytest.mark.slow
def test_sft_and_then_rl_learn_and_the_checkpoint_loads_in_transformers(workplace, capsys):
    assert main(["tiny", "smolvlm", "model"]) == 0
    raw = recipe("model", workplace, stages=STAGES, policy={"type": "smolvlm", "path": "model", "device": "cpu"})
    for key in ("method", "steps", "prompts", "demonstrations"):
        raw.pop(key)
    raw["evaluation"]["every"] = 100
    run = mmrl.train(raw)
    lines = metrics(run.folder)
    shown = [line["loss/demo"] for line in lines if "loss/demo" in line]
    assert sum(shown[-3:]) < 0.6 * sum(shown[:3])
    sampled = [line for line in lines if line["stage"] == "rl" and "gap/log_prob_max" in line]
    assert len(sampled) == 2
    assert all(line["gap/log_prob_max"] < 1e-5 and line["optim/grad_norm"] > 0 for line in sampled)
    # Not before mmrl has made torchvision importable.
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = last_checkpoint(run.folder) / "model"
    _, info = AutoModelForImageTextToText.from_pretrained(model, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    AutoProcessor.from_pretrained(model)
