"""The short paths of usual answers and long texts give what the long ways give."""

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_rewards import get_reward, metrics
from vision_rewards.parsers import (
    boxes,
    extract,
    extract_thinking,
    intervals,
    json_values,
    numbers,
    points,
    readings,
    statements,
)

NEVER = re.compile(r"(?!)")
NUMBER = st.one_of(
    st.integers(-99, 10**9).map(str),
    st.floats(0, 1e4).map(lambda x: f"{x:.3f}"),
    st.sampled_from(["1", "2.5", "1:05", "12:75", "-3"]),
)
BRACKETS = st.sampled_from(["[]", "[]", "[]", "()", "()", "[)", "(]", "["])
LISTS = st.tuples(BRACKETS, st.lists(NUMBER, min_size=2, max_size=4), st.sampled_from([", ", ",", " "])).map(
    lambda parts: parts[0][0] + parts[2].join(parts[1]) + parts[0][1:]
)
READERS = [
    (intervals, "_USUAL_TIME", intervals.parse_timestamp, NUMBER),
    (intervals, "_USUAL_INTERVAL", intervals.parse_intervals, LISTS),
    (boxes, "_USUAL", boxes.parse_boxes, LISTS),
    (points, "_USUAL", points.parse_points, LISTS),
]


@pytest.mark.parametrize(
    ("module", "pattern", "read", "texts"), READERS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_usual_answer_is_what_the_patterns_read(module, pattern, read, texts, monkeypatch):
    short = getattr(module, pattern)
    taken = []

    @settings(max_examples=150)
    @given(texts)
    def run(text):
        monkeypatch.setattr(module, pattern, short)
        taken.append(short.fullmatch(text) is not None)
        quick = read(text)
        monkeypatch.setattr(module, pattern, NEVER)
        assert quick == read(text)

    run()
    assert any(taken)


def last_answer(text):
    """The last closed answer of a text, by every tag from its start on."""
    inside, start, tags = None, None, list(re.finditer(r"</?answer>", text, re.IGNORECASE))
    for tag in tags:
        if not tag.group().startswith("</"):
            start = tag.end()
        elif start is not None:
            inside, start = text[start : tag.start()], None
    return bool(tags), inside


def after_thinking(text):
    """What follows the last tag of thinking, by every tag from the text's start on."""
    pattern = extract._OTHER_THINK if "◁" in text or "[" in text else extract._THINK
    tags = list(pattern.finditer(text))
    if not tags:
        return text
    return text[tags[-1].end() :] if extract.closes(tags[-1]) else None


def test_the_last_tag_is_found_from_the_end():
    rng = random.Random(3)
    tags = [
        "<think>",
        "</think>",
        "</Thinking>",
        "[THINK]",
        "[/THINK]",
        "<answer>",
        "</answer>",
        "</ANSWER>",
        "<answer",
        "<",
        "x",
        "◁/think▷",
    ]
    for window in (8, 2000):
        for _ in range(600):
            text = "".join(rng.choice(tags) + "y" * rng.choice((0, 0, 1, 30, 2500)) for _ in range(rng.randint(0, 8)))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(extract, "_WINDOW", window)
                assert extract._after_thinking(text) == after_thinking(text)
                tagged, inside = extract._last_tagged(text)
            expected = last_answer(text)
            assert (tagged, inside and inside.strip()) == (expected[0], expected[1] and expected[1].strip())


@settings(max_examples=80)
@given(st.lists(st.sampled_from(["<think>", "</think>", "a", "b" * 3000]), max_size=8).map("".join))
def test_a_thought_is_what_stands_between_the_last_two_tags(text):
    tags = list(re.finditer("</?think>", text))
    if not tags or tags[-1].group() == "<think>":
        assert extract_thinking(text) is None
    else:
        assert extract_thinking(text) == text[tags[-2].end() if len(tags) > 1 else 0 : tags[-1].start()]


@settings(max_examples=100)
@given(*[st.lists(st.floats(-1e9, 1e9) | st.integers(-50, 50), min_size=4, max_size=4)] * 2)
def test_iou_of_one_pair_is_that_of_arrays(first, second):
    assert metrics.one_box_iou(first, second) == metrics.box_iou([first], [second])[0, 0]


@pytest.mark.parametrize("answer", ["**B**", "The answer is B.", '{"answer": "B"}', "Ｂ", " B. ", "`B`", ""])
def test_readings_are_statements_made_one_by_one(answer):
    assert list(readings(answer)) == statements(answer)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("[" * 16 + "]" * 16, "ok"),
        ("[" * 17 + "]" * 17, "unparsable"),
        ("[" * 5_000 + "]" * 5_000, "unparsable"),
        ("[" * 5_000, "truncated"),
        (json.dumps([[1]] * 40), "ok"),
        (json.dumps(["[" * 40]), "ok"),
        ('["a\\"[", 1]', "ok"),
        ("\\[[[1]", "truncated"),
        ("\\[[1]", "unparsable"),
        ("\\[1]", "unparsable"),
        ('{"a": [1, 2}', "truncated"),
        ("[nope]", "unparsable"),
    ],
)
def test_depth_and_open_brackets_of_json(text, outcome):
    assert json_values.parse_json(text)[1] == outcome


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 " * 64, "many_numbers"),
        ("1 " * 70, "many_numbers"),
        ("1 " * 70 + "5x", "unparsable"),
        ("1 " * 70 + "1.2.3", "unparsable"),
        ("1 " * 70 + "2kg", "many_numbers"),
        ("2kg " * 70, "many_numbers"),
    ],
)
def test_past_many_numbers_only_their_form_is_looked_at(text, reason):
    assert numbers.parse_number(text, units=True) == (None, reason)


@pytest.mark.parametrize(
    ("name", "target", "answer"),
    [
        ("multiple_choice", {"answer": "B", "options": ["a", "b"]}, "b"),
        ("multiple_choice", {"answer": "B"}, "B"),
        ("counting", {"count": 0}, "0"),
        ("yes_no", {"answer": "no"}, "NO"),
        ("formula", {"latex": "x^2"}, "x^{2}"),
        ("vqa", {"answers": ["red"] * 10}, "Red"),
        ("ocr", {"text": ["EXIT", "WAY OUT"]}, "WAY OUT"),
        ("ordering", {"order": [2, 1, 3]}, "[2, 1, 3]"),
        ("classification", {"answer": "dog", "synonyms": ["puppy"]}, "A Puppy"),
    ],
)
def test_right_short_answers_are_read_without_undressing_them(name, target, answer, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the answer was undressed")

    monkeypatch.setattr("vision_rewards.parsers.short_answers._undress", refuse)
    reward = get_reward(name)
    assert reward(answer, target).score == 1
    assert reward(f"<think>Let me see.</think>\n<answer>{answer}</answer>", target).score == 1
    if name == "multiple_choice":
        assert reward("Z", {"answer": "B", "options": ["a", "b"]}).reason == "not_an_option"
