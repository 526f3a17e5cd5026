"""What a recipe may say of the engine `vllm`, and what it says where vLLM is not there."""

import pytest

from mmrl.contracts.errors import ConfigError, UserError
from mmrl.recipe import vllm_engine
from mmrl.recipe.schema import load_recipe
from mmrl.recipe.vllm_engine import VLLMSettings


def recipe(**changes):
    return load_recipe(
        {
            "name": "small",
            "policy": {"path": "quickstart"},
            "data": {"train": [{"type": "digits", "size": 4, "tasks": ["classification"]}]},
            "method": "grpo",
            "steps": 1,
            "prompts": 2,
            "engine": {"name": "vllm"},
            **changes,
        }
    )


def test_it_is_chosen_by_name_with_settings_of_its_own():
    engine = recipe(engine={"name": "vllm", "max_length": 512, "probe": {"shows": ["text"], "bound": 0.01}}).engine
    assert isinstance(engine, VLLMSettings)
    assert (engine.max_length, engine.probe.shows, engine.probe.bound_of("bfloat16")) == (512, ["text"], 0.01)
    assert VLLMSettings().probe.bound_of("float32") < VLLMSettings().probe.bound_of("bfloat16")


def test_keys_of_other_engines_are_refused():
    with pytest.raises(ConfigError, match=r"engine\.seeds: unknown key 'seeds'. engine\.name hf reads it"):
        recipe(engine={"name": "vllm", "seeds": "request"})
    with pytest.raises(ConfigError, match=r"engine\.cache_gb: unknown key 'cache_gb'. engine\.name vllm reads it"):
        recipe(engine={"name": "hf", "cache_gb": 2})


@pytest.mark.parametrize(("key", "value"), [("top_p", 0.9), ("top_k", 5), ("min_p", 0.1)])
def test_truncated_rollouts_are_refused(key, value):
    with pytest.raises(ConfigError, match=rf"stages\.\w+\.rollout\.{key}: {value} truncates"):
        recipe(rollout={key: value})
    recipe(rollout={key: value}, engine={"name": "hf"})


def test_policies_that_it_does_not_sample_are_refused():
    with pytest.raises(ConfigError, match=r"'vllm' does not sample policy\.type 'smolvlm'\. Allowed: hf"):
        recipe(policy={"type": "smolvlm", "path": "x"})


@pytest.mark.parametrize("version", ["0.27.1", "0.33.0", "1.0", "0.9.2"])
def test_other_releases_are_refused_with_the_command_that_installs_one(monkeypatch, version):
    monkeypatch.setattr(vllm_engine, "installed_version", lambda: version)
    with pytest.raises(UserError, match=rf"vllm {version} is installed, and >=0\.28,<0\.33 .* pip install 'vllm>=0"):
        VLLMSettings().check_installed()


@pytest.mark.parametrize("version", ["0.28.0", "0.32.0", "0.32.1rc2+cpu"])
def test_known_releases_are_taken(monkeypatch, version):
    monkeypatch.setattr(vllm_engine, "installed_version", lambda: version)
    VLLMSettings().check_installed()


def test_without_vllm_a_run_ends_before_it_loads_anything(monkeypatch):
    from mmrl.run import measure

    monkeypatch.setattr(vllm_engine, "installed_version", lambda: None)
    with pytest.raises(UserError, match=r"^engine\.name: 'vllm' is not installed; pip install 'vllm>=0\.28,<0\.33'"):
        measure(recipe(policy={"path": "/nowhere"}))
