"""LaTeX formulas as tokens, so that two ways of writing one formula compare equal."""

from __future__ import annotations

import re

_COMMENT = re.compile(r"(?<!\\)%[^\n]*")
# What only spaces or names things, with its argument, and delimiters that are not drawn.
_SILENT = re.compile(r"\\(?:[hv]space|label)\*?\s{0,5}\{[^{}]{0,100}\}|\\(?:left|right)\s{0,5}\.")
# An environment for several lines that holds one.
_ALIGNED = re.compile(
    r"\\begin\s{0,5}\{(align\*?|aligned|gather\*?|gathered|split|multline\*?|eqnarray\*?)\}"
    r"((?:(?!\\\\|\\begin|\\end).){0,5000}+)\\end\s{0,5}\{\1\}",
    re.DOTALL,
)
_OVER = re.compile(r"\{([^{}]{1,500})\\over(?![A-Za-z])([^{}]{1,500})\}")
_OPERATOR = re.compile(r"\\operatorname\*?\s{0,5}\{\s{0,5}([A-Za-z]{1,20})\s{0,5}\}")
_TOKEN = re.compile(r"\\(?:begin|end)\s{0,5}\{[A-Za-z]{1,20}\*?\}|\\[A-Za-z]+|\\.|'+|\S", re.DOTALL)

_SIZES = [f"\\{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", "l", "r", "m")]
_SPACES = r"\, \; \: \! \quad \qquad \enspace \thinspace \medspace \thickspace \hfill ~"
_STYLES = r"\displaystyle \textstyle \scriptstyle \limits \nolimits \left \right \middle \nonumber \notag"
_DISPLAYS = [
    f"\\{end}{{{name}}}"
    for end in ("begin", "end")
    for name in ("equation", "equation*", "displaymath", "displaymath*", "math", "math*")
]
_DELIMITERS = ("$", r"\[", r"\]", r"\(", r"\)")
_DROPPED = frozenset([*_SIZES, *_SPACES.split(), "\\ ", "\\\n", *_STYLES.split(), *_DISPLAYS, *_DELIMITERS])
_UPRIGHT_FACES = r"\mathrm \mathit \mathnormal \text \textrm \textit \mbox \hbox \rm \it"
# The same letters in another face.
_UPRIGHT = frozenset(_UPRIGHT_FACES.split())
_ALIASES = {
    "\\" + name: "\\" + meaning
    for name, meaning in {
        "le": "leq", "ge": "geq", "leqslant": "leq", "geqslant": "geq",
         "ne": "neq", "to": "rightarrow", "gets": "leftarrow", "dfrac": "frac",
        "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "land": "wedge", "lor": "vee",
        "lnot": "neg", "dots": "ldots", "dotsc": "ldots", "dotsb": "cdots", "lbrace": "{", "rbrace": "}",
        "|": "Vert", "lVert": "Vert", "rVert": "Vert", "bold": "mathbf", "owns": "ni", "iff": "Leftrightarrow",
    }.items()
} | {
    r"\lbrack": "[", r"\rbrack": "]", r"\vert": "|", r"\lvert": "|", r"\rvert": "|", r"\mid": "|", r"\ast": "*",
    r"\colon": ":", r"\lt": "<", r"\gt": ">", r"\sp": "^", r"\sb": "_", "−": "-", "≤": r"\leq", "≥": r"\geq",
    "≠": r"\neq", "×": r"\times", "÷": r"\div", "±": r"\pm", "·": r"\cdot", "→": r"\rightarrow", "∞": r"\infty",
}  # fmt: skip
_SCRIPTS = ("_", "^")
_SPLICE = ""  # stands where a command for upright text was; no token is empty


def latex_tokens(text: str) -> list[str]:
    r"""Tokens of a formula: commands, environments' ends, and single characters.

    Left out: math delimiters, spacing, sizes of delimiters, display styles, upright faces, labels, comments, and braces
    around a single token. Made one: synonyms (`\le`, `\leq`), `x'` and `x^{\prime}`, `x^2_1` and `x_1^2`, `{a \over b}`
    and `\frac{a}{b}`, a single line and the same in an environment for several.
    Braces that do not match stay as they are.
    """
    text = _OPERATOR.sub(r"\\\1 ", _SILENT.sub(" ", _COMMENT.sub("", _unfenced(text))))
    text = _OVER.sub(r"\\frac{\1}{\2}", _ALIGNED.sub(lambda match: match[2].replace("&", ""), text))
    tokens: list[str] = []
    for token in _TOKEN.findall(text):
        token = re.sub(r"\s", "", token) if token.startswith((r"\begin", r"\end")) else token
        token = _ALIASES.get(token, token)
        if token.startswith("'"):
            tokens += ["^", "{", *[r"\prime"] * len(token), "}"]
        elif token in _UPRIGHT:
            tokens.append(_SPLICE)
        elif token not in _DROPPED:
            tokens.append(token)
    tree = _group(tokens)
    return [token for token in tokens if token != _SPLICE] if tree is None else _flatten(tree)


def _unfenced(text: str) -> str:
    """The text without a Markdown fence around all of it."""
    stripped = text.strip()
    if not (stripped.startswith("```") and stripped.endswith("```") and len(stripped) > 6):
        return text
    language, line_end, rest = stripped[3:-3].partition("\n")
    return rest if line_end and (not language.strip() or language.strip().isalpha()) else stripped[3:-3]


def _group(tokens: list[str]) -> list | None:
    """Nested lists by braces, with plain groups simplified; None where braces do not match."""
    stack: list[list] = [[]]
    for token in tokens:
        if token == "{":
            stack.append([])
        elif token != "}":
            stack[-1].append(token)
        elif len(stack) == 1:
            return None
        else:
            _close(_in_order(stack.pop()), stack[-1])
    return _in_order(stack[0]) if len(stack) == 1 else None


def _close(group: list, parent: list) -> None:
    upright = bool(parent) and parent[-1] == _SPLICE
    if upright:
        parent.pop()
    if upright and not (parent and parent[-1] in _SCRIPTS):
        parent.extend(group)
    elif group:
        parent.append(group[0] if len(group) == 1 else group)


def _in_order(units: list) -> list:
    """The units of one group with subscripts before superscripts."""
    # A command for upright text without braces reaches one character, or the rest of the group: nothing to splice.
    units = [unit for unit in units if unit != _SPLICE]
    ordered, place = [], 0
    while place < len(units):
        scripts = []
        while place + 1 < len(units) and units[place] in _SCRIPTS and units[place + 1] not in _SCRIPTS:
            scripts.append(units[place : place + 2])
            place += 2
        if scripts:
            ordered += [unit for script in sorted(scripts, key=lambda script: script[0] != "_") for unit in script]
        else:
            ordered.append(units[place])
            place += 1
    return ordered


def _flatten(tree: list) -> list[str]:
    tokens: list[str] = []
    stack: list = [iter(tree)]
    while stack:
        for unit in stack[-1]:
            if isinstance(unit, list):
                tokens.append("{")
                stack.append(iter(unit))
                break
            tokens.append(unit)
        else:
            stack.pop()
            if stack:
                tokens.append("}")
    return tokens
