"""What a saved model's folder holds: weights in the model's dtype, its source's own files, adapters that peft loads."""

import json
import os
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.policies import loading
from mmrl.policies.lora import weights_of
from mmrl.trainer import checkpoint
from tests.support.saved import opened, stirred

FAMILIES = ("qwen2_5_vl", "smolvlm", "openvla", "pi0")


def dtypes(folder):
    """Every tensor's name and dtype, over all files of a model."""
    found = {}
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_saved_in_its_own_dtype(tiny_qwen, tmp_path, family):
    policy = stirred(opened(tiny_qwen(family), family, dtype="bfloat16"))
    policy.save_pretrained(tmp_path / "model")
    float32 = opened(tiny_qwen(family), family)
    float32.save_pretrained(tmp_path / "wide")
    assert set(dtypes(tmp_path / "wide").values()) == {"F32"}
    assert set(dtypes(tmp_path / "model").values()) == {"BF16"}
    assert dtypes(tmp_path / "model").keys() == dtypes(tmp_path / "wide").keys(), "what is tied is written once"
    config = (tmp_path / "model/config.json").read_text()
    assert '"dtype": "bfloat16"' in config
    assert '"dtype": "float32"' not in config
    again = opened(tmp_path / "model", family, dtype="bfloat16")
    for (name, a, _), (_, b, _) in zip(policy.trainable(), again.trainable(), strict=True):
        assert a.dtype == torch.float32, "the masters stay as they are"
        assert torch.equal(a.to(torch.bfloat16), b.to(torch.bfloat16)), name


def source(tiny, tmp_path, family):
    """A checkpoint with a README, and files as transformers would not write them."""
    folder = tmp_path / "source"
    opened(tiny(family), family).save_pretrained(folder)
    (folder / "README.md").write_text("# A model of ours\n")
    settings = json.loads((folder / "processor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings["image_processor"]))
    (folder / "tokenizer_config.json").write_text((folder / "tokenizer_config.json").read_text() + "\n\n")
    return folder


def cached(folder, cache, name):
    """The hub's cache with a snapshot of a checkpoint: links into blobs."""
    stored = cache / f"models--{name.replace('/', '--')}"
    snapshot = stored / "snapshots" / ("0" * 40)
    for made in (stored / "blobs", stored / "refs", snapshot):
        made.mkdir(parents=True)
    (stored / "refs/main").write_text(snapshot.name)
    for number, path in enumerate(sorted(folder.iterdir())):
        (stored / "blobs" / str(number)).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")


@pytest.mark.parametrize("family", ["qwen2_5_vl", "openvla"])
def test_a_model_by_its_hub_name_keeps_its_own_files_too(tiny_qwen, tmp_path, monkeypatch, family):
    from huggingface_hub import constants

    folder = tmp_path / "source"
    opened(tiny_qwen(family), family).save_pretrained(folder)
    (folder / "README.md").write_text("# A model of ours\n")
    (folder / "LICENSE").write_text("Do as you like.\n")
    cached(folder, tmp_path / "cache", "ours/model")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    opened("ours/model", family).save_pretrained(tmp_path / "model")
    assert (tmp_path / "model/README.md").read_text() == "# A model of ours\n"
    assert (tmp_path / "model/LICENSE").read_text() == "Do as you like.\n"
    assert {path.name for path in (tmp_path / "model").iterdir()} == {path.name for path in folder.iterdir()}
    assert str(tmp_path) not in (tmp_path / "model/config.json").read_text()


@pytest.mark.parametrize("failure", [OSError("no route"), RuntimeError("proxy")])
def test_a_model_that_cannot_be_fetched_is_one_line(monkeypatch, failure):
    def fail(*arguments, **keywords):
        raise failure

    monkeypatch.setattr(loading, "_is_on_hub", lambda name: True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError, match=f"policy.path: 'ours/model' cannot be fetched: {failure}"):
        opened("ours/model", "qwen2_5_vl")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "pi0"])
def test_the_source_s_own_files_come_back_as_they_were(tiny_qwen, tmp_path, family):
    folder = source(tiny_qwen, tmp_path, family)
    policy = stirred(opened(folder, family))
    names = {path.name for path in folder.iterdir()}
    kept = {p.name: p.read_bytes() for p in folder.iterdir() if "token" in p.name or "processor" in p.name}
    kept["README.md"] = (folder / "README.md").read_bytes()
    for path in folder.iterdir():
        path.unlink()
    policy.save_pretrained(tmp_path / "model")
    assert names <= {path.name for path in (tmp_path / "model").iterdir()}
    for name, content in kept.items():
        assert (tmp_path / "model" / name).read_bytes() == content, name
    opened(tmp_path / "model", family)


def test_a_processor_that_the_recipe_changed_is_written_anew(tiny_qwen, tmp_path):
    folder = source(tiny_qwen, tmp_path, "qwen2_5_vl")
    policy = opened(folder, "qwen2_5_vl", image={"max_pixels": 3136})
    policy.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model/preprocessor_config.json").exists(), "it says another budget"
    assert (tmp_path / "model/README.md").read_text() == "# A model of ours\n"
    assert opened(tmp_path / "model", "qwen2_5_vl").processor.image_processor.size["longest_edge"] == 3136


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "pi0", "openvla_oft"])
def test_peft_loads_the_adapters_and_what_trains_beside_them(tiny_qwen, tmp_path, family):
    from peft import PeftModel

    policy = stirred(opened(tiny_qwen(family), family, lora={"rank": 2, "vision": True}))
    policy.save_adapter(tmp_path / "adapter")
    weights = {path.name for path in (tmp_path / "adapter").glob("model*.safetensors")}
    assert not weights, "its own alone"
    settings = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (settings["r"], settings["base_model_name_or_path"]) == (2, str(tiny_qwen(family)))
    plain = opened(tiny_qwen(family), family)
    wrapped = PeftModel.from_pretrained(plain.module, tmp_path / "adapter")
    trained = load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert len(trained) == sum(part != "value" for _, _, part in policy.trainable())
    merged, want = wrapped.merge_and_unload().state_dict(), dict(merged_of(policy))
    assert merged.keys() == want.keys()
    for name, value in want.items():
        assert torch.allclose(merged[name], value, atol=1e-6), name


def merged_of(policy):
    return {name: weight.value() for name, weight in weights_of(policy._model).items()}.items()


def test_peft_s_model_gives_the_policy_s_logits(tiny_qwen, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    policy = stirred(opened(tiny_qwen(), "qwen2_5_vl", lora={"rank": 4}))
    policy.save_adapter(tmp_path / "adapter")
    base = AutoModelForImageTextToText.from_pretrained(tiny_qwen(), dtype=torch.float32)
    ids = torch.arange(5, 25)[None]
    policy.module.eval()
    with torch.no_grad():
        plain = base(input_ids=ids).logits
        theirs = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()(input_ids=ids).logits
        ours = policy.module(input_ids=ids).logits
    assert torch.allclose(theirs, ours, atol=1e-5)
    assert not torch.allclose(plain, ours, atol=1e-2)


def test_adapters_of_a_policy_without_are_refused(tiny_qwen, tmp_path):
    with pytest.raises(ConfigError, match=r"policy\.lora is unset"):
        opened(tiny_qwen(), "qwen2_5_vl").save_adapter(tmp_path / "adapter")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_every_file_of_a_checkpoint_has_the_mode_of_the_umask(tmp_path, mask, mode):
    from safetensors.torch import save_file

    class Policy:
        config = SimpleNamespace(type="none")

        def save_pretrained(self, folder):
            folder.mkdir()
            save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
            os.chmod(folder / "model.safetensors", 0o600)

    before = os.umask(mask)
    try:
        final = checkpoint.save(tmp_path, 1, Policy(), {"y": torch.zeros(1)}, {})
    finally:
        os.umask(before)
    files = [path for path in final.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"model.safetensors", "trainer.safetensors", "state.json"}
    assert {path.stat().st_mode & 0o777 for path in files} == {mode}
