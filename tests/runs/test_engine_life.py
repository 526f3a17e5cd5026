"""One engine per run: started once, used by rollouts and evaluation alike, given every step's weights, closed."""

import json

import pytest
import yaml

import mmrl
from mmrl.contracts.errors import UserError
from mmrl.engines.hf import HFEngine
from mmrl.recipe.engines import HFSettings
from mmrl.recipe.schema import load_recipe
from tests.support.counted import CALLS

NAME = "tests.support.counted:CountedSettings"


@pytest.fixture
def recipe(tiny_qwen, tmp_path):
    CALLS.clear()
    return {
        "name": "counted",
        "output": str(tmp_path),
        "policy": {"path": str(tiny_qwen("qwen2_5_vl")), "device": "cpu"},
        "engine": {"name": NAME, "batch_size": 8},
        "data": {
            "train": [{"type": "digits", "tasks": ["ocr"], "size": 16}],
            "eval": [{"type": "digits", "tasks": ["ocr"], "split": "test", "size": 3}],
        },
        "stages": [
            {"name": "sft", "method": "sft", "steps": 1, "demonstrations": 2},
            {"name": "rl", "method": "grpo", "steps": 2, "prompts": 2, "minibatches": 2},
        ],
        "rollout": {"n": 2, "max_new_tokens": 8},
        "evaluation": {"sampling": {"max_new_tokens": 3}},
        "tracking": {"console": "none", "tensorboard": False},
    }


def test_a_run_has_one_engine_that_follows_the_weights(recipe):
    outcome = mmrl.train(recipe)
    at_start, after_sft, after_rl = (("generate", 3, 1, version) for version in (0, 1, 5))
    first, second = (("generate", 2, 2, version) for version in (1, 3))
    assert [
        ("start", 1),
        at_start,
        ("sync", 1),
        after_sft,
        first,
        ("sync", 3),
        second,
        ("sync", 5),
        after_rl,
        ("close",),
    ] == CALLS
    written = yaml.safe_load((outcome.folder / "config.yaml").read_text())["engine"]
    assert written == {"name": NAME, "batch_size": 8, "seeds": "call", "fails_at": None}
    lines = [yaml.safe_load(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    assert all(line["time/sync"] == 0.0 for line in lines[1:])


@pytest.mark.slow
def test_a_resumed_run_goes_on_counting(recipe):
    mmrl.train(recipe, overrides=["stages.1.steps=1"])
    CALLS.clear()
    mmrl.train(recipe, overrides=["resume=auto"])
    assert CALLS[:3] == [("start", 1), ("sync", 3), ("generate", 2, 2, 3)]
    assert CALLS[-3:] == [("sync", 5), ("generate", 3, 1, 5), ("close",)]


@pytest.mark.slow
def test_evaluation_cuts_answers_where_the_stage_does(recipe, monkeypatch, capsys):
    asked = []
    generate = HFEngine.generate
    monkeypatch.setattr(
        HFEngine,
        "generate",
        lambda self, requests, sampling, seed: (
            asked.append((requests[0].n, sampling.max_new_tokens)) or generate(self, requests, sampling, seed)
        ),
    )
    recipe |= {"engine": {"name": "hf"}, "evaluation": {}, "tracking": {"console": "plain", "tensorboard": False}}
    recipe["stages"][1]["rollout"] = {"n": 2, "max_new_tokens": 9}
    folder = mmrl.train(recipe).folder
    # Before and after SFT, whose limit is 8, and after RL, whose own is 9.
    assert [limit for n, limit in asked if n == 1] == [8, 8, 9]
    assert "evaluation cuts" not in capsys.readouterr().out
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["eval/truncated"] for line in lines if "eval/mean" in line] == [1.0, 1.0, 1.0]
    assert "The last evaluation cut 100.0% of its answers" in (folder / "report.html").read_text()
    assert "eval/truncated" not in yaml.safe_load((folder / "summary.json").read_text())["final"]

    asked.clear()
    mmrl.train(recipe, overrides=["name=short", "evaluation.sampling.max_new_tokens=3"])
    assert [limit for n, limit in asked if n == 1] == [3, 3, 3]
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("evaluation cuts")]
    assert len(said) == 1
    assert said[0].startswith("evaluation cuts answers at 3 tokens, and a ")
    assert mmrl.run.measure(recipe, overrides=["evaluation.sampling.max_new_tokens=3"])[1] == {"eval/truncated": 1.0}


def test_evaluation_by_itself_uses_the_same_engine(recipe):
    mmrl.evaluate(recipe)
    assert CALLS == [("start", 1), ("generate", 3, 1, 0), ("close",)]


@pytest.mark.parametrize("call", [1, 2])
def test_an_engine_is_closed_however_the_run_ends(recipe, call):
    recipe["engine"]["fails_at"] = call
    with pytest.raises(RuntimeError, match="out of memory"):
        mmrl.train(recipe)
    assert CALLS[-1] == ("close",)
    CALLS.clear()
    recipe["engine"]["fails_at"] = 1
    with pytest.raises(RuntimeError, match="out of memory"):
        mmrl.evaluate(recipe)
    assert CALLS[-1] == ("close",)


def test_an_engine_owns_its_settings(recipe):
    recipe["engine"] = {"name": NAME, "fails": 3}
    with pytest.raises(UserError, match=r"engine\.fails: unknown key 'fails'\. Did you mean 'fails_at'\?"):
        load_recipe(recipe)
    recipe["engine"] = {"name": "hf", "fails_at": 3}
    with pytest.raises(UserError, match=r"engine\.fails_at: unknown key 'fails_at'\. Allowed: name, batch_size"):
        load_recipe(recipe)
    del recipe["engine"]
    assert load_recipe(recipe).engine == HFSettings()
