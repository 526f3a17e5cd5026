"""Robots make data: episodes that a policy played, selected, filmed, and learned from by SFT."""

import json

import pytest

from mmrl import generate, train
from mmrl.contracts.errors import ConfigError
from mmrl.data.formats import find_format
from mmrl.data.mixture import open_dataset
from mmrl.recipe.data import FileData
from mmrl.recipe.schema import load_recipe

TABLE = {"type": "tabletop", "tasks": ["reach"], "num_blocks": 1, "image_size": 28, "max_steps": 3, "reward": "dense"}
MAKE = {
    "name": "play",
    "rollout": {"n": 3, "action_chunk": 2},
    "data": {"train": [{"type": "episodes", "simulator": "table", "first": 50, "size": 6}]},
    "generate": {"shard": 4, "select": [{"name": "best"}, {"name": "top", "k": 4}], "videos": 3},
}
LEARN = {"name": "learn", "method": "sft", "steps": 1, "data": {"train": [{"type": "generated", "stage": "play"}]}}


def recipe(path, tmp_path, *stages):
    return {
        "name": "robot",
        "output": str(tmp_path),
        "threads": 1,
        "policy": {"type": "openvla", "path": str(path), "device": "cpu"},
        "simulators": {"table": TABLE},
        "data": {"train": [{"type": "episodes", "simulator": "table", "size": 8}]},
        "demonstrations": 4,
        "rollout": {"action_chunk": 2},
        "tracking": {"console": "none", "tensorboard": False},
        "stages": list(stages),
    }


def rows_of(folder):
    return [json.loads(line) for path in sorted(folder.glob("data/*.jsonl")) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_played_episodes_are_demonstrations_with_films_to_the_same_bytes(tiny_qwen, tmp_path):
    raw = recipe(tiny_qwen("openvla"), tmp_path, MAKE, LEARN)
    outcome = train(raw)
    assert outcome.summary["finished"]
    folder = outcome.folder / "generated" / "play"
    index = json.loads((folder / "index.json").read_text())
    assert (index["prompts"], index["answers"], index["films"]) == (6, 18, 3)
    assert [rule["answers"] for rule in index["rules"]] == [[18, 6], [6, 4]]
    rows = rows_of(folder)
    episodes = {row["id"].rsplit("/", 1)[0] for row in rows}
    assert len(episodes) == 4
    assert {len(row["actions"]) for row in rows} <= {1, 2}
    assert all(len(row["rewards"]) == len(row["actions"]) for row in rows)
    assert all(row["cameras"] and row["messages"][0]["content"][-1]["text"] for row in rows)
    returns = {row["id"].rsplit("/", 1)[0]: row["reward"] for row in rows}
    earned = dict.fromkeys(returns, 0.0)
    for row in rows:
        earned[row["id"].rsplit("/", 1)[0]] += sum(row["rewards"])
    assert earned == pytest.approx(returns)
    films = [json.loads(line) for line in (folder / "films" / "episodes.jsonl").read_text().splitlines()]
    assert len(films) == 3
    assert all((folder / "films" / film["file"]).is_file() and film["frames"] >= 1 for film in films)
    metrics = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["loss/demo"] > 0

    again, other = generate(raw, output=tmp_path / "again")
    assert other["rules"] == index["rules"]
    assert rows_of(again) == rows
    from datasets import load_dataset

    files = str(folder / "data" / "*.jsonl")
    read = load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    assert len(read) == len(rows)
    samples = open_dataset(FileData(type="file", path=str(folder / "data"), format="actions"))
    assert samples[0].actions.tolist() == rows[0]["actions"]


@pytest.mark.parametrize(
    ("make", "learn", "said"),
    [
        ({"generate": {"select": ["majority"]}}, {}, "'majority' compares what answers say, and episodes say nothing"),
        ({"generate": {"write": "prompts"}}, {}, "'prompts' is not made of episodes"),
        ({"generate": {"blind": True}}, {}, "generate.blind: is of answers, and data.train holds episodes"),
        ({"rollout": {"n": 3, "action_chunk": 1}}, {}, r"action_chunk 2 differs from the 1 actions per decision"),
        (
            {},
            {"data": {"train": [{"type": "generated", "stage": "play", "use": "rollouts"}]}},
            r"stages\.learn: data\.train\.0\.use: stage 'play' plays episodes",
        ),
        (
            {"data": {"train": [MAKE["data"]["train"][0], {"type": "digits"}]}},
            {},
            "holds questions and episodes; generate each in a stage of its own",
        ),
    ],
)
def test_what_episodes_cannot_give_is_refused(tmp_path, make, learn, said):
    with pytest.raises(ConfigError, match=said):
        load_recipe(recipe("quickstart_robot", tmp_path, {**MAKE, **make}, {**LEARN, **learn}))


def test_played_rows_are_demonstrations_alone():
    settings = FileData(type="file", path="x", format="actions")
    assert (settings.gives, settings.use) == ("actions", "demonstrations")
    with pytest.raises(ValueError, match="rows of format 'actions' are demonstrations"):
        FileData(type="file", path="x", format="actions", use="rollouts")


def test_conversations_with_actions_of_their_own_are_no_played_rows():
    assert find_format("auto", ["messages", "actions"], "x") == "mmrl"
    assert find_format("actions", ["messages", "actions", "simulator", "step"], "x") == "actions"
