"""`mmrl eval --tasks`: answers on disk as they come, nothing lost, what figures are made of, and what is refused."""

import json
import math
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from mmrl.contracts.benchmark import Facts, Reference, Scored
from mmrl.contracts.errors import ConfigError, UserError
from mmrl.contracts.types import Sample
from mmrl.evaluation.benchmarks.files import Asked, FileBenchmark, pictures
from mmrl.evaluation.benchmarks.templates import LETTER
from mmrl.evaluation.suite import docs
from mmrl.evaluation.suite.asking import Asker
from mmrl.evaluation.suite.check import check_benchmark
from mmrl.evaluation.suite.opening import read_suite
from mmrl.evaluation.suite.records import read_records
from mmrl.evaluation.suite.results import _intervals
from mmrl.evaluation.suite.runner import open_task, open_tasks
from mmrl.recipe.benchmarks import BENCHMARKS
from mmrl.recipe.rollout import SamplingConfig
from tests.support.suite import Engine, Policy, ask, gold_of, settings


class Letters(FileBenchmark):
    """Choices about pictures."""

    about = "letters"
    name = "letters"
    known = (Reference("the attic's", 0.25, "its door"),)
    facts = Facts("the attic", "test", 6, "accuracy", "none", "letters/", references=known)
    by = ("kind",)

    def asked(self, row):
        options = row.options("options")
        images = pictures(row, "image")
        return Asked(row.text("question"), "multiple_choice", row.any("answer"), options, images=images)


@pytest.fixture
def letters(workplace, monkeypatch):
    """Six rows about three pictures, in the working folder."""
    monkeypatch.setitem(BENCHMARKS.entries, "letters", Letters)
    rows = [
        {
            "question": f"Question {i}?",
            "options": ["one", "two"],
            "answer": "AB"[i % 2],
            "image": f"{i // 2}.png",
            "kind": ["easy", "hard"][i // 4],
        }
        for i in range(6)
    ]
    (workplace / "letters").mkdir()
    for i in range(3):
        Image.new("RGB", (8, 8), (80 * i, 0, 0)).save(workplace / "letters" / f"{i}.png")
    (workplace / "letters.json").write_text(json.dumps(rows))
    return workplace


def answers_to(folder, answer, tasks=("letters",), output="out", **keys):
    return ask(settings(folder / output, tasks, data_root=str(folder), **keys), answer)


def test_gold_answers_score_one_wrong_ones_nothing_and_groups_are_means(letters):
    config = settings(letters / "gold", ["letters"], data_root=str(letters))
    task = open_tasks(config)[0]
    assert set(ask(config, gold_of(task))["letters"]["figures"].values()) == {1.0}
    wrong = answers_to(letters, lambda sample: "neither")["letters"]
    assert set(wrong["figures"].values()) == {0.0}
    half = answers_to(letters, lambda sample: "A", output="half")["letters"]
    assert half["figures"] == {"score": 0.5, "kind/easy": 0.5, "kind/hard": 0.5}
    # Three pictures of two rows each: as sure as three rows would be at most.
    low, high = half["intervals"]["score"]
    assert low < 0.5 < high
    assert half["references"] == [{"model": "the attic's", "score": 0.25, "source": "its door"}]
    entry = json.loads((letters / "half" / "results.json").read_text())["tasks"]["letters"]
    assert entry == json.loads(json.dumps(half))


def test_broken_media_count_as_wrong_and_are_listed(letters):
    (letters / "letters" / "1.png").write_bytes(b"no picture")
    entry = answers_to(letters, lambda sample: sample.target["answer"])["letters"]
    assert (entry["failures"], entry["rows"]) == (2, 6)
    assert entry["score"] == pytest.approx(4 / 6)
    assert [item["row"] for item in entry["failed"]] == [2, 3]
    assert all("1.png" in item["reason"] for item in entry["failed"])


def test_missing_media_are_refused_or_counted(letters):
    (letters / "letters" / "2.png").unlink()
    with pytest.raises(UserError, match=r"media of 2 of 6 rows are missing, first: letters row 4 .*2\.png.*attic"):
        answers_to(letters, lambda sample: "A")
    assert not (letters / "out").exists()
    entry = answers_to(letters, lambda sample: sample.target["answer"], count_missing=True)["letters"]
    assert (entry["failures"], entry["figures"]["kind/hard"]) == (2, 0.0)
    with pytest.raises(UserError, match="media of 2 of 6 rows are missing"):
        check_benchmark("letters", str(letters))
    # Answers that are on disk are scored whatever lies there now.
    assert len(open_task("letters", str(letters)).survey.missing) == 2


def test_cut_answers_are_counted(letters):
    entry = answers_to(letters, Engine(lambda sample: "A", cut=[0, 5]))["letters"]
    assert entry["truncated"] == 2


def test_what_a_killed_run_was_writing_is_cleared(letters):
    left = letters / "out" / "media" / ".a.png.abcd1234.tmp"
    left.parent.mkdir(parents=True)
    left.touch()
    os.utime(left, (1, 1))
    answers_to(letters, lambda sample: "A")
    assert not left.exists()


def test_a_killed_run_is_gone_on_with_and_ends_the_same(letters):
    answer = lambda sample: "AB"[sample.row % 3 == 0]  # noqa: E731
    answers_to(letters, answer, output="whole", batch_size=2)
    for dies_at in (4, 2):
        engine = Engine(answer, dies_at=dies_at)
        with pytest.raises(KeyboardInterrupt):
            answers_to(letters, engine, output=f"killed{dies_at}", batch_size=2)
        samples = letters / f"killed{dies_at}" / "letters" / "samples.jsonl"
        torn = samples.read_bytes()
        assert torn.count(b"\n") == dies_at
        samples.write_bytes(torn + torn[:37])
        engine = Engine(answer)
        answers_to(letters, engine, output=f"killed{dies_at}", batch_size=2)
        assert engine.asked == list(range(dies_at, 6))
        for name in ("results.json", "letters/samples.jsonl", "letters/protocol.json"):
            assert (letters / f"killed{dies_at}" / name).read_bytes() == (letters / "whole" / name).read_bytes(), name


def test_no_figure_depends_on_the_batch_size(letters):
    first = answers_to(letters, lambda sample: "A", output="a", batch_size=1)
    assert first == answers_to(letters, lambda sample: "A", output="b", batch_size=4)


def test_a_folder_of_another_protocol_or_checkpoint_is_refused(letters):
    answers_to(letters, lambda sample: "A")
    before = (letters / "out" / "results.json").read_bytes()
    with pytest.raises(UserError, match=r"holds answers under another protocol \(protocol.decoding.seed 0 -> 1\)"):
        answers_to(letters, lambda sample: "B", seed=1)
    rows = json.loads((letters / "letters.json").read_text())
    rows[3]["answer"] = "A"
    (letters / "letters.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"protocol\.rows\.digest"):
        answers_to(letters, lambda sample: "B")
    assert (letters / "out" / "results.json").read_bytes() == before


def test_results_of_several_benchmarks_stand_side_by_side(letters):
    answers_to(letters, lambda sample: "A")
    answers_to(letters, lambda sample: "0", tasks=["digits"], limit=5)
    stored = json.loads((letters / "out" / "results.json").read_text())["tasks"]
    assert list(stored) == ["letters", "digits"]
    assert stored["digits"]["protocol"] != stored["letters"]["protocol"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "benchmark 'letters' has no rows"),
        ([{"question": "q", "options": ["one"]}], "column 'answer' is missing"),
        ([{"question": "q", "options": ["one"], "answer": "D"}], "'D' is none of the options A"),
        ([{"question": "", "options": ["one"], "answer": "A"}], "column 'question' is empty"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused_before_anything_is_written(letters, rows, said):
    (letters / "letters.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=said):
        answers_to(letters, lambda sample: "A")
    assert not (letters / "out").exists()


def test_absent_files_say_where_they_come_from(letters):
    (letters / "letters.json").rename(letters / "other.json")
    for picture in (letters / "letters").iterdir():
        picture.unlink()
    (letters / "letters").rmdir()
    with pytest.raises(UserError, match=r"no rows under .*; put letters\.json there .* from the attic, split test"):
        answers_to(letters, lambda sample: "A")
    with pytest.raises(UserError, match="needs its files"):
        ask(settings(letters / "out", ["letters"]), lambda sample: "A")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"tasks": ["digit"]}, "unknown benchmark 'digit'. Did you mean 'digits'"),
        ({"tasks": ["digits", "digits"]}, "each may stand there once"),
        ({"tasks": []}, "tasks"),
        ({"shard": "4/4"}, "not of the form i/n"),
        ({"limits": 3}, "unknown key 'limits'. Did you mean 'limit'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(keys, said):
    with pytest.raises(ConfigError, match=said):
        read_suite({"model": "m", "tasks": ["digits"], "output": "o", **keys})


def test_records_hold_what_was_asked_and_said(letters):
    answers_to(letters, lambda sample: "B. two")
    records = read_records(letters / "out" / "letters" / "samples.jsonl")
    assert records[1].question.endswith("A. one\nB. two\n" + LETTER)
    assert (records[1].answer, records[1].score, records[1].tokens) == ("B. two", 1.0, 3)
    (letters / "out" / "letters" / "samples.jsonl").write_text("not one\n")
    with pytest.raises(UserError, match="line 1 is no answer of a benchmark"):
        answers_to(letters, lambda sample: "A")


def test_an_answer_s_score_is_that_of_what_the_policy_was_shown(letters):
    class Halved(Policy):
        def localise(self, sample, prompt):
            return replace(sample, target={**sample.target, "answer": "A"})

    task = open_tasks(settings(letters / "out", ["letters"], data_root=str(letters)))[0]
    written = []
    asker = Asker(Halved(), Engine(lambda sample: "A"), SamplingConfig(), 0)
    asker.run(task.benchmark, task.rows, range(6), 4, written.extend)
    assert [record.score for record in written] == [1.0] * 6
    assert {record.target["answer"] for record in written} == {"A"}


def test_the_page_of_benchmarks_is_current():
    assert docs.PAGE.read_text() == docs.render(docs.PAGE.read_text()), "run: python -m mmrl.evaluation.suite.docs"
    with pytest.raises(ValueError, match="no heading"):
        docs.render("another page")


def test_intervals_are_wilson_s_over_as_many_rows_as_weights_stand_for():
    weights = [0.1, 0.2, 0.3, 0.4]
    scored = [Scored(Sample(str(i), (), "ocr", {}), "", float(i % 2 == 0)) for i in range(4)]
    benchmark = SimpleNamespace(cluster=lambda sample: sample.id, weights=lambda scored: {"score": weights})
    p, n, z = 0.4, 1 / 0.3, 1.959964
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    expected = [(centre + sign * half) / (1 + z * z / n) for sign in (-1, 1)]
    assert _intervals(benchmark, scored)["score"] == pytest.approx(expected, rel=1e-5)
