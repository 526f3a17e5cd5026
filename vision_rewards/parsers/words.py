"""Text as words."""

from __future__ import annotations

import re
import unicodedata

# Scripts without blanks between words, where each character counts as one: CJK radicals and ideographs, kana.
_IDEOGRAPHS = "\u2e80-\u2fdf\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\s{_IDEOGRAPHS}]+")
# A long run without blanks comes in pieces, so that it cannot pass as one word.
_PIECE = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]{{1,16}}|[^\w\s]")
_ASCII_NOT_ALNUM = re.compile(r"[\x00-/:-@\[-`{-\x7f]+")
_NOT_ALNUM = re.compile(r"[^\w\x00-\x7f]")


def split_words(text: str) -> list[str]:
    """Words in lower case without punctuation: runs of letters, marks and digits; an ideograph or kana is a word.

    Equal to rouge-score's tokens where the text is ASCII; rouge-score drops all other letters.
    """
    text = _ASCII_NOT_ALNUM.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    return text.split() if text.isascii() else _WORD.findall(_NOT_ALNUM.sub(_blank_unless_mark, text))


def split_pieces(text: str) -> list[str]:
    """Words of at most 16 characters (longer ones cut), single ideographs and single punctuation marks; case stays.

    A measure of the amount of text, about a tokenizer's, that no choice of characters escapes.
    """
    return _PIECE.findall(text)


def _blank_unless_mark(match: re.Match) -> str:
    # The vowel signs of many scripts are marks, not letters.
    return match[0] if unicodedata.category(match[0])[0] == "M" else " "
