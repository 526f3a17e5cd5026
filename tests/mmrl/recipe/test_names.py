"""Names of runs: inside of `output`, and such as every file system takes."""

from pathlib import Path

import pytest

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.schema import load_recipe

REST = {
    "method": "sft",
    "steps": 1,
    "demonstrations": 2,
    "policy": {"path": "quickstart", "device": "cpu"},
    "data": {"train": [{"type": "digits"}]},
}


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/abs", "", ".", "a//b", "a/"])
def test_a_name_that_leaves_output_is_refused(name):
    with pytest.raises(ConfigError, match=r"name: .*is no folder inside of `output`") as refused:
        load_recipe({**REST, "name": name})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a\0b", "control characters"),
        ("a\nb", "control characters"),
        ("x" * 300, "300 bytes"),
        ("ä" * 128, "256 bytes"),
        ("\ud800", "no text"),
    ],
)
@pytest.mark.parametrize("key", ["name", "output"])
def test_what_no_file_can_be_called_is_refused(key, path, reason):
    with pytest.raises(ConfigError, match=f"{key}: .*{reason}") as refused:
        load_recipe({**REST, "name": "run", key: path})
    str(refused.value).encode()


def test_other_names_stand_in_output():
    for name in ("first", "digits/first", "ä" * 127, "a.b", "..a"):
        assert load_recipe({**REST, "name": name, "output": "/data/runs"}).folder == Path("/data/runs") / name
