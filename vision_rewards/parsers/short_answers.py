"""The one reader of short answers: what an answer says, without its dressing.

Dressing is what models put around an answer and what says nothing about it: Markdown, code fences, quotation marks, TeX
delimiters, `\\boxed{}` and `\\text{}`, a heading, "So the answer is", a final full stop, a JSON object with the one key
`answer`. Nothing is searched for: what remains is the whole of what the answer says, so that hedges and lists of
candidates stay what they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from vision_rewards.parsers.extract import all_boxed
from vision_rewards.parsers.json_values import parse_written_json
from vision_rewards.parsers.labels import normalize_label
from vision_rewards.parsers.phrases import skip_its, skip_lead, skip_subject

MAX_SHORT = 2000  # characters; longer texts are no short answers and stay as they are
_LAYERS = 10
_ANSWER_KEYS = (
    "answer",
    "final_answer",
    "label",
    "class",
    "category",
    "choice",
    "option",
    "result",
    "prediction",
    "labels",
    "classes",
    "answers",
    "choices",
    "order",
    "text",
)
_PAIRS = (
    *(("**", "**"), ("__", "__"), ("*", "*"), ("`", "`"), ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")),
    *(('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("「", "」"), ("『", "』"), ("«", "»"), ("<b>", "</b>")),
)
_OPENINGS = frozenset(pair[0][0] for pair in _PAIRS)
_TEX_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textrm|textbf|mathbf|mathit|textit|texttt|fbox)\s?\{([^{}]*)\}")
_FENCE = re.compile(r"```[A-Za-z]{0,12}[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
# A full stop; an exclamation mark, unless it makes a factorial.
_END = re.compile(r"(?:(?<!\.)[.。．｡]|(?<![0-9)!])[!！])\Z")
_ARTICLE = re.compile(r"\A(?:an?|the) (?=\S)")
_ARTICLED = re.compile(r"(?:an?|the|one|two|three|some|several|both) \S", re.IGNORECASE)
_RANGE = re.compile(r"(?<=[0-9]) (?:to|through|until) (?=[0-9])")
_WIDE = {0xFEE0 + code: chr(code) for code in range(0x21, 0x7F)}
_PLAIN = re.compile(r"[A-Za-z0-9-]{1,40}")


def fold_width(text: str) -> str:
    """Full-width characters as ASCII; letters of other scripts that look like Latin ones stay."""
    return text if text.isascii() else text.translate(_WIDE)


def peel(answer: str, *, faces: bool = True) -> list[str]:
    """An answer, then what it says with ever less dressing, the barest last.

    A label that is itself dressed (a target `"quoted"`, a title `The Answer Is 42`) is found among the first.

    Args:
        answer: an answer.
        faces: `\\text{…}`, `\\mathbf{…}` and the like are dressing, as everywhere but in a formula.
    """
    text = fold_width(answer).strip()
    layers = [text]
    if not text or _PLAIN.fullmatch(text) or len(text) > MAX_SHORT:
        return layers
    for _ in range(_LAYERS):
        inner = _undress(text, faces)
        if inner is None:
            break
        text = inner
        layers.append(text)
    return layers


def bare(answer: str) -> str:
    """What an answer says without any dressing: the last of `peel`."""
    return peel(answer)[-1]


def statements(answer: str, *, faces: bool = True) -> list[str]:
    """`peel`, and then without "It is a", "This is" or, for a sentence about something, its subject: "The color is"."""
    layers = peel(answer, faces=faces)
    text = layers[-1]
    if _PLAIN.fullmatch(text):
        return layers
    place = skip_its(text)
    if not place:
        place, shows = skip_subject(text)
        place = 0 if shows and not _ARTICLED.match(text[place:]) else place
    return layers + peel(text[place:], faces=faces) if 0 < place < len(text) else layers


def readings(answer: str, *, faces: bool = True) -> Iterator[str]:
    """`statements`; the others are made when a second is asked for: most right answers are what stands there first."""
    yield fold_width(answer).strip()
    yield from statements(answer, faces=faces)[1:]


def _undress(text: str, faces: bool) -> str | None:
    """The text without its outermost layer, None where it has none."""
    if text.startswith("```") and (fence := _FENCE.fullmatch(text)) and "```" not in fence[1]:
        return fence[1].strip() or None
    if "\\boxed" in text or "\\fbox" in text:
        inside = all_boxed(text)
        if len(set(inside)) == 1:
            return inside[0].strip() or None
    if text[0] in _OPENINGS and (inner := _unmarked(text)):
        return inner
    if faces and text[0] == "\\" and (tex := _TEX_TEXT.fullmatch(text.rstrip("."))):
        return tex[1].strip() or None
    if text[0] in "{[" and (value := _of_object(text)) is not None:
        return value
    place, _ = skip_lead(text)
    if 0 < place < len(text):
        return _balanced(text[place:]).strip() or None
    if _END.search(text) and text[:-1].strip(" ."):
        return text[:-1].strip()
    return None


def _unmarked(text: str) -> str | None:
    """The inside of marks around all of the text but a full stop."""
    text = text.rstrip(".。．｡ ") or text
    for left, right in _PAIRS:
        if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
            inner = text[len(left) : -len(right)]
            if left not in inner and right not in inner and inner.strip():
                return inner.strip()
    return None


def _balanced(text: str) -> str:
    """The text without the closing half of bold type that a phrase before it opened."""
    return text.replace("**", "", 1) if text.count("**") % 2 else text


def _of_object(text: str) -> str | None:
    """The value of a JSON object's one key for answers, or the one text of a list."""
    value, reason = parse_written_json(text)
    if reason != "ok":
        return None
    if isinstance(value, list):
        return value[0].strip() or None if len(value) == 1 and isinstance(value[0], str) else None
    values = [value[key] for key in _ANSWER_KEYS if key in value] if isinstance(value, dict) else []
    if len(values) != 1 or isinstance(values[0], dict) or values[0] is None:
        return None
    if isinstance(values[0], str):
        return values[0].strip() or None
    return json.dumps(values[0], ensure_ascii=False)


def skip_article(label: str) -> str:
    """A normalised label without an article before it."""
    return _ARTICLE.sub("", label)


def label_forms(layer: str, articles: bool) -> list[str]:
    """One reading of an answer as `normalize_label` makes it comparable; with `articles` also without one before it.

    None of them is empty: nothing is left of punctuation alone.
    """
    form = normalize_label(layer)
    form = _RANGE.sub(" ", form) if " " in form else form
    forms = [form, skip_article(form)] if articles else [form]
    return [form for form in forms if form]
