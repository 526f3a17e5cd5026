"""`mmrl list`: every kind, every name of a kind, and who brings it."""

import pytest

from mmrl.cli import main
from mmrl.recipe.registries import REGISTRIES, registry_of


def test_kinds_are_listed_with_their_groups(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for kind in REGISTRIES:
        assert f"mmrl.{kind}\n" in out


@pytest.mark.parametrize("kind", sorted(REGISTRIES))
def test_every_name_of_a_kind_is_listed_and_can_be_had(capsys, kind):
    assert main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    registry = registry_of(kind)
    assert registry.kind == kind
    assert [line.split()[0] for line in lines[:-1]] == sorted(registry.names())
    for name, line in zip(sorted(registry.names()), lines):
        assert registry.get(name) is not None
        assert len(line.split()) > 2, f"nothing says what {name} is"


def test_an_unknown_kind_is_refused_with_the_nearest(capsys):
    assert main(["list", "rewad"]) == 2
    assert "unknown kind 'rewad'. Did you mean 'reward'?" in capsys.readouterr().err
