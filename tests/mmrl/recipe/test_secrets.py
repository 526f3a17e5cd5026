"""Logins of URLs: never in what a run writes or prints."""

import json
import sys

import pytest
import yaml

from mmrl.cli import main
from mmrl.recipe.changes import changes
from mmrl.recipe.reading import to_yaml
from mmrl.recipe.schema import load_recipe
from mmrl.recipe.secrets import masked
from mmrl.tracking.environment import read_environment

TEXTS = {
    "http://user:sk-CANARY@host:8000/v1": "http://***@host:8000/v1",
    "https://sk-CANARY@host": "https://***@host",
    "a=http://u:p@h/v1 b=redis://:CANARY@h": "a=http://***@h/v1 b=redis://***@h",
    "postgres+psycopg://u:p@ss@h/db": "postgres+psycopg://***@h/db",
    "http://host/path@2x.png": "http://host/path@2x.png",
    "mail me@host, at 3://x@y": "mail me@host, at 3://x@y",
    "hf://datasets/a@b": "hf://datasets/a@b",
    "no url": "no url",
}


@pytest.mark.parametrize("text", TEXTS)
def test_logins_of_urls_are_masked(text):
    assert masked(text) == TEXTS[text]
    assert masked({"a": [text, 3], "b": None}) == {"a": [TEXTS[text], 3], "b": None}


def recipe(login: str):
    return {
        "name": "x",
        "policy": {"path": "p"},
        "data": {"train": [{"type": "digits"}]},
        "rewards": [{"name": "judge", "params": {"endpoint": f"http://{login}@host/v1", "model": "m"}}],
        "method": "grpo",
        "steps": 1,
    }


def test_a_recipe_is_written_without_them(monkeypatch):
    written = to_yaml(load_recipe(recipe("user:CANARY")))
    assert "CANARY" not in written
    assert yaml.safe_load(written)["rewards"][0]["params"]["endpoint"] == "http://***@host/v1"
    monkeypatch.setattr(sys, "argv", ["mmrl", "train", "rewards.0.params.endpoint=http://user:CANARY@host"])
    assert "CANARY" not in json.dumps(read_environment())


def test_what_has_changed_is_told_without_them():
    old, new = load_recipe(recipe("user:CANARY")), load_recipe(recipe("user:OTHER"), ["seed=3"])
    assert [str(change) for change in changes(old, new)] == ["seed 0 -> 3"]


def test_errors_are_printed_without_them(capsys, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**recipe("user:CANARY"), "seed": "http://u:CANARY@h"}))
    assert main(["train", str(tmp_path / "recipe.yaml")]) == 2
    assert "CANARY" not in capsys.readouterr().err
