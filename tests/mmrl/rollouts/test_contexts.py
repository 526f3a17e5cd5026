"""`rollout.context`: what answers are sampled under is not what they are scored under."""

import pytest
import torch

from mmrl import load_recipe
from mmrl.contracts.errors import ConfigError
from mmrl.contracts.source import Means, Terms
from mmrl.contracts.types import Sample
from mmrl.recipe.contexts import InstructionSettings
from mmrl.recipe.rollout import SamplingConfig
from mmrl.rollouts.answers import AnswerSource
from mmrl.rollouts.contexts.instruction import Instruction

QUESTION = ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]},)


class Words:
    """A policy whose prompts are the texts of their samples, and an engine that answers with the prompt's length."""

    def prepare(self, samples):
        return ["|".join(p.get("text", "<image>") for m in s.messages for p in m["content"]) for s in samples]

    def decode_text(self, tokens):
        return str(tokens.tolist())

    def generate(self, requests, sampling, seed):
        from mmrl.contracts.engine import Completion
        from mmrl.contracts.types import StopReason

        self.requests = requests
        tokens = [torch.tensor([len(request.prompt)]) for request in requests]
        return [
            [Completion(units, torch.zeros(1), StopReason.END) for _ in range(request.n)]
            for units, request in zip(tokens, requests)
        ]


class Scores:
    def with_group(self, texts, sample):
        return sample

    def score_all(self, pairs):
        return [trajectory for trajectory, _ in pairs]


def sampled(share, n=4):
    words = Words()
    settings = InstructionSettings(text="Think.", share=share)
    sample = Sample("a", QUESTION, "counting", {"count": 3})
    ready = [AnswerSource.prepare(sample, Plain(words), None, False)]
    source = AnswerSource(Means(words, words, None, Scores()))
    terms = Terms(SamplingConfig(), n, context=Instruction(settings), shown=settings.count(n))
    (group,) = source.plan(ready, terms)
    return words, group


class Plain:
    """The policy without boxes to convert."""

    def __init__(self, words):
        self.prepare = words.prepare

    def localise(self, sample, prompt):
        return sample


def test_the_last_answers_are_sampled_under_it_and_all_are_scored_without():
    words, group = sampled(share=0.5)
    assert [(request.prompt, request.n) for request in words.requests] == [
        ("<image>|How many?|Think.", 2),
        ("<image>|How many?", 2),
    ]
    decisions = [trajectory.decisions[0] for trajectory in group.trajectories]
    assert {decision.prompt for decision in decisions} == {"<image>|How many?"}
    plain, told = len("<image>|How many?"), len("<image>|How many?|Think.")
    assert [int(decision.tokens[0]) for decision in decisions] == [plain, plain, told, told]


def test_log_probs_under_another_prompt_are_not_kept():
    _, group = sampled(share=0.25)
    assert [t.decisions[0].log_probs is None for t in group.trajectories] == [False, False, False, True]


def test_a_share_of_one_samples_every_answer_under_it():
    words, _ = sampled(share=1.0)
    assert [(request.prompt, request.n) for request in words.requests] == [("<image>|How many?|Think.", 4)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "instruktion", "text": "x"}, "rollout.context.name: unknown context 'instruktion'. Did you mean"),
        ({"name": "instruction"}, "rollout.context.text: this key is required"),
        ({"name": "instruction", "text": "x", "shair": 1}, "rollout.context.shair: unknown key 'shair'"),
        ("instruction", "rollout.context: a mapping with a name is needed"),
    ],
)
def test_what_no_context_reads_is_refused(tiny_recipe, given, said):
    tiny_recipe["rollout"]["context"] = given
    with pytest.raises(ConfigError) as error:
        load_recipe(tiny_recipe)
    assert said in str(error.value)


def test_a_stage_trains_on_answers_sampled_under_an_instruction(workplace, tiny_recipe):
    from mmrl import train

    tiny_recipe["rollout"]["context"] = {"name": "instruction", "text": "Look closely.", "share": 0.5}
    outcome = train(tiny_recipe)
    assert outcome.summary["finished"]
