"""A preference stage from a file of pairs: what is read, learned from and refused."""

import json

import pytest

import mmrl
from mmrl.contracts.errors import UserError
from mmrl.recipe.schema import load_recipe
from tests.support.runs import metrics, recipe


def pairs(folder, **other):
    rows = [
        {"prompt": f"Say {word}.", "chosen": word, "rejected": [{"role": "assistant", "content": word[::-1]}], **other}
        for word in ("red", "blue", "green", "left")
    ]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"train": [{"type": "file", "path": str(path), "use": "demonstrations"}]}


def settings(model, folder, data, name="run", **other):
    made = recipe(model, folder, name, method="dpo", data=data, steps=4, evaluation={}, **other)
    return {key: value for key, value in made.items() if key != "rewards"}


@pytest.mark.slow
def test_dpo_prefers_what_is_chosen_and_resumes_exactly(tiny_qwen, tmp_path):
    data, model = pairs(tmp_path), tiny_qwen("qwen2_5_vl")
    whole = mmrl.train(load_recipe(settings(model, tmp_path, data, demonstrations=4)))
    assert all(line["stream/preferred_units"] > 0 for line in metrics(whole.folder))
    first = settings(model, tmp_path, data, "parts", demonstrations=4)
    mmrl.train(load_recipe({**first, "steps": 2, "optim": {"lr": 3e-3}}))
    resumed = mmrl.train(load_recipe({**first, "optim": {"lr": 3e-3}, "resume": "auto"}))
    straight = mmrl.train(load_recipe({**first, "name": "straight", "optim": {"lr": 3e-3}}))
    assert [line["optim/grad_norm"] for line in metrics(resumed.folder)] == [
        line["optim/grad_norm"] for line in metrics(straight.folder)
    ]


@pytest.mark.slow
def test_rows_without_a_rejected_answer_are_refused(tiny_qwen, tmp_path):
    data = pairs(tmp_path)
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "Say red.", "completion": "red"}) + "\n")
    with pytest.raises(UserError, match="no chosen and rejected answer"):
        mmrl.train(load_recipe(settings(tiny_qwen("qwen2_5_vl"), tmp_path, data)))
