"""Scores as lmms-eval and VLMEvalKit give them, on rows and answers whose scores by their own code are known."""

import ast
import json
from collections import Counter

import pytest

from mmrl.contracts.types import Sample
from mmrl.evaluation.suite.differences import DIFFERENCES, difference
from mmrl.evaluation.suite.scorers import REFCOCO, SCORERS
from tests.support.media import SHARED

PAIRS = SHARED / "cases" / "parity.jsonl"
NAMES = {
    "AI2D": "ai2d",
    "ChartQA": "chartqa",
    "DocVQA": "docvqa",
    "InfoVQA": "infovqa",
    "Charades-STA": "charades_sta",
    "LongVideoBench": "longvideobench",
    "MathVista": "mathvista",
    "MMBench": "mmbench_en",
    "MMMU": "mmmu",
    "MMMU-Pro": "mmmu_pro",
    "MMStar": "mmstar",
    "OCRBench": "ocrbench",
    "MVBench": "mvbench",
    "POPE": "pope",
    "RefCOCO": "refcoco_val",
    "ScreenSpot": "screenspot",
    "TempCompass": "tempcompass",
    "TextVQA": "textvqa",
    "Video-MME": "videomme",
    "VSI-Bench": "vsibench",
}


def sample_of(benchmark, row):
    """The row as its benchmark reads it, without its picture."""
    options = row.get("options") or row.get("candidates") or []
    options = ast.literal_eval(options) if isinstance(options, str) else options
    options = options or [row[f"option{i}"] for i in range(5) if row.get(f"option{i}", "N/A") != "N/A"]
    options = options or [row[letter] for letter in "ABCD" if row.get(letter) not in (None, "nan")]
    texts = [text.partition(". ")[2] if benchmark == "Video-MME" else text for text in options]
    letters = dict(zip("ABCDEFGHIJ", texts))
    answer = row.get("answer")
    if benchmark == "AI2D":
        answer = "ABCD"[int(answer)]
    elif benchmark == "LongVideoBench":
        answer = "ABCDE"[row["correct_choice"]]
    elif benchmark == "MVBench":
        answer = next(letter for letter, text in letters.items() if text == answer)
    target = {"answer": answer, "options": letters or None, "answers": row.get("answers")}
    target["text"] = row.get("answers") or answer
    columns = {**row, "formulas": row.get("dataset") == "HME100k"}
    return Sample("row", (), "task", target, columns=columns)


def name_of(pair):
    """The benchmark, as mmrl calls it; rows of MMMU-Pro whose question is in the picture have none."""
    name = NAMES[pair["benchmark"]]
    return f"{name}_vision" if name == "mmmu_pro" and "question" not in pair["row"] else name


@pytest.mark.skipif(not PAIRS.is_file(), reason=f"no scores of other suites at {PAIRS}")
@pytest.mark.parametrize("suite", ["lmms-eval", "vlmevalkit"])
def test_scores_equal_the_suite_s_own(suite):
    compared = Counter()
    for line in PAIRS.read_text().splitlines():
        pair = json.loads(line)
        name, theirs = name_of(pair), pair[suite.replace("-", "_")]
        if name not in SCORERS[suite] or theirs is None:
            continue
        ours = SCORERS[suite][name](pair["answer"], sample_of(pair["benchmark"], pair["row"]))
        assert ours == pytest.approx(theirs, abs=1e-9), (pair["id"], pair["answer"])
        compared[name] += 1
    # RefCOCO's sets are scored alike, and the rows are of the first.
    assert {*compared, *REFCOCO} == set(SCORERS[suite])
    assert min(compared.values()) >= 2


@pytest.mark.parametrize(
    ("suite", "name", "answer", "target", "score"),
    [
        ("lmms-eval", "ai2d", "(B)", {"answer": "B"}, 1.0),
        ("lmms-eval", "ai2d", "(B) a leaf", {"answer": "B"}, 0.0),
        ("vlmevalkit", "chartqa", "<think>?</think>5", {"answer": "5"}, 0.0),
        ("lmms-eval", "ai2d", "<think>A</think> B. it is", {"answer": "B"}, 1.0),
        ("vlmevalkit", "ai2d", "(B)", {"answer": "B", "options": {"A": "cat", "B": "dog"}}, 1.0),
        ("lmms-eval", "mmstar", "Either C or A", {"answer": "A"}, 1.0),
        ("lmms-eval", "pope", "Yes.", {"answer": True}, 0.0),
        ("vlmevalkit", "pope", "No doubt there is one", {"answer": "no"}, 1.0),
        ("lmms-eval", "chartqa", "2018", {"answer": "2019"}, 1.0),
        ("lmms-eval", "chartqa", "42%", {"answer": "42"}, 0.0),
        ("vlmevalkit", "ocrbench", "15", {"text": ["5"]}, 1.0),
        ("vlmevalkit", "videomme", "Definitely B", {"answer": "D"}, 1.0),
        ("lmms-eval", "longvideobench", "Answer: B", {"answer": "A"}, 1.0),
        ("lmms-eval", "mmmu", "nothing of it", {"answer": "A", "options": {"A": "cat", "B": "dog"}}, 0.0),
        ("lmms-eval", "mmmu_pro_vision", "C.", {"answer": "C"}, 0.0),
        ("lmms-eval", "mvbench", "\\boxed{C}", {"answer": "C"}, 1.0),
        ("vlmevalkit", "mvbench", "", {"answer": "C", "options": {"A": "cat", "C": "dog"}}, 1.0),
        ("vlmevalkit", "mmbench_en", "the answer is a dog", {"answer": "A", "options": {"A": "x", "B": "dog"}}, 1.0),
    ],
)
def test_their_faults_are_kept(suite, name, answer, target, score):
    assert SCORERS[suite][name](answer, Sample("row", (), "task", target)) == score


FLOAT = {"question_type": "free_form", "answer_type": "float", "answer": "1.2"}


@pytest.mark.parametrize(
    ("suite", "name", "answer", "columns", "score"),
    [
        ("lmms-eval", "mathvista", "1.2", FLOAT, 0.0),
        ("vlmevalkit", "mathvista", "1.2", FLOAT, 1.0),
        ("lmms-eval", "refcoco_val", "[64, 96, 320, 384]", {"bbox_abs": [64, 96, 320, 384]}, 0.0),
        ("vlmevalkit", "refcoco_val", "[64, 96, 320, 384]", {"bbox": [64, 96, 256, 288]}, 0.0),
        ("vlmevalkit", "refcoco_val", "[100, 200, 500, 800]", {"bbox": [64, 96, 256, 288]}, 1.0),
        ("lmms-eval", "charades_sta", "[24.3, 30.4]", {"timestamp": [24.3, 30.4]}, 0.0),
        ("lmms-eval", "charades_sta", "30.4 to 24.3", {"timestamp": [24.3, 30.4]}, 1.0),
        ("lmms-eval", "vsibench", "(A)", {"question_type": "route_planning", "ground_truth": "A"}, 0.0),
        ("lmms-eval", "vsibench", "twenty two", {"question_type": "object_counting", "ground_truth": "22"}, 1.0),
        ("lmms-eval", "tempcompass", "B because", {"question": "?\nA. x\nB. y", "answer": "B. y"}, 0.0),
    ],
)
def test_their_faults_with_places_and_numbers_are_kept(suite, name, answer, columns, score):
    columns = {"image_width": 640, "image_height": 480, **columns}
    assert SCORERS[suite][name](answer, Sample("row", (), "task", {}, columns=columns)) == score


def test_every_followed_set_says_how_its_scores_differ():
    for suite, scorers in SCORERS.items():
        assert all(difference(suite, name) for name in scorers)
        assert set(DIFFERENCES[suite]) == {name if name not in REFCOCO else "refcoco" for name in scorers}
