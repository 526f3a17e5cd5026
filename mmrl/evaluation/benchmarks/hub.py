"""Rows under a name of the hub: from the cache of `datasets`, or from the network where that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError, first_line
from mmrl.data.readers import Table
from mmrl.data.tables import ArrowTable


def hub_table(benchmark: str, path: str, config: str | None, split: str, download: bool) -> Table:
    """The rows of a split.

    Args:
        path: the hub's name, `owner/name`.
        config: one of its configs; None: its only one.
        download: fetch what the cache lacks; without it nothing is asked of the network.

    Raises:
        UserError: the cache lacks it, and nothing may be fetched, or it cannot be fetched.
    """
    import datasets

    name = f"{path}/{split}"
    files = cached_files(Path(datasets.config.HF_DATASETS_CACHE), path, config, split)
    if files:
        data: Any = datasets.concatenate_datasets([datasets.Dataset.from_file(str(file)) for file in files])
        return ArrowTable(name, data.with_format("arrow"), data.column_names)
    place = f"'{path}'" + (f", config '{config}'" if config else "") + f", split '{split}'"
    if not download:
        raise UserError(
            f"benchmark '{benchmark}': {place} of the hub is not in the cache of `datasets`; --download fetches it"
        )
    try:
        data = datasets.load_dataset(path, config, split=split)
    # Every backend of `datasets` (hub, fsspec, builders) has exceptions of its own.
    except Exception as error:
        raise UserError(f"benchmark '{benchmark}': {place} cannot be fetched: {first_line(error)[:300]}") from error
    return ArrowTable(name, data.with_format("arrow"), data.column_names)


def cached_files(cache: Path, path: str, config: str | None, split: str) -> list[Path]:
    """Arrow files of a split in the cache: <owner>___<name>/<config>/<version>/<hash>/<name>-<split>*.arrow, the newest
    <hash>."""
    folder = cache / path.replace("/", "___").lower() if not (cache / path.replace("/", "___")).is_dir() else None
    folder = folder or cache / path.replace("/", "___")
    found = list(folder.glob(f"{config or '*'}/*/*/*-{split}.arrow"))
    found += folder.glob(f"{config or '*'}/*/*/*-{split}-?????-of-?????.arrow")
    if not found:
        return []
    newest = max((file.parent for file in found), key=lambda parent: parent.stat().st_mtime)
    return sorted(file for file in found if file.parent == newest)
