"""Mathematics and charts in pictures, with answers that need no list of words: letters, numbers, formulas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts
from mmrl.data.columns import Columns
from mmrl.evaluation.benchmarks.files import Asked, FileBenchmark, pictures
from mmrl.evaluation.benchmarks.image_choice import INSIDE
from mmrl.evaluation.benchmarks.published import qwen3, qwen25
from mmrl.evaluation.benchmarks.video import listed
from vision_rewards.plain import number_of

_BY_JUDGE = "where the published figure has a judge extract and compare"


class MathVerse(FileBenchmark):
    """MathVerse's testmini: each problem in five versions, from all in text to all in the picture."""

    about = "788 problems of geometry and functions, each from all in text to all in the picture"
    name = "mathverse"
    files = ("MathVerse_MINI",)
    facts = Facts(
        source="CaraJ/MathVerse-lmmseval (config testmini)",
        split="testmini",
        size=3940,
        metric=f"accuracy: letters, and mathematical equivalence, {_BY_JUDGE}",
        licence="MIT",
        media=INSIDE,
        prompt="MathVerse's, in its rows (query_wo)",
        references=(qwen25(49.2),),
    )
    template = "{{ question }}"
    by = ("problem_version", "question_type")
    limit = 1024

    def asked(self, row: Columns) -> Asked:
        """`query_wo` asks for the answer alone."""
        question, answer = row.text("query_wo" if row.has("query_wo") else "question"), row.any("answer")
        images = pictures(row, "image")
        task = "multiple_choice" if row.text("question_type") == "multi-choice" else "math"
        return Asked(question, task, answer, images=images)


class MathVision(FileBenchmark):
    """MathVision's test: competition problems of sixteen subjects and five levels."""

    about = "problems of competitions, sixteen subjects, five levels"
    name = "mathvision"
    files = ("MathVision",)
    facts = Facts(
        source="MathLLMs/MathVision",
        split="test",
        size=3040,
        metric="accuracy: letters, and mathematical equivalence",
        licence="MIT",
        media="none, or mathvision/images/",
        prompt="MathVision's solution format, by lmms-eval",
        references=(qwen25(25.1),),
    )
    template = (
        'Please solve the problem step by step and put your answer in one "\\boxed{}".{{ question }}'
        "{% if options %}\nChoices: {% for letter, text in options.items() %}{{ letter }}. {{ text }}"
        "{% if not loop.last %}\n{% endif %}{% endfor %}{% endif %}"
    )
    by = ("subject", "level")
    limit = 4096

    def asked(self, row: Columns) -> Asked:
        """The answer is a letter where there are options; `<image1>` in the question stays as it is."""
        images = pictures(row, "decoded_image" if row.has("decoded_image") else "image")
        question, answer = row.text("question"), row.any("answer")
        if row.has("options"):
            return Asked(question, "multiple_choice", answer, listed(row, "options"), images=images)
        return Asked(question, "math", answer, images=images)


class MathVisionMini(MathVision):
    """MathVision's testmini."""

    about = "304 of MathVision's problems"
    name = "mathvision_testmini"
    files = ("MathVision_MINI",)
    facts = Facts(
        source="MathLLMs/MathVision",
        split="testmini",
        size=304,
        metric="accuracy: letters, and mathematical equivalence",
        licence="MIT",
        media="none, or mathvision_testmini/images/",
        prompt="MathVision's solution format, by lmms-eval",
    )


class CharXiv(FileBenchmark):
    """CharXiv's reasoning questions: charts of papers. Answers are compared as texts and numbers, without its judge."""

    about = "questions about charts of papers: texts in the chart or not, numbers in the chart or not"
    name = "charxiv"
    files = ("CharXiv_reasoning_val",)
    facts = Facts(
        source="princeton-nlp/CharXiv (reasoning questions)",
        split="validation",
        size=1000,
        metric=f"the answer word for word, numbers exactly, {_BY_JUDGE}",
        licence="CC-BY-SA-4.0",
        media=INSIDE,
        references=(qwen25(42.5), qwen3(73.9)),
    )
    # `reasoning_q_source` -> what kind of answer is asked for.
    kinds: ClassVar[Mapping[int, str]] = {
        1: "The answer is a text that stands in the chart: write it as it stands there, and nothing else.",
        2: "The answer is a text: write it with the words of the question or the chart, and nothing else.",
        3: "The answer is a number that stands in the chart: write it as it stands there, and nothing else.",
        4: "The answer is a number: write it alone, with {places}.",
    }
    template = "{{ question }}\n{{ instruction }}"
    by = ("reasoning_q_source", "category")

    def asked(self, row: Columns) -> Asked:
        """Numbers are asked for with as many decimal places as the right one has."""
        answer, kind = str(row.any("reasoning_a")).strip(), row.any("reasoning_q_source")
        if kind not in self.kinds:
            raise row.bad(f"column 'reasoning_q_source' is {kind!r}, not 1 to 4")
        places = len(answer.partition(".")[2])
        words = f"{places} decimal place{'s' if places > 1 else ''}" if places else "no decimal places"
        task, target = _read(answer)
        return Asked(
            row.text("reasoning_q"),
            task,
            images=pictures(row, "image"),
            target=target,
            columns={"instruction": self.kinds[kind].replace("{places}", words)},
        )


def _read(answer: str) -> tuple[str, dict[str, Any]]:
    """(task, target) of a number or a text."""
    try:
        return "numeric", {"answer": number_of(answer)}
    except ValueError:
        return "classification", {"answer": answer}
