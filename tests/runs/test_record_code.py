"""What a run used that is code, or came from Python, stands in its config.yaml; without it nothing is rerun."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from mmrl import evaluate, load_recipe, train
from mmrl.cli import main
from mmrl.contracts.errors import ConfigError
from mmrl.data.mixture import open_dataset
from mmrl.recipe.code import code_of, data_of
from mmrl.recipe.reading import to_yaml
from mmrl.recipe.record import record
from mmrl.setup import open_policy, with_params
from tests.support import runs
from tests.support.errors import refused
from tests.support.runs import assert_same_run
from vision_rewards import list_rewards

REWARD = """
def close(text, sample, base=7):
    return (sum(map(ord, text)) % base) / base
"""


def config(run):
    return yaml.safe_load((run.folder / "config.yaml").read_text())


@pytest.fixture
def raw(tiny_qwen, workplace):
    return runs.recipe(tiny_qwen("qwen2_5_vl"), workplace / "runs", steps=2)


@pytest.fixture
def rows(raw):
    made = load_recipe(raw)
    train_rows, eval_rows = (open_dataset(data[0]) for data in (made.data.train, made.data.eval))
    return {"train_data": list(train_rows), "eval_data": list(eval_rows)}


def test_a_function_by_name_is_recorded_and_told_when_it_has_changed(raw, workplace, caplog):
    (workplace / "closeness.py").write_text(REWARD)
    run = train({**raw, "rewards": [{"name": "closeness:close"}]})
    written = config(run)
    assert written["rewards"] == [{"name": "closeness:close", "weight": 1.0, "range": None, "params": {"base": 7}}]
    found = written["code"]["rewards.0.name"]
    assert (found["module"], found["name"], len(found["source"])) == ("closeness", "close", 16)
    assert not caplog.records
    before = evaluate(run.folder)
    assert not caplog.records
    (workplace / "closeness.py").write_text(REWARD + "\n\nUNUSED = 1\n")
    assert evaluate(run.folder) == before
    (said,) = caplog.messages
    assert said == "rewards.0.name: the source of closeness has changed since this recipe was recorded"
    (workplace / "closeness.py").unlink()


@pytest.mark.slow
def test_what_was_passed_from_python_is_recorded_and_needed_again(raw, rows, caplog, capsys):
    without = {key: value for key, value in raw.items() if key != "data"}
    run = train(without, reward=runs.reward, **rows)
    code = config(run)["code"]
    assert code["reward"]["module"] == "tests.support.runs"
    assert code["reward"]["name"] == "reward"
    assert (code["train_data"]["rows"], code["eval_data"]["rows"]) == (24, 4)
    again = run.folder / "config.yaml"
    with pytest.raises(ConfigError, match=r"^code.train_data: builtins:list of 24 rows came from Python when"):
        train(again, overrides=["name=again"], reward=runs.reward, eval_data=rows["eval_data"])
    for command in (["train", str(again), "name=again"], ["train", str(again), "name=again", "--dry-run"]):
        (line,) = refused(capsys, *command)
        assert line.endswith("pass it again: mmrl.train(…, train_data=…)")
    assert_same_run(run.folder, train(again, overrides=["name=again"], reward=runs.reward, **rows).folder)
    assert not caplog.records


def test_evaluation_of_such_a_run_needs_what_it_uses(raw, rows, caplog, capsys):
    run = train(raw, reward=runs.reward, **rows)
    (line,) = refused(capsys, "eval", str(run.folder))
    assert line.startswith("code.eval_data: builtins:list of 4 rows came from Python when this recipe")
    with pytest.raises(ConfigError, match=r"code.reward: tests.support.runs:reward came"):
        evaluate(run.folder, eval_data=rows["eval_data"])
    again = evaluate(run.folder, reward=runs.reward, eval_data=rows["eval_data"])
    assert again == pytest.approx(run.summary["final"], abs=0)
    assert not caplog.records
    evaluate(run.folder, reward=lambda text, sample: 0.0, eval_data=rows["eval_data"][:3])
    assert [line.partition(":")[0] for line in caplog.messages] == ["reward", "eval_data"]


def test_a_run_without_a_training_set_is_refused(raw, rows, workplace, capsys):
    without = {key: value for key, value in raw.items() if key != "data"}
    with pytest.raises(ConfigError, match=r"^data: this key is required; from Python, train_data="):
        train(without)
    with pytest.raises(ConfigError, match=r"^data.train: a dataset is needed; from Python, train_data="):
        train(without, eval_data=rows["eval_data"])


def test_rows_are_told_apart_by_their_content(rows):
    data = rows["train_data"]
    known = data_of(data)
    assert data_of(list(data)) == known
    assert data_of(tuple(data)).sample == known.sample
    assert data_of(data[:-1]).sample != known.sample
    picture = data[0].images[0].copy()
    picture.putpixel((0, 0), (1, 2, 3))
    for change in ({"task": "other"}, {"images": (picture,)}, {"state": torch.zeros(2)}):
        assert data_of([dataclasses.replace(data[0], **change), *data[1:]]).sample != known.sample, change
    states = [dataclasses.replace(data[0], state=torch.full((2,), value)) for value in (0.0, 1.0)]
    assert data_of(states[:1]).sample != data_of(states[1:]).sample


def test_code_is_that_of_the_function_or_class_behind():
    assert code_of(runs.reward).name == "reward"
    assert code_of(logging.Formatter()).name == "Formatter"
    assert code_of(logging.Formatter().format).name == "Formatter.format"
    assert code_of([]).source is None


def test_rewards_are_recorded_with_every_parameter(raw):
    made = record(load_recipe({**raw, "rewards": [{"name": "timestamp", "params": {"tolerance": 0.5}}]}))
    defaults = {name: param.default for name, param in list_rewards()["timestamp"].params.items()}
    assert defaults["tolerance"] != 0.5
    assert made.rewards[0].params == {**defaults, "tolerance": 0.5}


def test_config_prints_the_record(raw, workplace, capsys):
    (workplace / "closeness.py").write_text(REWARD)
    (workplace / "recipe.yaml").write_text(yaml.safe_dump({**raw, "rewards": [{"name": "closeness:close"}]}))
    assert main(["config", "recipe.yaml"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["code"]["rewards.0.name"]["name"] == "close"
    assert printed["rewards"][0]["params"] == {"base": 7}
    assert printed["stages"][0]["objective"]["method"] == "grpo"


def test_params_that_a_checkpoint_was_saved_with_are_recorded(tiny_qwen, workplace):
    """Before it is loaded, a recipe does not write defaults that would go before them."""
    shutil.copytree(tiny_qwen("openvla"), "model")
    saved = json.loads(Path("model/config.json").read_text())
    Path("model/config.json").write_text(json.dumps({**saved, "params": {"gripper": "zero_one_open"}}))
    made = load_recipe(
        {
            "name": "x",
            "policy": {"type": "openvla", "path": "model", "device": "cpu", "params": {"center_crop": 0.9}},
            "simulators": {"table": {"type": "tabletop"}},
            "data": {"train": [{"type": "episodes", "simulator": "table"}]},
            "method": "grpo",
            "steps": 1,
        }
    )
    assert yaml.safe_load(to_yaml(made))["policy"]["params"] == {"center_crop": 0.9}
    written = yaml.safe_load(to_yaml(with_params(made, open_policy(made, made.policy))))
    whole = {"statistics": None, "cameras": None, "center_crop": 0.9, "gripper": "zero_one_open"}
    assert written["policy"]["params"] == whole
    assert yaml.safe_load(to_yaml(load_recipe(written))) == written


PARTS = """
from mmrl.recipe.coefficients import Coefficient, CoefficientSettings
from mmrl.recipe.engines import HFSettings


class OwnSettings(HFSettings):
    adapter = "own_engine:OwnEngine"


def psi(units, settings):
    return 1.0


PSI = Coefficient(code=psi, settings=CoefficientSettings, doc="one")
"""


def test_what_runs_is_recorded_where_a_name_stands_for_its_settings(raw, workplace):
    (workplace / "own_parts.py").write_text(PARTS)
    (workplace / "own_engine.py").write_text("class OwnEngine:\n    pass\n")
    coefficient = {"streams": {"rl": {"coefficient": {"kind": "own_parts:PSI"}}}}
    made = record(load_recipe({**raw, "engine": {"name": "own_parts:OwnSettings"}, "objective": coefficient}))
    assert {place: (code.module, code.name) for place, code in made.code.items()} == {
        "engine.name": ("own_engine", "OwnEngine"),
        "rewards.0.name": ("tests.support.runs", "reward"),
        "stages.0.objective.streams.rl.coefficient.kind": ("own_parts", "psi"),
    }
