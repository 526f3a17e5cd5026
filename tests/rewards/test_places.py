"""Where an answer stands: forms that count, tags, and fields of an answer in JSON."""

import pytest

from vision_rewards import combine, get_reward, validate
from vision_rewards.parsers import Place

BOX = {"box": [12, 18, 108, 224]}
BOTH = {"answer": "B", "options": ["a cat", "a dog"], "box": [12, 18, 108, 224]}


@pytest.mark.parametrize(
    ("extract", "read", "unread"),
    [
        ("bare", ["B", "B.", "(B)", "<answer>B</answer>"], ["**B**", "The answer is B", "\\boxed{B}", "It is B."]),
        ("answer", ["<answer>B</answer>", "<answer>\\boxed{B}</answer>"], ["B", "\\boxed{B}"]),
        ("boxed", ["\\boxed{B}", "<answer>\\boxed{B}</answer>"], ["B", "<answer>B</answer>"]),
        (["answer", "boxed"], ["<answer>B</answer>", "\\boxed{B}", "So \\boxed{B}."], ["B", "The answer is B"]),
        (["boxed", "bare"], ["\\boxed{B}", "B"], ["**B**", "The answer is B"]),
        ("raw", ["B", "The answer is B"], ["<think>no</think>B"]),
    ],
)
def test_the_forms_that_count_are_declared(extract, read, unread):
    reward = get_reward("multiple_choice", extract=extract)
    assert [text for text in read if reward(text, {"answer": "B"}).score != 1] == []
    assert [text for text in unread if reward(text, {"answer": "B"}).score != 0] == []
    validate(reward, [{"answer": "B"}])
    assert hash(reward) == hash(get_reward("multiple_choice", extract=extract))


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ("<rethink>B</rethink><answer>A</answer>", 1),
        ("<think>x</think><rethink> B. a dog </rethink><answer>A</answer>", 1),
        ("<rethink>B</rethink><think>x</think><answer>A</answer>", 1),
        ("<rethink>A</rethink> or <rethink>B</rethink>", 1),
        ("<rethink>A</rethink><answer>B</answer>", 0),
        ("B", 0),
        ("<answer>B</answer>", 0),
        ("<rethink>B", 0),
        ("B</rethink>", 0),
        ("<rethink></rethink>", 0),
    ],
)
def test_another_tag_is_demanded(completion, score):
    reward = get_reward("multiple_choice", tag="rethink")
    assert reward(completion, BOTH).score == score
    assert reward.gold(BOTH) == "<rethink>B</rethink>"


@pytest.mark.parametrize(
    ("answer", "score", "reason"),
    [
        ('{"answer": "B", "box": [12, 18, 108, 224]}', 1, "ok"),
        ("{'box': [12, 18, 108, 224]}", 1, "ok"),
        ('```json\n{"box": [12, 18, 108, 224]}\n```', 1, "ok"),
        ('[{"box": [12, 18, 108, 224], "point": [3, 4]}]', 1, "ok"),
        ('[{"box": [12, 18, 108, 224]}, {"box": [0, 0, 9, 9]}]', 0, "many_boxes"),
        ('[{"box": [12, 18, 108, 224]}, {"point": [3, 4]}]', 0, "no_field"),
        ('{"bbox": [12, 18, 108, 224]}', 0, "no_field"),
        ('{"box": null}', 0, "no_field"),
        ('{"box": [12, 18, 108, 224], "box": [0, 0, 9, 9]}', 0, "unparsable"),
        ("[12, 18, 108, 224]", 0, "no_field"),
        ("the box", 0, "unparsable"),
        ('{"box": [12, 18', 0, "truncated"),
    ],
)
def test_a_field_of_the_answer(answer, score, reason):
    for completion in (answer, f"<think>x</think><answer>{answer}</answer>"):
        result = get_reward("iou", field="box", threshold=0.5)(completion, BOX)
        assert (result.score, result.reason) == (score, reason)


def test_several_rewards_read_parts_of_one_completion():
    reward = combine(
        [
            ("multiple_choice", 1, {"field": "choice"}),
            ("iou", 1, {"field": "box"}),
            ("counting", 1, {"tag": "rethink"}),
            ("format", 1, {"tags": ["think", "rethink", "answer"]}),
        ]
    )
    target = {**BOTH, "count": 3}
    validate(reward, [target])
    gold = reward.gold(target)
    assert gold == (
        '<think>I look at it.</think><rethink>3</rethink><answer>{"choice": "B", "box": [12, 18, 108, 224]}</answer>'
    )
    assert reward(gold.replace("<rethink>3", "<rethink>4"), target).parts["counting"] == 0
    assert reward(gold.replace('"B"', '"A"'), target).parts["multiple_choice"] == 0
    assert reward(gold.replace("108", "60"), target).parts["iou"] == pytest.approx(0.5)


def test_a_group_is_read_where_its_answers_stand():
    reward = get_reward("majority", field="n")
    completions = ['{"n": 3}', '{"n": 3}', '{"n": 4}', "3"]
    target = reward.with_group(completions, {})
    assert [reward(text, target).score for text in completions] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"extract": "brackets"}, "'extract'"),
        ({"extract": ["answer", "brackets"]}, "brackets"),
        ({"extract": []}, "'extract'"),
        ({"tag": "a b"}, "'tag'"),
        ({"tag": ""}, "'tag'"),
        ({"field": ""}, "'field'"),
        ({"field": 3}, "'field'"),
    ],
)
def test_places_that_are_refused(params, word):
    with pytest.raises(ValueError, match=word):
        get_reward("iou", **params)


def test_a_place_reads_back_what_it_writes():
    for text in ("B", "[1, 2]", "0.50", '{"a": 1}', "two\nlines", '"quoted"'):
        for place in (Place(), Place(tag="x"), Place(field="y"), Place(("boxed",)), Place(tag="x", field="y")):
            assert place.read(place.write(text)) == (text, "ok"), (place, text)
