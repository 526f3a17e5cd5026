"""Files as other tools have them, and recipes of at most twelve lines that train on them."""

import json

import pytest
import yaml
from PIL import Image

import mmrl
from mmrl.data.mixture import open_dataset
from mmrl.recipe.schema import load_recipe
from tests.support.pictures import encoded

PICTURE = Image.new("RGB", (56, 56), "red")
TALK = [{"role": "user", "content": "<image>How many?"}]


def pictures(folder):
    (folder / "img").mkdir()
    paths = [folder / "img" / f"{i}.png" for i in range(4)]
    for path in paths:
        PICTURE.save(path)
    return paths


def with_pictures(columns, **features):
    """A dataset whose Image feature holds encoded pictures, as it comes from the hub."""
    from datasets import Dataset, Image, Sequence

    data = Dataset.from_dict(columns)
    for name, many in features.items():
        data = data.cast_column(name, Sequence(Image()) if many else Image())
    return data


def easyr1(folder):
    rows = {
        "images": [[{"bytes": encoded(PICTURE), "path": None}]] * 4,
        "problem": ["<image>How many?"] * 4,
        "answer": ["3"] * 4,
    }
    with_pictures(rows, images=True).to_parquet(folder / "train.parquet")
    (folder / "counting.jinja").write_text("{{ content | trim }} Put the answer in <answer> </answer>.")


def verl(folder):
    from datasets import Dataset

    row = {
        "data_source": "hiyouga/geometry3k",
        "prompt": TALK,
        "images": [{"bytes": encoded(PICTURE), "path": None}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "3"},
        "extra_info": {"split": "train", "index": 0, "answer": "3", "question": "How many?"},
    }
    Dataset.from_list([row] * 4).to_parquet(folder / "train.parquet")


def trl(folder):
    rows = {
        "image": [{"bytes": encoded(PICTURE), "path": None}] * 4,
        "prompt": [[{"role": "user", "content": "How many?"}]] * 4,
        "solution": ["3"] * 4,
    }
    with_pictures(rows, image=False).save_to_disk(folder / "train")


def swift(folder):
    rows = [{"messages": TALK, "images": [str(path)], "solution": "3"} for path in pictures(folder)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))


def llamafactory(folder):
    info = {
        "mllm_demo": {
            "file_name": "mllm_demo.json",
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
        },
        "other": {"file_name": "other.json"},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    rows = [
        {"messages": [*TALK, {"role": "assistant", "content": "3"}], "images": [f"img/{path.name}"]}
        for path in pictures(folder)
    ]
    (folder / "mllm_demo.json").write_text(json.dumps(rows))


def llava(folder):
    talk = [
        {"from": "human", "value": "<image>\nHow many?"},
        {"from": "gpt", "value": "Three."},
        {"from": "human", "value": "Sure?"},
        {"from": "gpt", "value": "Yes."},
    ]
    rows = [{"id": path.stem, "image": path.name, "conversations": talk} for path in pictures(folder)]
    (folder / "llava.json").write_text(json.dumps(rows))


RL = """
name: run
method: grpo
steps: 1
prompts: 2
rollout: {n: 2, max_new_tokens: 4}
policy: {path: MODEL}
data: {train: [DATA]}
"""
SFT = """
name: run
method: sft
steps: 1
demonstrations: 2
policy: {path: MODEL}
data: {train: [DATA]}
"""
# Writes the files, the recipe, its data and what a row is read as: question, answer.
TOOLS = {
    "easyr1": (
        easyr1,
        RL,
        "{type: file, path: train.parquet, task: counting, prompt_template: counting.jinja}",
        ("How many? Put the answer in <answer> </answer>.", {"count": 3}),
    ),
    "verl": (verl, RL, "{type: file, path: train.parquet, task: counting}", ("How many?", {"count": 3})),
    "trl": (trl, RL, "{type: file, path: train, task: counting, system: Be brief.}", ("How many?", {"count": 3})),
    "swift": (swift, RL, "{type: file, path: train.jsonl, task: counting}", ("How many?", {"count": 3})),
    "llamafactory": (llamafactory, SFT, "{type: file, path: ., subset: mllm_demo}", ("How many?", "3")),
    "llava": (llava, SFT, "{type: file, path: llava.json, root: img}", ("Sure?", "Yes.")),
}


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_a_file_as_it_comes_trains(tool, tmp_path, tiny_qwen, monkeypatch):
    write, recipe, data, (question, answer) = TOOLS[tool]
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    text = recipe.replace("MODEL", str(tiny_qwen())).replace("DATA", data)
    assert len(text.strip().splitlines()) <= 12
    (tmp_path / "recipe.yaml").write_text(text)
    sample = open_dataset(load_recipe(yaml.safe_load(text)).data.train[0])[0]
    texts = [part["text"] for part in sample.messages[-1]["content"] if part["type"] == "text"]
    assert "".join(texts) == question
    assert (sample.target if isinstance(answer, dict) else sample.demonstration) == answer
    assert len(sample.images) == 1
    outcome = mmrl.train("recipe.yaml", overrides=["tracking.console=none", "tracking.tensorboard=false", "threads=1"])
    assert outcome.summary["steps"] == 1
    row = json.loads((outcome.folder / "rollouts" / "step_000001.jsonl").read_text().splitlines()[0])
    assert row["prompt"]
