"""Task names and plain answers: one table, owned by the rewards."""

import dataclasses
import json
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_rewards import NeedsTarget, combine, get_reward, list_rewards, plain_answers, target_of, validate
from vision_rewards.registry import reward_class, task_table
from vision_rewards.rewards.numeric import Numeric

PARAMS = {
    "judge": {"policy": lambda messages: '{"grade": 0}'},
    "rubric": {"policy": lambda messages: '{"grades": [0]}', "criteria": ["It is right."]},
}
MASK = {"size": [4, 4], "counts": [0, 8, 8]}
TRACK = {"1": [0, 0, 10, 10], "2": [5, 0, 15, 10]}
ABCD = {"A": "a", "B": "b", "C": "c", "D": "d"}


def prove(reward, target):
    """The target can be scored, and its gold answer scores 1.0."""
    if reward.needs_group:
        target = reward.with_group([str(target["answer"])] * 2, target)
    validate(reward, [target])


@pytest.mark.parametrize("row", plain_answers(), ids=lambda row: row.task)
def test_a_plain_row_of_every_task_is_scored_or_told_to_write_its_target(row):
    if row.form is None:
        with pytest.raises(NeedsTarget, match="write the column `target`") as error:
            target_of(row.task, "[1, 2, 3, 4]")
        assert all(f"'{key.rstrip('?')}'" in str(error.value) for key in reward_class(row.reward).target_keys)
        return
    prove(get_reward(row.reward, **PARAMS.get(row.reward, {})), target_of(row.task, row.answer, row.options))


def test_every_task_of_every_reward_is_in_the_table_once():
    declared = [task for spec in list_rewards().values() for task in spec.tasks]
    assert sorted(declared) == sorted({row.task for row in plain_answers()})
    assert len(declared) == len(set(declared)) == len(plain_answers())


def test_only_actions_need_a_target():
    assert {row.reward for row in plain_answers() if row.form is None} == {"gui_action"}
    for spec in list_rewards().values():
        assert {task for plain in spec.plain for task in plain.tasks} <= set(spec.tasks), spec.name
        assert bool(spec.tasks) or not spec.plain, spec.name


@pytest.mark.parametrize(
    ("task", "answer", "options", "target"),
    [
        ("tvg", "[3, 5]", None, {"interval": [3, 5]}),
        ("moment_retrieval", '{"start": 3.5, "end": 5}', None, {"interval": [3.5, 5]}),
        ("temporal grounding", "from 00:12 to 00:20", None, {"interval": [12.0, 20.0]}),
        ("temporal grounding", [["00:12", "00:20"], [30, 40]], None, {"interval": [[12.0, 20.0], [30, 40]]}),
        ("temporal grounding", [[3, 5]], None, {"interval": [3, 5]}),
        ("temporal grounding", "0-5 s, 10-20 s", None, {"interval": [[0.0, 5.0], [10.0, 20.0]]}),
        ("Repetition-Counting", "<answer>12</answer>", None, {"count": 12}),
        ("object_tracking", {"boxes": TRACK}, None, {"track": TRACK}),
        ("object_tracking", json.dumps(TRACK), None, {"track": TRACK}),
        ("visual tracking", {"track": {**TRACK, "3": None}}, None, {"track": TRACK}),
        ("stvg", json.dumps({"time": [1, 2], "boxes": TRACK}), None, {"time": [1, 2], "track": TRACK}),
        ("stvg", {"boxes": TRACK}, None, {"track": TRACK}),
        ("table", " <table><tr><td>1</td></tr></table> ", None, {"html": "<table><tr><td>1</td></tr></table>"}),
        ("latex", "x^2", None, {"latex": "x^2"}),
        ("vqa", "red", None, {"answers": ["red"]}),
        ("vqa", '["red", "dark red"]', None, {"answers": ["red", "dark red"]}),
        ("vqav2", [{"answer": "2", "answer_id": 1}, {"answer": "two"}], None, {"answers": ["2", "two"]}),
        ("vqa", "[sic]", None, {"answers": ["[sic]"]}),
        ("point_in_box", {"bbox_2d": [1, 2, 3, 4], "label": "OK"}, None, {"box": [1, 2, 3, 4]}),
        ("open vocabulary detection", [[1, 2, 3, 4]], None, {"boxes": [{"box": [1, 2, 3, 4]}]}),
        ("open vocabulary detection", "None", None, {"boxes": []}),
        ("segmentation", json.dumps(MASK), None, {"mask": MASK}),
        ("segmentation", {"mask": MASK, "candidates": [MASK]}, None, {"mask": MASK, "candidates": [MASK]}),
        ("plot to code", "```python\nprint(1)\n```", None, {"code": "print(1)\n"}),
        ("action spotting", 72, None, {"timestamp": 72}),
        ("action spotting", "1 min 12.5 s", None, {"timestamp": 72.5}),
        ("multiple_select", "A, C", ["a", "b", "c", "d"], {"answer": ["A", "C"], "options": ABCD}),
        ("multiple_select", "CA", ABCD, {"answer": ["A", "C"], "options": ABCD}),
        ("multiple_select", ["c", "A. a"], ABCD, {"answer": ["A", "C"], "options": ABCD}),
        ("multiple_select", "d", ABCD, {"answer": ["D"], "options": ABCD}),
        ("multiple_select", "B and D", None, {"answer": ["B", "D"]}),
        ("multiple_choice", ["A", "C"], None, {"answer": ["A", "C"]}),
        ("multiple_choice", "(b)", ["A. x", "B. y"], {"answer": "B", "options": {"A": "x", "B": "y"}}),
        ("mcq", "Y", ["x", "y"], {"answer": "B", "options": {"A": "x", "B": "y"}}),
        ("video qa", "jumps", ["runs", "jumps"], {"answer": "B", "options": {"A": "runs", "B": "jumps"}}),
        ("video qa", "He jumps.", None, {"answer": "He jumps."}),
        ("video qa", "He sits.", ["runs", "jumps"], {"answer": "He sits."}),
        ("multi-label classification", "cat, dog", None, {"answer": ["cat", "dog"]}),
        ("distance estimation", "5 m", None, {"answer": "5 m"}),
        ("mra", "1/2", None, {"answer": 0.5}),
        ("true false", "True", None, {"answer": "yes"}),
        ("binary", 0, None, {"answer": "no"}),
        ("a task of nobody's", {"a": 1}, None, {"answer": '{"a": 1}'}),
    ],
)
def test_forms_of_plain_answers(task, answer, options, target):
    shaped = target_of(task, answer, options)
    assert (shaped, json.dumps(shaped)) == (target, json.dumps(target))


@pytest.mark.parametrize(
    ("task", "answer", "options", "words"),
    [
        ("tvg", "soon", None, "'soon' is not an interval such as"),
        ("tvg", [9, 2], None, "ends before it starts"),
        ("tvg", [1, 2, 3], None, "not an interval"),
        ("stvg", {"time": [1, 2]}, None, "boxes by frame"),
        ("tracking", {"boxes": {"a": [0, 0, 1, 1]}}, None, "boxes by frame"),
        ("timestamp", "between 1 and 2", None, "not a moment"),
        ("multiple_select", "A, E", ABCD, "none of the options A, B, C, D"),
        ("multiple_select", ["A", "A"], None, "one twice"),
        ("multiple_select", [], None, "no option"),
        ("multiple_choice", "A, C", None, "none of the options"),
        ("multiple_choice", "A", ["x"] * 27, "letters A to Z"),
        ("multiple_choice", "A", "x", "a list or a mapping"),
        ("numeric", "EXIT 42", None, "not a number"),
        ("numeric", "5 million", None, "not a number"),
        ("multi-label classification", [["cat"]], None, "not a list of classes"),
        ("math", None, None, "empty"),
        ("math", " ", None, "empty"),
    ],
)
def test_what_does_not_fit_is_named(task, answer, options, words):
    with pytest.raises(ValueError, match=words) as error:
        target_of(task, answer, options)
    assert not isinstance(error.value, NeedsTarget)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("task", "answer", "key"),
    [
        ("segmentation", {"boxes": [1, 2, 3, 4], "positive_points": [[2, 3]]}, "'mask'"),
        ("segmentation", {"polygons": [[0, 0, 2, 0, 2, 4]]}, "'mask'"),
        ("segmentation", "the cat", "'mask'"),
        ("gui grounding", "[140, 50]", "'box'"),
        ("gui grounding", "click the button", "'box'"),
        ("gui action", {"action": "finish"}, "'action'"),
    ],
)
def test_answers_that_cannot_hold_the_target_name_its_keys(task, answer, key):
    with pytest.raises(NeedsTarget, match=f"write the column `target`.*{key}"):
        target_of(task, answer)


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["A", "[1]", "0"])
)
keys = st.sampled_from(
    ["box", "boxes", "time", "start", "end", "mask", "size", "counts", "answer", "track", "1", "label"]
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


@pytest.mark.slow
@settings(max_examples=400)
@given(task=st.sampled_from(sorted(task_table())), answer=values | values.map(json.dumps), options=st.none() | values)
def test_any_answer_is_a_target_or_a_value_error(task, answer, options):
    try:
        target = target_of(task, answer, options)
    except ValueError:
        return
    assert isinstance(json.loads(json.dumps(target)), dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Angle(Numeric):
    """A reward of another package, which declares one task of its own and one of the table's."""

    name = "angle"
    tasks = ("turning_angle", "counting")
    target_keys: ClassVar = {"degrees": "float"}

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        return {"degrees": float(answer) % 360}


def test_readers_that_declare_a_task_go_before_the_table():
    assert target_of("turning angle", "370", None, [Angle()]) == {"degrees": 10.0}
    assert target_of("counting", "370", None, [Angle()]) == {"degrees": 10.0}
    assert target_of("counting", "370", None, [get_reward("ocr")]) == {"count": 370}
    both = combine([("iou", 1), ("counting", 1)])
    assert target_of("counting", "3", None, both.readers("counting")) == {"count": 3}


def test_readers_shape_what_none_of_them_could_read():
    assert target_of("mine", "370", None, [Angle(), get_reward("ocr")]) == {"degrees": 10.0}
    assert target_of("mine", "370", None, [Angle(), get_reward("math")]) == {"answer": "370"}
    assert combine([("route", 1), ("format", 1)]).readers("mine") == []


@pytest.mark.parametrize("task", ["numeric", "counting"])
@pytest.mark.parametrize("written", ["3,5", "1.234,5", "1,2345", "12,34,567", "1,0", ",5"])
def test_a_comma_that_marks_no_thousands_is_refused(task, written):
    with pytest.raises(ValueError, match=r"has a comma that marks no thousands; write it with a point, such as 3\.5"):
        target_of(task, written)


@pytest.mark.parametrize(
    ("written", "value"), [("1,024.5", 1024.5), ("-12,345,678", -12345678), ("1,000/2,000", 0.5), ("1,500%", 1500)]
)
def test_marks_of_thousands_are_read(written, value):
    assert target_of("numeric", written)["answer"] == value


@pytest.mark.parametrize(
    "options",
    [["A. cat", "B. dog"], {"A": "A. cat", "B": "B. dog"}, {"A": "cat", "B": "dog"}, {"a": "A) cat", "b": "(B) dog"}],
)
def test_letters_before_options_are_no_part_of_them(options):
    assert target_of("multiple choice", "B", options) == {"answer": "B", "options": {"A": "cat", "B": "dog"}}
    assert target_of("multiple choice", "dog", options)["answer"] == "B"
    assert target_of("multiple select", "A,B", options)["answer"] == ["A", "B"]


def test_boxes_as_visual_rft_writes_them():
    written = "<answer>[{'Position': [1, 2, 3, 4], 'Confidence': 1}]</answer>"
    assert target_of("grounding", written) == {"box": [1, 2, 3, 4]}
