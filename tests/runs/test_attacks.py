"""The benchmarks that attack mmrl: what they call a failure, and a few of their trials."""

import itertools
import json
import math
import time
from random import Random

import pytest

from benchmarks import chaos_ground, fuzz
from benchmarks.chaos_ground import Done, Ground, leftovers
from benchmarks.chaos_trials import TRIALS
from benchmarks.guards import read_guards
from benchmarks.mutants import Noticed, draw, in_child, summary
from benchmarks.mutants_make import Mutation, mutated, mutations
from tests.support.paths import ROOT
from vision_rewards import RewardResult

SOURCE = '''
def weigh(reward: float, known: float = 0.5) -> float:
    """No text is changed."""
    if not reward > 1 and reward:
        raise ValueError(f"{reward + 1}")
    return call(known.detach(), reward)[-1] - known
'''
CHANGES = {
    "0.5 -> 1.0",
    "not reward > 1 and reward -> not reward > 1 or reward",
    "not reward > 1 -> reward > 1",
    "reward > 1 -> reward >= 1",
    "1 -> 2",
    "call(known.detach(), reward)[-1] - known -> call(known.detach(), reward)[-1] + known",
    "-1 -> 0",
    "call(known.detach(), reward) -> call(reward, known.detach())",
    "known.detach() -> known",
}


def test_changes_of_a_module_are_those_that_alter_what_it_does():
    changes = mutations("a.py", SOURCE)
    assert {f"{change.before} -> {change.after}" for change in changes} == CHANGES
    assert {change.line for change in changes} == {2, 4, 6}
    compiled = {compile(mutated("a.py", SOURCE, change.number), "a.py", "exec") for change in changes}
    assert len(compiled) == len(changes)


def test_changes_are_drawn_kind_after_kind_without_those_that_are_equivalent():
    text = (ROOT / "mmrl/objectives/gae.py").read_text()
    sources, every = {"gae.py": text}, mutations("gae.py", text)
    kinds = {change.kind for change in every}
    first = draw(sources, len(kinds), 0, {})
    assert {change.kind for change in first} == kinds
    assert draw(sources, 999, 0, {}) == draw(sources, 999, 0, {})
    same = [change for change in every if change.title == first[0].title]
    assert len(draw(sources, 999, 0, {first[0].title: "why"})) == len(every) - len(same)


def test_a_change_stays_drawn_whatever_is_written_elsewhere():
    text = (ROOT / "mmrl/objectives/gae.py").read_text()
    every = mutations("gae.py", text)
    before = draw({"gae.py": text}, len(every), 0, {})
    more = {"new.py": "x = 1 + 2\ny = not x\n", "gae.py": text + "\n\nbeyond = 3\n"}
    after = [change for change in draw(more, 999, 0, {}) if change.file == "gae.py" and "beyond" not in change.text]
    for kind in {change.kind for change in every}:
        titles = [[change.title for change in drawn if change.kind == kind] for drawn in (before, after)]
        assert titles[0] == titles[1]
    assert [c.title for c in before] != [c.title for c in draw({"gae.py": text}, len(every), 1, {})]


def test_lines_that_stand_twice_are_drawn_apart():
    places = [[c.number for c in draw({"a.py": "x(1)\n" * 8}, 99, seed, {}) if c.kind == "number"] for seed in range(9)]
    assert all(sorted(numbers) == sorted(places[0]) for numbers in places)
    assert len({tuple(numbers) for numbers in places}) > 1


def test_what_two_processes_noted_is_kept_together(tmp_path):
    changes = [Mutation("mmrl/objectives/gae.py", 1, number, "sign", "-x", "x") for number in range(2)]
    path, test = tmp_path / "build" / "noticed.json", "tests/runs/test_attacks.py::test_x"
    first, second = Noticed(path), Noticed(path)
    assert first.of(changes[0]) is None
    first.keep(changes[0], test)
    second.keep(changes[1], test)
    assert [Noticed(path).of(change) for change in changes] == [test, test]


def test_every_guard_stands_where_its_list_says():
    """Else the benchmark refuses to begin."""
    guards = read_guards([])
    assert len(guards) > 70
    assert all((ROOT / test.split("::")[0]).is_file() for guard in guards for test in guard.tests)


def test_a_child_that_only_waits_ends_by_the_clock(tmp_path):
    assert in_child(idle, 600.0, tmp_path / "log", clock=0.2) is None
    assert in_child(lambda: 3, 600.0, tmp_path / "log", clock=60.0) == 3


def test_the_share_noticed_is_that_of_all_changes_drawn():
    changes = [Mutation("a.py", 1, number, "sign", "-x", "x") for number in range(4)]
    states = [("noticed", "t"), ("noticed", "t"), ("survived", "3 tests pass"), ("untouched", "none")]
    result = summary(dict(zip(changes, states, strict=True)), 0, 0)
    assert result["value"] == 0.5
    assert len(result["details"]["survivors"]) == 2


class Broken:
    def __init__(self, **result):
        self.result = RewardResult(**{"score": 1.0, "parts": {}, "parsed": None, "reason": "ok", **result})

    def __call__(self, text, target):
        return self.result

    def accuracy(self, result):
        return result.score


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda text: fuzz.score(Broken(), {}, text), ""),
        (lambda text: fuzz.score(Broken(score=None), {}, text), ""),
        (lambda text: fuzz.score(Broken(score=1.5), {}, text), "score 1.5"),
        (lambda text: fuzz.score(Broken(parts={"x": float("nan")}), {}, text), "parts"),
        (int, "raised ValueError"),
        (fuzz.read_recipe, ""),
    ],
)
def test_fuzz_tells_what_a_reading_may_not_do(read, words):
    failure, *_ = fuzz.attempt(fuzz.Subject("x", read), "{")
    assert bool(failure) == bool(words)
    assert words in failure


@pytest.mark.parametrize(("waits", "clock", "used", "wrong"), [
    (False, 1.5, 1.5, True), (False, 1.5, 0.5, False), (False, 99.0, 0.5, False), (True, 61.0, 0.5, True),
    (True, 59.0, 0.5, False), (False, 0.9, 9.0, False),
])  # fmt: skip
def test_fuzz_tells_what_took_too_long(monkeypatch, waits, clock, used, wrong):
    monkeypatch.setattr(fuzz.time, "perf_counter", iter([0.0, clock]).__next__)
    monkeypatch.setattr(fuzz.time, "process_time", iter([0.0, used]).__next__)
    assert bool(fuzz.attempt(fuzz.Subject("x", str, waits=waits), "x")[0]) == wrong


def test_the_same_input_has_the_same_text():
    one, other = fuzz.Writer(3), fuzz.Writer(3)
    drawn = [one.draw(index) for index in range(60)]
    assert [(s.name, t) for s, t in drawn] == [(s.name, t) for s, t in map(other.draw, range(60))]
    assert len({text for _, text in drawn}) > 40
    assert not any(fuzz.attempt(s, t)[0] for s, t in drawn if not s.waits)


TRACE = "Traceback (most recent call last):\n mmrl: error: x"


@pytest.mark.parametrize(("code", "text", "words"), [
    (0, "", ""), (2, "mmrl: error: no", ""), (143, "", ""), (2, "", "says not why"), (1, "mmrl: error: x", "exits"),
    (-11, "", "exits with -11"), (None, "", "hangs"), (2, TRACE, "traceback"),
])  # fmt: skip
def test_chaos_tells_how_a_command_may_not_end(code, text, words):
    wrong = list(Done("train", code, text, 1.0).wrong())
    assert len(wrong) == bool(words)
    assert all(words in line for line in wrong)


def idle():
    time.sleep(600)
    return 0


def busy():
    while True:
        math.sqrt(2)


@pytest.mark.parametrize(("work", "bound", "times"), [(idle, 0.2, 1.0), (busy, 0.4, 3.0)])
def test_chaos_waits_longer_for_what_computes_and_not_for_ever(work, bound, times, tmp_path, monkeypatch):
    monkeypatch.setattr(chaos_ground, "BUSY", times)
    # However little of a processor it gets here.
    computed = itertools.count() if work is busy else itertools.repeat(0)
    monkeypatch.setattr(chaos_ground.Child, "computed", lambda self: next(computed))
    done = chaos_ground.Child(work, tmp_path, "work").end(bound, look=0.1)
    assert done.code is None
    assert done.seconds >= times * bound


def test_chaos_counts_what_a_command_computes(tmp_path):
    child = chaos_ground.Child(busy, tmp_path, "work")
    before = child.computed()
    while child.computed() <= before:
        time.sleep(0.01)
    assert child.end(0.0, look=0.0).code is None


def test_chaos_tells_what_is_left_behind(tmp_path):
    for name in (".run.0001.lock", "a.part", "b.jsonl"):
        (tmp_path / name).touch()
    assert sorted(line.split(": ")[1] for line in leftovers(tmp_path)) == [".run.0001.lock", "a.part"]


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return Ground(tmp_path_factory.mktemp("chaos") / "ground")


@pytest.mark.slow
def test_chaos_sees_a_run_that_differs(ground, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    assert any("is not the one without faults" in line for line in ground.compare(run))
    lines = [json.loads(line) for line in (ground.whole / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) == 3
    assert list(ground.compare(ground.whole)) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["killed_training", "damaged_checkpoint", "odd_recipe", "hostile_checkpoint"])
def test_a_trial_of_chaos_finds_nothing(ground, tmp_path, kind):
    """Whatever the moment of a kill, the run is resumed to the same end."""
    assert list(TRIALS[kind](ground, Random(kind), tmp_path)) == []
