"""Imports point one way, and no files stand in a circle. One arrow turned round must show."""

from benchmarks.house_imports import FLOOR, arrows, back_up, circles, longest_function, modules
from benchmarks.house_picture import PAGE, picture
from tests.support.paths import ROOT

FILES = modules(ROOT)


def test_imports_point_one_way():
    assert back_up(arrows(FILES)) == []


def test_no_files_stand_in_a_circle():
    assert circles(arrows(FILES)) == []


def test_every_room_has_a_floor():
    rooms = {name.split(".")[1] for name in FILES if "." in name}
    assert rooms <= FLOOR.keys()


def test_an_import_that_runs_up_and_a_circle_are_seen():
    imports = arrows(FILES)
    assert "mmrl.contracts.types" in imports["mmrl.recipe.schema"] | imports["mmrl.data.mixture"]
    imports["mmrl.recipe.schema"].add("mmrl.trainer.loop")
    imports["mmrl.contracts.errors"].add("mmrl.recipe.schema")
    assert ("mmrl.recipe.schema", "mmrl.trainer.loop") in back_up(imports)
    assert any({"mmrl.recipe.schema", "mmrl.contracts.errors"} <= set(group) for group in circles(imports))


def test_imports_inside_functions_and_for_type_checkers_count(tmp_path):
    package = tmp_path / "mmrl"
    for room in ("contracts", "trainer"):
        (package / room).mkdir(parents=True)
    (package / "trainer" / "loop.py").write_text("import mmrl.contracts.types\n")
    (package / "contracts" / "types.py").write_text(
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from mmrl.trainer import loop\n\n\n"
        "def late():\n    import mmrl.trainer.loop\n"
    )
    (package / "trainer" / "__init__.py").write_text("")
    imports = arrows(modules(tmp_path))
    assert back_up(imports) == [("mmrl.contracts.types", "mmrl.trainer.loop")]
    assert circles(imports) == [["mmrl.contracts.types", "mmrl.trainer.loop"]]


def test_functions_stay_short():
    assert longest_function(FILES).lines <= 60


def test_the_packages_beside_mmrl_know_nothing_of_it_nor_of_each_other():
    packages = ("vision_rewards", "robotics", "video")
    for package in packages:
        for name, path in modules(ROOT, package).items():
            text = path.read_text()
            for other in {"mmrl", *packages} - {package}:
                assert f"import {other}" not in text, (name, other)
                assert f"from {other}" not in text, (name, other)


def test_no_test_imports_from_a_test():
    for path in (ROOT / "tests").rglob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith(("from tests", "import tests")):
                assert line.startswith(("from tests.support", "import tests.support")), f"{path}: {line}"


def test_the_picture_shows_today_s_rooms():
    assert PAGE.read_text() == picture(), "run python -m benchmarks.house_picture"
