"""Video benchmarks whose figure counts groups of questions, and those of several kinds of question."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts, Scored
from mmrl.data.columns import Columns
from mmrl.evaluation.benchmarks.files import Asked, video
from mmrl.evaluation.benchmarks.published import EASY, UNKNOWN, easyvideor1, qwen25
from mmrl.evaluation.benchmarks.templates import BEST_ANSWER, OPTIONS
from mmrl.evaluation.benchmarks.video import VideoBenchmark, listed
from mmrl.evaluation.figures import numbered_draws, weighted, whole
from vision_rewards.plain import read_options, structure_of

# Structure of a group -> what its first 0, 1, 2, … right answers in a row are worth, of 1.
_CHAINS: Mapping[str, tuple[float, ...]] = {
    "[1, 2, 3, 4]": (0.0, 1 / 16, 4 / 16, 9 / 16, 1.0),
    "[1, [2, 3], 4]": (0.0, 1 / 12, 4 / 12, 7 / 12, 1.0),
    "[[1, 2], 3, 4]": (0.0, 1 / 10, 2 / 10, 5 / 10, 1.0),
}
# Structure -> the question that stands in for the one before it, where that one is wrong.
_EITHER = {"[1, [2, 3], 4]": (1, 2), "[[1, 2], 3, 4]": (0, 1)}


def group_score(kind: str, structure: str, right: Sequence[bool]) -> float:
    """What the four answers about a video are worth in [0, 1], as Video-MME-v2's own code has it.

    `relevance` groups count right answers quadratically; `logic` groups count how far the chain of right answers goes.

    Raises:
        ValueError: a kind or a structure that is not known.
    """
    if kind == "relevance":
        return (sum(right) / 4.0) ** 2
    if kind != "logic" or structure not in _CHAINS:
        raise ValueError(f"group of kind '{kind}' with structure '{structure}' is not known")
    chain = next((i for i, hit in enumerate(right) if not hit), len(right))
    wrong, other = _EITHER.get(structure, (-1, -1))
    if chain == wrong and right[other]:
        chain += 1
    return _CHAINS[structure][chain]


class Together(VideoBenchmark):
    """Whose `score` counts rows together, so that it is no weighted sum of theirs: their mean is called `plain`."""

    def weights(self, scored: Sequence[Scored]) -> Mapping[str, Sequence[float]]:
        """See `FileBenchmark.weights`."""
        weights = dict(super().weights(scored))
        return {"plain": weights.pop("score"), **weights}


class VideoMMEv2(Together):
    """Video-MME-v2: four questions of eight options about each video, scored together."""

    about = "800 videos, four questions of eight options about each, which count together"
    name = "videomme_v2"
    facts = Facts(
        source="MME-Benchmarks/Video-MME-v2",
        split="test",
        size=3200,
        metric="mean over videos of what their four answers are worth: (right / 4)², or how far their chain goes",
        licence=UNKNOWN,
        media="videomme_v2/<video_id>.mp4",
        prompt="Video-MME-v2's, by lmms-eval",
    )
    template = (
        "Question: {{ question }}\n" + OPTIONS + "Select the best answer to the following multiple-choice question "
        "based on the video. Respond with only the letter (A, B, C, D, E, F, G, or H) of the correct option."
    )
    by = ("level",)
    same = "video_id"
    path = "{video_id}.mp4"
    own: ClassVar = {"question": "question"}

    def native(self, row: Columns) -> Asked:
        """Options are lines of one text."""
        written = row.any("options")
        lines = written.strip().split("\n") if isinstance(written, str) and "\n" in written else structure_of(written)
        kind, structure = row.text("group_type"), str(row.any("group_structure"))
        try:
            options = read_options(lines)
            group_score(kind, structure, [True] * 4)
        except ValueError as error:
            raise row.bad(str(error)) from error
        row.text("question_id")
        videos = video(row, self.native_path(row))
        return Asked(row.text("question"), "multiple_choice", row.any("answer"), options, videos=videos)

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """`score` and its parts count videos, each as often as it is asked, `plain` and the levels rows."""
        videos: dict[tuple[int, str], list[Scored]] = defaultdict(list)
        for draw, answer in numbered_draws(scored):
            videos[draw, str(answer.sample.columns["video_id"])].append(answer)
        worth: dict[str, list[float]] = defaultdict(list)
        for answers in videos.values():
            answers.sort(key=lambda answer: int(str(answer.sample.columns["question_id"]).rpartition("-")[2]))
            columns = answers[0].sample.columns
            kind, structure = str(columns["group_type"]), str(columns["group_structure"])
            right = [answer.score == 1.0 for answer in answers] + [False] * (4 - len(answers))
            worth[kind].append(group_score(kind, structure, right))
        every = [value for values in worth.values() for value in values]
        parts = {kind: weighted(values, [1.0] * len(values)) for kind, values in worth.items()}
        return {"score": weighted(every, [1.0] * len(every)), **parts, **super().aggregate(scored)}


class VideoMathQA(VideoBenchmark):
    """VideoMathQA, five options."""

    about = "mathematics explained in videos, five options"
    name = "videomathqa"
    facts = Facts(
        source="MBZUAI/VideoMathQA (config mcq)",
        split="test",
        size=420,
        metric="accuracy",
        licence=UNKNOWN,
        media="videomathqa/<videoID>.mp4",
        prompt="lmms-eval's",
        references=(easyvideor1(46.3),),
    )
    template = (
        "{{ question }}\n" + OPTIONS + "Answer with the option's letter (A, B, C, D or E) from the given choices "
        "directly."
    )
    by = ("category", "length")
    path = "{videoID}.mp4"
    own: ClassVar = {"question": "question"}


class VideoMathQABinary(Together, VideoMathQA):
    """VideoMathQA as pairs: the right option beside each wrong one."""

    about = "mathematics explained in videos, the right option beside each wrong one"
    name = "videomathqa_mbin"
    facts = Facts(
        source="MBZUAI/VideoMathQA (config multi_binary)",
        split="test",
        size=2100,
        metric="share of questions that are right in every pair",
        licence=UNKNOWN,
        media="videomathqa_mbin/<videoID>.mp4",
        prompt="lmms-eval's",
    )
    template = (
        "{{ question }}\n" + OPTIONS + "Answer with the option's letter (A or B) from the given choices directly."
    )
    same = "videoID"

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """`score` counts questions, each as often as it is asked, `plain` and the groups pairs."""
        return {"score": whole(scored, ("question_id",)), **super().aggregate(scored)}


class TempCompass(VideoBenchmark):
    """TempCompass without captioning: choices, yes or no, and which caption fits."""

    about = "five temporal aspects of short videos: choices, yes or no, captions to match; captioning is left out"
    name = "tempcompass"
    files = ("TempCompass",)
    facts = Facts(
        source="lmms-eval/TempCompass (configs multi-choice, yes_no, caption_matching together), or VLMEvalKit's TSV",
        split="test",
        size=5536,
        metric="accuracy, mean over the kinds of question; the published figure has captioning by a judge beside them",
        licence="no tag on the hub",
        media="tempcompass/videos/<video_id>.mp4",
        prompt="lmms-eval's",
        references=(qwen25(71.7), easyvideor1(76.4)),
    )
    template = (
        "{{ question }}\n" + OPTIONS + "{% if kind == 'yes_no' %}Please answer yes or no:{% else %}"
        "Please directly give the best option:{% endif %}"
    )
    by = ("kind", "dim")
    macro = "kind"
    own: ClassVar = {"question": "question"}
    path = "videos/{video_id}.mp4"

    def parts(self, raw: Mapping[str, Any]) -> int:
        """Captions need a judge, and are left out."""
        return int(not raw.get("mc_question"))

    def easyvideor1(self, row: Columns) -> Asked:
        """`dim` and the kind of question, where its rows have them."""
        asked = super().easyvideor1(row)
        kind = "yes_no" if asked.task == "yes_no" else "multi-choice"
        return Asked(
            **{name: getattr(asked, name) for name in ("question", "task", "answer", "options", "shown", "videos")},
            columns={**asked.columns, "kind": kind},
        )

    def native(self, row: Columns) -> Asked:
        """The hub's questions hold their options; VLMEvalKit has them in `candidates`."""
        question, answer = row.text("question"), row.any("answer")
        path = f"videos/{row.text('video')}.mp4" if row.has("video") else self.native_path(row)
        videos = video(row, path)
        said = str(answer).strip().lower()
        if said in ("yes", "no"):
            return Asked(question, "yes_no", answer, videos=videos, columns={"kind": "yes_no"})
        options = listed(row, "candidates") if row.has("candidates") else {}
        shown = bool(options) and not all(text in question for text in options.values())
        options = options or _inside(question)
        kind = "caption_matching" if re.match(r"(option|caption|sentence) \w\s*:", said) else "multi-choice"
        if not options:
            raise row.bad("no options in the question, and no column 'candidates'")
        letter = _letter(str(answer), options)
        if letter is None:
            raise row.bad(f"the answer {answer!r:.60} is none of the options")
        return Asked(question, "multiple_choice", letter, options, shown=shown, videos=videos, columns={"kind": kind})


def _inside(question: str) -> dict[str, str]:
    """The options that are lines of a question: `A. …`, or `Option 1: …` and `Caption A: …`."""
    lines = [line.strip() for line in question.split("\n")[1:] if line.strip()]
    return read_options(lines) if lines else {}


def _letter(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that an answer is, with its mark or without."""
    said = answer.strip()
    for letter, text in options.items():
        if said in (letter, text, f"{letter}. {text}", f"{letter}: {text}", f"({letter}) {text}"):
            return letter
    return None


class ODVBench(VideoBenchmark):
    """ODV-Bench: what goes on in driving videos, asked at a moment of them."""

    about = "driving videos up to a moment: what happens, and what will"
    name = "odvbench"
    facts = Facts(
        source=f"{EASY} (of ODV-Bench)",
        split="test",
        size=7896,
        metric="accuracy",
        licence=UNKNOWN,
        media="odvbench/<path of the row>",
        prompt="EasyVideoR1's",
    )
    template = BEST_ANSWER
