"""docs/methods.md shows everything that makes a method."""

from collections.abc import Mapping

import pytest
from pydantic import BaseModel

from mmrl.objectives import docs
from mmrl.recipe.methods import METHODS, resolve_objective

SETTINGS = [name for name, entry in METHODS.entries.items() if entry.objective is not None]


def changed(node, path):
    """(path, a copy of `node` with another value there) for every value below it, None included."""
    if isinstance(node, BaseModel):
        for key in type(node).model_fields:
            for place, other in changed(getattr(node, key), f"{path}.{key}"):
                yield place, node.model_copy(update={key: other})
    elif isinstance(node, Mapping):
        for key, value in node.items():
            for place, other in changed(value, f"{path}.{key}"):
                yield place, {**node, key: other}
    else:
        yield path, "something else"


def section(name):
    return "\n".join(docs._method(name, METHODS.get(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_whatever_changes_in_a_method_changes_its_page(name, monkeypatch):
    before, objective = section(name), resolve_objective(name, {})
    # The method's name is the heading.
    for path, other in ((path, other) for path, other in changed(objective, name) if path != f"{name}.method"):
        monkeypatch.setattr(docs, "resolve_objective", lambda *_, other=other: other)
        assert section(name) != before, f"{path} is not on the page"


def test_a_ratio_of_decisions_does_not_read_as_one_of_units():
    page = docs.render()
    assert "rl: ppo_clip per decision" in next(line for line in page.splitlines() if line.startswith("| [`pi_rl_sde`]"))
    assert "level: decision" in section("pi_rl_sde")
    assert "level: unit" in section("ppo")
