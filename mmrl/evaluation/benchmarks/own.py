"""A benchmark of the user's own, written in YAML: where its rows lie, its columns, its prompt, what scores it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt, model_validator

import vision_rewards
from mmrl.contracts.benchmark import Facts
from mmrl.contracts.errors import ConfigError
from mmrl.data.columns import Columns
from mmrl.data.readers import Table, open_file, open_tables
from mmrl.evaluation.benchmarks.files import Asked, FileBenchmark, pictures, video
from mmrl.evaluation.benchmarks.templates import CHOICE, SHORT
from mmrl.recipe.base import Settings
from mmrl.recipe.reading import read_yaml, validate
from vision_rewards.plain import read_options, structure_of

COLUMNS = ("question", "answer", "options", "images", "videos")


class OwnSettings(Settings):
    """A benchmark in YAML."""

    rows: str = Field(description="file of its rows, or a folder; from the YAML file's folder")
    task: str = Field(description="what an answer is, as the rewards name it: it decides extractor and metric")
    columns: dict[str, str | list[str]] = Field({}, description="question, answer, options, images, videos: columns")
    root: str | None = Field(None, description="folder that media paths start from; default: that of the rows")
    about: str = "a benchmark of one's own"
    template: str | None = Field(None, description="Jinja over question, options and the row's columns")
    system: str | None = None
    params: dict[str, dict[str, Any]] = Field({}, description="reward name -> its parameters")
    measure: str | None = Field(None, description="the part of the reward that is the score; default: its accuracy")
    by: list[str] = Field([], description="columns that figures are broken down by")
    macro: str | None = Field(None, description="score is the mean of the means over this column's values")
    same: str | None = Field(None, description="the column of what rows share; default: their picture or video")
    judged: bool = Field(False, description="a judge, where there is one, grades answers that are not wholly right")
    max_new_tokens: PositiveInt = 1024
    coordinates: str = Field("pixel", description="how boxes in answers are written: pixel, norm1000 or norm1")

    @model_validator(mode="after")
    def _known(self) -> OwnSettings:
        for column in self.columns:
            if column not in COLUMNS:
                raise ValueError(f"columns: '{column}' is none of {', '.join(COLUMNS)}")
        try:
            vision_rewards.get_reward("route", params=self.params).for_task(self.task)
        except ValueError as error:
            raise ValueError(f"task, params: {error}") from None
        return self


def read_settings(path: Path) -> OwnSettings:
    """The settings in a YAML file. Raises ConfigError, which names it, in one line."""
    raw = read_yaml(path)
    try:
        return validate(OwnSettings, raw)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


class OwnBenchmark(FileBenchmark):
    """The benchmark of a YAML file. Raises ConfigError where that is wrong, in one line."""

    def __init__(self, path: Path):
        settings = read_settings(path)
        self.folder, self.settings, self.name = path.parent, settings, path.stem  # type: ignore[misc]
        choice = settings.task.replace("_", " ") in vision_rewards.list_rewards()["multiple_choice"].tasks
        values = {
            "about": settings.about,
            "template": settings.template if settings.template is not None else CHOICE if choice else SHORT,
            "system": settings.system,
            "params": settings.params,
            "by": tuple(settings.by),
            "macro": settings.macro,
            "same": settings.same,
            "judged": (settings.task,) if settings.judged else (),
            "limit": settings.max_new_tokens,
            "facts": Facts(str(path), "all", None, f"reward of task '{settings.task}'", "your own", settings.rows),
        }
        for name, value in values.items():
            setattr(self, name, value)
        super().__init__()
        reward = self._reward.for_task(settings.task)
        if settings.measure is not None:
            parts = (*reward.part_defaults, "score")
            if settings.measure not in parts:
                raise ConfigError(f"{path}: measure '{settings.measure}' is none of {', '.join(parts)}")
            self.measures = {reward.name: settings.measure}  # type: ignore[misc]

    def _find(self, root: str | None) -> tuple[list[Table], Path]:
        path = self.folder / self.settings.rows
        tables = [open_file(path)] if path.is_file() else open_tables(str(path), "train")[0]
        media = self.folder / self.settings.root if self.settings.root else path if path.is_dir() else path.parent
        return tables, media

    def asked(self, row: Columns) -> Asked:
        """The columns that the YAML file names, or that are called so."""
        options = self._options(row)
        return Asked(
            row.text(self._column("question")),
            self.settings.task,
            row.any(self._column("answer")),
            options,
            images=pictures(row, *self._columns("images", row)),
            videos=tuple(path for column in self._columns("videos", row) for path in self._videos(row, column)),
            coordinates=self.settings.coordinates,
        )

    def _options(self, row: Columns) -> Mapping[str, str]:
        column = self._column("options")
        if not row.has(column):
            return {}
        try:
            return read_options(structure_of(row.any(column)))
        except ValueError as error:
            raise row.bad(f"column '{column}': {error}") from error

    @staticmethod
    def _videos(row: Columns, column: str) -> tuple[Any, ...]:
        return tuple(path for item in row.items(column) for path in video(row, item))

    def _column(self, name: str) -> str:
        column = self.settings.columns.get(name, name)
        if not isinstance(column, str):
            raise ConfigError(f"benchmark '{self.name}': columns: {name} takes one column, not {column}")
        return column

    def _columns(self, name: str, row: Columns) -> list[str]:
        given = self.settings.columns.get(name)
        if given is None:
            return [column for column in (name, name.removesuffix("s")) if row.has(column)]
        return [given] if isinstance(given, str) else given
