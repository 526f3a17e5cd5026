"""Resuming with other settings says so, keeps every start's recipe, and adds the time of all starts up."""

import json
import signal
from dataclasses import replace

import pytest
import yaml

from mmrl import load_recipe, train
from mmrl.cli import main
from mmrl.recipe.changes import changes
from mmrl.recipe.methods import METHODS
from mmrl.tracking.starts import Start, in_force, read_starts
from mmrl.trainer import loop
from tests.support.runs import recipe


@pytest.fixture
def raw(tiny_qwen, workplace):
    made = recipe(tiny_qwen("qwen2_5_vl"), "runs", steps=4, evaluation={"limit": 1})
    tracking = {"console": "plain", "tensorboard": False}
    return {**made, "resume": "auto", "checkpoint": {"every": 1, "keep": 9}, "tracking": tracking}


@pytest.fixture
def until(monkeypatch):
    """Runs a recipe until a step (from 0) in which it gets SIGTERM; None: to its end."""
    original = loop.train_step

    def run(raw, step=None):
        def stopping(*args):
            if args[5].step == step:
                signal.raise_signal(signal.SIGTERM)
            return original(*args)

        monkeypatch.setattr(loop, "train_step", stopping)
        return train(raw)

    return run


def said(capsys):
    """Lines printed that are no step's figures and no table."""
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if line and "step " in line and not line.startswith("step ")]


@pytest.mark.slow
def test_a_changed_setting_is_said_kept_and_marked(raw, until, capsys):
    folder = until(raw, 1).folder
    assert said(capsys) == []
    first = (folder / "config.yaml").read_text()
    changed = {**raw, "optim": {**raw["optim"], "lr": 1e-3, "schedule": "constant"}, "evaluation": {"limit": 2}}
    until(changed)
    assert said(capsys) == [
        "evaluation.limit 1 -> 2 from step 2",
        "optim.lr 0.003 -> 0.001 from step 2",
        "optim.schedule cosine -> constant from step 2",
    ]
    assert (folder / "configs" / "0001.yaml").read_text() == first
    assert (folder / "configs" / "0002.yaml").read_text() == (folder / "config.yaml").read_text()
    starts = read_starts(folder)
    assert [start.step for start in starts] == [0, 2]
    assert starts[1].changes[1] == "optim.lr 0.003 -> 0.001 from step 2"
    page = (folder / "report.html").read_text()
    assert "<li>optim.lr 0.003 -&gt; 0.001 from step 2</li>" in page
    assert page.count('<g class="change">') == page.count('class="chart"')
    assert "in 2 starts" in page


@pytest.mark.slow
def test_a_schedule_that_jumps_is_said(raw, until, capsys):
    """Warm-up 2, then cosine: at 2 of 4 and at 2 of 8 the rate is at its peak; at 3 it is not."""
    until(raw, 2)
    said(capsys)
    until({**raw, "steps": 8})
    rate = [0.003 * 0.5, 0.003 * 0.5 * (1 + 3**0.5 / 2)]
    assert said(capsys) == [
        "steps 4 -> 8 from step 3",
        f"at step 3 the learning rate jumps from {rate[0]:.3g} to {rate[1]:.3g}: cosine over 4 -> cosine over 8 "
        "optimizer steps",
    ]


@pytest.mark.slow
def test_nothing_jumps_under_a_constant_rate(raw, until, capsys):
    constant = {**raw, "optim": {"lr": 3e-3}}
    until(constant, 2)
    said(capsys)
    until({**constant, "steps": 5})
    assert said(capsys) == ["steps 4 -> 5 from step 3"]


@pytest.mark.slow
def test_a_stream_and_a_reward_that_jump_are_said(raw, until, capsys):
    weight = {"start": 0.5, "peak": 0.5, "valley": 0.1, "decay": 4}
    bands = {"parts": [["repetition", 1.0]], "bands": {"repetition": [[0.0, 0.5], [0.5, 1.0]]}}
    mixed = {
        **raw,
        "method": "chord_mu",
        "optim": {"lr": 1e-3},
        "rewards": [{"name": "combine", "params": bands}],
        "objective": {"streams": {"demo": {"weight": weight}}},
    }
    until(mixed, 1)
    said(capsys)
    longer = {**mixed, "steps": 5, "objective": {"streams": {"demo": {"weight": {**weight, "decay": 8}}}}}
    until(longer)
    assert said(capsys) == [
        "steps 4 -> 5 from step 2",
        "objective.streams.demo.weight.decay 4 -> 8 from step 2",
        "at step 2 the weight of stream rl jumps from 0.7 to 0.559",
        "at step 2 the weight of stream demo jumps from 0.3 to 0.441",
        "at step 2 rewards that tighten over the stage jump from 50% of it to 40%",
    ]


@pytest.mark.slow
def test_what_a_method_became_is_said(raw, until, capsys, monkeypatch):
    """The recipe is the same file; the objective that it stands for is another."""
    until(raw, 1)
    said(capsys)
    grpo = METHODS.get("grpo")
    monkeypatch.setitem(METHODS.entries, "grpo", replace(grpo, objective={**grpo.objective, "entropy": 0.01}))
    until(raw)
    assert said(capsys) == ["objective.entropy 0.0 -> 0.01 from step 2"]


@pytest.mark.slow
def test_changes_are_those_from_the_steps_that_the_run_still_has(raw, until, capsys):
    """The second start's steps are dropped by the third, which is therefore compared with the first."""
    folder = until(raw, 1).folder
    slower = {**raw, "optim": {**raw["optim"], "lr": 1e-3}}
    until(slower, 2)
    said(capsys)
    until({**raw, "resume": str(folder / "checkpoints" / "step_000002")})
    assert said(capsys) == []
    starts = read_starts(folder)
    assert [(start.number, start.step) for start in starts] == [(1, 0), (2, 2), (3, 2)]
    assert [start.number for start in in_force(starts)] == [1, 3]
    page = (folder / "report.html").read_text()
    assert "its steps are gone" in page
    assert '<g class="change">' not in page


@pytest.mark.slow
def test_seconds_add_up_over_starts(raw, until):
    """Of a start that was killed, those until its last figure count."""
    first = until(raw, 1)
    path = first.folder / "starts.json"
    (start,) = json.loads(path.read_text())
    assert start["seconds"] == first.summary["seconds"]
    path.write_text(json.dumps([{**start, "seconds": 1000.0}]))
    second = until(raw, 2)
    assert second.summary["seconds"] > 1000.0
    lines = json.loads(path.read_text())
    path.write_text(json.dumps([lines[0], {**lines[1], "seconds": None, "time": lines[1]["time"] - 500.0}]))
    assert 1500.0 < until(raw).summary["seconds"] < 2000.0
    assert [line["seconds"] is None for line in json.loads(path.read_text())] == [False] * 3


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_compared_with_its_recipe(raw, until, capsys):
    folder = until(raw, 1).folder
    said(capsys)
    until({**raw, "name": "other", "micro_tokens": 200, "resume": str(folder)})
    assert said(capsys) == ["micro_tokens 300 -> 200 from step 2"]


@pytest.mark.slow
def test_an_earlier_recipe_that_does_not_read_is_said(raw, until, capsys):
    folder = until(raw, 1).folder
    (folder / "configs" / "0001.yaml").write_text("name: x\nnonsense: 1\n")
    said(capsys)
    until(raw)
    (line,) = said(capsys)[:1]
    assert line.startswith("what has changed before step 2 is not known: 'runs/run/configs/0001.yaml' does not read: ")


def test_changes_of_one_of_two_stages_name_it(raw):
    stages = [{"name": "a", "method": "sft", "steps": 2}, {"name": "b", "method": "grpo", "steps": 2}]
    two = {key: value for key, value in raw.items() if key not in ("method", "steps")} | {"stages": stages}
    old = load_recipe(two)
    both = load_recipe({**two, "optim": {**two["optim"], "lr": 1.0}})
    assert [str(change) for change in changes(old, both)] == ["optim.lr 0.003 -> 1.0"]
    one = load_recipe(two, ["stages.1.optim.lr=1.0", "policy.lora={rank: 2}", "threads=null"])
    assert [str(change) for change in changes(old, one)] == [
        "threads 1 -> null",
        "policy.lora null -> {rank: 2, alpha: 32.0, dropout: 0.0, targets: projections, …",
        "stages.b.optim.lr 0.003 -> 1.0",
    ]


def test_starts_in_force():
    starts = [Start(1, 0, 0.0), Start(2, 5, 0.0), Start(3, 9, 0.0), Start(4, 5, 0.0), Start(5, 7, 0.0)]
    assert [start.number for start in in_force(starts)] == [1, 4, 5]
    assert [start.number for start in in_force([*starts, Start(6, 0, 0.0)])] == [6]


def test_the_command_prints_changes(raw, until, workplace, capsys):
    until(raw, 1)
    (workplace / "recipe.yaml").write_text(yaml.safe_dump(raw))
    said(capsys)
    assert main(["train", "recipe.yaml", "optim.lr=0.001", "tracking.console=plain"]) == 0
    assert said(capsys)[0] == "optim.lr 0.003 -> 0.001 from step 2"
