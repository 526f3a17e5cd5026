"""Benchmarks and data of a model behind a server, and what happens when it dies on the way."""

import json
from pathlib import Path

import numpy as np
import pytest

import mmrl
from mmrl.contracts.errors import UserError
from mmrl.recipe.schema import load_recipe
from mmrl.run import generate
from tests.support.chat_server import pictures, reply, serving

DIGITS = {"type": "digits", "tasks": ["classification"], "size": 6}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


def level(body) -> int:
    """Of the request's pictures: what the stub answers by."""
    return int(sum(int(np.asarray(picture).sum()) for picture in pictures(body)) % 10)


def answer(body):
    return reply(str(level(body)), "length" if level(body) == 3 else "stop")


def measured(server, output, **keys):
    engine = {"name": "endpoint", "url": server.url, "retries": 0, "timeout": 30.0, **keys.pop("engine", {})}
    policy = {"params": {"coordinates": "norm1000"}}
    settings = {"engine": engine, "policy": policy, "limit": 24, "batch_size": 4, "output": str(output), **keys}
    return mmrl.evaluate(model="tiny", tasks=["digits"], **settings)


def written(output, *left_out):
    names = ("results.json", "digits/samples.jsonl", "digits/protocol.json")
    return {name: (Path(output) / name).read_text() for name in names if name not in left_out}


@pytest.mark.slow
def test_a_server_answers_a_benchmark_whatever_the_batches_and_goes_on_after_it_died(tmp_path):
    with serving(answer) as server:
        result = measured(server, tmp_path / "whole")["digits"]
        whole = written(tmp_path / "whole")
        measured(server, tmp_path / "at_once", batch_size=24)
        assert written(tmp_path / "at_once") == whole
        model = json.loads(whole["results.json"])["model"]
        assert model == {"name": "tiny", "server": server.url}
        assert result["truncated"] == sum(level(body) == 3 for body in server.bodies[:24]) > 0
        assert (result["tokens"]["prompt"]["mean"], result["tokens"]["answer"]["mean"]) == (40, 3)
        assert result["protocol"]["policy"]["params"]["picture"] == "png"

        left = iter(range(9))
        kind = server.answer
        server.answer = lambda body: kind(body) if next(left, None) is not None else 503
        with pytest.raises(UserError, match=r"gave no answer in 1 tries: 503 .*gone on with by the same command"):
            measured(server, tmp_path / "dies", engine={"concurrency": 1})
        assert len((tmp_path / "dies/digits/samples.jsonl").read_text().splitlines()) == 8
        server.answer = kind
        measured(server, tmp_path / "dies", engine={"concurrency": 1})
        assert written(tmp_path / "dies") == whole


def test_files_of_other_suites_stay_in_the_output_whatever_a_served_model_is_called(tmp_path):
    engine = {"name": "endpoint", "retries": 0, "timeout": 30.0, "check_model": False}
    policy = {"params": {"coordinates": "norm1000"}}
    model, output = tmp_path / "served" / "tiny", tmp_path / "out"
    with serving(answer) as server:
        given = {"engine": {**engine, "url": server.url}, "policy": policy, "limit": 1, "log_samples": True}
        mmrl.evaluate(model=str(model), tasks=["digits"], output=str(output), **given)
    assert {path.name for path in (output / "served__tiny").iterdir()} == {
        "samples_digits.jsonl",
        "served__tiny_digits.tsv",
    }
    assert not model.exists()


def test_what_a_server_refuses_counts_as_wrong_and_is_listed(tmp_path):
    with serving(lambda body: 400 if level(body) == 3 else answer(body)) as server:
        result = measured(server, tmp_path)["digits"]
    refused = sum(level(body) == 3 for body in server.bodies)
    assert result["failures"] == refused > 0
    assert result["rows"] == 24
    assert result["failed"][0]["reason"].endswith("the prompt is too long")


def test_logins_stand_in_no_file(tmp_path):
    with serving(answer) as server:
        url = server.url.replace("//", "//me:sk-CANARY@")
        measured(server, tmp_path, engine={"url": url}, limit=2)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if b"CANARY" in path.read_bytes()]


def recipe(server, tmp_path, **keys):
    return {
        "name": "served",
        "output": str(tmp_path),
        "policy": {"type": "endpoint", "path": "tiny"},
        "engine": {"url": server.url, "retries": 0},
        "data": {"train": [DIGITS], "on_bad_sample": "skip"},
        "tracking": {"console": "none"},
        **keys,
    }


def test_a_server_makes_data_without_what_it_refuses(tmp_path):
    refuses = 7
    with serving(lambda body: 400 if level(body) == refuses else answer(body)) as server:
        raw = recipe(server, tmp_path, rollout={"n": 3, "max_new_tokens": 4, "temperature": 1.0})
        folder, index = generate(raw)
        assert len({body["seed"] for body in server.bodies}) >= 3 * index["prompts"]
    rows = [json.loads(line) for path in (folder / "data").glob("shard_*.jsonl") for line in path.open()]
    assert len(rows) == index["answers"] == 3 * index["prompts"]
    assert {row["length"] for row in rows} == {3}


def test_training_a_served_model_is_refused_in_words(tmp_path):
    with serving(answer) as server, pytest.raises(UserError) as error:
        load_recipe(recipe(server, tmp_path, method="grpo", steps=1))
    assert "method 'grpo' trains, and policy.type 'endpoint' has no gradients here" in str(error.value)
