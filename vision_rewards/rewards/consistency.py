"""Agreement of the answer with the reasoning before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vision_rewards.parsers import (
    EXTRACT_MODES,
    canonical_answer,
    extract_answer,
    extract_thinking,
    is_bare_number,
    parse_number,
    stated_conclusions,
    wrap_answer,
)
from vision_rewards.rewards.multiple_choice import by_letter, check_options
from vision_rewards.types import Reward, RewardResult, param


@dataclass(frozen=True, kw_only=True)
class Consistency(Reward):
    """1 if the answer is what the thinking concluded last."""

    name = "consistency"
    summary = "The answer equals the last conclusion stated in `<think>`; says nothing about whether it is right."
    target_keys: ClassVar = {"options?": "letter → text, or a list of texts (A, B, …): then both must name one option"}
    formula = (
        "[canon(c) = canon(answer)], c the last conclusion in the thinking: what follows the last `answer is`, "
        "`answer:`, `conclusion is`, `result is`, `option is`, `I choose` and the like up to the end of the sentence, "
        "the line or the thinking, or the inside of the last `\\boxed{}`, whichever stands last; canon: the option "
        "letter; else the value of a bare number; else the label. A bare number also agrees with the only number in c"
    )
    source = "answer–reasoning consistency rewards (GRPO-CARE, Chen et al. 2025), by rule instead of a reference model"
    closes = (
        "no thinking, no stated conclusion or an unreadable answer scores 0: leaving the reasoning out gains nothing",
        "the last conclusion counts: naming every option on the way, and then one, binds the answer to the last",
        "a hedged conclusion (`A or B`, `not B`) names no option and agrees with none",
        "it is no accuracy: combine it with one, by a gated product, since a wrong answer can be consistent",
    )
    is_answer = False
    examples = (
        ({}, "<think>Two and one, so the answer is three.</think><answer>3</answer>", "three is 3"),
        ({}, "<think>The answer is 3.</think><answer>4</answer>", "concluded otherwise"),
        ({}, "<think>Two and one make three.</think><answer>3</answer>", "no stated conclusion"),
        ({"options": ["a cat", "a dog"]}, "<think>So I choose a dog.</think><answer>B</answer>", "the text of B"),
    )

    extract: str = param("auto", "where the answer stands, as in the rewards of answers", choices=EXTRACT_MODES[:-1])

    def check_target(self, target):
        if target.get("options") is not None:
            check_options(target["options"])

    def dress(self, completion):
        """Let the thinking end in the answer as its conclusion; without an answer, leave the completion as it is."""
        answer, _ = extract_answer(completion, self.extract)
        if answer is None:
            return completion
        thinking = extract_thinking(completion)
        if thinking is None:
            return f"<think>I look at it. The answer is: {answer}</think>{completion}"
        head, tag, tail = completion.rpartition("</think>")
        return f"{head}\nThe answer is: {answer}{tag}{tail}"

    def gold(self, target):
        options = target.get("options")
        return self.dress(wrap_answer("yes" if options is None else next(iter(by_letter(options))), self.extract))

    def score(self, completion, target):
        answer, reason = extract_answer(completion, self.extract)
        if answer is None:
            return self.failed(reason)
        thinking = extract_thinking(completion)
        if thinking is None:
            return self.failed("no_thinking")
        readings = stated_conclusions(thinking)
        if not readings:
            return self.failed("no_conclusion")
        options = target.get("options")
        letters = None if options is None else by_letter(options)
        canonical = canonical_answer(answer, letters)
        if canonical is None:
            return self.failed("unparsable")
        agrees = any(canonical_answer(reading, letters) == canonical for reading in readings)
        if not agrees and options is None and is_bare_number(answer):
            value = parse_number(answer, percent=True)[0]
            agrees = any(parse_number(reading, percent=True)[0] == value for reading in readings)
        return RewardResult(float(agrees), {}, [readings[0][:200], canonical[:200]], "ok")
