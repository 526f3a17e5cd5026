"""One option, or a set of options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import ClassVar

from vision_rewards.parsers import parse_choice, parse_choices
from vision_rewards.plain import Plain, marked_letter, text_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

_LETTERS = frozenset(ascii_uppercase)
_LETTER = re.compile(r"^\(?([A-Za-z])\)?[.:)]?$")


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(AnswerReward):
    """1 if the answer names the right option and no other; or the right set of options."""

    name = "multiple_choice"
    summary = "One option letter, or the exact text of one option; where several are right, the set of letters."
    target_keys: ClassVar = {
        "answer": "str: the right option's letter; or a list of letters, for an answer that may name several",
        "options?": "letter → text, or a list of texts (A, B, …); without it only letters are read",
    }
    formula = (
        "one letter: [letter = answer]; `B`, `(B)`, `b.`, `Answer: B`, `B. its text` and `its text` name B. Several, A "
        "the answer's set and B the target's: exact [A = B]; subset |A| / |B| where A ⊆ B, else 0; jaccard "
        "|A ∩ B| / |A ∪ B|; `AC`, `A, C`, `A and C` and lines of letters with their texts name A and C"
    )
    source = (
        "a strict reading of the letter, in place of VLMEvalKit's and lmms-eval's lenient extractors; subset: GAOKAO's "
        "part marks for an incomplete answer"
    )
    closes = (
        "`A red car` is not the letter A",
        "several letters score 0, in whatever order, where one is right",
        "naming every option scores 0 where not all are right, unless `jaccard` is asked for",
        "a letter with another option's text, and a letter said twice, score 0",
        "an empty or unreadable answer scores 0; nothing is drawn at random",
    )
    tasks = ("multiple choice", "mcq", "mc", "multi choice", "multiple select")
    plain = (
        Plain("the letter, or the text of one of the `options`", "B", ["a cat", "a dog"]),
        Plain("the letters, as text or list; `options` are kept", "A, C", ["a", "b", "c", "d"], ("multiple select",)),
    )
    part_defaults: ClassVar = {"exact": 0.0}
    metric_part = "exact"
    examples = (
        ({"answer": "B", "options": ["a cat", "a dog"]}, "<think>A or B?</think>(B) a dog.", "letter and its text"),
        ({"answer": "A", "options": ["a cat", "A red car"]}, "A red car", "the text of B"),
        ({"answer": ["A", "C"], "options": ["a", "b", "c", "d"]}, "C and A", "the same set"),
        ({"answer": ["A", "C"], "options": ["a", "b", "c", "d"]}, "A", "half of the set", {"several": "subset"}),
        ({"answer": ["A", "C"], "options": ["a", "b", "c", "d"]}, "ABCD", "two wrong ones", {"several": "subset"}),
    )

    several: str = param(
        "exact", "the score where the target is a list of letters", choices=("exact", "subset", "jaccard")
    )

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        texts = options or {}
        several = task == "multiple select" or isinstance(answer, list)
        right = letters_of(answer, texts) if several else letter_of(answer, texts)
        return {"answer": right} | ({"options": dict(texts)} if texts else {})

    def check_target(self, target):
        answer, options = target["answer"], target.get("options")
        right = _right(answer)
        if not right or not all(isinstance(letter, str) and letter.upper() in _LETTERS for letter in right):
            raise TargetError(f"'answer' is {str(answer)[:40]!r}, not an option letter or a list of them")
        if len({letter.upper() for letter in right}) != len(right):
            raise TargetError(f"'answer' is {str(answer)[:40]!r}: one letter stands twice")
        if options is None:
            return
        check_options(options)
        if not all(letter.upper() in by_letter(options) for letter in right):
            raise TargetError(f"'answer' {answer!r} is not one of the {len(options)} options")

    def gold_answer(self, target):
        return ", ".join(sorted(letter.upper() for letter in _right(target["answer"])))

    def score_answer(self, answer, target):
        options = target.get("options")
        texts = None if options is None else by_letter(options)
        if not isinstance(target["answer"], str):
            return self._score_several(answer, texts, target["answer"])
        letter, reason = parse_choice(answer, texts)
        if letter is None:
            return self.failed(reason)
        match = float(letter == target["answer"].upper())
        return RewardResult(match, {"exact": match}, letter, "ok")

    def _score_several(self, answer: str, texts: dict[str, str] | None, right: list[str]) -> RewardResult:
        letters, reason = parse_choices(answer, texts)
        if letters is None:
            return self.failed(reason)
        chosen, expected = set(letters), {letter.upper() for letter in right}
        exact = float(chosen == expected)
        score = {
            "exact": exact,
            "subset": len(chosen) / len(expected) if chosen <= expected else 0.0,
            "jaccard": len(chosen & expected) / len(chosen | expected),
        }[self.several]
        return RewardResult(score, {"exact": exact}, letters, "ok")


def _right(answer) -> list:
    return list(answer) if isinstance(answer, (list, tuple)) else [answer]


def letter_of(answer, options: Mapping[str, str]) -> str:
    """The letter that a plain answer names: alone, with its text, or by the text of an option.

    Raises:
        ValueError: it names none of the options.
    """
    text = text_of(answer)
    letter, marked = _LETTER.match(text), marked_letter(text)
    same = [key for key, option in options.items() if option and option.lower() == text.lower()]
    if letter and (not options or letter[1].upper() in options):
        return letter[1].upper()
    if same:
        return same[0]
    if marked and (not options or marked in options):
        return marked
    raise ValueError(f"{text!r:.80} is none of the options {', '.join(options) or 'A to Z'}")


def letters_of(answer, options: Mapping[str, str]) -> list[str]:
    """The letters that a plain answer names, in alphabetical order: a list, or text such as `A, C` or `AC`.

    Raises:
        ValueError: something in it names none of the options, or one letter stands twice.
    """
    letters = None if isinstance(answer, list) else parse_choices(text_of(answer), dict(options) or None)[0]
    if letters is None:
        items = answer if isinstance(answer, list) else [answer]
        letters = sorted(letter_of(item, options) for item in items)
    if not letters or len(set(letters)) != len(letters):
        raise ValueError(f"{answer!r:.80} names no option, or one twice")
    return letters


def by_letter(options) -> dict[str, str]:
    """Letter -> text of options that are given so, or as a list of texts."""
    return dict(options) if isinstance(options, Mapping) else dict(zip(ascii_uppercase, options))


def check_options(options) -> None:
    """Raise TargetError for options that are neither letter -> text nor a list of texts, 1 to 26 of them."""
    texts = options.values() if isinstance(options, Mapping) else options
    if not isinstance(options, (Mapping, list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise TargetError("'options' is neither letter → text nor a list of texts")
    if isinstance(options, Mapping) and not all(key in _LETTERS for key in options):
        raise TargetError(f"'options' has keys {list(options)}, not the letters A to Z")
    if not 0 < len(options) <= 26:
        raise TargetError(f"'options' has {len(options)} entries, not 1 to 26")
