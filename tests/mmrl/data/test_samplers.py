"""`data.sampler`: the default, a sampler of the user's own that learns from outcomes, and what is refused."""

import pytest

from mmrl import load_recipe
from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.contracts.sampler import Draw, Outcome, Pool
from mmrl.data.mixture import open_mixture
from mmrl.data.samplers.weighted import Weighted

HARDEST = '''
from typing import ClassVar

from mmrl.contracts.sampler import Draw
from mmrl.data.samplers.weighted import Weighted
from mmrl.recipe.samplers import SamplerSettings


class HardestSettings(SamplerSettings):
    adapter: ClassVar[str] = "hardest:Hardest"
    below: float = 0.5


class Hardest(Weighted):
    """Repeats the last row whose accuracy lay below a bound."""

    again = None

    def row(self, walk, dataset):
        return Draw(dataset, self.again, 0) if self.again is not None else super().row(walk, dataset)

    def update(self, outcomes):
        for outcome in outcomes:
            if sum(outcome.accuracies) / len(outcome.accuracies) < self.settings.below:
                self.again = outcome.row

    def state_dict(self):
        return {**super().state_dict(), "again": self.again}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.again = state["again"]
'''


def outcome(row, accuracy):
    return Outcome(0, row, (accuracy,), (accuracy,), (3,), 0)


@pytest.fixture
def hardest(workplace, tiny_recipe):
    (workplace / "hardest.py").write_text(HARDEST)
    tiny_recipe["data"]["sampler"] = {"name": "hardest:HardestSettings", "below": 0.25}
    return load_recipe(tiny_recipe).data


def test_a_sampler_of_one_s_own_learns_from_outcomes(hardest):
    mixture = open_mixture(hardest)
    assert len({sample.row for sample in mixture.next(8)}) == 8
    mixture.sampler.update([outcome(5, 0.2), outcome(7, 0.3)])
    assert {sample.row for sample in mixture.next(4)} == {5}


def test_its_state_is_the_mixture_s_and_another_sampler_s_is_refused(hardest, tiny_recipe):
    mixture = open_mixture(hardest)
    mixture.sampler.update([outcome(5, 0.0)])
    state = mixture.state_dict()
    resumed = open_mixture(hardest)
    resumed.load_state_dict(state)
    assert [sample.row for sample in resumed.next(2)] == [5, 5]
    del tiny_recipe["data"]["sampler"]
    with pytest.raises(CheckpointError, match=r"were drawn by hardest:Hardest, and data.sampler is mmrl.data.samplers"):
        open_mixture(load_recipe(tiny_recipe).data).load_state_dict(state)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "wieghted"}, "data.sampler.name: unknown sampler 'wieghted'. Did you mean 'weighted'?"),
        ({"name": "weighted", "bellow": 1}, "data.sampler.bellow: unknown key 'bellow'"),
        ({"below": 1}, "data.sampler: a mapping with a name is needed"),
    ],
)
def test_what_no_sampler_reads_is_refused(tiny_recipe, given, said):
    tiny_recipe["data"]["sampler"] = given
    with pytest.raises(ConfigError) as error:
        load_recipe(tiny_recipe)
    assert str(error.value).startswith(said)


def test_the_default_is_written_out(tiny_recipe):
    assert load_recipe(tiny_recipe).model_dump(mode="json")["data"]["sampler"] == {"name": "weighted"}


def test_the_last_dataset_of_a_walk_stays_and_dropping_is_part_of_the_state():
    sampler = Weighted([Pool("a", 3), Pool("b", 3), Pool("c", 3, use="rollouts")], seed=1)
    assert sampler.drop("demonstrations", 0)
    before = sampler.state_dict()
    assert not sampler.drop("demonstrations", 1)
    assert {sampler.choose("demonstrations") for _ in range(20)} == {1}
    fresh = Weighted([Pool("a", 3), Pool("b", 3), Pool("c", 3, use="rollouts")], seed=1)
    fresh.load_state_dict(before)
    assert [fresh.choose("demonstrations") for _ in range(5)] == [1] * 5
    assert {fresh.choose("all") for _ in range(60)} == {0, 1, 2}


def test_rows_of_an_epoch_are_a_permutation_and_epochs_count():
    sampler = Weighted([Pool("a", 4)])
    draws = [sampler.row("all", 0) for _ in range(8)]
    assert sorted(draw.row for draw in draws[:4]) == [0, 1, 2, 3] == sorted(draw.row for draw in draws[4:])
    assert [draw.epoch for draw in draws] == [0] * 4 + [1] * 4
    assert draws[0] == Draw(0, draws[0].row, 0)
    assert sampler.epochs == [2.0]
