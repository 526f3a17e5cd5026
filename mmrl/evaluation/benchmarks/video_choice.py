"""Multiple choice about videos, one class per benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts
from mmrl.data.columns import Columns
from mmrl.evaluation.benchmarks.files import Asked, video
from mmrl.evaluation.benchmarks.published import EASY, UNKNOWN, easyvideor1, qwen3, qwen25
from mmrl.evaluation.benchmarks.templates import BEST_ANSWER, BRACKETED, EITHER, OPTIONS
from mmrl.evaluation.benchmarks.video import VideoBenchmark, letter_at, numbered


class VideoMME(VideoBenchmark):
    """Video-MME without subtitles: short, medium and long videos of six domains."""

    about = "900 videos of 11 s to 1 h, four options, without subtitles"
    name = "videomme"
    facts = Facts(
        source="lmms-eval/Video-MME (config videomme)",
        split="test",
        size=2700,
        metric="accuracy",
        licence="academic use (no tag on the hub)",
        media="videomme/videos/<videoID>.mp4 of EasyVideoR1's rows, videomme/data/<videoID>.mp4 of the hub's",
        prompt="Video-MME's",
        references=(qwen25(65.1), qwen3(71.4), easyvideor1(69.3)),
    )
    template = (
        "Select the best answer to the following multiple-choice question based on the video. Respond with only the "
        "letter (A, B, C, or D) of the correct option.\n{{ question }}\n" + OPTIONS + "The best answer is:"
    )
    by = ("duration", "domain", "task_type")
    own: ClassVar = {"question": "question"}
    path = "data/{videoID}.mp4"


class MVBench(VideoBenchmark):
    """MVBench: twenty tasks of temporal understanding."""

    about = "short videos, twenty temporal tasks, options of 2 to 5"
    name = "mvbench"
    facts = Facts(
        source="OpenGVLab/MVBench, or EasyVideoR1's file (3586 rows, without TVQA and NTU)",
        split="train",
        size=4000,
        metric="accuracy; mean over the tasks where rows name them",
        licence="MIT (NTU and TVQA have terms of their own)",
        media="mvbench/<path> of EasyVideoR1's rows, mvbench/<prefix>/<video> of VLMEvalKit's",
        prompt="lmms-eval's",
        references=(qwen25(69.6), easyvideor1(67.4)),
    )
    template = "Question: {{ question }}\nOption:\n" + BRACKETED + "Only give the best option."
    by = ("task_type",)
    macro = "task_type"
    own: ClassVar = {"options": "candidates"}

    def native_path(self, row: Columns) -> str:
        """`<prefix>/<video>`, or the video alone where the row has no prefix."""
        prefix = f"{row.text('prefix').rstrip('/')}/" if row.has("prefix") else ""
        return prefix + row.text("video")


class MotionBench(VideoBenchmark):
    """MotionBench, the part with public answers: fine motion."""

    about = "fine-grained motion in short videos, six types of question"
    name = "motionbench"
    facts = Facts(
        source="zai-org/MotionBench, or EasyVideoR1's file",
        split="validation",
        size=4018,
        metric="accuracy",
        licence=UNKNOWN,
        media="motionbench/self-collected/, motionbench/public-dataset/",
        prompt="lmms-eval's",
    )
    template = "{{ question }}\n" + OPTIONS + "Answer with only the option letter (A, B, C, D, E, or F)."
    by = ("question_type",)
    own: ClassVar = {"question": "question"}
    path = "{video_path}"


class LVBench(VideoBenchmark):
    """LVBench: videos of about an hour."""

    about = "103 videos of about an hour, four options"
    name = "lvbench"
    facts = Facts(
        source="lmms-eval/LVBench, or EasyVideoR1's file (1492 rows)",
        split="train",
        size=1549,
        metric="accuracy",
        licence="CC-BY-NC-SA-4.0",
        media="lvbench/videos/<YouTube id>.mp4",
        prompt="lmms-eval's",
        references=(qwen25(45.3), qwen3(58.0), easyvideor1(55.3)),
    )
    template = "{{ question }}\n" + OPTIONS + "Answer the question with the option letter"
    own: ClassVar = {"question": "question"}
    path = "{video_path}"


class LongVideoBench(VideoBenchmark):
    """LongVideoBench, validation: what is said of a moment that the question refers to; without subtitles."""

    about = "videos of 8 s to 1 h, moments that the question refers to, without subtitles"
    name = "longvideobench"
    facts = Facts(
        source="longvideobench/LongVideoBench (gated), or EasyVideoR1's file",
        split="validation",
        size=1337,
        metric="accuracy",
        licence="CC-BY-NC-SA-4.0",
        media="longvideobench/videos/<id>.mp4",
        prompt="lmms-eval's",
        references=(qwen25(56.0), easyvideor1(61.3)),
    )
    by = ("duration_group", "question_category")
    own: ClassVar = {"question": "question"}

    def native(self, row: Columns) -> Asked:
        """The hub's columns: option0 … option4, of which `N/A` fills the last, and the number of the right one."""
        options, answer = numbered(row, "option"), letter_at(row, "correct_choice")
        videos = video(row, f"videos/{row.text('video_path')}")
        return Asked(row.text("question"), "multiple_choice", answer, options, videos=videos)


class MLVU(VideoBenchmark):
    """MLVU's test set, multiple choice."""

    about = "videos of 3 min to 2 h, nine tasks, six options"
    name = "mlvu"
    facts = Facts(
        source=f"{EASY} (of MLVU/MVLU's test)",
        split="test",
        size=502,
        metric="accuracy; M-Avg, the mean over tasks, where rows name them",
        licence="CC-BY-NC-SA-4.0",
        media="mlvu/video/<name>.mp4",
        prompt="lmms-eval's",
        references=(easyvideor1(65.6),),
    )
    template = "{{ question }}\n" + BRACKETED + "Only give the best option.\nBest option: ("
    by = ("task_type",)
    macro = "task_type"


class VideoHolmes(VideoBenchmark):
    """Video-Holmes: clues of suspense films put together."""

    about = "suspense films, clues to be put together, six options"
    name = "video_holmes"
    files = ("holmes",)
    facts = Facts(
        source="TencentARC/Video-Holmes, or EasyVideoR1's file",
        split="test",
        size=1837,
        metric="accuracy",
        licence="Apache-2.0, academic use",
        media="video_holmes/videos_cropped/<id>.mp4",
        prompt="lmms-eval's",
        references=(easyvideor1(43.5),),
    )
    by = ("Question Type",)
    own: ClassVar = {"question": "Question", "options": "Options", "answer": "Answer"}
    path = "videos_cropped/{video ID}.mp4"


class Minerva(VideoBenchmark):
    """MINERVA: reasoning over several steps, five options."""

    about = "reasoning over several steps about videos, five options"
    name = "minerva"
    facts = Facts(
        source="lmms-lab-eval/minerva, or EasyVideoR1's file (1431 rows)",
        split="test",
        size=1515,
        metric="accuracy",
        licence=UNKNOWN,
        media="minerva/<YouTube id>.mp4",
        prompt="lmms-eval's",
    )
    by = ("question_type", "category")
    own: ClassVar = {"question": "question"}

    def native(self, row: Columns) -> Asked:
        """The hub's columns: answer_choice_0 … answer_choice_4, and the number of the right one."""
        options, answer = numbered(row, "answer_choice_"), letter_at(row, "answer_id")
        videos = video(row, f"{row.text('video_id')}.mp4")
        return Asked(row.text("question"), "multiple_choice", answer, options, videos=videos)


class LongVideoReason(VideoBenchmark):
    """LongVideo-Reason's evaluation set."""

    about = "reasoning about long videos, four options"
    name = "longvideo_reason"
    files = ("longvideoreason",)
    facts = Facts(
        source=f"{EASY} (of LongVideo-Reason)",
        split="eval",
        size=851,
        metric="accuracy",
        licence=UNKNOWN,
        media="longvideo_reason/<YouTube id>.mp4",
        prompt="EasyVideoR1's",
    )
    template = BEST_ANSWER


class MMVU(VideoBenchmark):
    """MMVU's multiple-choice questions: experts' knowledge of 27 subjects."""

    about = "experts' knowledge of 27 subjects, five options; its open questions are left out"
    name = "mmvu"
    facts = Facts(
        source="lmms-eval/MMVU (yale-nlp/MMVU), or EasyVideoR1's file",
        split="validation",
        size=625,
        metric="accuracy",
        licence=UNKNOWN,
        media="mmvu/videos/<subject>/<number>.mp4",
        references=(easyvideor1(69.5),),
    )
    own: ClassVar = {"options": "choices"}
    path = "{video_path}"

    def parts(self, raw: Mapping[str, Any]) -> int:
        """Open questions need a judge, and are left out."""
        return int(raw.get("question_type", "multiple-choice") == "multiple-choice")


class VideoMMMU(VideoBenchmark):
    """Video-MMMU: lectures, and questions of three stages."""

    about = "lectures and what was learnt from them; ten options, or a number"
    name = "videommmu"
    facts = Facts(
        source=f"{EASY} (of lmms-eval/VideoMMMU)",
        split="test",
        size=900,
        metric="accuracy; numbers exactly",
        licence=UNKNOWN,
        media="videommmu/<id>.mp4",
        references=(qwen25(47.4), qwen3(65.3), easyvideor1(65.4)),
    )
    template = EITHER
    by = ("question_type",)


class LiveSports(VideoBenchmark):
    """LiveSports-3K-QA: moments of sports broadcasts."""

    about = "clips of sports broadcasts, four options"
    name = "livesports3k_qa"
    facts = Facts(
        source=f"{EASY} (of LiveSports-3K)",
        split="test",
        size=1174,
        metric="accuracy",
        licence=UNKNOWN,
        media="livesports3k_qa/<id>_<start>_<end>.mp4",
        prompt="EasyVideoR1's",
    )
    template = BEST_ANSWER
    by = ("q_type_livesports",)
