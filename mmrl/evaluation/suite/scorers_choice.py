"""Choices, yes or no, and short answers scored as other suites do, their faults included; see `scorers`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmrl.contracts.types import Sample
from vision_rewards.parsers import parse_choice_lmms_eval, parse_choice_vlmevalkit
from vision_rewards.plain import structure_of

_THOUGHT = re.compile(r"<think>.*?</think>|<analysis>.*?</analysis>", re.DOTALL)
_LETTERS = "ABCDE"
# What stands around a letter in MMBench's rules, in the order in which they are tried.
_MARKS = (
    *(("", end) for end in (".", ",", ":", ")", ").")),
    *(("(", end) for end in (")", ").")),
    *((":", end) for end in ("", ",", ".", ")", ").")),
)
_LEADS = (
    *("The best answer is", "The correct answer is", "The answer is", "The answer", "The best option is"),
    *("The correct option is", "Best answer:", "Best option:"),
)
# VLMEvalKit's list lacks two commas, so that two pairs of phrases are one text each that never occurs.
_LEADS_VLMEVALKIT = (
    *("The best answer is", "The correct answer is", "The answer is", "The answer"),
    *("The best option isThe correct option is", "Best answer:Best option:", "Answer:", "Option:"),
)
_KEY_PHRASES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_OPEN_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
_MVBENCH_MARKS = ';/[]"{}()=+\\_-><@`,?!'


def without_thoughts(text: str) -> str:
    """The answer as lmms-eval hands it to its tasks: no thinking, also where only its end is marked."""
    return _THOUGHT.sub("", text).rpartition("</think>")[2].strip()


def options_of(sample: Sample) -> Mapping[str, str]:
    """Letter -> text."""
    return sample.target.get("options") or {}


def mmbench(text: str, sample: Sample) -> float:
    """lmms-eval's static mode: a token that is a letter, else an option's text, else any letter that stands out."""
    said, options = without_thoughts(text), options_of(sample)
    letter = _token_letter(said) or _only_text(said, options)
    return float((letter or parse_choice_lmms_eval(said, "".join(options) or "ABCD")) == sample.target["answer"])


def _token_letter(text: str) -> str | None:
    tokens = text.split()
    alone = [letter for letter in _LETTERS if letter in tokens]
    # `A` in a longer sentence may be an article, and stops the search for a bare letter, whichever it was.
    if len(alone) == 1 and not ("A" in tokens and len(tokens) > 3):
        return alone[0]
    for before, after in _MARKS:
        marked = [letter for letter in _LETTERS if f"{before}{letter}{after}" in tokens]
        if len(marked) == 1:
            return marked[0]
    return None


def _only_text(text: str, options: Mapping[str, str]) -> str | None:
    named = [letter for letter, option in options.items() if option.lower() in text.lower()]
    return named[0] if len(named) == 1 else None


def mmmu(text: str, sample: Sample) -> float:
    """MMMU's own readers, as lmms-eval has them; where they draw an option at random, 0."""
    said, options = without_thoughts(text), options_of(sample)
    if options:
        return float(_mmmu_letter(said, options) == sample.target["answer"])
    right: Any = sample.columns.get("answer", sample.target.get("answer"))
    right = structure_of(right) if isinstance(right, str) and right.startswith("[") else right
    accepted = [form for answer in (right if isinstance(right, list) else [right]) for form in _normal(str(answer))]
    return float(any(_holds(candidate, accepted) for candidate in _open_candidates(said)))


def _holds(candidate: str | float, accepted: Sequence[str | float]) -> bool:
    if isinstance(candidate, str):
        return any(isinstance(form, str) and form in candidate for form in accepted)
    return candidate in accepted


def _mmmu_letter(text: str, options: Mapping[str, str]) -> str | None:
    for mark in ",.!?;:'":
        text = text.strip(mark)
    text = f" {text} "
    for written, place in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        letters = [letter for letter in options if written.format(letter) in text]
        if letters:
            # The first of those whose place is the last.
            return max(letters, key=lambda letter: text.rfind(place.format(letter)))
    if len(text.split()) <= 5:
        return None
    named = [letter for letter, option in options.items() if option.lower() in text.lower()]
    return max(named, key=lambda letter: text.lower().rfind(options[letter].lower()), default=None)


def _open_candidates(text: str) -> Iterator[str | float]:
    """Ends of sentences behind a phrase such as `is`, and the numbers in them; of no such phrase the whole answer."""
    text = text.strip().strip(".").lower()
    parts = re.split(r"\.\s(?=[A-Z])|\n", text)
    keys = []
    for i, part in enumerate(parts):
        phrases = (*_KEY_PHRASES, "=") if i == len(parts) - 1 else _KEY_PHRASES
        ends = [part.rsplit(phrase, 1)[-1].strip() for phrase in phrases if phrase in part]
        shortest = min(ends, key=len, default="")
        if shortest and shortest not in ":,.!?;'":
            keys.append(shortest)
    for key in keys or [text]:
        yield from _normal(key)
        for pattern in _OPEN_NUMBERS:
            for number in pattern.findall(key):
                yield from _normal(number)


def _normal(text: str) -> list[str | float]:
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        lower = text.lower()
        return [f" {lower}", f"{lower} "] if len(lower) == 1 else [lower]


def mmmu_vlmevalkit(text: str, sample: Sample) -> float:
    """An open question is a choice between its answer and `Other Answers` there."""
    options = options_of(sample)
    if options:
        return float(parse_choice_vlmevalkit(text, options) == sample.target["answer"])
    answer = str(sample.columns.get("answer", sample.target.get("answer")))
    return float(parse_choice_vlmevalkit(text, {"A": answer, "B": "Other Answers"}) == "A")


def first_letter(text: str, sample: Sample) -> float:
    """LongVideoBench: the first capital A to E behind some phrases; where it draws an option at random, 0."""
    return float(_first_letter(without_thoughts(text), _LEADS) == sample.target["answer"])


def first_letter_vlmevalkit(text: str, sample: Sample) -> float:
    """As `first_letter`, with other phrases, in the thinking too; without a letter an option's text counts."""
    letter = _first_letter(text, _LEADS_VLMEVALKIT) or parse_choice_vlmevalkit(text, options_of(sample))
    return float(letter == sample.target["answer"])


def _first_letter(text: str, leads: Sequence[str]) -> str | None:
    text = text.strip()
    for lead in leads:
        text = text.replace(lead, "")
    found = re.search("[A-E]", text)
    return found[0] if found else None


def mvbench(text: str, sample: Sample) -> float:
    """lmms-eval's: `X. …`, else the first single letter A to E of either case."""
    said = without_thoughts(text)
    if match := re.match(r"([A-Ea-e])\.\s*.+$", said):
        return float(match[1].upper() == sample.target["answer"])
    said = said.replace("\n", " ").replace("\t", " ").strip()
    written, joined = said, re.search(r"\d,\d", said) is not None
    for mark in _MVBENCH_MARKS:
        said = said.replace(mark, "" if joined or f"{mark} " in written or f" {mark}" in written else " ")
    said = re.sub(r"\.(?!\d)", "", said).strip("'").strip('"').strip()
    found = re.search(r"\b([A-E])\b", said, re.IGNORECASE)
    return float((found[1].upper() if found else said) == sample.target["answer"])


def mvbench_vlmevalkit(text: str, sample: Sample) -> float:
    """VLMEvalKit's: the first word is a part of `(x)`, or the other way round; else an option's text."""
    letter = str(sample.target["answer"])
    first, mark = text.lower().strip().split(" ")[0], f"({letter.lower()})"
    if first.replace(".", "") in mark or mark in first:
        return 1.0
    return float(parse_choice_vlmevalkit(text, options_of(sample)) == letter)


def tempcompass(text: str, sample: Sample) -> float:
    """lmms-eval's rules; where it asks its judge, 0."""
    return _tempcompass(without_thoughts(text), sample)


def tempcompass_vlmevalkit(text: str, sample: Sample) -> float:
    """The same rules, on the answer with its thinking."""
    return _tempcompass(text, sample)


def _tempcompass(said: str, sample: Sample) -> float:
    right, question = str(sample.columns["answer"]), str(sample.columns["question"])
    if right.lower() in ("yes", "no"):
        start = next((word for word in ("yes", "no") if said.lower().startswith(word)), None)
        return float(start == right)
    if ": " in right:
        lines = sample.columns.get("candidates") or question.split("\n")[1:]
        return _caption(said, right, structure_of(lines) if isinstance(lines, str) else lines)
    return float(said == right or said == right[0] or said[:2] in (f"{right[0]}.", f"{right[0]})"))


def _caption(said: str, right: str, lines: Sequence[str]) -> float:
    named = None
    marks = [line.split(": ")[0] for line in lines]
    short = [re.sub("Sentence |Option |Caption ", "", mark) for mark in marks]
    named = said if said in lines else None
    for sentence in (line.split(": ")[1] for line in lines):
        if sentence == said or (") " in said and sentence == said.split(") ")[1]):
            named = sentence
    for mark in (*marks, *short):
        if mark in (said, said.replace(".", "")):
            named = mark
    mark, _, sentence = right.partition(": ")
    return float(named is not None and named in (right, mark, sentence, mark.split()[1]))


def mathvista(text: str, sample: Sample) -> float:
    """lmms-eval's: an option's text or a whole number and nothing else; floats never; where it asks its judge, 0."""
    said, columns = without_thoughts(text), sample.columns
    right = str(columns["answer"]).strip()
    if columns["question_type"] == "multi_choice":
        return float(said in columns["choices"] and said == right)
    if columns["answer_type"] != "integer":
        return 0.0
    try:
        return float(str(int(said)) == right)
    except ValueError:
        return 0.0


def mathvista_vlmevalkit(text: str, sample: Sample) -> float:
    """VLMEvalKit's rules before its judge: a choice, or a number and nothing else, floats exactly; else 0."""
    columns = sample.columns
    if columns["question_type"] == "multi_choice":
        options = dict(zip("ABCDEFGHIJ", map(str, columns["choices"])))
        letter = parse_choice_vlmevalkit(text, options)
        return float(letter is not None and options.get(letter) == columns["answer"])
    read = {"integer": int, "float": float}.get(str(columns["answer_type"]))
    if read is None:
        return 0.0
    try:
        return float(read(text) == read(columns["answer"]))
    except ValueError:
        return 0.0
