"""Scores of other suites by their own code against ours under their protocols, on the same answers.

python -m benchmarks.evaluation_parity --python PEERS/bin/python [--vlmevalkit CHECKOUT] [--pairs FILE] [--output FILE]

`--python` is of an environment that has lmms-eval 0.7.3. Rows and answers are invented here, or come from a file of
lines {benchmark, row, answer}. `value` is the number of per-sample scores that differ.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.result import give
from mmrl.evaluation.suite.scorers import SCORERS
from tests.mmrl.evaluation.test_suite_scorers import NAMES, sample_of

PEERS = Path(__file__).with_name("evaluation_parity_peers.py")
_FOUR = ["a red lamp", "the lamp is off", "two", "none of the others"]
_CHOICE: Mapping[str, Any] = dict(zip("ABCD", _FOUR))
_VSI = {"dataset": "s", "scene_name": "s", "question": "?"}
# How answers are worded; {right} and {wrong} are letters, {text} the right option.
CHOSEN = (
    *(
        "{right}",
        "{right}.",
        "({right})",
        "{right}: {text}",
        "{right}) {text}",
        "{right}. {text}",
        "**{right}**",
        "{text}",
    ),
    *("{text}.", "The answer is {right}.", "the answer is {right}", "The answer is ({right})", "Answer: {right}"),
    *("It cannot be {wrong}; the answer is {right}.", "Either {wrong} or {right}", "{right} and {wrong}"),
    *("<think>{wrong} at first</think>{right}", "<answer>{right}</answer>", "\\boxed{{{right}}}", "Option {right}"),
    *("A man says it is {right}", "{wrong}, no, {right}", "I see {text} there, so {right}", "", " \n{right}\n", "z"),
    *(
        "The best option is {right}",
        "Best option: {right}",
        "the answer is a lamp",
        "{right}, {right}, {right}",
        "None",
    ),
    *(
        "not {text}",
        "{right}\n\nExplanation: {wrong} is off",
        "I cannot tell.",
        "{lower}",
        "({lower})",
        "no",
        "Yes, {right}",
    ),
)
NUMBERED = (
    *(
        "4",
        "4.",
        "four",
        "there are four",
        "about 4 of 10",
        "5",
        "4.0",
        "-4",
        "3",
        "4 cm",
        "four hundred",
        "4,000",
        "40",
    ),
    *(
        "4%",
        "twenty four",
        "0",
        "no number",
        "",
        "<answer>4</answer>",
        "6",
        "2",
        "4 or 5",
        "$4",
        "1e2",
        "three and four",
    ),
)
BOXED = (
    *(
        "[0.1, 0.2, 0.5, 0.8]",
        "[64, 96, 320, 384]",
        "[100, 200, 500, 800]",
        '{"bbox_2d": [64, 96, 320, 384]}',
        "(0.1, 0.2)",
    ),
    *(
        "[0.1 0.2 0.5 0.8]",
        "0.1, 0.2, 0.5, 0.8",
        "[0.5, 0.8, 0.1, 0.2]",
        "[0.1, 0.2, 0.5, 0.7]",
        "",
        "[.1, .2, .5, .8]",
    ),
)
TIMED = (
    *(
        "24.3 - 30.4",
        "24.3 to 30.4 seconds",
        "[24.3, 30.4]",
        "30.4 - 24.3",
        "24s-30s",
        "00:24 - 00:30",
        "starts at 24.3",
    ),
    *(
        "It starts at 24.3 s.\nIt ends at 30.4 s.",
        "between 24 and 30",
        "The event happens in 24 - 31.",
        "",
        "from 24.3 s",
    ),
    *("00:00:24 to 00:00:30", "24", "happens at 10 - 20 and 24 - 30", "40 - 50", "start time 20, end time 31"),
)
WORDED = (
    *("left ventricle", "The left ventricle.", "Left Ventricle", "ventricle", "left ventricles", "", "leftventricle"),
    *("it is the left ventricle", "right ventricle", "<think>x</think>left ventricle", "left  ventricle", "left"),
    *("ｌｅｆｔ ventricle",),
)
SAID = (
    "yes",
    "Yes",
    "Yes.",
    "no",
    "No, there is one",
    "yes and no",
    "",
    "yes, it is",
    "there is",
    "Not at all",
    "YES!",
)


def rows() -> Iterator[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """(benchmark, row, wordings) in the columns that their code reads."""
    for i, letter in enumerate("ABCD"):
        text = _FOUR[i]
        plain = {"question": "?", "answer": letter, "category": "c", "l2_category": "l", "index": 1, "source": "s"}
        yield "MMBench", {**plain, **_CHOICE, "hint": "nan", "split": "dev", "L2-category": "l", "E": "nan"}, CHOSEN
        yield "MMStar", {**plain, **{"question": "?"}}, CHOSEN
        yield "AI2D", {"question": "?", "options": _FOUR, "answer": str(i)}, CHOSEN
        mmmu = {"id": "validation_Art_1", "question": "?", "question_type": "multiple-choice", "answer": letter}
        yield "MMMU", {**mmmu, "options": repr(_FOUR), "subfield": "s"}, CHOSEN
        video = {"videoID": "v", "question_id": "1", "duration": "short", "domain": "d", "sub_category": "s"}
        options = [f"{mark}. {option}" for mark, option in _CHOICE.items()]
        yield "Video-MME", {**video, "task_type": "t", "question": "?", "options": options, "answer": letter}, CHOSEN
        yield "MVBench", {"video": "v", "question": "?", "candidates": _FOUR, "answer": text}, CHOSEN
        named = {f"option{n}": option for n, option in enumerate([*_FOUR, "N/A"])}
        group = {"id": "1", "duration_group": 60, "question_category": "c", "question": "?", "correct_choice": i}
        yield "LongVideoBench", {**group, **named}, CHOSEN
        lines = "\n".join(["What?", *options])
        temp = {"question": lines, "answer": options[i], "dim": "action", "video_id": "1", "task": "multi-choice"}
        yield "TempCompass", temp, CHOSEN
        vsi = {**_VSI, "question_type": "object_rel_distance", "options": options, "ground_truth": letter}
        yield "VSI-Bench", vsi, CHOSEN
        math = {"question": "?", "query": "?", "choices": _FOUR, "answer": text, "question_type": "multi_choice"}
        yield "MathVista", {**math, "answer_type": "text", "precision": None, "unit": None}, CHOSEN
    yield "VSI-Bench", {**_VSI, "question_type": "object_counting", "options": None, "ground_truth": "4"}, NUMBERED
    for kind, precision in (("integer", None), ("float", 1.0)):
        math = {
            "question": "?",
            "query": "?",
            "choices": None,
            "answer": "4",
            "question_type": "free_form",
            "unit": None,
        }
        yield "MathVista", {**math, "question_type": "free_form", "answer_type": kind, "precision": precision}, NUMBERED
    for answer, wordings in (("4", NUMBERED), ("left ventricle", WORDED)):
        opened = {"id": "validation_Art_2", "question": "?", "question_type": "open", "answer": answer, "options": "[]"}
        yield "MMMU", opened, wordings
        yield "ChartQA", {"type": "human_test", "question": "?", "answer": answer}, wordings
        yield "DocVQA", {"question": "?", "answers": [answer, "other"]}, wordings
        yield "InfoVQA", {"question": "?", "answers": [answer]}, wordings
        yield "TextVQA", {"question_id": 1, "question": "?", "answers": [answer] * 7 + ["other"] * 3}, wordings
        yield "OCRBench", {"dataset": "HME100k", "question": "?", "question_type": "t", "answer": [answer]}, wordings
        yield "OCRBench", {"dataset": "d", "question": "?", "question_type": "t", "answer": [answer]}, wordings
    for answer in ("yes", "no"):
        yield "POPE", {"question_id": "1", "question": "?", "answer": answer}, SAID
        temp = {"question": "?", "answer": answer, "dim": "order", "video_id": "1", "task": "yes_no"}
        yield "TempCompass", temp, SAID
    box = {"question_id": "1", "answer": "a man", "image_width": 640, "image_height": 480, "bbox": [64, 96, 256, 288]}
    yield "RefCOCO", {**box, "bbox_abs": [64, 96, 320, 384]}, BOXED
    yield "Charades-STA", {"video": "v.mp4", "caption": "c", "timestamp": [24.3, 30.4]}, TIMED


def pairs() -> Iterator[tuple[str, dict[str, Any], str]]:
    """(benchmark, row, answer)."""
    for benchmark, row, wordings in rows():
        letters = sample_of(benchmark, row).target
        right = str(letters["answer"] if letters["options"] else row.get("ground_truth", row.get("answer", "")))[:1]
        right = right if right in tuple("ABCD") else "A"
        words = {"right": right, "wrong": "B" if right == "A" else "A", "lower": right.lower(), "text": _CHOICE[right]}
        for wording in wordings:
            yield benchmark, row, wording.format(**words) if wordings is CHOSEN else wording


def compare(python: str, checkout: str | None, source: Path | None) -> dict[str, Any]:
    """Per suite and benchmark: answers, scores that differ, and the answers that their code does not decide."""
    given = pairs()
    if source is not None:
        read = map(json.loads, source.read_text().splitlines())
        given = ((pair["benchmark"], pair["row"], pair["answer"]) for pair in read)
    asked = [
        (suite, NAMES[benchmark], benchmark, row, answer)
        for benchmark, row, answer in given
        for suite in SCORERS
        if benchmark in NAMES and NAMES[benchmark] in SCORERS[suite] and (suite == "lmms-eval" or checkout)
    ]
    with tempfile.TemporaryDirectory() as folder:
        questions, scores = Path(folder, "questions.jsonl"), Path(folder, "scores.jsonl")
        lines = [{"suite": s, "name": n, "row": row, "answer": answer} for s, n, _, row, answer in asked]
        questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
        command = [python, str(PEERS), str(questions), str(scores), *([checkout] if checkout else [])]
        # Their environment has packages of its own; nothing is fetched.
        own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": folder}
        # MathVista's module builds a judge's client, which is never asked.
        offline["OPENAI_API_KEY"] = "none"
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**own, **offline})
        theirs = [json.loads(line) for line in scores.read_text().splitlines()]
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"answers": 0, "differ": 0, "undecided": 0})
    differ = []
    for (suite, name, benchmark, row, answer), peer in zip(asked, theirs, strict=True):
        if not peer["known"]:
            continue
        count = counts[f"{suite} {name}"]
        if peer["score"] is None:
            count["undecided"] += 1
            continue
        count["answers"] += 1
        ours = SCORERS[suite][name](answer, sample_of(benchmark, row))
        if abs(ours - peer["score"]) > 1e-9:
            count["differ"] += 1
            differ.append({"set": f"{suite} {name}", "answer": answer, "ours": ours, "theirs": peer["score"]})
    total = {key: sum(count[key] for count in counts.values()) for key in ("answers", "differ", "undecided")}
    return {"value": total["differ"], "short": {"sets": len(counts), **total}, "sets": counts, "differ": differ}


def main() -> None:
    """Prints the comparison as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="of an environment with lmms-eval 0.7.3")
    parser.add_argument("--vlmevalkit", help="folder of a checkout of VLMEvalKit")
    parser.add_argument("--pairs", type=Path, help="lines of {benchmark, row, answer}, in place of invented ones")
    parser.add_argument("--output", type=Path, help="also write the result there")
    args = parser.parse_args()
    give({"benchmark": "evaluation_parity", **compare(args.python, args.vlmevalkit, args.pairs)}, args.output)


if __name__ == "__main__":
    main()
