"""Questions about a video, of whatever kind the target shows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import TRUTH_WORDS
from vision_rewards.plain import Plain, text_of
from vision_rewards.registry import get_reward
from vision_rewards.rewards.multiple_choice import letter_of, letters_of
from vision_rewards.types import AnswerReward, Reward, RewardResult, is_number, nearest, param

_NUMBER = re.compile(r"[-+−]?[0-9]{1,20}(?:\.[0-9]{1,20})?")


@dataclass(frozen=True, kw_only=True)
class VideoQa(AnswerReward):
    """The score of the reward that fits the kind of the target's answer."""

    name = "video_qa"
    summary = "Choice, yes or no, number, or open answer, by what the target holds."
    target_keys: ClassVar = {
        "answer": "a letter (or several) with `options`; a bool, or yes, no, true, false; a number; or a text",
        "options?": "letter → text, or a list of texts (A, B, …)",
    }
    formula = (
        "the score of multiple_choice where there are options, or the answer is one capital letter; of yes_no where it "
        "is a bool or yes, no, true, false; of numeric where it is a number, or digits alone; of open_ended else"
    )
    source = "the kinds of EasyVideoR1's `video qa` and Video-R1's question types, chosen by the target alone"
    closes = (
        "the completion never chooses how it is scored",
        "no exact-match shortcut for short references, and what each of the four closes",
    )
    tasks = ("video qa", "video question answering", "videoqa")
    plain = (Plain("the letter, or the text of one of the `options`; or any text", "B", ["runs", "jumps"]),)
    part_defaults: ClassVar = {"accuracy": 0.0}
    metric_part = "accuracy"
    examples = (
        ({"answer": "B", "options": ["runs", "jumps"]}, "<answer>B. jumps</answer>", "a choice"),
        ({"answer": True}, "Yes.", "a yes-no question"),
        ({"answer": 3}, "He jumps three times.", "a number"),
        ({"answer": "He opens the red door."}, "He opens a door.", "ROUGE of open answers"),
    )

    params: Mapping[str, Mapping] = param(None, "reward name → its parameters, e.g. `{open_ended: {metric: rougeL}}`")
    members: Mapping[str, Reward] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self):
        super().__post_init__()
        params = self.params or {}
        kinds = ("multiple_choice", "yes_no", "numeric", "open_ended")
        if unknown := set(params) - set(kinds):
            word = min(map(str, unknown))
            raise ValueError(f"reward 'video_qa': no reward {word!r} to set; {nearest(word, kinds)}")
        members = {kind: get_reward(kind, **{"extract": self.extract, **params.get(kind, {})}) for kind in kinds}
        object.__setattr__(self, "members", members)

    def _member(self, target: Mapping) -> Reward:
        answer = target["answer"]
        word = answer.strip() if isinstance(answer, str) else ""
        if target.get("options") is not None or (len(word) == 1 and "A" <= word <= "Z"):
            return self.members["multiple_choice"]
        if isinstance(answer, bool) or word.lower() in TRUTH_WORDS:
            return self.members["yes_no"]
        return self.members["numeric" if is_number(answer) or _NUMBER.fullmatch(word) else "open_ended"]

    @classmethod
    def target_of(cls, answer, options=None, task=None):
        if not options:
            return {"answer": text_of(answer)}
        try:
            right = letters_of(answer, options) if isinstance(answer, list) else letter_of(answer, options)
        except ValueError:
            # A question with options may still ask for a text of one's own.
            return {"answer": text_of(answer)}
        return {"answer": right, "options": dict(options)}

    def check_target(self, target):
        self._member(target).check(target)

    def gold_answer(self, target):
        return self._member(target).gold_answer(target)

    def score_answer(self, answer, target):
        member = self._member(target)
        result = member.score_answer(answer, target)
        return RewardResult(result.score, {"accuracy": member.accuracy(result)}, result.parsed, result.reason)
