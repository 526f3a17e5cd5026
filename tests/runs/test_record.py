"""A run's config.yaml is the whole recipe: it reruns the run, whatever has become of the tables it was made from."""

from dataclasses import replace

import pytest
import yaml

from mmrl import load_recipe, train
from mmrl.contracts.errors import ConfigError
from mmrl.recipe.methods import METHODS
from mmrl.recipe.objective import Objective
from tests.support.runs import assert_same_run, recipe


def changed(objective):
    """The same method with another baseline and coefficient, and a stream of demonstrations."""
    streams = {"rl": {"coefficient": {"kind": "one"}}, "demo": {}}
    advantage = {"baseline": "leave_one_out", "scale": "none"}
    return {**objective, "demonstrations": True, "streams": streams, "advantage": advantage}


@pytest.mark.slow
@pytest.mark.parametrize("table", ["as it was", "changed", "without the method"])
def test_the_written_config_reruns_the_run(tiny_qwen, tmp_path, monkeypatch, table):
    raw = recipe(tiny_qwen("qwen2_5_vl"), tmp_path, steps=3, objective={"kl": {"weight": 0.1}})
    first = train(raw)
    if table == "changed":
        grpo = METHODS.get("grpo")
        monkeypatch.setitem(METHODS.entries, "grpo", replace(grpo, objective=changed(grpo.objective)))
    if table == "without the method":
        monkeypatch.delitem(METHODS.entries, "grpo")
    again = train(first.folder / "config.yaml", overrides=["name=again"])
    assert_same_run(first.folder, again.folder)
    written, rewritten = (yaml.safe_load((run.folder / "config.yaml").read_text()) for run in (first, again))
    assert rewritten == {**written, "name": "again"}


def test_the_record_holds_the_whole_objective(tiny_qwen, tmp_path):
    made = load_recipe(recipe(tiny_qwen("qwen2_5_vl"), tmp_path, objective={"kl": {"weight": 0.1}}))
    objective = made.stages[0].objective
    assert isinstance(objective, Objective)
    assert objective.method == "grpo"
    assert objective.kl.weight == 0.1
    assert objective.streams["rl"].normalise == "sequence"
    assert objective.advantage.baseline == "group_mean"


def written(tiny_qwen, tmp_path, **settings):
    made = load_recipe(recipe(tiny_qwen("qwen2_5_vl"), tmp_path, **settings))
    return made.model_dump(mode="json")


def test_a_record_takes_overrides_of_its_objective(tiny_qwen, tmp_path):
    record = written(tiny_qwen, tmp_path)
    stage = load_recipe(record, ["stages.0.objective.kl.weight=0.5"]).stages[0]
    assert stage.objective.kl.weight == 0.5
    assert stage.objective.streams["rl"].normalise == "sequence"


def test_another_method_beside_a_written_objective_is_refused(tiny_qwen, tmp_path):
    record = written(tiny_qwen, tmp_path)
    with pytest.raises(ConfigError, match=r"written out for method 'grpo'; set objective: \{\} to take that of"):
        load_recipe(record, ["stages.0.method=dr_grpo"])
    taken = load_recipe(record, ["stages.0.method=dr_grpo", "stages.0.objective={}"])
    assert taken.stages[0].objective.streams["rl"].normalise == "constant"
