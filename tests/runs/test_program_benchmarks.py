"""Benchmarks of samplers, programs and generated data: their data, what they count, and the tables of the docs."""

import json
from pathlib import Path

import pytest

from benchmarks import program, samplers
from benchmarks.sampler_digits import LEVELS, rows
from mmrl import load_recipe
from mmrl.recipe.samplers import SAMPLERS
from tests.support.benchmarks import result_of
from tests.support.paths import ROOT

START = {"one": 0.9, "two": 0.5, "four": 0.1, "mean": 0.5}


def ran(mean, signal=0.5, **drawn):
    shares = {**dict.fromkeys(LEVELS, 0.25), **drawn}
    accuracy = {**dict.fromkeys(samplers.LEARNABLE, mean), "mean": mean}
    return {"accuracy": accuracy, "signal": signal, "drawn": shares, "seconds": 1.0}


def test_rows_have_the_difficulty_that_they_say():
    data = rows("test", 8)
    assert [sample.columns["level"] for sample in data] == [*LEVELS] * 2
    assert [len(sample.demonstration) for sample in data] == [1, 2, 4, 2] * 2
    spreads = [max(high - low for low, high in sample.images[0].getextrema()) for sample in data[:4]]
    assert min(spreads[:3]) > 2 * spreads[3], "the empty picture holds no ink"
    assert [sample.images[0].tobytes() for sample in rows("test", 8)] == [sample.images[0].tobytes() for sample in data]
    assert rows("train", 4)[2].demonstration != data[2].demonstration


def test_every_sampler_is_measured():
    assert set(samplers.samplers(8)) == set(SAMPLERS.entries)


def test_failures_are_counted_once_per_sampler():
    runs = {
        "uniform": [ran(0.6), ran(0.7)],
        "pcl": [ran(0.8, signal=0.9), ran(0.8, signal=0.7)],
        "dots": [ran(0.6), {"failed": "ValueError: no"}],
        "sec": [ran(0.6, two=0.0), ran(0.44)],
    }
    result = samplers.summary(runs, START, {"seeds": 2, "steps": 1, "shown": 1, "held_out": 1})
    assert result["value"] == 2
    assert result["details"]["failures"] == {
        "dots": ["ValueError: no"],
        "sec": ["drew nothing of two", "ended at 0.44"],
    }
    table = result["details"]["samplers"]
    assert table["pcl"]["gain"] == pytest.approx(0.15)
    assert table["pcl"]["signal"] == 0.8
    assert table["dots"]["accuracy"] == 0.6
    assert len(samplers.table(result)) == 6


def test_both_arms_take_the_same_steps_and_rollouts():
    work = program.Work()
    assert work.plain_prompts * program.ANSWERS * program.ROUNDS * work.rl == work.rollouts
    recipe = {"name": "x", "policy": {"path": "quickstart"}, "data": {"train": [program.TRAIN]}}
    taken = []
    for stages in (program.program(work), program.plain(work)):
        read = load_recipe({**recipe, "stages": stages, "rollout": {"n": program.ANSWERS, "max_new_tokens": 6}})
        trained = [stage for stage in read.stages if stage.generate is None]
        taken.append(
            (
                sum(stage.steps for stage in trained if stage.method == "sft"),
                sum(stage.steps for stage in trained if stage.method == "grpo"),
            )
        )
    assert taken[0] == taken[1]
    with pytest.raises(ValueError, match="no whole number of prompts"):
        program.Work(asked=1).plain_prompts  # noqa: B018


def test_the_program_s_lead_is_the_mean_of_the_seeds():
    runs = {
        name: [{"table": {"start": 0.1, "final": value}, "final": {"mean": value}, "seconds": 2.0} for value in finals]
        for name, finals in {"program": (0.5, 0.7), "plain": (0.4, 0.4)}.items()
    }
    result = program.summary(runs, program.SMALL)
    assert result["value"] == 0.2
    assert result["details"]["leads"] == [0.1, 0.3]
    assert result["details"]["arms"]["program"]["table"] == {"start": 0.1, "final": 0.6}


def test_the_table_of_the_docs_is_that_of_the_result():
    written = json.loads((ROOT / "benchmarks" / "results" / "samplers.json").read_text())
    assert "\n".join(samplers.table(written)) in (ROOT / "docs" / "results.md").read_text()


@pytest.mark.slow
def test_generate_throughput_prints_its_result(tmp_path: Path) -> None:
    """A smoke run ends with the JSON line, both sides having sampled the same tokens."""
    result = result_of("generate_throughput", "--small", "--output", str(tmp_path / "result.json"))
    assert result["value"] > 0
    assert set(result["details"]["ratios"]) == {"thread", "process"}
