"""A table in HTML."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from vision_rewards.metrics.tables import table_similarity
from vision_rewards.parsers import MAX_ANSWER
from vision_rewards.parsers.tables import MAX_TABLE_NODES, TableTree, parse_table
from vision_rewards.plain import Plain, text_of
from vision_rewards.types import AnswerReward, RewardResult, TargetError, param

_SMALL = "<table><tr><td>a</td><td>b</td></tr><tr><td>1</td><td>2</td></tr></table>"


@dataclass(frozen=True, kw_only=True)
class Table(AnswerReward):
    """How much of a table was read right, by tree edit distance."""

    name = "table"
    summary = "TEDS of one HTML table; TEDS-S looks at its structure only."
    target_keys: ClassVar = {"html": f"str: HTML with one `<table>` of at most {MAX_TABLE_NODES} rows and cells"}
    formula = (
        "1 − tree edit distance / max(n, m), n and m the numbers of rows and cells; renaming a cell costs the "
        "normalised edit distance of its text, or 1 where its spans differ; teds_s: texts are ignored"
    )
    source = "Zhong et al. 2020 (PubTabNet); `metrics.teds_pubtabnet` has the script's own numbers"
    closes = (
        "header cells are cells: their text counts, and `<th>` for `<td>` costs nothing",
        "no score below 0, and an empty table matches nothing: the table itself is not counted",
        "several tables score 0, neither the first nor the best counts; nor does a table inside a cell",
        'a leftover span, such as `colspan="x"`, is 1 and no error',
        f"more than {MAX_TABLE_NODES} rows and cells score 0; all that remains is compared well within a second",
    )
    tasks = ("table", "table recognition", "table parsing")
    plain = (Plain("HTML with one table", _SMALL),)
    part_defaults: ClassVar = {"teds": 0.0, "teds_s": 0.0}
    examples: ClassVar = (
        ({"html": _SMALL}, _SMALL.replace("td", "th"), "header cells are cells"),
        ({"html": _SMALL}, _SMALL.replace("2", "3"), "one of 6 nodes is wrong: 2 rows and 4 cells"),
        ({"html": _SMALL}, _SMALL.replace("2", "3"), "its structure is right", {"metric": "teds_s"}),
        ({"html": _SMALL}, _SMALL.replace("<td>b</td>", ""), "one of 6 nodes is missing"),
        ({"html": _SMALL}, "<table></table>", "no cell"),
        ({"html": _SMALL}, _SMALL * 2, "two tables"),
    )

    metric: str = param("teds", "which measure is the score", choices=("teds", "teds_s"))
    sections: bool = param(False, "count `<thead>`, `<tbody>` and `<tfoot>` as nodes above their rows")

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        return {"html": text_of(answer)}

    def check_target(self, target):
        html = target["html"]
        if not isinstance(html, str) or len(html) > MAX_ANSWER:
            raise TargetError(f"'html' is {str(html)[:60]!r}, not a str of at most {MAX_ANSWER} characters")
        tree, reason = _read(html, self.sections)
        if tree is None:
            raise TargetError(f"'html' {html[:60]!r} does not hold one table that can be scored: {reason}")

    def gold_answer(self, target):
        return target["html"]

    def score_answer(self, answer, target):
        tree, reason = parse_table(answer, sections=self.sections)
        if tree is None:
            return self.failed(reason)
        expected, _ = _read(target["html"], self.sections)
        parts = {
            "teds": table_similarity(tree, expected),
            "teds_s": table_similarity(tree, expected, structure_only=True),
        }
        return RewardResult(parts[self.metric], parts, tree.rows(), "ok")


@lru_cache(maxsize=64)
def _read(html: str, sections: bool) -> tuple[TableTree | None, str]:
    return parse_table(html, sections=sections)
