"""Runs inside an environment that has lmms-eval 0.7.3, and perhaps a checkout of VLMEvalKit: their scores of answers.

Reads lines {suite, name, row, answer} and writes lines of a score each, null where theirs would ask a judge or draw.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import types
from typing import Any


class Undecided(Exception):
    """Theirs would ask a judge, or draw at random."""


def undecided(*args: Any, **kwargs: Any) -> Any:
    raise Undecided


def task(name: str) -> Any:
    """A module of lmms-eval's tasks."""
    return importlib.import_module(f"lmms_eval.tasks.{name}")


def first(scores: dict[str, Any]) -> Any:
    return next(iter(scores.values()))


def lmms_choice(row: dict[str, Any], said: str) -> float:
    from lmms_eval.tasks._task_utils.mcq_extract import extract_mcq_answer

    return float(extract_mcq_answer(said, choices=list("ABCD")) == row["answer"])


def lmms_ai2d(row: dict[str, Any], said: str) -> float:
    rule = task("ai2d.utils").MultiChoiceRegexFilter(
        group_select=0, ignore_case=True, ignore_punctuation=True, regex_pattern="([A-Z])\\."
    )
    doc = {**row, "options": row["options"]}
    filtered = rule.apply([[said]], [doc])[0]
    filtered = filtered[0] if isinstance(filtered, list) else filtered
    metric = importlib.import_module("lmms_eval.api.metrics").exact_match_hf_evaluate
    right = "ABCD"[int(row["answer"])]
    return float(metric([filtered], [right], ignore_case=True, ignore_punctuation=True)["exact_match"])


def lmms_mmmu(row: dict[str, Any], said: str) -> float:
    utils = task("mmmu.utils")
    scored = utils.mmmu_process_results(row, [said])["mmmu_acc"]
    pred = scored["parsed_pred"][0]
    if row["question_type"] == "multiple-choice":
        return float(utils.eval_multi_choice(row["answer"], pred))
    right = json.loads(row["answer"].replace("'", '"')) if row["answer"].startswith("[") else row["answer"]
    return float(utils.eval_open(right, pred))


def lmms_longvideobench(row: dict[str, Any], said: str) -> float:
    scored = task("longvideobench.utils").longvideobench_process_results(row, [said])["lvb_acc"]
    return float(scored["answer"] == scored["parsed_pred"])


def lmms_charades(row: dict[str, Any], said: str) -> float:
    utils = task("charades_sta.utils")
    times = utils.extract_time(said)
    return float(utils.iou(tuple(row["timestamp"]), times[0])) if len(times) == 1 else 0.0


def lmms_refcoco(row: dict[str, Any], said: str) -> float:
    utils = task("refcoco.utils_rec")
    width, height = row["image_width"], row["image_height"]
    shares = [side / whole for side, whole in zip(row["bbox_abs"], (width, height, width, height))]
    scored = first(utils.refcoco_bbox_rec_process_result({**row, "bbox": shares}, [said]))
    return float(utils.compute_accuracy(scored["bbox"], scored["pred"], 0.5))


def lmms_vsibench(row: dict[str, Any], said: str) -> float:
    doc = first(task("vsibench.utils").vsibench_process_results(dict(row), [said]))
    return float(doc["accuracy"] if "accuracy" in doc else doc["MRA:.5:.95:.05"])


def lmms_tempcompass(row: dict[str, Any], said: str) -> float:
    os.environ.setdefault("HF_HOME", "none")
    utils = task("tempcompass.utils")
    utils.get_eval_result = undecided
    kind = {"multi-choice": "multi_choice"}.get(row["task"], row["task"])
    return float(getattr(utils, f"tempcompass_process_results_{kind}")(row, [said])["avg_accuracy"]["rating"])


def lmms_mathvista(row: dict[str, Any], said: str) -> float:
    rules = task("mathvista.mathvista_evals").MathVistaEvaluator
    rules.get_chat_response = undecided
    judge = object.__new__(rules)
    kinds = (row["question_type"], row["answer_type"])
    extraction = judge.extract_answer(said, row)
    if extraction == "":
        raise Undecided
    normal = judge.normalize_extracted_answer(extraction, row["choices"] or [], *kinds, row["precision"])
    return float(judge.safe_equal(normal, row["answer"]))


def lmms_mmbench(row: dict[str, Any], said: str) -> float:
    import pandas

    rules = object.__new__(task("mmbench.mmbench_evals").MMBench_Evaluator)
    frame = pandas.DataFrame([{**row, "prediction": said}])
    return float(rules.eval_sub_data(frame, {row["index"]: row["answer"]}, static_only=True))


def lmms_docvqa(row: dict[str, Any], said: str) -> float:
    return float(importlib.import_module("lmms_eval.api.metrics").anls(row["answers"], [said])["anls"])


def lmms_process(module: str, function: str, *path: str) -> Any:
    """A scorer that is a task's `process_results`; `path` leads to the score in what it returns."""

    def score(row: dict[str, Any], said: str) -> float:
        value: Any = getattr(task(module), function)(row, [said])
        for key in path:
            value = value[key] if key else first(value)
        return float(value)

    return score


LMMS = {
    "ai2d": lmms_ai2d,
    "charades_sta": lmms_charades,
    "chartqa": lmms_process("chartqa.utils", "chartqa_process_results", "relaxed_overall"),
    "docvqa": lmms_docvqa,
    "infovqa": lmms_docvqa,
    "longvideobench": lmms_longvideobench,
    "mathvista": lmms_mathvista,
    "mmbench_en": lmms_mmbench,
    "mmmu": lmms_mmmu,
    "mmstar": lmms_choice,
    "mvbench": lmms_process("mvbench.utils", "mvbench_process_results", "mvbench_accuracy", "score"),
    "ocrbench": lmms_process("ocrbench.utils", "ocrbench_process_results", "ocrbench_accuracy", "score"),
    "pope": lmms_process("pope.utils", "pope_process_results", "pope_accuracy", "score"),
    "refcoco_val": lmms_refcoco,
    "tempcompass": lmms_tempcompass,
    "textvqa": lmms_process("textvqa.utils", "textvqa_process_results", "exact_match"),
    "videomme": lmms_process("videomme.utils", "videomme_process_results", "videomme_perception_score", "score"),
    "vsibench": lmms_vsibench,
}


def vlmevalkit(checkout: str) -> dict[str, Any]:
    """Scorers of a checkout, without importing all of its benchmarks."""
    for name in ("vlmeval", "vlmeval.dataset", "vlmeval.dataset.utils"):
        package = types.ModuleType(name)
        package.__path__ = [os.path.join(checkout, *name.split("."))]  # type: ignore[attr-defined]
        sys.modules[name] = package
    infer = importlib.import_module("vlmeval.utils.matching_util").can_infer
    temp = importlib.import_module("vlmeval.dataset.utils.tempcompass")
    long = importlib.import_module("vlmeval.dataset.utils.longvideobench")
    check = importlib.import_module("vlmeval.dataset.utils.mvbench").check_ans
    vqa = importlib.import_module("vlmeval.dataset.utils.vqa_eval")
    characters = importlib.import_module("vlmeval.dataset.utils.videomme").extract_characters_regex
    yes_no = importlib.import_module("vlmeval.dataset.utils.yorn").YOrN_Extraction

    def choice(options: dict[str, str], right: str, said: str) -> float:
        return float(infer(said, dict(options)) == right)

    def mmbench(row: dict[str, Any], said: str) -> float:
        return choice({letter: row[letter] for letter in "ABCD"}, row["answer"], said)

    def ai2d(row: dict[str, Any], said: str) -> float:
        return choice(dict(zip("ABCD", row["options"])), "ABCD"[int(row["answer"])], said)

    def mvbench(row: dict[str, Any], said: str) -> float:
        options = dict(zip("ABCDE", row["candidates"]))
        letter = next(letter for letter, text in options.items() if text == row["answer"])
        return float(check(said, f"({letter}) {row['answer']}") or choice(options, letter, said) == 1.0)

    def longvideobench(row: dict[str, Any], said: str) -> float:
        options = {letter: row[f"option{i}"] for i, letter in enumerate("ABCDE") if row[f"option{i}"] != "N/A"}
        right = "ABCDE"[row["correct_choice"]]
        letter = long.extract_characters_regex(said)
        return float(letter == right) if letter else choice(options, right, said)

    def tempcompass(row: dict[str, Any], said: str) -> float:
        lines = row["question"].split("\n")[1:]
        line = {**row, "prediction": said, "task_type": row["task"], "candidates": repr(lines)}
        if row["task"] == "yes_no":
            return float(temp.eval_rule_YorN(said) == row["answer"])
        return float(temp.evaluate_tempcompass_mcq(None, line)["rating"])

    def documents(row: dict[str, Any], said: str) -> float:
        line = vqa.process_line({"answer": repr(row["answers"]), "prediction": said}, method="anls")
        return float(vqa.hit_calculate([line], "DocVQA_VAL")[0])

    def charts(row: dict[str, Any], said: str) -> float:
        line = vqa.process_line({"answer": row["answer"], "prediction": said}, method="relaxed_accuracy")
        return float(vqa.hit_calculate([line], "ChartQA_TEST")[0])

    return {
        "ai2d": ai2d,
        "chartqa": charts,
        "docvqa": documents,
        "infovqa": documents,
        "longvideobench": longvideobench,
        "mmbench_en": mmbench,
        "mvbench": mvbench,
        "pope": lambda row, said: float(yes_no(said).lower() == row["answer"].lower()),
        "tempcompass": tempcompass,
        "videomme": lambda row, said: float(characters(said) == row["answer"]),
    }


def main() -> None:
    """`python evaluation_parity_peers.py QUESTIONS SCORES [CHECKOUT]`."""
    source, target, *checkout = sys.argv[1:]
    random.choice = undecided
    scorers = {"lmms-eval": LMMS, "vlmevalkit": vlmevalkit(checkout[0]) if checkout else {}}
    strip = importlib.import_module("lmms_eval.api.reasoning").strip_reasoning_tags
    tags = [["<think>", "</think>"], ["<analysis>", "</analysis>"]]
    with open(source, encoding="utf-8") as questions, open(target, "w", encoding="utf-8") as scores:
        for line in questions:
            asked = json.loads(line)
            said, score = asked["answer"], scorers[asked["suite"]].get(asked["name"])
            if asked["suite"] == "lmms-eval":
                said = strip(said, tags).strip()
            try:
                value = None if score is None else score(asked["row"], said)
            except Undecided:
                value = None
            scores.write(json.dumps({"known": score is not None, "score": value}) + "\n")


if __name__ == "__main__":
    main()
