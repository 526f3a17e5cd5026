"""Answers in the files of other suites, so that their tools can score them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrl.contracts.types import Sample
from mmrl.evaluation.suite.records import Record, Records
from mmrl.evaluation.suite.runner import Task, slug
from mmrl.evaluation.suite.survey import media_names
from mmrl.tracking.files import json_line, write_atomic


def write_lmms_eval(output: Path, task: Task, model: str) -> Path:
    """`<output>/<model>/samples_<task>.jsonl`, a line for each answer as lmms-eval logs it; see `lmms_eval_line`."""
    records = Records(output / slug(task.name)).read()
    lines = [lmms_eval_line(record, task.rows[row]) for row, record in sorted(records.items())]
    return write_atomic(output / model / f"samples_{slug(task.name)}.jsonl", "".join(map(json_line, lines)))


def lmms_eval_line(record: Record, sample: Sample) -> dict[str, Any]:
    """One line of lmms-eval 0.7.3's samples file: its keys, with our score under `score`.

    `resps` is left out, as there where it equals `filtered_resps`; `doc_hash` is of the row's own columns.
    """
    answer = record.target.get("answer", record.target)
    line: dict[str, Any] = {
        "doc_id": record.row,
        "target": answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False, default=str),
        "filtered_resps": record.answer,
        "token_counts": [{"output_tokens": record.tokens}],
        "doc_hash": _hash(sample.columns),
        "score": record.score,
        "input": record.question,
    }
    paths = [name for name in media_names(sample) if isinstance(name, str)]
    held = [item for item in (*sample.images, *sample.videos) if not isinstance(item, str)]
    return line if held or not paths else {**line, "input_media": paths}


def write_vlmevalkit(output: Path, task: Task, model: str) -> Path:
    """`<output>/<model>/<model>_<set>.tsv`, a prediction file of VLMEvalKit (`PRED_FORMAT=tsv`).

    Its columns are the row's without pictures, `index` first, lists as Python writes them, and `prediction` last.
    """
    records = Records(output / slug(task.name)).read()
    rows = [{"index": row, **task.rows[row].columns, "prediction": record.answer} for row, record in records.items()]
    names = list(dict.fromkeys(name for row in rows for name in row if name != "prediction"))
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, [*names, "prediction"], delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: int(row["index"]) if str(row["index"]).isdigit() else 0))
    known = getattr(task.benchmark, "files", ())
    return write_atomic(output / model / f"{model}_{known[0] if known else slug(task.name)}.tsv", file.getvalue())


def _hash(columns: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(columns, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()
