"""The files of a LeRobot dataset, v3 and v2.

v3  meta/{info.json, stats.json, tasks.parquet, episodes/chunk-*/file-*.parquet}
    data/chunk-*/file-*.parquet            rows of several episodes
    videos/<feature>/chunk-*/file-*.mp4    frames of several episodes, one after the other
v2  meta/{info.json, tasks.jsonl, episodes.jsonl}
    data/chunk-*/episode_*.parquet, videos/chunk-*/<feature>/episode_*.mp4    one of each per episode

Downloads in a hub cache, whose files are links into `blobs`, are read as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from mmrl.contracts.errors import BadSample, UserError, nearest, shortened
from mmrl.data.media import resolve_media

PICTURES = ("video", "image")
INDICES = ("episode_index", "frame_index", "task_index")
# Episodes per folder of a v2 dataset that does not say.
CHUNKS_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Recorded:
    """An episode: `columns` has the `data/…` and `videos/…` columns of its row in v3's meta/episodes."""

    number: int
    length: int
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class LeRobotFiles:
    """What the metadata say.

    Attributes:
        root: the dataset's folder.
        info: meta/info.json.
        tasks: task_index -> instruction.
        episodes: episode_index -> its entry.
        split: whether each episode has files of its own (v2).
    """

    root: Path
    info: Mapping[str, Any]
    tasks: Mapping[int, str]
    episodes: Mapping[int, Recorded]
    split: bool = False

    @property
    def title(self) -> str:
        """What an error begins with."""
        return f"dataset '{self.root}'"

    @property
    def fps(self) -> float:
        """Steps per second."""
        return float(self.info["fps"])

    @property
    def cameras(self) -> list[str]:
        """Features that are pictures."""
        return [name for name, feature in self.info["features"].items() if feature["dtype"] in PICTURES]

    @property
    def videos(self) -> list[str]:
        """Features whose pictures are frames of videos."""
        return [name for name, feature in self.info["features"].items() if feature["dtype"] == "video"]

    @property
    def numbers(self) -> list[str]:
        """Features that are vectors of floats."""
        return [name for name, feature in self.info["features"].items() if str(feature["dtype"]).startswith("float")]

    def data_file(self, recorded: Recorded) -> Path:
        """The parquet file of an episode. Raises UserError."""
        try:
            return self._file("data_path", recorded, "data", "", self.title)
        except BadSample as error:
            raise UserError(f"{self.title}: {error.reason}") from None

    def video(self, recorded: Recorded, camera: str, where: str) -> tuple[Path, float]:
        """(mp4 file of an episode, the second at which the episode begins in it). Raises BadSample."""
        path = self._file("video_path", recorded, f"videos/{camera}", camera, where)
        return path, 0.0 if self.split else float(recorded.columns[f"videos/{camera}/from_timestamp"])

    def data_name(self, recorded: Recorded) -> str:
        """The parquet file of an episode, relative to the dataset's folder. Raises UserError."""
        try:
            return self._name("data_path", recorded, "data", "", self.title)
        except BadSample as error:
            raise UserError(f"{self.title}: {error.reason}") from None

    def _file(self, template: str, recorded: Recorded, columns: str, camera: str, where: str) -> Path:
        return resolve_media(self._name(template, recorded, columns, camera, where), self.root, where)

    def _name(self, template: str, recorded: Recorded, columns: str, camera: str, where: str) -> str:
        try:
            if self.split:
                chunk = recorded.number // int(self.info.get("chunks_size", CHUNKS_SIZE))
                numbers = {"episode_chunk": chunk, "episode_index": recorded.number}
            else:
                numbers = {name: recorded.columns[f"{columns}/{name}"] for name in ("chunk_index", "file_index")}
            written = self.info[template]
            _check_template(written, {"video_key", *numbers})
            return written.format(video_key=camera, **numbers)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise BadSample(where, f"meta says no {template} of episode {recorded.number}: {error!r}") from None

    def stats(self) -> dict[str, Any]:
        """meta/stats.json, empty where there is none. Raises UserError where it is not JSON."""
        path = self.root / "meta" / "stats.json"
        return _json(path) if path.is_file() else {}


# Six figures with leading zeros, as LeRobot writes them; a width of billions would be made as text.
_NUMBER = re.compile(r"(0?\d{1,2})?d?")


def _check_template(written: str, names: Collection[str]) -> None:
    """Raises ValueError where a path template holds anything but names and plain formats of numbers."""
    for _, name, form, conversion in Formatter().parse(written):
        if name is not None and (name not in names or conversion or not _NUMBER.fullmatch(form or "")):
            raise ValueError(f"'{shortened(written)}' is no template of {', '.join(sorted(names))}")


def read_layout(path: str) -> LeRobotFiles:
    """The metadata of a dataset's folder.

    Raises:
        UserError: no LeRobot dataset, another version than v2 or v3, or files missing or damaged.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        siblings = [p.name for p in root.parent.iterdir()] if root.parent.is_dir() else []
        raise UserError(
            f"dataset '{path}' is no folder.{nearest(root.name, siblings)} Download it first: hf download --repo-type "
            "dataset <name> --local-dir <folder>"
        )
    if not (root / "meta" / "info.json").is_file():
        raise UserError(f"dataset '{path}' has no meta/info.json, so it is no LeRobot dataset")
    info = _json(root / "meta" / "info.json")
    version = str(info.get("codebase_version"))
    if not version.startswith(("v2.", "v3.")):
        raise UserError(f"dataset '{path}' has codebase_version {version}, and only v2 and v3 are read")
    for key in ("fps", "features", "data_path"):
        if key not in info:
            raise UserError(f"dataset '{path}': meta/info.json has no '{key}'; download it again")
    if version.startswith("v2."):
        return LeRobotFiles(root.resolve(), info, _tasks_v2(root), _episodes_v2(root), split=True)
    return LeRobotFiles(root.resolve(), info, _tasks(root), _episodes(root))


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' is not JSON: {error}; download it again") from None
    if not isinstance(content, dict):
        raise UserError(f"'{path}' holds {type(content).__name__}, expected an object; download it again")
    return content


def _parquet(path: Path, columns: Sequence[str] | None = None) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path).read(columns=columns)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"'{path}' cannot be read: {error}; download it again") from None


def _tasks(root: Path) -> dict[int, str]:
    """task_index -> instruction; the text is the table's index, which pandas names `task` or not at all."""
    table = _parquet(root / "meta" / "tasks.parquet")
    text = next((name for name in ("task", "__index_level_0__") if name in table.column_names), None)
    if text is None or "task_index" not in table.column_names:
        raise UserError(f"'{root}/meta/tasks.parquet' has {table.column_names}, expected task and task_index")
    pairs = zip(table["task_index"].to_pylist(), table[text].to_pylist())
    return {int(index): str(task) for index, task in pairs}


def _episodes(root: Path) -> dict[int, Recorded]:
    files = sorted((root / "meta" / "episodes").glob("chunk-*/file-*.parquet"))
    if not files:
        raise UserError(f"dataset '{root}' has no meta/episodes/chunk-*/file-*.parquet; download it again")
    episodes: dict[int, Recorded] = {}
    for path in files:
        names = _parquet_names(path)
        for needed in ("episode_index", "length"):
            if needed not in names:
                raise UserError(f"'{path}' has no column '{needed}'; download it again")
        wanted = [n for n in names if n in ("episode_index", "length") or n.startswith(("data/", "videos/"))]
        for row in _parquet(path, wanted).to_pylist():
            number = int(row["episode_index"])
            episodes[number] = Recorded(number, int(row["length"]), row)
    return episodes


def _tasks_v2(root: Path) -> dict[int, str]:
    lines = _json_lines(root / "meta" / "tasks.jsonl", ("task_index", "task"))
    return {int(line["task_index"]): str(line["task"]) for line in lines}


def _episodes_v2(root: Path) -> dict[int, Recorded]:
    lines = _json_lines(root / "meta" / "episodes.jsonl", ("episode_index", "length"))
    numbers = [(int(line["episode_index"]), int(line["length"])) for line in lines]
    return {number: Recorded(number, length, {}) for number, length in numbers}


def _json_lines(path: Path, needed: Sequence[str]) -> list[dict[str, Any]]:
    """Raises UserError where the file is missing, or a line is no object with these keys."""
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' is not JSON lines: {error}; download it again") from None
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict) or any(key not in line for key in needed):
            raise UserError(f"'{path}' line {number} is no object with {' and '.join(needed)}; download it again")
    return lines


def _parquet_names(path: Path) -> list[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_schema(path).names
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"'{path}' is not parquet: {error}; download it again") from None


def read_steps(layout: LeRobotFiles, path: Path, features: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of one data file: features float32 [N, D], indices int64 [N], `timestamp` float64 [N].

    A cell that is null or has another length than its feature reads as NaN.

    Raises:
        UserError: the file is damaged or lacks a column.
    """
    wanted, names = [*features, *INDICES, "timestamp"], _parquet_names(path)
    for name in wanted:
        if name not in names:
            raise UserError(f"'{path}' has no column '{name}'; it has {', '.join(names)}")
    table = _parquet(path, wanted)
    read: dict[str, np.ndarray] = {name: table[name].to_numpy().astype(np.int64) for name in INDICES}
    read["timestamp"] = table["timestamp"].to_numpy().astype(np.float64)
    for name in features:
        read[name] = _vectors(table[name], int(np.prod(layout.info["features"][name]["shape"])))
    return read


def _vectors(column: Any, size: int) -> np.ndarray:
    import pyarrow
    import pyarrow.compute

    if pyarrow.types.is_floating(column.type):
        return column.to_numpy().astype(np.float32)[:, None]
    lengths = pyarrow.compute.fill_null(pyarrow.compute.list_value_length(column), -1)
    if pyarrow.compute.all(pyarrow.compute.equal(lengths, size)).as_py():
        flat = pyarrow.compute.list_flatten(column).to_numpy()
        return flat.astype(np.float32).reshape(-1, size)
    values = np.full((len(column), size), np.nan, np.float32)
    for row, cell in enumerate(column.to_pylist()):
        if cell is not None and len(cell) == size:
            values[row] = cell
    return values
