"""Readers of short answers as lenient as the evaluation suites', to match published numbers. Not for rewards.

Each names its suite and rule, and what a policy would make of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_LMMS_PHRASES = (
    *(
        f"{words}{noun} is"
        for noun in ("answer", "option")
        for words in ("the correct ", "correct ", "the best ", "best ")
    ),
    *("the answer is", "answer is", "the choice is", "choice is", "the correct choice is", "correct choice is"),
    *("i choose", "i select", "i pick", "my answer is", "my choice is"),
    *("옵션", "정답은", "답은", "답:", "答案是", "答案为", "选", "答えは"),
)
_LMMS_EDGES = (",", ".", "!", "?", ";", ":", "'", '"')
# Mark around a letter -> rank; a higher rank wins, then the later place.
_LMMS_MARKS = (("({})", 6), ("{}.", 5), ("{}:", 4), ("{})", 3), ("{} ", 2))
_SAID = re.compile(r"(?i)answer\s{1,100}is\s{1,100}\*{0,100}([ABCD])")
_REFUSALS = (
    "Failed to obtain answer via API",
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_VIDEOMME_PREFIXES = (
    *("The best answer is", "The correct answer is", "The answer is", "The answer"),
    # A comma is missing in the suite after the first of each pair, which joins them.
    *("The best option isThe correct option is", "Best answer:Best option:", "Answer:", "Option:"),
)
_DOTTED = r"(\d{1,400}(?:\.{1,400}\d{0,400})?)"
_NUMBER_PAIR = re.compile(rf"{_DOTTED}\s*-\s*{_DOTTED}")
_FIRST_NUMBER = re.compile(r"\b(\d{1,400}\.\d{1,400}\b|\b\d{1,400})\b")
_CLOCK = re.compile(r"\b(\d{1,2}):(\d{2}):(\d{2})\b")


def parse_choice_lmms_eval(text: str, letters: str = "ABCDEFGH") -> str:
    """lmms-eval's `mcq_extract` of 2025: the letter with the best-ranked mark, of equals the later one; "" if none.

    In falling rank: the first character, the last one, the first occurrence after a phrase such as "the answer is",
    `(B)`, `B.`, `B:`, `B)`, `B ` and, if nothing else, any occurrence. Capital letters only. "A man walks. The answer
    is B" is A, and "Option B. Because D" is D. Releases of 2026 abstain where letters compete.
    """
    text = text.strip()
    if not text:
        return ""
    for edge in _LMMS_EDGES:
        text = text.strip(edge)
    text = f" {text} "
    candidates = [
        (rank, text.rfind(mark.format(c)), c) for mark, rank in _LMMS_MARKS for c in letters if mark.format(c) in text
    ]
    lower, bare = text.lower(), text.strip()
    for phrase in _LMMS_PHRASES:
        start = lower.find(phrase)
        if start >= 0:
            places = [(text.find(c, start + len(phrase)), c) for c in letters]
            candidates += [(7, place, c) for place, c in places if place >= 0]
    candidates += [(10, 0, c) for c in letters if bare.startswith(c) and not bare[1:2].isalpha()]
    candidates += [(9, len(text) - 1, c) for c in letters if bare.endswith(c) and not bare[-2:-1].isalpha()]
    candidates = candidates or [(0, text.rfind(c), c) for c in letters if c in text]
    return max(candidates, key=lambda entry: entry[:2])[2] if candidates else ""


def parse_choice_vlmevalkit(text: str, options: Mapping[str, str]) -> str | None:
    """VLMEvalKit's `can_infer`: a letter, "Z" for a refusal, None where it would ask a judge.

    A letter that is the only one among the blank-separated tokens, and one of the last four; else the only option whose
    text, in lower case, is a substring of an answer not much longer than all options. Between the two, what begins the
    first "answer is …", if it is one of abcd in either case. So "A red car is seen so C" is undecided by letters, "the
    answer is a dog" is A, and an option's text within a denial counts as chosen.
    """
    if _REFUSALS[0] in text:
        return _by_text(text, options)
    if any(refusal in text for refusal in _REFUSALS):
        return "Z"
    tokens = re.sub(r"[.()\[\],:;!*#{}]", " ", text).split()
    letters = [letter for letter in options if letter in tokens]
    if len(letters) == 1 and tokens.index(letters[0]) > len(tokens) - 5:
        return letters[0]
    if not letters and "Z" in tokens:
        return "Z"
    said = _SAID.search(text)
    return said[1].upper() if said and said[1].upper() in options else _by_text(text, options)


def _by_text(text: str, options: Mapping[str, str]) -> str | None:
    text = text.lower()
    if len(text) > 2 * sum(len(option) for option in options.values()):
        return None
    letters = [letter for letter, option in options.items() if option.lower() in text]
    return letters[0] if len(letters) == 1 else None


def parse_choice_videomme(text: str) -> str:
    """Video-MME's own reader, also VLMEvalKit's: the first capital A, B, C or D anywhere, "" if none.

    Some leading phrases are deleted first; two of the list are joined by a missing comma and never match. So
    "Best answer: C" is B, and "Definitely B" is D.
    """
    text = text.strip()
    for prefix in _VIDEOMME_PREFIXES:
        text = text.replace(prefix, "")
    letter = re.search(r"[ABCD]", text)
    return letter[0] if letter else ""


def parse_word_vsibench(text: str) -> str:
    """VSI-Bench's reader of letters and numbers: what stands before the first blank, without full stops at its end."""
    return text.split(" ")[0].rstrip(".").strip()


def parse_yes_no_lmms_eval(text: str) -> str:
    """lmms-eval's reader for MME: "yes", "no" or "other".

    The whole answer, or y and n alone; else "yes", then "no", anywhere in the first four characters. So "notice" is no.
    """
    text = text.lower().strip().replace(".", "")
    if text in ("yes", "no"):
        return text
    if len(text) == 1:
        return {"y": "yes", "n": "no"}.get(text, "other")
    return next((word for word in ("yes", "no") if word in text[:4]), "other")


def parse_yes_no_vlmevalkit(text: str) -> str:
    """VLMEvalKit's `YOrN_Extraction`, for POPE, MME, HallusionBench and AMBER: "Yes", "No" or "Unknown" (asks a judge).

    The one of the words yes and no that stands in the answer without the other, after the VQA punctuation rule. So "No
    doubt there is one" is No.
    """
    from vision_rewards.metrics.vqa import vqa_punctuation

    words = vqa_punctuation(text.lower()).split()
    answers = [word for word in ("yes", "no") if word in words]
    return answers[0].capitalize() if len(answers) == 1 else "Unknown"


def parse_interval_lmms_eval(text: str) -> list[float] | None:
    """lmms-eval's reader for Charades-STA (`extract_time`): [start, end] in seconds, None where it finds none.

    "to" becomes a dash, also inside words; then the first `a - b` counts. Without one, the first number of each
    sentence that has "start", "end" or "happen" makes pairs; then the first `hh:mm:ss` of each. Reversed ends are
    swapped, and equal ends stay, for which the suite's IoU divides by zero. Where the suite raises, for `1..2 - 3`,
    this finds none.
    """
    text = text.lower().replace("a specific example is : 20.8 - 30.0 seconds", "").replace("to", "-")
    if pair := _NUMBER_PAIR.search(text):
        return sorted(map(float, pair.groups())) if ".." not in pair.group() else None
    sentences = [s for s in re.split(r"[!?\n]", text) if any(word in s for word in ("start", "end", "happen"))]
    for pattern in (_FIRST_NUMBER, _CLOCK):
        matches = [match for match in map(pattern.search, sentences) if match]
        if len(matches) >= 2:
            return sorted(map(_lmms_seconds, matches[:2]))
    return None


def _lmms_seconds(match: re.Match) -> float:
    if match.re is _FIRST_NUMBER:
        return float(match[1])
    hours, minutes, seconds = map(int, match.groups())
    return float(hours * 3600 + minutes * 60 + seconds)
