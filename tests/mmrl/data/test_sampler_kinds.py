"""Samplers with a state: what each draws, that none starves or hangs, and that each goes on exactly."""

import json
import math
from collections import Counter
from functools import partial

import numpy as np
import pytest

from mmrl.contracts.errors import BadSample, ConfigError, UserError
from mmrl.contracts.sampler import Outcome, Pool
from mmrl.contracts.types import Sample
from mmrl.data.episodes import Episodes
from mmrl.data.mixture import Mixture, column_of, make_sampler
from mmrl.data.samplers.bandits import absolute_advantages, softmax
from mmrl.recipe.data import EpisodeData
from mmrl.recipe.samplers import SAMPLERS, sampler_settings

# What each sampler needs beside its name.
SETTINGS = {
    "weighted": {},
    "uniform": {},
    "sequential": {},
    "ordered": {"column": "level"},
    "staged": {"column": "level", "draws": 5},
    "difficulty": {},
    "filter": {"rest": 6},
    "pcl": {"candidates": 4, "width": 2},
    "dots": {"candidates": 6},
    "sec": {},
    "dump": {},
    "ratio": {},
}
LEVELS = [3, 1, 2, 1, 3, 2]


def states(rows, first=0):
    return [np.random.default_rng(first + row).standard_normal(3) for row in rows]


def pools():
    return [
        Pool("a", 6, column=lambda name: [{"level": level}.get(name) for level in LEVELS], features=states),
        Pool("b", 4, column=lambda name: [{"level": 1}.get(name)] * 4, features=partial(states, first=100)),
    ]


def made(name, data=None, seed=0, **settings):
    given = {"name": name, **({} if settings else SETTINGS[name]), **settings}
    return make_sampler(sampler_settings(given), pools() if data is None else data, seed)


def draws(sampler, n):
    return [sampler.row("all", dataset) for dataset in (sampler.choose("all") for _ in range(n))]


def places(sampler, n):
    return [(draw.dataset, draw.row) for draw in draws(sampler, n)]


def outcome(dataset, row, *rewards):
    return Outcome(dataset, row, rewards, rewards, (3,) * len(rewards), 0)


def test_every_sampler_is_tried():
    assert set(SETTINGS) == set(SAMPLERS.entries)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_state_goes_on_exactly_and_looking_ahead_changes_nothing(name):
    def step(sampler):
        drawn = draws(sampler, 3)
        # Rows of b are solved, odd ones of a are hopeless, the rest is mixed.
        sampler.update([outcome(d.dataset, d.row, 1.0, float(d.dataset or d.row % 2 == 0) * d.dataset) for d in drawn])
        return drawn

    whole, cut = made(name), made(name)
    for _ in range(5):
        assert step(whole) == step(cut)
        before = json.loads(json.dumps(cut.state_dict()))
        draws(cut, 7)
        cut = made(name)
        cut.load_state_dict(before)
        assert cut.figures() == whole.figures()
        assert list(cut.epochs) == list(whole.epochs)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("rewards", [(1.0, 1.0), (0.0, 0.0), (0.0, 1.0)])
def test_no_row_starves_whatever_comes_of_it(name, rewards):
    sampler = made(name, **({"column": "level", "draws": 5, "mixed": True} if name == "staged" else {}))
    seen = set()
    for _ in range(120):
        drawn = draws(sampler, 4)
        seen |= {(draw.dataset, draw.row) for draw in drawn}
        sampler.update([outcome(draw.dataset, draw.row, *rewards) for draw in drawn])
    assert len(seen) == 10
    assert all(math.isfinite(value) for value in sampler.figures().values())


@pytest.mark.parametrize("name", SETTINGS)
def test_bad_rows_hang_no_sampler(name):
    class Rows(list):
        def __getitem__(self, row):
            if row != 2:
                raise BadSample(f"own row {row}", "is bad")
            return Sample("s", (), "ocr", {"level": 1})

    settings = sampler_settings({"name": name, **SETTINGS[name], **({"column": "level"} if name == "staged" else {})})

    def make(pools, seed):
        return make_sampler(settings, pools, seed)

    if name == "ordered":
        with pytest.raises(UserError, match="row 0 of dataset '' has None in column 'level'"):
            Mixture([Rows(range(4))], on_bad="skip", make=make, features=lambda s: states(range(len(s))))
        return
    mixture = Mixture([Rows(range(4))], on_bad="skip", make=make, features=lambda s: states(range(len(s))))
    assert [sample.id for sample in mixture.next(5)] == ["s"] * 5


def test_uniform_draws_every_row_once_per_epoch():
    sampler = made("uniform")
    assert Counter(places(sampler, 30)) == dict.fromkeys([(0, i) for i in range(6)] + [(1, i) for i in range(4)], 3)
    assert [draw.epoch for draw in draws(sampler, 10)] == [3] * 10
    assert sampler.figures() == {"seen": 1.0}
    assert sampler.epochs == [4.0, 4.0]


def test_orders_by_the_data_and_by_a_column():
    assert places(made("sequential"), 12)[5:] == [(0, 5), (1, 0), (1, 1), (1, 2), (1, 3), (0, 0), (0, 1)]
    rising = made("ordered", column="level", descending=False)
    assert places(rising, 10) == [
        *((0, 1), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)),
        *((0, 2), (0, 5), (0, 0), (0, 4)),
    ]
    assert places(made("ordered"), 2) == [(0, 0), (0, 4)]


def test_a_curriculum_goes_from_value_to_value():
    level = {(0, i): LEVELS[i] for i in range(6)} | {(1, i): 1 for i in range(4)}
    sampler = made("staged", column="level", draws=4, order=["1", "2", "3"])
    assert [level[place] for place in places(sampler, 14)] == [1] * 4 + [2] * 4 + [3] * 6
    assert sampler.figures()["stage"] == 2.0
    mixed = [level[place] for place in places(made("staged", column="level", draws=6, mixed=True), 60)]
    assert set(mixed[:6]) == {3}
    assert set(mixed[6:12]) == {3, 1}
    assert set(mixed[12:]) == {1, 2, 3}


def test_difficulty_draws_what_is_near_the_target():
    sampler = made("difficulty", width=0.1, floor=0.01, decay=0.5)
    rates = {(0, 0): 0.5, (0, 1): 0.0, (0, 2): 1.0}
    for _ in range(3):
        sampler.update([outcome(0, row, rate) for (_, row), rate in rates.items()])
        sampler.update([outcome(1, row, 0.0) for row in range(4)] + [outcome(0, row, 1.0) for row in (3, 4, 5)])
    counts = Counter(places(sampler, 400))
    assert counts[0, 0] > 0.85 * 400
    assert 0 < counts[0, 1] < 20
    sampler.update([outcome(0, 0, 1.0)])
    assert sampler.estimates[0] == 0.75


def test_difficulty_begins_with_a_profile():
    data = [Pool("a", 3, column=lambda name: [0.1, 0.5, 0.9] if name == "pass_rate" else [None] * 3)]
    sampler = made("difficulty", data, column="pass_rate", width=0.05, floor=0.001)
    assert set(places(sampler, 50)) == {(0, 1)}
    with pytest.raises(UserError, match=r"no row of data\.train has a column 'rate'"):
        made("difficulty", data, column="rate")
    bad = [Pool("a", 2, column=lambda name: [0.1, 7])]
    with pytest.raises(UserError, match=r"'pass_rate' holds 7, and pass rates are in \[0, 1\]"):
        made("difficulty", bad, column="pass_rate")


def test_starts_of_a_simulator_are_drawn_by_their_successes():
    settings = sampler_settings({"name": "difficulty", "target": 0.3, "width": 0.1, "floor": 0.01})

    def opened():
        rows = Episodes(EpisodeData(type="episodes", simulator="reach", size=12, first=100))
        return Mixture([rows], make=lambda pools, seed: make_sampler(settings, pools, seed))

    mixture = opened()
    # A third of the starts is solved, a third fails always, a third succeeds in one of four episodes.
    won = {row: ((1.0,) * 4, (0.0,) * 4, (1.0, 0.0, 0.0, 0.0))[row % 3] for row in range(12)}
    for _ in range(30):
        drawn = [sample.draw for sample in mixture.next(4)]
        mixture.sampler.update([Outcome(*draw, won[draw[1]], won[draw[1]], (5,) * 4, 0) for draw in drawn])
    resumed = opened()
    resumed.load_state_dict(json.loads(json.dumps(mixture.state_dict())))
    episodes = [sample.episode for sample in mixture.next(200)]
    assert [sample.episode for sample in resumed.next(200)] == episodes
    assert sum((episode - 100) % 3 == 2 for episode in episodes) > 0.8 * 200


def test_solved_and_hopeless_rows_rest():
    sampler = made("filter", rest=10)
    first = places(sampler, 4)
    sampler.update([outcome(*first[0], 1.0, 1.0), outcome(*first[1], 0.0, 0.0), outcome(*first[2], 0.0, 1.0)])
    assert sampler.figures()["resting"] == 0.2
    after = places(sampler, 30)
    assert not set(first[:2]) & set(after[:9])
    assert set(first[:3]) <= set(after)
    hard = made("filter", rest=1000, low=None)
    for _ in range(3):
        hard.update([outcome(*place, 1.0) for place in places(hard, 3)])
    hard.update([outcome(0, 0, 0.0)])
    assert hard.figures()["resting"] == 0.9


def test_bandits_go_where_advantages_are_large():
    for name, settings in (("sec", {"temperature": 0.1}), ("dump", {"temperature": 0.1, "window": 20})):
        sampler = made(name, **settings)
        for _ in range(30):
            drawn = draws(sampler, 4)
            sampler.update([outcome(d.dataset, d.row, 0.0, float(d.dataset == 1)) for d in drawn])
        figures = sampler.figures()
        assert figures["value/b"] > 0.99
        assert figures["value/a"] == 0.0
        assert figures["share/b"] > 0.8, name


def test_values_are_those_of_the_papers():
    assert absolute_advantages([0.0, 1.0], normalise=False) == [0.5, 0.5]
    assert absolute_advantages([0.0, 1.0], normalise=True) == pytest.approx([1.0, 1.0], abs=1e-5)
    sec = made("sec", rate=0.25, normalise=False, temperature=1.0)
    sec.update([outcome(0, 0, 0.0, 1.0), outcome(0, 1, 1.0, 1.0)])
    assert sec.values == [0.25 * 0.25, 0.0]
    sec.update([outcome(0, 0, 0.0, 1.0)])
    assert sec.values == [0.75 * 0.0625 + 0.25 * 0.5, 0.0]
    shares = sec.shares()
    assert shares[0] / shares[1] == pytest.approx(math.exp(sec.values[0]))
    dump = made("dump", normalise=False)
    draws(dump, 9)
    dump.drawn = [8, 1]
    dump.update([outcome(0, 0, 0.0, 1.0)])
    assert dump.bounds() == pytest.approx([0.5 + math.sqrt(2 * math.log(10) / 9), math.sqrt(2 * math.log(10) / 2)])


def test_ratios_are_those_of_completed_rollouts():
    sampler = made("ratio", ratios={"a": 3.0})
    for _ in range(50):
        drawn = draws(sampler, 4)
        # Half of what is asked of b never ends.
        sampler.update([outcome(d.dataset, d.row, 1.0) for i, d in enumerate(drawn) if d.dataset == 0 or i % 2])
    assert sampler.completed[0] / sum(sampler.completed) == pytest.approx(0.75, abs=0.02)
    with pytest.raises(UserError, match="unknown category 'c'"):
        made("ratio", ratios={"c": 1.0})


def test_columns_are_those_of_the_file_or_of_the_sample():
    rows = [
        Sample("x", (), "ocr", {"level": 4}, dataset="d", columns={"level": 1}),
        Sample("y", (), "iou", {"level": 2}),
    ]
    assert column_of(rows, "level") == [1, 2]
    assert column_of(rows, "task") == ["ocr", "iou"]
    assert column_of(rows, "none") == [None, None]


def test_demonstrations_are_walked_by_weight():
    data = [Pool("a", 3, use="demonstrations"), Pool("b", 2, use="rollouts", column=lambda name: [None, None])]
    sampler = made("uniform", data)
    assert {sampler.choose("demonstrations") for _ in range(9)} == {0}
    assert set(places(sampler, 6)) == {(1, 0), (1, 1)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "staged"}, "data.sampler.draws: this key is required"),
        ({"name": "ordered"}, "data.sampler.column: this key is required"),
        ({"name": "filter", "rest": 3, "low": 0.5, "high": 0.5}, "data.sampler: low 0.5 is not below high 0.5"),
        ({"name": "sec", "window": 3}, "data.sampler.window: unknown key 'window'"),
        ({"name": "dificulty"}, "data.sampler.name: unknown sampler 'dificulty'. Did you mean 'difficulty'?"),
    ],
)
def test_what_a_sampler_cannot_take_is_refused(given, said):
    with pytest.raises(ConfigError) as error:
        sampler_settings(given)
    assert str(error.value).startswith(said)


def test_an_order_that_names_no_value_is_refused():
    with pytest.raises(UserError, match=r"data\.sampler\.order: unknown value of column level '4'"):
        made("staged", column="level", draws=1, order=["4"])


def test_a_softmax_of_large_values_is_their_logistic_share():
    assert softmax([1000.0, 1000.0 - math.log(3), -1000.0], 1.0).tolist() == pytest.approx([0.75, 0.25, 0.0])
    assert softmax([0.0, 2 * math.log(3)], 2.0).tolist() == pytest.approx([0.25, 0.75])


def test_each_value_of_a_curriculum_begins_with_an_epoch_of_its_own():
    """No row twice before every other of its value, although five draws are no multiple of two or three."""
    rows = [[f"{count}{i}" for i in range(count)] for count in (2, 3, 5)]
    values = [value for part in rows for value in part]
    pool = [Pool("a", 10, column=lambda name: [value[0] for value in values])]
    for seed in range(4):
        drawn = places(made("staged", pool, seed, column="level", draws=5, order=["2", "3", "5"]), 15)
        for stage, part in enumerate(rows):
            first = [values[row] for _, row in drawn[5 * stage :][: len(part)]]
            assert sorted(first) == part
