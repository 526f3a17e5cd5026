"""How a run starts: one process, its first line, and the dtype of its device."""

import re
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from mmrl import evaluate, load_recipe
from mmrl.cli import main
from mmrl.contracts.errors import UserError
from mmrl.policies.loading import resolve_dtype
from mmrl.recipe.policies.registry import policy_settings
from mmrl.setup import with_dtype


@pytest.mark.parametrize("command", ["train --dry-run", "eval", "generate"])
def test_one_of_several_processes_is_refused_in_a_line(command, capsys, monkeypatch, recipe_file, workplace):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*command.split(), str(recipe_file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mmrl: error: WORLD_SIZE is 2: only train shares its work among processes")
    assert not (workplace / "runs").exists()


def test_benchmarks_are_refused_in_one_of_several_processes_too(capsys, monkeypatch, workplace):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["eval", "--model", "m", "--tasks", "digits"]) == 2
    assert "WORLD_SIZE is 2: only train shares its work among processes" in capsys.readouterr().err
    with pytest.raises(UserError, match="WORLD_SIZE is 2"):
        evaluate(model="m", tasks=["digits"])
    assert not any(workplace.iterdir())


def test_a_recipe_is_read_and_said_without_torch(recipe_file):
    code = (
        "import sys\n"
        "from mmrl.commands.train import reading_line\n"
        "from mmrl.recipe.schema import load_recipe\n"
        f"print(reading_line(load_recipe({str(recipe_file)!r}, [])))\n"
        "assert not {'torch', 'transformers', 'peft', 'PIL'} & sys.modules.keys(), sorted(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("small: opening qwen_vl"), done.stderr
    assert done.returncode == 0, done.stderr


def test_first_line_says_what_trains_on_what_and_the_dtype_is_recorded(
    capsys, monkeypatch, recipe_file, workplace, tiny_qwen
):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert main(["train", str(recipe_file), "tracking.console=plain", "steps=1", "policy.lora.rank=2"]) == 0
    reading, first = capsys.readouterr().out.splitlines()[:2]
    assert reading == f"small: opening qwen_vl '{tiny_qwen()}'; steps of stages: grpo (grpo) 1"
    told = re.fullmatch(
        rf"qwen_vl '{re.escape(str(tiny_qwen()))}' on cpu in float32; ([\d,]+) of ([\d,]+) parameters train; "
        r"rows: digits 16; folder runs/small",
        first,
    )
    trained, of_all = (int(count.replace(",", "")) for count in told.groups())
    assert of_all - trained == sum(value.numel() for value in load_file(tiny_qwen() / "model.safetensors").values())
    assert 0 < trained < of_all / 10
    recorded = yaml.safe_load((workplace / "runs" / "small" / "config.yaml").read_text())
    assert recorded["policy"]["dtype"] == "float32"


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({}, "bfloat16"),
        ({"device": "cpu"}, "float32"),
        ({"dtype": "float32"}, "float32"),
        ({"device": "cpu", "dtype": "bfloat16"}, "bfloat16"),
    ],
)
def test_dtype_is_that_of_the_device_unless_it_is_given(settings, dtype, monkeypatch, tiny_recipe):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_dtype(policy_settings(path="x", **settings)).dtype == dtype
    recipe = load_recipe({**tiny_recipe, "policy": {"path": "x", **settings}})
    assert with_dtype(recipe).policy.dtype == dtype
