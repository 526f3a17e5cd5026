"""Checked-in recipes as seeded runs that must learn, each beside an arm that must not.

One file per recipe: `pytest -n` gives each file to one worker.
"""

from mmrl.recipe.reading import read_yaml
from tests.support.paths import CONFIGS


def recipe(name, folder, **changes):
    """A checked-in recipe that writes into `folder` and prints nothing."""
    raw = read_yaml(CONFIGS / f"{name}.yaml") | {"output": str(folder)}
    raw["tracking"] = {"console": "none", "tensorboard": False}
    return raw | changes
