"""Programs of stages from end to end: a policy makes data, learns from them, and goes on from a power cut."""

import json
from itertools import count

import pytest
from PIL import Image

from mmrl import generate, train
from mmrl.rollouts import generate as generating
from mmrl.trainer import checkpoint
from tests.support.forks import die, join, spawn
from tests.support.runs import assert_same_run, recipe

PUZZLES = {"data": {"train": [{"type": "jigsaw", "path": "PHOTOS", "side": 56, "size": 4}]}}
PAIRS = {"data": {"train": [{"type": "generated", "stage": "make"}]}, "steps": 1}
PROGRAM = {
    "data": {"train": [{"type": "digits", "tasks": ["classification", "counting"], "size": 8}]},
    "evaluation": {"every": None},
    "checkpoint": {"every": 1, "best": None},
    "stages": [
        {"name": "warm", "method": "sft", "steps": 1},
        {
            "rounds": 4,
            # Whatever the rewards are, the second round is the last one.
            "until": {"figure": "reward/mean", "plateau": 9.0},
            "stages": [
                {
                    "name": "make",
                    "generate": {"shard": 4, "write": "pairs", "select": [{"name": "contrast", "by": "reward"}]},
                },
                # What is decoded and encoded again may be longer than it was.
                {"name": "learn", "method": "sft", "rollout": {"max_new_tokens": 32}, **PAIRS},
                {"name": "prefer", "method": "dpo", "rollout": {"max_new_tokens": 32}, **PAIRS},
                {"name": "puzzle", "method": "grpo", "steps": 2, **PUZZLES},
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


def dying_at(monkeypatch, module, name, fatal):
    """Has a function of a module end the process at its n-th call, before it does anything."""
    call, calls = getattr(module, name), count(1)

    def counted(*args, **kwargs):
        if next(calls) == fatal:
            die()
        return call(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)


@pytest.mark.slow
def test_a_program_that_is_killed_in_each_kind_of_stage_equals_the_uninterrupted_one(tiny_qwen, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for i in range(2):
        Image.linear_gradient("L").resize((56, 56)).rotate(90 * i).convert("RGB").save(tmp_path / f"photos/{i}.png")
    program = json.loads(json.dumps(PROGRAM).replace("PHOTOS", str(tmp_path / "photos")))
    whole, cut = (recipe(tiny_qwen(), tmp_path / part, **program, resume="auto") for part in ("whole", "cut"))
    for raw in (whole, cut):
        del raw["method"], raw["steps"]
        raw["demonstrations"] = 2
    outcome = train(whole)

    def killed(module, name, fatal):
        with monkeypatch.context() as patched:
            dying_at(patched, module, name, fatal)
            return join(spawn(lambda: train(cut)))

    kills = [
        # The second shard of the first data set.
        (generating, "write_atomic", 3),
        # SFT, whose step is lost; the preferences, and the second step of the puzzles, each after a step that is kept.
        (checkpoint, "save", 1),
        (checkpoint, "save", 2),
        (checkpoint, "save", 3),
        # In the next round: the rows of the data set, which its own stage has just answered, and its last step.
        (generating, "write_atomic", 4),
        (checkpoint, "save", 4),
    ]
    assert [killed(*kill) for kill in kills] == [-9] * len(kills)
    again = train(cut)
    assert_same_run(outcome.folder, again.folder)
    assert generated(outcome.folder) == generated(again.folder)
    index = json.loads((outcome.folder / "generated" / "make_2" / "index.json").read_text())
    assert (index["prompts"], index["answers"]) == (8, 32)
    for folder in (outcome.folder, again.folder):
        assert not (folder / "generated" / "make_3").exists()
        assert len(json.loads((folder / "rounds.json").read_text())["stages.1"]) == 2
        page = (folder / "report.html").read_text()
        assert "make_2" in page
        assert "after round 2 of 4, by its figure" in page


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
