"""YAML of a recipe: values, or one line of mmrl's own, whatever the text."""

import pytest

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.reading import MOST_BYTES, read_yaml
from mmrl.recipe.schema import load_recipe
from mmrl.recipe.yaml_text import MOST_LEVELS, parse_yaml

BROKEN = {
    "a list as a key": ("? [a]\n: b", "line 1: a key is a word or a number, not a list or a mapping"),
    "a mapping as a key": ("x: 1\n? {a: 1}\n: b", "line 2: a key is a word or a number"),
    "a day that is none": ("2001-99-99", "not valid YAML: month must be in 1..12"),
    "a float without figures": ("!!float ", "not valid YAML: "),
    "an int without figures": ("!!int x", "not valid YAML: "),
    "a time that is none": ("!!timestamp x", "not valid YAML: "),
    "half of a surrogate pair": ('a: "\\ud800"', "line 1: half of a surrogate pair"),
    "bytes that are no text": ("a: \udcff", "not valid YAML: "),
    "3,000 brackets": ("[" * 3000, f"line 1: nested more than {MOST_LEVELS} levels deep"),
    "3,000 mappings": ("{a: " * 3000, f"line 1: nested more than {MOST_LEVELS} levels deep"),
    "5,000 digits": ("9" * 5000, "not valid YAML: Exceeds the limit"),
    "an alias inside of itself": ("a: &a [*a]", "line 1: nested more than"),
    "aliases of aliases": (
        "a0: &a0 [1, 2]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9)),
        "line 7: more than 1,000,000 values, aliases written out",
    ),
    "a set": ("!!set {a, b}", "line 1, column 1: not valid YAML: could not determine a constructor"),
    "bytes": ("!!binary /w==", "line 1, column 1: not valid YAML: could not determine a constructor"),
    "an object of Python": ("!!python/object/apply:os.getcwd []", "line 1, column 1: not valid YAML: could not"),
    "a key given twice": ("a: 1\nb: {c: 1, c: 2}", "line 2: key 'c' is given twice"),
    "a key given twice in what is merged": ("a: {<<: {x: 1, x: 2}}", "line 1: key 'x' is given twice"),
    "a merge of no mapping": ("a: {<<: 3}", "line 1, column 9: not valid YAML: expected a mapping or list of mappings"),
    "a long word": ("a: *" + "x" * 5000, "line 1, column 4: not valid YAML: found undefined alias"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_text(case):
    text, expected = BROKEN[case]
    with pytest.raises(ConfigError) as error:
        parse_yaml(text)
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


def test_merge_keys():
    text = "base: &base {lr: 1, betas: [1, 2]}\nmore: &more {<<: *base, lr: 2, eps: 3}\n"
    text += "own: {<<: *more, eps: 4}\nboth: {<<: [{a: 1, b: 1}, {b: 2, c: 3}], d: 4}"
    parsed = parse_yaml(text)
    assert parsed["own"] == {"lr": 2, "betas": [1, 2], "eps": 4}
    assert parsed["both"] == {"a": 1, "b": 1, "c": 3, "d": 4}


def test_numbers_and_levels_that_are_fine():
    deep = "[" * MOST_LEVELS + "]" * MOST_LEVELS
    assert parse_yaml("{a: 1e-4, b: 2024-05-01, c: 0x10}")["a"] == 1e-4
    assert parse_yaml(deep) is not None
    with pytest.raises(ConfigError, match="nested"):
        parse_yaml(f"[{deep}]")


def test_file_that_is_no_recipe(tmp_path):
    with pytest.raises(ConfigError, match=r"no recipe at 'a{60}…a+ \(\d+ characters\)'"):
        read_yaml(tmp_path.relative_to(tmp_path) / ("a" * 300))
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(ConfigError, match="no recipe: above 20 MB"):
        read_yaml(large)


RECIPE = {"name": "x", "policy": {"path": "p"}, "data": {"train": [{"type": "digits"}]}, "method": "grpo", "steps": 1}
KINDS = {
    "seed=a": "seed: Input should be a valid integer, unable to parse string as an integer (got 'a')",
    "resume=null": "resume: Input should be 'auto' or 'never' or a valid string (got None)",
    "data.cache={a: 1}": "data.cache.folder: this key is required",
    "data.cache=3": "data.cache: Input should be a valid dictionary or instance of CacheConfig",
    f"{'k' * 5000}=1": "k" * 60 + "…",
    f"method={'g' * 5000}": f"unknown method '{'g' * 60}…",
}


@pytest.mark.parametrize("override", KINDS, ids=lambda override: override[:20])
def test_one_line_for_a_value_of_several_kinds(override):
    with pytest.raises(ConfigError) as error:
        load_recipe(RECIPE, [override])
    first, *others = str(error.value).splitlines()
    assert first.startswith(KINDS[override]), first
    assert all(len(line) < 1000 for line in (first, *others))
    assert len(others) == ("a: 1" in override)
