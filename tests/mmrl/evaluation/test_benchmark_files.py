"""Every benchmark of files reads a row of its true form: gold answers score 1 through the runner, wrong ones 0."""

import json
from pathlib import Path

import pytest
from PIL import Image

from mmrl.contracts.errors import UserError
from mmrl.evaluation.benchmarks.video_groups import group_score
from mmrl.evaluation.suite.check import check_benchmark
from mmrl.evaluation.suite.docs import PAGE
from mmrl.evaluation.suite.listing import described
from mmrl.evaluation.suite.named import WORDS
from mmrl.evaluation.suite.runner import open_tasks
from mmrl.evaluation.suite.stored import rescore
from mmrl.recipe.benchmarks import BENCHMARKS
from tests.support.benchmark_rows import ROWS, write
from tests.support.media import SHARED
from tests.support.suite import ask, gold_of, settings

# Files that hold first rows as EasyVideoR1 has them.
PUBLISHED = SHARED / "benchmarks"
EASYVIDEOR1 = [
    *("videomme", "mvbench", "motionbench", "lvbench", "longvideobench", "mlvu", "video_holmes", "minerva"),
    *("longvideo_reason", "mmvu", "videommmu", "livesports3k_qa", "vsibench", "charades_sta", "stvg", "ovobench"),
    *("vcrbench", "videoreasonbench"),
]
# Suites' words for benchmarks; of some there are no rows but EasyVideoR1's.
NAMED = [(suite, name) for suite in WORDS for name in WORDS[suite] if {name, f"{name}:hub"} & ROWS.keys()]
PROMPTS = Path(__file__).with_name("prompts.json")
needs_rows = pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no first rows of public benchmarks at {PUBLISHED}")


def proved(name, root, output, wrong="something that nobody asked about"):
    """The results of gold answers, whose figures must be 1, and of wrong ones, 0."""
    config = settings(output / "gold", [name], data_root=str(root), count_missing=True)
    (task,) = open_tasks(config)
    entry = ask(config, gold_of(task), [task])[name]
    assert entry["failures"] == 0, entry["failed"]
    config = settings(output / "wrong", [name], data_root=str(root), count_missing=True)
    wrongly = ask(config, lambda sample: wrong, [task])[name]
    assert wrongly["score"] == 0.0
    assert wrongly["rows"] == entry["rows"]
    return task, entry


@needs_rows
@pytest.mark.parametrize("name", EASYVIDEOR1)
def test_first_rows_of_public_files_are_read_and_scored(name, tmp_path):
    task, entry = proved(name, PUBLISHED, tmp_path)
    assert entry["score"] == 1.0
    assert all(sample.videos for sample in task.rows)
    with pytest.raises(Exception, match=f"media of {len(task.rows)} of {len(task.rows)} rows are missing"):
        check_benchmark(name, str(PUBLISHED))


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows_of_a_set_itself_are_read_and_scored(name, tmp_path):
    benchmark, best = name.partition(":")[0], ROWS[name].best
    write(tmp_path, name)
    task, entry = proved(benchmark, tmp_path, tmp_path, ROWS[name].wrong)
    assert entry["score"] == pytest.approx(best)
    asked = [task.rows[i].messages[-1]["content"] for i in range(len(task.rows))]
    shown = ["".join(part.get("text", f"<{part['type']}>") for part in content) for content in asked]
    assert shown == json.loads(PROMPTS.read_text())[name]
    assert check_benchmark(benchmark, str(tmp_path)).startswith(f"{benchmark}: {len(task.rows)} rows")


def test_every_benchmark_is_proved_by_rows():
    files = {name for name in BENCHMARKS.entries if hasattr(BENCHMARKS.get(name), "asked")}
    assert files == {*EASYVIDEOR1, *(name.partition(":")[0] for name in ROWS)}
    for name in files:
        assert BENCHMARKS.get(name).name == name


def test_every_benchmark_says_where_it_comes_from():
    for name, about, facts in described(BENCHMARKS.entries):
        assert about, name
        assert all((facts.source, facts.metric, facts.licence, facts.media)), name
        assert f"| `{name}` |" in PAGE.read_text()


def test_pictures_of_a_tab_separated_file_may_stand_in_another_row(tmp_path):
    write(tmp_path, "mmbench_en")
    lines = (tmp_path / "mmbench_en.tsv").read_text().splitlines()
    assert lines[2].split("\t")[1] == "7"
    config = settings(tmp_path / "out", ["mmbench_en"], data_root=str(tmp_path))
    (task,) = open_tasks(config)
    assert task.rows[0].images == task.rows[1].images
    assert ask(config, gold_of(task), [task])["mmbench_en"]["failures"] == 0


def test_a_question_of_mmbench_counts_where_every_rotation_is_right(tmp_path):
    write(tmp_path, "mmbench_en")
    config = settings(tmp_path / "out", ["mmbench_en"], data_root=str(tmp_path))
    (task,) = open_tasks(config)
    answer = lambda sample: "no" if sample.row == 1 else task.benchmark.gold(sample)  # noqa: E731
    figures = ask(config, answer, [task])["mmbench_en"]["figures"]
    assert figures["score"] == 0.5
    assert figures["plain"] == pytest.approx(2 / 3)


def test_a_name_that_is_no_column_s_is_one_line(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "ai2d.json").write_text(
        json.dumps([{"question": "?", "options": ["a"], "answer": "x", "image": "a.png"}])
    )
    with pytest.raises(Exception, match=r"benchmark 'ai2d': .*column 'answer' is 'x', not the number of an option"):
        check_benchmark("ai2d", str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "structure", "right", "worth"),
    [
        ("relevance", "None", [True, False, True, True], 9 / 16),
        ("logic", "[1, 2, 3, 4]", [True, True, False, True], 4 / 16),
        ("logic", "[1, [2, 3], 4]", [True, False, True, True], 4 / 12),
        ("logic", "[[1, 2], 3, 4]", [False, True, True, True], 1 / 10),
        ("logic", "[[1, 2], 3, 4]", [True] * 4, 1.0),
    ],
)
def test_groups_of_four_answers_are_worth_what_video_mme_v2_gives_them(kind, structure, right, worth):
    assert group_score(kind, structure, right) == pytest.approx(worth)


def test_what_the_answers_about_a_video_come_to(tmp_path):
    write(tmp_path, "videomme_v2")
    config = settings(tmp_path / "out", ["videomme_v2"], data_root=str(tmp_path))
    (task,) = open_tasks(config)
    answer = lambda sample: "no" if sample.row == 1 else task.benchmark.gold(sample)  # noqa: E731
    figures = ask(config, answer, [task])["videomme_v2"]["figures"]
    assert figures == {"score": pytest.approx(4 / 12), "logic": pytest.approx(4 / 12), "plain": 0.75, "level/2": 0.75}


def test_a_class_that_its_list_lacks_is_one_line(tmp_path):
    rows = [{"image": "a.png", "label": "rose", "classes": ["lily"]}]
    (tmp_path / "flowers102.json").write_text(json.dumps(rows))
    with pytest.raises(Exception, match=r"benchmark 'flowers102': .*the class 'rose' is none of its list"):
        check_benchmark("flowers102", str(tmp_path))
    (tmp_path / "flowers102").mkdir()
    (tmp_path / "flowers102" / "split_zhou_OxfordFlowers.json").write_text('{"train": []}')
    with pytest.raises(Exception, match="is no split file of CoOp"):
        check_benchmark("flowers102", str(tmp_path))


@pytest.mark.parametrize(("suite", "benchmark"), NAMED)
def test_rows_are_asked_in_the_words_of_other_suites(suite, benchmark, tmp_path):
    case = next(name for name in (benchmark, f"{benchmark}:hub") if name in ROWS)
    write(tmp_path, case)
    config = settings(tmp_path / "out", [benchmark], data_root=str(tmp_path), protocol=suite)
    (task,) = open_tasks(config)
    asked = [message["content"] for i in range(len(task.rows)) for message in task.rows[i].messages]
    shown = ["".join(part.get("text", f"<{part['type']}>") for part in content) for content in asked]
    assert shown == json.loads(PROMPTS.read_text())[f"{case} {suite}"]
    entry = ask(config, lambda sample: "no such thing", [task])[benchmark]
    assert entry["protocol"]["scoring"]["suite"] == suite
    assert entry["failures"] == 0


def test_a_protocol_has_its_own_digest_and_refuses_what_it_does_not_word(tmp_path):
    write(tmp_path, "pope")
    ours = ask(settings(tmp_path / "a", ["pope"], data_root=str(tmp_path)), lambda sample: "Yes.")["pope"]
    theirs = settings(tmp_path / "b", ["pope"], data_root=str(tmp_path), protocol="lmms-eval")
    entry = ask(theirs, lambda sample: "Yes.")["pope"]
    assert (ours["score"], entry["score"]) == (0.5, 0.0)
    assert ours["protocol_digest"] != entry["protocol_digest"]
    assert rescore(tmp_path / "b", tmp_path / "c", str(tmp_path), say=lambda line: None)["pope"]["score"] == 0.0
    with pytest.raises(Exception, match=r"benchmark 'digits' has no protocol of qwen; those that have: mmmu"):
        open_tasks(settings(tmp_path / "d", ["digits"], protocol="qwen"))
    with pytest.raises(Exception, match=r"unknown protocol 'lmms'. Did you mean 'lmms-eval'"):
        settings(tmp_path / "d", ["digits"], protocol="lmms")


def easyvideor1_rows(root):
    row = {"problem": "Which way?", "problem_type": "multiple choice", "options": ["A. left", "B. right"]}
    row |= {"solution": "<answer>B</answer>", "path": "clips/1.mp4", "original_question_type": "route_planning"}
    (root / "vsibench.json").write_text(json.dumps([row]))
    return str(root)


def test_rules_that_read_a_column_which_rows_lack_are_refused_before_anything_is_asked(tmp_path):
    root = easyvideor1_rows(tmp_path)
    said = r"benchmark 'vsibench': .*the rules of lmms-eval read column 'ground_truth', which it lacks"
    with pytest.raises(UserError, match=said):
        open_tasks(settings(tmp_path / "a", ["vsibench"], data_root=root, protocol="lmms-eval"))
    ask(settings(tmp_path / "b", ["vsibench"], data_root=root, count_missing=True), lambda sample: "B")
    with pytest.raises(UserError, match=said):
        rescore(tmp_path / "b", tmp_path / "c", root, "lmms-eval")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(("name", "case"), [("tempcompass", "tempcompass"), ("vsibench", "vsibench:hub")])
def test_options_are_not_permuted_for_rules_that_read_the_row_s_own(name, case, tmp_path):
    write(tmp_path, case)
    keys = {"data_root": str(tmp_path), "protocol": "lmms-eval"}
    with pytest.raises(UserError, match=f"benchmark '{name}': the rules of lmms-eval read the right option of the row"):
        open_tasks(settings(tmp_path / "a", [f"{name}@options_permuted"], **keys))
    assert open_tasks(settings(tmp_path / "a", [f"{name}@text_only"], **keys))


def test_the_folder_of_files_that_sets_have_themselves_may_be_in_the_user_s_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("flowers102", "coco_detection"):
        write(tmp_path / "sets", name)
        assert open_tasks(settings(tmp_path / "out", [name], data_root="~/sets"))[0].survey.count
