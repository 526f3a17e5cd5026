"""A folder of LoRA adapters as a checkpoint: the same policy as from the whole model that it stands for."""

import json

import pytest
import torch

from mmrl.contracts.errors import CheckpointError
from mmrl.evaluation.suite.opening import model_digest, policy_type
from mmrl.policies import adapter
from tests.support.saved import opened, stirred


def weights(policy):
    return {name: value.clone() for name, value in policy.module.state_dict().items()}


def assert_same_policy(one, other):
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        assert value.equal(theirs[name]), name


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("qwen2_5_vl", {"dtype": "bfloat16"}),
        ("qwen3_vl_moe", {}),
        ("openvla_oft", {}),
        ("pi0", {"params": {"sampler": "noise"}}),
    ],
)
def test_adapters_open_as_the_merged_model_to_the_bit(tiny_qwen, tmp_path, family, settings):
    policy = stirred(opened(tiny_qwen(family), family, lora={"rank": 2, "vision": True}, **settings))
    policy.save_adapter(tmp_path / "adapter")
    policy.save_pretrained(tmp_path / "model")
    merged, adapters = (opened(tmp_path / name, family, **settings) for name in ("model", "adapter"))
    assert_same_policy(merged, adapters)
    plain = weights(opened(tiny_qwen(family), family, **settings))
    assert not all(value.equal(plain[name]) for name, value in weights(adapters).items())
    files = {path.name for path in (tmp_path / "model").iterdir()} - {"config.json"}
    files = {name for name in files if not name.startswith("model")}
    written = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert written == files | {adapter.SETTINGS, adapter.WEIGHTS, adapter.CONFIG}


def test_the_critic_and_a_budget_of_pixels_lie_beside_the_adapters(tiny_qwen, tmp_path):
    settings = {"lora": {"rank": 2}, "value_head": {}, "image": {"max_pixels": 3136}}
    policy = stirred(opened(tiny_qwen(), "qwen2_5_vl", **settings))
    policy.save_adapter(tmp_path)
    again = opened(tmp_path, "qwen2_5_vl", value_head={})
    for name, value in policy.value_head.state_dict().items():
        assert value.equal(again.value_head.state_dict()[name])
    assert again.processor.image_processor.size["longest_edge"] == 3136
    exact = adapter.exact_parameters(tmp_path)
    trained = {name: parameter for name, parameter, _ in policy.trainable()}
    assert exact.keys() == trained.keys()
    assert all(exact[name].equal(parameter) for name, parameter in trained.items())


def test_adapters_on_adapters_open_with_both(tiny_qwen, tmp_path):
    first = stirred(opened(tiny_qwen(), "qwen2_5_vl", lora={"rank": 2}))
    first.save_adapter(tmp_path / "first")
    second = stirred(opened(tmp_path / "first", "qwen2_5_vl", lora={"rank": 4}))
    second.save_adapter(tmp_path / "second")
    second.save_pretrained(tmp_path / "model")
    assert_same_policy(*(opened(tmp_path / name, "qwen2_5_vl") for name in ("second", "model")))
    before = model_digest(tmp_path / "second")
    assert policy_type(str(tmp_path / "second")) == "qwen_vl"
    stirred(first).save_adapter(tmp_path / "first")
    assert model_digest(tmp_path / "second") != before, "its base is another"


def test_transformers_opens_a_folder_of_adapters_with_their_base(tiny_qwen, tmp_path):
    from transformers import AutoModelForImageTextToText

    policy = stirred(opened(tiny_qwen(), "qwen2_5_vl", lora={"rank": 4}))
    policy.save_adapter(tmp_path)
    ids = torch.arange(5, 25)[None]
    theirs = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    policy.module.eval()
    with torch.no_grad():
        assert torch.allclose(theirs(input_ids=ids).logits, policy.module(input_ids=ids).logits, atol=1e-5)


def test_what_cannot_be_merged_is_a_line(tiny_qwen, tmp_path):
    stirred(opened(tiny_qwen(), "qwen2_5_vl", lora={"rank": 2})).save_adapter(tmp_path)
    path = tmp_path / adapter.SETTINGS
    said = json.loads(path.read_text())

    def refused(match, **changed):
        path.write_text(json.dumps(said | changed))
        with pytest.raises(CheckpointError, match=match):
            opened(tmp_path, "qwen2_5_vl")

    refused("has use_dora True, and adapters are read that are plain LoRA; merge them", use_dora=True)
    refused(
        "holds adapters on '/gone/base', which is not there: policy.path: no ", base_model_name_or_path="/gone/base"
    )
    refused(
        "hold 'base_model.model.model.language_model.* it is another model",
        base_model_name_or_path=str(other(tmp_path)),
    )
    (tmp_path / adapter.CONFIG).unlink()
    refused("holds adapters without model_config.json; merge them into their base")


def other(tmp_path):
    from mmrl.policies.tiny import write_tiny

    return write_tiny("qwen2_5_vl", tmp_path / "other", size={"mlp": 96})
