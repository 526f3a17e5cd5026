"""A key of another suite's recipe is refused with its name here."""

import pytest

from mmrl import load_recipe
from mmrl.contracts.errors import ConfigError
from mmrl.recipe.advantages import Standard
from mmrl.recipe.choosing import has_key
from mmrl.recipe.coefficients import PPOClip
from mmrl.recipe.engines import HFSettings
from mmrl.recipe.foreign import NAMES
from mmrl.recipe.policies.registry import settings_model
from mmrl.recipe.schema import Recipe
from mmrl.recipe.training import StageConfig
from tests.support.paths import ROOT

# Settings whose model a name in them chooses.
CHOSEN = {
    "policy.": settings_model("qwen_vl"),
    "engine.": HFSettings,
    "objective.streams.rl.coefficient.": PPOClip,
    "objective.advantage.": Standard,
}
QUICKSTART = ROOT / "configs" / "quickstart.yaml"


@pytest.mark.parametrize(
    ("override", "ours"),
    [
        ("learning_rate=1e-5", "optim.lr"),
        ("optim.learning_rate=1e-5", "optim.lr"),
        ("stages.0.learning_rate=1e-5", "optim.lr"),
        ("optim.epsilon=1e-8", "optim.eps"),
        ("epsilon=0.2", "objective.streams.rl.coefficient.low"),
        ("policy.lora.r=8", "policy.lora.rank"),
        ("lora_r=8", "policy.lora.rank"),
        ("policy.lora.lora_alpha=8", "policy.lora.alpha"),
        ("batch_size=8", "prompts"),
        ("num_generations=8", "rollout.n"),
        ("rollout.num_generations=8", "rollout.n"),
        ("rollout.max_completion_length=8", "rollout.max_new_tokens"),
        ("evaluation.max_new_tokens=8", "evaluation.sampling.max_new_tokens"),
        ("max_prompt_length=8", "policy.max_prompt_tokens"),
        ("beta=0.04", "objective.kl.weight"),
        ("kl_coef=0.04", "objective.kl.weight"),
        ("objective.kl.coef=0.04", "objective.kl.weight"),
        ("policy.bf16=true", "policy.dtype"),
        ("num_train_epochs=3", "steps"),
        ("output_dir=x", "output"),
    ],
)
def test_a_key_of_another_suite_is_refused_with_its_name_here(override, ours):
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"unknown key '{key.rpartition('.')[2]}'\. It is {ours} here\. Allowed: "):
        load_recipe(QUICKSTART, [override])


def test_a_misspelling_of_a_neighbour_goes_before_another_suites_word():
    with pytest.raises(ConfigError, match=r"unknown key 'beta'\. Did you mean 'betas'\?"):
        load_recipe(QUICKSTART, ["optim.beta=[0.9, 0.9]"])


@pytest.mark.parametrize("ours", NAMES)
def test_every_name_here_is_a_key(ours):
    prefix = next((prefix for prefix in CHOSEN if ours.startswith(prefix)), "")
    path = [part for part in ours.removeprefix(prefix).split(".") if part != "rl"]
    models = [CHOSEN[prefix]] if prefix else [Recipe, StageConfig]
    assert any(has_key(model, path) for model in models)
