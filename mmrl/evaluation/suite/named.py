"""Protocols of others: a benchmark asked in their words, and scored by their rules where these ask no judge.

Prompts are those of lmms-eval 0.7.3's tasks (`default` of their `lmms_eval_specific_kwargs`), of VLMEvalKit in August
2026, of EasyVideoR1's evaluation of choices, and of Qwen3-VL's report as lmms-eval has it (`qwen3_vl`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mmrl.contracts.benchmark import Benchmark
from mmrl.contracts.errors import UserError
from mmrl.evaluation.benchmarks.files import FileBenchmark
from mmrl.evaluation.benchmarks.templates import BARE, BEST_ANSWER, BRACKETED, LETTER, OPTIONS, PHRASE, SHORT
from mmrl.evaluation.suite.protocol import digest_of_files
from mmrl.evaluation.suite.scorers import OPTIONS_OF_ROW, REFCOCO, SCORERS

_HERE = Path(__file__).parent
_BOX = (
    "Bounding box coordinates are specified in the format (top-left x, top-left y, bottom-right x, bottom-right y). "
    "All values are floating point numbers bounded between 0 and 1{more}. Please provide the bounding box {rest}"
)
_EVENT = (
    "Please find the visual event described by a sentence in the video, determining its starting and ending times. The "
    "format should be: 'The event happens in the start time - end time'. For example, The event 'person turn a light "
    "on' happens in the 24.3 - 30.4 seonds. Now I will give you the textual sentence: {{ question }}. Please return "
    "its start time and end time."
)
_MATHVISTA = (
    "{{ row.question }}{% if row.unit is defined and row.unit %} (Unit: {{ row.unit }}){% endif %}\n"
    "{% if row.choices is defined %}{% for text in row.choices %}"
    "{{ 'ABCDEFGHIJ'[loop.index0] }}. {{ text }}\n{% endfor %}"
    "Answer with the option's letter from the given choices directly.{% elif row.answer_type == 'integer' %}"
    "Answer the question using a single integer number.{% elif row.answer_type == 'list' %}"
    "Answer the question using a Python list.{% else %}Answer the question using a single floating-point number with "
    "{{ 'one decimal place' if row.precision == 1 else 'two decimal places' }}.{% endif %}"
)
_CHOICE_VLMEVALKIT = (
    "{% if row.hint is defined and row.hint and row.hint != 'nan' %}Hint: {{ row.hint }}\n{% endif %}"
    "Question: {{ question }}\n{% if options %}Options:\n"
    + OPTIONS
    + "Please select the correct answer from the options above. \n{% endif %}"
)
_CLICK = (
    "You are a GUI agent. You are given a task and a screenshot of the screen. You need to perform pyautogui "
    "click/moveTo action to complete the task. The answer format is `pyautogui.click(x=?, y=?), x and y is necessary`"
)
_QWEN = "Question: {{ question }}\nOptions:\n" + OPTIONS + "{{ closing }}"


@dataclass(frozen=True, slots=True)
class Words:
    """How a suite words a benchmark.

    Attributes:
        template: see `FileBenchmark.template`; None: as ours, which is theirs.
        system: its system prompt.
        first: pictures come first, and marks such as `<image 1>` stay in the text.
    """

    template: str | None = None
    system: str | None = None
    first: bool = False


_SAME = Words()
_BEST_ANSWER = (
    *("videomme", "mvbench", "motionbench", "lvbench", "longvideobench", "mlvu", "video_holmes", "minerva"),
    *("longvideo_reason", "mmvu", "livesports3k_qa", "odvbench"),
)
# Suite -> benchmark -> its words.
WORDS: Mapping[str, Mapping[str, Words]] = {
    "lmms-eval": {
        **dict.fromkeys(("ai2d", "chartqa", "docvqa", "infovqa", "mmbench_en", "mmstar"), _SAME),
        **dict.fromkeys(("ocrbench", "pope", "tempcompass", "textvqa", "mmmu_pro_vision"), _SAME),
        "charades_sta": Words(_EVENT),
        # A template's last line break is cut off, unless something follows.
        "longvideobench": Words("{{ question }}\n" + OPTIONS + LETTER + "\n{{ '' }}"),
        "mvbench": Words("Question:{{ question }}\nOption:\n" + BRACKETED + "Only give the best option."),
        "mathvista": Words(_MATHVISTA),
        "mmmu": Words(
            "{{ question }}\n{% if options %}" + OPTIONS + "\n" + LETTER + "{% else %}\n" + PHRASE + "{% endif %}",
            first=True,
        ),
        "mmmu_pro": Words(
            "{{ question }}\n" + OPTIONS + "\nAnswer with the option letter from the given choices directly.",
            first=True,
        ),
        **dict.fromkeys(
            REFCOCO,
            Words(_BOX.format(more="", rest="coordinate of the region this sentence describes: {{ question }}")),
        ),
        "screenspot": Words(
            _BOX.format(
                more=" with two decimal places of precision (e.g., 0.15)",
                rest="coordinates of the region that corresponds to the command: {{ question }}",
            )
        ),
        "videomme": Words(
            "Select the best answer to the following multiple-choice question based on the video and the subtitles. "
            "Respond with only the letter (A, B, C, or D) of the correct option.\n{{ question }}\n"
            + OPTIONS
            + "\n"
            + LETTER
        ),
        "vsibench": Words(
            "These are frames of a video.\n{{ question }}\n{% if options %}Options:\n"
            + OPTIONS
            + LETTER
            + "{% else %}Please answer the question using a single word or phrase.{% endif %}"
        ),
    },
    "vlmevalkit": {
        **dict.fromkeys(("ai2d", "mmbench_en"), Words(_CHOICE_VLMEVALKIT)),
        **dict.fromkeys(("chartqa", "docvqa", "infovqa"), Words(SHORT)),
        **dict.fromkeys(("ocrbench", "pope"), Words(BARE)),
        "screenspot": Words(
            "Please complete the following tasks by clicking using `pyautogui.click`:\n{{ question }}", _CLICK
        ),
    },
    "easyvideor1": dict.fromkeys(_BEST_ANSWER, Words(BEST_ANSWER)),
    "qwen": {
        "mmmu": Words(
            _QWEN.replace(
                "{{ closing }}",
                "{% if options %}Answer with the option letter only.{% else %}"
                "Please select the correct answer from the options above.{% endif %}",
            ),
            first=True,
        ),
        **dict.fromkeys(
            ("mmmu_pro", "videomme"), Words(_QWEN.replace("{{ closing }}", "Answer with the option letter only."))
        ),
    },
}


def put_under(name: str, benchmark: Benchmark, protocol: str, arm: str | None = None) -> None:
    """Has a benchmark asked in a suite's words, and scored by its rules where these are followed.

    Raises:
        UserError: the suite's words for it are not known, or its rules know nothing of what an arm changes.
    """
    words = WORDS[protocol].get(name)
    if words is None or not isinstance(benchmark, FileBenchmark):
        known = ", ".join(WORDS[protocol])
        raise UserError(f"benchmark '{name}' has no protocol of {protocol}; those that have: {known}")
    changes: dict[str, Any] = {"suite": {"suite": protocol}}
    if words.template is not None:
        changes |= {"template": words.template, "system": words.system}
    if words.first:
        changes["placed"] = lambda text, asked: (text, asked.images)
    if (scorer := SCORERS.get(protocol, {}).get(name)) is not None:
        if arm == "options_permuted" and name in OPTIONS_OF_ROW:
            raise UserError(
                f"benchmark '{name}': the rules of {protocol} read the right option of the row, which arm '{arm}' "
                "moves; leave out the arm or the protocol"
            )
        rules = rules_of(protocol)
        changes |= {"score": scorer, "suite": {"suite": protocol, "extractor": rules, "metric": rules}}
    for key, value in changes.items():
        setattr(benchmark, key, value)


def rules_of(suite: str) -> str:
    """What protocols say of a suite's rules: its name, and the digest of their code."""
    return f"{suite} {_digest()}"


@cache
def _digest() -> str:
    """16 hexadecimal digits of the code of the suites' rules."""
    return digest_of_files(_HERE, _HERE.glob("scorers*.py"))
