"""Whatever is done to a recipe, it is read or refused in mmrl's own words."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrl.contracts.errors import UserError
from mmrl.recipe.schema import load_recipe

CONFIGS = Path(__file__).parents[3] / "configs"
TEXTS = [path.read_text() for path in sorted(CONFIGS.rglob("*.yaml"))]
BITS = (
    "? [a]\n: b", "2001-99-99", "!!float ", "!!int x", "!!timestamp x", '"\\ud800"', "[" * 3000, "9" * 5000, "<<: *b",
    "&a [*a]", "null", "{}", "[]", "-1", ".nan", "1e999", "true", "!!set {a}", "!!binary /w==", "*x", "- ", '"', "\x00",
    "1:2:3", "!!python/name:os.system", "? ", "{a: {b: 1}}", "3", "[1, [2]]", "os:path", "json:dumps", "''", "digits",
    "file", "[{type: digits}]", "{type: {a: 1}}", "{1: 2}", "[null]", "99999999999999999999", "\n", "  ", ":", "{", "}",
)  # fmt: skip


def places(node, before=()):
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield ".".join((*before, str(key)))
        yield from places(value, (*before, str(key)))


PLACES = [list(places(yaml.safe_load(text))) for text in TEXTS]


@st.composite
def mutated(draw):
    index = draw(st.integers(0, len(TEXTS) - 1))
    text = TEXTS[index]
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.sampled_from((0, 0, 1, 3, 10, 40)))
        text = text[:start] + draw(st.sampled_from(BITS)) + text[end:]
    ends = st.sampled_from(("", "", ".x", ".0"))
    override = st.builds("{}{}={}".format, st.sampled_from(PLACES[index]), ends, st.sampled_from(BITS))
    return text, draw(st.lists(override, max_size=2))


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=100)
@given(case=mutated())
def test_mutated_recipe(tmp_path_factory, case):
    text, overrides = case
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_text(text)
    lines = refusal(path, overrides).splitlines()
    assert all(0 < len(line) < 1000 for line in lines)


def refusal(path: Path, overrides: list[str]) -> str:
    try:
        load_recipe(path, overrides)
    except UserError as error:
        return str(error)
    return ""
