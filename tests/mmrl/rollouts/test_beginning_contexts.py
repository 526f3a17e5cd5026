"""Contexts that answers begin with, that hint step by step, or that put rows into another form."""

import json
from dataclasses import replace

import pytest
import torch

from mmrl import load_recipe, train
from mmrl.contracts.engine import Completion
from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.source import Means, Ready, Terms
from mmrl.contracts.types import Likelihood, Sample, StopReason
from mmrl.recipe.contexts import context_settings
from mmrl.recipe.rollout import RolloutConfig, SamplingConfig
from mmrl.rollouts.answers import AnswerSource
from mmrl.rollouts.contexts.beginnings import DemonstrationPrefix, Prefill
from mmrl.rollouts.contexts.templates import Templates
from mmrl.rollouts.sources import terms_of

QUESTION = ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]},)
SAMPLE = Sample("a", QUESTION, "counting", {"count": 3}, demonstration="abcdefghij", dataset="d", row=4)
END = 0


class Letters:
    """A policy whose units are letters, and an engine that adds one to what it is given."""

    module = torch.nn.Linear(1, 1)

    def prepare(self, samples):
        return [f"{sample.id}: {sample.question}" for sample in samples]

    def localise(self, sample, prompt):
        return sample

    def demonstration(self, sample, limit):
        return torch.tensor([*map(ord, sample.demonstration), END])

    def decode_text(self, tokens):
        return "".join(chr(unit) for unit in tokens.tolist() if unit)

    def log_probs(self, batch, entropy="none"):
        steps = torch.arange(batch.tokens_RU.shape[1], dtype=torch.float32)[None]
        return Likelihood(-steps - 1, batch.mask_RU, entropy_RU=steps)

    def generate(self, requests, sampling, seed):
        self.requests = requests
        made = []
        for request in requests:
            given = torch.zeros(0, dtype=torch.long) if request.prefix is None else request.prefix
            hinted = "Reference" in request.prompt
            units = torch.cat([given, torch.tensor([ord("R" if self.right(request) else "W"), END])])
            log_probs = torch.cat([torch.zeros(len(given)), torch.full((2,), -7.0 if hinted else -5.0)])
            made.append([Completion(units, log_probs, StopReason.END, given=len(given)) for _ in range(request.n)])
        return made

    right = staticmethod(lambda request: False)


class Scores:
    def with_group(self, texts, sample):
        return sample

    def score_all(self, pairs):
        return [replace(t, reward=float("R" in t.text), accuracy=float("R" in t.text)) for t, _ in pairs]

    def score(self, trajectory, sample):
        return self.score_all([(trajectory, sample)])[0]


def planned(context, letters=None, n=4, progress=0.0, rows=(SAMPLE,)):
    letters = letters or Letters()
    terms = terms_of(RolloutConfig(n=n, context=context))
    terms = replace(terms, sampling=SamplingConfig(), seed=5, progress=progress)
    ready = [Ready(row, tuple(letters.prepare([row]))) for row in rows]
    return letters, AnswerSource(Means(letters, letters, None, Scores())).plan(ready, terms)


def test_a_prefix_is_continued_by_its_share_of_the_answers_and_its_least_sure_units_are_learned():
    context = {"name": "prefix", "share": 0.25, "low": 0.8, "high": 0.8, "low_end": 0.0, "learned": 0.25}
    letters, (group,) = planned(context)
    *plain, continued = (trajectory.decisions[0] for trajectory in group.trajectories)
    assert [request.prefix is None for request in letters.requests] == [False, True]
    assert all(decision.learned is None and decision.given == 0 for decision in plain)
    assert group.trajectories[-1].text == "abcdefghW"
    # Of 8 given units the 2 of highest entropy, which rises with their place, and all that was sampled.
    assert continued.learned.tolist() == [False] * 6 + [True] * 4
    assert continued.log_probs.tolist() == [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0, -5.0, -5.0]
    assert continued.learned_units == 4
    assert group.trajectories[-1].info == {"context": True, "given": 8}


def test_the_shortest_prefix_falls_along_a_cosine():
    prefix = DemonstrationPrefix(context_settings({"name": "prefix"}))
    assert [round(prefix.shortest(progress), 3) for progress in (0.0, 0.5, 1.0)] == [0.95, 0.5, 0.05]
    lengths = [len(prefix.begin(SAMPLE, Letters(), 64, 1.0, seed).units) for seed in range(40)]
    assert min(lengths) < 3 < 8 < max(lengths) <= 10
    again = [len(prefix.begin(SAMPLE, Letters(), 64, 1.0, seed).units) for seed in range(40)]
    assert lengths == again
    with pytest.raises(BadSample, match=r"has no demonstration, and rollout\.context 'prefix' continues it"):
        prefix.begin(replace(SAMPLE, demonstration=None), Letters(), 64, 1.0, 0)


def test_a_prefill_comes_from_the_recipe_or_the_row_and_is_not_learned():
    _, (group,) = planned({"name": "prefill", "text": "So 4."}, n=2)
    assert [t.text for t in group.trajectories] == ["So 4.W"] * 2
    assert [t.decisions[0].learned_units for t in group.trajectories] == [2, 2]
    own = Prefill(context_settings({"name": "prefill", "column": "flaw"}))
    assert len(own.begin(replace(SAMPLE, columns={"flaw": "xy"}), Letters(), 64, 0.0, 0).units) == 2
    assert len(own.begin(replace(SAMPLE, columns={"flaw": ""}), Letters(), 64, 0.0, 0).units) == 0
    with pytest.raises(BadSample, match="has no column 'flaw'"):
        own.begin(SAMPLE, Letters(), 64, 0.0, 0)
    with pytest.raises(BadSample, match="column 'flaw' holds int, not text"):
        own.begin(replace(SAMPLE, columns={"flaw": 3}), Letters(), 64, 0.0, 0)


def test_hints_grow_until_an_answer_is_right():
    letters = Letters()
    asked = []

    def right(request):
        asked.append(request.prompt)
        return request.prompt.endswith("abc def")

    letters.right = right
    row = replace(SAMPLE, demonstration="abc def ghi jkl")
    context = {"name": "reference", "part": [0.25, 0.5, 1.0], "on_fail": True, "share": 0.5, "corrected": True}
    _, (group,) = planned(context, letters, rows=(row,))
    assert asked == ["a: How many?", "a: How many?\nReference: abc", "a: How many?\nReference: abc def"]
    assert [t.accuracy for t in group.trajectories] == [0.0, 0.0, 1.0, 1.0]
    hinted = group.trajectories[-1]
    assert hinted.info["sampled_under"] == "How many?\nReference: abc def"
    # Scored under the question alone; its ratio starts from what sampled it.
    assert hinted.decisions[0].prompt == "a: How many?"
    assert hinted.decisions[0].log_probs is None
    assert hinted.decisions[0].old.tolist() == [-7.0, -7.0]
    assert group.trajectories[0].decisions[0].old is None


FORMS = [{"text": "{question} Briefly."}, {"text": "Look: {question}", "rewards": [{"name": "format"}]}]


def test_a_form_is_that_of_all_answers_to_a_row_and_has_rewards_of_its_own():
    rows = [replace(SAMPLE, row=i, id=str(i)) for i in range(12)]
    letters, groups = planned({"name": "templates", "templates": FORMS, "weight": 0.25}, rows=rows)
    asked = [request.prompt for request in letters.requests]
    names = [{t.info["form"] for t in group.trajectories} for group in groups]
    assert {"template 0", "template 1"} == set().union(*names)
    assert all(len(each) == 1 for each in names)
    for group, prompt in zip(groups, asked, strict=True):
        first = group.trajectories[0]
        formed = first.info["form"] == "template 1"
        assert prompt.endswith("Look: How many?" if formed else "How many? Briefly.")
        # Scored where it was sampled, so that its log-probs hold; pictures stay.
        assert first.decisions[0].prompt == prompt
        assert first.decisions[0].log_probs is not None
        assert [part["type"] for part in group.sample.messages[-1]["content"]] == ["image", "text"]
        assert ("form" in first.parts) == formed


def test_demonstrations_take_forms_too():
    letters = Letters()
    context = Templates(context_settings({"name": "templates", "templates": FORMS[:1]}))
    source = AnswerSource(Means(letters, letters, None, Scores()))
    terms = Terms(SamplingConfig(), context=context)
    (group,) = source.demonstrate([Ready(SAMPLE, ("plain",))], terms, scored=False)
    assert group.trajectories[0].decisions[0].prompt == "a: How many? Briefly."


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "reference", "part": [0.5, 0.9]}, "several parts are tried one after the other"),
        ({"name": "reference", "part": [0.9, 0.5], "on_fail": True}, "part [0.9, 0.5] does not rise"),
        ({"name": "reference", "part": 1.5}, "part 1.5 is no share"),
        ({"name": "prefix", "high": 0.5}, "low 0.95 to 0.05 is not below high 0.5"),
        ({"name": "prefill"}, "needs one of text and column"),
        ({"name": "templates", "templates": []}, "rollout.context.templates"),
        ({"name": "templates", "templates": [{"text": "Hm"}]}, "the text has no {question}, so it would ask nothing"),
        ({"name": "templates", "templates": FORMS, "share": 0.5}, "leave share and on_fail out"),
        (
            {"name": "templates", "templates": [*FORMS, {"text": "{question}", "rewards": [{"name": "fromat"}]}]},
            "stages.grpo.rollout.context.templates.2.rewards.0.name: unknown reward 'fromat'. Did you mean 'format'?",
        ),
        ({"name": "prefx"}, "unknown context 'prefx'. Did you mean 'prefix'?"),
    ],
)
def test_what_no_context_takes_is_refused(tiny_recipe, given, said):
    tiny_recipe["rollout"]["context"] = given
    with pytest.raises(ConfigError) as error:
        load_recipe(tiny_recipe)
    assert said in str(error.value)


def test_ratios_that_nothing_reads_are_not_corrected(tiny_recipe):
    tiny_recipe["rollout"]["context"] = {"name": "reference", "corrected": True}
    assert load_recipe(tiny_recipe)
    tiny_recipe["objective"] = {"streams": {"rl": {"coefficient": {"kind": "one"}}}}
    with pytest.raises(ConfigError, match="corrected changes ratios, and no coefficient of rollouts reads them"):
        load_recipe(tiny_recipe)


def test_a_stage_continues_demonstrations(workplace, tiny_recipe):
    tiny_recipe["rollout"] |= {"n": 2, "max_new_tokens": 12, "context": {"name": "prefix", "share": 0.5}}
    tiny_recipe["steps"] = 1
    outcome = train(tiny_recipe)
    (path,) = (outcome.folder / "rollouts").glob("step_*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [bool(line["info"].get("given")) for line in lines] == [False, True] * 2
    (record,) = [line for line in map(json.loads, (outcome.folder / "metrics.jsonl").read_text().splitlines())
                 if "gap/log_prob_max" in line]  # fmt: skip
    assert record["gap/log_prob_max"] < 1e-3
