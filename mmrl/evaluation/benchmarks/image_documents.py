"""OmniDocBench's tables and formulas: a part of a page, cut out, to be written as HTML or LaTeX."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from mmrl.contracts.benchmark import Facts
from mmrl.data.columns import Columns
from mmrl.data.media import load_image
from mmrl.evaluation.benchmarks.files import Asked, FileBenchmark, pictures
from mmrl.evaluation.benchmarks.published import UNKNOWN

PART = "part"


class OmniDocTables(FileBenchmark):
    """Tables of OmniDocBench, one question for each that has HTML."""

    about = "tables cut out of pages of papers, books, reports and newspapers, to be written as HTML"
    name = "omnidocbench_tables"
    files = ("OmniDocBench", "OmniDocBench_tsv")
    facts = Facts(
        source="OmniDocBench.json of opendatalab/OmniDocBench, or the TSV of ouyanglinke/OmniDocBench_tsv",
        split="all",
        size=None,
        metric="TEDS, mean over tables, each cut out of its page; published figures are of whole pages",
        licence=UNKNOWN,
        media="omnidocbench_tables/images/<image_path> of the JSON's rows; the TSV holds its pictures",
    )
    template = "Write this table as HTML, with <table>, <tr>, <td>, colspan and rowspan, and nothing else."
    measures: ClassVar = {"table": "score"}
    limit = 4096
    # What a part is called on a page, the column of its text, and the task.
    kind: ClassVar[tuple[str, str, str]] = ("table", "html", "table")
    by = ("language",)
    same = "page"

    def parts(self, raw: Mapping[str, Any]) -> int:
        """Its tables."""
        return len(self._parts_of(raw))

    def part(self, raw: Mapping[str, Any], number: int) -> Mapping[str, Any]:
        """The page with one of its tables."""
        page = _page(raw)
        info = page.get("page_info") or {}
        path = raw.get("image") or f"images/{info.get('image_path')}"
        return {"image": path, PART: self._parts_of(raw)[number], "page": str(info.get("image_path")), **info}

    def _parts_of(self, raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        category, column, _ = self.kind
        parts = _page(raw).get("layout_dets") or []
        return [p for p in parts if p.get("category_type") == category and p.get(column) and not p.get("ignore")]

    def asked(self, row: Columns) -> Asked:
        """The part is cut out by the corners of its outline, in pixels of the page."""
        _, column, task = self.kind
        part = row.any(PART)
        (source,) = pictures(row, "image")
        corners = part.get("poly") or []
        if len(corners) < 4 or len(corners) % 2:
            raise row.bad(f"the outline of a part is {corners!r:.60}, not x and y of its corners")
        box = tuple(round(f(corners[axis::2])) for f in (min, max) for axis in (0, 1))
        attributes = row.values.get("page_attribute") or {}
        return Asked(
            "",
            task,
            _bare(part[column]),
            images=(_cut(row, source, box),),
            columns={"language": attributes.get("language", "not said"), PART: part.get("anno_id", row.number)},
        )


class OmniDocFormulas(OmniDocTables):
    """Formulas of OmniDocBench that stand by themselves."""

    about = "formulas cut out of pages, to be written as LaTeX"
    name = "omnidocbench_formulas"
    facts = Facts(
        source="OmniDocBench.json of opendatalab/OmniDocBench, or the TSV of ouyanglinke/OmniDocBench_tsv",
        split="all",
        size=None,
        metric="1 − normalised edit distance of LaTeX tokens, each formula cut out of its page",
        licence=UNKNOWN,
        media="omnidocbench_formulas/images/<image_path> of the JSON's rows; the TSV holds its pictures",
    )
    template = "Write this formula as LaTeX, and nothing else."
    measures: ClassVar = {"formula": "score"}
    kind: ClassVar[tuple[str, str, str]] = ("equation_isolated", "latex", "formula")
    limit = 1024


def _page(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """A page as the JSON has it, which the TSV holds as text in `answer`."""
    if "layout_dets" in raw or not isinstance(raw.get("answer"), str):
        return raw
    return _parsed(raw["answer"])


@lru_cache(maxsize=64)
def _parsed(text: str) -> Mapping[str, Any]:
    try:
        page = json.loads(text)
    except ValueError:
        return {}
    return page if isinstance(page, dict) else {}


def _cut(row: Columns, source: Any, box: tuple[int, ...]) -> Any:
    """A part of a picture; a page that is not there stays a path, which is then reported as missing."""
    if isinstance(source, str) and not Path(row.root or ".", source).is_file():
        return source
    page: Image.Image = load_image(source, row.root, row.where)
    return page.crop((box[0], box[1], box[2], box[3]))


def _bare(text: str) -> str:
    """LaTeX without the signs of a display, HTML as it is."""
    return text.strip().strip("$").strip()
