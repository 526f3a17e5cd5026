"""Benchmarks under arms, those of robots, and a user's own in YAML."""

import json

import pytest
from PIL import Image

from mmrl.contracts.errors import BadSample, ConfigError, UserError
from mmrl.contracts.types import Sample
from mmrl.evaluation.suite.arms import ARMS, ArmRows
from mmrl.evaluation.suite.check import check_benchmark
from mmrl.evaluation.suite.runner import open_task, open_tasks
from mmrl.evaluation.suite.text_arms import options_permuted, wrong_answer
from mmrl.recipe.benchmarks import BENCHMARKS
from mmrl.recipe.suite import ARMS as NAMES
from tests.support.suite import ask, gold_of, settings
from tests.support.videos import video_sample

OWN = """
rows: signs.jsonl
root: photographs
task: multiple_choice
columns: {question: asked, answer: label, options: choices, images: picture}
template: "{{ question }} ({{ country }}) {% for key, text in options.items() %}{{ key }}: {{ text }} {% endfor %}"
by: [country]
"""


def digits(tmp_path, *tasks):
    return open_tasks(settings(tmp_path / "out", tasks, limit=5))


def test_every_arm_has_a_name_and_changes_what_it_says(tmp_path):
    assert tuple(ARMS) == NAMES
    plain, blind, blank, swapped = digits(tmp_path, "digits", "digits@text_only", "digits@blank", "digits@swapped")
    for row in range(5):
        sample = plain.rows[row]
        assert blind.rows[row].images == ()
        assert blind.rows[row].question == sample.question
        assert {part["type"] for message in blind.rows[row].messages for part in message["content"]} == {"text"}
        (picture,) = blank.rows[row].images
        assert picture.size == sample.images[0].size
        assert picture.getextrema() == ((127, 127),) * 3
        (other,) = swapped.rows[row].images
        assert other.tobytes() != sample.images[0].tobytes()
    assert len({task.survey.digest for task in (plain, blind, blank, swapped)}) == 4
    assert {task.name for task in (plain, blind)} == {"digits", "digits@text_only"}
    entry = ask(settings(tmp_path / "out", ["digits@blank"], limit=5), gold_of(blank))["digits@blank"]
    assert entry["protocol"]["benchmark"] == "digits@blank"
    assert (tmp_path / "out" / "digits_blank" / "samples.jsonl").is_file()


def test_arms_of_videos_change_their_budgets():
    rows = [video_sample("a.mp4", budgets={"video": {"fps": 1.0}}), video_sample("b.mp4")]
    assert ArmRows("v", rows, "frames_shuffled", 2)[0].budgets == {"video": {"fps": 1.0, "shuffle": True}}
    assert ArmRows("v", rows, "frames_dropped", 2)[1].budgets == {"video": {"drop": 0.5}}
    assert [sample.videos for sample in ArmRows("v", rows, "swapped", 2)[:2]] == [("b.mp4",), ("a.mp4",)]


def choice(row=0, answer="B", text="Which?\nA. cat\nB. red car\nC. dog\nAnswer with the letter."):
    content = [{"type": "image"}, {"type": "text", "text": text}]
    options = {"A": "cat", "B": "red car", "C": "dog"}
    target = {"answer": answer, "options": options}
    picture = Image.new("RGB", (8, 8))
    return Sample(str(row), ({"role": "user", "content": content},), "multiple_choice", target, images=(picture,))


def test_options_move_on_with_the_right_letter():
    moved = ArmRows("c", [choice()], "options_permuted", 1)[0]
    assert moved.question == "Which?\nA. dog\nB. cat\nC. red car\nAnswer with the letter."
    assert moved.target == {"answer": "C", "options": {"A": "dog", "B": "cat", "C": "red car"}}
    assert options_permuted([choice(answer=["A", "C"])], 0).target["answer"] == ["B", "A"]
    bracketed = choice(text="Which?\n(A) cat\n(B) red car\n(C) dog")
    assert options_permuted([bracketed], 0).question == "Which?\n(A) dog\n(B) cat\n(C) red car"
    with pytest.raises(BadSample, match="does not hold each option once"):
        options_permuted([choice(text="Which?")], 0)


def test_wrong_answers_are_told_and_are_wrong():
    told = ArmRows("c", [choice()], "misleading_caption", 1)[0]
    assert told.question.endswith("\nA caption of it says: C, dog.")
    assert told.target == choice().target
    assert "so the answer is A, cat." in ArmRows("c", [choice(answer="C")], "wrong_reasoning", 1)[0].question
    words = [Sample(str(i), choice().messages, "ocr", {"text": text}) for i, text in enumerate(("7", "7", "4"))]
    assert wrong_answer(words, 0) == "4"
    assert wrong_answer(words, 2) == "7"
    assert wrong_answer(words[:2], 0) is None
    with pytest.raises(UserError, match="arm 'wrong_reasoning' changes what is said of a wrong answer, and its first"):
        ArmRows("c", words[:2], "wrong_reasoning", 2)
    with pytest.raises(UserError, match="arm 'options_permuted' changes the order of options, and its first row has"):
        ArmRows("c", words, "options_permuted", 3)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("digits@frames_shuffled", "arm 'frames_shuffled' changes videos, and its first row has none"),
        ("tabletop@blank", "arm 'blank' changes pictures, and its first row has none"),
    ],
)
def test_an_arm_that_changes_nothing_is_refused(task, said):
    with pytest.raises(UserError, match=said):
        open_task(task, None)


def test_an_unknown_arm_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"unknown arm 'blanc'\. Did you mean 'blank'"):
        settings(tmp_path, ["digits@blanc"])


def test_settings_of_a_benchmark_s_simulator(tmp_path):
    def opened(**simulators):
        return open_tasks(settings(tmp_path, ["tabletop"], limit=2, simulators=simulators))[0].benchmark.simulators

    assert opened(tabletop={"num_envs": 2})["tabletop"]["num_envs"] == 2
    assert opened()["tabletop"]["num_envs"] is None
    with pytest.raises(UserError, match=r"unknown simulator of these benchmarks: 'table'\. Did you mean 'tabletop'"):
        opened(table={"num_envs": 2})
    with pytest.raises(ConfigError, match=r"simulators\.tabletop\.num_env: unknown key 'num_env'\. Did you mean"):
        opened(tabletop={"num_env": 2})


@pytest.mark.parametrize(("name", "tasks"), [("libero_spatial", 10), ("libero_90", 90)])
def test_starts_of_libero_are_the_published_ones(name, tasks):
    benchmark = BENCHMARKS.get(name)()
    rows = benchmark.rows(None)
    assert len(rows) == 50 * tasks
    assert [benchmark.task_of(rows[i]) for i in (0, 1, tasks)] == ["00", "01", "00"]
    assert benchmark.simulators["libero"]["suite"] == name


def test_figures_of_episodes_stand_per_task():
    from mmrl.contracts.benchmark import Scored

    benchmark = BENCHMARKS.get("libero_goal")()
    rows = benchmark.rows(None)
    scored = [Scored(rows[i], "", float(i % 10 == 3)) for i in range(20)]
    figures = benchmark.aggregate(scored)
    assert figures["score"] == pytest.approx(0.1)
    assert (figures["task/03"], figures["task/04"]) == (1.0, 0.0)


def test_a_benchmark_of_one_s_own_in_yaml(workplace):
    (workplace / "photographs").mkdir()
    Image.new("RGB", (8, 8)).save(workplace / "photographs" / "1.png")
    rows = [
        {"asked": "Which?", "label": label, "choices": ["stop", "go"], "picture": "1.png", "country": country}
        for label, country in (("stop", "FR"), ("B", "IT"))
    ]
    (workplace / "signs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workplace / "signs.yaml").write_text(OWN)
    config = settings(workplace / "out", ["signs.yaml"])
    (task,) = open_tasks(config)
    assert task.rows[0].messages[0]["content"][1]["text"] == "Which? (FR) A: stop B: go "
    assert ask(config, gold_of(task), [task])["signs.yaml"]["figures"] == {"score": 1, "country/FR": 1, "country/IT": 1}
    assert check_benchmark("signs.yaml", None) == "signs.yaml: 2 rows, no media missing, 2 right answers score 1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("task: multiple_choice", "task: multiple_chioce"), "no reward for the task 'multiple_chioce'"),
        (("by: [country]", "bye: [country]"), "unknown key 'bye'. Did you mean 'by'"),
        (("images: picture", "pictures: picture"), "'pictures' is none of question, answer"),
        (("by: [country]", "measure: luck"), "measure 'luck' is none of exact, score"),
    ],
)
def test_a_benchmark_of_one_s_own_that_is_wrong_is_one_line(workplace, change, said):
    (workplace / "signs.yaml").write_text(OWN.replace(*change))
    with pytest.raises(ConfigError) as caught:
        open_task("signs.yaml", None)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
