"""Similarity of read text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vision_rewards import metrics
from vision_rewards.parsers import MAX_ANSWER, collapse_spaces, statements
from vision_rewards.plain import Plain, text_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

# Answer and text, both normalised, and their edit similarity -> score.
_SCORES = {
    "edit": lambda answer, text, similarity: similarity,
    "cer": lambda answer, text, similarity: max(0.0, 1.0 - metrics.character_error_rate(answer, text)),
    "wer": lambda answer, text, similarity: max(0.0, 1.0 - metrics.word_error_rate(answer, text)),
    "exact": lambda answer, text, similarity: float(answer == text),
    "anls": lambda answer, text, similarity: metrics.anls(answer, [text]),
}


@dataclass(frozen=True, kw_only=True)
class Ocr(AnswerReward):
    """How much of a text was read right, by edit distance."""

    name = "ocr"
    summary = "Edit-distance similarity of a transcription."
    target_keys: ClassVar = {"text": "str: the transcription, or list of str: accepted ones, of which the best counts"}
    formula = (
        "a, b: answer and text in NFC with runs of white space collapsed, d = Levenshtein(a, b). "
        "edit: 1 − d / max(|a|, |b|); cer: max(0, 1 − d / |b|); wer: as cer, in words; exact: [a = b]; "
        "anls: case folded, s = 1 − d / max(|a|, |b|), 0 unless d / max(|a|, |b|) < 0.5"
    )
    source = (
        "edit: OmniDocBench's text metric; wer: the `ocr` of EasyVideoR1 and Video-R1; "
        "anls: Biten et al. 2019, with the paper's strict threshold"
    )
    closes = (
        "the denominator uses the normalised strings: padding with blanks gains nothing",
        "an empty answer scores 0, and a target without visible text is refused",
        "extra text, repetition included, counts as edits: dumping all plausible text loses",
        "answer and target are normalised alike: `a / b` equals itself",
    )
    tasks = ("ocr", "text recognition", "text reading")
    plain = (Plain("the transcription", "EXIT 42"),)
    part_defaults: ClassVar = {"exact": 0.0, "similarity": 0.0}
    metric_part = "exact"
    examples: ClassVar = (
        ({"text": "EXIT 42"}, "EXIT  42\n", "white space does not count"),
        ({"text": "EXIT 42"}, "EXIT 47", "one of seven characters is wrong"),
        ({"text": "EXIT 42"}, "<answer>EXIT 47</answer>", "one of two words is wrong", {"metric": "wer"}),
        ({"text": "EXIT 42"}, "EXIT 42 EXIT 42", "said twice, the second time is 8 insertions in 15"),
        ({"text": ["paris", "Paris, France"]}, "tokyo" + " " * 30, "padding does not dilute", {"metric": "anls"}),
        ({"text": "EXIT 42"}, "", "empty"),
    )

    metric: str = param("edit", "which measure is the score", choices=tuple(_SCORES))
    ignore_case: bool = param(False, "fold case before comparing; `anls` always does")

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        return {"text": text_of(answer)}

    def check_target(self, target):
        texts = _texts(target)
        if not texts:
            raise TargetError("'text' is an empty list")
        for text in texts:
            if not isinstance(text, str) or not any(c.isprintable() and not c.isspace() for c in text):
                raise TargetError(f"'text' is {str(text)[:60]!r}, not a str with visible characters")
            if len(text) > MAX_ANSWER:
                raise TargetError(f"'text' has {len(text)} characters; at most {MAX_ANSWER} can be scored")

    def _normalize(self, text: str) -> str:
        text = collapse_spaces(text)
        return text.lower() if self.ignore_case or self.metric == "anls" else text

    def gold_answer(self, target):
        return _texts(target)[0]

    def score_answer(self, answer, target):
        texts = list(map(self._normalize, _texts(target)))
        as_it_stands = self._normalize(answer)
        readings = [as_it_stands]
        if as_it_stands not in texts:
            readings += [self._normalize(text) for text in _readings(answer)[1:]]
        results = [(*max(self._compare(reading, text) for text in texts), reading) for reading in readings]
        score, exact, similarity, reading = max(results, key=lambda result: result[:3])
        return RewardResult(score, {"exact": exact, "similarity": similarity}, reading, "ok")

    def _compare(self, reading: str, text: str) -> tuple[float, float, float]:
        similarity = metrics.normalized_edit_similarity(reading, text)
        return _SCORES[self.metric](reading, text, similarity), float(reading == text), similarity


def _readings(answer: str) -> list[str]:
    """The answer as it stands, and without Markdown, quotation marks or "The text reads:" around it.

    A full stop or exclamation mark alone is part of a text.
    """
    layers = statements(answer)
    stop_alone = len(layers) == 2 and layers[0][-1] in ".!" and layers[1] == layers[0][:-1]
    return [answer] if stop_alone else [answer, *layers[1:]]


def _texts(target) -> list[str]:
    text = target["text"]
    return text if isinstance(text, (list, tuple)) else [text]
