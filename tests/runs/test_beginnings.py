"""Stages that train other parts than the stage before, or start from other weights."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from mmrl import train
from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.policies.opening import load_policy
from mmrl.recipe.schema import load_recipe
from tests.support.runs import assert_same_run, recipe

STAGES = [
    {"name": "all", "method": "sft", "steps": 1},
    {"name": "adapters", "method": "sft", "steps": 2, "policy": {"freeze": [], "lora": {"rank": 2}}},
    {
        "name": "mean",
        "method": "sft",
        "steps": 1,
        "from": {"all": 0.25, "adapters": 0.75},
        "policy": {"freeze": ["vision"]},
    },
]


def program(model, output, **settings):
    raw = recipe(model, output, **{"stages": STAGES, "evaluation": {"every": None}, "resume": "auto", **settings})
    return {key: value for key, value in raw.items() if key not in ("method", "steps")}


def weights(folder):
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def changed(before, after):
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.slow
def test_stages_train_what_they_say_and_go_on_exactly_inside_of_each(tiny_qwen, tmp_path):
    raw = program(tiny_qwen(), tmp_path, checkpoint={"every": 1, "keep": 3, "best": None})
    folder = train(raw).folder
    # Three are kept, and the first one too, which a later stage starts from.
    steps = {step: folder / "checkpoints" / f"step_{step:06d}" for step in range(1, 5)}
    after_all, after_mean = weights(steps[1] / "model"), weights(steps[4] / "model")
    # The base of adapters is what the stage before left.
    assert not changed(after_all, weights(folder / "stages" / "adapters" / "model"))
    assert [path.name for path in sorted(steps[3].iterdir())] == ["adapter", "state.json", "trainer.safetensors"]
    config = load_recipe(raw).policy.model_copy(update={"path": str(steps[3])})
    load_policy(config).save_pretrained(tmp_path / "adapted")
    adapted = weights(tmp_path / "adapted")
    begun = weights(folder / "stages" / "mean" / "model")
    for name, value in begun.items():
        torch.testing.assert_close(value, 0.25 * after_all[name] + 0.75 * adapted[name])
    moved = changed(begun, after_mean)
    assert moved
    assert not any("visual.blocks" in name for name in moved)
    page = (folder / "report.html").read_text()
    assert all(said in page for said in ("Stages that start anew", "0.25 × all", "rank 2", "<td>vision</td>"))
    whole = folder.with_name("whole")
    folder.rename(whole)
    # Inside of the stage with adapters; the one after it begins again.
    shutil.copytree(whole, folder)
    for step in (3, 4):
        shutil.rmtree(folder / "checkpoints" / f"step_{step:06d}")
    shutil.rmtree(folder / "stages" / "mean")
    train(raw)
    assert_same_run(whole, folder)


@pytest.mark.slow
def test_a_stage_starts_from_another_run_as_a_run_of_that_model_does(tiny_qwen, tmp_path):
    model = tiny_qwen()
    plain = [{"name": "one", "method": "sft", "steps": 1}]
    first = train(program(model, tmp_path, name="first", stages=plain)).folder
    here = train(program(model, tmp_path, name="here", stages=[{**plain[0], "from": str(first)}])).folder
    raw = program(model, tmp_path, name="there", stages=plain)
    there = train({**raw, "policy": {**raw["policy"], "path": str(first)}}).folder
    assert_same_run(here, there)
    assert not changed(weights(first / "checkpoints/step_000001/model"), weights(here / "stages/one/model"))
    with pytest.raises(CheckpointError, match=r"stages\.one\.from: no checkpoint folder at 'nowhere/at all'"):
        train(program(model, tmp_path, name="lost", stages=[{**plain[0], "from": "nowhere/at all"}]))
    other = program(model, tmp_path, name="odd", stages=[{**plain[0], "from": str(tiny_qwen("qwen3_vl"))}])
    with pytest.raises(CheckpointError, match=r"stages\.one\.from: .* is of another model than policy\.path"):
        train(other)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ([{"all": 0.5}, {"adapters": 0.5}], "a list holds names alone; weights are a mapping"),
        ([["all", "adapters"]], "a list holds names alone"),
        ({"all": 0.5, "adapters": 0.6}, "weights sum to 1.1"),
        (["all", "all"], "stands there twice"),
    ],
)
@pytest.mark.parametrize("rounds", [False, True])
def test_what_a_stage_cannot_start_from_is_said(tiny_qwen, tmp_path, start, said, rounds):
    stages = [*STAGES[:2], {**STAGES[2], "from": start}]
    with pytest.raises(ConfigError, match=said):
        load_recipe(program(tiny_qwen(), tmp_path, stages=[{"rounds": 2, "stages": stages}] if rounds else stages))
