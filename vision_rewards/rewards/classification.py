"""Match of a class name, or of a set of class names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps
from typing import ClassVar

from vision_rewards.parsers import bare, normalize_label, parse_items, same_label, skip_article, statements
from vision_rewards.plain import Plain, text_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

_AND = re.compile(r"\s(?:and|&)\s", re.IGNORECASE)


def _is_label(value) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and bool(normalize_label(str(value)))


def _is_labels(value) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_is_label, value))


@dataclass(frozen=True, kw_only=True)
class Classification(AnswerReward):
    """1 if the normalised answer is the class; for several classes, how far the two sets agree."""

    name = "classification"
    summary = "A class name after folding case, white space and punctuation; or the set of several."
    target_keys: ClassVar = {
        "answer": "str or int: the class; or a list of them, for an answer that lists classes",
        "synonyms?": "other accepted names: a list; for several classes, class → list",
    }
    formula = (
        "one class: [norm(answer) ∈ {norm(y) : y ∈ {answer} ∪ synonyms}]; several, A the answer's set and B the "
        "target's, synonyms as their class: jaccard |A ∩ B| / |A ∪ B|; exact [A = B]"
    )
    source = "Visual-RFT's classification reward, without its substring test; Jaccard index of two sets"
    closes = (
        "an empty answer is no match (a substring test scores it 1)",
        "listing classes, or a sentence that contains the class, is no match",
        "with several classes every wrong one costs, and one said twice (a synonym too) makes the list void",
    )
    tasks = (
        "classification",
        "image classification",
        "ic",
        "cls",
        "multi label classification",
        "critic",
        "llava",
        "all match",
    )
    plain = (
        Plain("the class", "golden retriever"),
        Plain("the classes: a list, or a text with commas", ["cat", "dog"], tasks=("multi label classification",)),
    )
    part_defaults: ClassVar = {"exact": 0.0}
    examples = (
        ({"answer": "golden retriever", "synonyms": ["goldie"]}, "<answer>Golden-Retriever</answer>", "same name"),
        ({"answer": "cat"}, "cat dog bird", "lists classes"),
        ({"answer": ["cat", "dog"]}, "dog, bird", "one shared of three"),
        ({"answer": ["cat", "dog"], "synonyms": {"cat": ["kitty"]}}, "Kitty and dog", "a synonym"),
    )

    several: str = param("jaccard", "the score where the target has several classes", choices=("jaccard", "exact"))

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        if task != "multi label classification":
            return {"answer": text_of(answer)}
        labels = answer if isinstance(answer, list) else parse_items(text_of(answer))[0]
        if not labels or not all(map(_is_label, labels)):
            raise ValueError(f"{answer!r:.80} is not a list of classes")
        return {"answer": list(labels)}

    def check_target(self, target):
        answer, synonyms = target["answer"], target.get("synonyms")
        if _is_label(answer):
            if synonyms is not None and not _is_labels(synonyms):
                raise TargetError(f"'synonyms' is {str(synonyms)[:60]!r}, not a list of non-empty str or int")
            return
        if not _is_labels(answer) or not answer:
            raise TargetError(f"'answer' is {str(answer)[:60]!r}, not a non-empty str or an int, or a list of them")
        if synonyms is not None and not (isinstance(synonyms, Mapping) and all(map(_is_labels, synonyms.values()))):
            raise TargetError(f"'synonyms' is {str(synonyms)[:60]!r}, not class → list of names")
        names = [normalize_label(str(name)) for name in answer]
        if len(set(names)) != len(names) or set(_classes(target).values()) != set(names):
            raise TargetError(f"'answer' {str(answer)[:60]!r} or its synonyms name one class twice, or none of them")

    def gold_answer(self, target):
        answer = target["answer"]
        return dumps([str(name) for name in answer], ensure_ascii=False) if _is_labels(answer) else str(answer)

    def score_answer(self, answer, target):
        if _is_labels(target["answer"]):
            return self._score_several(answer, target)
        accepted = {normalize_label(str(name)) for name in (target["answer"], *(target.get("synonyms") or ()))}
        same, label = same_label(answer, accepted, articles=True)
        if label is None:
            return self.failed("no_answer")
        match = float(same)
        return RewardResult(match, {"exact": match}, label, "ok")

    def _score_several(self, answer: str, target: Mapping) -> RewardResult:
        classes = _classes(target)
        labels, reason = _read_classes(answer, classes)
        if labels is None:
            return self.failed(reason)
        if not all(labels) or len(set(labels)) != len(labels):
            return self.failed("repeated" if all(labels) else "unparsable")
        chosen, right = set(labels), set(classes.values())
        exact = float(chosen == right)
        score = exact if self.several == "exact" else len(chosen & right) / len(chosen | right)
        return RewardResult(score, {"exact": exact}, labels, "ok")


def _read_classes(answer: str, classes: Mapping[str, str]) -> tuple[list[str] | None, str]:
    """The classes that an answer lists, normalised; a sentence's ("It shows a cat and a dog") if it is one."""
    layers = dict.fromkeys((bare(answer), statements(answer)[-1]))
    for layer in reversed(layers):
        items, reason = parse_items(layer)
        if items is None:
            continue
        # "cat, dog and bird", unless a class has the word in its name.
        if normalize_label(items[-1]) not in classes:
            items[-1:] = _AND.split(items[-1])
        labels = [_class_of(normalize_label(item), classes) for item in items]
        break
    return (None, reason) if items is None else (labels, "ok")


def _class_of(label: str, classes: Mapping[str, str]) -> str:
    return classes.get(label) or classes.get(skip_article(label), label)


def _classes(target: Mapping) -> dict[str, str]:
    """Normalised name or synonym -> normalised class."""
    classes = {}
    for name, others in (target.get("synonyms") or {}).items():
        classes.update({normalize_label(str(other)): normalize_label(str(name)) for other in others})
    return classes | {normalize_label(str(name)): normalize_label(str(name)) for name in target["answer"]}
