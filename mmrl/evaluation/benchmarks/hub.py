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
        config: one of its configs; None: its only one, or `default`.
        download: fetch what the cache lacks; without it nothing is asked of the network.

    Raises:
        UserError: the cache lacks it, and nothing may be fetched, or it cannot be fetched; or see `cached_files`.
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
    <hash>.

    Raises:
        UserError: several configs lie there, none is asked for, and none is `default`.
    """
    from datasets.naming import camelcase_to_snakecase

    owner, _, name = path.rpartition("/")
    snake = camelcase_to_snakecase(name)
    plain = path.replace("/", "___")
    folders = dict.fromkeys((f"{owner}___{snake}" if owner else snake, plain, plain.lower()))
    found = next(filter(None, (_files(cache / folder, config, split) for folder in folders)), [])
    configs = sorted({file.parents[2].name for file in found})
    if len(configs) > 1:
        if "default" not in configs:
            raise UserError(
                f"the cache of `datasets` holds several configs of '{path}' ({', '.join(configs)}), none of them "
                "`default`; a task file names one by `dataset_name`"
            )
        found = [file for file in found if file.parents[2].name == "default"]
    newest = max((file.parent for file in found), key=lambda parent: parent.stat().st_mtime, default=None)
    return sorted(file for file in found if file.parent == newest)


def _files(folder: Path, config: str | None, split: str) -> list[Path]:
    place = f"{config or '*'}/*/*/*-{split}"
    return [*folder.glob(f"{place}.arrow"), *folder.glob(f"{place}-?????-of-?????.arrow")]
