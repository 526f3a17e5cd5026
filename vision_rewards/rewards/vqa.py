"""Agreement with several annotators' short answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from vision_rewards.metrics.vqa import leave_one_out, vqa_normalize
from vision_rewards.parsers import parse_json, parse_yes_no, readings
from vision_rewards.plain import Plain, text_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

MAX_ANSWERS = 100
MAX_LENGTH = 1000  # characters


@dataclass(frozen=True, kw_only=True)
class Vqa(AnswerReward):
    """How many annotators gave this answer, against what their favourite gets."""

    name = "vqa"
    summary = "VQA accuracy of a short answer, relative to the best that the annotators' answers allow."
    target_keys: ClassVar = {"answers": "list of str: one answer per annotator, usually 10; a single one is the answer"}
    formula = (
        "acc(x) = mean over annotators i of min(1, |{j ≠ i : norm(aⱼ) = norm(x)}| / 3), norm of the VQA evaluation; "
        "score = acc(x) / max over y of acc(y); a single annotator: [norm(x) = norm(a)]"
    )
    source = "VQA accuracy: Antol et al. 2015, with the normalisation of lmms-eval and VLMEvalKit"
    closes = (
        "an answer that is empty once normalised (`a`, `the`, `?!`) scores 0, also where an annotator's is empty too",
        "the whole answer is compared: a sentence that contains the word, or a list of answers, is no match",
        "a question on which annotators disagree still has an answer that scores 1, so that no row is unreachable",
        "scoring keeps nothing: no table grows with the words seen, and the target's answers stay as they are",
    )
    tasks = ("vqa", "visual question answering", "vqav2", "textvqa", "okvqa")
    plain = (
        Plain("the answer, or all annotators' answers: a list of texts or of {answer: text}", ["red", "dark red"]),
    )
    part_defaults: ClassVar = {"vqa_accuracy": 0.0}
    examples: ClassVar = (
        ({"answers": ["red"] * 6 + ["dark red"] * 4}, "Red.", "six of ten said so"),
        ({"answers": ["red"] * 8 + ["dark red"] * 2}, "dark red", "two of ten said so: (2 · 1/3 + 8 · 2/3) / 10"),
        ({"answers": ["2"] * 3 + list("abcdefg")}, "two", "the best there is, though VQA accuracy is 0.9"),
        ({"answers": ["red"] * 6 + ["dark red"] * 4}, "red, dark red", "a list is no match"),
        ({"answers": ["red"] * 6 + ["the"] * 4}, "a", "nothing is left of an article"),
        ({"answers": ["a building"]}, "Building", "one annotator"),
    )

    evalai: bool = param(False, "split off `'s` first, as EvalAI's processor does for TextVQA")

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        if isinstance(answer, str) and answer.startswith("["):
            items, _ = parse_json(answer)
            answer = items if isinstance(items, list) else answer
        items = answer if isinstance(answer, list) else [answer]
        return {"answers": [text_of(item["answer"] if _is_record(item) else item) for item in items]}

    def check_target(self, target):
        answers = target["answers"]
        if not isinstance(answers, (list, tuple)) or not all(isinstance(answer, str) for answer in answers):
            raise TargetError(f"'answers' is {str(answers)[:60]!r}, not a list of str")
        if not 0 < len(answers) <= MAX_ANSWERS or any(len(answer) > MAX_LENGTH for answer in answers):
            raise TargetError(f"'answers' must be 1 to {MAX_ANSWERS} answers of at most {MAX_LENGTH} characters")
        if self._best(target) is None:
            raise TargetError(f"'answers' is {str(answers)[:60]}: nothing is left of any of them once normalised")

    def _best(self, target) -> str | None:
        return _scores(tuple(target["answers"]), self.evalai)[1]

    def gold_answer(self, target):
        return self._best(target)

    def score_answer(self, answer, target):
        accuracies, best = _scores(tuple(target["answers"]), self.evalai)
        reading, accuracy = self._best_reading(answer, accuracies)
        if not reading:
            return self.failed("no_answer")
        top = accuracies[vqa_normalize(best, evalai=self.evalai)]
        return RewardResult(accuracy / top, {"vqa_accuracy": accuracy}, reading, "ok")

    def _best_reading(self, answer: str, accuracies: dict[str, float]) -> tuple[str, float]:
        """(what the answer says, its accuracy): as it stands, or the first reading with less dressing that is known."""
        forms = []
        for layer in readings(answer):
            forms.append(vqa_normalize(layer, evalai=self.evalai))
            if forms[-1] in accuracies:
                return forms[-1], accuracies[forms[-1]]
        if "yes" in accuracies or "no" in accuracies:
            word, _ = parse_yes_no(answer)
            forms += [] if word is None else ["yes" if word else "no"]
        for form in forms:
            if form in accuracies:
                return form, accuracies[form]
        # St. Johns is St. John's: annotators write either.
        spelled = {form.replace("'", ""): accuracy for form, accuracy in accuracies.items()}
        return forms[-1], max(spelled.get(form.replace("’", "'").replace("'", ""), 0.0) for form in forms)


def _is_record(item) -> bool:
    return isinstance(item, Mapping) and "answer" in item


@lru_cache(maxsize=256)
def _scores(answers: tuple[str, ...], evalai: bool) -> tuple[dict[str, float], str | None]:
    """(normalised answer -> accuracy without the empty one, an annotator's text of the best; None if none has any)."""
    forms = [vqa_normalize(answer, evalai=evalai) for answer in answers]
    counts = Counter(form for form in forms if form)
    accuracies = {form: leave_one_out([other == form for other in forms]) for form in counts}
    if len(answers) == 1:
        accuracies = dict.fromkeys(accuracies, 1.0)
    top = max(accuracies.values(), default=0.0)
    best = (answer for answer, form in zip(answers, forms) if accuracies.get(form) == top > 0)
    return accuracies, next(best, None)
