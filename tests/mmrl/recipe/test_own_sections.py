"""Stages with sections of their own, and rounds of stages, as a recipe is read."""

from pathlib import Path

import pytest
import yaml

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.beginnings import needed_later, opened_at, policy_in
from mmrl.recipe.reading import to_yaml
from mmrl.recipe.schema import load_recipe

DIGITS = {"type": "digits", "size": 16}
TEST = {"type": "digits", "split": "test", "size": 4}


def program(*stages, **settings):
    recipe = {"name": "program", "policy": {"path": "quickstart"}, "data": {"train": [DIGITS], "eval": [TEST]}}
    return {**recipe, "stages": list(stages), **settings}


def stage(name, method="grpo", **own):
    return {"name": name, "method": method, "steps": 2, **own}


OWN = {
    "data": {"train": [{**DIGITS, "tasks": ["ocr"]}]},
    "rewards": [{"name": "ocr"}],
    "evaluation": {"limit": 3, "every": 1},
    "checkpoint": {"best": "ocr"},
    "engine": {"batch_size": 7},
}


def test_a_stage_s_own_sections_are_merged_over_the_recipe_s():
    settings = {"evaluation": {"batch_size": 5}, "checkpoint": {"keep": 4}, "engine": {"seeds": "request"}}
    recipe = load_recipe(program(stage("plain", "sft"), stage("own", **OWN), **settings))
    plain, own = (recipe.of(each) for each in recipe.stages)
    assert plain is recipe
    assert [dataset.tasks for dataset in own.data.train] == [["ocr"]]
    assert own.data.eval == recipe.data.eval
    assert [reward.name for reward in own.rewards] == ["ocr"]
    assert (own.evaluation.limit, own.evaluation.batch_size) == (3, 5)
    assert (own.checkpoint.best, own.checkpoint.keep) == ("ocr", 4)
    assert (own.engine.name, own.engine.batch_size, own.engine.seeds) == ("hf", 7, "request")


def test_the_record_reads_as_the_recipe_and_holds_no_empty_section():
    recipe = load_recipe(program(stage("plain", "sft"), stage("own", **OWN)))
    written = yaml.safe_load(to_yaml(recipe))
    assert not {"data", "rewards", "evaluation", "checkpoint", "engine", "round"} & written["stages"][0].keys()
    assert load_recipe(written).model_dump() == recipe.model_dump()


def test_stages_of_equal_sections_are_one_part():
    recipe = load_recipe(program(stage("a"), stage("b", **OWN), stage("c"), stage("d", **OWN)))
    assert [[each.name for each in part.stages] for part in recipe.apart()] == [["a", "c"], ["b", "d"]]


def test_the_recipe_needs_no_data_where_every_stage_has_its_own():
    raw = program(stage("a", data={"train": [DIGITS]}))
    del raw["data"]
    assert load_recipe(raw).of(load_recipe(raw).stages[0]).data.train[0].size == 16
    raw["stages"].append(stage("b"))
    with pytest.raises(ConfigError, match="data: this key is required"):
        load_recipe(raw)


def test_a_stage_of_questions_in_a_recipe_of_episodes_is_rewarded_by_task():
    raw = program(stage("a", data={"train": [DIGITS]}))
    del raw["data"]
    assert [reward.name for reward in load_recipe(raw).stages[0].rewards] == ["route"]


def test_rounds_repeat_their_stages():
    rounds = {"rounds": 2, "stages": [stage("sft", "sft"), {"rounds": 2, "stages": [stage("rl")]}]}
    recipe = load_recipe(program(stage("warm", "sft"), rounds, stage("end")))
    names = ["warm", "sft_1", "rl_1_1", "rl_2_1", "sft_2", "rl_1_2", "rl_2_2", "end"]
    assert [each.name for each in recipe.stages] == names
    assert [each.round for each in recipe.stages] == [None, 1, 1, 1, 2, 2, 2, None]
    assert load_recipe(yaml.safe_load(to_yaml(recipe))).model_dump() == recipe.model_dump()


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{"rounds": 0, "stages": [stage("a")]}], "stages.0.rounds: 0 rounds would never end"),
        ([{"rounds": None, "stages": [stage("a")]}], "stages.0.rounds: None rounds would never end"),
        ([{"rounds": "forever", "stages": [stage("a")]}], "stages.0.rounds: 'forever' rounds would never end"),
        ([{"rounds": 2, "stages": []}], "stages.0.stages: rounds need at least one stage"),
        ([{"rounds": 2}], "stages.0.stages: a list of mappings is needed"),
        ([{"rounds": 2, "steps": 3, "stages": [stage("a")]}], "stages.0.steps: unknown key 'steps' beside rounds"),
        ([{"rounds": 9999, "stages": [stage("a")]}], "stages.0.rounds: 9999 rounds make more than 1000 stages"),
        ([stage("a"), {"rounds": 2, "stages": [stage("b", prompt=3)]}], "stages.1.stages.0.prompt: unknown key"),
        ([stage("a", data={"trian": []})], "stages.0.data.trian: unknown key 'trian'. Did you mean 'train'?"),
        ([stage("a", checkpoint={"keep": 3})], "stages.0.checkpoint.keep: unknown key 'keep'"),
        ([stage("a", engine={"name": "flow"})], "stages.a: engine.name: 'flow' does not sample"),
        (
            [stage("a", data={"train": [{"type": "episodes", "simulator": "t"}]})],
            "stages.a: policy.action_bins is unset",
        ),
        ([stage("a", policy={"frezee": []})], "stages.0.policy.frezee: unknown key 'frezee'. Did you mean 'freeze'?"),
        ([stage("a", policy={"freeze": ["eyes"]})], "stages.a: policy.freeze: unknown part of qwen_vl 'eyes'"),
        (
            [stage("a", policy={"freeze": ["vision"], "lora": {}})],
            "stages.0.policy: freeze has no effect beside lora",
        ),
        ([stage("a", **{"from": "b"}), stage("b")], "stages.a.from: stage 'b' has not trained before this one"),
        ([stage("warm"), stage("b", **{"from": "wram"})], "stages.b.from: unknown stage or folder 'wram'"),
        ([stage("a", **{"from": {"x/y": 0.5, "x/z": 0.3}})], "stages.0.from: weights sum to 0.8"),
        ([stage("a", **{"from": ["x/y", "x/y"]})], "stages.0.from: 'x/y' stands there twice"),
        ([stage("a", **{"from": []})], "stages.0.from: names nothing to start from"),
        ([{"name": "g", "generate": {}, "from": "x/y"}], "stages.0: from: a stage that generates trains nothing"),
        ([stage("a", simulators={})], "stages.0.simulators: unknown key 'simulators'"),
        ([stage("a", rewards=[])], "stages.a: rewards: at least one is needed"),
    ],
)
def test_what_no_stage_can_take_is_refused(stages, said):
    with pytest.raises(ConfigError) as error:
        load_recipe(program(*stages))
    assert str(error.value).startswith(said)


def test_an_override_that_every_stage_hides_is_refused():
    raw = program(stage("a", data={"train": [DIGITS]}), {"rounds": 2, "stages": [stage("b", data={"train": [DIGITS]})]})
    with pytest.raises(ConfigError, match=r"every stage sets data\.train\.0\.size"):
        load_recipe(raw, ["data.train.0.size=3"])
    assert load_recipe(raw, ["data.eval.0.size=3"]).stages[0].data.eval[0].size == 3
    assert load_recipe(raw, ["stages.1.stages.0.steps=9"]).stages[2].steps == 9


def test_a_key_that_stages_inherit_is_named_once_where_it_stands():
    with pytest.raises(ConfigError) as error:
        load_recipe(program(stage("a", **OWN), stage("b", **OWN), evaluation={"limt": 3}))
    assert str(error.value).startswith("evaluation.limt: unknown key 'limt'")
    assert len(str(error.value).splitlines()) == 1


def test_a_stage_says_what_trains_in_it_and_what_it_starts_from():
    frozen = {"path": "quickstart", "freeze": ["vision"]}
    lora = {"freeze": [], "lora": {"rank": 4}}
    make = {"name": "make", "generate": {}}
    inner = [stage("b", policy=lora), stage("c", **{"from": ["a", "b"]})]
    recipe = load_recipe(program(stage("a"), make, {"rounds": 2, "stages": inner}, policy=frozen))
    trains = [(part.freeze, part.lora and part.lora.rank) for part in (recipe.of(s).policy for s in recipe.stages)]
    assert trains[0] == trains[1] == trains[3] == (["vision"], None)
    assert trains[2] == trains[4] == ([], 4)
    assert recipe.stages[5].origin == {"a": 0.5, "b_2": 0.5}
    assert [opened_at(recipe, i) for i in range(6)] == [None, None, 2, 3, 4, 5]
    assert needed_later(recipe, 4) == {"a", "b_2"}
    assert load_recipe(yaml.safe_load(to_yaml(recipe))).model_dump() == recipe.model_dump()
    assert policy_in(recipe, 4, Path("runs/x")).path == "runs/x/stages/b_2/model"
