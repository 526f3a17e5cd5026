"""Controls that filter and sort the cards of a section; `script.py` has what they do."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

OUTCOMES = (("", "all answers"), ("right", "correct"), ("wrong", "not correct"), ("cut", "cut by length limit"))
ORDERS = (("", "as written"), ("down", "highest reward first"), ("up", "lowest reward first"))


def render_sifting(tasks: Iterable[str], outcomes: Iterable[tuple[str, str]] = OUTCOMES) -> str:
    """The controls, of a section whose cards have these tasks, and answers these outcomes: value, words."""
    named = [("", "all tasks"), *((task, task) for task in sorted(set(tasks)))]
    return (
        '<div class="sift" role="group" aria-label="Filter and sort">'
        f"{_choice('task', 'task', named)}{_choice('outcome', 'outcome', outcomes)}"
        '<label>reward from <input type="number" step="any" name="low"></label>'
        '<label>to <input type="number" step="any" name="high"></label>'
        f'{_choice("order", "order", ORDERS)}<output class="muted"></output></div>'
    )


def _choice(name: str, label: str, options: Iterable[tuple[str, str]]) -> str:
    items = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options)
    return f'<label>{label} <select name="{name}">{items}</select></label>'
