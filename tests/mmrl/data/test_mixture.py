"""Mixtures: weights, epochs without replacement, exact resuming, and the policy for bad rows."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrl.contracts.errors import BadSample, CheckpointError, UserError
from mmrl.contracts.types import Sample
from mmrl.data.mixture import Mixture, open_dataset, open_mixture
from mmrl.data.rows import Rows
from mmrl.recipe.data import DataConfig, DigitsData, EpisodeData, PythonData


class Fake(Rows):
    """Rows whose numbers are in `bad` raise; those in `shown` carry a demonstration."""

    def __init__(self, name, size, bad=(), shown=()):
        self.name, self.size, self.bad, self.shown = name, size, set(bad), set(shown)

    def __len__(self):
        return self.size

    def _row(self, row):
        if row in self.bad:
            raise BadSample(f"{self.name} row {row}", "broken")
        shown = "x" if row in self.shown else None
        return Sample(f"{self.name}/{row}", (), "t", {}, demonstration=shown, dataset=self.name, row=row)


def ids(samples):
    return [sample.id for sample in samples]


def test_each_epoch_is_a_new_order_of_all_rows():
    mixture = Mixture([Fake("a", 50)], seed=3)
    first, second = ids(mixture.next(50)), ids(mixture.next(50))
    assert sorted(first) == sorted(second)
    assert len(set(first)) == 50
    assert first != second
    assert mixture.epochs == [2.0]
    assert ids(Mixture([Fake("a", 50)], seed=3).next(100)) == first + second
    assert ids(Mixture([Fake("a", 50)], seed=4).next(50)) != first
    assert ids(Mixture([Fake("a", 50)], seed=-3).next(50)) != first


def test_datasets_are_drawn_by_weight():
    mixture = Mixture([Fake("a", 7), Fake("b", 1000), Fake("c", 50)], [1, 2, 1])
    counts = Counter(name[0] for name in ids(mixture.next(4000)))
    assert counts["a"] == pytest.approx(1000, abs=120)
    assert counts["b"] == pytest.approx(2000, abs=150)
    even = Counter(name[0] for name in ids(Mixture([Fake("a", 7), Fake("b", 9)]).next(2000)))
    assert even["a"] == pytest.approx(1000, abs=120)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    calls=st.lists(st.tuples(st.integers(0, 7), st.booleans()), min_size=1, max_size=8),
    cut=st.integers(0, 8),
    seed=st.integers(-5, 2**40),
)
def test_resuming_anywhere_continues_the_same_sequence(sizes, calls, cut, seed):
    def build():
        datasets = [Fake("abc"[i], size, bad={1}, shown=range(0, size, 2)) for i, size in enumerate(sizes)]
        return Mixture(datasets, range(1, len(sizes) + 1), seed, on_bad="skip")

    whole = build()
    expected = [ids(whole.next(n, demonstrations=shown)) for n, shown in calls]
    first, second = build(), build()
    got = [ids(first.next(n, demonstrations=shown)) for n, shown in calls[:cut]]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    got += [ids(second.next(n, demonstrations=shown)) for n, shown in calls[cut:]]
    assert got == expected
    assert second.state_dict() == whole.state_dict()


def test_stop_lets_the_error_out_and_stays_in_place():
    mixture = Mixture([Fake("a", 10, bad=range(1, 10))], seed=0)
    before = mixture.state_dict()
    with pytest.raises(BadSample, match=r"a row \d: broken"):
        mixture.next(10)
    assert mixture.state_dict() == before


def test_skip_counts_and_goes_on():
    mixture = Mixture([Fake("a", 10, bad={2, 5, 7})], on_bad="skip")
    assert len(set(ids(mixture.next(7)))) == 7
    mixture.next(1)
    assert mixture.skipped >= 3
    assert mixture.reasons == {f"a row {row}": "broken" for row in (2, 5, 7)}


def test_a_dataset_of_bad_rows_stops_even_when_skipping():
    mixture = Mixture([Fake("a", 10, bad=range(10))], on_bad="skip")
    with pytest.raises(UserError, match=r"dataset 'a' has no usable row among its 10; a row \d: broken$"):
        mixture.next(1)


def test_check_makes_rows_bad():
    def odd_only(sample, rewarded):
        assert rewarded
        if sample.row % 2 == 0:
            raise BadSample(sample.where, "even")

    mixture = Mixture([Fake("a", 10)], on_bad="skip", check=odd_only)
    assert {sample.row for sample in mixture.next(5)} == {1, 3, 5, 7, 9}


def test_demonstrations_have_a_walk_of_their_own():
    mixed, plain = (Mixture([Fake("a", 20, shown={3, 4})], seed=1) for _ in range(2))
    rows = []
    for _ in range(4):
        rows += ids(mixed.next(5))
        assert {s.row for s in mixed.next(2, demonstrations=True)} <= {3, 4}
    assert rows == ids(plain.next(20))
    with pytest.raises(UserError, match="no usable row with a demonstration among its 5"):
        Mixture([Fake("b", 5)]).next(1, demonstrations=True)


def test_datasets_without_demonstrations_leave_their_draws_only():
    def mixture():
        return Mixture([Fake("plain", 6), Fake("shown", 6, shown=range(6))], seed=3)

    whole, part = mixture(), mixture()
    drawn = [s.dataset for s in whole.next(30, demonstrations=True)]
    assert set(drawn) == {"shown"}
    assert {s.dataset for s in whole.next(30)} == {"plain", "shown"}
    part.next(10, demonstrations=True)
    resumed = mixture()
    resumed.load_state_dict(part.state_dict())
    assert ids(resumed.next(20, demonstrations=True)) == ids(part.next(20, demonstrations=True))


def test_weights_that_the_recipe_changed_hold_from_the_place_of_the_checkpoint_on():
    def mixture(*weights):
        return Mixture([Fake("a", 50), Fake("b", 50)], weights, seed=3)

    first, second = mixture(1.0, 1.0), mixture(1e-9, 1.0)
    before = first.next(20)
    assert {sample.dataset for sample in before} == {"a", "b"}
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    after = second.next(30)
    assert {sample.dataset for sample in after} == {"b"}
    assert len(set(ids([*before, *after]))) == 50, "each row once: the orders go on where they were"


def test_a_use_that_the_recipe_changed_holds_from_the_place_of_the_checkpoint_on():
    rows = [Fake("a", 6, shown=range(6)), Fake("b", 6, shown=range(6))]
    first = Mixture(rows, uses=["rollouts", "demonstrations"])
    assert {sample.dataset for sample in first.next(8)} == {"a"}
    assert {sample.dataset for sample in first.next(8, demonstrations=True)} == {"b"}
    for uses, drawn in ((["all", "all"], [{"a", "b"}] * 2), (["demonstrations", "rollouts"], [{"b"}, {"a"}])):
        second = Mixture(rows, uses=uses)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        walks = [second.next(30, demonstrations=shown) for shown in (False, True)]
        assert [{sample.dataset for sample in samples} for samples in walks] == drawn


def test_use_says_what_is_drawn_from_a_dataset():
    seen = []
    rows = [Fake("rl", 6, shown=range(6)), Fake("sft", 6, shown=range(6))]
    check = lambda sample, rewarded: seen.append((sample.dataset, rewarded))  # noqa: E731
    mixture = Mixture(rows, uses=["rollouts", "demonstrations"], check=check)
    mixture.next(8)
    mixture.next(8, demonstrations=True)
    assert set(seen) == {("rl", True), ("sft", False)}
    with pytest.raises(UserError, match="no dataset of the mixture gives demonstrations"):
        Mixture(rows[:1], uses=["rollouts"]).next(1, demonstrations=True)


@pytest.mark.parametrize(
    ("datasets", "options", "message"),
    [
        ([], {}, "at least one dataset"),
        ([Fake("a", 0)], {}, "none of them empty"),
        ([Fake("a", 1)], {"weights": [0.0]}, "positive weight"),
        ([Fake("a", 1)], {"weights": [1.0, 1.0]}, "positive weight"),
        ([Fake("a", 1)], {"on_bad": "skp"}, "Did you mean 'skip'"),
    ],
)
def test_bad_mixtures_are_refused(datasets, options, message):
    with pytest.raises(UserError, match=message):
        Mixture(datasets, **options)


def test_a_state_of_other_data_is_refused():
    state = Mixture([Fake("a", 4)]).state_dict()
    with pytest.raises(CheckpointError, match=r"sizes \[4\], and this run's has \[5\]"):
        Mixture([Fake("a", 5)]).load_state_dict(state)
    with pytest.raises(CheckpointError, match="seed 0"):
        Mixture([Fake("a", 4)], seed=1).load_state_dict(state)


def test_open_mixture_reads_the_recipe():
    config = DataConfig(
        train=[DigitsData(type="digits", size=8, limit=4), EpisodeData(type="episodes", simulator="table", size=3)],
        on_bad_sample="skip",
    )
    mixture = open_mixture(config, seed=9)
    assert [len(rows) for rows in mixture.datasets] == [4, 3]
    assert (mixture.seed, mixture.on_bad) == (9, "skip")
    assert open_mixture(config.model_copy(update={"seed": 1}), seed=9).seed == 1
    assert {sample.dataset for sample in mixture.next(20)} == {"digits", "table"}


def test_episodes_are_start_states():
    rows = open_dataset(EpisodeData(type="episodes", simulator="table", first=5, size=3))
    assert [(s.episode, s.simulator, s.task, s.messages, s.target) for s in rows] == [
        (episode, "table", "table", (), {}) for episode in (5, 6, 7)
    ]
    assert rows[0].id == "table/5"


USER_MODULE = """
from mmrl.contracts.types import Sample

def rows(count, wrong=False):
    return [3 if wrong else Sample(str(i), (), "t", {}) for i in range(count)]

def nothing():
    return None
"""


def test_python_datasets(tmp_path, monkeypatch):
    (tmp_path / "own_rows.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)

    def opened(function, limit=None, **params):
        return open_dataset(PythonData(type="python", function=function, params=params, limit=limit))

    assert ids(opened("own_rows:rows", limit=2, count=5)) == ["0", "1"]
    with pytest.raises(BadSample, match="own_rows:rows row 1: is int"):
        opened("own_rows:rows", count=5, wrong=True)[1]
    for function, params, message in (
        ("own_rows:row", {}, "no function 'row'. Did you mean 'rows'"),
        ("own_rows:rows", {"n": 3}, "missing a required argument|unexpected keyword"),
        ("own_rows:rows", {"count": 0}, "has no rows"),
        ("own_rows:nothing", {}, "returned NoneType, not a sequence"),
        ("own_rowz:rows", {}, "no module 'own_rowz'"),
        ("own_rows", {}, "not of the form"),
    ):
        with pytest.raises(UserError, match=message):
            opened(function, **params)


def test_bad_rows_are_noted_when_they_are_drawn_and_not_when_they_are_looked_at():
    noted = []
    mixture = Mixture([Fake("a", 6, bad={2, 5}), Fake("", 3, bad={0})], seed=2, on_bad="skip")
    mixture.note = lambda error, dataset, row: noted.append((error.reason, dataset, row))
    mixture.upcoming(24)
    assert noted == []
    mixture.next(24)
    assert set(noted) == {("broken", "a", 2), ("broken", "a", 5), ("broken", "train.1", 0)}
    mixture.reject(BadSample("a row 1", "too long"))
    assert noted[-1] == ("too long", None, None)


@pytest.mark.parametrize("media", [{}, {"images": ("a.png",)}, {"videos": ("a.mp4",)}])
def test_media_are_read_ahead_once_a_row_names_some(media):
    class Naming(Fake):
        def _row(self, row):
            return replace(super()._row(row), **media)

    mixture = Mixture([Naming("a", 3)])
    assert not mixture.reads_media
    mixture.next(1)
    assert mixture.reads_media is bool(media)
