"""Every method's gradient equals that of its published loss, which `benchmarks.methods` writes out by itself."""

from dataclasses import replace

import pytest

from benchmarks.methods.__main__ import compare
from benchmarks.methods.cases import CASES
from mmrl.recipe.methods import METHODS

# Micro-batches of a few rows in a random order: groups are cut.
CUT = ((120, 7),)
# What text policies do not have: experts, denoising, demonstrations with rewards.
OF_ROBOTS = {"dagger", "pi_rl_sde", "pi_rl_noise", "chunked_awr"}
BY_NAME = {case.name: case for case in CASES}


def errors(*cases, splits=CUT):
    return {case.name: error for case, _, error in compare(cases, splits, pictures=False)}


def test_every_method_of_text_has_a_case():
    methods = {name for name, entry in METHODS.entries.items() if entry.objective is not None}
    assert {case.method for case in CASES} == methods - OF_ROBOTS
    assert len(BY_NAME) == len(CASES) >= 50


@pytest.mark.slow
def test_gradients_equal_those_of_the_published_losses():
    for case, _, error in compare(CASES, CUT, pictures=False):
        assert error < 1e-8, case.name


def test_a_wrong_loss_is_told_apart():
    cases = BY_NAME["grpo"], replace(BY_NAME["dr_grpo"], name="other", loss=BY_NAME["grpo"].loss)
    same, other = errors(*cases).values()
    assert same < 1e-8
    assert other > 1e-2
