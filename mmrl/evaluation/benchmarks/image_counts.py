"""How many there are in a picture."""

from __future__ import annotations

from typing import ClassVar

from mmrl.contracts.benchmark import Facts
from mmrl.data.columns import Columns
from mmrl.evaluation.benchmarks.files import Asked, FileBenchmark, pictures
from mmrl.evaluation.benchmarks.image_choice import INSIDE
from mmrl.evaluation.benchmarks.published import UNKNOWN

_NUMBER = "{{ question }}\nAnswer with a single number."


class CountBench(FileBenchmark):
    """CountBench's pictures with the questions of CountBenchQA."""

    about = "two to ten things in photographs"
    name = "countbench"
    files = ("CountBenchQA",)
    hub: ClassVar = ("vikhyatk/CountBenchQA", None, "test")
    facts = Facts(
        source="vikhyatk/CountBenchQA",
        split="test",
        size=491,
        metric="accuracy",
        licence=UNKNOWN,
        media=INSIDE,
        prompt="lmms-eval's (countbenchqa)",
    )
    template = _NUMBER
    by = ("number",)

    def asked(self, row: Columns) -> Asked:
        """VLMEvalKit calls the number `answer`."""
        answer = row.any("number" if row.has("number") else "answer")
        return Asked(row.text("question"), "counting", answer, images=pictures(row, "image"))


class PixmoCount(FileBenchmark):
    """PixMo-Count's test split."""

    about = "things in photographs that people counted by points"
    name = "pixmo_count"
    hub: ClassVar = ("kcz358/pixmo-count", None, "test")
    facts = Facts(
        source="kcz358/pixmo-count, or allenai/pixmo-count with its pictures downloaded",
        split="test",
        size=None,
        metric="accuracy",
        licence="ODC-BY-1.0",
        media="none, or pixmo_count/ (column `image`)",
        prompt="lmms-eval's",
    )
    template = _NUMBER

    def asked(self, row: Columns) -> Asked:
        """Ai2's rows name the thing, `label`, and its `count`."""
        images = pictures(row, "image")
        if row.has("label"):
            return Asked(f"How many {row.text('label')} are there?", "counting", row.any("count"), images=images)
        question = row.text("question").replace("<image>", "").strip()
        return Asked(question, "counting", row.any("answer"), images=images)
