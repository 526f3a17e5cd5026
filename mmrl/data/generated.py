"""What a stage of the same run has generated, as a dataset."""

from __future__ import annotations

from pathlib import Path

from mmrl.contracts.errors import UserError
from mmrl.data.readers import FileDataset
from mmrl.recipe.data import FileData, GeneratedData
from mmrl.recipe.formats import ACTIONS


def open_generated(config: GeneratedData) -> FileDataset:
    """The rows that the stage has written, in mmrl's columns. Raises UserError where it has not written them yet."""
    folder = Path(config.folder or "") / "data"
    if config.folder is None or not folder.is_dir():
        raise UserError(f"dataset '{config.name or config.stage}': stage '{config.stage}' has written nothing yet")
    form = ACTIONS if config.gives == "actions" else "mmrl"
    file = FileData(type="file", path=str(folder), name=config.name or config.stage, format=form, limit=config.limit)
    return FileDataset(file)
