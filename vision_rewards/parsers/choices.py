"""The option letter, or letters, of an answer."""

from __future__ import annotations

import re

from vision_rewards.parsers.labels import collapse_spaces, normalize_label
from vision_rewards.parsers.phrases import last_statement
from vision_rewards.parsers.sequences import parse_items
from vision_rewards.parsers.short_answers import peel, readings, skip_article

_CORRECT = (
    r"(?: (?:is|must be|should be|would be) (?:(?:the )?(?:best|correct|right|most (?:likely|appropriate))"
    r"(?: answer| option| choice)?|the answer|the (?:correct|right) one))?"
)
_LETTER = re.compile(
    rf"(?:[-*•→>] )?(?:(?:option|choice|letter) )?[(\[【]?([A-Za-z])[)\]】]?[.:,)]?(?:选项|项)?{_CORRECT}\.?",
    re.IGNORECASE,
)
_TEXT_LETTER = re.compile(r"(.+?)(?: ?[(\[]([A-Z])[)\]]|, ([A-Z]))\.?", re.DOTALL)
_LETTER_TEXT = re.compile(r"[(\[]?([A-Za-z])(?:[)\]][.:,]?|[.:,]| ?[-–—](?= )|(?= ?[(=])) ?=? ?(?=\S)(.*)", re.DOTALL)
_LONE_LETTER = re.compile(r"(?<!\w)[A-Z](?!\w)", re.ASCII)
# A lone capital that is not the article or the pronoun of a sentence.
_OTHER_LETTER = re.compile(r"(?<!\w)(?![AI]['’ ][a-z])[A-Z](?!\w)", re.ASCII)
_JOINED = re.compile(r"[A-Z]{2,26}\.?")
_ITEM = r"(?:\([A-Za-z]\)|\[[A-Za-z]\]|[A-Za-z][.)]?(?!\w))"
_LIST = re.compile(rf"{_ITEM}(?:(?: ?(?:, ?and|and|[,;/&+、，；和]) ?| ?){_ITEM})*[.]?", re.ASCII)
_ANY_LETTER = re.compile(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])")
_BOTH = re.compile(r"(?:both|options|choices|letters|answers)\b:? (?=\S)", re.IGNORECASE)
_BULLET = re.compile(r"^[ \t]*(?:[-*•]|[0-9]{1,2}[.)])[ \t]+", re.MULTILINE)
_ALL_CORRECT = re.compile(
    r" (?:are|is) (?:the )?(?:correct|right)(?: answers?| options?| choices?)?\.?\Z", re.IGNORECASE
)
_BECAUSE = re.compile(r",? (?:because|since) ", re.IGNORECASE)
_BEFORE_LETTER = re.compile(r"(?:[,;、，；]|\s(?:and|&))\s*(?:and\s+)?(?=[(\[]?[A-Z][.):\]])")
_COMMAS = re.compile(r"\s*(?:[,;、，；]\s*(?:and\s)?|\s(?:and|&)\s)\s*")
# Words, at least two of them.
_REASON = re.compile(r"[^\W\d_]{2}.*?\W[^\W\d_]{2}|[\u4e00-\u9fff]{2}", re.DOTALL)
# Words that take back what a sentence before or after an answer says, or leave it open.
_DOUBT = re.compile(
    r"\b(?:not|no|never|none|neither|nor|or|either|maybe|perhaps|unsure|unclear|guess|wait|actually|instead|but|however|"
    r"although|unless|otherwise|alternatively|cannot|could|might|wrong|incorrect|correction)\b|n['’]t\b|\?|[不非或]",
    re.IGNORECASE,
)


def parse_choice(answer: str, options: dict[str, str] | None) -> tuple[str | None, str]:
    """Read one option letter.

    Args:
        answer: an answer.
        options: letter -> text, or None where the texts are unknown.

    Returns:
        (letter, "ok") for a lone letter ("B", "(B)", "b.", "So the answer is **B**.", "B is correct"), a letter with
        its own option's text ("B. a dog", "B (a dog)") or an option's exact text ("It's a dog."); also where a reason
        stands before the statement or after it, if that names no other option and takes nothing back. Else (None,
        reason): "contradictory" (letter and text disagree), "ambiguous" (two options have this text), "many_letters",
        "not_an_option" or "unparsable".
    """
    if len(answer) == 1 and answer.isascii() and answer.isalpha():
        letter = answer.upper()
        return (letter, "ok") if options is None or letter in options else (None, "not_an_option")
    texts = {letter: normalize_label(option) for letter, option in (options or {}).items()}
    reason = "unparsable"
    for layer in readings(answer):
        letter, why = _read_letter(layer, texts, options is None)
        if letter is not None or why in ("ambiguous", "not_an_option"):
            return letter, why
        reason = why if why != "unparsable" else reason
    letter = _with_reason(answer, texts, options is None)
    return (letter, "ok") if letter is not None else (None, reason)


def parse_choices(answer: str, options: dict[str, str] | None) -> tuple[list[str] | None, str]:
    """Read a set of option letters.

    Args:
        answer: an answer.
        options: letter -> text, or None where the texts are unknown.

    Returns:
        (letters in alphabetical order, "ok") for letters in a row ("ACD"), letters between commas, blanks, "and", `/`,
        `&` or `+` ("A, C and D", "(A)(C)"), a JSON list of letters, lines or list items that `parse_choice` reads, or
        options' texts between commas. Else (None, reason): "repeated" where a letter stands twice, and the reasons of
        `parse_choice`.
    """
    letters, reason = None, "unparsable"
    for layer in readings(answer):
        letters, why = _read_letters(layer, options)
        reason = why if why != "unparsable" else reason
        if letters is not None or why == "ambiguous":
            break
    if letters is None:
        return None, reason
    if options is not None and not options.keys() >= set(letters):
        return None, "not_an_option"
    return (sorted(letters), "ok") if len(set(letters)) == len(letters) else (None, "repeated")


def _read_letter(layer: str, texts: dict[str, str], untold: bool) -> tuple[str | None, str]:
    """The letter that one whole text is, as `parse_choice`; `untold` where there are no texts."""
    text = collapse_spaces(layer).replace("**", "")
    if lone := _LETTER.fullmatch(text):
        letter = lone[1].upper()
        return (letter, "ok") if untold or letter in texts else (None, "not_an_option")
    if marked := _LETTER_TEXT.fullmatch(text):
        letter, rest = marked[1].upper(), marked[2]
        if untold and marked[1].isupper() and not _OTHER_LETTER.search(rest) and text[len(marked[1]) :][:1] in ").:":
            return letter, "ok"
        if letter in texts and skip_article(texts[letter]) == skip_article(normalize_label(rest)):
            return letter, "ok"
    if (behind := _TEXT_LETTER.fullmatch(text)) and texts.get(behind[2] or behind[3]) == normalize_label(behind[1]):
        return behind[2] or behind[3], "ok"
    label = normalize_label(text)
    same = [letter for letter, option in texts.items() if option == label != ""]
    if same:
        return (same[0], "ok") if len(same) == 1 else (None, "ambiguous")
    if marked is None and len(skip_article(label)) > 1:
        alike = [letter for letter, option in texts.items() if skip_article(option) == skip_article(label)]
        if len(alike) == 1:
            return alike[0], "ok"
    if len(set(_LONE_LETTER.findall(text))) > 1:
        return None, "many_letters"
    return None, "contradictory" if marked and letter in texts else "unparsable"


def _with_reason(answer: str, texts: dict[str, str], untold: bool) -> str | None:
    """The letter of an answer with a sentence of reason before or after it; None where that speaks of other options."""
    first, _, after = answer.strip().partition("\n")
    pieces = [(first, after)] if after.strip() else []
    if (place := last_statement(answer)) is not None:
        stated, *reasons = _BECAUSE.split(answer[place:], maxsplit=1)
        pieces.append((stated, " ".join((answer[:place], *reasons))))
    for stated, rest in pieces:
        for layer in peel(stated):
            letter, _ = _read_letter(layer, texts, untold)
            if letter is not None and not _speaks_of_others(rest, letter, texts):
                return letter
    return None


def _speaks_of_others(rest: str, letter: str, texts: dict[str, str]) -> bool:
    """Whether the text beside a stated letter is no reason for it alone."""
    if not _REASON.search(rest) or any(_LETTER.fullmatch(line.strip()) for line in rest.split("\n")):
        return True
    if _DOUBT.search(rest) or not set(_OTHER_LETTER.findall(rest)) <= {letter}:
        return True
    words = f" {normalize_label(rest)} "
    return any(f" {text} " in words for other, text in texts.items() if other != letter and text != texts.get(letter))


def _read_letters(layer: str, options: dict[str, str] | None) -> tuple[list[str] | None, str]:
    """The letters that one whole text names, not checked for repeats."""
    text = layer.replace("**", "")
    joined = collapse_spaces(text)
    joined = _ALL_CORRECT.sub("", _BOTH.sub("", joined, count=1) if _BOTH.match(joined) else joined)
    if _JOINED.fullmatch(joined):
        return list(joined.rstrip(".")), "ok"
    if _LIST.fullmatch(joined):
        return [letter.upper() for letter in _ANY_LETTER.findall(joined.replace(" and", ","))], "ok"
    reason = "unparsable"
    for items in _item_lists(text, options):
        letters = [_item_letter(item, options) for item in items if item.strip()]
        if letters and all(letter is not None for letter, _ in letters):
            return [letter for letter, _ in letters], "ok"
        reason = next((why for _, why in letters if why != "ok"), reason) if reason == "unparsable" else reason
    return None, reason


def _item_letter(item: str, options: dict[str, str] | None) -> tuple[str | None, str]:
    texts = {letter: normalize_label(option) for letter, option in (options or {}).items()}
    reason = "unparsable"
    for layer in peel(item):
        letter, reason = _read_letter(layer, texts, options is None)
        if letter is not None:
            break
    return letter, reason


def _item_lists(text: str, options: dict[str, str] | None) -> list[list[str]]:
    """The ways to divide a text into items, each to be one option."""
    if text.startswith("["):
        return [parse_items(text)[0] or []]
    lines = _BULLET.sub("", text).split("\n")
    ways = [lines]
    if len(lines) == 1 and (parts := _BEFORE_LETTER.split(text))[1:]:
        ways.append(parts)
    if len(lines) == 1 and options is not None and (parts := _COMMAS.split(text))[1:]:
        ways.append(parts)
    return ways
