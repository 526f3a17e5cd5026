"""Task names whose plain answers a dataset's row cannot hold, although the task's reward takes plain answers."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from mmrl.contracts.errors import BadSample
from mmrl.data.mixture import open_dataset
from mmrl.recipe.data import FileData
from mmrl.recipe.rewards import RewardConfig
from mmrl.rollouts.rewarding import Rewarder
from vision_rewards import PlainAnswer, plain_answers


def refused_tasks() -> dict[str, str]:
    """Task -> why its row is refused, of those that some form of plain answer exists for; empty where all is well.

    Each row is in EasyR1's columns, is read from a file, and is checked by `route`, as a recipe would.
    """
    # A judge is asked by nobody here; without one it cannot be checked.
    judge = {"policy": lambda messages: '{"grade": 0}'}
    params = {"judge": judge, "rubric": {**judge, "criteria": ["It is right."]}}
    rewarder = Rewarder([RewardConfig(name="route", params={"params": params})])
    refused = {}
    with tempfile.TemporaryDirectory() as folder:
        for plain in plain_answers():
            if plain.form is None:
                continue
            try:
                rewarder.check(open_dataset(_row(plain, Path(folder)), rewarder.target_of)[0])
            except BadSample as error:
                refused[plain.task] = error.reason
    return refused


def _row(plain: PlainAnswer, folder: Path) -> FileData:
    row = {"problem": "What is it?", "answer": plain.answer, "task": plain.task}
    path = folder / "row.jsonl"
    path.write_text(json.dumps(row | ({"options": plain.options} if plain.options else {})))
    return FileData(type="file", path=str(path))


if __name__ == "__main__":
    print(json.dumps(refused_tasks(), indent=1))
