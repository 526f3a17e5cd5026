"""Short texts made comparable: blanks, case, punctuation, leading phrases."""

from __future__ import annotations

import re
import unicodedata

_LABEL_NOISE = re.compile(
    r"['’‘`]"
    r"|[.,](?![0-9])"
    r"|(?<=\w)[-‐‑–—]|[-‐‑–—](?![.0-9])"
    r"|[\s_/;:!?\"“”()\[\]{}*]"
)
_APOSTROPHES = frozenset("'’‘`")
_PREFIX = re.compile(
    r"(?:the )?(?:(?:best|correct|right|final) )?(?:answer|option|choice)\b(?: is\b)? ?:? ?(?=\S)"
    r"(?:(?:option|choice) (?=\S))?",
    re.IGNORECASE,
)


def collapse_spaces(text: str) -> str:
    """Canonical Unicode (NFC), every run of white space one blank, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def normalize_label(text: str) -> str:
    """Fold case, Unicode width, white space and punctuation of a short answer.

    Signs, decimal points and symbols that change the meaning stay: "-5" is not "5", "3.5" not "35", "C++" not "C".
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    return " ".join(_LABEL_NOISE.sub(lambda m: "" if m.group() in _APOSTROPHES else " ", text).split())


def strip_prefix(answer: str) -> str:
    """Remove one leading "The answer is", "Answer:", "Option" and Markdown emphasis around the whole."""
    answer = collapse_spaces(answer).strip("* ")
    return answer[match.end() :].strip("* ") if (match := _PREFIX.match(answer)) else answer
