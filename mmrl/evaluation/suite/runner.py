"""Benchmarks of one policy, one after the other, in a folder that a killed run is gone on with from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrl.contracts.benchmark import Benchmark, Described, Played
from mmrl.contracts.engine import Engine
from mmrl.contracts.errors import UserError, unknown
from mmrl.contracts.policy import Policy
from mmrl.contracts.types import Sample
from mmrl.evaluation.benchmarks.files import FileBenchmark
from mmrl.evaluation.benchmarks.lmms_task import LmmsTask, is_lmms_task
from mmrl.evaluation.benchmarks.own import OwnBenchmark
from mmrl.evaluation.suite.arms import ArmRows
from mmrl.evaluation.suite.asking import Asker
from mmrl.evaluation.suite.draws import Draws, places_of
from mmrl.evaluation.suite.judging import open_judge
from mmrl.evaluation.suite.named import put_under
from mmrl.evaluation.suite.protocol import named, protocol_changes, protocol_of
from mmrl.evaluation.suite.records import Records
from mmrl.evaluation.suite.results import results_of
from mmrl.evaluation.suite.scorers import check_rows
from mmrl.evaluation.suite.survey import Survey, refuse_missing, survey
from mmrl.recipe.benchmarks import BENCHMARKS
from mmrl.recipe.reading import validate
from mmrl.recipe.simulators import SimulatorConfig, simulator_model
from mmrl.recipe.suite import YAML, SuiteConfig, read_shard, split_arm
from mmrl.tracking.claim import remove_asides
from mmrl.tracking.files import json_text, write_atomic

PROTOCOL = "protocol.json"
RESULTS = "results.json"
# Tokens of an answer to a benchmark that names no limit.
LIMIT = 64


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark whose rows have been looked through.

    Attributes:
        samples: answers to each row.
        rows: each as often as it is asked; see `Draws`.
        survey: of the rows themselves.
    """

    name: str
    benchmark: Benchmark
    rows: Sequence[Sample]
    survey: Survey
    samples: int = 1

    def part(self, shard: str | None) -> list[int]:
        """Where the rows of a shard stand in `rows`; of no shard all."""
        first, step = read_shard(shard) if shard is not None else (0, 1)
        return places_of(range(first, self.survey.count, step), self.samples)


def open_tasks(config: SuiteConfig) -> list[Task]:
    """The benchmarks, with their files found and their rows looked through, before anything is loaded or written.

    Raises:
        UserError: files or media are missing, or a row is not what its benchmark can score.
    """
    tasks = [
        open_task(
            *(name, config.data_root, config.limit, config.count_missing, config.samples, config.protocol),
            download=config.download,
        )
        for name in config.tasks
    ]
    played = [task.benchmark for task in tasks if isinstance(task.benchmark, Played)]
    names = {name for benchmark in played for name in benchmark.simulators}
    if foreign := sorted(config.simulators.keys() - names):
        raise UserError(unknown("simulator of these benchmarks:", foreign[0], names))
    for benchmark in played:
        given = {name: {**own, **config.simulators.get(name, {})} for name, own in benchmark.simulators.items()}
        benchmark.simulators = {name: checked.as_given() for name, checked in checked_simulators(given).items()}
    return tasks


def checked_simulators(given: Mapping[str, Mapping[str, Any]]) -> dict[str, SimulatorConfig]:
    """Settings of simulators with every default. Raises ConfigError in one line."""
    return {
        name: validate(simulator_model(settings["type"]), settings, place=f"simulators.{name}")
        for name, settings in given.items()
    }


def open_task(
    task: str,
    root: str | None,
    limit: int | None = None,
    count_missing: bool = True,
    samples: int = 1,
    protocol: str | None = None,
    download: bool = False,
) -> Task:
    """One benchmark, perhaps under an arm, or under the protocol of another suite; see `open_tasks`."""
    name, arm = split_arm(task)
    benchmark = _benchmark(name)
    if isinstance(benchmark, FileBenchmark):
        benchmark.download = download
    if protocol is not None:
        put_under(name, benchmark, protocol, arm)
    rows = benchmark.rows(root)
    if arm is not None:
        rows = ArmRows(name, rows, arm, min(len(rows), limit or len(rows)))
    label = Path(task).name
    found = survey(label, benchmark, rows, limit)
    if protocol is not None:
        check_rows(name, protocol, rows, found.count)
    if not count_missing:
        refuse_missing(label, benchmark, found)
    return Task(label, benchmark, Draws(rows, samples), found, samples)


def _benchmark(name: str) -> Benchmark:
    """A benchmark of the registry, or of a YAML file: one's own, or a task of lmms-eval."""
    if not name.endswith(YAML):
        return BENCHMARKS.get(name)()
    path = Path(name)
    return LmmsTask(path) if is_lmms_task(path) else OwnBenchmark(path)


def run_tasks(
    tasks: Sequence[Task],
    config: SuiteConfig,
    policy: Policy,
    engine: Engine,
    engine_name: str,
    model: Mapping[str, Any],
    chunk: int,
    say: Callable[[str], object] = print,
) -> dict[str, dict[str, Any]]:
    """Asks every benchmark, and writes what each comes to as soon as it is done.

    Args:
        model: what the checkpoint is, in plain values: its digest, its settings.
        chunk: actions per decision of episodes.

    Raises:
        UserError: the folder holds answers of another checkpoint or under another protocol.
    """
    output, judge = Path(config.output), open_judge(config.judge, [task.benchmark for task in tasks])
    remove_asides(output)
    results: dict[str, dict[str, Any]] = {}
    plans = []
    for task in tasks:
        limit = task.benchmark.limit if isinstance(task.benchmark, Described) else LIMIT
        sampling = config.sampling.limited(limit)
        protocol = protocol_of(
            task.name,
            task.benchmark,
            task.survey,
            policy,
            engine_name,
            sampling,
            config.seed,
            chunk,
            task.samples,
            judge.protocol_for(task.benchmark) if judge is not None else None,
        )
        head = {"model": dict(model), "shard": config.shard, "protocol": protocol.plain}
        check_head(output / slug(task.name), head)
        plans.append((task, sampling, head))
    for task, sampling, head in plans:
        records = Records(output / slug(task.name))
        write_atomic(output / slug(task.name) / PROTOCOL, json_text(head))
        records.mend()
        done = records.read()
        wanted = [place for place in task.part(config.shard) if place not in done]
        if done:
            say(f"{task.name}: {len(done)} answers are there, {len(wanted)} are left")
        Asker(policy, engine, sampling, config.seed, chunk, task.samples, judge).run(
            task.benchmark, task.rows, wanted, config.batch_size, records.append
        )
        result = results_of(task.benchmark, task.rows, records.read(), head["protocol"])
        results[task.name] = result
        write_results(output, model, results, config.shard)
        say(summary_line(task.name, result))
    return results


def write_results(output: Path, model: Mapping[str, Any], results: Mapping[str, Any], shard: str | None = None) -> None:
    """results.json: these benchmarks, and those of the same checkpoint that stand there already."""
    path = output / RESULTS
    earlier = json.loads(path.read_text()) if path.is_file() else {}
    same = earlier.get("model") == dict(model) and earlier.get("shard") == shard
    tasks = {**(earlier["tasks"] if same else {}), **results}
    write_atomic(path, json_text({"model": dict(model), "shard": shard, "tasks": tasks}))


def check_head(folder: Path, head: Mapping[str, Any]) -> None:
    """Raises UserError where a folder holds answers of another checkpoint, shard or protocol."""
    path = folder / PROTOCOL
    if not path.is_file():
        return
    changes = protocol_changes(json.loads(path.read_text()), json.loads(json_text(head)))
    if changes:
        raise UserError(
            f"'{folder}' holds answers under another protocol ({named(changes)}); give another --output, or delete it"
        )


def summary_line(name: str, result: Mapping[str, Any]) -> str:
    """What is said when a benchmark is done."""
    each = f", {result['samples']} answers to each" if "samples" in result else ""
    figure = f"{name}: {result['score']:.3f} over {result['rows']} rows{each}"
    failed = f", {result['failures']} failed" if result["failures"] else ""
    cut = f", {result['truncated']} answers cut by the limit of tokens" if result["truncated"] else ""
    return figure + failed + cut


def slug(name: str) -> str:
    """A benchmark's folder."""
    return re.sub(r"[^\w.-]+", "_", name)
