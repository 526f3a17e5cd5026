"""Tables in HTML: expected scores are counted by hand from rows and cells."""

import json

import pytest

from tests.support.media import SHARED, needs_shared
from vision_rewards import TargetError, get_reward, validate

# Two rows of two cells: six nodes.
TWO = "<table><tr><td>pq</td><td>cd</td></tr><tr><td>12</td><td>34</td></tr></table>"


def table(*rows, tag="td"):
    return (
        "<table>" + "".join("<tr>" + "".join(f"<{tag}>{c}</{tag}>" for c in row) + "</tr>" for row in rows) + "</table>"
    )


# (answer, TEDS, TEDS-S, reason)
CASES = [
    (TWO, 1, 1, "ok"),
    (f"<html><body>{TWO}</body></html>", 1, 1, "ok"),
    (f"Here it is:\n```html\n{TWO}\n```", 1, 1, "ok"),
    (f"<think>{table('x')}</think>{TWO}", 1, 1, "ok"),
    (f"<answer>{TWO}</answer>", 1, 1, "ok"),
    (TWO.upper().replace("PQ", "pq").replace("CD", "cd"), 1, 1, "ok"),
    (TWO.replace("td", "th"), 1, 1, "ok"),
    (TWO.replace("<tr>", "<thead><tr>", 1).replace("</tr><tr>", "</tr></thead><tbody><tr>"), 1, 1, "ok"),
    (TWO.replace("pq", " <b>p</b>q\n"), 1, 1, "ok"),
    (TWO.replace("<td>pq", '<td colspan="1" class="x">pq'), 1, 1, "ok"),
    (TWO.replace("<td>pq", '<td colspan="x">pq'), 1, 1, "ok"),
    (TWO.replace("</td>", "").replace("</tr>", "").replace("</table>", ""), 1, 1, "ok"),
    # One of two characters of one cell.
    (TWO.replace("pq", "px"), 1 - 0.5 / 6, 1, "ok"),
    (TWO.replace("pq", "xy"), 1 - 1 / 6, 1, "ok"),
    (TWO.replace("pq", ""), 1 - 1 / 6, 1, "ok"),
    (TWO.replace("<td>pq", '<td colspan="2">pq'), 1 - 1 / 6, 1 - 1 / 6, "ok"),
    (TWO.replace("<td>cd</td>", ""), 1 - 1 / 6, 1 - 1 / 6, "ok"),
    (TWO.replace("</tr><tr>", "<td>ef</td></tr><tr>"), 1 - 1 / 7, 1 - 1 / 7, "ok"),
    (table(["pq", "cd"]), 1 - 3 / 6, 1 - 3 / 6, "ok"),
    (table(["pq", "cd"], ["12", "34"], ["56", "78"]), 1 - 3 / 9, 1 - 3 / 9, "ok"),
    # One row of four: both rows go, and one comes in above the cells.
    (table(["pq", "cd", "12", "34"]), 1 - 3 / 6, 1 - 3 / 6, "ok"),
    # Both columns swapped: cheapest to exchange all four texts.
    (table(["cd", "pq"], ["34", "12"]), 1 - 4 / 6, 1, "ok"),
    (table([""]), 1 - 5 / 6, 1 - 4 / 6, "ok"),
    (table(["", ""], ["", ""]), 1 - 4 / 6, 1, "ok"),
    ("<table></table>", 0, 0, "empty_table"),
    ("<table><tr></tr></table>", 0, 0, "empty_table"),
    (TWO * 2, 0, 0, "many_tables"),
    (f"<html><body>{TWO}</body></html>" * 2, 0, 0, "many_tables"),
    (TWO.replace("pq", TWO), 0, 0, "many_tables"),
    (f"<table>{TWO}</table>", 0, 0, "many_tables"),
    ("<tr><td>pq</td></tr>", 0, 0, "unparsable"),
    ("pq | cd\n12 | 34", 0, 0, "unparsable"),
    ("&lt;table&gt;", 0, 0, "unparsable"),
    ("<!--" + TWO, 0, 0, "unparsable"),
    ("table", 0, 0, "unparsable"),
    ("\x00\x01", 0, 0, "unparsable"),
    ("", 0, 0, "no_answer"),
    ("<table>" + "<tr><td>" * 2400, 0, 0, "too_large"),
    ("<table>" + "<tr>" * 4900, 0, 0, "too_large"),
    ("<table><tr>" + "<td>" * 4900, 0, 0, "too_large"),
    (TWO + " " * 20_000 + "x", 0, 0, "too_long"),
]


@pytest.mark.parametrize(("answer", "teds", "structure", "reason"), CASES)
def test_table(answer, teds, structure, reason):
    result = get_reward("table")(answer, {"html": TWO})
    assert (result.score, result.reason) == (pytest.approx(teds, abs=1e-9), reason)
    assert result.parts == {"teds": result.score, "teds_s": pytest.approx(structure, abs=1e-9)}
    assert get_reward("table", metric="teds_s")(answer, {"html": TWO}).score == result.parts["teds_s"]


def test_sections_count_where_asked():
    headed = TWO.replace("<tr>", "<thead><tr>", 1).replace("</tr><tr>", "</tr></thead><tbody><tr>")
    reward = get_reward("table", sections=True)
    # Two groups over two rows and four cells.
    assert reward(TWO, {"html": headed}).score == pytest.approx(1 - 2 / 8)
    assert reward(headed, {"html": headed}).score == 1
    assert reward(headed.replace("thead", "tfoot"), {"html": headed}).score == pytest.approx(1 - 1 / 8)


def test_header_text_counts():
    assert get_reward("table")(table(["x"], tag="th"), {"html": table(["y"], tag="th")}).score == pytest.approx(1 / 2)


def test_parsed_are_the_cells():
    answer = "<table><tr><th>a<br>b<td> <i>c</i><tr><td>d</table>"
    assert get_reward("table")(answer, {"html": TWO}).parsed == [["a b", "c"], ["d"]]


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ("", "unparsable"),
        ("no table", "unparsable"),
        ("<table></table>", "empty_table"),
        (TWO * 2, "many_tables"),
        ("<table><tr>" + "<td>" * 2001, "too_large"),
        (None, "'html'"),
        (3, "'html'"),
        ("<table>" + "x" * 20_000, "20000"),
        ("<table><tr><td></answer>", "cannot be read back"),
    ],
)
def test_targets_that_cannot_be_scored(html, reason):
    with pytest.raises(TargetError, match=reason):
        get_reward("table", extract="answer").check({"html": html})


def pubtabnet(row):
    cells = iter("".join(cell["tokens"]) for cell in row["html"]["cells"])
    tokens = [next(cells) + token if token == "</td>" else token for token in row["html"]["structure"]["tokens"]]
    return f"<table>{''.join(tokens)}</table>"


@needs_shared
def test_real_tables():
    lines = (SHARED / "media" / "tables" / "tables.jsonl").read_text(encoding="utf-8").splitlines()
    pages = [pubtabnet(json.loads(line)) for line in lines]
    assert len(pages) >= 4
    for params in ({}, {"metric": "teds_s"}, {"sections": True}, {"extract": "answer"}):
        validate("table", [{"html": page} for page in pages], **params)
    reward = get_reward("table")
    for page in pages:
        cells = sum(map(len, reward(page, {"html": page}).parsed))
        assert cells == page.count("<td")
        nodes = cells + page.count("<tr>")
        # The last row goes, with its cells.
        start, end = page.rindex("<tr>"), page.rindex("</tr>") + len("</tr>")
        lost = page[start:end].count("<td") + 1
        shorter = page[:start] + page[end:]
        assert reward(shorter, {"html": page}).parts["teds_s"] == pytest.approx(1 - lost / nodes)
        assert reward(shorter, {"html": page}).score == pytest.approx(1 - lost / nodes)
        others = [reward(other, {"html": page}).score for other in pages if other != page]
        assert max(others) < 0.7
