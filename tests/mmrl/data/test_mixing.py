"""`mmrl mix`: a design of runs over the weights of a mixture, and what their figures speak for."""

import json

import numpy as np
import pytest
import yaml

from mmrl.cli import main
from mmrl.contracts.errors import UserError
from mmrl.data.mixing import design, propose
from mmrl.recipe.schema import load_recipe


def test_a_design_begins_even_leans_to_each_and_spreads_out():
    points = design(3, 9)
    np.testing.assert_allclose(points.sum(1), 1.0)
    np.testing.assert_allclose(points[0], 1 / 3)
    assert [int(point.argmax()) for point in points[1:4]] == [0, 1, 2]
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(9)
    assert gaps.min() > 0.2
    np.testing.assert_array_equal(points, design(3, 9))
    with pytest.raises(UserError, match="3 runs cannot tell 3 datasets apart; give 4 or more"):
        design(3, 3)
    with pytest.raises(UserError, match="at least 2 training datasets"):
        design(1, 3)


def test_a_quadratic_s_maximum_is_proposed():
    points = design(3, 12)
    best = np.array([0.5, 0.3, 0.2])
    proposal = propose(points, 0.8 - np.square(points - best).sum(1))
    assert np.abs(proposal.weights - best).max() < 0.08
    assert proposal.tells
    assert abs(proposal.figure - 0.8) < 0.02


def test_noise_is_said_to_tell_nothing():
    figures = np.random.default_rng(1).normal(0.5, 0.1, 12)
    assert not propose(design(3, 12), figures).tells
    with pytest.raises(UserError, match="all runs have the same weights"):
        propose(np.ones((4, 2)), np.arange(4.0))


DIGITS = [{"type": "digits", "tasks": [task], "size": 8, "name": task} for task in ("ocr", "counting")]


@pytest.fixture
def mixture(workplace, tiny_recipe):
    tiny_recipe["data"]["train"] = DIGITS
    (workplace / "recipe.yaml").write_text(yaml.safe_dump(tiny_recipe))
    return workplace


def proposed_near(capsys, share, figure):
    said = capsys.readouterr().out
    proposed = yaml.safe_load(said.splitlines()[-1].rpartition(": {")[2].join(["{", ""]))
    assert abs(proposed["ocr"] - share) < 0.1
    assert f"predicted {figure}" in said
    return said


def test_the_command_writes_recipes_and_reads_runs(mixture, capsys):
    assert main(["mix", "design", "recipe.yaml", "--runs", "4", "--output", "mixes"]) == 0
    recipes = [load_recipe(path) for path in sorted((mixture / "mixes").glob("*.yaml"))]
    assert [recipe.name for recipe in recipes] == [f"small_mix_0{i}" for i in range(4)]
    for recipe in recipes:
        weight = recipe.data.train[0].weight
        recipe.folder.mkdir(parents=True)
        (recipe.folder / "config.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
        final = {"ocr": 0.5, "mean": 1 - (weight - 0.7) ** 2, "loss": 1 + (weight - 0.7) ** 2}
        (recipe.folder / "summary.json").write_text(json.dumps({"final": final, "finished": True}))
    capsys.readouterr()
    folders = [str(recipe.folder) for recipe in recipes]
    assert main(["mix", "propose", *folders]) == 0
    assert "weights of ocr, counting" in proposed_near(capsys, 0.7, "mean 0.99")
    # Of a loss less is better.
    assert main(["mix", "propose", *folders, "--figure", "loss"]) == 0
    proposed_near(capsys, 0.7, "loss 1.0")
    assert main(["mix", "propose", *folders, "--figure", "men"]) == 2
    assert "Did you mean 'mean'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["design", "recipe.yaml", "recipe.yaml"], "takes one recipe, not 2"),
        (["design", "recipe.yaml", "--runs", "2"], "2 runs cannot tell 2 datasets apart"),
        (["design", "recipe.yaml", "--figure", "ocr"], "--figure: mix design does not read it"),
        (["propose", "nowhere", "--runs", "3"], "--runs: mix propose does not read it"),
        (["propose", "nowhere"], "'nowhere' is no run: it has no config.yaml"),
    ],
)
def test_what_cannot_be_mixed_is_said(mixture, capsys, arguments, said):
    assert main(["mix", *arguments]) == 2
    assert said in capsys.readouterr().err
