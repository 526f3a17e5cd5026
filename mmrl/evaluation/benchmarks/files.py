"""Benchmarks of published files: rows under the folder of all benchmarks, a prompt, a reward that reads the answer."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts, Scored
from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.types import Sample
from mmrl.data.columns import TAG, Columns
from mmrl.data.readers import READERS, SPLIT_WORDS, Table, open_file, open_tables, plain_columns
from mmrl.data.references import image_source, is_encoded, video_path
from mmrl.data.rows import Rows
from mmrl.evaluation.benchmarks.hub import hub_table
from mmrl.evaluation.benchmarks.templates import CHOICE
from mmrl.evaluation.figures import by_column, figures_of, means
from mmrl.recipe.prompt_templates import compiled
from vision_rewards import Reward, get_reward


@dataclass(frozen=True, slots=True)
class Asked:
    """One row as its benchmark reads it.

    Attributes:
        question: what is asked; `<image>` stands for a picture where it has a place of its own.
        task: as the rewards name it.
        answer: the plain answer, which the task's reward makes a target of.
        options: by letter.
        shown: whether the prompt lists the options; not where the question holds them.
        images, videos: paths, or encoded pictures.
        target: the target itself, in place of `answer`.
        coordinates: how boxes in it are written.
        columns: further columns, for groups and templates.
    """

    question: str
    task: str
    answer: Any = None
    options: Mapping[str, str] = field(default_factory=dict)
    shown: bool = True
    images: tuple[Any, ...] = ()
    videos: tuple[Any, ...] = ()
    target: Mapping[str, Any] | None = None
    coordinates: str = "pixel"
    columns: Mapping[str, Any] = field(default_factory=dict)


class FileBenchmark(ABC):
    """A benchmark whose rows lie in files: `<root>/<name>.json` (.jsonl, .parquet, .tsv), or a folder `<root>/<name>`.

    Attributes:
        name: of the registry, and of its files.
        files: other names that its file may have, without an ending.
        template: Jinja; see `mmrl.evaluation.benchmarks.templates`.
        params: reward name -> its parameters.
        measures: reward name -> the part that is the score; default: its accuracy.
        by: columns that figures are broken down by.
        macro: the column over whose values `score` is the mean of means; None: the mean of all rows.
        same: the column of what rows share (a document); None: their first picture or video.
        judged: see `Judgeable.judged`.
    """

    about: ClassVar[str]
    facts: ClassVar[Facts]
    name: ClassVar[str]
    files: ClassVar[tuple[str, ...]] = ()
    template: ClassVar[str] = CHOICE
    system: ClassVar[str | None] = None
    limit: ClassVar[int] = 64
    params: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    measures: ClassVar[Mapping[str, str]] = {}
    by: ClassVar[tuple[str, ...]] = ()
    macro: ClassVar[str | None] = None
    same: ClassVar[str | None] = None
    judged: ClassVar[tuple[str, ...]] = ()
    # What is said of scores by another suite's rules; see `mmrl.evaluation.suite.named`.
    suite: Mapping[str, Any] = MappingProxyType({})
    # Whether rows that neither files nor the cache of `datasets` hold may be fetched.
    download: bool = False
    # The hub's name, config and split of rows that hold their pictures.
    hub: ClassVar[tuple[str, str | None, str] | None] = None

    def __init__(self) -> None:
        self._reward = get_reward("route", params=self.params)

    @abstractmethod
    def asked(self, row: Columns) -> Asked:
        """What a row asks. Raises BadSample where a column is missing or of another kind."""

    def parts(self, raw: Mapping[str, Any]) -> int:
        """How many questions a row of the files holds; 0: it is none of the benchmark's."""
        return 1

    def part(self, raw: Mapping[str, Any], number: int) -> Mapping[str, Any]:
        """The row as one of its questions sees it."""
        return raw

    def placed(self, text: str, asked: Asked) -> tuple[str, tuple[Any, ...]]:
        """The prompt with `<image>` where pictures have places of their own, and the pictures in that order."""
        return text, asked.images

    def reward_of(self, sample: Sample) -> Reward:
        """What scores a sample's answer."""
        return self._reward.for_task(sample.task)

    def rows(self, root: str | None) -> Sequence[Sample]:
        """See `Benchmark.rows`."""
        tables, media = self._find(root)
        return Questions(self, tables, str(media))

    def _find(self, root: str | None) -> tuple[list[Table], Path]:
        """Its tables, and the folder that media paths start from."""
        if root is None and self.hub is not None:
            return [hub_table(self.name, *self.hub, self.download)], Path()
        if root is None:
            raise UserError(f"benchmark '{self.name}' needs its files: give their folder, with --data-root or `root`")
        base, own = Path(root).expanduser(), Path(root).expanduser() / self.name
        media = own if own.is_dir() else base
        stems = (self.name, *self.files)
        files = [folder / f"{stem}{ending}" for folder in (base, own) for stem in stems for ending in READERS]
        there = next((file for file in files if file.is_file()), None)
        if there is not None:
            return [open_file(there)], media
        if own.is_dir():
            split = self.facts.split if self.facts.split in SPLIT_WORDS else "train"
            return open_tables(str(own), split)[0], media
        if self.hub is not None and self.download:
            return [hub_table(self.name, *self.hub, True)], base
        names = " or ".join(f"{stem}.json" for stem in stems)
        raise UserError(
            f"benchmark '{self.name}': no rows under '{root}'; put {names} there (or .jsonl, .parquet, .tsv, or a "
            f"folder {self.name}/), from {self.facts.source}, split {self.facts.split}"
        )

    def sample(self, raw: Mapping[str, Any], number: int, place: str, root: str) -> Sample:
        """A row as a sample; media are not opened. Raises BadSample on columns that are missing or of another kind."""
        row = Columns(raw, number, place, self.name, root, None, "pixel")
        asked = self.asked(row)
        plain = {name: value for name, value in plain_columns(raw).items() if not is_encoded(value)}
        columns = {**plain, **asked.columns}
        options = asked.options if asked.shown else {}
        variables = {**columns, "question": asked.question, "options": options, "row": columns}
        text, images = self.placed(compiled(self.template).render(variables), asked)
        messages = [{"role": "user", "content": _content(text)}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": [{"type": "text", "text": self.system}]})
        target = asked.target
        if target is None:
            target = row.target(asked.task, "answer", asked.answer, asked.options)
        sample = row.sample(messages, asked.task, target, images=images, videos=asked.videos)
        return replace(sample, id=f"{row.key}/{number}", coordinates=asked.coordinates, columns=columns)

    def score(self, completion: str, sample: Sample) -> float:
        """The accuracy of the task's reward, or the part that `measures` names."""
        reward = self.reward_of(sample)
        result = reward(completion, sample.target)
        part = self.measures.get(reward.name)
        if part is None:
            return float(reward.accuracy(result))
        value = result.score if part == "score" else result.parts[part]
        return float(value or 0.0)

    def gold(self, sample: Sample) -> str | None:
        """The answer that the task's reward holds for right."""
        reward = self.reward_of(sample)
        reward.check(sample.target)
        return reward.gold(sample.target)

    def weights(self, scored: Sequence[Scored]) -> Mapping[str, Sequence[float]]:
        """See `Weighted.weights`."""
        columns = [answer.sample.columns for answer in scored]
        groups = [(name, by_column(columns, name)) for name in self.by]
        figures = {f"{name}/{value}": weight for name, values in groups for value, weight in values.items()}
        macro = by_column(columns, self.macro) if self.macro else {}
        return {"score": means(list(macro.values()), len(scored)), **figures}

    def cluster(self, sample: Sample) -> str:
        """See `Weighted.cluster`."""
        if self.same is not None:
            return str(sample.columns.get(self.same, sample.id))
        media = [item.get("path") if isinstance(item, Mapping) else item for item in (*sample.videos, *sample.images)]
        return media[0] if media and isinstance(media[0], str) else picture_key(media[0]) if media else sample.id

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Weighted sums of the rows' scores; see `weights`."""
        return figures_of(scored, self.weights(scored))

    @property
    def protocol(self) -> Mapping[str, Any]:
        """See `Described.protocol`."""
        return {
            "template": self.template,
            "system": self.system,
            "extractor": "vision_rewards route",
            "metric": {"params": {name: dict(params) for name, params in self.params.items()}, **self.measures},
        }


class Questions(Rows):
    """The rows of a benchmark's tables."""

    def __init__(self, benchmark: FileBenchmark, tables: Sequence[Table], root: str):
        self.benchmark, self.root = benchmark, root
        self._places = [
            (table, i, number) for table in tables for i in range(len(table)) for number in range(self._parts(table, i))
        ]

    def _parts(self, table: Table, row: int) -> int:
        # Most benchmarks ask every row once; a table of pictures is then not read to know it.
        if type(self.benchmark).parts is FileBenchmark.parts:
            return 1
        raw = table.get(row)
        return self.benchmark.parts(raw) if isinstance(raw, dict) else 1

    def __len__(self) -> int:
        return len(self._places)

    def _row(self, row: int) -> Sample:
        table, local, number = self._places[row]
        raw, place = table.get(local), f"{table.name} row {local}"
        if not isinstance(raw, dict):
            raise BadSample(place, f"the row is {type(raw).__name__}, expected an object with columns")
        return self.benchmark.sample(self.benchmark.part(raw, number), row, place, self.root)


def _content(text: str) -> list[dict[str, Any]]:
    """A prompt with tags as parts of a message; line breaks beside pictures stay, as the benchmark wrote them."""
    pieces = TAG.split(text)
    parts = [{"type": piece} if i % 2 else {"type": "text", "text": piece} for i, piece in enumerate(pieces)]
    return [part for part in parts if part.get("text") != ""]


def picture_key(source: Any) -> str:
    """What tells a picture from others: its path, or the digest of its bytes."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    return source if isinstance(source, str) else hashlib.sha256(source.tobytes()).hexdigest()


def pictures(row: Columns, *columns: str) -> tuple[Any, ...]:
    """The pictures of the columns that are filled, in order: paths as they are written, or encoded bytes."""
    items = [item for column in columns for item in row.items(column)]
    try:
        return tuple(image_source(item) for item in items)
    except ValueError as error:
        raise row.bad(f"a picture {error}") from error


def video(row: Columns, path: str) -> tuple[Any, ...]:
    """The video of a row. Raises BadSample where the path is none."""
    try:
        return (video_path(path),)
    except ValueError as error:
        raise row.bad(f"the video {error}") from error
