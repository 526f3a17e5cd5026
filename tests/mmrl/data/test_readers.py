"""Every format reads, and every fault is a BadSample with its row and column."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.types import Sample
from mmrl.data.readers import FileDataset
from mmrl.recipe.data import FileData
from tests.support.media import SHARED, needs_shared
from tests.support.pictures import encoded


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (28, 28), "red").save(tmp_path / name)
    (tmp_path / "v.mp4").touch()
    return tmp_path


def write(folder, rows, name="data.jsonl"):
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows) if name.endswith("l") else json.dumps(rows))
    return path


def dataset(path, **options) -> FileDataset:
    return FileDataset(FileData(type="file", path=str(path), **options))


def read_one(folder, row, **options) -> Sample:
    return dataset(write(folder, [row]), **options)[0]


def kinds(sample):
    return [part["type"] for part in sample.messages[-1]["content"]]


MMRL = {
    "id": "x1",
    "prompt": "<image>\nCompare with <image>",
    "images": ["a.png", "b.png"],
    "task": "Multiple Choice",
    "target": {"answer": "B", "options": {"A": "yes", "B": "no"}},
    "demonstration": "B",
    "coordinates": "norm1000",
}


def test_mmrl_prompt(folder):
    sample = read_one(folder, MMRL)
    assert sample == Sample(
        id="x1",
        messages=(
            {
                "role": "user",
                "content": [{"type": "image"}, {"type": "text", "text": "Compare with "}, {"type": "image"}],
            },
        ),
        task="multiple_choice",
        target=MMRL["target"],
        images=("a.png", "b.png"),
        demonstration="B",
        dataset="data.jsonl",
        row=0,
        root=str(folder),
        coordinates="norm1000",
    )


def test_mmrl_messages_with_closing_answer(folder):
    row = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": "A cat."},
        ],
        "videos": ["v.mp4"],
    }
    sample = read_one(folder, row)
    assert [m["role"] for m in sample.messages] == ["system", "user"]
    assert (sample.task, sample.target, sample.demonstration) == ("sft", {}, "A cat.")
    assert sample.videos == ("v.mp4",)


@pytest.mark.parametrize(
    ("task", "answer", "target"),
    [
        ("math", "\\frac{1}{2}", {"answer": "\\frac{1}{2}"}),
        ("classification", "cat", {"answer": "cat"}),
        ("ocr", "Hello", {"text": "Hello"}),
        ("grounding", [1, 2, 3, 4], {"box": [1, 2, 3, 4]}),
        ("spatial grounding", '<answer>{"boxes": [1, 2, 3.5, 4]}</answer>', {"box": [1, 2, 3.5, 4]}),
        ("grounding", '[{"bbox_2d": [1, 2, 3, 4], "label": "cup"}]', {"box": [1, 2, 3, 4], "label": "cup"}),
        ("grounding", "[[1, 2, 3, 4], [5, 6, 7, 8]]", {"boxes": [[1, 2, 3, 4], [5, 6, 7, 8]]}),
        ("counting", "7", {"count": 7}),
        ("numerical", "1,024.5", {"answer": 1024.5}),
        ("regression", 4, {"answer": 4}),
        ("Binary Classification", "True", {"answer": "yes"}),
        ("yes_no", "No.", {"answer": "no"}),
        ("temporal grounding", '{"time": [1.5, 4]}', {"interval": [1.5, 4]}),
        (
            "spatial-temporal grounding",
            '{"time": [1, 2], "boxes": {"1": [0, 0, 5, 5]}}',
            {"time": [1, 2], "track": {"1": [0, 0, 5, 5]}},
        ),
        ("tracking", '{"boxes": {"0": [0, 0, 5, 5]}}', {"track": {"0": [0, 0, 5, 5]}}),
        ("multiple choice", "(c)", {"answer": "C"}),
        ("open-ended", "a <answer> b </answer>", {"answer": "b"}),
    ],
)
def test_easyr1_targets_by_task(folder, task, answer, target):
    sample = read_one(folder, {"problem": "<image>Solve.", "answer": answer, "images": ["a.png"]}, task=task)
    assert sample.target == target
    assert kinds(sample) == ["image", "text"]
    assert sample.images == ("a.png",)


@pytest.mark.parametrize(
    ("task", "answer", "reason"),
    [
        ("counting", "many", "not a number"),
        ("counting", "1.5", "not a count"),
        ("numerical", "inf", "not a finite number"),
        ("grounding", "[4, 4, 3, 9]", "x1 < x2"),
        ("grounding", "no box", "no JSON"),
        ("grounding", '{"time": [1, 2]}', "no box among the keys"),
        ("temporal grounding", "[9, 2]", "ends before"),
        ("multiple choice", "all of them", "none of the options"),
        ("boolean", "perhaps", "neither yes nor no"),
        ("math", " ", "empty"),
        ("math", None, "missing"),
    ],
)
def test_bad_answers_name_the_column(folder, task, answer, reason):
    with pytest.raises(BadSample, match=rf"data\.jsonl row 0 \(id 0\): column 'answer'.*{reason}"):
        read_one(folder, {"problem": "Solve.", "answer": answer}, task=task)


def test_vlm_r1(folder):
    talk = [{"from": "human", "value": "<image>Where is it?"}, {"from": "gpt", "value": "[1, 2, 3, 4]"}]
    row = {"id": 3, "image": "a.png", "conversations": talk, "accu_reward_method": "rec"}
    sample = read_one(folder, row)
    assert (sample.id, sample.task, sample.target) == ("3/0", "rec", {"box": [1, 2, 3, 4]})
    assert sample.demonstration == "[1, 2, 3, 4]"
    talk[0]["value"] = "Where are they?"
    sample = read_one(folder, {**row, "image": ["a.png", "b.png"]})
    assert kinds(sample) == ["image", "image", "text"]
    for bad in (talk[:1], talk[::-1], [{"from": "human", "value": 3}, talk[1]], "text", []):
        with pytest.raises(BadSample, match="conversations"):
            read_one(folder, {**row, "conversations": bad})


def test_easyvideor1(folder):
    row = {
        "problem": "Who?",
        "problem_type": "multiple choice",
        "data_type": "video",
        "path": "./v.mp4",
        "options": ["A: a man", "B: a cat"],
        "solution": "<answer>B</answer>",
        "process": "<think>meow</think>",
        "problem_id": 4,
    }
    sample = read_one(folder, row)
    assert sample.messages[0]["content"] == [{"type": "video"}, {"type": "text", "text": "Who?\nA. a man\nB. a cat"}]
    assert sample.target == {"answer": "B", "options": {"A": "a man", "B": "a cat"}}
    assert (sample.id, sample.videos) == ("4/0", ("./v.mp4",))
    assert sample.demonstration == "<think>meow</think><answer>B</answer>"
    image = read_one(folder, {**row, "data_type": "image", "path": "a.png", "solution": "a cat"})
    assert (image.images, image.videos, image.target["answer"]) == (("a.png",), (), "B")
    assert image.demonstration is None
    offline = {**row, "offline_output": "so <answer>B</answer>"}
    assert read_one(folder, offline).demonstration == "so <answer>B</answer>"
    assert "meow" in read_one(folder, {**offline, "has_offline_trajectory": False}).demonstration
    with pytest.raises(BadSample, match="column 'path' is missing"):
        read_one(folder, {**row, "path": ""})
    with pytest.raises(BadSample, match="data_type"):
        read_one(folder, {**row, "data_type": "audio"})


@needs_shared
def test_published_benchmark_rows_all_read(tmp_path):
    files = sorted((SHARED / "benchmarks").glob("*.json"))
    assert files
    for file in files:
        shutil.copy(file, tmp_path / file.name)
        rows = json.loads(file.read_text())
        for row in rows:
            video = tmp_path / row["path"]
            video.parent.mkdir(parents=True, exist_ok=True)
            video.touch()
        samples = list(dataset(tmp_path / file.name))
        assert len({s.id for s in samples}) == len(rows)
        for row, sample in zip(rows, samples, strict=True):
            assert kinds(sample) == ["video", "text"]
            assert row["problem"].strip() in sample.messages[0]["content"][1]["text"]
            if row["problem_type"] == "multiple choice":
                assert sample.target["answer"] in row["solution"]
                assert len(sample.target["options"]) == len(row["options"])
    stvg = dataset(tmp_path / "stvg.json")[0].target
    assert stvg["time"] == [17.017017017017018, 18.51851851851852]
    assert dataset(tmp_path / "charades_sta.json")[0].target == {"interval": [24.296875, 30.40625]}
    assert [s.task for s in dataset(tmp_path / "ovobench.json")][-3:] == ["yes_no", "yes_no", "counting"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": ["a.png"]}, "the prompt has 2 <image> marks and the row has 1 images"),
        ({"prompt": "<image>one tag"}, "the prompt has 1 <image> marks and the row has 2 images"),
        ({"prompt": "<image><image>  "}, "the prompt is empty"),
        ({"prompt": ""}, "column 'prompt' is empty"),
        ({"prompt": None}, "column 'prompt' is missing; the row has id, prompt"),
        ({"prompt": 3}, "column 'prompt' is int, expected text"),
        ({"images": ["a.png", "c.png"]}, "column 'images': file 'c.png' does not exist"),
        ({"images": ["a.png", "../a.png"]}, "column 'images': path '../a.png' leaves the media folder"),
        ({"images": ["a.png", 4]}, "column 'images' holds int, not an image"),
        ({"images": ["a.png", {"bytes": None, "path": None}]}, "column 'images' holds nothing, not an image"),
        ({"videos": ["v.mp4"]}, "0 <video> marks and the row has 1 videos"),
        ({"target": None, "demonstration": None}, "column 'target' is missing"),
        ({"target": "{broken"}, "column 'target' is not JSON"),
        ({"coordinates": "norm100"}, "Did you mean 'norm1000'"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "needs a role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "no user message"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "a part is text"),
        ({"task": " "}, "no task: fill column 'task'"),
        ({"prompt": "<image><image>\ud800"}, "not valid Unicode"),
    ],
)
def test_bad_rows_say_where_and_why(folder, change, reason):
    rows = dataset(write(folder, [MMRL, {**MMRL, **change}]))
    assert rows[0].id == "x1"
    with pytest.raises(BadSample) as caught:
        rows[1]
    assert caught.value.where == "data.jsonl row 1 (id x1)"
    assert reason in caught.value.reason


def test_lines_that_are_no_objects_are_bad_samples(folder):
    path = folder / "data.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(MMRL).encode() + b"\n\n{cut\n[1]\n\xff\xfe\n" + b"[" * 10**5 + b"\n")
    rows = dataset(path)
    assert len(rows) == 5
    assert rows[0].id == "x1"
    for number, reason in ((1, "not JSON"), (2, "the row is list"), (3, "not JSON"), (4, "not JSON")):
        with pytest.raises(BadSample, match=rf"data\.jsonl row {number}: .*{reason}"):
            rows[number]


def test_parquet_json_and_folder_give_the_same_samples(folder):
    rows = [{**MMRL, "id": str(i), "target": json.dumps(MMRL["target"])} for i in range(3)]
    jsonl = list(dataset(write(folder, rows)))
    assert list(dataset(write(folder, {"version": 1, "rows": rows}, "data.json"), name="data.jsonl")) == jsonl
    pq.write_table(pa.Table.from_pylist(rows), folder / "data.parquet", row_group_size=2)
    assert list(dataset(folder / "data.parquet", name="data.jsonl")) == jsonl
    shards = folder / "shards"
    shards.mkdir()
    for i, name in enumerate(("train-0", "train-1", "test-0")):
        write(shards, [rows[i]], f"{name}.jsonl")
    for split, ids in (("train", ["0", "1"]), ("test", ["2"])):
        assert [s.id for s in dataset(shards, root=str(folder), split=split)] == ids
    with pytest.raises(BadSample, match=r"train-1\.jsonl row 0 \(id 1\)"):
        dataset(shards)[1]
    with pytest.raises(UserError, match="no files of split 'val'; splits there: test, train"):
        dataset(shards, split="val")


def test_parquet_image_structs_and_large_files(folder, monkeypatch, tmp_path):
    data = encoded(Image.new("RGB", (28, 28)))
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            "problem": ["<image>a", "<image>b"],
            "answer": ["1", "2"],
            "images": pa.array(
                [[{"bytes": data, "path": "a.png"}], [{"bytes": None, "path": "b.png"}]], pa.list_(struct)
            ),
        }
    )
    pq.write_table(table, folder / "d.parquet")
    small = dataset(folder / "d.parquet", task="math")
    assert [s.images for s in small] == [(data,), ("b.png",)]
    monkeypatch.setattr("mmrl.data.readers.PARQUET_IN_MEMORY", 0)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    assert list(dataset(folder / "d.parquet", task="math")) == list(small)


def test_saved_datasets_folder(folder):
    from datasets import Dataset, DatasetDict

    saved = DatasetDict({"test": Dataset.from_list([{**MMRL, "target": json.dumps(MMRL["target"])}])})
    saved.save_to_disk(folder / "saved")
    rows = dataset(folder / "saved", split="test", root=str(folder))
    assert (rows.format, rows[0].id, rows[0].images) == ("mmrl", "x1", ("a.png", "b.png"))
    with pytest.raises(UserError, match="no split 'train'; it has test"):
        dataset(folder / "saved")


def test_hub_failures_are_one_line(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("offline\nsecond line")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(UserError, match=r"'owner/name' is no local file.*: offline$"):
        dataset("owner/name")


def test_hub_rows_without_a_root_refuse_paths(monkeypatch):
    from datasets import Dataset

    rows = Dataset.from_list([{"problem": "<image>x", "answer": "1", "images": ["a.png"]}])
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **kwargs: rows)
    with pytest.raises(BadSample, match="the dataset has no folder; set its `root`"):
        dataset("owner/name", task="math")[0]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"question": 1, "label": 2}, {}, "columns fit no known format.*columns seen: label, question"),
        (
            {"problem": 1, "answer": 2, "prompt": 3, "target": 4},
            {},
            "fit the formats mmrl and easyr1; set `format`.*columns seen: answer, problem, prompt, target",
        ),
        (
            {"problem": "x"},
            {"format": "easyr1"},
            "format 'easyr1' needs the column 'answer' or 'solution'; columns seen: problem",
        ),
        ({"problem": "x", "answer": "1"}, {}, "name no task; set `task`"),
        ({"prompt": "x", "target": {}}, {"root": "/nowhere"}, "root '/nowhere' is not a folder"),
    ],
)
def test_columns_are_checked_at_opening(folder, columns, options, message):
    with pytest.raises(UserError, match=message):
        dataset(write(folder, [columns]), **options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.jsonl", b"", "has no rows"),
        ("data.json", b"[]", "has no rows"),
        ("data.json", b"{", "is not JSON"),
        ("data.json", b'{"a": [], "b": []}', "an object with 2 lists"),
        ("data.json", b"3", "expected a list"),
        ("data.parquet", b"PAR1 nothing", "is not parquet"),
        ("data.csv", b"a,b", r"unknown extension '.csv'; allowed: .jsonl, .json, .parquet, .tsv"),
    ],
)
def test_unreadable_files_are_user_errors(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        dataset(tmp_path / name)


def test_missing_and_mixed_paths_are_user_errors(tmp_path):
    (tmp_path / "train.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"does not exist. Did you mean 'train.jsonl'"):
        dataset(tmp_path / "trian.jsonl")
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(UserError, match=r"mixes .json and .jsonl"):
        dataset(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no \.jsonl"):
        dataset(tmp_path / "empty")
