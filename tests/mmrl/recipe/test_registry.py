"""Registries: names of a table, `module:name`, and entry points of installed packages."""

import sys

import pytest

from mmrl.contracts.errors import ConfigError
from mmrl.recipe import registry
from mmrl.recipe.registry import Registry

PLANETS = Registry("test_planet", {"earth": "math:floor", "mars": 4})


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """`packages(name, group, entries)` puts an installed package with entry points on the path."""

    def install(name: str, group: str, entries: str, code: str = "PART = 'a part'") -> None:
        folder = tmp_path / name
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entries}\n")
        monkeypatch.syspath_prepend(str(folder))
        registry.installed_parts.cache_clear()

    yield install
    registry.installed_parts.cache_clear()
    for name in [name for name in sys.modules if name.startswith("planet_")]:
        del sys.modules[name]


def test_a_name_is_imported_when_it_is_asked_for_and_an_object_is_itself():
    import math

    assert PLANETS.get("earth") is math.floor
    assert PLANETS.get("mars") == 4
    assert "earth" in PLANETS
    assert "venus" not in PLANETS


def test_module_and_name_stand_for_what_is_there(workplace):
    (workplace / "planet_mine.py").write_text("VENUS = {'moons': 0}\n")
    assert PLANETS.get("planet_mine:VENUS") == {"moons": 0}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("erth", "orbit: unknown test planet 'erth'. Did you mean 'earth'? Allowed: earth, mars, or module:name"),
        ("nowhere_at_all:x", "orbit: 'nowhere_at_all:x': no module 'nowhere_at_all'"),
        ("math:flor", "orbit: 'math:flor': module has no function 'flor'. Did you mean 'floor'?"),
        ("math:", "orbit: 'math:' is not of the form module:function"),
    ],
)
def test_what_is_not_there_is_named_with_the_key_and_the_nearest(name, said):
    with pytest.raises(ConfigError) as error:
        PLANETS.get(name, "orbit")
    assert str(error.value).startswith(said)


def test_an_installed_package_brings_a_name(packages):
    packages("planet_pack", "mmrl.test_planet", "venus = planet_pack:PART")
    assert PLANETS.names() == ["earth", "mars", "venus"]
    assert PLANETS.get("venus") == "a part"
    (line,) = [line for line in PLANETS.listed() if line.name == "venus"]
    assert (line.source, line.package) == ("planet_pack:PART", "planet_pack")


def test_a_name_that_two_packages_bring_is_refused_with_both(packages):
    packages("planet_one", "mmrl.test_planet", "venus = planet_one:PART")
    packages("planet_two", "mmrl.test_planet", "venus = planet_two:PART")
    with pytest.raises(ConfigError, match=r"brought by several packages \(planet_one, planet_two\); write module:name"):
        PLANETS.get("venus")


def test_the_table_goes_before_a_package(packages):
    packages("planet_pack", "mmrl.test_planet", "mars = planet_pack:PART")
    assert PLANETS.get("mars") == 4
    assert [line.package for line in PLANETS.listed() if line.name == "mars"] == ["mmrl"]


def test_no_method_stands_in_two_families():
    from mmrl.recipe.methods import (
        METHODS,
        critic,
        flow,
        group,
        mixed,
        offline,
        preference,
        ratios,
        reinforce,
        supervised,
    )

    tables = (
        supervised.SUPERVISED,
        group.GROUP,
        reinforce.REINFORCE,
        ratios.RATIOS,
        critic.CRITIC,
        preference.PREFERENCE,
        mixed.MIXED,
        offline.OFFLINE,
        flow.FLOW,
    )
    assert sorted(name for table in tables for name in table) == sorted(METHODS.entries)
