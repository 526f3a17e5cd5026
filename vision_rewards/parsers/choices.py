"""The option letter, or letters, of an answer."""

from __future__ import annotations

import re

from vision_rewards.parsers.labels import normalize_label, strip_prefix
from vision_rewards.parsers.sequences import parse_items

_LETTER = re.compile(r"[(\[]?([A-Za-z])[)\]]?[.:,)]?")
_LETTER_TEXT = re.compile(r"[(\[]?([A-Za-z])(?:[)\]][.:]?|[.:]) ?(?=\S)(.*)", re.DOTALL)
_LONE_LETTER = re.compile(r"(?<!\w)[A-Z](?!\w)", re.ASCII)
# A lone capital that is not the article or the pronoun of a sentence.
_OTHER_LETTER = re.compile(r"(?<!\w)(?![AI] [a-z])[A-Z](?!\w)", re.ASCII)
_JOINED = re.compile(r"[A-Z]{2,26}\.?")
_ITEM = r"(?:\([A-Za-z]\)|\[[A-Za-z]\]|[A-Za-z][.)]?(?!\w))"
_LIST = re.compile(rf"{_ITEM}(?:(?: ?(?:, ?and|and|[,;/&+]) ?| ?){_ITEM})*[.]?")
_ANY_LETTER = re.compile(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])")


def parse_choice(answer: str, options: dict[str, str] | None) -> tuple[str | None, str]:
    """Read one option letter.

    Args:
        answer: an answer.
        options: letter -> text, or None where the texts are unknown.

    Returns:
        (letter, "ok") for a lone letter ("B", "(B)", "b.", "Answer: B"), a letter with its own option's text
        ("B. a dog") or an option's exact text. Else (None, reason): "contradictory" (letter and text disagree),
        "ambiguous" (two options have this text), "many_letters", "not_an_option" or "unparsable".
    """
    text = strip_prefix(answer)
    if lone := _LETTER.fullmatch(text):
        letter = lone[1].upper()
        return (letter, "ok") if options is None or letter in options else (None, "not_an_option")
    texts = {letter: normalize_label(option) for letter, option in (options or {}).items()}
    if marked := _LETTER_TEXT.fullmatch(text):
        letter, rest = marked[1].upper(), marked[2]
        if options is None and marked[1].isupper() and not _OTHER_LETTER.search(rest):
            return letter, "ok"
        if letter in texts and texts[letter] == normalize_label(rest):
            return letter, "ok"
    for wanted in (normalize_label(answer), normalize_label(text)):
        same = [letter for letter, option in texts.items() if option == wanted != ""]
        if same:
            return (same[0], "ok") if len(same) == 1 else (None, "ambiguous")
    if len(set(_LONE_LETTER.findall(text))) > 1:
        return None, "many_letters"
    return None, "contradictory" if marked and letter in texts else "unparsable"


def parse_choices(answer: str, options: dict[str, str] | None) -> tuple[list[str] | None, str]:
    """Read a set of option letters.

    Args:
        answer: an answer.
        options: letter -> text, or None where the texts are unknown.

    Returns:
        (letters in alphabetical order, "ok") for letters in a row ("ACD"), letters between commas, blanks, "and", `/`,
        `&` or `+` ("A, C and D", "(A)(C)"), a JSON list of letters, or lines that `parse_choice` reads. Else
        (None, reason): "repeated" where a letter stands twice, and the reasons of `parse_choice`.
    """
    text = strip_prefix(answer)
    if _JOINED.fullmatch(text):
        letters = list(text.rstrip("."))
    elif _LIST.fullmatch(text):
        letters = [letter.upper() for letter in _ANY_LETTER.findall(text.replace(" and", ","))]
    else:
        items = (parse_items(text)[0] or []) if text.startswith("[") else answer.split("\n")
        read = [parse_choice(item, options) for item in items if item.strip()]
        if not read or any(letter is None for letter, _ in read):
            return None, next((reason for _, reason in read if reason != "ok"), "unparsable")
        letters = [letter for letter, _ in read]
    if options is not None and not options.keys() >= set(letters):
        return None, "not_an_option"
    return (sorted(letters), "ok") if len(set(letters)) == len(letters) else (None, "repeated")
