"""Free text against a reference, or against keywords."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.metrics import overlap
from vision_rewards.parsers import MAX_ANSWER, split_words
from vision_rewards.plain import Plain
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

MAX_KEYWORDS = 200
MOST_LISTED = 11
_LITTLE_WORDS = (
    "a an the this that these those it its he she they his her their we you i is are was were be been being has have "
    "had do does did of in on at to from by with for and or but as into onto over under near between behind while then "
    "there which who where when not no so very der die das ein eine einer und ist sind im auf mit von zu den dem le la "
    "les un une des et est sont dans sur avec de du au el los las una y es en con del al il lo gli e di che per con su "
    "o os um uma no na"
)
_LITTLE = frozenset(_LITTLE_WORDS.split())
_KEYWORD_METRICS = ("keywords", "ordered_keywords")


@dataclass(frozen=True, kw_only=True)
class OpenEnded(AnswerReward):
    """How much of a reference, or of its keywords, an answer in free text says."""

    name = "open_ended"
    summary = "Words shared with a reference text, or keywords found, in order if asked."
    target_keys: ClassVar = {
        "answer?": "str, or list of str: reference texts, of which the best counts; for `rouge`, `rougeL`, `bleu`",
        "keywords?": "list of str, or of lists of synonyms; for `keywords`, `ordered_keywords`",
    }
    formula = (
        "words in lower case without punctuation. rouge: mean F1 of ROUGE-1, -2 and -L (without ROUGE-2 for references "
        "of one word); rougeL: its F1; bleu: sentence BLEU-4; keywords: K / max(k, o / 2) · min(1, max_words / w) · "
        "min(1, (8 + spare · k) / d)², K of k keywords found, o occurrences in all, w words, d different words in "
        "no keyword; 0 for an enumeration: d > 11, none said twice, hardly an article or preposition; "
        "ordered_keywords: K counts the longest run of first occurrences in order"
    )
    source = "rouge: EasyVideoR1's and Video-R1's open-ended types (Lin 2004); bleu: Papineni et al. 2002, by sacrebleu"
    closes = (
        "F1, not recall: an answer that lists all words, or the reference many times, loses precision",
        "saying a keyword more than twice, and answers beyond `max_words`, dilute the keywords found",
        "a list of likely words, which finds most keywords of most targets, is no description and scores 0; with "
        "little words strewn in, its many other words dilute it",
        "whole words only: `cart` does not contain the keyword `car`",
        "no shortcut to 1 for short references, and an empty answer scores 0",
        "words of every script count: two different Chinese sentences are not alike, two equal ones are",
    )
    tasks = ("open ended", "free form", "video description", "image description")
    plain = (Plain("the reference", "A red car turns left."),)
    part_defaults: ClassVar = {"exact": 0.0, "recall": 0.0}
    examples: ClassVar = (
        ({"answer": "A red car turns left."}, "a red car turns left", "case and punctuation do not count"),
        ({"answer": "A red car turns left."}, "A red car.", "3 of 5 words: F1 3/4, pairs 2 of 4: 2/3, in order: 3/4"),
        ({"answer": "A red car turns left."}, "A red car turns left. " * 5, "said five times"),
        ({"keywords": ["red", ["car", "vehicle"]]}, "The vehicle is red.", "both found", {"metric": "keywords"}),
        (
            {"keywords": ["red", ["car", "vehicle"]]},
            "The vehicle is red.",
            "in the other order",
            {"metric": "ordered_keywords"},
        ),
        ({"keywords": ["red", "car"]}, "Red cart.", "whole words only", {"metric": "keywords"}),
        ({"answer": "A red car turns left."}, "", "empty"),
    )

    metric: str = param("rouge", "which measure is the score", choices=("rouge", "rougeL", "bleu", *_KEYWORD_METRICS))
    stem: bool = param(False, "`rouge`, `rougeL`: compare Porter's stems, as EasyVideoR1 does (needs nltk)")
    max_words: int = param(100, "`keywords`: length from which an answer's score falls", low=1)

    spare: int = param(3, "`keywords`: different other words for each keyword that cost nothing, beside eight", low=0)

    def _key(self) -> str:
        return "keywords" if self.metric in _KEYWORD_METRICS else "answer"

    def applies(self, target):
        return target.get(self._key()) is not None

    def check_target(self, target):
        if not self.applies(target):
            raise TargetError(f"metric={self.metric!r} needs the key {self._key()!r}; the target has {sorted(target)}")
        if self.metric in _KEYWORD_METRICS:
            self._check_keywords(target)
        else:
            self._check_references(target)

    def _check_references(self, target) -> None:
        texts = _references(target)
        if not texts or not all(isinstance(text, str) and len(text) <= MAX_ANSWER for text in texts):
            raise TargetError(f"'answer' is not a str, or a list of str, of at most {MAX_ANSWER} characters")
        if not all(map(split_words, texts)):
            raise TargetError(f"'answer' {str(target['answer'])[:60]!r} has a text without words")

    def _check_keywords(self, target) -> None:
        keywords = target["keywords"]
        if not isinstance(keywords, (list, tuple)) or not 0 < len(keywords) <= MAX_KEYWORDS:
            raise TargetError(f"'keywords' is {str(keywords)[:60]!r}, not a list of 1 to {MAX_KEYWORDS} keywords")
        for keyword in keywords:
            forms = _forms(keyword)
            if not forms or not all(isinstance(form, str) and 0 < len(split_words(form)) <= 20 for form in forms):
                raise TargetError(f"'keywords' has {str(keyword)[:60]!r}, not a str, or list of str, of 1 to 20 words")
        gold = self.gold_answer(target)
        if self.score_answer(gold, target).score != 1.0:
            raise TargetError(f"the keywords one after the other, {gold[:60]!r}, do not score 1: too many, or alike")

    def gold_answer(self, target):
        if self.metric in _KEYWORD_METRICS:
            return ", ".join(_forms(keyword)[0] for keyword in target["keywords"])
        return _references(target)[0]

    def score_answer(self, answer, target):
        words = split_words(answer)
        if not words:
            return self.failed("no_answer")
        if self.metric in _KEYWORD_METRICS:
            return self._score_keywords(words, [_forms(keyword) for keyword in target["keywords"]])
        results = [self._compare(words, split_words(text)) for text in _references(target)]
        score, exact, recall = max(results)
        return RewardResult(score, {"exact": exact, "recall": recall}, " ".join(words), "ok")

    def _compare(self, words: list[str], expected: list[str]) -> tuple[float, float, float]:
        if words == expected:
            return 1.0, 1.0, 1.0
        shared = (overlap.ngrams(words, 1) & overlap.ngrams(expected, 1)).total()
        return _MEASURES[self.metric](*self._stems(words, expected)), 0.0, shared / len(expected)

    def _stems(self, *texts: list[str]) -> tuple[list[str], ...]:
        return tuple(map(overlap.stem_words, texts)) if self.stem and self.metric != "bleu" else texts

    def _score_keywords(self, words: list[str], keywords: list[list[str]]) -> RewardResult:
        places, occurrences = overlap.find_keywords(words, [list(map(split_words, forms)) for forms in keywords])
        present = sum(place is not None for place in places)
        counted = present if self.metric == "keywords" else overlap.longest_rise(places)
        others = Counter(words)
        for word in {word for forms in keywords for form in forms for word in split_words(form)}:
            others.pop(word, None)
        if _enumerates(others, len(words)):
            return self.failed("enumeration")
        score = counted / max(len(keywords), occurrences / 2) * min(1.0, self.max_words / len(words))
        score *= min(1.0, (8 + self.spare * len(keywords)) / max(1, len(others))) ** 2
        parts = {"exact": float(counted == len(keywords)), "recall": present / len(keywords)}
        return RewardResult(score, parts, " ".join(words), "ok")


def _rouge(words: list[str], expected: list[str]) -> float:
    scores = [overlap.ngram_f1(words, expected, 1), overlap.lcs_f1(words, expected)]
    if len(expected) > 1:
        scores.append(overlap.ngram_f1(words, expected, 2))
    return min(1.0, sum(scores) / len(scores))


def _bleu(words: list[str], expected: list[str]) -> float:
    return overlap.bleu(" ".join(words), [" ".join(expected)], tokenize="none")


_MEASURES = {"rouge": _rouge, "rougeL": overlap.lcs_f1, "bleu": _bleu}


def _enumerates(others: Counter, length: int) -> bool:
    """Whether the words beside the keywords are a list: many, none twice, and hardly a word that makes sentences."""
    if len(others) <= MOST_LISTED or others.total() > len(others):
        return False
    if not all(word.isascii() for word in others):
        # Little words of other scripts are not known here.
        return False
    return sum(word in _LITTLE for word in others) * MOST_LISTED < length


def _references(target) -> list[str]:
    answer = target["answer"]
    return list(answer) if isinstance(answer, (list, tuple)) else [answer]


def _forms(keyword) -> list[str]:
    return list(keyword) if isinstance(keyword, (list, tuple)) else [keyword]
