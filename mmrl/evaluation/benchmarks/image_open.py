"""Short answers about pictures: words, numbers, documents, yes or no."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts, Scored
from mmrl.contracts.types import Sample
from mmrl.data.columns import Columns
from mmrl.evaluation.benchmarks.files import Asked, FileBenchmark, pictures
from mmrl.evaluation.benchmarks.image_choice import INSIDE
from mmrl.evaluation.benchmarks.published import qwen3, qwen25
from mmrl.evaluation.benchmarks.templates import BARE, PHRASE, SHORT
from mmrl.evaluation.figures import whole
from vision_rewards import metrics
from vision_rewards.parsers import parse_yes_no
from vision_rewards.plain import structure_of

# A list of texts as Python or JSON writes it; `[Red, Blue]` is a text.
_LIST = re.compile(r"\[\s*(['\"]).*\1\s*\]", re.DOTALL)


def texts(row: Columns, column: str) -> list[str]:
    """A column of one or several texts, also a list as Python writes it."""
    value = row.any(column)
    if isinstance(value, str) and _LIST.fullmatch(value.strip()):
        value = structure_of(value)
    found = [str(text) for text in (value if isinstance(value, list | tuple) else [value])]
    if not found:
        raise row.bad(f"column '{column}' is empty")
    return found


class ChartQA(FileBenchmark):
    """ChartQA: values and labels of charts."""

    about = "values and labels of charts, questions by people and by a machine"
    name = "chartqa"
    files = ("ChartQA_TEST",)
    hub: ClassVar = ("lmms-lab-encoder/ChartQA", None, "test")
    facts = Facts(
        source="lmms-lab-encoder/ChartQA, or VLMEvalKit's ChartQA_TEST.tsv",
        split="test",
        size=2500,
        metric="relaxed accuracy: numbers within 5 %, years too",
        licence="GPL-3.0",
        media=INSIDE,
        prompt="lmms-eval's",
        references=(qwen25(87.3),),
    )
    template = "{{ question }}\nAnswer the question with a single word."
    params: ClassVar = {"chart": {"exact_years": False}}
    by = ("type",)

    def asked(self, row: Columns) -> Asked:
        """One answer, a number or a label."""
        question, images = row.text("question"), pictures(row, "image")
        return Asked(question, "chart_qa", images=images, target={"answer": texts(row, "answer")[0]})


class DocVQA(FileBenchmark):
    """DocVQA's validation split: scanned documents."""

    about = "scanned documents, the text that answers a question"
    name = "docvqa"
    files = ("DocVQA_VAL",)
    hub: ClassVar = ("lmms-lab-encoder/DocVQA", "DocVQA", "validation")
    facts = Facts(
        source="lmms-lab-encoder/DocVQA (config DocVQA), or VLMEvalKit's DocVQA_VAL.tsv",
        split="validation",
        size=5349,
        metric="ANLS with the paper's strict threshold of 0.5",
        licence="Apache-2.0 on the hub; DocVQA's own terms",
        media=INSIDE,
        prompt="lmms-eval's",
        references=(qwen25(95.7), qwen3(96.1)),
    )
    template = SHORT
    params: ClassVar = {"ocr": {"metric": "anls"}}
    measures: ClassVar = {"ocr": "score"}
    same: ClassVar[str | None] = "docId"

    def asked(self, row: Columns) -> Asked:
        """Several texts are accepted."""
        answers = texts(row, "answers" if row.has("answers") else "answer")
        return Asked(row.text("question"), "ocr", images=pictures(row, "image"), target={"text": answers})


class InfoVQA(DocVQA):
    """InfographicVQA's validation split."""

    about = "infographics, the text that answers a question"
    name = "infovqa"
    files = ("InfoVQA_VAL",)
    hub: ClassVar = ("lmms-lab-encoder/DocVQA", "InfographicVQA", "validation")
    facts = Facts(
        source="lmms-lab-encoder/DocVQA (config InfographicVQA), or VLMEvalKit's InfoVQA_VAL.tsv",
        split="validation",
        size=2801,
        metric="ANLS with the paper's strict threshold of 0.5",
        licence="Apache-2.0 on the hub; InfographicVQA's own terms",
        media=INSIDE,
        prompt="lmms-eval's",
        references=(qwen25(82.6),),
    )
    same: ClassVar[str | None] = "image_url"


class TextVQA(FileBenchmark):
    """TextVQA's validation split: text in photographs, ten annotators."""

    about = "text in photographs, ten annotators"
    name = "textvqa"
    files = ("TextVQA_VAL",)
    hub: ClassVar = ("lmms-lab-encoder/textvqa", None, "validation")
    facts = Facts(
        source="lmms-lab-encoder/textvqa, or VLMEvalKit's TextVQA_VAL.tsv",
        split="validation",
        size=5000,
        metric="VQA accuracy, each annotator left out in turn",
        licence="CC-BY-4.0",
        media=INSIDE,
        prompt="lmms-eval's",
        references=(qwen25(84.9),),
    )
    template = "{{ question | capitalize }}\n" + PHRASE
    params: ClassVar = {"vqa": {"evalai": True}}
    measures: ClassVar = {"vqa": "vqa_accuracy"}
    same = "image_id"
    graded = True

    def asked(self, row: Columns) -> Asked:
        """The answers of all annotators."""
        answers = texts(row, "answers" if row.has("answers") else "answer")
        return Asked(row.text("question"), "textvqa", images=pictures(row, "image"), target={"answers": answers})


class VQAv2(TextVQA):
    """VQAv2's validation split."""

    about = "open questions about photographs, ten annotators"
    name = "vqav2"
    files = ("VQAv2_VAL",)
    hub: ClassVar = ("lmms-lab-encoder/VQAv2", None, "validation")
    facts = Facts(
        source="lmms-lab-encoder/VQAv2",
        split="validation",
        size=214354,
        metric="VQA accuracy, each annotator left out in turn",
        licence="CC-BY-4.0 (pictures of COCO)",
        media=INSIDE,
        prompt="lmms-eval's",
    )
    template = SHORT
    by = ("answer_type",)

    def asked(self, row: Columns) -> Asked:
        """Answers are {answer, answer_confidence, answer_id}."""
        given = [item["answer"] if isinstance(item, Mapping) else item for item in row.items("answers")]
        if not given or not all(isinstance(text, str) for text in given):
            raise row.bad("column 'answers' is not the annotators' answers; the test split has none")
        return Asked(row.text("question"), "textvqa", images=pictures(row, "image"), target={"answers": given})


class OCRBench(FileBenchmark):
    """OCRBench: text read, in scenes, documents, and formulas."""

    about = "text in scenes, documents and formulas; right where the answer stands in what is said"
    name = "ocrbench"
    files = ("OCRBench",)
    hub: ClassVar = ("echo840/OCRBench", None, "test")
    facts = Facts(
        source="echo840/OCRBench, or VLMEvalKit's OCRBench.tsv",
        split="test",
        size=1000,
        metric="share of answers that stand in what is said; `points` is their number, of 1000",
        licence="no tag on the hub",
        media=INSIDE,
        prompt="the bare question",
        references=(qwen25(864), qwen3(896)),
    )
    template = BARE
    by = ("question_type",)

    def asked(self, row: Columns) -> Asked:
        """Several texts are accepted."""
        formulas = "HME100k" in (row.values.get("dataset"), row.values.get("dataset_name"))
        kind = row.values.get("question_type", row.values.get("category"))
        return Asked(
            row.text("question"),
            "ocr",
            images=pictures(row, "image"),
            target={"text": texts(row, "answer")},
            columns={"question_type": kind, "formulas": formulas},
        )

    def score(self, completion: str, sample: Sample) -> float:
        """Whether any accepted text is a part of what is said."""
        formulas = bool(sample.columns["formulas"])
        return metrics.ocrbench_accuracy(completion, sample.target["text"], formulas=formulas)

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Also the number of right answers."""
        return {**super().aggregate(scored), "points": sum(answer.score for answer in scored)}

    @property
    def protocol(self) -> Mapping[str, Any]:
        """See `Described.protocol`."""
        return {**super().protocol, "extractor": "the whole answer", "metric": "ocrbench_accuracy"}


class POPE(FileBenchmark):
    """POPE: is there such a thing in the picture?"""

    about = "is there such a thing in the picture: random, popular and adversarial things"
    name = "pope"
    files = ("POPE",)
    facts = Facts(
        source="lmms-lab-encoder/POPE, or VLMEvalKit's POPE.tsv",
        split="test",
        size=9000,
        metric="accuracy; beside it precision, recall and F1 of yes, and the share of answers that say yes",
        licence="no tag on the hub",
        media=INSIDE,
        prompt="lmms-eval's",
    )
    template = SHORT
    by = ("category",)
    same = "image_source"

    def asked(self, row: Columns) -> Asked:
        """Yes or no."""
        return Asked(row.text("question"), "yes_no", row.any("answer"), images=pictures(row, "image"))

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """An answer that says neither is wrong, and no yes."""
        right = [answer.sample.target["answer"] for answer in scored]
        truth = [bool(parse_yes_no(str(value))[0]) if isinstance(value, str) else bool(value) for value in right]
        said = [(answer.score == 1.0) == is_yes for answer, is_yes in zip(scored, truth)]
        neither = [parse_yes_no(answer.text)[0] is None for answer in scored]
        yes = [one and not other for one, other in zip(said, neither)]
        hits = sum(a and b for a, b in zip(yes, truth))
        precision = hits / sum(yes) if any(yes) else 0.0
        recall = hits / sum(truth) if any(truth) else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        more = {"precision": precision, "recall": recall, "f1": f1, "yes_ratio": sum(yes) / len(yes)}
        return {**super().aggregate(scored), **more}


class HallusionBench(FileBenchmark):
    """HallusionBench's pictures: is what is seen believed against what is known?"""

    about = "yes or no about pictures, some of them edited against what is known"
    name = "hallusionbench"
    files = ("HallusionBench",)
    hub: ClassVar = ("lmms-lab-encoder/HallusionBench", None, "image")
    facts = Facts(
        source="lmms-lab-encoder/HallusionBench",
        split="image",
        size=951,
        metric="aAcc over questions; beside it qAcc and fAcc, over questions and figures that are right throughout",
        licence="BSD-3-Clause",
        media=INSIDE,
        prompt="the bare question",
        references=(qwen25(52.9),),
    )
    template = BARE
    by = ("category",)

    def asked(self, row: Columns) -> Asked:
        """1 is yes, 0 is no; a row without a picture is asked without."""
        answer = row.any("gt_answer" if row.has("gt_answer") else "answer")
        return Asked(row.text("question"), "yes_no", str(answer), images=pictures(row, "image"))

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Questions asked of several figures, and figures asked several questions, are right where all answers are."""
        return {
            **super().aggregate(scored),
            "qAcc": whole(scored, ("category", "subcategory", "set_id", "question_id")),
            "fAcc": whole(scored, ("category", "subcategory", "set_id", "figure_id")),
        }


class MME(FileBenchmark):
    """MME: two questions, yes and no, about each picture, in fourteen categories."""

    about = "two questions about each picture, one with yes and one with no, fourteen categories"
    name = "mme"
    files = ("MME",)
    hub: ClassVar = ("lmms-lab-encoder/MME", None, "test")
    facts = Facts(
        source="lmms-lab-encoder/MME, or VLMEvalKit's MME.tsv",
        split="test",
        size=2374,
        metric="points of 2800: per category 100 · (share of right answers + share of pictures with both right)",
        licence="research",
        media=INSIDE,
        prompt="lmms-eval's",
        references=(qwen25(2347),),
    )
    template = "{{ question }}{% if 'yes or no' not in question %}\n" + PHRASE + "{% endif %}"
    by = ("category",)
    same = "question_id"
    cognition: ClassVar = frozenset(
        {"commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"}
    )

    def asked(self, row: Columns) -> Asked:
        """Yes or no."""
        return Asked(row.text("question"), "yes_no", row.any("answer"), images=pictures(row, "image"))

    def weights(self, scored: Sequence[Scored]) -> Mapping[str, Sequence[float]]:
        """Accuracies of the categories; points are no mean of rows."""
        return {name: weights for name, weights in super().weights(scored).items() if name != "score"}

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """`score` is the sum of `perception` and `cognition`."""
        by_category: dict[str, list[Scored]] = defaultdict(list)
        for answer in scored:
            by_category[str(answer.sample.columns.get("category"))].append(answer)
        points = {"perception": 0.0, "cognition": 0.0}
        for category, answers in by_category.items():
            share = sum(answer.score for answer in answers) / len(answers)
            kind = "cognition" if category in self.cognition else "perception"
            points[kind] += 100.0 * (share + whole(answers, ("question_id",)))
        return {"score": sum(points.values()), **points, **super().aggregate(scored)}
