"""LLaMA-Factory's dataset_info.json: which file an entry names, and what it calls its columns and roles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import UserError, unknown

INFO = "dataset_info.json"
# Its name of a column -> ours, and its default for the file's.
_ALPACA = {
    "prompt": ("instruction", "instruction"),
    "query": ("input", "input"),
    "response": ("output", "output"),
    "history": ("history", "history"),
}
_SHAREGPT = {"messages": ("conversations", "conversations")}
_BOTH = {"system": ("system", None), "images": ("images", None), "videos": ("videos", None)}
_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "system_tag": "system",
}
# Of turns that call tools, which no format here reads; a row that has such a turn is refused.
_TOOL_TAGS = ("observation_tag", "function_tag")
_SOURCES = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
_ENTRY = ("file_name", "hf_hub_url", "formatting", "columns", "tags", "subset", "split", "ranking", "num_samples")


@dataclass(frozen=True, slots=True)
class Entry:
    """One data set of a dataset_info.json.

    Attributes:
        path: its file or folder, or its name on the hub.
        format: the name of the format that reads its rows, once they are renamed.
        columns: column of the format -> the file's own name of it.
        tags: how its turns name roles and contents; empty for those of `alpaca`.
        subset, split: of a hub name; None: unset.
    """

    path: str
    format: str
    columns: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    subset: str | None = None
    split: str | None = None

    def turned(self, row: dict[str, Any]) -> dict[str, Any]:
        """The renamed row with the roles and keys that the format reads; what is no turn stays for it to refuse."""
        turns = row.get("conversations")
        if not self.tags or not isinstance(turns, list):
            return row
        roles = {self.tags[key]: _TAGS[key] for key in ("user_tag", "assistant_tag", "system_tag")}
        changed = []
        for turn in turns:
            if isinstance(turn, Mapping):
                written, content = turn.get(self.tags["role_tag"]), turn.get(self.tags["content_tag"])
                named = roles.get(written, written) if isinstance(written, str) else written
                turn = {"from": named, "value": content}
            changed.append(turn)
        return {**row, "conversations": changed}


def info_file(path: Path) -> Path | None:
    """The dataset_info.json that a path names, itself or by its folder; those that `datasets` saves are none."""
    if path.is_file():
        return path if path.name == INFO else None
    saved = any((path / name).exists() for name in ("state.json", "dataset_dict.json"))
    return path / INFO if (path / INFO).is_file() and not saved else None


def read_entry(path: Path, name: str | None) -> Entry:
    """The entry `name`, or the only one.

    Raises:
        UserError: no such entry, or one that is not read: preference pairs, tools, or another place than a file or hub.
    """
    try:
        entries = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read: {error}") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise UserError(f"'{path}' holds no mapping of data sets, so it is none of LLaMA-Factory's")
    if name is None and len(entries) != 1:
        raise UserError(f"'{path}' holds {len(entries)} data sets; set `subset` to one of {', '.join(entries)}")
    name = name or next(iter(entries))
    if name not in entries:
        raise UserError(f"'{path}': {unknown('subset', name, entries)}")
    return _entry(entries[name], path.parent, f"'{path}', data set '{name}'")


def _entry(raw: Mapping[str, Any], folder: Path, place: str) -> Entry:
    for key in raw:
        if key not in _ENTRY and key not in _SOURCES and key != "folder":
            raise UserError(f"{place}: {unknown('key', key, _ENTRY)}")
    if raw.get("ranking"):
        raise UserError(f"{place}: ranking: pairs of answers are not read")
    if raw.get("num_samples"):
        raise UserError(f"{place}: num_samples is not read; set `limit` of the dataset")
    if raw.get("folder"):
        raise UserError(f"{place}: folder is not read; download the files, and name them by file_name")
    formatting = raw.get("formatting", "alpaca")
    if formatting not in ("alpaca", "sharegpt"):
        raise UserError(f"{place}: {unknown('formatting', str(formatting), ('alpaca', 'sharegpt'))}")
    known = {**(_ALPACA if formatting == "alpaca" else _SHAREGPT), **_BOTH}
    given = raw.get("columns") or {}
    for key in given:
        if key not in known:
            raise UserError(f"{place}: columns: {unknown('column', key, known)}")
    columns = {ours: given.get(key, default) for key, (ours, default) in known.items() if given.get(key, default)}
    tags = raw.get("tags") or {}
    for key in tags:
        if key not in _TAGS and key not in _TOOL_TAGS:
            raise UserError(f"{place}: tags: {unknown('tag', key, _TAGS)}")
    tags = {**_TAGS, **{key: value for key, value in tags.items() if key in _TAGS}} if formatting == "sharegpt" else {}
    if "file_name" in raw:
        for key, unset in (("subset", None), ("split", "train")):
            if raw.get(key) not in (None, unset):
                raise UserError(f"{place}: {key} is not read beside file_name; leave it out")
        return Entry(str(folder / raw["file_name"]), formatting, columns, tags)
    if "hf_hub_url" not in raw:
        named = next((key for key in _SOURCES if key in raw), "no file_name")
        raise UserError(f"{place}: {named}: only file_name and hf_hub_url are read")
    return Entry(raw["hf_hub_url"], formatting, columns, tags, raw.get("subset"), raw.get("split"))
