"""Programs of stages from end to end: a policy makes data, learns from them, and goes on from a power cut."""

import json

import pytest

from mmrl import generate, train
from mmrl.rollouts import generate as generating
from tests.support.forks import die, join, spawn
from tests.support.runs import assert_same_run, recipe

PROGRAM = {
    "data": {"train": [{"type": "digits", "tasks": ["classification", "counting"], "size": 8}]},
    "evaluation": {"every": None},
    "stages": [
        {"name": "warm", "method": "sft", "steps": 1},
        {
            "rounds": 2,
            "stages": [
                {"name": "make", "generate": {"shard": 4, "select": [{"name": "best", "k": 2}, "distinct"]}},
                {
                    "name": "learn",
                    "method": "sft",
                    "steps": 1,
                    # What is decoded and encoded again may be longer than it was.
                    "rollout": {"max_new_tokens": 32},
                    "data": {"train": [{"type": "generated", "stage": "make"}]},
                },
            ],
        },
    ],
}


def generated(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "generated").rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_a_program_that_is_killed_while_it_generates_equals_the_uninterrupted_one(tiny_qwen, tmp_path, monkeypatch):
    whole, cut = (recipe(tiny_qwen(), tmp_path / part, **PROGRAM, resume="auto") for part in ("whole", "cut"))
    for raw in (whole, cut):
        del raw["method"], raw["steps"]
        raw["demonstrations"] = 2
    outcome = train(whole)
    write = generating.write_atomic

    def killed_at(fatal):
        count = 0

        def writing(path, content):
            nonlocal count
            count += 1
            if count == fatal:
                die()
            return write(path, content)

        monkeypatch.setattr(generating, "write_atomic", writing)
        return join(spawn(lambda: train(cut)))

    # The second shard of the first data set; the rows of the second one, which its own stage has just answered.
    assert killed_at(3) == -9
    assert killed_at(7) == -9
    monkeypatch.undo()
    again = train(cut)
    assert_same_run(outcome.folder, again.folder)
    assert generated(outcome.folder) == generated(again.folder)
    index = json.loads((outcome.folder / "generated" / "make_2" / "index.json").read_text())
    assert (index["prompts"], index["answers"]) == (8, 32)
    assert "make_2" in (outcome.folder / "report.html").read_text()


@pytest.mark.slow
def test_a_command_makes_the_data_of_a_run_s_checkpoint(tiny_qwen, tmp_path):
    raw = recipe(tiny_qwen(), tmp_path, **{**PROGRAM, "stages": PROGRAM["stages"][:1]})
    run = train({key: value for key, value in raw.items() if key not in ("method", "steps")}).folder
    folder, index = generate(raw, overrides=["rollout.n=2"], checkpoint=run, output=tmp_path / "made")
    assert (index["answers"], index["rows"], index["write"]) == (16, 16, "answers")
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["policy"].endswith("step_000001/model")
    from datasets import load_dataset

    rows = load_dataset("json", data_files=str(folder / "data" / "*.jsonl"), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(rows) == 16
    assert {"messages", "images", "target", "demonstration", "origin", "pass_rate"} <= set(rows.column_names)
