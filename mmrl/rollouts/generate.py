"""Data that a policy makes: answers to a data set, on disk shard by shard, and what a selection makes of them.

    <folder>/settings.json             what the answers depend on; answers of other settings are not gone on with
             answers/shard_000000.jsonl    a row per prompt with every answer to it; whole or not at all
             data/shard_000000.jsonl   the data set, in mmrl's columns
             data/media/*.png          its pictures
             films/                    of episodes, where they are asked for
             index.json                written last: rows, and what each rule left

The seed of a shard is its own, so that a run which was killed goes on to the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.generated import Answer, Answered, answered
from mmrl.contracts.source import Means, Ready, Terms
from mmrl.contracts.types import Group, Sample, Trajectory
from mmrl.data.corruption import without_media
from mmrl.policies.own_places import in_own_places
from mmrl.recipe.generating import GenerateConfig
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.selecting import Count, select
from mmrl.rollouts.sources import sample_each
from mmrl.rollouts.written_episodes import episode_row, film, steps_of
from mmrl.rollouts.written_rows import link_video, row_of, written_rows
from mmrl.tracking.files import json_line, json_text, to_plain, write_atomic
from mmrl.tracking.rollouts import named_picture, write_picture

ROWS_PER_FILE = 1000
SETTINGS, INDEX = "settings.json", "index.json"


@dataclass(frozen=True, slots=True)
class Generation:
    """What a data set is made with.

    Attributes:
        means: policy, engine and rewards.
        terms: of a shard's answers, whose seed `seed_of` gives.
        settings: all that the answers depend on, as JSON has it.
        origin: what samples, in words.
        skip: bad samples are told to `note` and left out; else they end it.
        stopped: asked between shards; what is there then is gone on with later.
    """

    config: GenerateConfig
    folder: Path
    means: Means
    preparer: Preparer
    terms: Terms
    settings: Mapping[str, Any]
    origin: str
    seed_of: Callable[[int], int]
    skip: bool = False
    note: Callable[[BadSample], object] = lambda error: None
    say: Callable[[str], object] = lambda line: None
    stopped: Callable[[], bool] = lambda: False


def generated(folder: Path) -> dict[str, Any] | None:
    """index.json of a data set that is whole; None where it is not there."""
    path = folder / INDEX
    return json.loads(path.read_text()) if path.is_file() else None


def generate(task: Generation, datasets: Sequence[Sequence[Sample]], again: bool = False) -> dict[str, Any] | None:
    """Makes the data set, or goes on where it was left.

    Args:
        again: answers of other settings are thrown away; else they are an error.

    Returns:
        what index.json holds; None where it was stopped.

    Raises:
        UserError: answers of other settings, bad samples, no row at all, or a selection that leaves nothing.
    """
    known = json.loads(json_text({**task.settings, "version": 1}))
    _settle(task.folder, known, again)
    places = [(rows, row) for rows in datasets for row in range(len(rows))]
    shards = range(0, len(places), task.config.shard)
    for number, first in enumerate(shards):
        path = task.folder / "answers" / f"shard_{number:06d}.jsonl"
        if path.is_file():
            continue
        if task.stopped():
            return None
        with _Pictures(task.folder / "data") as pictures:
            lines = _answer(task, places[first : first + task.config.shard], task.seed_of(number), pictures)
        # What the lines name is there before they are.
        write_atomic(path, "".join(map(json_line, lines)))
        task.say(f"{task.origin}: answered {min(first + task.config.shard, len(places))} of {len(places)} prompts")
    return _select(task, known)


def _settle(folder: Path, settings: Mapping[str, Any], again: bool) -> None:
    """Writes what the answers depend on, or compares it with what is there."""
    path = folder / SETTINGS
    if path.is_file():
        before = json.loads(path.read_text())
        if before == settings:
            return
        differing = sorted(key for key in {**before, **settings} if before.get(key) != settings.get(key))
        if not again:
            raise UserError(
                f"'{folder}' holds answers of other settings ({', '.join(differing)}); give another --output, or "
                "remove the folder"
            )
        shutil.rmtree(folder)
    write_atomic(path, json_text(settings))


class _Pictures:
    """Writes pictures in a thread, while the engine samples; all of them are there when it is left without an error."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._pool = ThreadPoolExecutor(1)
        self._writing: dict[str, Future[None]] = {}

    def save(self, image: Any, owner: Sample) -> str:
        """As `save_image`; what cannot be written is raised at the end."""
        name, picture = named_picture(image, owner)
        place = f"media/{name}"
        if place not in self._writing:
            self._writing[place] = self._pool.submit(write_picture, self.folder / place, picture)
        return place

    def __enter__(self) -> _Pictures:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for written in self._writing.values():
                written.result()


def _answer(
    task: Generation, places: Sequence[tuple[Sequence[Sample], int]], seed: int, pictures: _Pictures
) -> list[dict[str, Any]]:
    """A shard's lines: each row with every answer to it."""
    samples: list[Sample] = []
    ready: list[Ready] = []
    for rows, row in places:
        try:
            sample = rows[row]
            made = task.preparer.make(without_media(sample) if task.config.blind else sample)
            if sample.kind != "episodes":
                # What cannot be written shows before it is answered.
                row_of(sample, made.sample, pictures.save, _nowhere)
        except BadSample as error:
            if not task.skip:
                raise
            task.note(error)
            continue
        samples.append(sample)
        ready.append(made)
    groups: list[Group] = []
    while ready and not groups:
        try:
            groups = sample_each(task.means, ready, replace(task.terms, seed=seed))
        except BadSample as error:
            # A server or a context refused one of them; the others are asked again.
            left = [i for i, item in enumerate(ready) if item.sample.where != error.where]
            if not task.skip or len(left) == len(ready):
                raise
            task.note(error)
            samples, ready = [samples[i] for i in left], [ready[i] for i in left]
    return [_line(task, sample, group, pictures) for sample, group in zip(samples, groups, strict=True)]


def _nowhere(media: Any, sample: Sample) -> str:
    """Stores nothing."""
    return ""


def _line(task: Generation, sample: Sample, group: Group, pictures: _Pictures) -> dict[str, Any]:
    if sample.kind == "episodes":
        episodes = [_episode_of(i, t, pictures.save) for i, t in enumerate(group.trajectories)]
        return {"row": episode_row(sample), "answers": [asdict(episode) for episode in episodes]}
    local = sample if task.config.blind else group.sample
    row = row_of(sample, local, pictures.save, partial(link_video, task.folder / "data"))
    answers = [_answer_of(i, t, sample, local, task.config) for i, t in enumerate(group.trajectories)]
    return {"row": row, "answers": [_without_steps(asdict(answer)) for answer in answers]}


def _without_steps(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "steps"}


def _episode_of(number: int, trajectory: Trajectory, save: Callable[[Any, Sample], str]) -> Answer:
    """An episode, whose success is its accuracy and whose return is its reward."""
    facts = trajectory.episode
    return Answer(
        number,
        "",
        float(trajectory.reward or 0.0),
        trajectory.accuracy,
        facts.length if facts is not None else len(trajectory.decisions),
        truncated=trajectory.truncated,
        steps=tuple(steps_of(trajectory, save)),
    )


def _answer_of(number: int, trajectory: Trajectory, sample: Sample, local: Sample, config: GenerateConfig) -> Answer:
    (decision,) = trajectory.decisions
    sampled = decision.log_probs
    log_probs = [round(value, 6) for value in sampled.tolist()] if sampled is not None else []
    return Answer(
        number,
        in_own_places(sample, local, trajectory.text)[1],
        float(trajectory.reward or 0.0),
        trajectory.accuracy,
        trajectory.units,
        -fmean(log_probs) if log_probs else None,
        trajectory.truncated,
        to_plain(trajectory.parsed),
        tuple(log_probs) if config.log_probs else (),
    )


def read_answers(folder: Path) -> list[Answered]:
    """Every row that was answered, in the order of the data."""
    rows = []
    for path in sorted((folder / "answers").glob("shard_*.jsonl")):
        for line in path.read_text().splitlines():
            written = json.loads(line)
            tuples = [{key: tuple(each.get(key, ())) for key in ("log_probs", "steps")} for each in written["answers"]]
            answers = [Answer(**each | lists) for each, lists in zip(written["answers"], tuples, strict=True)]
            rows.append(answered(written["row"], answers))
    return rows


def _select(task: Generation, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The data set of a whole set of answers, and its index; what is there already is left."""
    config, folder = task.config, task.folder
    rules = json.loads(json_text({"select": [rule.model_dump(mode="json") for rule in config.select]}))["select"]
    known = generated(folder)
    if known is not None and _as_asked(known, task, rules):
        return known
    (folder / INDEX).unlink(missing_ok=True)
    rows = read_answers(folder)
    if not rows:
        raise UserError(f"{task.origin}: no row of data.train could be answered; bad_samples.jsonl says why")
    kept, counts = select(rows, config.select)
    lines = [json_line(line) for line in written_rows(kept, config.write, task.origin, config.log_probs)]
    if not lines:
        raise UserError(
            f"{task.origin}: none of the {len(kept)} rows gives one of {config.write}: its answers are empty"
        )
    for old in (folder / "data").glob("shard_*.jsonl"):
        old.unlink()
    for number, first in enumerate(range(0, len(lines), ROWS_PER_FILE)):
        write_atomic(folder / "data" / f"shard_{number:06d}.jsonl", "".join(lines[first : first + ROWS_PER_FILE]))
    films = film(folder, kept, config.videos) if config.videos else 0
    index = {
        "origin": task.origin,
        "select": rules,
        "write": config.write,
        "prompts": len(rows),
        "answers": sum(row.sampled for row in rows),
        "pass_rate": fmean(row.pass_rate for row in rows),
        "agreement": fmean(row.agreement for row in rows),
        "length": fmean(answer.length for row in rows for answer in row.answers),
        "rules": [_counted(count) for count in counts],
        "rows": len(lines),
        **({"videos": config.videos, "films": films} if films else {}),
    }
    write_atomic(folder / INDEX, json_text(index))
    return index


def _as_asked(known: Mapping[str, Any], task: Generation, rules: Sequence[Any]) -> bool:
    """Whether a whole data set is the one that is asked for; of films there may be fewer than asked for."""
    same = (known["select"], known["write"], known["origin"]) == (rules, task.config.write, task.origin)
    return same and known.get("videos", 0) == task.config.videos


def _counted(count: Count) -> dict[str, Any]:
    return {"rule": count.rule, "rows": list(count.rows), "answers": list(count.answers)}


def described(index: Mapping[str, Any]) -> list[str]:
    """A data set in lines: what was asked, what each rule left, and what was written."""
    lines = [
        f"{index['answers']} answers to {index['prompts']} prompts: pass rate {index['pass_rate']:.3f}, "
        f"agreement {index['agreement']:.3f}, mean length {index['length']:.1f}"
    ]
    for count in index["rules"]:
        (rows_before, rows_after), (before, after) = count["rows"], count["answers"]
        lines.append(f"  {count['rule']}: rows {rows_before} -> {rows_after}, answers {before} -> {after}")
    films = f", {index['films']} films" if index.get("films") else ""
    return [*lines, f"{index['rows']} rows of {index['write']} written{films}"]
