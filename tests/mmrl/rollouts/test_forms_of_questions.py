"""Contexts that ask in several forms: hints, paraphrases and corrupted pictures; questions that a policy asks."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from mmrl.contracts.engine import Completion
from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.generated import Answer, answered
from mmrl.contracts.source import Means, Ready, Terms
from mmrl.contracts.types import Sample, StopReason
from mmrl.data.corruption import GREY
from mmrl.recipe.contexts import context_settings
from mmrl.recipe.rollout import RolloutConfig, SamplingConfig
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.answers import AnswerSource
from mmrl.rollouts.contexts.corrupted import Corrupted
from mmrl.rollouts.contexts.hints import Hints
from mmrl.rollouts.contexts.paraphrases import Paraphrases
from mmrl.rollouts.sources import terms_of
from mmrl.rollouts.written_rows import written_rows

TEXT = {"role": "user", "content": [{"type": "text", "text": "How many?"}]}
SEEN = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}
SAMPLE = Sample("a", (TEXT,), "counting", {"count": 3}, demonstration="one two three", dataset="own", row=4)
PICTURE = replace(SAMPLE, messages=(SEEN,), images=(Image.new("RGB", (40, 20), "red"),))


def hints(**settings):
    levels = context_settings({"name": "hints", **settings}).levels()
    return [Hints(level) for level in levels]


def test_sets_of_hints_grow():
    shown = [each.shown(SAMPLE).question.partition("Hints: ")[2] for each in hints(tries=7)]
    assert shown == ["one", "two", "three", "one; two", "one; three", "two; three", "two; three"]
    own = replace(SAMPLE, columns={"points": ["a b", "c"]})
    assert [each.shown(own).question for each in hints(column="points", most=1, tries=2, text="({hints})")] == [
        "How many?\n(a b)",
        "How many?\n(c)",
    ]
    lines = replace(SAMPLE, demonstration="first step\nsecond step")
    assert hints()[1].shown(lines).question.endswith("Hints: second step")
    with pytest.raises(BadSample, match="no list of texts in column 'points'"):
        hints(column="points")[0].shown(SAMPLE)
    with pytest.raises(BadSample, match="has no demonstration"):
        hints()[0].shown(replace(SAMPLE, demonstration=None))
    with pytest.raises(ConfigError, match=r"the text has no \{hints\}"):
        hints(text="Hint")
    rollout = RolloutConfig(n=4, context={"name": "hints", "share": 0.5, "tries": 3})
    terms = terms_of(rollout)
    assert (terms.on_fail, terms.shown, len(terms.further)) == (True, 2, 2)


class Reads:
    """A policy whose prompt is the question."""

    config = None

    def prepare(self, samples):
        return [sample.question for sample in samples]

    def decode_text(self, tokens):
        return f"answer {tokens.tolist()[0]}"


class Counts:
    """An engine whose answers count up over all requests."""

    def generate(self, requests, sampling, seed):
        made, number = [], 0
        self.asked = [(request.prompt, request.n) for request in requests]
        for request in requests:
            units = [torch.tensor([number + i]) for i in range(request.n)]
            made.append([Completion(each, torch.zeros(1), StopReason.END) for each in units])
            number += request.n
        return made


class Agrees:
    def with_group(self, texts, sample):
        self.texts = texts
        return sample

    def score_all(self, pairs):
        return [replace(trajectory, reward=1.0, accuracy=1.0) for trajectory, _ in pairs]


def test_answers_of_a_group_are_dealt_to_paraphrases_and_scored_under_them():
    context = Paraphrases(context_settings({"name": "paraphrases", "texts": ["{question}", "Say: {question}"]}))
    engine, rewarder = Counts(), Agrees()
    means = Means(Reads(), engine, None, rewarder)
    terms = Terms(SamplingConfig(), 5, context=context)
    (group,) = AnswerSource(means).plan([Ready(SAMPLE, ("How many?",))], terms)
    assert engine.asked == [("How many?", 3), ("Say: How many?", 2)]
    prompts = [trajectory.decisions[0].prompt for trajectory in group.trajectories]
    assert prompts == ["How many?", "Say: How many?"] * 2 + ["How many?"]
    assert [trajectory.text for trajectory in group.trajectories] == [f"answer {i}" for i in (0, 3, 1, 4, 2)]
    assert [trajectory.info["sampled_under"] for trajectory in group.trajectories] == prompts
    # Rewards of agreement see the whole set.
    assert len(rewarder.texts) == 5
    (alone,) = AnswerSource(means).plan([Ready(SAMPLE, ("How many?",))], replace(terms, n=1))
    assert [t.decisions[0].prompt for t in alone.trajectories] == ["How many?"]


def test_paraphrases_of_a_row_stand_beside_its_own_question():
    context = Paraphrases(context_settings({"name": "paraphrases", "column": "others"}))
    forms = context.forms(replace(PICTURE, columns={"others": ["Count them."]}))
    assert [form.question for form in forms] == ["How many?", "Count them."]
    assert forms[1].messages[0]["content"][0] == {"type": "image"}
    with pytest.raises(BadSample, match="has no list of texts in column 'others'"):
        context.forms(SAMPLE)
    for settings, said in (
        ({}, "one of texts and column"),
        ({"texts": ["Hm"]}, r"has no \{question\}"),
        ({"column": "x", "share": 0.5}, "leave share and on_fail out"),
    ):
        with pytest.raises(ConfigError, match=said):
            context_settings({"name": "paraphrases", **settings})


def arm(pictures, sample=PICTURE, seed=3, **settings):
    own = {key: settings.pop(key) for key in ("answer",) if key in settings}
    context = context_settings({"name": "corrupted", "arms": [{"pictures": pictures, **own}], **settings})
    return Corrupted(context).dress(sample, seed)


def colours(image):
    return {colour: count for count, colour in image.getcolors()}


def test_an_arm_takes_pictures_away_and_may_say_what_is_right_then():
    assert arm("as_is").sample == PICTURE
    blind = arm("none").sample
    assert (blind.images, blind.messages[0]["content"]) == ((), [{"type": "text", "text": "How many?"}])
    blank = arm("blank", answer="unknown")
    assert colours(blank.sample.images[0]) == {GREY: 800}
    assert (blank.sample.task, blank.sample.demonstration, blank.name) == (
        "classification",
        "unknown",
        "pictures blank",
    )
    assert "unknown" in str(blank.sample.target)
    hidden = colours(arm("masked", side=0.5).sample.images[0])
    assert hidden[GREY] == pytest.approx(200, abs=40)
    shown = replace(PICTURE, columns={"evidence": [[0, 0, 10, 10], [10, 10, 20, 20]]})
    assert colours(arm("evidence", shown).sample.images[0])[GREY] == 200
    one = replace(PICTURE, columns={"region": [0, 0, 40, 10]})
    assert colours(arm("evidence", one, column="region").sample.images[0])[GREY] == 400
    assert PICTURE.images[0].getpixel((0, 0)) == (255, 0, 0)


def test_an_arm_that_a_row_cannot_have_is_refused():
    with pytest.raises(BadSample, match="column 'evidence' holds no boxes"):
        arm("evidence")
    with pytest.raises(BadSample, match="has no picture for the arm 'blank'"):
        arm("blank", SAMPLE)
    with pytest.raises(ConfigError, match="'blnk' is not allowed"):
        arm("blnk")


def test_each_arm_is_drawn_by_seed_and_row():
    arms = [{"pictures": "as_is"}, {"pictures": "blank"}]
    context = Corrupted(context_settings({"name": "corrupted", "arms": arms}))
    names = [context.dress(replace(PICTURE, row=row), 1).name for row in range(30)]
    assert set(names) == {"pictures as_is", "pictures blank"}
    assert names == [context.dress(replace(PICTURE, row=row), 1).name for row in range(30)]


def test_answers_become_questions_about_the_same_pictures():
    row = {"id": "r", "dataset": "own", "messages": [SEEN], "images": ["a.png"], "target": {"count": 3}}
    texts = ["<image> What colour is it? ", " "]
    answers = [Answer(i, text, 1.0, None, 3) for i, text in enumerate(texts)]
    (made,) = written_rows([answered({**row, "demonstration": "3"}, answers)], "questions", "run/ask", False)
    assert made["messages"] == [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What colour is it?"}]}
    ]
    assert (made["id"], made["images"], made["target"]) == ("r/0", ["a.png"], {"count": 3})
    assert "demonstration" not in made


ARMS = {"name": "corrupted", "arms": [{"pictures": "blank", "answer": "unknown"}]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "dpo", "rollout": {"context": ARMS}}, "would stand in place of both answers of a pair"),
        ({"generate": {}, "rollout": {"context": ARMS}}, "an answer of rollout.context.arms is right for other ones"),
        ({"generate": {"videos": 2}}, "films are of episodes, and data.train holds questions; leave it out"),
    ],
)
def test_what_a_stage_has_no_use_for_is_refused(changes, said):
    raw = {"name": "s", "policy": {"path": "quickstart"}, "data": {"train": [{"type": "digits"}]}}
    stage = {"name": "s", **changes} if "generate" in changes else {"name": "s", "method": "sft", "steps": 1, **changes}
    with pytest.raises(ConfigError, match=said):
        load_recipe({**raw, "stages": [stage]})
