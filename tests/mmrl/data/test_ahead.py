"""Reading ahead: order, the bound on bytes, errors in their place, and threads that end."""

import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample
from mmrl.data.ahead import ReadAhead, size_of
from mmrl.data.mixture import Mixture, Upcoming
from mmrl.data.reading_ahead import reading_ahead
from mmrl.data.rows import Rows

WAIT_S = 120


@dataclass
class Pictures:
    """A result of a known size."""

    pixels: np.ndarray


def pictures(nbytes):
    return Pictures(np.zeros(nbytes, np.uint8))


def never():
    raise AssertionError("the taker had to load it")


def until(true):
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline


def alive():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


class Gate:
    """Jobs that wait to be let through, and tell who started."""

    def __init__(self):
        self.started, self.passes, self.order = {}, {}, []

    def job(self, key, nbytes=100):
        begun, leave = threading.Event(), threading.Event()
        self.started[key], self.passes[key] = begun, leave

        def load():
            self.order.append(key)
            begun.set()
            assert leave.wait(WAIT_S)
            return pictures(nbytes)

        return load

    def let(self, *keys):
        for key in keys:
            self.passes[key].set()

    def running(self, *keys):
        for key in keys:
            assert self.started[key].wait(WAIT_S)


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.let(*made.passes)


@pytest.fixture
def ahead_of():
    """Makes readers, and closes them."""
    made = []

    def make(max_bytes, threads=2):
        made.append(ReadAhead(max_bytes, threads))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert alive() == []


def test_what_was_loaded_is_taken_once_and_loaded_by_the_taker_after(ahead_of):
    ahead, ready = ahead_of(10**6), threading.Event()
    ahead.want({"a": lambda: ready.set() or pictures(10)})
    assert ready.wait(WAIT_S)
    found, begun = ahead.take("a", never)
    assert (begun, found.pixels.nbytes) == (True, 10)
    assert ahead.take("a", lambda: "by hand") == ("by hand", False)
    assert ahead.held == 0


def test_loads_run_in_other_threads_in_the_order_wanted(ahead_of):
    ahead, seen, last = ahead_of(10**6, threads=1), [], threading.Event()

    def job(key):
        def load():
            seen.append((key, threading.current_thread()))
            if key == 4:
                last.set()

        return load

    ahead.want({key: job(key) for key in range(5)})
    assert last.wait(WAIT_S)
    assert [key for key, _ in seen] == list(range(5))
    assert threading.current_thread() not in {thread for _, thread in seen}


def test_what_has_not_started_is_loaded_by_the_taker_without_waiting(ahead_of, gate):
    ahead = ahead_of(10**6, threads=1)
    ahead.want({"slow": gate.job("slow"), "next": never})
    gate.running("slow")
    assert ahead.take("next", lambda: "by hand") == ("by hand", False)
    gate.let("slow")
    assert ahead.take("slow", never)[1]


def test_reading_stops_at_the_bound_and_goes_on_when_something_is_taken(ahead_of, gate):
    ahead = ahead_of(250)
    keys = "abcd"
    ahead.want({key: gate.job(key) for key in keys})
    gate.running("a")
    assert gate.order == ["a"], "one at a time until a size is known"
    gate.let("a")
    gate.running("b")
    gate.let("b")
    # With 200 of 250 bytes held, a third of 100 does not start, whatever the threads are free to do.
    assert ahead.take("b", never)[1]
    gate.running("c")
    gate.let("c")
    until(lambda: ahead.held == 200)
    assert gate.order == ["a", "b", "c"]
    assert ahead.take("d", lambda: "by hand") == ("by hand", False)
    assert ahead.take("a", never)[1]
    assert ahead.take("c", never)[1]
    assert ahead.held == 0


def test_a_result_above_the_bound_is_read_alone(ahead_of, gate):
    ahead = ahead_of(50)
    ahead.want({key: gate.job(key) for key in "ab"})
    gate.let("a", "b")
    gate.running("a")
    assert ahead.take("a", never)[1]
    gate.running("b")
    assert ahead.take("b", never)[1]
    assert gate.order == ["a", "b"]


def test_errors_are_raised_where_they_are_taken_and_others_go_on(ahead_of):
    ahead, done = ahead_of(10**6, threads=1), threading.Event()

    def broken():
        raise LookupError("row 3")

    ahead.want({"bad": broken, "good": lambda: done.set() or pictures(1)})
    assert done.wait(WAIT_S)
    with pytest.raises(LookupError, match="row 3"):
        ahead.take("bad", never)
    assert ahead.take("good", never)[1]


def test_what_is_no_longer_wanted_is_dropped_and_what_still_is_is_kept(ahead_of, gate):
    ahead = ahead_of(10**6)
    ahead.want({"old": gate.job("old"), "both": gate.job("both")})
    gate.running("old")
    gate.let("old", "both")
    gate.running("both")
    ahead.want({"both": never, "new": gate.job("new")})
    gate.let("new")
    gate.running("new")
    assert ahead.take("both", never)[1]
    assert ahead.take("old", lambda: "again") == ("again", False)
    assert ahead.take("new", never)[1]
    assert ahead.held == 0


def test_closing_waits_for_what_runs_and_starts_nothing_more(gate):
    ahead = ReadAhead(10**6, threads=1)
    ahead.want({"a": gate.job("a"), "b": never})
    gate.running("a")
    gate.let("a")
    ahead.close()
    ahead.close()
    assert alive() == []
    assert gate.order == ["a"]
    ahead.want({"c": never})
    assert ahead.take("a", lambda: "by hand") == ("by hand", False)
    assert ahead.held == 0


def test_settings_are_checked():
    with pytest.raises(ValueError, match="max_bytes is 0"):
        ReadAhead(0)


def test_sizes():
    picture = Image.new("RGB", (10, 20))
    sample = Sample("x", (), "ocr", {}, images=(picture, b"1234", "a.png"), videos=("b.mp4", [picture]))
    assert size_of(sample) == 600 + 4 + 600
    assert size_of(pictures(7)) == 7
    assert size_of(None) == 0


class Counted(Rows):
    """Rows that count how often, and where, they are built."""

    def __init__(self, count, threaded, bad=(), demonstrated=True):
        self.count, self.threaded, self.bad, self.demonstrated = count, threaded, bad, demonstrated
        self.built = []

    def __len__(self):
        return self.count

    def _row(self, row):
        self.built.append((row, threading.current_thread()))
        if row in self.bad:
            raise BadSample(f"row {row}", "is bad")
        shown = (Image.new("RGB", (4, 4)),) if self.threaded else ()
        answer = "1" if self.demonstrated else None
        return Sample(str(row), (), "ocr", {}, images=shown, demonstration=answer, row=row)


def jobs(upcoming):
    return {one.key: one.build for one in upcoming if one.sample is None}


@pytest.mark.parametrize("threaded", [True, False])
@pytest.mark.parametrize("demonstrations", [True, False])
def test_a_row_that_was_read_ahead_is_built_once(threaded, demonstrations):
    rows = Counted(8, threaded)
    mixture = Mixture([rows], seed=1)
    with reading_ahead(mixture, None, 1.0):
        upcoming = mixture.upcoming(5, demonstrations=demonstrations)
        assert all(isinstance(one, Upcoming) and (one.sample is None) == threaded for one in upcoming)
        ahead, order = mixture.ahead, [one.row for one in upcoming]
        ahead.want(jobs(upcoming))
        until(lambda: len(rows.built) == 5)
        assert [sample.row for sample in mixture.next(5, demonstrations=demonstrations)] == order
        assert sorted(row for row, _ in rows.built) == sorted(order)
        if threaded:
            assert threading.current_thread() not in {thread for _, thread in rows.built}
        # What comes after was not looked at.
        mixture.next(1, demonstrations=demonstrations)
        assert len(rows.built) == 6
    assert alive() == []


def test_a_look_changes_nothing_of_what_is_drawn():
    def drawn(look):
        mixture = Mixture([Counted(5, False, demonstrated=False), Counted(7, True), Counted(4, False)], seed=3)
        found = []
        for _ in range(12):
            for demonstrations in (False, True):
                if look:
                    mixture.upcoming(6, demonstrations=demonstrations)
                found += [(one.row, demonstrations) for one in mixture.next(2, demonstrations=demonstrations)]
        return found, mixture.state_dict()

    assert drawn(True) == drawn(False)


def test_a_dataset_without_demonstrations_is_passed_over_once_by_looking():
    dry = Counted(50, False, demonstrated=False)
    mixture = Mixture([dry, Counted(50, False)], weights=[1000, 1], seed=0)
    for _ in range(4):
        assert len(mixture.upcoming(3, demonstrations=True)) == 3
    assert len(dry.built) == 50


def test_a_bad_row_ends_the_look_and_is_refused_where_it_is_drawn():
    rows = Counted(6, False, bad=(2,))
    mixture = Mixture([rows], seed=1)
    upcoming = mixture.upcoming(6)
    assert len(upcoming) < 6
    assert [s.row for s in mixture.next(len(upcoming))] == [one.row for one in upcoming]
    with pytest.raises(BadSample, match="row 2"):
        mixture.next(1)


@pytest.mark.parametrize("on_bad", ["stop", "skip"])
def test_a_row_that_failed_in_a_thread_is_bad_where_it_is_drawn(on_bad):
    rows = Counted(6, True, bad=(2,))
    mixture = Mixture([rows], seed=1, on_bad=on_bad)
    with reading_ahead(mixture, None, 1.0):
        upcoming = mixture.upcoming(6)
        before = [one.row for one in upcoming].index(2)
        mixture.ahead.want(jobs(upcoming))
        assert len(mixture.next(before)) == before
        if on_bad == "stop":
            with pytest.raises(BadSample, match="row 2: is bad"):
                mixture.next(1)
        else:
            assert mixture.next(1)[0].row != 2
            assert (mixture.skipped, mixture.reasons) == (1, {"row 2": "is bad"})


def test_threads_end_when_training_raises():
    mixture = Mixture([Counted(6, True)], seed=1)

    def train():
        with reading_ahead(mixture, None, 1.0):
            mixture.ahead.want(jobs(mixture.upcoming(6)))
            raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        train()
    assert alive() == []
    assert mixture.ahead is None


def test_limited_and_budgeted_datasets_are_as_threaded_as_what_they_hold():
    from mmrl.data.mixture import Budgeted, Head

    for threaded in (True, False):
        inner = Counted(4, threaded)
        assert Head(inner, 2).threaded is threaded
        assert Budgeted(Head(inner, 2), {}).threaded is threaded
