"""Every family keeps the contracts that its entry says it keeps, parameter for parameter."""

import inspect

import pytest

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.policy import Acting, Decoding, Denoising, Normalising, Policy, acting, media_of, params_of
from mmrl.recipe.policies.registry import POLICIES, attribute, policy_settings

SAMPLED_BY = {None: [Decoding], "flow": [Denoising], "frames": [], "endpoint": []}


def methods(contract):
    """The contract's own methods, its properties left out: those are set when a policy is made."""
    return {name: member for name, member in vars(contract).items() if inspect.isfunction(member) and name[0] != "_"}


def contracts(entry):
    acts = [Acting, Normalising] if "episodes" in entry.learns else []
    return [Policy, *SAMPLED_BY[entry.engine], *acts]


@pytest.mark.parametrize("name", POLICIES.entries)
def test_a_family_keeps_its_contracts(name):
    entry = POLICIES.get(name)
    family = attribute(entry.adapter)
    for contract in contracts(entry):
        for method, declared in methods(contract).items():
            wanted = list(inspect.signature(declared).parameters.values())
            given = list(inspect.signature(getattr(family, method)).parameters.values())
            # Positions are what counts of what no caller names; a family may ask for more, with a default.
            assert len(given) >= len(wanted), (contract, method)
            assert all(more.default is not more.empty for more in given[len(wanted) :]), (contract, method)
            for own, other in zip(given, wanted):
                assert own.default == other.default, (contract, method, other)


class Silent:
    """Does nothing, but has settings."""

    config = policy_settings(type="frame_selector", path="anywhere")


def test_what_a_policy_lacks_is_said():
    with pytest.raises(ConfigError, match=r"policy\.type 'frame_selector' does not act"):
        acting(Silent())
    assert media_of(Silent()) is None
    assert params_of(Silent()) is None
    assert params_of(Silent.config) is Silent.config.params
