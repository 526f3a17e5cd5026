"""Answers that lie in folders of results: put together from shards, scored anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mmrl.contracts.benchmark import Benchmark
from mmrl.contracts.errors import UserError, unknown
from mmrl.contracts.types import Sample
from mmrl.evaluation.suite.draws import places_of, samples_of
from mmrl.evaluation.suite.folder import Stored, stored_in
from mmrl.evaluation.suite.judging import AnswerJudge, open_judge
from mmrl.evaluation.suite.named import rules_of
from mmrl.evaluation.suite.page import write_page
from mmrl.evaluation.suite.protocol import named, protocol_changes, scoring_of
from mmrl.evaluation.suite.records import SAMPLES, Record
from mmrl.evaluation.suite.results import results_of
from mmrl.evaluation.suite.runner import PROTOCOL, Task, open_task, slug, write_results
from mmrl.evaluation.suite.scorers import SCORERS, Scorer, check_rows
from mmrl.recipe.suite import YAML, JudgeConfig, read_shard, split_arm
from mmrl.tracking.files import json_line, json_text, write_atomic


def reopened(stored: Stored, root: str | None) -> Task:
    """The benchmark of some answers.

    Raises:
        UserError: its rows are not those that were asked.
    """
    asked, name = stored.protocol["rows"], stored.name
    if split_arm(name)[0].endswith(YAML):
        # Answers know the file's name alone: it is looked for where the command runs, and under the data root.
        folder = next((f for f in (Path(), Path(root or ".")) if (f / split_arm(name)[0]).is_file()), None)
        if folder is None:
            raise UserError(
                f"no '{split_arm(name)[0]}' here; run the command where that file lies, or give --data-root"
            )
        name = str(folder / name)
    suite = stored.protocol["scoring"].get("suite")
    task = open_task(name, root, asked["count"], samples=stored.samples, protocol=suite)
    if task.survey.digest != asked["digest"]:
        raise UserError(f"benchmark '{stored.name}' has other rows than those that '{stored.folder}' answers")
    return task


def merge(outputs: Sequence[Path], into: Path, root: str | None) -> dict[str, dict[str, Any]]:
    """Puts the shards of some benchmarks together, as if one run had asked all rows.

    Raises:
        UserError: they are of several checkpoints or protocols, one is missing, or one is not finished.
    """
    shards: dict[str, list[Stored]] = {}
    for output in outputs:
        for name, stored in stored_in(output).items():
            shards.setdefault(name, []).append(stored)
    together = {name: _together(name, parts) for name, parts in shards.items()}
    plans = {name: (*whole, reopened(Stored(into / slug(name), *whole), root)) for name, whole in together.items()}
    results = {name: write_stored(into, *plan) for name, plan in plans.items()}
    write_page(into, {name: task.rows for name, (_, _, task) in plans.items()})
    return results


def _together(name: str, parts: Sequence[Stored]) -> tuple[Mapping[str, Any], dict[int, Record]]:
    """The head and the answers of all shards of a benchmark."""
    heads = [{**part.head, "shard": None} for part in parts]
    for part, head in zip(parts, heads):
        if changes := protocol_changes(heads[0], head):
            raise UserError(f"'{part.folder}' is under another protocol than '{parts[0].folder}' ({named(changes)})")
    places: dict[int, Stored] = {}
    count = 0
    for part in parts:
        place, count = read_shard(part.head["shard"] or "0/1")
        if place in places:
            raise UserError(f"'{part.folder}' and '{places[place].folder}' are both shard {place}/{count}")
        places[place] = part
    if missing := [str(i) for i in range(count) if i not in places]:
        raise UserError(f"benchmark '{name}': of {count} shards {', '.join(missing)} are missing")
    records = {row: record for part in parts for row, record in part.records.items()}
    rows, samples = heads[0]["protocol"]["rows"]["count"], samples_of(heads[0]["protocol"])
    for place, part in places.items():
        if left := len(set(places_of(range(place, rows, count), samples)) - part.records.keys()):
            raise UserError(
                f"'{part.folder}' is not finished: {left} answers are missing; run it again to go on with it"
            )
    return heads[0], records


def write_stored(into: Path, head: Mapping[str, Any], records: Mapping[int, Record], task: Task) -> dict[str, Any]:
    """Writes answers with their results as a run would have; see `results_of`."""
    name = task.name
    result = results_of(task.benchmark, task.rows, records, head["protocol"])
    lines = "".join(json_line(asdict(record)) for _, record in sorted(records.items()))
    write_atomic(into / slug(name) / PROTOCOL, json_text(head))
    write_atomic(into / slug(name) / SAMPLES, lines)
    write_results(into, head["model"], {name: result})
    return result


def rescore(
    output: Path,
    into: Path,
    root: str | None,
    scorer: str | None = None,
    say: Callable[[str], object] = print,
    judge: JudgeConfig | None = None,
) -> dict[str, dict[str, Any]]:
    """Scores saved answers anew, by the benchmarks as they are now or as another suite does, into another folder.

    Args:
        scorer: a suite of `mmrl.evaluation.suite.scorers`; None: the benchmarks' own.
        judge: grades what rules do not hold for right; None: they alone score.

    Raises:
        UserError: the judge cannot be reached, the folder is the same, or the suite does not score one of the
            benchmarks.
    """
    if into.resolve() == output.resolve():
        raise UserError("rescore: --output is the folder of the answers itself; give another")
    results: dict[str, dict[str, Any]] = {}
    plans = []
    for name, stored in stored_in(output).items():
        if stored.head["shard"] is not None:
            raise UserError(f"'{stored.folder}' is shard {stored.head['shard']}; put the shards together first")
        score, task = scorer_of(name, scorer), reopened(stored, root)
        if scorer is not None:
            check_rows(name, scorer, task.rows, len(task.part(None)))
        plans.append((stored, task, score))
    grader = open_judge(judge, [task.benchmark for _, task, _ in plans])
    # All of them before anything is written: a judge may be gone on the way.
    anew = [_all_anew(stored.records, task, score, grader) for stored, task, score in plans]
    for (stored, task, _), records in zip(plans, anew, strict=True):
        scoring = scoring_of(task.benchmark, grader.protocol_for(task.benchmark) if grader is not None else None)
        scoring = {**scoring, "extractor": rules_of(scorer), "metric": rules_of(scorer)} if scorer else scoring
        head = {**stored.head, "protocol": {**stored.protocol, "scoring": scoring}}
        results[task.name] = write_stored(into, head, records, task)
        changed = sum(records[row].score != record.score for row, record in stored.records.items())
        say(f"{task.name}: {results[task.name]['score']:.3f}, {changed} of {len(records)} scores changed")
    write_page(into, {task.name: task.rows for _, task, _ in plans})
    return results


def scorer_of(name: str, suite: str | None) -> Scorer | None:
    """What scores a benchmark's answers as a suite does; None: the benchmark itself. Raises UserError."""
    if suite is None:
        return None
    if suite not in SCORERS:
        raise UserError(unknown("scorer", suite, SCORERS))
    if name not in SCORERS[suite]:
        raise UserError(
            f"benchmark '{name}' is not scored as {suite} does; those that are: {', '.join(SCORERS[suite])}"
        )
    return SCORERS[suite][name]


def _all_anew(
    records: Mapping[int, Record], task: Task, score: Scorer | None, judge: AnswerJudge | None
) -> dict[int, Record]:
    def one(record: Record) -> Record:
        return _anew(record, task, score, judge)

    with ThreadPoolExecutor(1 if judge is None else judge.config.concurrency) as threads:
        return dict(zip(records, threads.map(one, records.values()), strict=True))


def _anew(record: Record, task: Task, score: Scorer | None, judge: AnswerJudge | None) -> Record:
    sample = task.rows[record.row]
    # What failed has no answer, and episodes have none in text.
    if record.failed is not None or sample.kind != "answers":
        return record
    shown = replace(sample, target=record.target)
    value, verdicts = float(_score(task.benchmark, record.answer, shown, score)), {}
    if judge is not None:
        value, verdicts = judge.settle(task.benchmark, record.answer, shown, value)
    return replace(record, score=value, judge=verdicts)


def _score(benchmark: Benchmark, answer: str, sample: Sample, score: Scorer | None) -> float:
    return benchmark.score(answer, sample) if score is None else score(answer, sample)
