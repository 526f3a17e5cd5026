"""The documentation is current, its recipes load, its commands parse and its links lead somewhere."""

import ast
import json
import re
import shlex
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

from mmrl.cli import main, parse
from mmrl.objectives import docs
from mmrl.recipe.generating import as_generating
from mmrl.recipe.reading import STAGE_DEFAULTS, merge, parse_yaml, validate
from mmrl.recipe.schema import Recipe, load_recipe
from mmrl.recipe.suite import KEYS, SuiteConfig
from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
OURS = ("mmrl", "robotics", "video", "vision_rewards")
# What a section's example is put into, to be checked like a whole recipe.
BASE = {
    "name": "example",
    "policy": {"path": "quickstart", "action_bins": 5},
    "data": {"train": [{"type": "digits"}]},
    "simulators": {"tabletop": {"type": "tabletop"}},
}


def blocks(*languages):
    """(page and line, text) of every fenced block in these languages."""
    return [
        pytest.param(match[2], id=f"{page.name}:{text[: match.start()].count(chr(10)) + 1}")
        for page in PAGES
        for text in [page.read_text()]
        for match in FENCE.finditer(text)
        if match[1] in languages
    ]


def anchors(page):
    """GitHub's anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_methods_page_is_current():
    assert (ROOT / "docs/methods.md").read_text() == docs.render(), "run: python -m mmrl.objectives.docs"


def test_methods_page_is_written_where_asked(tmp_path):
    docs.main([str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text() == docs.render()


@pytest.fixture
def my_rewards(tmp_path, monkeypatch):
    """The functions that the pages name: a recipe binds their signatures when it is read."""
    (tmp_path / "my_rewards.py").write_text(
        "".join(f"def {name}(completion, sample): ...\n" for name in ("brevity", "grade", "exact"))
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_rewards", None)
    yield
    sys.modules.pop("my_rewards", None)


@pytest.mark.usefixtures("my_rewards")
@pytest.mark.parametrize("text", blocks("yaml"))
def test_recipes_and_examples_of_sections_load(text):
    raw = parse_yaml(text)
    if text.startswith("name:"):
        load_recipe(raw)
        return
    if set(KEYS) <= set(raw):
        validate(SuiteConfig, raw)
        return
    if "generate" in raw:
        load_recipe(as_generating(merge({**BASE, "policy": {}}, raw)))
        return
    assert set(raw) <= {*Recipe.model_fields, *STAGE_DEFAULTS}
    steps = {} if "stages" in raw else {"method": "grpo", "steps": 1}
    base = {**BASE, **steps}
    if raw.get("policy", {}).get("type", "qwen_vl") != "qwen_vl":
        base["policy"] = {}
    load_recipe(merge(base, raw))


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_configs_load(path):
    load_recipe(path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_readme_links_every_page():
    links = set(LINK.findall((ROOT / "README.md").read_text()))
    assert {f"docs/{page.name}" for page in PAGES if page.parent.name == "docs"} <= links


@pytest.mark.parametrize("text", blocks("sh"))
def test_commands_parse_and_their_recipes_are_there(text):
    commands = [part for line in text.splitlines() for part in line.split("&&") if "mmrl " in part]
    for command in commands:
        words = shlex.split(command, comments=True)
        assert words[0] == "mmrl"
        args = parse(words[1:])
        recipe = getattr(args, "recipe", None)
        if recipe and recipe.startswith("configs/"):
            load_recipe(ROOT / recipe, args.overrides)


@pytest.mark.parametrize("text", blocks("python"))
def test_python_compiles_and_what_it_imports_of_ours_is_there(text):
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in OURS:
            module, names = import_module(node.module), [alias.name for alias in node.names]
            # A module counts as well: `from vision_rewards import adapters`.
            missing = [name for name in names if not (hasattr(module, name) or find_spec(f"{node.module}.{name}"))]
            assert missing == []


@pytest.mark.parametrize("text", blocks("json"))
def test_rows_shown_are_json(text):
    assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize("text", blocks("sh"))
def test_benchmarks_that_pages_name_are_there(text):
    for name in re.findall(r"python -m (benchmarks\.\w+)", text):
        assert find_spec(name) is not None, name


@pytest.mark.parametrize("text", blocks("console"))
def test_errors_shown_are_the_real_ones(text, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    command, *expected = text.splitlines()
    assert main(shlex.split(command.removeprefix("$ mmrl "))) == 2
    assert capsys.readouterr().err.splitlines() == expected


def test_errors_in_the_troubleshooting_page_are_those_of_the_code():
    paths = [path for folder in ("mmrl", "vision_rewards", "robotics") for path in (ROOT / folder).rglob("*.py")]
    code = "\n".join(path.read_text() for path in paths)
    # Literals that stand beside each other are one message.
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    page = (ROOT / "docs/troubleshooting.md").read_text()
    tables = page[: page.index("## torchvision")]
    cells = re.findall(r"^\| (`.*?`) \|", tables, re.MULTILINE)
    # What lies between filled-in values, quotes and brackets.
    pieces = [piece.strip(" .:,?") for cell in cells for piece in re.split(r"[…`'\[\]]", cell)]
    assert len(cells) > 40
    assert [piece for piece in pieces if len(piece) > 4 and piece not in code] == []
