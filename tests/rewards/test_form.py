"""The form of a completion: the format reward, and where each `extract` looks for the answer."""

import pytest

from vision_rewards import TargetError, combine, get_reward, validate

FORMAT = [
    ("<answer>x</answer>", 1, 0, 0),
    ("let me see <answer>x</answer>\n", 1, 0, 0),
    ("<think>t</think><answer>x</answer>", 1, 1, 0),
    ("\n<think>t</think>\n<answer>x</answer>\n", 1, 1, 0),
    ("<think></think><answer>x</answer>", 1, 0, 0),
    ("hm <think>t</think><answer>x</answer>", 1, 0, 0),
    ("<think>t</think> so <answer>x</answer>", 1, 0, 0),
    ("<answer>x</answer> and more", 0, 0, 0),
    ("<answer> </answer>", 0, 0, 0),
    ("<answer>x</answer><answer>x</answer>", 0, 0, 0),
    ("<answer><answer>x</answer></answer>", 0, 0, 0),
    ("<answer>x", 0, 0, 0),
    ("<Answer>x</Answer>", 0, 0, 0),
    ("<answer>x</answer><think>t</think>", 0, 0, 0),
    ("<think>t<answer>x</answer></think>", 0, 0, 0),
    ("<think>t</think>", 0, 0, 0),
    ("x", 0, 0, 1),
    ("", 0, 0, 0),
    (" ", 0, 0, 0),
]


@pytest.mark.parametrize(("text", "answer", "think_answer", "none"), FORMAT)
def test_format(text, answer, think_answer, none):
    for pattern, score in {"answer": answer, "think_answer": think_answer, "none": none}.items():
        assert get_reward("format", pattern=pattern)(text, {}).score == score, pattern


@pytest.mark.parametrize(
    ("mode", "completion", "score"),
    [
        ("auto", "7", 1),
        ("auto", "\\boxed{7}", 1),
        ("auto", "<ANSWER>7</ANSWER>", 1),
        ("auto", "reasoning</think>7", 1),
        ("auto", "<answer>7</answer> <answer>8", 1),
        ("answer", "7", 0),
        ("answer", "so <answer> 7 </answer> it is", 1),
        ("answer", "<think><answer>7</answer></think>", 0),
        ("boxed", "\\boxed{8} then \\boxed{7}", 1),
        ("boxed", "\\boxed{7", 0),
        ("boxed", "7", 0),
        ("boxed", "<think>\\boxed{7}</think>", 0),
        ("raw", "7", 1),
        ("raw", "<answer>7</answer>", 0),
        ("raw", "<think>x</think>7", 0),
    ],
)
def test_extraction(mode, completion, score):
    assert get_reward("classification", extract=mode)(completion, {"answer": 7}).score == score


def test_boxed_braces_nest():
    reward = get_reward("ocr", extract="boxed")
    assert reward("\\boxed{\\frac{1}{2} \\} }", {"text": "\\frac{1}{2} \\}"}).score == 1


TIMES = {
    "type": "object",
    "properties": {
        "time": {"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 2, "maxItems": 2},
        "label": {"type": "string", "pattern": "^[a-z]+$"},
    },
    "required": ["time"],
    "additionalProperties": False,
    "examples": [{"time": [1.5, 2]}],
}


@pytest.mark.parametrize(
    ("answer", "score", "reason"),
    [
        ('{"time": [1, 2]}', 1, "ok"),
        (' {"label": "run",\n "time": [1.5, 2e1]}\n', 1, "ok"),
        ('```json\n{"time": [1, 2]}\n```', 1, "ok"),
        ('```\n{"time": [1, 2]}\n```', 1, "ok"),
        ('{"time": [1]}', 0, "schema_mismatch"),
        ('{"time": [1, 2, 3]}', 0, "schema_mismatch"),
        ('{"time": [1, -2]}', 0, "schema_mismatch"),
        ('{"time": ["1", "2"]}', 0, "schema_mismatch"),
        ('{"time": [true, false]}', 0, "schema_mismatch"),
        ('{"label": "run"}', 0, "schema_mismatch"),
        ('{"time": [1, 2], "label": "Run"}', 0, "schema_mismatch"),
        ('{"time": [1, 2], "sure": 1}', 0, "schema_mismatch"),
        ("[1, 2]", 0, "schema_mismatch"),
        ("null", 0, "schema_mismatch"),
        ("{'time': [1, 2]}", 0, "unparsable"),
        ('{"time": [1, 2]', 0, "unparsable"),
        ('{"time": [1, 2],}', 0, "unparsable"),
        ('{"time": [1, NaN]}', 0, "unparsable"),
        ('{"time": [1, Infinity]}', 0, "unparsable"),
        ('{"time": [9], "time": [1, 2]}', 0, "unparsable"),
        ('It is {"time": [1, 2]}', 0, "unparsable"),
        ('{"time": [1, 2]} {"time": [1, 2]}', 0, "unparsable"),
        ('```json\n{"time": [1, 2]}\n```\n```json\n{"time": [1, 2]}\n```', 0, "unparsable"),
        ("[" * 19_000, 0, "unparsable"),
        ('{"time": [1, ' + "9" * 5_000 + "]}", 0, "unparsable"),
    ],
)
def test_json_schema(answer, score, reason):
    for reward, target in (
        (get_reward("format", json_schema=TIMES), {}),
        (get_reward("format"), {"schema": TIMES}),
        (get_reward("format", json_schema={"type": "null", "examples": [None]}), {"schema": TIMES}),
    ):
        result = reward(f"<think>t</think><answer>{answer}</answer>", target)
        assert (result.score, result.reason) == (score, reason)
        assert dict(result.parts) == {"tags": 1.0, "json": float(score)}
    assert get_reward("format", json_schema=TIMES)(answer, {}).parts["tags"] == 0, (
        "valid JSON does not stand for the tags"
    )
    assert get_reward("format", json_schema=TIMES, pattern="none")(answer, {}).score == score


def test_gold_of_a_schema_is_its_example():
    validate("format", [{"schema": TIMES}, {}], pattern="think_answer")
    validate(combine([("temporal_iou", 1), ("format", 1)]), [{"interval": [1, 2]}])


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object"}, "has no `examples`"),
        ({"type": "object", "examples": []}, "has no `examples`"),
        ({"type": "object", "examples": [[]]}, r"does not accept its own example \[\]"),
        ({"type": "objct", "examples": [{}]}, "is no JSON Schema"),
        ({"$ref": "http://127.0.0.1:9/schema.json", "examples": [{}]}, "refers to something outside itself"),
        ({"$ref": "#/$defs/none", "examples": [{}]}, "refers to something outside itself|is no JSON Schema"),
        ([1], "not an object"),
        ({"examples": [{1}]}, "is not JSON"),
        ({"examples": [float("nan")]}, "is not JSON"),
    ],
)
def test_schemas_that_cannot_serve(schema, words):
    with pytest.raises(TargetError, match=words):
        get_reward("format").check({"schema": schema})
    if isinstance(schema, dict):
        with pytest.raises(ValueError, match=words):
            get_reward("format", json_schema=schema)


@pytest.mark.slow
def test_a_schema_that_takes_long_is_cut_off():
    slow = {"type": "string", "pattern": "^(a+)+$", "examples": ["a"]}
    result = get_reward("format", json_schema=slow)(f'<answer>"{"a" * 40}!"</answer>', {})
    assert (result.score, result.reason) == (0.0, "exceeded_time")
