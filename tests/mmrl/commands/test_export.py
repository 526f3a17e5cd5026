"""`mmrl export`: a run's whole model, or its adapters, as its checkpoints hold them."""

import shutil

import pytest
from safetensors.torch import load_file

import mmrl
from mmrl.cli import main
from mmrl.commands.export import export
from mmrl.contracts.errors import CheckpointError, ConfigError, UserError
from mmrl.policies.opening import load_policy
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.schema import load_recipe
from mmrl.run import newest_model, policy_at, run_recipe


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_qwen):
    """Folders of three runs in bfloat16: adapters alone, at the end the model too, and full training."""
    output, made = tmp_path_factory.mktemp("runs"), {}
    lora = {"lora": {"rank": 2}}
    for name, policy, checkpoint in (
        ("lora", lora, {}),
        ("merged", lora, {"every": 1, "merged": "end"}),
        ("plain", {}, {}),
    ):
        recipe = {
            "name": name,
            "output": str(output),
            "threads": 1,
            "method": "sft",
            "steps": 2 if checkpoint else 1,
            "checkpoint": checkpoint,
            "demonstrations": 2,
            "policy": {"path": str(tiny_qwen()), "device": "cpu", "dtype": "bfloat16", **policy},
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


def reopened(folder, tmp_path):
    """The model that `policy.path: folder` opens, saved again."""
    load_policy(policy_settings(path=str(folder), device="cpu", dtype="bfloat16")).save_pretrained(tmp_path / "again")
    return tmp_path / "again"


@pytest.mark.slow
def test_both_forms_are_those_of_the_checkpoint(runs, tmp_path, capsys):
    newest = runs["lora"] / "checkpoints/step_000001"
    assert {path.name for path in newest.iterdir()} == {"adapter", "trainer.safetensors", "state.json"}
    assert not any("parameter/" in name for name in load_file(newest / "trainer.safetensors")), "adapter/ has them"
    assert main(["export", str(runs["lora"]), str(tmp_path / "model"), "--merged"]) == 0
    assert capsys.readouterr().out == f"written: {tmp_path / 'model'}\n"
    same(tmp_path / "model", reopened(runs["lora"], tmp_path))
    assert main(["export", str(runs["lora"]), str(tmp_path / "adapter"), "--adapter", "--checkpoint", str(newest)]) == 0
    same(tmp_path / "adapter", newest / "adapter")
    export(runs["plain"], tmp_path / "plain", adapter=False)
    same(tmp_path / "plain", runs["plain"] / "checkpoints/step_000001/model")
    assert not (runs["plain"] / "checkpoints/step_000001/adapter").exists()


def test_the_merged_model_is_written_at_the_end_where_it_is_asked_for(runs, tmp_path):
    first, last = sorted((runs["merged"] / "checkpoints").iterdir())
    assert not (first / "model").exists()
    export(runs["merged"], tmp_path / "model", adapter=False)
    same(tmp_path / "model", last / "model")
    same(tmp_path / "model", reopened(last / "adapter", tmp_path))


def test_a_run_is_measured_with_the_adapters_of_its_newest_checkpoint(runs):
    newest = runs["lora"] / "checkpoints/step_000001"
    assert newest_model(runs["lora"]) == newest / "adapter"
    recipe = load_recipe(run_recipe(runs["lora"]))
    for given in (newest, newest / "adapter"):
        policy = policy_at(recipe, str(given))
        assert (policy.path, policy.lora) == (str(newest / "adapter"), None)


def test_damaged_adapters_are_not_opened(runs, tmp_path):
    checkpoint = shutil.copytree(runs["lora"] / "checkpoints/step_000001", tmp_path / "step_000001")
    weights = checkpoint / "adapter/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors is not as it was written"):
        load_policy(policy_settings(path=str(checkpoint), device="cpu"))


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
