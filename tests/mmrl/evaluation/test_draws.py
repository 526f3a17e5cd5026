"""Several answers to each question: figures against brute force, and nothing else changes."""

import json
from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrl.contracts.errors import ConfigError
from mmrl.evaluation.suite.comparing import compare_evaluations, render
from mmrl.evaluation.suite.draws import best_of, counts_of
from mmrl.evaluation.suite.opening import read_suite
from mmrl.evaluation.suite.records import read_records
from mmrl.evaluation.suite.runner import open_tasks
from mmrl.evaluation.suite.stored import merge
from tests.support.benchmark_rows import write
from tests.support.suite import Engine, ask, settings

HOT = {"temperature": 1.0}


@given(st.lists(st.integers(0, 4), min_size=1, max_size=7), st.data())
def test_the_expected_best_is_the_mean_over_all_choices(scores, data):
    k = data.draw(st.integers(1, len(scores)))
    best = [max(chosen) for chosen in combinations(scores, k)]
    assert best_of(scores, k) == pytest.approx(float(Fraction(sum(best), len(best))), rel=1e-12)


@pytest.mark.parametrize(("right", "k"), [(0, 3), (2, 1), (2, 3), (7, 4), (8, 2)])
def test_of_right_and_wrong_it_is_the_unbiased_pass_at_k(right, k):
    scores = [1.0] * right + [0.0] * (8 - right)
    assert best_of(scores, k) == pytest.approx(1 - comb(8 - right, k) / comb(8, k))


def test_figures_are_given_for_powers_of_two_and_all():
    assert [counts_of(n) for n in (1, 2, 3, 8, 12)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8], [1, 2, 4, 8, 12]]


class Drawn(Engine):
    """Gives the answers of a row in their order, and keeps the seeds."""

    def __init__(self, answers):
        self.counts, self.seeds = Counter(), {}

        def answer(sample):
            self.counts[sample.row] += 1
            return answers[sample.row][self.counts[sample.row] - 1]

        super().__init__(answer)

    def generate(self, requests, sampling, seed):
        for request in requests:
            self.seeds.setdefault(request.prompt.sample.row, []).append(request.seed)
        return super().generate(requests, sampling, seed)


# POPE's two rows are "no" and "yes".
ANSWERS = {0: ["yes", "no", "yes", "maybe"], 1: ["yes", "yes", "no", "yes"]}


@pytest.fixture
def pope(tmp_path):
    write(tmp_path, "pope")
    return tmp_path


def drawn(root, output, answers=ANSWERS, **keys):
    config = settings(root / output, ["pope"], data_root=str(root), samples=4, sampling=HOT, **keys)
    engine = Drawn(answers)
    return ask(config, engine, open_tasks(config))["pope"], engine


def test_each_row_is_asked_as_often_and_summed_up(pope):
    golds = [row["answer"].lower() for row in json.loads((pope / "pope.json").read_text())]
    assert golds == ["no", "yes"]
    entry, engine = drawn(pope, "out")
    assert (entry["rows"], entry["samples"], entry["failures"]) == (2, 4, 0)
    assert entry["score"] == pytest.approx((1 / 4 + 3 / 4) / 2)
    assert entry["draws"] == {
        "pass@1": pytest.approx((1 / 4 + 3 / 4) / 2),
        # 1 - C(3, 2) / C(4, 2) and 1 - C(1, 2) / C(4, 2).
        "pass@2": pytest.approx((3 / 6 + 1) / 2),
        "pass@4": 1.0,
        # "yes", "no", "maybe"; "yes", "no".
        "distinct": pytest.approx((3 / 4 + 2 / 4) / 2),
        "majority": 0.5,
    }
    seeds = [seed for row in engine.seeds.values() for seed in row]
    assert len(set(seeds)) == len(seeds) == 8
    records = read_records(pope / "out" / "pope" / "samples.jsonl")
    assert [records[place].answer for place in range(8)] == ANSWERS[0] + ANSWERS[1]


def test_curves_of_two_evaluations_stand_side_by_side(pope):
    drawn(pope, "base")
    drawn(pope, "tuned", {0: ["no", "no", "yes", "no"], 1: ["yes"] * 4})
    (pair,) = compare_evaluations(pope / "base", pope / "tuned")
    curves = {name: (before, after) for name, before, after in pair.draws}
    assert curves["pass@1"] == (0.5, pytest.approx((3 / 4 + 1) / 2))
    assert curves["pass@4"] == (1.0, 1.0)
    assert curves["distinct"] == (pytest.approx(0.625), pytest.approx((2 / 4 + 1 / 4) / 2))
    (line,) = [line for line in render([pair], ("base", "tuned")).splitlines() if "pass@2" in line]
    assert line.split() == ["pope", "pass@2", "0.750", "1.000", "+0.250"]


def test_the_first_draw_has_the_seed_of_a_single_one(pope):
    _, several = drawn(pope, "several")
    config = settings(pope / "one", ["pope"], data_root=str(pope), sampling=HOT)
    one = Drawn(ANSWERS)
    ask(config, one)
    assert [seeds[0] for seeds in several.seeds.values()] == [seeds[0] for seeds in one.seeds.values()]


def test_shards_and_batches_of_any_size_change_nothing(pope):
    drawn(pope, "whole")
    drawn(pope, "split", batch_size=3)
    for place in range(2):
        drawn(pope, f"part{place}", shard=f"{place}/2")
    merge([pope / "part0", pope / "part1"], pope / "merged", str(pope))
    for other in ("split", "merged"):
        for name in ("results.json", "pope/samples.jsonl", "pope/protocol.json"):
            assert (pope / other / name).read_bytes() == (pope / "whole" / name).read_bytes(), (other, name)


def test_rows_are_compared_by_the_mean_of_their_draws(pope):
    drawn(pope, "a")
    drawn(pope, "b", {0: ["no", "yes", "yes", "yes"], 1: ["no"] * 4})
    (pair,) = compare_evaluations(pope / "a", pope / "b")
    assert (pair.rows, pair.first, pair.second) == (2, pytest.approx(0.5), pytest.approx(0.125))
    # One of four is right in the first row of both, in another order.
    assert (len(pair.lost), len(pair.won)) == (1, 0)


def test_what_makes_no_sense_with_several_is_refused(pope):
    given = {"model": "stub", "tasks": ["pope"], "output": "out", "samples": 4}
    with pytest.raises(ConfigError, match="4 answers to a question are one at temperature 0"):
        read_suite(given)
    with pytest.raises(ConfigError, match="hold one answer to a row"):
        read_suite({**given, "sampling": HOT, "log_samples": True})


@pytest.mark.parametrize(
    ("name", "figure", "worth"),
    [
        ("videomme_v2", "score", (1 + 4 / 12) / 2),
        ("videomathqa_mbin", "score", 1 / 2),
        ("mmbench_en", "score", (1 + 1 / 2) / 2),
        # 3 of 4 answers and 1 of 2 pictures in one category, all in the other.
        ("mme", "score", 100 * (3 / 4 + 1 / 2) + 200),
        ("hallusionbench", "qAcc", (1 + 1 / 2) / 2),
    ],
)
def test_answers_that_count_together_are_those_of_one_draw(name, figure, worth, tmp_path):
    write(tmp_path, name)
    config = settings(tmp_path / "out", [name], data_root=str(tmp_path), samples=2, sampling=HOT)
    (task,) = open_tasks(config)
    counts = Counter()

    def answer(sample):
        """Wrong in the second draw of row 1."""
        counts[sample.row] += 1
        return "neither" if (sample.row, counts[sample.row]) == (1, 2) else task.benchmark.gold(sample)

    assert ask(config, answer, [task])[name]["figures"][figure] == pytest.approx(worth)
