"""Benchmarks of videos whose answers are numbers, moments, boxes, yes or no, or texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts, Scored
from mmrl.data.columns import Columns
from mmrl.evaluation.benchmarks.files import Asked, video
from mmrl.evaluation.benchmarks.published import EASY, UNKNOWN, qwen25
from mmrl.evaluation.benchmarks.templates import EITHER, LETTER, OPTIONS, PHRASE
from mmrl.evaluation.benchmarks.video import VideoBenchmark, listed
from mmrl.evaluation.figures import by_column, means

_DIFFICULTY = re.compile(r"_(easy|medium|hard)$")


class VSIBench(VideoBenchmark):
    """VSI-Bench: sizes, distances, directions and counts in rooms seen by a walk through them."""

    about = "sizes, distances, directions, counts and order in rooms that are walked through"
    name = "vsibench"
    facts = Facts(
        source="nyu-visionx/VSI-Bench, or EasyVideoR1's file",
        split="test",
        size=5130,
        metric="mean of the tasks: accuracy of choices, mean relative accuracy of numbers",
        licence="Apache-2.0",
        media="vsibench/<dataset>/<scene>.mp4",
        prompt="VSI-Bench's, by lmms-eval",
    )
    template = (
        "These are frames of a video.\n{{ question }}\n{% if options %}" + OPTIONS + LETTER + "{% else %}" + PHRASE
    ) + "{% endif %}"
    by = ("question_type",)
    own: ClassVar = {"question": "question"}
    path = "{dataset}/{scene_name}.mp4"

    def native(self, row: Columns) -> Asked:
        """The hub's columns: a number where there are no options."""
        options = listed(row, "options") if row.has("options") else {}
        task = "multiple_choice" if options else "regression"
        videos = video(row, self.native_path(row))
        return Asked(row.text("question"), task, row.any("ground_truth"), options, videos=videos)

    def weights(self, scored: Sequence[Scored]) -> Mapping[str, Sequence[float]]:
        """The mean of eight tasks; directions, easy, medium and hard, are one of them."""
        types = by_column([answer.sample.columns for answer in scored], "question_type")
        tasks: dict[str, list[list[float]]] = {}
        for name, weights in types.items():
            tasks.setdefault(_DIFFICULTY.sub("", name), []).append(weights)
        whole = [means(parts, len(scored)) for parts in tasks.values()]
        figures = {f"question_type/{name}": weights for name, weights in types.items()}
        return {"score": means(whole, len(scored)), **figures}


class CharadesSTA(VideoBenchmark):
    """Charades-STA: when something happens in a video of daily life."""

    about = "when the described event happens in a video of daily life"
    name = "charades_sta"
    facts = Facts(
        source="lmms-eval/charades_sta, or EasyVideoR1's file",
        split="test",
        size=3720,
        metric="mIoU; beside it the share with IoU of at least 0.3, 0.5, 0.7",
        licence="non-commercial",
        media="charades_sta/<id>.mp4 of EasyVideoR1's rows, charades_sta/Charades_v1_480/<id>.mp4 of the hub's",
        references=(qwen25(43.6),),
    )
    template = (
        'When does this happen in the video: "{{ question }}"?\n'
        'Answer with its start and end in seconds, as JSON: {"time": [start, end]}'
    )
    measures: ClassVar = {"temporal_iou": "score"}
    own: ClassVar = {"question": "caption"}

    def native(self, row: Columns) -> Asked:
        """The hub's columns: caption, timestamp [start, end] in seconds, video."""
        videos = video(row, f"Charades_v1_480/{row.text('video')}")
        return Asked(row.text("caption"), "temporal_grounding", row.any("timestamp"), videos=videos)

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """mIoU and recall at three thresholds."""
        recall = {
            f"R@{least}": sum(answer.score >= least for answer in scored) / len(scored) for least in (0.3, 0.5, 0.7)
        }
        return {**super().aggregate(scored), **recall}


class STVG(VideoBenchmark):
    """Spatio-temporal grounding of ST-Align: when, and where at each second."""

    about = "when something happens, and the box of who does it at each second"
    name = "stvg"
    facts = Facts(
        source=f"{EASY} (of ST-Align-Benchmark)",
        split="test",
        size=2000,
        metric="half the IoU in time, half the mean IoU of boxes over the frames of either",
        licence=UNKNOWN,
        media="stvg/<id>.mp4",
    )
    template = (
        "{{ question }}\nAnswer as JSON with the start and end in seconds and a box for each second between: "
        '{"time": [start, end], "boxes": {"second": [x1, y1, x2, y2]}}'
    )
    params: ClassVar = {"spatiotemporal_iou": {"metric": "mean"}}
    measures: ClassVar = {"spatiotemporal_iou": "score"}
    limit = 2048

    def easyvideor1(self, row: Columns) -> Asked:
        """Boxes are in thousandths of the picture."""
        asked = super().easyvideor1(row)
        return Asked(asked.question, asked.task, asked.answer, videos=asked.videos, coordinates="norm1000")


class OVOBench(VideoBenchmark):
    """OVO-Bench: what was seen, what is seen, and whether enough was seen, at a moment of a stream."""

    about = "a stream up to a moment: what was seen, what is seen now, whether enough was seen to answer"
    name = "ovobench"
    facts = Facts(
        source=f"{EASY} (of OVO-Bench, one row per moment)",
        split="test",
        size=3035,
        metric="mean of the groups backward, realtime, forward",
        licence="CC-BY-NC-SA",
        media="ovobench/<id>.mp4",
    )
    template = (
        "{% if problem_type == 'SSR' %}Is this step under way at the end of the video: \"{{ question }}\"?\n"
        "Answer yes or no.{% elif problem_type == 'CRR' %}Question: {{ question }}\n"
        "Does the video show enough to answer it? Answer yes or no.{% elif problem_type == 'REC' %}"
        "{{ question }}\nAnswer with a number.{% else %}{{ question }}\n" + OPTIONS + LETTER + "{% endif %}"
    )
    tasks: ClassVar = {"rec": "counting", "crr": "yes_no", "ssr": "yes_no"}
    by = ("ovo_category", "ovo_task")
    macro = "ovo_category"


class _Exact(VideoBenchmark):
    """Open answers that are right where every word of them is."""

    params: ClassVar = {"open_ended": {"metric": "rougeL"}}
    measures: ClassVar = {"open_ended": "exact"}
    judged: ClassVar = ("open_ended",)


class VCRBench(_Exact):
    """VCR-Bench: reasoning about videos, choices and open answers."""

    about = "reasoning about videos; choices, and open answers word for word"
    name = "vcrbench"
    facts = Facts(
        source=f"{EASY} (of VLM-Reasoning/VCR-Bench)",
        split="test",
        size=1034,
        metric="accuracy; open answers word for word, where the published figure has a judge",
        licence=UNKNOWN,
        media="vcrbench/video/<source>/<id>.mp4",
    )
    template = EITHER
    by = ("problem_type",)


class VideoReasonBench(_Exact):
    """VideoReasonBench: hidden states after a sequence of operations."""

    about = "the hidden state after a sequence of operations, as a list"
    name = "videoreasonbench"
    facts = Facts(
        source=f"{EASY} (of VideoReasonBench)",
        split="test",
        size=1440,
        metric="the whole list word for word, where the published figure has a judge",
        licence=UNKNOWN,
        media="videoreasonbench/<game>/<state>.mp4",
        prompt="VideoReasonBench's, in its rows",
    )
    template = "{{ question }}"
    limit = 4096

    def score(self, completion: str, sample: Any) -> float:
        """What follows the last `Final Answer:`, as the question asks for."""
        _, said, final = completion.rpartition("Final Answer:")
        return super().score(final if said else completion, sample)
