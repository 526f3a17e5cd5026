"""Finding, combining, routing and validating rewards, and their reference page."""

import pickle
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from vision_rewards import TargetError, combine, docs, get_reward, list_rewards, validate
from vision_rewards.registry import task_table


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("oocr", {}, ["unknown reward 'oocr'", "did you mean 'ocr'?", "chart, chart_to_code, classification"]),
        (
            "ocr",
            {"metrics": "cer"},
            ["no parameter 'metrics'", "did you mean 'metric'?", "extract, field, ignore_case, metric, tag"],
        ),
        ("ocr", {"metric": "ned"}, ["'metric'", "'ned'", "anls, cer, edit, exact"]),
        ("ocr", {"ignore_case": 1}, ["'ignore_case'", "not true or false"]),
        ("counting", {"extract": "box"}, ["'extract'", "did you mean 'boxed'?"]),
        ("iou", {"threshold": 1.5}, ["'threshold'", "1.5", "[0, 1]"]),
        ("iou", {"threshold": 0}, ["'threshold'", "every box"]),
        ("iou", {"threshold": "0.5"}, ["'threshold'", "not a number"]),
        ("iou", {"threshold": 0.5, "kind": "giou"}, ["'threshold'", "kind='iou' only"]),
        ("iou", {"coordinates": "pixels"}, ["'coordinates'", "as_target"]),
        ("numeric", {"abs": -1}, ["'abs'", "-1", "[0, inf]"]),
        ("numeric", {"rel": float("nan")}, ["'rel'", "nan"]),
        ("combine", {}, ["'parts'", "at least one"]),
        ("combine", {"parts": [("ocr", 0)]}, ["weight 0"]),
        ("combine", {"parts": [("ocr",)]}, ["(name, weight)"]),
        ("combine", {"parts": [("orc", 1)]}, ["did you mean 'ocr'?"]),
        ("combine", {"parts": [("ocr", 1, "cer")]}, ["not a mapping"]),
        ("route", {"params": {"orc": {}}}, ["'orc'", "did you mean 'ocr'?"]),
        ("route", {"params": {"ocr": {"metrics": 1}}}, ["did you mean 'metric'?"]),
    ],
)
def test_mistakes_are_named(name, params, words):
    with pytest.raises(ValueError, match=r"\w") as error:
        get_reward(name, **params)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "target", "word"),
    [
        ("classification", {}, "'answer'"),
        ("classification", {"answer": ""}, "''"),
        ("classification", {"answer": "?!"}, "'?!'"),
        ("classification", {"answer": True}, "True"),
        ("classification", {"answer": "a</think>b"}, "cannot be read back"),
        ("classification", {"answer": "<answer>"}, "cannot be read back"),
        ("classification", {"answer": "a", "synonyms": "b"}, "'synonyms'"),
        ("ocr", {"text": " \n"}, "visible"),
        ("ocr", {"text": "\u200b"}, "visible"),
        ("ocr", {"text": 7}, "'text'"),
        ("ocr", {"text": "x" * 20_001}, "20000"),
        ("iou", {"box": [0, 0, 1]}, "'box'"),
        ("iou", {"box": [1, 1, 0, 0]}, "'box'"),
        ("iou", {"box": [0, 0, float("nan"), 1]}, "'box'"),
        ("iou", {"box": [0, 0, 10**400, 1]}, "'box'"),
        ("iou", {"box": [0, 0, True, 1]}, "'box'"),
        ("iou", {"box": "[0, 0, 1, 1]"}, "'box'"),
        ("iou", {"boxes": []}, "'box'"),
        ("counting", {"count": -1}, "'count'"),
        ("counting", {"count": 3.0}, "'count'"),
        ("counting", {"count": True}, "'count'"),
        ("counting", {"count": "3"}, "'count'"),
        ("multiple_choice", {"answer": "AB"}, "'AB'"),
        ("multiple_choice", {"answer": 1}, "'answer'"),
        ("multiple_choice", {"answer": "C", "options": ["x", "y"]}, "2 options"),
        ("multiple_choice", {"answer": "A", "options": [1, 2]}, "'options'"),
        ("multiple_choice", {"answer": "A", "options": {"a": "x"}}, "letters A to Z"),
        ("multiple_choice", {"answer": "A", "options": "xy"}, "'options'"),
        ("yes_no", {"answer": "maybe"}, "'maybe'"),
        ("yes_no", {"answer": 1}, "'answer'"),
        ("numeric", {"answer": "cat"}, "'cat'"),
        ("numeric", {"answer": float("inf")}, "'answer'"),
        ("numeric", {"answer": "1 or 2"}, "'answer'"),
        ("route", {"task": 3}, "'task'"),
        ("route", {"task": "ocr", "count": 3}, "'text'"),
    ],
)
def test_targets_that_cannot_be_scored(name, target, word):
    reward = get_reward(name)
    with pytest.raises(TargetError, match=r"\w") as error:
        reward.check(target)
    assert word in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(TargetError, match="target 0: "):
        validate(name, [target])


def test_target_of_another_shape_has_no_score():
    for name in ("ocr", "iou", "counting", "classification"):
        reward = get_reward(name)
        result = reward("x", {"other": 1})
        assert (result.score, result.reason) == (None, "not_applicable")
        with pytest.raises(ValueError, match="did not apply"):
            reward.accuracy(result)


def test_null_columns_count_as_absent():
    row = {"text": "ab", "box": None, "count": None, "answer": None, "synonyms": None, "options": None}
    assert combine([("ocr", 1), ("iou", 1), ("counting", 1), ("classification", 1)])("ab", row).score == 1
    assert get_reward("multiple_choice")("A", row | {"answer": "A"}).score == 1
    with pytest.raises(TargetError, match="needs the key 'box'"):
        get_reward("iou").check(row)


def test_validate_names_the_index():
    validate("ocr", [{"text": "a"}, {"text": "b"}], metric="cer")
    with pytest.raises(TargetError, match=r"target 1: .*'text'"):
        validate("ocr", [{"text": "a"}, {"text": ""}])
    # What is read from a raw completion cannot also be in tags.
    with pytest.raises(TargetError, match=r"target 0: the gold answer .* scores"):
        validate(combine([("ocr", 1, {"extract": "raw"}), ("format", 1)]), [{"text": "a"}])


def test_combination_reports_parts():
    reward = combine([("format", 1, {"pattern": "answer"}), ("ocr", 3, {"metric": "cer"}), ("iou", 5)])
    result = reward("<answer>abcd</answer>", {"text": "abcx"})
    assert result.score == pytest.approx((1 + 3 * 0.75) / 4)
    assert result.parts == {
        "format": 1.0,
        "format/tags": 1.0,
        "format/json": None,
        "ocr": 0.75,
        "ocr/exact": 0.0,
        "ocr/similarity": 0.75,
        "iou": None,
        "accuracy": 0.0,
    }
    assert reward.accuracy(result) == 0.0
    assert result.parsed == {"format": None, "ocr": "abcd"}
    assert reward.gold({"text": "hi"}) == "<answer>hi</answer>"
    assert combine([("ocr", 1), ("iou", 1)])("x", {"count": 1}).score is None
    with pytest.raises(TargetError, match="none of"):
        combine([("ocr", 1), ("iou", 1)]).check({"count": 1})


def test_combination_of_one_reward_twice():
    reward = combine([("iou", 1, {"threshold": 0.5}), ("iou", 1)])
    result = reward("[0,0,10,6]", {"box": [0, 0, 10, 10]})
    assert result.score == pytest.approx(0.8)
    assert (result.parts["iou"], result.parts["iou#2"]) == (1.0, pytest.approx(0.6))


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("ocr", "ocr"),
        ("OCR", "ocr"),
        ("classification", "classification"),
        ("counting", "counting"),
        ("grounding", "iou"),
        ("multiple_choice", "multiple_choice"),
        # EasyVideoR1
        ("multiple choice", "multiple_choice"),
        ("Multiple-Choice", "multiple_choice"),
        ("numerical", "numeric"),
        ("number", "numeric"),
        ("regression", "regression"),
        ("boolean", "yes_no"),
        ("binary classification", "yes_no"),
        ("spatial grounding", "iou"),
        ("math", "math"),
        ("mathematics", "math"),
        ("open-ended", "open_ended"),
        ("free-form", "open_ended"),
        ("video description", "open_ended"),
        ("video qa", "video_qa"),
        ("llava", "classification"),
        ("critic", "classification"),
        ("temporal grounding", "temporal_iou"),
        ("spatial-temporal grounding", "spatiotemporal_iou"),
        ("tracking", "tracking"),
        ("segmentation_image", "mask_iou"),
        # VLM-R1
        ("rec", "iou"),
        ("ic", "classification"),
        ("mcq", "multiple_choice"),
        ("yes_no", "yes_no"),
        ("llm", "judge"),
        ("all_match", "classification"),
        ("map", "detection"),
        ("od_ap", "detection"),
        ("od_ap50", "detection"),
        ("odLength", "detection"),
        ("weighted_sum", "detection"),
    ],
)
def test_route_knows_the_peers_names(task, name):
    assert get_reward("route").for_task(task).name == name


def test_route_scores_as_the_reward_it_picks():
    route = get_reward("route", extract="answer", params={"ocr": {"metric": "cer"}, "iou": {"extract": "raw"}})
    assert route.for_task("ocr") == get_reward("ocr", metric="cer", extract="answer")
    assert route.for_task("rec") == get_reward("iou", extract="raw")
    target = {"task": "ocr", "text": "abcd"}
    result = route("<answer>abcx</answer>", target)
    assert (result.score, route.accuracy(result)) == (0.75, 0.0)
    assert route("x", {"task": "ocr", "count": 1}).score is None
    assert route("x", {"text": "x"}).score is None
    validate(route, [target, {"task": "counting", "count": 2}])
    both = combine([("route", 9), ("format", 1)])
    assert both.for_task("counting")("<answer>2</answer>", {"count": 2}).parts["counting"] == 1.0
    assert both("<answer>2</answer>", {"task": "counting", "count": 2}).score == 1.0


@pytest.mark.parametrize(("task", "hint"), [("countng", "counting"), ("multiple choise", "multiple choice")])
def test_route_refuses_unknown_tasks(task, hint):
    with pytest.raises(ValueError, match=f"did you mean '{hint}'"):
        get_reward("route").for_task(task)
    with pytest.raises(ValueError, match="no reward for the task 'caption'"):
        get_reward("route")("x", {"task": "caption"})
    # Peers score these by shared names, or by guessing the kind of answer.
    for unsound in ("code", "svg-code", "html-code", "default"):
        with pytest.raises(ValueError, match="no reward for the task"):
            get_reward("route").for_task(unsound)


def test_route_takes_more_names():
    route = get_reward("route", aliases={"Sudoku_grid": "ocr", "number": "counting"})
    assert route.for_task("sudoku grid").name == "ocr"
    assert route.for_task("number").name == "counting"
    with pytest.raises(ValueError, match="unknown reward 'orc'"):
        get_reward("route", aliases={"grid": "orc"})
    with pytest.raises(ValueError, match="not a mapping"):
        get_reward("route", aliases=["grid"])


def test_no_task_belongs_to_two_rewards():
    declared = [task for spec in list_rewards().values() for task in spec.tasks]
    assert len(declared) == len(set(declared)) == len(task_table())


def test_descriptions_are_complete():
    for name, spec in list_rewards().items():
        assert spec.name == name
        assert spec.summary
        assert spec.formula
        assert spec.source
        assert spec.closes
        assert spec.metric_part == "score" or spec.metric_part in spec.parts
        assert all(param.help for param in spec.params.values())


def test_rewards_travel_to_other_processes():
    for name in list_rewards():
        reward = combine([("ocr", 1)]) if name == "combine" else get_reward(name)
        assert pickle.loads(pickle.dumps(reward)) == reward


def test_import_is_light_and_independent():
    code = "import sys, vision_rewards; print([m for m in ('numpy', 'scipy', 'rapidfuzz', 'mmrl') if m in sys.modules])"
    code += "; vision_rewards.list_rewards(); print('mmrl' in sys.modules or 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["[]", "False"]


def test_reference_page_is_current():
    page = (ROOT / "docs" / "rewards.md").read_text(encoding="utf-8")
    assert page == docs.render(), "run `python -m vision_rewards.docs docs/rewards.md`"
