"""`evaluation.benchmarks`: figures beside the held-out sets, in training and by `mmrl.evaluate`."""

import json

import pytest

from mmrl import evaluate, load_recipe, train
from mmrl.contracts.benchmark import Scored
from mmrl.contracts.errors import ConfigError, UserError
from mmrl.evaluation.benchmarks.digits import DigitsBenchmark
from mmrl.recipe.benchmarks import BENCHMARKS

OWN = """
from mmrl.contracts.types import Sample


class Letters:
    about = "does the answer hold any letter"

    def rows(self, root):
        content = ({"role": "user", "content": [{"type": "text", "text": "Say a word."}]},)
        return [Sample(f"letters-{i}", content, "letters", {}, dataset="letters", row=i) for i in range(5)]

    def score(self, completion, sample):
        return 1.0 if sample.row < 3 else 0.0

    def aggregate(self, scored):
        return {"score": sum(s.score for s in scored) / len(scored), "texts": float(all(s.text != "" for s in scored))}
"""


def test_gold_answers_of_the_digits_benchmark_score_one():
    benchmark = DigitsBenchmark()
    rows = [benchmark.rows(None)[i] for i in range(20)]
    scored = [Scored(sample, sample.demonstration, benchmark.score(sample.demonstration, sample)) for sample in rows]
    figures = benchmark.aggregate(scored)
    assert set(figures.values()) == {1.0}
    assert benchmark.score("nothing of the kind", rows[0]) == 0.0


def test_a_run_logs_a_benchmark_and_keeps_its_best(workplace, tiny_recipe):
    (workplace / "letters.py").write_text(OWN)
    tiny_recipe["evaluation"]["benchmarks"] = [{"name": "letters:Letters"}, {"name": "digits", "limit": 3}]
    tiny_recipe["checkpoint"] = {"best": "letters:Letters/score"}
    outcome = train(tiny_recipe)
    assert outcome.summary["final"]["letters:Letters/score"] == pytest.approx(0.6)
    assert "digits/score" in outcome.summary["final"]
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["eval/letters:Letters/score"] == pytest.approx(0.6)
    means = [key for key in outcome.summary["final"] if "/" not in key]
    assert sorted(means) == ["classification", "mean"]


def test_a_recipe_without_held_out_sets_has_the_benchmark_alone(workplace, tiny_recipe):
    (workplace / "letters.py").write_text(OWN)
    tiny_recipe["data"]["eval"] = []
    with pytest.raises(UserError, match=r"data\.eval is empty, and evaluation\.benchmarks too"):
        evaluate(tiny_recipe)
    tiny_recipe["evaluation"]["benchmarks"] = [{"name": "letters:Letters"}]
    assert evaluate(tiny_recipe) == {"letters:Letters/score": pytest.approx(0.6), "letters:Letters/texts": 1.0}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([{"name": "digit"}], "unknown benchmark 'digit'. Did you mean 'digits'?"),
        ([{"name": "digits"}, {"name": "digits"}], "each may stand there once, got digits, digits"),
        ([{"name": "digits", "split": "x"}], "unknown key 'split'"),
    ],
)
def test_what_is_no_benchmark_is_refused(tiny_recipe, given, said):
    tiny_recipe["evaluation"]["benchmarks"] = given
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        load_recipe(tiny_recipe)


def test_every_benchmark_says_what_it_is():
    for name in BENCHMARKS.names():
        assert BENCHMARKS.get(name).about


def test_a_recipe_may_measure_a_benchmark_that_brings_its_own_simulator(workplace):
    recipe = {
        "name": "robot",
        "threads": 1,
        "policy": {"type": "openvla", "path": "quickstart_robot"},
        "simulators": {"table": {"type": "tabletop", "num_blocks": 2, "image_size": 28, "max_steps": 2}},
        "data": {"train": [{"type": "episodes", "simulator": "table", "size": 4}]},
        "method": "sft",
        "steps": 1,
        "rollout": {"action_chunk": 2},
        "evaluation": {"benchmarks": [{"name": "tabletop", "limit": 2}]},
    }
    assert evaluate(recipe).keys() == {"tabletop/score"}
