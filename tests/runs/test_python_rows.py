"""Rows from Python: a `datasets.Dataset`, a list of mappings and samples train alike, as a file of them does."""

import json

import pytest
from PIL import Image

import mmrl
from mmrl.contracts.errors import UserError
from tests.support.runs import assert_same_run

ROWS = [
    {"problem": f"<image>How many of {i}?", "answer": str(i), "task": "counting", "demonstration": str(i)}
    for i in range(6)
]


@pytest.fixture
def rows(workplace):
    made = []
    for i, row in enumerate(ROWS):
        Image.new("RGB", (56, 56), (40 * i, 0, 0)).save(workplace / f"{i}.png")
        made.append({**row, "images": [f"{i}.png"]})
    return made


@pytest.fixture
def recipe(tiny_recipe):
    return {key: value for key, value in tiny_recipe.items() if key != "data"} | {"evaluation": {}}


@pytest.mark.slow
def test_every_form_trains_as_the_file_does(recipe, rows, workplace):
    import datasets

    (workplace / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    file = [{"type": "file", "path": "data.jsonl", "name": "train_data"}]
    held_out = [{"type": "file", "path": "data.jsonl", "name": "eval"}]
    whole = mmrl.train({**recipe, "name": "file", "data": {"train": file, "eval": held_out}})
    pictures = [{**row, "images": [Image.open(row["images"][0])]} for row in rows]
    table = datasets.Dataset.from_list(rows).cast_column("images", datasets.Sequence(datasets.Image()))
    forms = {"list": rows, "pictures": pictures, "dataset": table, "samples": list(mmrl.rows(rows, name="train_data"))}
    for name, data in forms.items():
        given = {"train_data": data, "eval_data": data}
        outcome = mmrl.train({**recipe, "name": name}, **given)
        assert outcome.summary["final"] == whole.summary["final"], name
        assert_same_run(outcome.folder, whole.folder)
        assert mmrl.evaluate(outcome.folder, eval_data=data) == outcome.summary["final"]
    with pytest.raises(UserError, match=r"code\.train_data: .* of 6 rows came from Python"):
        mmrl.train(outcome.folder / "config.yaml", overrides=["name=again"])


def test_rows_reads_other_forms(rows):
    made = mmrl.rows([{**row, "task": None} for row in rows], task="counting", name="mine")
    assert (made[1].task, made[1].target, made[1].dataset) == ("counting", {"count": 1}, "mine")
    assert made[1].columns["answer"] == "1"
    with pytest.raises(
        UserError, match=r"rows: unknown option 'tsk'\. Did you mean 'task'\? Allowed: columns, coordinates, format"
    ):
        mmrl.rows(rows, tsk="counting")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"train": []}, "'train_data' is dict; hand over a datasets.Dataset, a list of mappings, or Samples"),
        (iter([]), "'train_data' is list_iterator"),
        ([{"x": 1}], "columns fit no known format; .*columns seen: x"),
        ([3], "columns fit no known format"),
    ],
)
def test_what_is_no_data_is_refused(recipe, data, said):
    with pytest.raises(UserError, match=said):
        mmrl.train(recipe, train_data=data)


def test_a_dictionary_of_splits_is_refused(recipe, rows):
    import datasets

    splits = datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)})
    with pytest.raises(UserError, match="'train_data' is a dictionary of splits, train; hand over one of them"):
        mmrl.train(recipe, train_data=splits)
