"""Trains on a dataset of your own, in both ways there are. Runs on a CPU in under a minute.

    python examples/custom_dataset.py [FOLDER]

Any sequence of `Sample` is a dataset: it needs a length and items by index. Pass it to `train(train_data=...)`, or name
a function that returns it in a recipe: `{type: python, function: "custom_dataset:squares", params: {size: 64}}`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from mmrl import Sample, train
from mmrl.policies.tiny import write_tiny

RECIPE = """\
name: custom_dataset_yaml
policy: {path: FOLDER/tiny}
data:
  train:
    - {type: python, function: "custom_dataset:squares", params: {size: 64}}
method: sft
steps: 5
demonstrations: 8
rollout: {max_new_tokens: 8}
tracking: {console: plain}
"""


class Squares(Sequence):
    """Pictures of one to five squares, and the question how many there are."""

    name = "squares"

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, row: int) -> Sample:
        if not 0 <= row < self.size:
            raise IndexError(row)
        count = 1 + row % 5
        image = Image.new("RGB", (112, 56), "white")
        for i in range(count):
            left, top = 6 + 21 * i, 8 + (row * 7 + i * 11) % 28
            ImageDraw.Draw(image).rectangle((left, top, left + 14, top + 14), fill="black")
        question = "How many squares are in the picture? Answer with a number."
        return Sample(
            id=str(row),
            messages=({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},),
            task="counting",
            target={"count": count},
            images=(image,),
            demonstration=str(count),
            dataset=self.name,
            row=row,
        )


def squares(size: int) -> Squares:
    """What the recipe names: `custom_dataset:squares`."""
    return Squares(size)


def main(folder: Path) -> None:
    """Trains once from YAML and once from Python."""
    if not (folder / "tiny").exists():
        write_tiny("qwen2_5_vl", folder / "tiny")
    path = folder / "custom_dataset.yaml"
    path.write_text(RECIPE.replace("FOLDER", str(folder)))
    shared = [f"output={folder}", "resume=auto"]
    named = train(path, overrides=shared)
    passed = train(
        path,
        overrides=[*shared, "name=custom_dataset_python"],
        train_data=Squares(64),
        eval_data=[Squares(80)[row] for row in range(64, 80)],
    )
    print(f"named in YAML: {named.folder}; passed from Python: {passed.folder}, {passed.summary['final']}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
