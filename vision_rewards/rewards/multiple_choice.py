"""One option of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import ClassVar

from vision_rewards.parsers import parse_choice
from vision_rewards.types import AnswerReward, RewardResult, TargetError


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(AnswerReward):
    """1 if the answer names the right option and no other."""

    name = "multiple_choice"
    summary = "One option letter, or the exact text of one option."
    target_keys: ClassVar = {
        "answer": "str: the right option's letter",
        "options?": "letter → text, or a list of texts (A, B, …); without it only letters are read",
    }
    formula = "[letter = answer]; `B`, `(B)`, `b.`, `Answer: B`, `B. its text` and `its text` name B"
    source = "a strict reading of the letter, in place of VLMEvalKit's and lmms-eval's lenient extractors"
    closes = (
        "`A red car` is not the letter A",
        "several letters score 0, in whatever order",
        "a letter with another option's text scores 0",
        "an empty or unreadable answer scores 0; nothing is drawn at random",
    )
    tasks = ("multiple choice", "mcq", "mc", "multi choice")

    def check_target(self, target):
        answer, options = target["answer"], target.get("options")
        if not isinstance(answer, str) or answer.upper() not in list(ascii_uppercase):
            raise TargetError(f"'answer' is {str(answer)[:40]!r}, not an option letter")
        if options is None:
            return
        texts = options.values() if isinstance(options, Mapping) else options
        if not isinstance(options, (Mapping, list, tuple)) or not all(isinstance(text, str) for text in texts):
            raise TargetError("'options' is neither letter → text nor a list of texts")
        if isinstance(options, Mapping) and not all(key in list(ascii_uppercase) for key in options):
            raise TargetError(f"'options' has keys {list(options)}, not the letters A to Z")
        if not 0 < len(options) <= 26 or answer.upper() not in _by_letter(options):
            raise TargetError(f"'answer' {answer!r} is not one of the {len(options)} options")

    def gold_answer(self, target):
        return target["answer"].upper()

    def score_answer(self, answer, target):
        options = target.get("options")
        letter, reason = parse_choice(answer, None if options is None else _by_letter(options))
        if letter is None:
            return self.failed(reason)
        return RewardResult(float(letter == target["answer"].upper()), {}, letter, "ok")


def _by_letter(options) -> dict[str, str]:
    return dict(options) if isinstance(options, Mapping) else dict(zip(ascii_uppercase, options))
