"""`mmrl export`: a run's whole model, or its adapters, as its checkpoints hold them."""

import pytest
from safetensors.torch import load_file

import mmrl
from mmrl.cli import main
from mmrl.commands.export import export
from mmrl.contracts.errors import CheckpointError, ConfigError, UserError


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_qwen):
    """Folders of a run under LoRA in bfloat16, and of one without."""
    output, made = tmp_path_factory.mktemp("runs"), {}
    for name, policy in (("lora", {"dtype": "bfloat16", "lora": {"rank": 2}}), ("plain", {"dtype": "bfloat16"})):
        recipe = {
            "name": name,
            "output": str(output),
            "threads": 1,
            "method": "sft",
            "steps": 1,
            "demonstrations": 2,
            "policy": {"path": str(tiny_qwen()), "device": "cpu", **policy},
            "data": {"train": [{"type": "digits", "tasks": ["ocr"], "size": 4}]},
            "tracking": {"console": "none", "tensorboard": False},
        }
        made[name] = mmrl.train(recipe).folder
    return made


def same(left, right):
    assert {p.name for p in left.iterdir()} == {p.name for p in right.iterdir()}
    for path in left.glob("*.safetensors"):
        ours, theirs = load_file(path), load_file(right / path.name)
        assert ours.keys() == theirs.keys()
        assert all(ours[name].equal(theirs[name]) for name in ours)


@pytest.mark.slow
def test_both_forms_are_those_of_the_checkpoint(runs, tmp_path, capsys):
    newest = runs["lora"] / "checkpoints/step_000001"
    assert main(["export", str(runs["lora"]), str(tmp_path / "model"), "--merged"]) == 0
    assert capsys.readouterr().out == f"written: {tmp_path / 'model'}\n"
    same(tmp_path / "model", newest / "model")
    assert main(["export", str(runs["lora"]), str(tmp_path / "adapter"), "--adapter", "--checkpoint", str(newest)]) == 0
    same(tmp_path / "adapter", newest / "adapter")
    export(runs["plain"], tmp_path / "plain", adapter=False)
    same(tmp_path / "plain", runs["plain"] / "checkpoints/step_000001/model")
    assert not (runs["plain"] / "checkpoints/step_000001/adapter").exists()


def test_what_cannot_be_exported_is_a_line(runs, tmp_path):
    with pytest.raises(ConfigError, match=r"--adapter: .* was trained without policy\.lora"):
        export(runs["plain"], tmp_path / "new", adapter=True)
    assert not (tmp_path / "new").exists()
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        export(runs["plain"], tmp_path / "used", adapter=False)
    with pytest.raises(UserError, match="no run folder at"):
        export(tmp_path / "nowhere", tmp_path / "new", adapter=False)
    with pytest.raises(CheckpointError, match="--checkpoint: no checkpoint at"):
        export(runs["plain"], tmp_path / "new", adapter=False, checkpoint=str(tmp_path))
