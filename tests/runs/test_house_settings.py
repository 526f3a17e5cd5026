"""The check of keys that nothing reads finds none, and finds those that are put in."""

import pytest

from benchmarks import house_settings
from mmrl.recipe.engines import HFSettings
from mmrl.recipe.policies.flow import Pi0Settings
from mmrl.recipe.policies.registry import POLICIES
from robotics.options import Option
from robotics.settings import SETTINGS, SimulatorSettings


class Wheeled(Pi0Settings):
    """π0 with a key that nothing reads."""

    wheels: int = 4


class Lenient(Pi0Settings, extra="ignore"):
    """π0 that takes any key."""


class Geared(HFSettings):
    """An engine with a key that nothing reads."""

    gears: int = 5


@pytest.mark.slow
def test_nothing_is_accepted_and_unread():
    assert house_settings.unread_keys() == []


def pi0(monkeypatch, settings):
    entry = POLICIES.entries["pi0"]
    changed = {name: getattr(entry, name) for name in type(entry).__slots__} | {"settings": f"{__name__}:{settings}"}
    monkeypatch.setitem(POLICIES.entries, "pi0", type(entry)(**changed))


@pytest.mark.slow
def test_a_key_of_a_family_that_no_run_reads_is_found(monkeypatch, tmp_path):
    pi0(monkeypatch, "Wheeled")
    raw = {"method": "pi_rl_sde", "policy": {"value_head": {"width": 8}, "lora": {"rank": 2}}}
    noted = house_settings.reads_of(house_settings._whole("pi0 episodes", raw, tmp_path))
    unread = house_settings.unread_of_policy("pi0", noted)
    # The bounds of learnt noise are read where that is the sampler, in another run.
    assert {"policy[pi0].wheels", "policy[pi0].params.noise_low"} <= set(unread)
    assert "policy[pi0].params.sampler" not in unread
    assert house_settings._unread(Geared, noted, {"name"}) == ["batch_size", "seeds", "gears"], "the engine was another"


def test_an_option_of_a_simulator_that_its_code_does_not_take_is_found():
    for name, settings in SETTINGS.items():
        more = SimulatorSettings({**settings.options, "wheels": Option(int, 4)})
        assert house_settings.unread_of_simulator(name, more) == ["wheels"]


def test_a_key_that_is_not_refused_is_found(monkeypatch):
    assert house_settings.accepted_of_sources() == []
    assert house_settings.accepted_of_policies() == []
    monkeypatch.setattr("mmrl.recipe.schema.check_sources", lambda *given: None)
    pi0(monkeypatch, "Lenient")
    assert {"rollout[episodes].stop", "evaluation[answers].videos", "evaluation.sampling[greedy].top_k"} <= set(
        house_settings.accepted_of_sources()
    )
    assert "policy[pi0].packing" in house_settings.accepted_of_policies()
