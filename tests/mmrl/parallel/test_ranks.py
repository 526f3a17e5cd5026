"""Two processes over gloo: what they tell each other, how they fail together, and one gradient of both."""

import os
from contextlib import contextmanager

import pytest
import torch

from benchmarks.ranks import on_ranks
from mmrl.contracts.errors import BadSample, UserError
from mmrl.objectives.rows import Row
from mmrl.parallel.alike import check_alike
from mmrl.parallel.errors import LostProcess
from mmrl.parallel.joining import joined
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.parallel import ParallelConfig
from mmrl.trainer.step import accumulate, plan_step, score
from tests.support.policy import demo_rows, digits, load, sampled_rows, text_sample

SETTINGS = ParallelConfig(timeout=60)


@contextmanager
def raising(kind, say):
    """Tells `say` the type and text of what is raised inside, and whether another process prints it."""
    try:
        yield
    except kind as error:
        say.append((type(error).__name__, str(error), error.told))


def both(work):
    """What `work(world, said)` has said in each of two processes."""

    def do():
        said = []
        with raising(UserError, said), joined(SETTINGS, "cpu") as world:
            work(world, said)
        return said

    return on_ranks(2, do)


def test_everybody_hears_what_everybody_says_and_each_job_is_done_once():
    def work(world, said):
        said.append(world.exchange("a place", world.rank * 10))
        done = []
        said.append(world.each("jobs", [3, 1, 2], lambda job: done.append(job) or job * job, float))
        said.append(done)

    first, second = both(work)
    assert first[:2] == second[:2] == [[0, 10], [9, 1, 4]]
    assert (first[2], second[2]) == ([3], [1, 2]) or (first[2], second[2]) == ([3], [2, 1])


def test_an_error_in_one_is_raised_in_both_and_printed_once():
    def work(world, said):
        def do(job):
            if job == 1:
                raise BadSample("rows.jsonl row 7", "has no picture")

        world.each("jobs", [0, 1], do, lambda job: 1.0)

    first, second = both(work)
    assert first == [("BadSample", "process 1: rows.jsonl row 7: has no picture", False)]
    assert second == [("BadSample", "rows.jsonl row 7: has no picture", True)]


def test_an_error_outside_of_any_job_reaches_the_one_that_waits():
    def work(world, said):
        if world.rank == 1:
            raise UserError("no space left")
        world.exchange("a place", None)

    assert [said for ((_, said, _),) in both(work)] == ["process 1: no space left", "no space left"]


def test_what_cannot_travel_fails_in_both():
    ((_, first, _),), ((_, second, _),) = both(lambda world, said: world.exchange("rewards", lambda: world.rank))
    assert first == second
    assert first.startswith("rewards cannot be told to the other processes: ")


def test_processes_at_different_places_end_with_a_line():
    def work(world, said):
        world.exchange("sampling" if world.rank else "rewards", None)

    line = "processes have gone different ways: process 1 is at 'sampling', process 0 at 'rewards'"
    assert both(work) == [[("UserError", line, False)], [("UserError", line, True)]]


def test_what_differs_at_the_start_is_named():
    def work(world, said):
        check_alike(world, "the start", lambda: {"Python": "3.11", "version of torch": f"2.{world.rank}"})

    line = "the start: process 1 has another version of torch than process 0: '2.1', '2.0'"
    assert [said for ((_, said, _),) in both(work)] == [line, line]


def test_a_process_that_is_gone_is_not_waited_for():
    def work(world, said):
        world.exchange("a place", None)
        if world.rank == 1:
            os._exit(0)
        world.exchange("another", None)

    ((kind, line, told),), gone = both(work)
    assert gone is None
    assert (kind, told) == (LostProcess.__name__, False)
    assert line.startswith("process 0 has lost another one: it was ended, or took too long (")


def test_gradients_are_summed_and_one_that_nobody_has_stays_away():
    def work(world, said):
        whole, half, none = (torch.nn.Parameter(torch.zeros(3, dtype=torch.float64)) for _ in range(3))
        whole.grad = torch.full((3,), 1.0 + world.rank, dtype=torch.float64)
        if world.rank == 1:
            half.grad = torch.full((3,), 5.0, dtype=torch.float64)
        single = torch.nn.Parameter(torch.zeros(2))
        single.grad = torch.full((2,), 0.5)
        world.sum_gradients([whole, half, none, single])
        said.append([None if p.grad is None else p.grad.tolist() for p in (whole, half, none, single)])

    assert both(work) == [[[[3.0] * 3, [5.0] * 3, None, [1.0] * 2]]] * 2


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_two_processes_have_the_gradient_of_one(tiny_qwen, dtype, bound):
    """Answers and demonstrations of uneven length, rows without a picture beside others with one, and a critic."""
    policy = load(tiny_qwen(), value_head={"width": 16}, lora={"rank": 2})
    for module in (policy.module, policy.value_head):
        module.to(dtype)
    samples = [*digits(3, "ocr"), text_sample("What is 1 and 1?"), text_sample("And 2?")]
    objective = resolve_objective("co_train", {"entropy": 0.01})
    drawn: list[Row] = [*sampled_rows(policy, samples, 3), *demo_rows(policy, digits(2, "counting"))]
    parameters = {name: parameter for name, parameter, _ in policy.trainable()}

    def gradient(world):
        rows = score(drawn, "old", policy, 10_000, world)
        for parameter in parameters.values():
            parameter.grad = None
        sums = accumulate(rows, plan_step(objective, rows, 0, 8), policy, 10_000, world=world)
        return sums, {name: p.grad.numpy() for name, p in parameters.items() if p.grad is not None}

    def do():
        with joined(SETTINGS, "cpu") as world:
            return gradient(world)

    (sums, one), *others = on_ranks(1, do) + on_ranks(2, do)
    assert len(one) > 10
    for other_sums, other in others:
        assert other.keys() == one.keys()
        assert other_sums == pytest.approx(sums, rel=100 * bound)
        error = sum(float(((one[n] - other[n]) ** 2).sum()) for n in one) ** 0.5
        assert error <= bound * sum(float((one[n] ** 2).sum()) for n in one) ** 0.5
    assert all((others[0][1][n] == others[1][1][n]).all() for n in one)
