"""What a policy makes of prompts, for samplers that draw by it; recipes of a sampler that none can serve."""

import pytest
import torch

from mmrl import load_recipe
from mmrl.contracts.errors import ConfigError, UserError
from mmrl.contracts.types import Sample
from mmrl.objectives.rows import collate
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.prompt_features import PromptFeatures
from mmrl.rollouts.rewarding import Rewarder
from tests.support.policy import digits, load, sampled_rows


@pytest.mark.parametrize(("family", "kind"), [("qwen2_5_vl", "qwen_vl"), ("smolvlm", "smolvlm")])
def test_features_are_the_states_that_the_first_unit_is_predicted_from(tiny_qwen, family, kind):
    policy = load(tiny_qwen(family), type=kind)
    samples = digits(5, "ocr", "counting", "grounding")
    preparer = Preparer(policy, Rewarder([]))
    together = PromptFeatures(preparer, 10**6)(samples)
    apart = PromptFeatures(preparer, 1)(samples)
    for sample, state, alone in zip(samples, together, apart, strict=True):
        rows = sampled_rows(policy, [sample], 1)
        with torch.no_grad():
            wanted = policy.unit_states(collate(rows))[0].double().numpy()
        assert state == pytest.approx(wanted, abs=1e-5)
        assert alone == pytest.approx(wanted, abs=1e-5)
    assert abs(together[0] - together[1]).max() > 1e-3


def test_a_row_that_cannot_be_prepared_has_none_and_an_episode_is_refused(tiny_qwen):
    features = PromptFeatures(Preparer(load(tiny_qwen()), Rewarder([])), 10**6)
    missing = Sample("gone", ({"role": "user", "content": [{"type": "image"}]},), "ocr", {}, images=("nowhere.png",))
    states = features([missing, *digits(1, "ocr")])
    assert states[0] is None
    assert states[1] is not None
    with pytest.raises(UserError, match=r"data\.sampler reads prompts, and this row is an episode or holds actions"):
        features([Sample("e", (), "reach", {}, kind="episodes", episode=3)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"policy": {"type": "frame_selector", "path": "x"}},
            "which policy.type 'frame_selector' does not give; use ",
        ),
        (
            {
                "policy": {"path": "x", "action_bins": 5},
                "simulators": {"reach": {"type": "tabletop"}},
                "data": {"train": [{"type": "episodes", "simulator": "reach", "size": 8}]},
            },
            "and data.train.0 of type 'episodes' is acted in a simulator; use difficulty, or set data.train.0.use",
        ),
    ],
)
@pytest.mark.parametrize("name", ["pcl", "dots"])
def test_recipes_that_it_cannot_serve_are_refused(tiny_recipe, change, said, name):
    raw = {**tiny_recipe, **change}
    raw["data"] = {**raw["data"], "sampler": {"name": name}}
    if "simulators" not in raw:
        raw["data"]["train"] = [{"type": "video_digits", "size": 4}]
        raw["data"]["eval"] = []
    with pytest.raises(ConfigError) as error:
        load_recipe(raw)
    assert str(error.value).startswith(f"data.sampler.name: '{name}' reads the policy's hidden state of prompts, ")
    assert said in str(error.value)
