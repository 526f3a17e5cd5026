"""The files of a LeRobot v3 dataset.

meta/{info.json, stats.json, tasks.parquet, episodes/chunk-*/file-*.parquet}
data/chunk-*/file-*.parquet            rows of several episodes
videos/<feature>/chunk-*/file-*.mp4    frames of several episodes, one after the other
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmrl.contracts.errors import BadSample, UserError, nearest
from mmrl.data.media import resolve_media

PICTURES = ("video", "image")
INDICES = ("episode_index", "frame_index", "task_index")
CONVERT = (
    "convert it with lerobot 0.4: python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --repo-id=<its name> "
    "(v2.0 first to v2.1, with lerobot 0.1)"
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row of meta/episodes: `columns` has its `data/…` and `videos/…` columns."""

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
    """

    root: Path
    info: Mapping[str, Any]
    tasks: Mapping[int, str]
    episodes: Mapping[int, Recorded]

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
        return path, float(recorded.columns[f"videos/{camera}/from_timestamp"])

    def _file(self, template: str, recorded: Recorded, columns: str, camera: str, where: str) -> Path:
        try:
            name = self.info[template].format(
                video_key=camera,
                chunk_index=recorded.columns[f"{columns}/chunk_index"],
                file_index=recorded.columns[f"{columns}/file_index"],
            )
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise BadSample(where, f"meta says no {template} of episode {recorded.number}: {error!r}") from None
        return resolve_media(name, self.root, where)

    def stats(self) -> dict[str, Any]:
        """meta/stats.json, empty where there is none. Raises UserError where it is not JSON."""
        path = self.root / "meta" / "stats.json"
        return _json(path) if path.is_file() else {}


def read_layout(path: str) -> LeRobotFiles:
    """The metadata of a dataset's folder.

    Raises:
        UserError: no LeRobot dataset, another version than v3, or files missing or damaged.
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
    if not version.startswith("v3."):
        cure = f"; {CONVERT}" if version.startswith("v2") else ""
        raise UserError(f"dataset '{path}' has codebase_version {version}, and only v3 is read{cure}")
    for key in ("fps", "features", "data_path"):
        if key not in info:
            raise UserError(f"dataset '{path}': meta/info.json has no '{key}'; download it again")
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
