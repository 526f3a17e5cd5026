"""What the first rows of training data show is said before a model is loaded."""

import json

import pytest

import mmrl
from mmrl.contracts.errors import BadSample, CheckpointError, UserError
from mmrl.data.alike import first_of_each
from mmrl.policies import loading
from mmrl.policies.loading import checkpoint_path
from mmrl.rollouts import first_rows


@pytest.fixture
def start(tmp_path, monkeypatch):
    """`start(rows, **settings)`: what stops a run whose policy must not be loaded."""
    monkeypatch.chdir(tmp_path)

    def refuse(*arguments, **keywords):
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("mmrl.setup.open_policy", refuse)

    def said(rows, dataset=None, held_out=(), **settings):
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        data = {"train": [{"type": "file", "path": "rows.jsonl", **(dataset or {})}], "eval": list(held_out)}
        raw = {"name": "run", "policy": {"path": "quickstart"}, "steps": 1, "data": data, **settings}
        with pytest.raises(UserError) as caught:
            mmrl.train(raw, overrides=["tracking.console=none"])
        assert not (tmp_path / "runs").exists()
        return str(caught.value)

    return said


QUESTION = {"problem": "2 + 1?", "answer": "3"}


def test_data_are_opened_before_a_model(start):
    assert "dataset file 'nope.jsonl' does not exist" in start([], {"path": "nope.jsonl"}, method="grpo")


def test_a_dataset_without_demonstrations_is_refused_where_a_stage_draws_them(start):
    said = start([QUESTION] * 40, {"task": "numeric"}, method="sft")
    assert "dataset 'rows.jsonl': none of the 40 rows has a demonstration, which stage 'sft' draws" in said


def test_a_task_that_no_reward_knows_is_refused(start):
    said = start([QUESTION], {"task": "numric"}, method="grpo")
    assert "rows.jsonl row 0 (id 0): reward 'route' cannot read the target: no reward for the task 'numric'" in said


def test_rows_that_are_bad_alike_are_counted(start):
    said = start([QUESTION] * 40, {"task": "numric"}, method="grpo")
    assert said.endswith("; mend it, or set data.on_bad_sample: skip (and 31 rows alike)")
    mixed = [QUESTION, {"problem": "<image>?", "answer": "1"}, {"problem": "<image>2?", "answer": "1"}]
    said = start(mixed, {"task": "numeric"}, method="grpo")
    assert said.startswith("rows.jsonl row 1 (id 1): the prompt has 1 <image> mark")
    assert said.endswith("(and 1 row alike)")


def test_a_row_that_is_only_learned_from_is_read_before_a_model_is_loaded(start):
    rows = [{"prompt": "2 + 1?", "completion": "3"}, {"prompt": "<image>?", "completion": "3"}]
    assert "rows.jsonl row 1 (id 1): the prompt has 1 <image> mark" in start(rows, method="sft")


@pytest.mark.parametrize("setting", [{}, {"evaluation": {"limit": 1}}])
def test_a_task_of_held_out_rows_that_no_reward_knows_is_refused(start, tmp_path, setting):
    (tmp_path / "held_out.jsonl").write_text("\n".join(json.dumps(QUESTION) for _ in range(3)))
    held_out = [{"type": "file", "path": "held_out.jsonl", "task": "numric"}]
    said = start([QUESTION], {"task": "numeric"}, held_out, method="grpo", **setting)
    assert said.startswith("held_out.jsonl row 0 (id 0): reward 'route' cannot read the target: no reward for the task")
    assert ("(and 2 rows alike)" in said) is (setting == {})


@pytest.mark.parametrize(
    ("method", "said"), [("grpo", "no reward for the task 'numric'"), ("sft", "none of the 3 rows")]
)
def test_rows_from_python_are_read_before_a_model_is_loaded(start, method, said):
    raw = {"name": "run", "policy": {"path": "quickstart"}, "steps": 1, "method": method}
    rows = [{**QUESTION, "task": "numric"}] * 3 if method == "grpo" else [{**QUESTION, "task": "numeric"}] * 3
    with pytest.raises(UserError, match=said):
        mmrl.train(raw, train_data=rows, overrides=["tracking.console=none"])


def test_evaluation_reads_held_out_rows_before_a_model_is_loaded(start, tmp_path):
    (tmp_path / "held_out.jsonl").write_text(json.dumps(QUESTION))
    raw = {
        "name": "run", "policy": {"path": "quickstart"}, "steps": 1, "method": "grpo",
        "data": {"train": [{"type": "digits"}], "eval": [{"type": "file", "path": "held_out.jsonl", "task": "numric"}]},
    }  # fmt: skip
    with pytest.raises(UserError, match=r"no reward for the task 'numric'.*mend it, or set data.on_bad_sample"):
        mmrl.evaluate(raw)


def test_a_sink_that_is_not_installed_is_refused(start, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    said = start([QUESTION], {"task": "numeric"}, method="grpo", tracking={"wandb": True})
    assert "wandb is not installed; run: pip install wandb" in said


def test_a_missing_folder_is_not_sought_on_the_hub(start, tmp_path):
    (tmp_path / "data").mkdir()
    assert "dataset file 'data/vqa' does not exist" in start([], {"path": "data/vqa"}, method="grpo")


def test_faults_of_one_kind_are_said_once():
    rows = [
        BadSample(f"a.jsonl row {i} (id {i})", f"column 'images': file '{i}.png' does not exist") for i in range(32)
    ]
    other = BadSample("a.jsonl row 3 (id 3)", "column 'answer': 'many' is not a number")
    elsewhere = BadSample("b.jsonl row 0 (id 0)", rows[0].reason)
    assert list(map(str, first_of_each([*rows, other, elsewhere, rows[0]]))) == [
        "a.jsonl row 0 (id 0): column 'images': file '0.png' does not exist (and 31 rows alike)",
        str(other),
        str(elsewhere),
    ]


def saved(folder, *steps):
    for step in steps:
        model = folder / "checkpoints" / f"step_{step:06d}" / "model"
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
        (model.parent / "state.json").write_text("{}")
    return folder


def test_a_run_stands_for_its_newest_checkpoint(tmp_path):
    run = saved(tmp_path / "run", 5, 10)
    broken = run / "checkpoints" / "step_000015"
    broken.mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"step_000015' is damaged: state.json is missing"):
        checkpoint_path(str(run), "qwen_vl")
    broken.rmdir()
    newest = run / "checkpoints" / "step_000010"
    assert checkpoint_path(str(run), "qwen_vl") == str(newest / "model")
    assert checkpoint_path(str(newest), "qwen_vl") == str(newest / "model")
    assert checkpoint_path(str(newest / "model"), "qwen_vl") == str(newest / "model")
    (tmp_path / "new" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        checkpoint_path(str(tmp_path / "new"), "qwen_vl")


@pytest.mark.parametrize("answer", ["offline", "absent"])
def test_a_hub_name_is_looked_up_once_and_quickly(monkeypatch, answer):
    from huggingface_hub import HfApi

    asked = []

    def model_info(self, name, timeout=None):
        asked.append(timeout)
        raise ConnectionError("no route") if answer == "offline" else loading_error()

    def loading_error():
        import httpx
        from huggingface_hub.errors import RepositoryNotFoundError

        return RepositoryNotFoundError("404", response=httpx.Response(404, request=httpx.Request("GET", "http://x")))

    monkeypatch.setattr(HfApi, "model_info", model_info)
    loading._is_on_hub.cache_clear()
    said = "cannot be looked up: no route" if answer == "offline" else "no checkpoint folder at 'ckpts/qwen'"
    with pytest.raises(CheckpointError, match=said):
        checkpoint_path("ckpts/qwen", "qwen_vl")
    assert asked == [loading.HUB_SECONDS]
    loading._is_on_hub.cache_clear()


class Unreadable:
    def __len__(self):
        return 2

    def __getitem__(self, row):
        raise BadSample(f"rows row {row}", "it cannot be read")


def test_a_row_that_cannot_be_read_may_demonstrate_and_is_told_when_it_is_drawn():
    assert first_rows._demonstrated(Unreadable())
    assert not first_rows._demonstrated([])
