"""Short texts made comparable: blanks, case, punctuation."""

from __future__ import annotations

import re
import unicodedata

_LABEL_NOISE = re.compile(
    r"[.,](?![0-9])"
    r"|(?<=\w)[-‐‑–—]|[-‐‑–—](?![.0-9])"
    r"|[\s_/;:!?\"“”()\[\]{}。，；：！？「」]"
    r"|\*(?=\S)|(?<=\*)\*|(?<=\s)\*"
)
_EMPHASIS = re.compile(r"(\*{1,3})(?=\S)([^*]{1,200})(?<=\S)\1")
_APOSTROPHES = dict.fromkeys(map(ord, "'’‘`"))


def collapse_spaces(text: str) -> str:
    """Canonical Unicode (NFC), every run of white space one blank, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def normalize_label(text: str) -> str:
    """Fold case, Unicode width, white space and punctuation of a short answer.

    Signs, decimal points and symbols that change the meaning stay: "-5" is not "5", "3.5" not "35", "C++" not "C".
    """
    if text.isascii():
        text = text.lower()
        if text.isalnum():
            return text
    else:
        text = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    text = _EMPHASIS.sub(r"\2", text) if "*" in text else text
    if not text.isascii():
        text = text.translate(
            {ord(character): None for character in set(text) if unicodedata.category(character) == "Cf"}
        )
    return " ".join(_LABEL_NOISE.sub(" ", text).translate(_APOSTROPHES).split())
