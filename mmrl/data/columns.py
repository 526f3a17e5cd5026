"""One row of a dataset's file: its columns, read and checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

import vision_rewards
from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample
from mmrl.data.marks import miscounted
from mmrl.data.media import resolve_media
from mmrl.data.targets import Shape, normalise_task, target_of
from mmrl.data.videos import foreign_key
from vision_rewards.plain import read_options


@dataclass(frozen=True, slots=True)
class Columns:
    """One row and what its dataset says about it; every accessor raises BadSample with the column's name.

    Args:
        values: the columns.
        number: the row's number in the dataset.
        place: file and row, for errors.
        dataset: the dataset's name.
        root: the folder of media paths; None refuses paths.
        task: task of rows that name none.
        coordinates: how boxes are written where the row does not say.
        shape: makes targets of plain answers.
    """

    values: Mapping[str, Any]
    number: int
    place: str
    dataset: str
    root: str | None
    task: str | None
    coordinates: str
    shape: Shape = vision_rewards.target_of

    @property
    def key(self) -> str:
        """The row's own id, else its number."""
        for column in ("id", "problem_id"):
            value = self.values.get(column)
            if isinstance(value, (str, int)) and str(value).strip():
                return str(value)
        return str(self.number)

    @property
    def where(self) -> str:
        """Where an error message points to."""
        return f"{self.place} (id {self.key:.80})"

    def bad(self, reason: str) -> BadSample:
        """An error about this row."""
        return BadSample(self.where, reason)

    def has(self, column: str) -> bool:
        """Whether the column holds something: null, blank text and empty lists do not count."""
        value = self.values.get(column)
        return not (value is None or (isinstance(value, str) and not value.strip()) or value == [] or value == {})

    def any(self, column: str) -> Any:
        """The column's value, which must be there."""
        if column not in self.values or self.values[column] is None:
            raise self.bad(f"column '{column}' is missing; the row has {', '.join(map(str, self.values)) or 'none'}")
        return self.values[column]

    def text(self, column: str) -> str:
        """The column as text that is not blank."""
        value = self.any(column)
        if not isinstance(value, str):
            raise self.bad(f"column '{column}' is {type(value).__name__}, expected text")
        if not value.strip():
            raise self.bad(f"column '{column}' is empty")
        return value

    def items(self, column: str) -> list[Any]:
        """The column as a list; one value is a list of one, an absent column an empty list."""
        if not self.has(column):
            return []
        value = self.values[column]
        return list(value) if isinstance(value, (list, tuple)) else [value]

    def images(self, column: str) -> tuple[Any, ...]:
        """Image sources of the column: bytes, or paths that exist under the root."""
        return tuple(self._image(item, column) for item in self.items(column))

    def _image(self, item: Any, column: str) -> Any:
        if isinstance(item, Mapping):
            item = item.get("bytes") or item.get("path")
        if isinstance(item, bytes | Image):
            return item
        return self._path(item, column, "an image")

    def videos(self, column: str) -> tuple[Any, ...]:
        """Videos of the column: paths of files or folders that exist under the root, or clips of such."""
        return tuple(self._video(item, column) for item in self.items(column))

    def _video(self, item: Any, column: str) -> Any:
        if isinstance(item, (list, tuple)):
            return [self._path(frame, column, "an image") for frame in item]
        if not isinstance(item, Mapping):
            return self._path(item, column, "a video", folders=True)
        path = item.get("path")
        if isinstance(path, Mapping):
            raise self.bad(f"column '{column}': the path of a clip is a path or a list of images")
        clip = {key: value for key, value in item.items() if key != "path" and value is not None}
        if problem := foreign_key(clip):
            raise self.bad(f"column '{column}': {problem}")
        return {"path": self._video(path, column), **clip} if clip else self._video(path, column)

    def _path(self, item: Any, column: str, what: str, folders: bool = False) -> str:
        if not isinstance(item, str) or not item:
            raise self.bad(f"column '{column}' holds {type(item).__name__}, not {what}")
        if self.root is None:
            raise self.bad(f"column '{column}' has the path '{item}', and the dataset has no folder; set its `root`")
        try:
            resolve_media(item, self.root, self.where, folders)
        except BadSample as error:
            raise BadSample(self.where, f"column '{column}': {error.reason}", path=error.path) from error
        return item

    def task_of(self, *columns: str) -> str:
        """The row's task from the first of `columns` that names one, else the dataset's."""
        named = [self.text(column) for column in columns if self.has(column)] or ([self.task] if self.task else [])
        task = normalise_task(named[0]) if named else ""
        if not task:
            raise self.bad(f"no task: fill column '{columns[0]}', or set `task` of the dataset")
        return task

    def target(
        self,
        task: str,
        column: str,
        value: Any,
        options: Mapping[str, str] | None = None,
        *,
        demonstrated: bool = False,
    ) -> dict[str, Any]:
        """What the column `target` holds, where it is a mapping, else `target_of`, with errors that name the column."""
        written = self.written_target()
        if isinstance(written, Mapping) and written:
            return dict(written)
        try:
            return target_of(task, value, options, demonstrated=demonstrated, shape=self.shape)
        except (ValueError, RecursionError) as error:
            raise self.bad(f"column '{column}': {error} (task {task})") from error

    def written_target(self) -> Any:
        """The column `target`: a mapping, also as JSON text, without its nulls; or whatever else stands there."""
        target = self.values.get("target")
        if isinstance(target, str) and target.strip().startswith("{"):
            try:
                target = json.loads(target)
            except (ValueError, RecursionError) as error:
                raise self.bad(f"column 'target' is not JSON: {error}") from error
        if isinstance(target, Mapping):
            # Parquet writes every key of a struct into every row.
            return {str(key): value for key, value in target.items() if value is not None}
        return target

    def options(self, column: str) -> dict[str, str]:
        """`read_options`, with errors that name the column."""
        try:
            return read_options(self.values.get(column))
        except ValueError as error:
            raise self.bad(f"column '{column}': {error}") from error

    def sample(
        self,
        messages: Iterable[Mapping[str, Any]],
        task: str,
        target: Mapping[str, Any],
        *,
        images: tuple[Any, ...] = (),
        videos: tuple[str, ...] = (),
        demonstration: str | None = None,
        coordinates: str | None = None,
        own_id: bool = False,
    ) -> Sample:
        """The sample, once its messages are found to be complete.

        Args:
            own_id: the row's id is unique; otherwise the row number is put behind it.
        """
        messages = tuple(messages)
        self._check(messages, demonstration, len(images), len(videos))
        plain = own_id or self.key == str(self.number)
        return Sample(
            id=self.key if plain else f"{self.key}/{self.number}",
            messages=messages,
            task=task,
            target=target,
            images=images,
            videos=videos,
            demonstration=demonstration,
            dataset=self.dataset,
            row=self.number,
            root=self.root,
            coordinates=coordinates or self.coordinates,
        )

    def _check(self, messages: tuple[Mapping[str, Any], ...], answer: str | None, images: int, videos: int) -> None:
        parts = [part for message in messages for part in message["content"]]
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        if not text.strip():
            raise self.bad("the prompt is empty: it holds no text")
        try:
            (text + (answer or "")).encode()
        except UnicodeEncodeError as error:
            raise self.bad(f"the text is not valid Unicode: {error.reason}") from error
        if problem := miscounted(messages, images, videos):
            raise self.bad(problem)
