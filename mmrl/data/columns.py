"""One row of a dataset's file: its columns, read and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import vision_rewards
from mmrl.contracts.errors import BadSample, shortened
from mmrl.contracts.types import Sample
from mmrl.data.marks import miscounted
from mmrl.data.media import resolve_media
from mmrl.data.references import image_source, is_encoded, media_in, video_path
from mmrl.data.targets import Shape, normalise_task, target_of
from mmrl.data.videos import foreign_key
from vision_rewards.plain import read_options

# The key of a part of a message that holds its own picture or video, until the sample is made.
SOURCE = "source"
MEDIA = {"image": ("images", "image"), "video": ("videos", "video")}
_CLIP_NAMES = {"video_start": "start", "video_end": "end"}
_CLIP_SOURCES = ("path", "video", "video_url", "url", "type", "bytes")
TAG = re.compile(r"<(image|video)>")


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
        names: what the file calls the columns that its dataset has given other names.
        read: names of the columns that were looked at, which reading a row adds to.
    """

    values: Mapping[str, Any]
    number: int
    place: str
    dataset: str
    root: str | None
    task: str | None
    coordinates: str
    shape: Shape = vision_rewards.target_of
    names: Mapping[str, str] = field(default_factory=dict)
    read: set[str] = field(default_factory=set, compare=False)

    def called(self, column: str) -> str:
        """The column's name in the file."""
        return self.names.get(column, column)

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
        self.read.add(column)
        if column not in self.values or self.values[column] is None:
            there = ", ".join(self.called(str(name)) for name in self.values) or "none"
            raise self.bad(f"column '{self.called(column)}' is missing; the row has {there}")
        return self.values[column]

    def text(self, column: str) -> str:
        """The column as text that is not blank."""
        value = self.any(column)
        if not isinstance(value, str):
            raise self.bad(f"column '{self.called(column)}' is {type(value).__name__}, expected text")
        if not value.strip():
            raise self.bad(f"column '{self.called(column)}' is empty")
        return value

    def items(self, column: str) -> list[Any]:
        """The column as a list; one value is a list of one, an absent column an empty list."""
        self.read.add(column)
        if not self.has(column):
            return []
        value = self.values[column]
        return list(value) if isinstance(value, (list, tuple)) else [value]

    def media(self, kind: str) -> tuple[Any, ...]:
        """Images or videos of the columns that all formats have for them: `images` or `image`, `videos` or `video`."""
        filled = [column for column in MEDIA[kind] if self.has(column)]
        self.read.update(MEDIA[kind])
        if len(filled) > 1:
            both = " and ".join(f"'{self.called(column)}'" for column in filled)
            raise self.bad(f"the columns {both} both hold {kind}s; name the one that is meant in `columns`")
        read = self.images if kind == "image" else self.videos
        return read(filled[0]) if filled else ()

    def images(self, column: str) -> tuple[Any, ...]:
        """Image sources of the column: bytes, decoded pictures, or paths that exist under the root."""
        place = f"column '{self.called(column)}'"
        return tuple(self._image(item, place) for item in self.items(column))

    def _image(self, item: Any, place: str) -> Any:
        try:
            source = image_source(item)
        except ValueError as error:
            raise self.bad(f"{place} {error}") from error
        return self._path(source, place) if isinstance(source, str) else source

    def videos(self, column: str) -> tuple[Any, ...]:
        """Videos of the column: paths of files or folders that exist under the root, or clips of such."""
        place = f"column '{self.called(column)}'"
        return tuple(self._video(item, place) for item in self.items(column))

    def _video(self, item: Any, place: str) -> Any:
        if isinstance(item, (list, tuple)):
            return [self._image(frame, place) for frame in item]
        clip = {}
        if isinstance(item, Mapping):
            held = item.get("path") if item.get("path") is not None else item.get("video")
            if isinstance(held, Mapping):
                raise self.bad(f"{place}: the path of a clip is a path or a list of images")
            settings = {key: value for key, value in item.items() if key not in _CLIP_SOURCES and value is not None}
            clip = {_CLIP_NAMES.get(key, key): value for key, value in settings.items()}
            if problem := foreign_key(clip):
                raise self.bad(f"{place}: {problem}")
            if isinstance(held, (list, tuple)):
                item = [self._image(frame, place) for frame in held]
        if not isinstance(item, list):
            try:
                item = self._path(video_path(item), place, folders=True)
            except ValueError as error:
                raise self.bad(f"{place} {error}") from error
        return {"path": item, **clip} if clip else item

    def part_source(self, kind: str, part: Mapping[str, Any], place: str) -> Any:
        """The picture or video that stands in a part of a message; None where the part only marks its place."""
        held = {key: value for key, value in part.items() if key != "detail"}
        if not held:
            return None
        return self._image(held, place) if kind == "image" else self._video(held, place)

    def _path(self, item: str, place: str, folders: bool = False) -> str:
        if self.root is None:
            raise self.bad(f"{place} has the path '{shortened(item)}', and the dataset has no folder; set its `root`")
        try:
            resolve_media(item, self.root, self.where, folders)
        except BadSample as error:
            raise BadSample(self.where, f"{place}: {error.reason}", path=error.path) from error
        return item

    def refuse_unread(self, sample: Sample) -> None:
        """Raises BadSample where a column that was not looked at holds a picture or video: the sample would be blind
        to it.

        A name of a file beside media that were read is taken for a note, unless that file is there too.
        """
        for column, value in self.values.items():
            if column in self.read or (kind := media_in(value)) is None:
                continue
            there = sample.images if kind == "image" else sample.videos
            if there and not is_encoded(value) and not self._another_file(value, (*sample.images, *sample.videos)):
                continue
            key = MEDIA[kind][0]
            raise self.bad(
                f"column '{self.called(str(column))}' looks like {kind}s and is not read; set `columns: {{{key}: "
                f"{self.called(str(column))}}}` of the dataset, or put it into `ignore`"
            )

    def _another_file(self, value: Any, read: tuple[Any, ...]) -> bool:
        """Whether a name, or one of a list, is a file under the root that is not among those that were read."""
        if self.root is None:
            return False
        paths = [item.get("path") if isinstance(item, Mapping) else item for item in read]
        known = {Path(self.root, path).resolve() for path in paths if isinstance(path, str)}
        for name in value if isinstance(value, (list, tuple)) else [value]:
            try:
                if isinstance(name, str) and resolve_media(name, self.root, self.where, folders=True) not in known:
                    return True
            except BadSample:
                continue
        return False

    def task_of(self, *columns: str) -> str:
        """The row's task from the first of `columns` that names one, else the dataset's."""
        named = [self.text(column) for column in columns if self.has(column)] or ([self.task] if self.task else [])
        task = normalise_task(named[0]) if named else ""
        if not task:
            raise self.bad(f"no task: fill column '{self.called(columns[0])}', or set `task` of the dataset")
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
            raise self.bad(f"column '{self.called(column)}': {error} (task {task})") from error

    def written_target(self) -> Any:
        """The column `target`: a mapping, also as JSON text, without its nulls; or whatever else stands there."""
        target = self.values.get("target")
        if isinstance(target, str) and target.strip().startswith("{"):
            try:
                target = json.loads(target)
            except (ValueError, RecursionError) as error:
                raise self.bad(f"column '{self.called('target')}' is not JSON: {error}") from error
        if isinstance(target, Mapping):
            # Parquet writes every key of a struct into every row.
            return {str(key): value for key, value in target.items() if value is not None}
        return target

    def options(self, column: str) -> dict[str, str]:
        """`read_options`, with errors that name the column."""
        try:
            return read_options(self.values.get(column))
        except ValueError as error:
            raise self.bad(f"column '{self.called(column)}': {error}") from error

    def sample(
        self,
        messages: Iterable[Mapping[str, Any]],
        task: str,
        target: Mapping[str, Any],
        *,
        images: tuple[Any, ...] = (),
        videos: tuple[Any, ...] = (),
        demonstration: str | None = None,
        rejected: str | None = None,
        coordinates: str | None = None,
        own_id: bool = False,
    ) -> Sample:
        """The sample, once its messages are found to be complete.

        Args:
            own_id: the row's id is unique; otherwise the row number is put behind it.
        """
        messages, images, videos = self._placed(messages, images, videos)
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
            rejected=rejected,
            dataset=self.dataset,
            row=self.number,
            root=self.root,
            coordinates=coordinates or self.coordinates,
        )

    def _placed(
        self, messages: Iterable[Mapping[str, Any]], images: tuple[Any, ...], videos: tuple[Any, ...]
    ) -> tuple[tuple[Mapping[str, Any], ...], tuple[Any, ...], tuple[Any, ...]]:
        """Messages whose parts are marks alone, and the media in the order of the marks.

        Media of a row that marks no place at all come first in its first question.
        """
        messages = [dict(message) for message in messages]
        marked = any(part["type"] != "text" for message in messages for part in message["content"])
        first = next((message for message in messages if message["role"] == "user"), None)
        if (images or videos) and not marked and first is not None and not TAG.search(_text(first)):
            marks = [{"type": "image"}] * len(images) + [{"type": "video"}] * len(videos)
            first["content"] = [*marks, *first["content"]]
        ordered: dict[str, list[Any]] = {"image": [], "video": []}
        left = {"image": list(images), "video": list(videos)}
        for message in messages:
            for part in message["content"]:
                kind = part["type"]
                if kind != "text" and SOURCE in part:
                    ordered[kind].append(part[SOURCE])
                elif kind != "text" and left[kind]:
                    ordered[kind].append(left[kind].pop(0))
            message["content"] = [{key: part[key] for key in part if key != SOURCE} for part in message["content"]]
        # Left over, they are counted as wrong.
        return tuple(messages), (*ordered["image"], *left["image"]), (*ordered["video"], *left["video"])

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
            tags = "; a tag that is only text goes into a text part of a list" if not images + videos else ""
            raise self.bad(problem + tags)


def _text(message: Mapping[str, Any]) -> str:
    return "".join(part["text"] for part in message["content"] if part["type"] == "text")
