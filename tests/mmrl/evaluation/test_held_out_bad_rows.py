"""Held-out rows that are bad under `skip`: they stay in the denominator of their task, or in a figure of their own."""

import json
from types import SimpleNamespace

import pytest

import mmrl
from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.types import Sample
from mmrl.evaluation.rows import BadRows, MediaAhead, batches
from mmrl.evaluation.runner import _prepare
from tests.support.runs import recipe
from tests.support.videos import write_video

COUNT = {"task": "counting", "target": {"count": 1}}
READ = {"task": "ocr", "target": {"text": "1"}}


@pytest.fixture
def evaluated(tiny_qwen, tmp_path):
    """The figures of a policy that is always right, and the run's bad samples, of held-out sets given as rows."""
    write_video(tmp_path / "a.mp4", 1, 8)
    (tmp_path / "no.mp4").write_bytes(b"no video at all" * 50)

    def run(*sets, on_bad="skip"):
        raw = recipe(tiny_qwen(), tmp_path, method="sft", steps=1, checkpoint={"best": None})
        raw["policy"]["video"] = {"frames": 2, "min_pixels": 784, "max_pixels": 784}
        row = {"prompt": "<video>How many?", "videos": ["a.mp4"], "demonstration": "1", **COUNT}
        data = {"train": [row]} | {f"eval{i}": [row | one for one in rows] for i, rows in enumerate(sets)}
        for name, rows in data.items():
            (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        files = {name: {"type": "file", "path": str(tmp_path / f"{name}.jsonl")} for name in data}
        held_out = [files[f"eval{i}"] for i in range(len(sets))]
        raw["data"] = {"train": [files["train"]], "eval": held_out, "on_bad_sample": on_bad}
        raw["evaluation"] = {"sampling": {"max_new_tokens": 2}, "batch_size": 3, "loss": False}
        outcome = mmrl.train(raw, reward=lambda text, sample: 1.0)
        path = outcome.folder / "bad_samples.jsonl"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return outcome.summary["final"], found

    return run


def test_a_row_with_a_missing_or_broken_video_is_wrong_in_its_own_task(evaluated):
    missing, broken = {"videos": ["gone.mp4"]}, {"videos": ["no.mp4"]}
    figures, bad = evaluated([{}, {}, missing | READ, broken | READ, READ, {}, missing, READ])
    assert figures == {"counting": 3 / 4, "ocr": 2 / 4, "mean": (3 / 4 + 2 / 4) / 2}
    assert [(entry["data"], entry["dataset"], entry["row"]) for entry in bad] == [
        ("eval", "file", row) for row in (2, 3, 6)
    ], "once each, though evaluated twice"
    assert [entry["path"].rsplit("/", 1)[-1] for entry in bad] == ["gone.mp4", "no.mp4", "gone.mp4"]
    assert "does not exist" in bad[0]["reason"]
    assert "not_a_video" in bad[1]["reason"]


def test_a_row_without_a_task_counts_in_the_only_one_of_its_dataset(evaluated):
    nameless = {"task": None, "videos": ["gone.mp4"]}
    figures, _ = evaluated([{}, nameless, {}, {}])
    assert figures == {"counting": 3 / 4, "mean": 3 / 4}


def test_a_row_whose_task_cannot_be_known_is_in_a_figure_of_its_own_and_not_in_the_mean(evaluated):
    nameless = {"task": None, "videos": ["gone.mp4"]}
    figures, bad = evaluated([{}, READ, nameless, {}], [{}])
    assert figures == {"file/counting": 1.0, "ocr": 1.0, "file+/counting": 1.0, "mean": 1.0, "unreadable": 1 / 5}
    assert len(bad) == 1


def test_stop_raises_in_the_rows_place(evaluated):
    with pytest.raises(UserError, match=r"eval0\.jsonl row 3 .*gone\.mp4.*set data\.on_bad_sample: skip"):
        evaluated([{}, {}, {}, {"videos": ["gone.mp4"]}], on_bad="stop")


class Rows:
    """A user's rows, of which one cannot be read and names no task."""

    def __len__(self):
        return 4

    def __getitem__(self, row):
        if row == 1:
            raise BadSample(f"mine row {row}", "was lost")
        messages = ({"role": "user", "content": [{"type": "text", "text": "One?"}]},)
        return Sample(str(row), messages, "ab"[row % 2] if row else "b", {}, dataset="mine", row=row)


def test_the_command_without_a_run_warns_and_counts(tiny_qwen, tmp_path, caplog):
    raw = recipe(tiny_qwen(), tmp_path, evaluation={"sampling": {"max_new_tokens": 2}})
    raw["data"]["on_bad_sample"] = "skip"
    figures = mmrl.evaluate(raw, reward=lambda text, sample: 1.0, eval_data=Rows())
    assert figures == {"a": 1.0, "b": 1.0, "mean": 1.0, "unreadable": 1 / 4}
    assert "bad sample, skipped (eval eval): mine row 1: was lost" in caplog.text


def test_a_row_without_answers_that_cannot_be_prepared_counts_in_no_task():
    """Under `skip`; it is noted, and what can be prepared is."""

    def make(sample, rewarded):
        if sample.row:
            raise BadSample(sample.where, "cannot be read")
        return sample.id, rewarded

    noted, samples = [], [Sample(f"q{i}", (), "ocr", {"text": "1"}, row=i) for i in (1, 0, 2)]
    ahead, preparer = SimpleNamespace(want=lambda now, coming: None), SimpleNamespace(make=make)
    bad = BadRows("own", "skip", lambda error, dataset, row: noted.append((dataset, row)))
    assert _prepare(samples, preparer, bad, ahead, [], scored=False) == [None, ("q0", False), None]
    assert (bad.unmeasured, bad.unknown, dict(bad.tasks)) == (2, 0, {})
    assert _prepare(samples[:2], preparer, bad, ahead, []) == [None, ("q0", True)]
    assert (bad.unmeasured, bad.unknown, dict(bad.tasks)) == (2, 0, {"ocr": 1})
    assert noted == [("own", 1), ("own", 2), ("own", 1)]


def test_media_are_read_ahead_where_there_are_readers_and_a_number_of_rows():
    told = []
    readers = SimpleNamespace(want=lambda jobs: told.append(sorted(jobs)))
    samples = [SimpleNamespace(id=name, videos=()) for name in "ab"]
    for videos_ahead, count in ((readers, 0), (None, 3), (readers, 3)):
        videos = SimpleNamespace(ahead=videos_ahead, jobs=lambda sample: {sample.id: None})
        MediaAhead(videos, count, None).want(samples[:1], samples[1:])
    MediaAhead(None, 3, None).want(samples, [])
    assert told == [["a", "b"]]


def test_no_more_rows_are_built_than_a_batch_and_those_ahead_of_it():
    class Rows:
        built = 0

        def __getitem__(self, row):
            self.built += 1
            return row

    rows, counts = Rows(), []
    for now, coming in batches(rows, 9, 2, 3, BadRows("own", "stop", None)):
        counts.append((now, coming, rows.built))
    assert counts == [
        ([0, 1], [2, 3, 4], 5), ([2, 3], [4, 5, 6], 7), ([4, 5], [6, 7, 8], 9), ([6, 7], [8], 9), ([8], [], 9),
    ]  # fmt: skip
