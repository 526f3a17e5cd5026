"""A language model that grades answers of benchmarks where rules refuse them, and the reasoning of right ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mmrl.contracts.benchmark import Benchmark, Described, Judgeable, Played
from mmrl.contracts.errors import UserError
from mmrl.contracts.types import Sample
from mmrl.recipe.secrets import masked
from mmrl.recipe.suite import JudgeConfig
from vision_rewards import get_reward
from vision_rewards.judging import Failure, read_verdict, session_of, write_prompt
from vision_rewards.parsers import Place
from vision_rewards.rewards.judge import RUBRIC, Judge

# CoT-Pass@K (arXiv 2506.14245): an answer counts where its reasoning is right too.
SOUND = (
    "The answer's result is known to be right. Grade the reasoning that leads to it: 1 where every step follows from "
    "what is asked and from the steps before it, 0 where a step is wrong, is missing or contradicts another, or where "
    "the result is guessed."
)
UNREADABLE = "unreadable"
# What a judge says of one answer that it cannot read, such as one beyond its context.
OWN_FAULT = frozenset((400, 413, 422))


class AnswerJudge:
    """Grades texts with 0 or 1. Threads share it.

    Raises:
        UserError: its key is not set.
    """

    def __init__(self, config: JudgeConfig):
        self.config = config
        self._answers = False
        keys = ("model", "max_tokens", "timeout", "retries", "backoff", "concurrency")
        given = {key: getattr(config, key) for key in keys}
        judge = get_reward("judge", endpoint=config.url, api_key_env=config.key_env, **given)
        assert isinstance(judge, Judge)
        self._judge = judge
        try:
            session_of(judge)
        except Failure as error:
            raise UserError(f"judge: {masked(str(error))}") from None

    def settle(
        self, benchmark: Benchmark, text: str, sample: Sample, score: float
    ) -> tuple[float, dict[str, float | str]]:
        """(the score, the verdicts) of an answer that rules have scored.

        An answer that they do not hold for wholly right is graded where its task is one of `Judgeable.judged`; without
        a readable part it is wrong and not asked about. A reply that holds no grade, and a refusal of this answer
        alone, is a grade of 0, and says so.

        Raises:
            UserError: the judge cannot be reached, or refuses.
        """
        verdicts: dict[str, float | str] = {}
        reference = _reference(benchmark, sample)
        if score < 1.0 and isinstance(benchmark, Judgeable) and sample.task in benchmark.judged:
            said, _ = Place(("auto",), "answer", None).read(text)
            if said:
                verdicts["answer"] = self._ask(said, sample.question, reference, RUBRIC)
            score = graded(verdicts, "answer")
        if self.config.reasoning and score == 1.0:
            verdicts["reasoning"] = self._ask(text, sample.question, reference, SOUND)
        return score, verdicts

    def _ask(self, text: str, question: str, reference: str, rubric: str) -> float | str:
        try:
            grade = self._request(text, question, reference, rubric)
        except Failure as error:
            if error.reason == "judge_unreadable" or (error.status in OWN_FAULT and self._answers_others()):
                return UNREADABLE
            raise UserError(
                f"judge '{self.config.model}' at {masked(self.config.url)} gave no verdict ({error.reason}): "
                f"{masked(str(error))}; what is written is gone on with by the same command"
            ) from None
        self._answers = True
        return grade

    def _request(self, text: str, question: str, reference: str, rubric: str) -> float:
        messages = write_prompt(text, question, reference, rubric, 1)
        return float(session_of(self._judge).ask(messages, partial(read_verdict, scale=1))[0])

    def _answers_others(self) -> bool:
        """Whether the judge has given a verdict, or replies to a short question."""
        if not self._answers:
            try:
                self._request("Hi", "Say hi.", "Hi", RUBRIC)
                self._answers = True
            except Failure as error:
                self._answers = error.reason == "judge_unreadable"
        return self._answers

    @property
    def protocol(self) -> Mapping[str, Any]:
        """What its grades depend on: its model, and what it is asked."""
        rubrics = [RUBRIC, *([SOUND] if self.config.reasoning else [])]
        prompts = [write_prompt("", "", "", rubric, 1) for rubric in rubrics]
        asked = {"reasoning": True} if self.config.reasoning else {}
        return {"model": self.config.model, "max_tokens": self.config.max_tokens, "prompts": prompts, **asked}

    def protocol_for(self, benchmark: Benchmark) -> Mapping[str, Any] | None:
        """`protocol`; None of a benchmark whose answers it never grades."""
        answers = self.config.reasoning and not isinstance(benchmark, Played)
        return self.protocol if answers or _is_judged(benchmark) else None


def open_judge(config: JudgeConfig | None, benchmarks: Sequence[Benchmark]) -> AnswerJudge | None:
    """What grades these benchmarks' answers. Raises UserError where there is nothing for it to grade."""
    if config is None:
        return None
    if not config.reasoning and not any(map(_is_judged, benchmarks)):
        raise UserError(
            "judge: rules score every answer of these benchmarks, so there is nothing to grade; leave it out, or set "
            "judge.reasoning: true to have the reasoning of right answers graded"
        )
    return AnswerJudge(config)


def _is_judged(benchmark: Benchmark) -> bool:
    return isinstance(benchmark, Judgeable) and bool(benchmark.judged)


def _reference(benchmark: Benchmark, sample: Sample) -> str:
    gold = benchmark.gold(sample) if isinstance(benchmark, Described) else None
    return gold if gold is not None else str(sample.target.get("answer", ""))


def _number(verdict: float | str) -> float:
    return 0.0 if verdict == UNREADABLE else float(verdict)


def reasoning_graded(protocol: Mapping[str, Any]) -> bool:
    """Whether a judge grades the reasoning of right answers, as `Protocol` has it."""
    return bool(protocol.get("scoring", {}).get("judge", {}).get("reasoning"))


def graded(verdicts: Mapping[str, float | str], what: str) -> float:
    """The grade of `answer` or `reasoning`; 0 where it was not readable, or not asked for."""
    return _number(verdicts.get(what, 0.0))
