"""Scores as lmms-eval and VLMEvalKit give them, on rows and answers whose scores by their own code are known."""

import ast
import json
from collections import Counter

import pytest

from mmrl.contracts.types import Sample
from mmrl.evaluation.suite.scorers import SCORERS
from tests.support.media import SHARED

PAIRS = SHARED / "cases" / "parity.jsonl"
NAMES = {
    "AI2D": "ai2d",
    "ChartQA": "chartqa",
    "DocVQA": "docvqa",
    "InfoVQA": "infovqa",
    "MMMU-Pro": "mmmu_pro",
    "MMStar": "mmstar",
    "OCRBench": "ocrbench",
    "POPE": "pope",
    "ScreenSpot": "screenspot",
    "TextVQA": "textvqa",
    "Video-MME": "videomme",
}


def sample_of(benchmark, row):
    """The row as its benchmark reads it, without its picture."""
    options = row.get("options") or []
    options = ast.literal_eval(options) if isinstance(options, str) else options
    texts = [text.partition(". ")[2] if benchmark == "Video-MME" else text for text in options]
    letters = dict(zip("ABCDEFGHIJ", texts))
    answer = "ABCD"[int(row["answer"])] if benchmark == "AI2D" else row.get("answer")
    target = {"answer": answer, "options": letters or None, "answers": row.get("answers")}
    target["text"] = row.get("answers") or answer
    columns = {**row, "formulas": row.get("dataset") == "HME100k"}
    return Sample("row", (), "task", target, columns=columns)


@pytest.mark.skipif(not PAIRS.is_file(), reason=f"no scores of other suites at {PAIRS}")
@pytest.mark.parametrize("suite", ["lmms-eval", "vlmevalkit"])
def test_scores_equal_the_suite_s_own(suite):
    compared = Counter()
    for line in PAIRS.read_text().splitlines():
        pair = json.loads(line)
        name, theirs = NAMES.get(pair["benchmark"]), pair[suite.replace("-", "_")]
        if name not in SCORERS[suite] or theirs is None:
            continue
        ours = SCORERS[suite][name](pair["answer"], sample_of(pair["benchmark"], pair["row"]))
        assert ours == pytest.approx(theirs, abs=1e-9), (pair["id"], pair["answer"])
        compared[name] += 1
    assert set(compared) == set(SCORERS[suite])
    assert min(compared.values()) >= 10


@pytest.mark.parametrize(
    ("suite", "name", "answer", "target", "score"),
    [
        ("lmms-eval", "ai2d", "(B)", {"answer": "B"}, 0.0),
        ("lmms-eval", "ai2d", "<think>A</think> B. it is", {"answer": "B"}, 1.0),
        ("vlmevalkit", "ai2d", "(B)", {"answer": "B", "options": {"A": "cat", "B": "dog"}}, 1.0),
        ("lmms-eval", "mmstar", "Either C or A", {"answer": "A"}, 1.0),
        ("lmms-eval", "pope", "Yes.", {"answer": True}, 0.0),
        ("vlmevalkit", "pope", "No doubt there is one", {"answer": "no"}, 1.0),
        ("lmms-eval", "chartqa", "2018", {"answer": "2019"}, 1.0),
        ("lmms-eval", "chartqa", "42%", {"answer": "42"}, 0.0),
        ("vlmevalkit", "ocrbench", "15", {"text": ["5"]}, 1.0),
        ("vlmevalkit", "videomme", "Definitely B", {"answer": "D"}, 1.0),
    ],
)
def test_their_faults_are_kept(suite, name, answer, target, score):
    assert SCORERS[suite][name](answer, Sample("row", (), "task", target)) == score
