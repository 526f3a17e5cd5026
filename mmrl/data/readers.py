"""Dataset files and `datasets` names as sequences of samples."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import vision_rewards
from mmrl.contracts.errors import BadSample, UserError, first_line, nearest, unknown
from mmrl.contracts.types import Sample
from mmrl.data.columns import Columns
from mmrl.data.formats import find_format
from mmrl.data.llamafactory import Entry, info_file, read_entry
from mmrl.data.prompting import prompted
from mmrl.data.renaming import check_sources, renamed, sources_of
from mmrl.data.rows import Rows
from mmrl.data.tables import ArrowTable, JsonlTable, ListTable, Table
from mmrl.data.targets import Shape
from mmrl.data.tsv import read_tsv
from mmrl.data.turns import settle
from mmrl.data.unchanged import MediaStates
from mmrl.recipe.data import FileData
from mmrl.recipe.formats import AUTO, FORMATS

# Parquet above this uncompressed size is converted once to memory-mapped Arrow by `datasets`.
PARQUET_IN_MEMORY = 2 * 2**30
SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("validation", "valid", "val", "dev"), "validation"
)
# Files that are read as a whole, whatever is in them.
MOST_FILE_BYTES = 2**33


class FileDataset(Rows):
    """Samples of jsonl, json or parquet files, of a folder of them, or of a `datasets` name or folder.

    The columns are checked when it is opened, and each row when it is read.

    Args:
        config: path, format, split, columns, prompts, media root, and defaults for the task and the coordinates.
        tables: its rows; None: those at its path.

    Raises:
        UserError: no such file, an unknown kind of file, no rows, or columns that fit no format.
        BadSample: on access to a row: a missing or ill-typed column, tags that do not match the media, a media file
            that is missing or lies outside the root, media in a column that is not read, an empty prompt.
    """

    def __init__(self, config: FileData, tables: list[Table] | None = None):
        self.config = config
        self.shape: Shape = vision_rewards.target_of
        self._media = MediaStates()
        self.name = config.name or Path(config.path).name
        source = open_source(config) if tables is None else Source(tables, None)
        self._tables, self._entry = source.tables, source.entry
        self._ends = list(accumulate(len(table) for table in self._tables))
        if not self._ends or self._ends[-1] == 0:
            raise UserError(f"dataset '{config.path}' has no rows")
        self.root = config.root or source.root
        if config.root and not Path(config.root).is_dir():
            raise UserError(f"dataset '{config.path}': root '{config.root}' is not a folder")
        self._choose_format(set().union(*(table.columns() for table in self._tables)))

    def _choose_format(self, there: set[str]) -> None:
        """Settles how rows are read, and refuses columns that fit nothing."""
        config, place = self.config, f"dataset '{self.config.path}'"
        check_sources(config.columns, there, place)
        check_sources({name: name for name in config.ignore}, there, f"{place}: ignore")
        entry = dict(self._entry.columns) if self._entry else {}
        self._columns: dict[str, Any] = {
            **{key: name for key, name in entry.items() if name in there},
            **config.columns,
        }
        left = there - {*sources_of(self._columns), *config.ignore}
        columns = left | self._columns.keys()
        asked = config.format if config.format != AUTO or not self._entry else self._entry.format
        self.format = find_format(asked, columns, place, mapped=bool(config.columns))
        self._form = form = FORMATS.get(self.format)
        if form.columns and (foreign := sorted(config.columns.keys() - set(form.columns))):
            raise UserError(f"{place}: columns: {unknown(f'column of format {self.format}', foreign[0], form.columns)}")
        if config.task is None and not form.plain and not set(form.tasks) & columns:
            raise UserError(f"{place}: rows of format '{self.format}' name no task; set `task`, e.g. task: numeric")
        # What the file calls each column, for errors.
        self._names = {
            column: name if isinstance(name, str) else ", ".join(name) for column, name in self._columns.items()
        }

    def __len__(self) -> int:
        return self._ends[-1]

    def shape_targets(self, shape: Shape) -> None:
        self.shape = shape

    def _row(self, row: int) -> Sample:
        index = bisect_right(self._ends, row)
        table = self._tables[index]
        local = row - (self._ends[index - 1] if index else 0)
        raw = table.get(local)
        place = f"{table.name} row {local}"
        if not isinstance(raw, dict):
            raise BadSample(place, f"the row is {type(raw).__name__}, expected an object with columns")
        sample = self._sample(raw, row, place)
        self._media.check(sample)
        return sample

    def _sample(self, raw: dict[str, Any], row: int, place: str) -> Sample:
        config, form = self.config, self._form
        values = renamed({key: value for key, value in raw.items() if key not in config.ignore}, self._columns)
        if self._entry is not None:
            values = self._entry.turned(values)
        parsed = Columns(
            values, row, place, self.name, self.root, config.task, config.coordinates, self.shape, names=self._names
        )
        try:
            sample = form.read(parsed)
            parsed.refuse_unread(sample)
            known = {**raw, **values}
            if config.system is not None or config.prompt_template is not None:
                sample = prompted(sample, known, config.system, config.prompt_template)
            return replace(settle(sample, config.turns), columns=plain_columns(known))
        except BadSample as error:
            error.task = form.known_task(parsed)
            raise


def plain_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """A row's columns of text, numbers, lists and mappings; nulls, and those that hold bytes or pictures, left out."""
    return {str(name): value for name, value in values.items() if value is not None and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


@dataclass(frozen=True, slots=True)
class Source:
    """What a dataset's path leads to.

    Attributes:
        tables: its raw rows.
        root: the folder that media paths start from; None: there is none.
        entry: what LLaMA-Factory's dataset_info.json says of it.
    """

    tables: list[Table]
    root: str | None
    entry: Entry | None = None


def open_source(config: FileData) -> Source:
    """Opens what a dataset's path leads to.

    Raises:
        UserError: nothing there, nothing that can be read, or a `split` or `subset` that is not read there.
    """
    local = Path(config.path).expanduser()
    info = info_file(local)
    if info is None:
        return Source(*open_tables(config.path, config.split, config.subset))
    entry = read_entry(info, config.subset)
    tables, root = open_tables(entry.path, entry.split or config.split, entry.subset)
    # Its paths start from the folder of the dataset_info.json, whatever folder the file itself is in.
    return Source(tables, str(info.parent) if root is not None else None, entry)


def open_tables(path: str, split: str, subset: str | None = None) -> tuple[list[Table], str | None]:
    """The raw tables of a dataset's path and the folder that its media paths start from.

    Raises:
        UserError: nothing there, nothing that can be read, or a `split` or `subset` that is not read there.
    """
    local = Path(path).expanduser()
    if subset is not None and local.exists():
        raise UserError(
            f"dataset '{path}': subset '{subset}' is not read: only names on the hub have one; leave it out"
        )
    if local.is_file():
        _check_split(local, split)
        return [open_file(local)], str(local.parent)
    if local.is_dir():
        if (local / "dataset_dict.json").exists() or (local / "state.json").exists():
            return [_load_datasets(path, split, saved=True)], str(local)
        return [open_file(file) for file in _folder_files(local, split)], str(local)
    parent = local.parent.is_dir() and local.parent != Path(".")
    looks_local = local.suffix.lower() in READERS or path.startswith((".", "/", "~")) or path.count("/") > 1 or parent
    if looks_local:
        siblings = [p.name for p in local.parent.iterdir()] if local.parent.is_dir() else []
        raise UserError(f"dataset file '{path}' does not exist.{nearest(local.name, siblings)}")
    return [_load_datasets(path, split, saved=False, subset=subset)], None


def _check_split(path: Path, split: str) -> None:
    """Raises UserError where `split` asks for another than a file holds."""
    wanted, named = _split_word(split), _split_of(Path(path.name), Path())
    if wanted not in ("train", named):
        raise UserError(f"dataset '{path}': split '{split}' is not read: it is one file; leave it out")


def _split_word(split: str) -> str:
    return SPLIT_WORDS.get(split.lower(), split.lower())


def open_file(path: Path) -> Table:
    """One file as a table.

    Raises:
        UserError: an unknown extension, or a file that cannot be parsed.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"dataset file '{path}': unknown extension '{path.suffix}'; allowed: {', '.join(READERS)}")
    try:
        if path.suffix.lower() in WHOLE and path.stat().st_size > MOST_FILE_BYTES:
            raise UserError(
                f"dataset file '{path}' has {path.stat().st_size:,} bytes and is read as a whole, at most "
                f"{MOST_FILE_BYTES:,}; write it as .jsonl or .parquet"
            )
        return reader(path)
    except OSError as error:
        raise UserError(f"dataset file '{path}' cannot be read: {error}") from error


def _open_json(path: Path) -> Table:
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"dataset file '{path}' is not JSON: {error}") from error
    if isinstance(content, dict):
        lists = [key for key, value in content.items() if isinstance(value, list)]
        if len(lists) != 1:
            raise UserError(
                f"dataset file '{path}' holds an object with {len(lists)} lists, expected one; "
                f"keys: {', '.join(list(content)[:20])}"
            )
        content = content[lists[0]]
    if not isinstance(content, list):
        raise UserError(f"dataset file '{path}' holds {type(content).__name__}, expected a list of rows")
    return ListTable(path.name, content)


def _open_parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_metadata(path)
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        if size <= PARQUET_IN_MEMORY:
            table = pyarrow.parquet.ParquetFile(path).read()
            return ArrowTable(path.name, table, table.column_names)
    except pyarrow.ArrowException as error:
        raise UserError(f"dataset file '{path}' is not parquet: {error}") from error
    from datasets import load_dataset

    data = load_dataset("parquet", data_files=[str(path)], split="train")
    return ArrowTable(path.name, data.with_format("arrow"), data.column_names)


def _open_tsv(path: Path) -> Table:
    return ListTable(path.name, read_tsv(path))


WHOLE = (".json", ".tsv")
READERS = {".jsonl": JsonlTable, ".json": _open_json, ".parquet": _open_parquet, ".tsv": _open_tsv}


def _folder_files(folder: Path, split: str) -> list[Path]:
    """Data files of a folder, sorted; where file names carry split words, those of `split` only."""
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in READERS
        and path.is_file()
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    )
    kinds = sorted({path.suffix.lower() for path in paths})
    if not paths:
        raise UserError(f"dataset folder '{folder}' has no {', '.join(READERS)} files")
    if len(kinds) > 1:
        raise UserError(f"dataset folder '{folder}' mixes {' and '.join(kinds)} files; name one file")
    splits = {path: _split_of(path, folder) for path in paths}
    wanted = _split_word(split)
    if not any(splits.values()):
        if wanted != "train":
            raise UserError(
                f"dataset folder '{folder}': split '{split}' is not read: no file there names one; leave it out"
            )
        return paths
    chosen = [path for path, name in splits.items() if name == wanted]
    if not chosen:
        there = sorted({name for name in splits.values() if name})
        raise UserError(f"dataset folder '{folder}' has no files of split '{split}'; splits there: {', '.join(there)}")
    return chosen


def _split_of(path: Path, folder: Path) -> str | None:
    words = re.split(r"[^a-z]+", str(path.relative_to(folder).with_suffix("")).lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)


def _load_datasets(path: str, split: str, *, saved: bool, subset: str | None = None) -> Table:
    """A `datasets` name, or a folder written by `save_to_disk`."""
    import datasets

    try:
        data = datasets.load_from_disk(path) if saved else datasets.load_dataset(path, subset, split=split)
    # Every backend of `datasets` (hub, fsspec, builders) has exceptions of its own.
    except Exception as error:
        reason = first_line(error)[:300]
        what = "a folder of `datasets`" if saved else "no local file, and as a `datasets` name"
        raise UserError(f"dataset '{path}' is {what} but cannot be loaded (split '{split}'): {reason}") from error
    if isinstance(data, datasets.DatasetDict):
        if split not in data:
            raise UserError(f"dataset '{path}' has no split '{split}'; it has {', '.join(data)}")
        data = data[split]
    return ArrowTable(path, data.with_format("arrow"), data.column_names)
