"""A dataset's settings that nothing reads where they stand are refused when the recipe is read."""

import pytest
import yaml

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.reading import to_yaml
from mmrl.recipe.schema import load_recipe

DIGITS = {"type": "digits"}
EPISODES = {"type": "episodes", "simulator": "table"}
HELD_OUT = {**EPISODES, "first": 5000}


def recipe(train=DIGITS, held_out=DIGITS):
    return {
        "name": "x",
        "policy": {"path": "anywhere", "action_bins": 5},
        "simulators": {"table": {"type": "tabletop"}},
        "data": {"train": [train], "eval": [held_out]},
        "method": "grpo",
        "steps": 1,
    }


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            recipe(held_out={**DIGITS, "weight": 2.0}),
            "data.eval.0.weight: 2.0 is not read here: a held-out set is read",
        ),
        (recipe(held_out={**DIGITS, "use": "rollouts"}), 'data.eval.0.use: "rollouts" is not read here'),
        (recipe(held_out={**HELD_OUT, "expert_noise": 0.5}), "data.eval.0.expert_noise: 0.5 is not read here"),
        (recipe({**DIGITS, "control": True}), "data.train.0.control: true is not read here"),
        (recipe({**EPISODES, "seen": True}, HELD_OUT), "data.train.0.seen: true is not read here"),
        (
            recipe({**DIGITS, "video": {"fps": 1}}),
            "data.train.0.video: is not read: type 'digits' holds pictures alone",
        ),
        (
            recipe(held_out={"type": "video_digits", "image": {"max_pixels": 784}}),
            "data.eval.0.image: is not read: type 'video_digits' holds videos alone",
        ),
        (recipe({**EPISODES, "video": {"fps": 1}}, HELD_OUT), "data.train.0.video: is not read: type 'episodes'"),
    ],
)
def test_a_key_that_is_not_read_is_refused(raw, said):
    with pytest.raises(ConfigError) as caught:
        load_recipe(raw)
    assert said in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_keys_that_are_read_stay_and_a_resolved_recipe_reruns():
    raw = recipe({**DIGITS, "weight": 2.0, "use": "rollouts"}, {**DIGITS, "control": True, "name": "aside"})
    read = load_recipe(raw)
    assert load_recipe(yaml.safe_load(to_yaml(read))) == read
    load_recipe(recipe(EPISODES, {**EPISODES, "seen": True}))
