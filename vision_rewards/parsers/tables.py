"""HTML tables as trees."""

from __future__ import annotations

import dataclasses
import re
from html import escape

MAX_TABLE_NODES = 2000
_BREAK = re.compile(r"<br\s{0,5}/?>", re.IGNORECASE)
# libxml2 ends a document at `</html>` or goes on, depending on its version.
_PAGE = re.compile(r"</?(?:html|body)\b[^>]{0,1000}>", re.IGNORECASE)
_RULE = re.compile(r"\s{0,200}\|?\s{0,200}:?-{1,200}:?\s{0,200}(?:\|\s{0,200}:?-{1,200}:?\s{0,200}){0,200}\|?\s{0,200}")
_EMPHASIS = re.compile(r"\A\*\*([^*]{1,500})\*\*\Z")
_UNUSABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_SECTIONS = ("thead", "tbody", "tfoot")


@dataclasses.dataclass(frozen=True, slots=True)
class TableTree:
    """Nodes of a table in postorder, without the table itself.

    Attributes:
        sizes: nodes in the subtree of each node, itself included.
        tags: `td` (header cells too), `tr`, and `thead`, `tbody`, `tfoot` where they are kept.
        spans: (columns, rows) that a cell spans; (1, 1) for all other nodes.
        texts: text of a cell, white space collapsed; "" for all other nodes.
    """

    sizes: tuple[int, ...]
    tags: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    texts: tuple[str, ...]

    def rows(self) -> list[list[str]]:
        """Texts of the cells, row by row."""
        rows, row = [], []
        for tag, text in zip(self.tags, self.texts):
            if tag == "td":
                row.append(text)
            elif tag == "tr":
                rows.append(row)
                row = []
        return rows


def parse_table(html: str, *, sections: bool = False) -> tuple[TableTree | None, str]:
    """Read the one table in a piece of HTML, or in Markdown (`| a | b |` over `|---|---|`); text around it is ignored.

    A header cell is a cell; tags inside a cell are dropped and `<br>` is a blank; what is left open is closed as
    browsers do; captions and column groups are ignored; spans that are no numbers are 1.

    Args:
        html: a text with a `<table>`.
        sections: keep header, body and footer groups as nodes above the rows.

    Returns:
        (tree, "ok") or (None, reason): "unparsable" without a table, "many_tables", "empty_table" without a cell,
        "too_large" with more than `MAX_TABLE_NODES` nodes.
    """
    from lxml import etree

    if "<table" not in html.lower() and (written := _from_markdown(html)) is not None:
        html = written
    data = _BREAK.sub(" ", _PAGE.sub(" ", _UNUSABLE.sub(" ", html))).encode("utf-8", "replace")
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True)
    try:
        page = etree.HTML(data, parser)
    except etree.ParserError:
        return None, "unparsable"
    tables = [] if page is None else list(page.iter("table"))
    if len(tables) != 1:
        return None, "many_tables" if tables else "unparsable"
    nodes: list[tuple[int, str, tuple[int, int], str]] = []
    for child in tables[0].iterchildren("tr", *_SECTIONS):
        before = len(nodes)
        for row in [child] if child.tag == "tr" else child.iterchildren("tr"):
            _add_row(row, nodes)
        if sections and child.tag != "tr":
            nodes.append((len(nodes) - before + 1, child.tag, (1, 1), ""))
        if len(nodes) > MAX_TABLE_NODES:
            return None, "too_large"
    if not any(tag == "td" for _, tag, _, _ in nodes):
        return None, "empty_table"
    return TableTree(*zip(*nodes)), "ok"


def _from_markdown(text: str) -> str | None:
    """The one Markdown table of a text as HTML, None where there is none, or a second one."""
    lines = text.split("\n")
    rules = [number for number, line in enumerate(lines) if "|" in line and "-" in line and _RULE.fullmatch(line)]
    if len(rules) != 1 or rules[0] == 0 or "|" not in lines[rules[0] - 1]:
        return None
    rows = [lines[rules[0] - 1]]
    for line in lines[rules[0] + 1 :]:
        if "|" not in line:
            break
        rows.append(line)
    cells = [[escape(_EMPHASIS.sub(r"\1", cell.strip())) for cell in row.strip().strip("|").split("|")] for row in rows]
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
    return f"<table>{body}</table>"


def _add_row(row, nodes: list) -> None:
    cells = list(row.iterchildren("td", "th"))
    for cell in cells:
        span = (_span(cell.get("colspan")), _span(cell.get("rowspan")))
        nodes.append((1, "td", span, " ".join("".join(cell.itertext()).split())))
    nodes.append((len(cells) + 1, "tr", (1, 1), ""))


def _span(value: str | None) -> int:
    # HTML's rule: at most 1000 columns, 65534 rows; what is not a number counts as absent.
    return min(max(int(value), 1), 65534) if value and re.fullmatch(r"[0-9]{1,9}", value.strip()) else 1
