"""Readers of times, lists, letters, numbers and conclusions: round trips, any text, the suites' rules."""

import json
from fractions import Fraction
from string import ascii_uppercase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_rewards import parsers

WORDS = (
    "[ ] ( ) { } , . : ; - -- -> – to and between start end s min h 00:12 1 12.5 -3 1e9 % frame \\frac{1}{2} \\boxed{ "
    "$ x = ^ A B (C) \" ' answer is the I choose ² ٣ ½ １２ NaN \n \t"
)
FRAGMENTS = st.sampled_from(WORDS.split(" "))
TEXT = st.one_of(st.text(max_size=80), st.lists(FRAGMENTS, max_size=20).map(" ".join))
RUNS = settings(max_examples=200)
MILLISECONDS = st.integers(0, 10**7)


@st.composite
def spans(draw):
    start = draw(MILLISECONDS)
    return start / 1000, (start + draw(st.integers(1, 10**6))) / 1000


def clock(seconds):
    return f"{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}:{seconds % 60:06.3f}"


INTERVAL_FORMS = [
    *("[{0}, {1}]", "({0}, {1})", "{0} to {1}", "{0}-{1}", "{0} – {1}", "{0} s to {1} s", "{0}s - {1}s"),
    *("{0} to {1} seconds", "from {0} to {1}", "between {0} and {1} seconds", "start: {0}, end: {1}", "[[{0}, {1}]]"),
    *('{{"start": {0}, "end": {1}}}', '{{"time": [{0}, {1}]}}', "The answer is [{0}, {1}]."),
    "It starts at {0} s and ends at {1} s.",
]


@RUNS
@given(spans(), st.sampled_from(INTERVAL_FORMS))
def test_every_form_of_an_interval_reads_back(span, form):
    text = form.format(*map(parsers.format_time, span))
    (start, end), *others = parsers.parse_intervals(text)[0]
    assert not others
    assert (start, end) == pytest.approx(span, abs=1e-9)
    assert parsers.parse_intervals(text)[1] == "ok"


@RUNS
@given(
    spans(), st.sampled_from(["{0}-{1}", "{0} to {1}", "[{0}, {1}]", "{0} --> {1}", '{{"start": "{0}", "end": "{1}"}}'])
)
def test_clock_times_read_back(span, form):
    text = form.format(*map(clock, span))
    assert parsers.parse_intervals(text)[0] == [pytest.approx(span, abs=1e-9)]
    assert parsers.parse_timestamp(clock(span[0]))[0] == pytest.approx(span[0], abs=1e-9)


@RUNS
@given(st.lists(spans(), min_size=1, max_size=5))
def test_lists_of_intervals_read_back(wanted):
    for text in (
        json.dumps(wanted),
        "\n".join(f"{s}-{e}" for s, e in wanted),
        json.dumps([{"start": s, "end": e} for s, e in wanted]),
    ):
        found, reason = parsers.parse_intervals(text)
        assert (found, reason) == ([pytest.approx(span, abs=1e-9) for span in wanted], "ok")


@RUNS
@given(TEXT)
def test_any_text_has_intervals_or_a_reason(text):
    found, reason = parsers.parse_intervals(text)
    if reason == "ok":
        assert all(0 <= start < end <= parsers.MAX_TIME for start, end in found)
        assert found
    moment, reason = parsers.parse_timestamp(text)
    assert (moment is not None) == (reason == "ok")
    assert moment is None or 0 <= moment <= parsers.MAX_TIME


@RUNS
@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_amounts_with_units_read_back(hours, minutes, seconds):
    total = hours * 3600 + minutes * 60 + seconds
    clocks = [f"{hours}:{minutes:02d}:{seconds:02d}", f"{hours}h{minutes}m{seconds}s"]
    words = [f"{hours} h {minutes} min {seconds} s", f"{hours} hours {minutes} minutes {seconds} seconds"]
    for text in clocks + words:
        assert parsers.parse_timestamp(text) == (total, "ok")
    assert parsers.parse_timestamp(f"{minutes}:{seconds:02d}") == (minutes * 60 + seconds, "ok")


@RUNS
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", categories=("L", "N", "Zs")), min_size=1, max_size=20),
        min_size=1,
        max_size=9,
    )
)
def test_json_lists_read_back(items):
    items = [item.strip() for item in items if item.strip()] or ["x"]
    assert parsers.parse_items(json.dumps(items)) == (items, "ok")
    assert parsers.parse_items("```json\n" + json.dumps(items, ensure_ascii=False) + "\n```") == (items, "ok")


@RUNS
@given(st.lists(st.sampled_from(["cat", "salt and pepper", "x-ray", "3", "big dog"]), min_size=2, max_size=5))
def test_written_lists_read_back(items):
    for separator in (", ", "; ", "\n", " -> ", "→"):
        assert parsers.parse_items(separator.join(items)) == (items, "ok")
    assert parsers.parse_items("\n".join(f"{i}. {item}" for i, item in enumerate(items, 1))) == (items, "ok")
    assert parsers.parse_items(f"[{', '.join(items)}]") == (items, "ok")


@RUNS
@given(TEXT, st.booleans())
def test_any_text_is_a_list_or_none(text, spaces):
    items, reason = parsers.parse_items(text, spaces=spaces)
    assert (items is not None) == (reason == "ok")
    assert items is None or (items and all(item == item.strip() != "" for item in items))
    values, reason = parsers.parse_distinct(text, lambda item: item.lower(), spaces=spaces)
    assert values is None or len(set(values)) == len(values)


@RUNS
@given(st.sets(st.sampled_from(ascii_uppercase), min_size=1), st.randoms(use_true_random=False))
def test_sets_of_letters_read_back(letters, rng):
    wanted = sorted(letters)
    order = rng.sample(wanted, len(wanted))
    forms = [
        ", ".join(order),
        " ".join(order),
        " and ".join(order),
        json.dumps(order),
        "".join(f"({c})" for c in order),
    ]
    forms += ["".join(order)] if len(order) > 1 else []
    for text in forms:
        assert parsers.parse_choices(text, None) == (wanted, "ok"), text


@RUNS
@given(TEXT)
def test_any_text_is_letters_or_none(text):
    options = {"A": "a cat", "B": "12.5"}
    letters, reason = parsers.parse_choices(text, options)
    assert (letters is not None) == (reason == "ok")
    assert letters is None or (set(letters) <= {"A", "B"} and letters == sorted(set(letters)))
    letter, reason = parsers.parse_choice(text, options)
    # What is read as one letter is read as a set of one, too.
    assert letter is None or parsers.parse_choices(text, options)[0] == [letter] or "\n" in text


@RUNS
@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6))
def test_written_numbers_have_their_value(over, under):
    value = Fraction(over, under)
    for text in (
        f"{over}/{under}",
        f"\\frac{{{over}}}{{{under}}}",
        f"$\\dfrac{{{over}}}{{{under}}}$",
        f"{over}/{under} cm",
    ):
        assert parsers.parse_math_number(parsers.strip_math(text)).value == value
    for text in (
        str(over),
        f"{over:,}",
        f"{over}.0",
        f"\\boxed{{{over}}}",
        f"{over}e0",
        f"{over} \\times 10^{{0}}",
        f"{over}\\%",
    ):
        assert parsers.parse_math_number(parsers.strip_math(text)).value == over


@pytest.mark.slow
@RUNS
@given(TEXT)
def test_any_text_is_a_number_or_none(text):
    stripped = parsers.strip_math(text)
    number = parsers.parse_math_number(stripped)
    assert number is None or parsers.same_number(number, number)
    parsers.bracket_kind(stripped)
    solution = parsers.solutions(stripped)
    assert not solution or parsers.as_set(solution, half_lines=True)
    parsers.unevaluated(stripped, "x")
    parsers.unreduced_root(stripped, "x")
    parsers.words_of(stripped)


@RUNS
@given(TEXT)
def test_canonical_form_is_its_own(text):
    """It stays as it is, or, where the answer itself begins like "answer: answer", loses one more prefix."""
    once = parsers.canonical_answer(text)
    again = None if once is None else parsers.canonical_answer(once)
    assert again in (None, once) or len(again) < len(once)


@RUNS
@given(TEXT, TEXT)
def test_conclusions_are_parts_of_the_thinking(thinking, answer):
    completion = f"<think>{thinking}</think>{answer}"
    found = parsers.extract_thinking(completion)
    assert found is None or found in completion
    for reading in parsers.stated_conclusions(thinking):
        assert reading in thinking


# What the suites read, by their own functions.
LMMS = {"A man is walking. The answer is B": "A", "Option B. Because D": "D", "b": "", "answer: b.": "", "A or B": "A",
        "The answer is (C).": "C", "": "", "I pick D, not A": "A", "cat": "", "It is B": "B"}  # fmt: skip
VIDEOMME = {"Best answer: C": "B", "Based on the video, D": "B", "Definitely B": "D", "<think>A or B?</think>C": "A",
            "The answer is C": "C", "The best option is: B": "B", "none": "", "": ""}  # fmt: skip
PETS = {"A": "a cat", "B": "a dog", "C": "A red car", "D": "five dollars"}
VLMEVALKIT = {
    "B": "B",
    "(B) a dog.": "B",
    "A red car is seen so C": "C",
    "It is not a dog": "B",
    "a cat or a dog": None,
    "Cannot determine the answer": "Z",
    "A man sees many things here, so it is blue": None,
    "Z": "Z",
    "E": None,
}
MME = {
    "notice": "no",
    "Yes, it is": "yes",
    "y": "yes",
    "n": "no",
    "know": "no",
    "maybe yes": "other",
    "": "other",
    "No.": "no",
}
YORN = {
    "Yes, it is.": "Yes",
    "No doubt there is one": "No",
    "notice": "Unknown",
    "yes and no": "Unknown",
    "": "Unknown",
    "yes-no": "Unknown",
}
CHARADES = {"24.3 - 30.4 seconds": [24.3, 30.4], "From 24.3s to 30.4s": None, "30 to 10": [10, 30], "5 - 5": [5, 5],
            "starts at 00:00:18 and ends at 00:00:23": None, "Start: 3\nEnd: 7": [3, 7], "": None}  # fmt: skip


def test_lenient_readers_read_as_the_suites_do():
    assert {text: parsers.parse_choice_lmms_eval(text) for text in LMMS} == LMMS
    assert {text: parsers.parse_choice_videomme(text) for text in VIDEOMME} == VIDEOMME
    assert {text: parsers.parse_choice_vlmevalkit(text, PETS) for text in VLMEVALKIT} == VLMEVALKIT
    assert {text: parsers.parse_yes_no_lmms_eval(text) for text in MME} == MME
    assert {text: parsers.parse_yes_no_vlmevalkit(text) for text in YORN} == YORN
    assert {text: parsers.parse_interval_lmms_eval(text) for text in CHARADES} == CHARADES
    assert parsers.parse_word_vsibench("12.5. metres") == "12.5"


@RUNS
@given(TEXT)
def test_lenient_readers_take_any_text(text):
    assert parsers.parse_choice_lmms_eval(text) in [*"ABCDEFGH", ""]
    assert parsers.parse_choice_videomme(text) in [*"ABCD", ""]
    assert parsers.parse_choice_vlmevalkit(text, PETS) in [*PETS, "Z", None]
    assert parsers.parse_yes_no_lmms_eval(text) in ("yes", "no", "other")
    assert parsers.parse_yes_no_vlmevalkit(text) in ("Yes", "No", "Unknown")
    interval = parsers.parse_interval_lmms_eval(text)
    assert interval is None or interval[0] <= interval[1]
