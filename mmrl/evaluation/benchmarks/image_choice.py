"""Multiple choice about pictures, one class per benchmark."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts, Scored
from mmrl.contracts.types import Sample
from mmrl.data.columns import Columns
from mmrl.evaluation.benchmarks.files import Asked, FileBenchmark, pictures
from mmrl.evaluation.benchmarks.published import qwen3, qwen25
from mmrl.evaluation.benchmarks.templates import EITHER, LETTER, OPTIONS
from mmrl.evaluation.benchmarks.video import letter_at, listed
from mmrl.evaluation.figures import numbered_draws, weighted
from vision_rewards import Reward, get_reward
from vision_rewards.plain import number_of, read_options, structure_of

INSIDE = "none: pictures are in the rows"
_NUMBERED = re.compile(r"<image (\d)>")
# Copies of a question with its options rotated have its index and a multiple of this.
ROTATION = 1_000_000


def letters_of_row(row: Columns) -> dict[str, str]:
    """Options of the columns A, B, C and so on, those that are filled. Raises BadSample where none is."""
    texts = {letter: str(row.any(letter)) for letter in "ABCDEFGHIJ" if row.has(letter)}
    if not texts:
        raise row.bad("the columns A, B, … of the options are missing or empty")
    return texts


def short_answer(answer: Any) -> tuple[str, dict[str, Any]]:
    """(task, target) of a short answer, or of several that are accepted: a number exactly, a text by its words."""
    accepted = [str(text) for text in (answer if isinstance(answer, list) else [answer])]
    if len(accepted) == 1:
        try:
            return "numeric", {"answer": number_of(accepted[0])}
        except ValueError:
            pass
    return "classification", {"answer": accepted[0], "synonyms": accepted[1:]}


class MMMU(FileBenchmark):
    """MMMU: college questions of thirty subjects, some with several pictures."""

    about = "college questions of 30 subjects, up to seven pictures, options or a short answer"
    name = "mmmu"
    files = ("MMMU_DEV_VAL",)
    facts = Facts(
        source="lmms-lab-encoder/MMMU (MMMU/MMMU)",
        split="validation",
        size=900,
        metric="accuracy; short answers exactly",
        licence="Apache-2.0",
        media=INSIDE,
        prompt="MMMU's",
        references=(qwen25(58.6), qwen3(69.6)),
    )
    template = EITHER
    by = ("subfield",)

    def asked(self, row: Columns) -> Asked:
        """`<image k>` in the question or an option stands for the column image_k."""
        images = pictures(row, *(f"image_{number}" for number in range(1, 8)))
        question = row.text("question")
        if row.text("question_type") == "multiple-choice":
            options = listed(row, "options")
            return Asked(question, "multiple_choice", row.any("answer"), options, images=images)
        answer = row.any("answer")
        written = structure_of(answer) if isinstance(answer, str) and answer.startswith("[") else answer
        task, target = short_answer(written)
        return Asked(question, task, images=images, target=target)

    def placed(self, text: str, asked: Asked) -> tuple[str, tuple[Any, ...]]:
        """Pictures where they are named; those that are not named come first."""
        named = [int(number) - 1 for number in _NUMBERED.findall(text)]
        if not named or max(named) >= len(asked.images):
            return text, asked.images
        others = [i for i in range(len(asked.images)) if i not in named]
        marked = "<image>\n" * len(others) + _NUMBERED.sub("<image>", text)
        return marked, tuple(asked.images[i] for i in (*others, *named))


class MMMUPro(MMMU):
    """MMMU-Pro, ten options."""

    about = "MMMU's questions that text alone does not answer, with ten options"
    name = "mmmu_pro"
    files = ()
    facts = Facts(
        source='MMMU/MMMU_Pro (config "standard (10 options)")',
        split="test",
        size=1730,
        metric="accuracy; MMMU-Pro's own figure is the mean of this and mmmu_pro_vision",
        licence="Apache-2.0",
        media=INSIDE,
        prompt="MMMU-Pro's",
        references=(qwen25(38.3),),
    )
    template = "{{ question }}\n" + OPTIONS + "Answer with the option letter from the given choices directly."
    by = ("subject",)

    def asked(self, row: Columns) -> Asked:
        """As MMMU's, all of them choices."""
        images = pictures(row, *(f"image_{number}" for number in range(1, 8)))
        options = listed(row, "options")
        return Asked(row.text("question"), "multiple_choice", row.any("answer"), options, images=images)


class MMMUProVision(FileBenchmark):
    """MMMU-Pro with question and options in the picture."""

    about = "MMMU-Pro with question and options written in the picture"
    name = "mmmu_pro_vision"
    facts = Facts(
        source='MMMU/MMMU_Pro (config "vision")',
        split="test",
        size=1730,
        metric="accuracy",
        licence="Apache-2.0",
        media=INSIDE,
        prompt="MMMU-Pro's",
    )
    template = "{{ question }}"
    by = ("subject",)

    def asked(self, row: Columns) -> Asked:
        """Nothing but the picture and what to answer with."""
        question = "Answer with the option letter from the given choices directly."
        images, options = pictures(row, "image"), listed(row, "options")
        return Asked(question, "multiple_choice", row.any("answer"), options, shown=False, images=images)


class MMBench(FileBenchmark):
    """MMBench, English: a question counts where it is right with its options in every rotation that rows have."""

    about = "perception and reasoning, 20 abilities, options rotated where rows have the rotations"
    name = "mmbench_en"
    files = ("MMBench_DEV_EN", "MMBench_DEV_EN_V11")
    facts = Facts(
        source="lmms-lab-encoder/MMBench (config en), or VLMEvalKit's MMBench_DEV_EN.tsv",
        split="dev",
        size=4329,
        metric="share of questions that are right in every rotation",
        licence="no tag on the hub",
        media=INSIDE,
        prompt="lmms-eval's",
        references=(qwen25(83.5), qwen3(84.5)),
    )
    template = "{% if hint %}{{ hint }}\n{% endif %}{{ question }}\nThere are several options:\n" + OPTIONS + LETTER
    by = ("category",)

    def part(self, raw: Mapping[str, Any], number: int) -> Mapping[str, Any]:
        """The row without what pandas wrote for nothing."""
        return {name: None if value == "nan" else value for name, value in raw.items()}

    def asked(self, row: Columns) -> Asked:
        """Options in the columns A to D."""
        return Asked(
            row.text("question"),
            "multiple_choice",
            row.any("answer"),
            letters_of_row(row),
            images=pictures(row, "image"),
            columns={"hint": row.text("hint") if row.has("hint") else ""},
        )

    def weights(self, scored: Sequence[Scored]) -> Mapping[str, Sequence[float]]:
        """`plain` is the mean of all rows; `score` is it too where nothing is rotated."""
        weights = dict(super().weights(scored))
        score = weights.pop("score")
        rotated = len(self._questions(scored)) < len(scored)
        return {**({} if rotated else {"score": score}), "plain": score, **weights}

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """`score` counts questions, `plain` and the groups rows."""
        questions = self._questions(scored)
        share = weighted([min(scores) for scores in questions.values()], [1.0] * len(questions))
        return {**super().aggregate(scored), "score": share}

    @staticmethod
    def _questions(scored: Sequence[Scored]) -> dict[tuple[int, int], list[float]]:
        questions: dict[tuple[int, int], list[float]] = defaultdict(list)
        for draw, answer in numbered_draws(scored):
            questions[draw, int(answer.sample.columns["index"]) % ROTATION].append(answer.score)
        return questions


class MMStar(FileBenchmark):
    """MMStar: questions that need the picture, options in the question."""

    about = "questions that need the picture, six abilities, four options"
    name = "mmstar"
    files = ("MMStar",)
    hub: ClassVar = ("Lin-Chen/MMStar", None, "val")
    facts = Facts(
        source="Lin-Chen/MMStar, or VLMEvalKit's MMStar.tsv",
        split="validation",
        size=1500,
        metric="accuracy",
        licence="no tag on the hub",
        media=INSIDE,
        prompt="lmms-eval's",
        references=(qwen25(63.9), qwen3(70.9)),
    )
    template = "{{ question }}\n" + OPTIONS + "Answer with the option's letter from the given choices directly"
    by = ("category",)

    def asked(self, row: Columns) -> Asked:
        """The hub's questions hold their options; VLMEvalKit has them in columns."""
        options = letters_of_row(row) if row.has("A") else {}
        return Asked(row.text("question"), "multiple_choice", row.any("answer"), options, images=pictures(row, "image"))


class AI2D(FileBenchmark):
    """AI2D: diagrams of school science."""

    about = "diagrams of school science, four options"
    name = "ai2d"
    files = ("AI2D_TEST",)
    hub: ClassVar = ("lmms-lab-encoder/ai2d", None, "test")
    facts = Facts(
        source="lmms-lab-encoder/ai2d, or VLMEvalKit's AI2D_TEST.tsv",
        split="test",
        size=3088,
        metric="accuracy",
        licence="CC-BY-SA",
        media=INSIDE,
        prompt="lmms-eval's",
        references=(qwen25(83.9),),
    )

    def asked(self, row: Columns) -> Asked:
        """The hub has the number of the right option, VLMEvalKit its letter."""
        question, images = row.text("question"), pictures(row, "image")
        if row.has("options"):
            options, answer = listed(row, "options"), letter_at(row, "answer")
        else:
            options, answer = letters_of_row(row), row.text("answer")
        return Asked(question, "multiple_choice", answer, options, images=images)


class VStar(FileBenchmark):
    """V*: small things in large pictures."""

    about = "small things in large pictures: attributes and relations"
    name = "vstar"
    hub: ClassVar = ("lmms-lab-encoder/vstar-bench", None, "test")
    facts = Facts(
        source="lmms-lab-encoder/vstar-bench",
        split="test",
        size=191,
        metric="accuracy",
        licence="MIT",
        media=INSIDE,
        prompt="the rows' own",
    )
    template = "{{ question }}{% if '" + "Answer with the option" + "' not in question %}\n" + LETTER + "{% endif %}"
    by = ("category",)

    def asked(self, row: Columns) -> Asked:
        """The text holds the options."""
        return Asked(row.text("text"), "multiple_choice", row.any("label"), images=pictures(row, "image"))


class MuirBench(FileBenchmark):
    """MuirBench: several pictures in twelve relations."""

    about = "several pictures in twelve relations, some questions unanswerable"
    name = "muirbench"
    hub: ClassVar = ("MUIRBENCH/MUIRBENCH", None, "test")
    facts = Facts(
        source="MUIRBENCH/MUIRBENCH",
        split="test",
        size=2600,
        metric="accuracy",
        licence="CC-BY-4.0",
        media=INSIDE,
        prompt="lmms-eval's",
        references=(qwen25(59.6),),
    )
    by = ("task",)

    def asked(self, row: Columns) -> Asked:
        """`<image>` in question and options stands for a picture each."""
        options, images = listed(row, "options"), pictures(row, "image_list")
        return Asked(row.text("question"), "multiple_choice", row.any("answer"), options, images=images)

    def placed(self, text: str, asked: Asked) -> tuple[str, tuple[Any, ...]]:
        """Where there are more or fewer places than pictures, pictures come first."""
        places = text.count("<image>")
        return (text if places == len(asked.images) else text.replace("<image>", "")), asked.images


class BLINK(FileBenchmark):
    """BLINK: what people see within a blink, fourteen tasks."""

    about = "fourteen tasks of perception, one to four pictures"
    name = "blink"
    facts = Facts(
        source="BLINK-Benchmark/BLINK (14 configs)",
        split="validation",
        size=1901,
        metric="accuracy, mean over the tasks",
        licence="Apache-2.0",
        media=INSIDE,
        references=(qwen25(56.4),),
    )
    by = ("sub_task",)
    macro = "sub_task"

    def asked(self, row: Columns) -> Asked:
        """The answer is written `(A)`."""
        images = pictures(row, *(f"image_{number}" for number in range(1, 5)))
        options = read_options(list(row.items("choices")))
        answer = row.text("answer").strip("() ")
        return Asked(row.text("question"), "multiple_choice", answer, options, images=images)


class RealWorldQA(FileBenchmark):
    """RealWorldQA: what is to be seen from a car and in other places."""

    about = "pictures from cars and other places, a letter, a word or a number"
    name = "realworldqa"
    files = ("RealWorldQA",)
    hub: ClassVar = ("lmms-lab-encoder/RealWorldQA", None, "test")
    facts = Facts(
        source="lmms-lab-encoder/RealWorldQA",
        split="test",
        size=765,
        metric="accuracy; words and numbers exactly",
        licence="CC-BY-ND-4.0",
        media=INSIDE,
        prompt="the rows' own",
        references=(qwen25(68.5),),
    )
    template = "{{ question }}"

    def asked(self, row: Columns) -> Asked:
        """The question says how it is to be answered."""
        question, answer, images = row.text("question"), row.text("answer"), pictures(row, "image")
        if re.fullmatch("[A-Z]", answer.strip()):
            return Asked(question, "multiple_choice", answer, images=images)
        task, target = short_answer(answer)
        return Asked(question, task, images=images, target=target)


class MathVista(FileBenchmark):
    """MathVista's testmini: choices, numbers, and lists, as its own hints ask for them."""

    about = "mathematics in pictures: choices, whole and rounded numbers, lists"
    name = "mathvista"
    files = ("MathVista_MINI",)
    hub: ClassVar = ("AI4Math/MathVista", None, "testmini")
    facts = Facts(
        source="AI4Math/MathVista",
        split="testmini",
        size=1000,
        metric="accuracy; rounded numbers to the row's precision, where the published figure has a judge extract",
        licence="CC-BY-SA-4.0",
        media="none, or mathvista/images/",
        prompt="MathVista's, in its rows",
        references=(qwen25(68.2), qwen3(77.2)),
    )
    template = "{{ question }}"
    by = ("question_type",)
    judged = ("numeric", "rounded", "classification")

    def asked(self, row: Columns) -> Asked:
        """`query` is the question with its hint and its choices."""
        images = pictures(row, "decoded_image" if row.has("decoded_image") else "image")
        question, answer = row.text("query"), row.any("answer")
        columns = {"precision": row.values.get("precision")}
        if row.text("question_type") == "multi_choice":
            options = listed(row, "choices")
            return Asked(question, "multiple_choice", answer, options, shown=False, images=images)
        if row.text("answer_type") == "float":
            return Asked(question, "rounded", images=images, target={"answer": number_of(answer)}, columns=columns)
        task, target = short_answer(answer)
        return Asked(question, task, images=images, target=target, columns=columns)

    def reward_of(self, sample: Sample) -> Reward:
        """Numbers of a row with a precision are right where they round to the target."""
        if sample.task != "rounded":
            return super().reward_of(sample)
        return get_reward("numeric", abs=0.5 * 10.0 ** -int(float(sample.columns.get("precision") or 0)))
