"""Reads a run's folder as it is: finished, interrupted or still going. Nothing here needs a file to exist."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mmrl.contracts.errors import UserError
from mmrl.recipe.until import RoundsUntil
from mmrl.tracking.heldout import evaluations_in, evaluations_of
from mmrl.tracking.starts import FILE as STARTS
from mmrl.tracking.starts import Start, read_starts
from mmrl.tracking.videos import INDEX

BAD_SAMPLES = "bad_samples.jsonl"
ROUNDS = "rounds.json"
SIGNS = ("config.yaml", "metrics.jsonl", "environment.json", "summary.json", "rollouts")


@dataclass(frozen=True, slots=True)
class StageSpan:
    """A stage on the step axis: from after step `start` to step `end`."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Run:
    """A run's files.

    Attributes:
        records: the lines of metrics.jsonl.
        rollouts: path of each step's rollouts file.
        heldout: path of each evaluation's file of answers.
        videos: path of the index of each evaluation's films.
        bad_samples: the lines of bad_samples.jsonl.
        starts: every start of it; empty where none is recorded.
        rounds: by the name of rounds that a figure may end, its value in each so far.
        notes: sentences on what is missing or damaged.
    """

    folder: Path
    config_text: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    records: Sequence[Mapping[str, Any]] = ()
    rollouts: Mapping[int, Path] = field(default_factory=dict)
    heldout: Mapping[int, Path] = field(default_factory=dict)
    videos: Mapping[int, Path] = field(default_factory=dict)
    bad_samples: Sequence[Mapping[str, Any]] = ()
    starts: Sequence[Start] = ()
    rounds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The recipe's name, or the folder's."""
        return str(self.config.get("name") or self.folder.resolve().name)

    @property
    def last_step(self) -> int:
        """The last step with figures; 0 before the first."""
        return max((record["step"] for record in self.records), default=0)

    @property
    def outdated(self) -> bool:
        """Whether the summary is of an earlier start, and the run has gone on."""
        steps = self.summary.get("steps")
        return isinstance(steps, int) and steps < self.last_step

    @property
    def evaluations(self) -> Mapping[str, Any]:
        """The evaluations of a finished run's summary, otherwise as metrics.jsonl has them; see `evaluations_in`."""
        summed = evaluations_of(self.summary)
        logged = evaluations_in(self.records, {span.name: span.end for span in self.planned})
        unfinished = self.outdated or self.summary.get("finished") is False
        return (logged or summed) if unfinished else (summed or logged)

    @property
    def planned(self) -> list[StageSpan]:
        """The recipe's stages; empty where the recipe is missing or damaged."""
        return _planned(self.config.get("stages"), self.records, self.rounds)

    @property
    def spans(self) -> list[StageSpan]:
        """The stages in order: planned ones from the recipe, otherwise those that figures name."""
        if self.planned:
            return self.planned
        ends: dict[str, int] = {}
        for record in self.records:
            ends[record["stage"]] = max(record["step"], ends.get(record["stage"], 0))
        spans, start = [], 0
        for name, end in ends.items():
            if end > start:
                spans.append(StageSpan(name, start, end))
                start = end
        return spans


def ended_rounds(loop: Mapping[str, Any], rounds: Mapping[str, Sequence[float]]) -> bool:
    """Whether a figure has ended rounds, as a stage of config.yaml records them (`Loop`), before their last one."""
    values = rounds.get(str(loop.get("name")), ())
    return len(values) < loop["rounds"] and RoundsUntil(**loop["until"]).reached(values)


def _planned(
    stages: Any, records: Sequence[Mapping[str, Any]], rounds: Mapping[str, Sequence[float]]
) -> list[StageSpan]:
    """The stages of a recipe, without rounds that did not come; one that a figure has ended is as long as it was."""
    spans, start = [], 0
    taken = {record["stage"]: record["step"] for record in records}
    for stage in stages if isinstance(stages, list) else []:
        steps = stage.get("steps") if isinstance(stage, Mapping) else None
        if not isinstance(steps, int):
            return []
        name = str(stage.get("name", ""))
        loops = stage.get("loops") or ()
        if any(ended_rounds(loop, rounds) and loop["round"] > len(rounds[loop["name"]]) for loop in loops):
            continue
        end = start + steps
        if stage.get("until") is not None and name in taken and list(taken)[-1] != name:
            end = min(end, taken[name])
        spans.append(StageSpan(name, start, end))
        start = end
    return spans


def read_run(folder: Path) -> Run:
    """Reads what is there.

    Raises:
        UserError: `folder` is no run.
    """
    if not folder.is_dir():
        raise UserError(f"no run at '{folder}': no such folder; give the folder that holds metrics.jsonl")
    if not any((folder / sign).exists() for sign in SIGNS):
        raise UserError(
            f"'{folder}' is no run: it holds none of {', '.join(SIGNS)}; give a folder made by `mmrl train`"
        )
    notes: list[str] = []
    config_text = _read(folder / "config.yaml", "no recipe", notes)
    rollouts = _by_step((folder / "rollouts").glob("step_*.jsonl"))
    films = _by_step((folder / "videos").glob("step_*"))
    records = _records(folder / "metrics.jsonl", notes)
    if not rollouts:
        notes.append("No rollouts yet: rollouts/ holds no step.")
    run = Run(
        folder=folder,
        config_text=config_text,
        config=_mapping(config_text, "config.yaml", _yaml, notes),
        environment=_mapping(_read(folder / "environment.json", "", notes), "environment.json", json.loads, notes),
        summary=_mapping(
            _read(folder / "summary.json", "The run has not finished", notes), "summary.json", json.loads, notes
        ),
        records=records,
        rollouts=rollouts,
        heldout=_by_step((folder / "heldout").glob("step_*.jsonl")),
        videos={step: path / INDEX for step, path in films.items() if (path / INDEX).is_file()},
        bad_samples=_bad_samples(folder / BAD_SAMPLES, notes),
        starts=_starts(folder, notes),
        rounds=_mapping(_read(folder / ROUNDS, "", notes), ROUNDS, json.loads, notes),
        notes=notes,
    )
    if run.outdated:
        notes.append(f"summary.json is of step {run.summary['steps']}, and the run has gone on.")
    return run


def _yaml(text: str) -> Any:
    # The same loader in C, where PyYAML was built with it: ten times as fast.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _by_step(paths: Iterable[Path]) -> dict[int, Path]:
    numbers = {path: path.stem.removeprefix("step_") for path in sorted(paths)}
    return {int(number): path for path, number in numbers.items() if number.isdigit()}


def _read(path: Path, absent: str, notes: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        notes.append(
            f"{absent[:1].upper()}{absent[1:]}: {path.name} is missing." if absent else f"{path.name} is missing."
        )
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error.strerror}.")
    return ""


def _mapping(text: str, name: str, parse: Any, notes: list[str]) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        value = parse(text)
    except (ValueError, yaml.YAMLError):
        value = None
    if isinstance(value, Mapping):
        return value
    notes.append(f"{name} is damaged and was left out.")
    return {}


def _records(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    if not path.exists():
        notes.append("No figures yet: metrics.jsonl is missing.")
        return []
    records, damaged = read_lines(path)
    good = [r for r in records if isinstance(r.get("step"), int) and isinstance(r.get("stage"), str)]
    damaged += len(records) - len(good)
    if damaged:
        notes.append(f"{damaged} damaged line{'s' if damaged > 1 else ''} of metrics.jsonl left out.")
    if not good:
        notes.append("No figures yet: metrics.jsonl is empty.")
    return good


def _bad_samples(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    entries, damaged = read_lines(path)
    if damaged:
        notes.append(f"{damaged} damaged line{'s' if damaged > 1 else ''} of {path.name} left out.")
    return entries


def _starts(folder: Path, notes: list[str]) -> list[Start]:
    try:
        return read_starts(folder)
    except UserError:
        notes.append(f"{STARTS} is damaged and was left out.")
        return []


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The JSON objects of a jsonl file, and how many lines were none."""
    records, damaged = [], 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if isinstance(value, dict):
                records.append(value)
            else:
                damaged += bool(line.strip())
    return records, damaged
