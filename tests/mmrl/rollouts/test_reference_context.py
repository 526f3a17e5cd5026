"""A reference behind the question while answers are sampled, always or where a group has failed."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.engine import Completion
from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.source import Means, Ready, Terms
from mmrl.contracts.types import Sample, StopReason
from mmrl.recipe.contexts import context_settings
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.answers import AnswerSource
from mmrl.rollouts.contexts.reference import Reference

SAMPLE = Sample(
    "a", ({"role": "user", "content": [{"type": "text", "text": "How many?"}]},), "counting", {"count": 3},
    demonstration="one two three four five",
)  # fmt: skip


def reference(**settings):
    return Reference(context_settings({"name": "reference", **settings}))


def test_the_first_words_stand_behind_the_question():
    assert reference().shown(SAMPLE).question == "How many?\nReference: one two three four five"
    shown = reference(part=0.5, text="Hint: {reference} …").shown(SAMPLE)
    assert shown.question == "How many?\nHint: one two three …"
    assert shown.target == SAMPLE.target
    with pytest.raises(BadSample, match=r"has no demonstration, and rollout\.context 'reference' shows it"):
        reference().shown(replace(SAMPLE, demonstration=None))
    with pytest.raises(ConfigError, match="the text has no"):
        reference(text="Hint")


class Told:
    """A policy that reads the hint."""

    config = None

    def prepare(self, samples):
        return [(sample.id, "Reference" in sample.question) for sample in samples]

    def decode_text(self, tokens):
        return str(tokens.tolist()[0])


class Asked:
    """An engine that answers right where the prompt holds a hint, or the row is easy."""

    def __init__(self):
        self.asked = []

    def generate(self, requests, sampling, seed):
        self.asked.append([(request.prompt, request.n) for request in requests])
        made = []
        for request in requests:
            right = request.prompt[1] or request.prompt[0] == "easy"
            units = torch.tensor([int(right)])
            made.append([Completion(units, torch.zeros(1), StopReason.END) for _ in range(request.n)])
        return made


class Scores:
    def with_group(self, texts, sample):
        return sample

    def score_all(self, pairs):
        return [replace(t, reward=float(t.text), accuracy=float(t.text)) for t, _ in pairs]


def test_only_groups_that_failed_are_helped():
    told, engine = Told(), Asked()
    rows = [replace(SAMPLE, id="easy"), replace(SAMPLE, id="hard")]
    ready = [Ready(row, tuple(told.prepare([row]))) for row in rows]
    terms = Terms(SamplingConfig(), 4, context=reference(), shown=1, on_fail=True)
    easy, hard = AnswerSource(Means(told, engine, None, Scores())).plan(ready, terms)
    assert engine.asked == [[(("easy", False), 4), (("hard", False), 4)], [(("hard", True), 1)]]
    assert [t.accuracy for t in easy.trajectories] == [1.0] * 4
    assert [t.accuracy for t in hard.trajectories] == [0.0, 0.0, 0.0, 1.0]
    hinted = hard.trajectories[-1]
    # It is scored under the prompt without the hint, under which nothing has sampled it.
    assert hinted.decisions[0].prompt == ("hard", False)
    assert hinted.decisions[0].log_probs is None
    assert [bool(t.info.get("context")) for t in hard.trajectories] == [False, False, False, True]
