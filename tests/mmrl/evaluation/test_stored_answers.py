"""Answers on disk: shards put together, scored anew, compared row by row, and written as other suites have them."""

import json

import pytest

from mmrl.cli import main
from mmrl.contracts.errors import UserError
from mmrl.data.readers import open_file
from mmrl.evaluation.suite.comparing import compare_evaluations, render, sign_test
from mmrl.evaluation.suite.export import lmms_eval_line, write_vlmevalkit
from mmrl.evaluation.suite.named import rules_of
from mmrl.evaluation.suite.records import Records, read_records
from mmrl.evaluation.suite.runner import open_tasks
from mmrl.evaluation.suite.stored import merge, rescore
from tests.support.benchmark_rows import write
from tests.support.suite import ask, gold_of, settings


@pytest.fixture
def pope(tmp_path):
    """Answers to four rows of POPE; the folder of its file."""
    write(tmp_path, "pope")
    rows = json.loads((tmp_path / "pope.json").read_text())
    for number, row in enumerate(rows * 2):
        row["question_id"] = str(number)
    (tmp_path / "pope.json").write_text(json.dumps(rows * 2))
    return tmp_path


def answers_to(root, output, answer, **keys):
    config = settings(root / output, ["pope"], data_root=str(root), **keys)
    (task,) = open_tasks(config)
    return ask(config, answer(task), [task])["pope"]


def yes(task):
    return lambda sample: "Yes, there is one."


def test_shards_put_together_equal_one_run(pope):
    answers_to(pope, "whole", yes)
    for shard in ("0/2", "1/2"):
        answers_to(pope, f"part{shard[0]}", yes, shard=shard)
    merge([pope / "part1", pope / "part0"], pope / "merged", str(pope))
    for name in ("results.json", "pope/samples.jsonl", "pope/protocol.json"):
        assert (pope / "merged" / name).read_bytes() == (pope / "whole" / name).read_bytes(), name


def test_shards_that_do_not_fit_are_refused(pope):
    answers_to(pope, "part0", yes, shard="0/2")
    with pytest.raises(UserError, match="of 2 shards 1 are missing"):
        merge([pope / "part0"], pope / "merged", str(pope))
    answers_to(pope, "other", yes, shard="1/2", seed=3)
    with pytest.raises(UserError, match=r"another protocol than .* \(protocol.decoding.seed"):
        merge([pope / "part0", pope / "other"], pope / "merged", str(pope))
    answers_to(pope, "part1", yes, shard="1/2")
    samples = pope / "part1" / "pope" / "samples.jsonl"
    samples.write_text(samples.read_text().splitlines(keepends=True)[0])
    with pytest.raises(UserError, match="is not finished: 1 answers are missing"):
        merge([pope / "part0", pope / "part1"], pope / "merged", str(pope))
    with pytest.raises(UserError, match="are both shard 0/2"):
        merge([pope / "part0", pope / "part0"], pope / "merged", str(pope))
    with pytest.raises(UserError, match="holds no answers of benchmarks"):
        merge([pope / "nothing"], pope / "merged", str(pope))
    assert not (pope / "merged").exists()


def test_saved_answers_are_scored_anew_as_a_suite_does(pope):
    ours = answers_to(pope, "ours", yes)
    said = []
    theirs = rescore(pope / "ours", pope / "theirs", str(pope), "lmms-eval", said.append)["pope"]
    # lmms-eval takes nothing but the word itself.
    assert (ours["score"], theirs["score"]) == (0.5, 0.0)
    assert said == ["pope: 0.000, 2 of 4 scores changed"]
    scoring = theirs["protocol"]["scoring"]
    assert scoring["extractor"] == scoring["metric"] == rules_of("lmms-eval") != "lmms-eval"
    back = rescore(pope / "theirs", pope / "back", str(pope), None, said.append)["pope"]
    assert back == ours
    with pytest.raises(UserError, match=r"unknown scorer 'lmms_eval'\. Did you mean 'lmms-eval'"):
        rescore(pope / "ours", pope / "x", str(pope), "lmms_eval")
    with pytest.raises(UserError, match="is the folder of the answers itself"):
        rescore(pope / "ours", pope / "ours", str(pope))
    (pope / "pope.json").write_text(json.dumps(json.loads((pope / "pope.json").read_text())[::-1]))
    with pytest.raises(UserError, match="has other rows than those that"):
        rescore(pope / "ours", pope / "x", str(pope))


def test_two_evaluations_are_compared_row_by_row(pope):
    answers_to(pope, "a", yes)
    answers_to(pope, "b", gold_of)
    (pair,) = compare_evaluations(pope / "a", pope / "b")
    assert (pair.first, pair.second, pair.change, pair.rows) == (0.5, 1.0, 0.5, 4)
    assert (len(pair.lost), len(pair.won)) == (0, 2)
    assert pair.p == 0.5
    # All four are of one picture.
    assert pair.interval is None
    answers_to(pope, "c", yes, seed=2)
    with pytest.raises(UserError, match=r"different protocols \(decoding.seed 0 -> 2\)"):
        compare_evaluations(pope / "a", pope / "c")
    (pair,) = compare_evaluations(pope / "a", pope / "c", across=True)
    assert "pope: protocol: decoding.seed 0 -> 2" in render([pair], ("a", "c"))


def test_the_sign_test_is_exact():
    assert sign_test(0, 0) == 1.0
    assert sign_test(0, 5) == pytest.approx(2 / 32)
    assert sign_test(1, 9) == pytest.approx(2 * 11 / 1024)
    assert sign_test(5, 5) == 1.0


def test_the_commands_say_what_they_did(pope, capsys):
    answers_to(pope, "a", yes)
    answers_to(pope, "b", gold_of)
    root = ["--data-root", str(pope)]
    assert main(["compare", str(pope / "a"), str(pope / "b")]) == 0
    assert "+0.500" in capsys.readouterr().out
    assert main(["eval", "rescore", str(pope / "a"), "--output", str(pope / "r"), "--scorer", "vlmevalkit", *root]) == 0
    assert "pope: 0.500, 0 of 4 scores changed" in capsys.readouterr().out
    assert main(["eval", "merge", str(pope / "a"), "--output", str(pope / "m"), *root]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"written: {pope / 'm'}/results.json"
    for argv, said in [
        (["eval", "merge"], "name the folders of the shards"),
        (["eval", "rescore", str(pope / "a")], "--output is needed"),
        (["compare", str(pope / "a"), str(pope / "b"), "--output", "x.html"], "a page is written of two runs"),
    ]:
        assert main(argv) == 2
        assert said in capsys.readouterr().err


def test_answers_are_written_as_lmms_eval_and_vlmevalkit_have_them(pope):
    answers_to(pope, "a", yes)
    (task,) = open_tasks(settings(pope / "a", ["pope"], data_root=str(pope)))
    table = open_file(write_vlmevalkit(pope / "a", task, "stub"))
    rows = [table.get(i) for i in range(len(table))]
    assert list(rows[0]) == ["index", "question_id", "question", "answer", "image_source", "category", "prediction"]
    assert [row["prediction"] for row in rows] == ["Yes, there is one."] * 4
    assert (pope / "a" / "stub" / "stub_POPE.tsv").is_file()
    record = read_records(Records(pope / "a" / "pope").path)[1]
    line = lmms_eval_line(record, task.rows[1])
    assert (line["doc_id"], line["filtered_resps"], line["score"]) == (1, "Yes, there is one.", 1.0)
