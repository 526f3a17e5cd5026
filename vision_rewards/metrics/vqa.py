"""VQA accuracy (Antol et al. 2015) and its normalisation of answers."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNITS = "zero one two three four five six seven eight nine ten"
_NUMBERS = {"none": "0"} | {word: str(value) for value, word in enumerate(_UNITS.split())}
_ARTICLES = frozenset(("a", "an", "the"))
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
# The official script passes a regex flag where the number of replacements belongs.
_MOST_PERIODS = 32
# Words that get their apostrophe back where one of theirs is missing.
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTED.split()
    for place in range(len(word))
    if word[place] == "'"
} | {"somebody'd": "somebodyd"}


def vqa_normalize(text: str, *, evalai: bool = False) -> str:
    """Normalise a short answer as the VQA evaluation does: punctuation, number words to ten, articles, contractions.

    Quirks of the official script are kept: "none" is 0, "a/b" is "b", a comma inside a number deletes all marks instead
    of spacing them, and only the first 32 periods go.

    Args:
        text: an answer.
        evalai: first lower the case, drop `,` and `?`, and split off `'s`, as EvalAI's and mmf's processor for TextVQA.
    """
    if evalai:
        text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return _digits_and_articles(vqa_punctuation(text.replace("\n", " ").replace("\t", " ").strip()))


def vqa_punctuation(text: str) -> str:
    """The first step of `vqa_normalize`: marks become blanks, or go where one of them stands next to a blank."""
    in_number = _COMMA_IN_NUMBER.search(text) is not None
    replaced = text
    for mark in _PUNCTUATION:
        if mark in text:
            spaced = mark + " " in text or " " + mark in text
            replaced = replaced.replace(mark, "" if spaced or in_number else " ")
    return _PERIOD.sub("", replaced, count=_MOST_PERIODS)


def _digits_and_articles(text: str) -> str:
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def leave_one_out(matches: Sequence[bool]) -> float:
    """Mean over annotators of min(1, matches among the others / 3); 0 without annotators."""
    if not matches:
        return 0.0
    agreed = sum(matches)
    with_own, without = min(1.0, (agreed - 1) / 3), min(1.0, agreed / 3)
    return (agreed * with_own + (len(matches) - agreed) * without) / len(matches)


def vqa_accuracy(prediction: str, answers: Sequence[str], *, evalai: bool = False) -> float:
    """VQA accuracy against the annotators' answers, usually 10, both sides normalised by `vqa_normalize`.

    This is what lmms-eval and VLMEvalKit do. An answer that three or more of nine others gave scores 1. A single
    annotator cannot be left out and asked, so that one answer alone gives 0.
    """
    predicted = vqa_normalize(prediction, evalai=evalai)
    return leave_one_out([vqa_normalize(answer, evalai=evalai) == predicted for answer in answers])


def vqa_accuracy_official(prediction: str, answers: Sequence[str]) -> float:
    """VQA accuracy as the VQA v2 script computes it.

    It differs from `vqa_accuracy` in the annotators' answers: only their punctuation is normalised, and that only where
    they are not all equal; "two" and "The cat" among them are never matched.
    """
    predicted = vqa_normalize(prediction)
    if len(set(answers)) > 1:
        answers = [vqa_punctuation(answer) for answer in answers]
    return leave_one_out([answer == predicted for answer in answers])
