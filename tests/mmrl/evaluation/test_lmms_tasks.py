"""Task files of lmms-eval as they are, and rows under a name of the hub from the cache of `datasets`."""

import json
import os

import datasets
import pytest
import yaml
from PIL import Image

from mmrl.contracts.errors import UserError
from mmrl.evaluation.benchmarks.hub import cached_files
from mmrl.evaluation.benchmarks.lmms_task import LmmsTask
from mmrl.evaluation.suite.check import check_benchmark
from mmrl.evaluation.suite.runner import open_tasks
from tests.support.suite import ask, gold_of, settings

TASK = {
    "task": "local_colour",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_visual": "image",
    "doc_to_text": "{{ pre_prompt }}{{ question }}{{ post_prompt }}",
    "doc_to_target": "{{ answer | upper }}",
    "generation_kwargs": {"max_new_tokens": 8, "temperature": 0, "do_sample": False, "until": ["\n\n"]},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "ignore_case": True, "ignore_punctuation": True}],
    "lmms_eval_specific_kwargs": {"default": {"pre_prompt": "", "post_prompt": "\nAnswer with one word."}},
    "metadata": [{"version": 0.0}],
}


def written(folder, name="task.yaml", **keys):
    task = {key: value for key, value in {**TASK, **keys}.items() if value is not None}
    (folder / name).write_text(yaml.safe_dump(task, sort_keys=False))
    return folder / name


@pytest.fixture
def rows(tmp_path):
    Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / "a.png")
    lines = [{"question": "Which colour?", "answer": "red", "image": "a.png"}] * 2
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_a_task_without_code_is_asked_and_scored_as_it_is(rows):
    config = settings(rows / "out", [str(written(rows))])
    (task,) = open_tasks(config)
    assert task.benchmark.limit == 8
    (message,) = task.rows[0].messages
    assert [part.get("text", part["type"]) for part in message["content"]] == [
        "image",
        "Which colour?\nAnswer with one word.",
    ]
    assert ask(config, gold_of(task), [task])["task.yaml"]["score"] == 1.0
    assert task.benchmark.score("red.\n\nIt is", task.rows[0]) == 1.0
    assert task.benchmark.score("It is red", task.rows[0]) == 0.0
    assert check_benchmark(str(rows / "task.yaml"), None).endswith(
        "task.yaml: 2 rows, no media missing, 2 right answers score 1"
    )


def test_what_a_file_includes_is_under_it(rows):
    written(rows, "_default_yaml", doc_to_text="{{ question }}", doc_to_target="answer")
    (rows / "one.yaml").write_text("include: _default_yaml\ndoc_to_text: question\ntask: one\n")
    benchmark = LmmsTask(rows / "one.yaml")
    assert (benchmark.task["doc_to_text"], benchmark.task["doc_to_target"]) == ("question", "answer")


def test_of_several_included_files_the_first_wins(rows):
    written(rows, "a_yaml", doc_to_text="{{ question }} a", doc_to_target=None)
    written(rows, "b_yaml", doc_to_text="{{ question }} b", doc_to_target="answer")
    (rows / "one.yaml").write_text("include: [a_yaml, b_yaml]\n")
    task = LmmsTask(rows / "one.yaml").task
    assert (task["doc_to_text"], task["doc_to_target"]) == ("{{ question }} a", "answer")


def test_settings_that_change_nothing_are_read(rows):
    generation = {"max_new_tokens": 8, "num_beams": 1, "top_p": None, "until": "\n"}
    words = TASK["lmms_eval_specific_kwargs"]
    task = written(
        rows,
        generation_kwargs={**generation, "top_p": 1.0},
        dataset_kwargs={**TASK["dataset_kwargs"], "token": True, "revision": "main"},
        lmms_eval_specific_kwargs={**words, "qwen": words["default"]},
    )
    assert LmmsTask(task).until == ("\n",)
    LmmsTask(written(rows, generation_kwargs=generation))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"doc_to_visual": "imgae"}, r"doc_to_visual: unknown column 'imgae'. Did you mean 'image'"),
        ({"doc_to_text": "qestion"}, r"doc_to_text: unknown column 'qestion'. Did you mean 'question'"),
        ({"doc_to_target": "anser"}, r"doc_to_target: unknown column 'anser'. Did you mean 'answer'"),
        ({"doc_to_target": []}, r"key 'doc_to_target' is missing"),
        ({"doc_to_target": "{{ [] }}"}, r"doc_to_target: it is an empty list"),
    ],
)
def test_what_names_no_column_or_nothing_right_is_refused_by_name(rows, keys, said):
    with pytest.raises(UserError, match=said):
        check_benchmark(str(written(rows, **keys)), None)


@pytest.mark.parametrize("signs", [3_000, 20_000])
def test_a_target_that_is_nested_too_deep_for_a_list_is_a_text(rows, signs):
    deep = "[" + "-" * signs + "1]"
    (task,) = open_tasks(settings(rows / "out", [str(written(rows, doc_to_target="{{ '" + deep + "' }}"))]))
    assert task.rows[0].target["answer"] == deep


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("generation_kwargs: {num_beams: 5}\n", r"generation_kwargs: num_beams: 5 is not understood; 1 is"),
        ("generation_kwargs: {top_p: 0.1}\n", r"generation_kwargs: top_p: 0.1 is not understood; 1 is"),
        ("generation_kwargs: {penalty: 2}\n", r"generation_kwargs: unknown key 'penalty'"),
        ("generation_kwargs: {max_new_tokens: null}\n", r"max_new_tokens: None is not a number of tokens"),
        ("generation_kwargs: [8]\n", r"generation_kwargs: it is a mapping, got list"),
        ("dataset_kwargs: {revision: abc}\n", r"dataset_kwargs: revision: abc is not understood; main is"),
        ("dataset_kwargs: {data_dir: abc}\n", r"dataset_kwargs: unknown key 'data_dir'"),
        (
            "dataset_path: attic/colours\n",
            r"dataset_kwargs: data_files is read for dataset_path json and",
        ),
        ("doc_to_visual: [image]\n", r"doc_to_visual: \['image'\] is not the name of a column"),
        ("lmms_eval_specific_kwargs: {qwen: {pre_prompt: x}}\n", r"qwen is not understood; `default` is"),
        ("lmms_eval_specific_kwargs: {pre_prompt: x}\n", r"lmms_eval_specific_kwargs: pre_prompt is not understood"),
        ("lmms_eval_specific_kwargs: {default: {format: x}}\n", r"kwargs.default: unknown key 'format'"),
        ("doc_to_text: !function utils.text\n", r"doc_to_text: `!function utils.text` is code of lmms-eval"),
        ("process_docs: x\n", r"unknown key 'process_docs'"),
        ("num_fewshot: 5\n", r"num_fewshot: 5 is not understood; 0 is"),
        ("output_type: loglikelihood\n", r"output_type 'loglikelihood' is not understood"),
        ("metric_list: [{metric: anls, aggregation: mean}]\n", r"metric_list: anls with aggregation mean is not"),
        ("doc_to_target: null\n", r"key 'doc_to_target' is missing"),
        ("include: bad.yaml\n", r"bad\.yaml: it includes itself"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(rows, text, said):
    written(rows, "base.yaml")
    extra = "" if text.startswith("include") else "include: base.yaml\n"
    (rows / "bad.yaml").write_text(extra + text)
    with pytest.raises(Exception, match=said):
        LmmsTask(rows / "bad.yaml")


def test_a_template_that_names_no_column_and_absent_rows_are_one_line(rows):
    task = written(rows, doc_to_text="{{ nothing }}")
    with pytest.raises(Exception, match=r"rows\.jsonl row 0 .*doc_to_text: 'nothing' is undefined"):
        check_benchmark(str(task), None)
    (rows / "rows.jsonl").unlink()
    with pytest.raises(Exception, match=r"no rows of split 'test' at '.*rows\.jsonl'"):
        check_benchmark(str(task), None)


def test_rows_of_the_hub_come_from_the_cache_or_are_asked_for(rows, monkeypatch):
    cache = rows / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **keys: pytest.fail("the network was asked"))
    task = written(rows, dataset_path="attic/colours", dataset_name="plain", dataset_kwargs=None)
    with pytest.raises(
        Exception, match=r"'attic/colours', config 'plain', split 'test' of the hub is not in the cache"
    ):
        check_benchmark(str(task), None)
    folder = cache / "attic___colours" / "plain" / "0.0.0" / "abc"
    data = datasets.Dataset.from_list([{"question": "Which?", "answer": "red", "image": "a.png"}] * 3)
    data.save_to_disk(str(rows / "saved"))
    folder.mkdir(parents=True)
    (rows / "saved" / "data-00000-of-00001.arrow").rename(folder / "colours-test.arrow")
    assert check_benchmark(str(task), None).endswith("task.yaml: 3 rows, no media missing, 3 right answers score 1")


def cached(cache, folder):
    (cache / folder).mkdir(parents=True)
    file = cache / folder / "x-test.arrow"
    file.touch()
    return [file]


def test_the_cache_s_folder_has_the_owner_as_written_and_the_name_in_snake_case(tmp_path):
    assert cached_files(tmp_path, "Attic/ColourQA", None, "test") == []
    other = cached(tmp_path, "attic___colourqa/plain/0.0.0/abc")
    assert cached_files(tmp_path, "Attic/ColourQA", None, "test") == other
    true = cached(tmp_path, "Attic___colour_qa/plain/0.0.0/abc")
    assert cached_files(tmp_path, "Attic/ColourQA", None, "test") == true


def test_of_several_configs_in_the_cache_the_default_is_read_or_none(tmp_path):
    cached(tmp_path, "attic___set/hard/0.0.0/abc")
    cached(tmp_path, "attic___set/easy/0.0.0/abc")
    with pytest.raises(UserError, match=r"several configs of 'attic/set' \(easy, hard\), none of them `default`"):
        cached_files(tmp_path, "attic/set", None, "test")
    default = cached(tmp_path, "attic___set/default/0.0.0/abc")
    os.utime(default[0].parent, (1, 1))
    assert cached_files(tmp_path, "attic/set", None, "test") == default
    assert cached_files(tmp_path, "attic/set", "hard", "test")[0].parents[2].name == "hard"


def test_rows_of_the_registry_s_sets_are_fetched_only_where_that_is_asked_for(rows, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(rows / "cache"))
    fetched = []

    def load(path, config, split):
        fetched.append((path, config, split))
        return datasets.Dataset.from_list([{"question": "How many?", "number": 2, "image": "a.png"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(Exception, match=r"benchmark 'countbench': 'vikhyatk/CountBenchQA', split 'test' of the hub"):
        open_tasks(settings(rows / "out", ["countbench"]))
    assert not fetched
    (task,) = open_tasks(settings(rows / "out", ["countbench"], download=True, data_root=str(rows)))
    assert (len(task.rows), fetched) == (1, [("vikhyatk/CountBenchQA", None, "test")])
