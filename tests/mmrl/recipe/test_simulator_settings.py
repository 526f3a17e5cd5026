"""Simulators' options stand in the recipe: misspelt ones are refused when it is read, without torch or a simulator."""

import subprocess
import sys

import pytest
import yaml

from mmrl.commands.config import recipe_schema
from mmrl.contracts.errors import ConfigError
from mmrl.recipe.reading import to_yaml
from mmrl.recipe.schema import load_recipe
from mmrl.recipe.simulators import SIMULATORS, simulator_model
from robotics.settings import SETTINGS, TABLETOP_COLOURS, TABLETOP_TASKS


def recipe(**simulator):
    return {
        "name": "x",
        "policy": {"type": "openvla", "path": "anywhere"},
        "simulators": {"table": simulator},
        "data": {"train": [{"type": "episodes", "simulator": "table"}]},
        "method": "grpo",
        "steps": 1,
    }


CASES = [
    (
        {"type": "tabletop", "taks": ["reach"]},
        ".taks: unknown key 'taks'. Did you mean 'tasks'? Allowed:",
    ),
    (
        {"type": "tabletop", "control_mode": "x"},
        ".control_mode: unknown key 'control_mode'. Type maniskill reads it. Allowed",
    ),
    ({"type": "tabeltop"}, ".type: unknown simulator 'tabeltop'. Did you mean 'tabletop'?"),
    ({}, ".type: this key is required. Allowed: libero, maniskill, tabletop"),
    (
        {"type": "tabletop", "tasks": ["raech"]},
        ".tasks.0: 'raech' is not allowed. Did you mean 'reach'?",
    ),
    ({"type": "tabletop", "tasks": ["reach"] * 2}, ".tasks: ['reach', 'reach'] repeats a value"),
    ({"type": "tabletop", "tasks": []}, ".tasks: [] is too short; at least 1 is needed"),
    ({"type": "tabletop", "num_envs": True}, ".num_envs: Input should be a valid integer (got True)"),
    (
        {"type": "tabletop", "num_envs": 0},
        ".num_envs: Input should be greater than or equal to 1 (got 0)",
    ),
    (
        {"type": "tabletop", "colours": ["red", "blue"]},
        ": tabletop: num_blocks=3 is not allowed with 2 colours; allowed: 1 to 2",
    ),
    (
        {"type": "libero", "tasks": [10]},
        ": libero: tasks=[10] is not allowed; allowed: 0 to 9 in suite",
    ),
    (
        {"type": "maniskill", "reward": "denes"},
        ".reward: 'denes' is not allowed. Did you mean 'dense'?",
    ),
    (
        {"type": "maniskill", "backend": "physx_cuda", "rebuild": True},
        ": maniskill: rebuild=True is not allowed with physx_cuda; set backend: physx_cpu",
    ),
    ({"type": "nowhere_at_all:Env"}, ".type: 'nowhere_at_all:Env': no module 'nowhere_at_all'"),
    (
        {"type": "math:floor"},
        ".type: simulator: type='math:floor' is not allowed; allowed: module:class",
    ),
]


@pytest.mark.parametrize(("given", "said"), CASES)
def test_mistakes_are_named(given, said):
    said = f"simulators.table{said}"
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe(**given))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("name", SETTINGS)
def test_defaults_are_those_of_the_simulator(name):
    read = load_recipe(recipe(type=name))
    options = read.simulators["table"].as_given()
    assert options.pop("type") == name
    assert options == SETTINGS[name].read(name, {})
    assert load_recipe(yaml.safe_load(to_yaml(read))) == read


def test_names_of_tasks_and_colours_are_those_that_the_tabletop_has():
    from robotics.tabletop_tasks import TASKS
    from robotics.tabletop_world import COLOURS

    assert tuple(TASKS) == TABLETOP_TASKS
    assert tuple(COLOURS) == TABLETOP_COLOURS


def test_the_schema_has_the_options_of_each():
    choices = recipe_schema()["properties"]["simulators"]["additionalProperties"]["allOf"]
    branches = {choice["if"]["properties"]["type"]["const"]: choice["then"]["properties"] for choice in choices}
    assert list(branches) == SIMULATORS.names()
    assert branches["tabletop"]["reward"]["enum"] == ["sparse", "dense"]
    assert {*branches["maniskill"]} == {"type", *SETTINGS["maniskill"].options}


MINE = """
from robotics.base import VectorEnv
from robotics.options import Option
from robotics.settings import SimulatorSettings

class Shelf(VectorEnv):
    SETTINGS = SimulatorSettings({"num_envs": Option(int, 2, low=1), "boards": Option(int, 3, low=1, high=9)})
    reset = chunk_step = observe = render = None

    def __init__(self, num_envs, boards):
        self.num_envs, self.boards = num_envs, boards
"""


def test_one_of_one_s_own_brings_its_options(workplace):
    from mmrl.rollouts.simulators import Simulators

    (workplace / "my_shelf.py").write_text(MINE)
    read = load_recipe(recipe(type="my_shelf:Shelf", boards=5)).simulators
    assert read["table"].as_given() == {"type": "my_shelf:Shelf", "num_envs": 2, "boards": 5}
    made = Simulators(read).get("table", 7)
    assert (made.num_envs, made.boards) == (2, 5)
    with pytest.raises(ConfigError, match=r"^simulators\.table\.bords: unknown key 'bords'\. Did you mean 'boards'\?"):
        load_recipe(recipe(type="my_shelf:Shelf", bords=5))
    with pytest.raises(ConfigError, match=r"^simulators\.table\.boards: Input should be less than or equal to 9"):
        load_recipe(recipe(type="my_shelf:Shelf", boards=10))


def test_a_simulator_of_an_installed_package_is_found_by_its_name(workplace, monkeypatch):
    from mmrl.recipe import registry
    from mmrl.rollouts.simulators import Simulators

    info = workplace / "shelves-1.0.dist-info"
    info.mkdir()
    (workplace / "my_shelf.py").write_text(MINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shelves\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mmrl.simulator]\nshelf = my_shelf:Shelf\n")
    monkeypatch.syspath_prepend(str(workplace))
    registry.installed_parts.cache_clear()
    try:
        assert SIMULATORS.names() == ["libero", "maniskill", "tabletop", "shelf"]
        read = load_recipe(recipe(type="shelf")).simulators
        assert Simulators(read).get("table", 7).boards == 3
    finally:
        registry.installed_parts.cache_clear()
    assert simulator_model("tabletop").model_fields["num_envs"].default is None


def test_options_are_checked_without_torch():
    code = (
        "import sys; from mmrl.recipe.schema import load_recipe; "
        f"[load_recipe({recipe()!r} | {{'simulators': {{'table': {{'type': t}}}}}}) "
        "for t in ('tabletop', 'maniskill', 'libero')]; "
        "print({'torch', 'numpy', 'mani_skill', 'libero', 'robosuite'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
