"""Rows that are handed over from Python: a `datasets.Dataset`, a list of mappings, or samples."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from mmrl.contracts.errors import UserError, unknown
from mmrl.contracts.types import Sample
from mmrl.data.readers import FileDataset
from mmrl.data.tables import ArrowTable, ListTable
from mmrl.recipe.data import DatasetConfig, FileData

# What a file's rows are read by; the rest of its settings is about the file, or about a mixture.
OPTIONS = tuple(sorted(FileData.model_fields.keys() - DatasetConfig.model_fields.keys() - {"type", "path", "split"}))


def rows(data: Any, *, name: str = "data", **options: Any) -> Sequence[Sample]:
    """Samples of rows in any of the formats of files.

    Args:
        data: a `datasets.Dataset` or a list of mappings, whose columns are those of a file (docs/data.md).
        name: of the dataset, in ids, logs and errors.
        options: those of data of type `file` that are about its rows: `format`, `task`, `turns` and others;
            `root`, the folder of media paths, is the working folder where it is not given.

    Raises:
        UserError: neither of them, no rows, unknown options, or columns that fit no format.
    """
    if hasattr(data, "with_format") and hasattr(data, "column_names") and hasattr(data, "__len__"):
        if isinstance(data, Mapping):
            raise UserError(f"'{name}' is a dictionary of splits, {', '.join(data)}; hand over one of them")
        table: Any = ArrowTable(name, data.with_format("arrow"), data.column_names)
    elif isinstance(data, list | tuple):
        table = ListTable(name, list(data))
    else:
        raise _refusal(data, name)
    for key in options:
        if key not in OPTIONS:
            raise UserError(f"rows: {unknown('option', key, OPTIONS)}")
    given = {"root": os.getcwd(), **options}
    try:
        config = FileData(type="file", path=name, name=name, **given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"rows: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return FileDataset(config, [table])


def as_samples(data: Any, name: str) -> Sequence[Sample]:
    """Data as `mmrl.train` takes it: samples as they are, anything else by `rows`.

    Raises:
        UserError: as `rows`.
    """
    plain = isinstance(data, list | tuple)
    if (plain and data and not isinstance(data[0], Sample)) or hasattr(data, "with_format"):
        return rows(data, name=name)
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or isinstance(data, str | Mapping):
        raise _refusal(data, name)
    return data


def _refusal(data: Any, name: str) -> UserError:
    return UserError(f"'{name}' is {type(data).__name__}; hand over a datasets.Dataset, a list of mappings, or Samples")
