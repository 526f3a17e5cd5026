"""Yes or no, and labels, which may be one of them."""

from __future__ import annotations

import re
from collections.abc import Collection

from vision_rewards.parsers.labels import normalize_label
from vision_rewards.parsers.short_answers import bare, label_forms, readings

TRUTH_WORDS = {"yes": True, "true": True, "no": False, "false": False}
_WORDS = TRUTH_WORDS | {
    **dict.fromkeys(("是", "是的", "对", "对的", "正确", "有", "有的"), True),
    **dict.fromkeys(("not true", "否", "不", "不是", "不对", "不是的", "错误", "错", "没有"), False),
}
_LETTERED = re.compile(r"[(\[]?[A-Z][)\].:] ?[)\].:]? ?(?=\S)")
# "Yes, there is a cat." and "Yes it is."
_SENTENCE = re.compile(
    r"(?P<word>yes|no|true|false)(?:\s?[,.;:!]\s{0,3}|\s[-–—]\s|[\s,]{1,3}(?=(?:it|there|this|that|these|those|they|he|she|"
    r"we|i|the)\s(?:is|are|was|were|do|does|did|has|have|had|can|will)(?:n['’]t)?\b))(?P<rest>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_OPEN = (
    r"yes|true|false|but|however|or|either|maybe|perhaps|unsure|sure|think|guess|probably|possibly|might|could|may|wait|"
    r"actually|although|though|unless|if|otherwise|except|sometimes|partly|partially|unclear|unknown|wrong|correction"
    r"|(?:cannot|can['’]t|can not|could not) (?:tell|say|determine|decide|know|be sure|be)"
)
_LEFT_OPEN = re.compile(rf"\b(?:{_OPEN})\b|\?", re.IGNORECASE)
_NO_AGAIN = re.compile(r"\bno\b(?!\s[a-z])", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:no|not|never|none|nothing|neither|nor|without)\b|n['’]t\b|\bcannot\b", re.IGNORECASE)


def parse_yes_no(answer: str) -> tuple[bool | None, str]:
    """Read yes or no.

    Returns:
        (True or False, "ok") for the word, yes, no, true or false, alone or stated ("The answer is **yes**.", "A. Yes",
        是的), and for a sentence that begins with it and neither takes it back nor leaves it open ("Yes, there is.");
        else (None, "unparsable").
    """
    for layer in readings(answer):
        word = _WORDS.get(normalize_label(layer))
        if word is not None:
            return word, "ok"
    text = bare(answer).replace("**", "")
    if lettered := _LETTERED.match(text):
        word = _WORDS.get(normalize_label(text[lettered.end() :]))
        return (word, "ok") if word is not None else (None, "unparsable")
    sentence = _SENTENCE.fullmatch(text)
    if sentence is None:
        return None, "unparsable"
    word = TRUTH_WORDS[sentence["word"].lower()]
    denied = _DENIED if word else _NO_AGAIN
    if _LEFT_OPEN.search(sentence["rest"]) or denied.search(sentence["rest"]):
        return None, "unparsable"
    return word, "ok"


def same_label(answer: str, accepted: Collection[str], *, articles: bool = False) -> tuple[bool, str | None]:
    """Whether an answer says one of some normalised labels, and what it says; (False, None) where it says nothing.

    Where the labels are yes or no, a sentence that begins so says it, as in `parse_yes_no`.
    """
    forms = {}
    for layer in readings(answer):
        for form in label_forms(layer, articles):
            if form in accepted:
                return True, form
            forms[form] = None
    if not forms:
        return False, None
    if not TRUTH_WORDS.keys().isdisjoint(accepted):
        word, _ = parse_yes_no(answer)
        if word is not None:
            said = "yes" if word else "no"
            return said in accepted, said
    return False, next(reversed(forms))
