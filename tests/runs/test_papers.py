"""configs/papers: each recipe reads, is named by one system of the table, and runs for a few steps."""

import pytest
import yaml
from PIL import Image

from benchmarks import papers
from mmrl import train
from mmrl.recipe.schema import load_recipe


def test_the_page_is_current():
    assert papers.PAGE.read_text() == papers.render(), "run: python -m benchmarks.papers"


def test_every_system_has_one_state_and_every_recipe_one_system():
    rows = [row for rows in papers.systems().values() for row in rows]
    assert len(rows) == len({row["system"] for row in rows}) > 160
    assert all(sum(key in row for key in ("recipe", "settings", "needs")) == 1 for row in rows)
    assert sorted(row["recipe"] for row in rows if "recipe" in row) == [path.stem for path in papers.recipes()]


@pytest.mark.parametrize("path", papers.recipes(), ids=lambda path: path.stem)
def test_a_recipe_reads_and_says_what_it_is(path):
    assert path.read_text().startswith("# ")
    assert load_recipe(path).name == f"papers/{path.stem}"


def grades(text, sample):
    """By row: always wrong; right and wrong in turn; always right."""
    CALLS[sample.row] = CALLS.get(sample.row, 0) + 1
    score = (0.0, float(CALLS[sample.row] % 2), 1.0)[sample.row % 3]
    return {"reward": score, "accuracy": score}


CALLS: dict[int, int] = {}


def shrunk(node):
    """A recipe's part with few steps, rows and answers, and pairs of whatever these say."""
    if isinstance(node, list):
        return [shrunk(item) for item in node]
    if not isinstance(node, dict):
        return node
    few = {"steps": 1, "prompts": 2, "demonstrations": 2, "n": 2, "by": "reward"}
    small = {key: few.get(key, shrunk(value)) for key, value in node.items() if key not in ("rewards", "eval")}
    if small.get("type") == "digits":
        small["size"] = 9
    return small


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """What recipes with pictures of one's own call `photos`."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(3):
        Image.linear_gradient("L").resize((56, 56)).rotate(90 * i).convert("RGB").save(folder / f"{i}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("path", papers.recipes(), ids=lambda path: path.stem)
def test_a_recipe_runs_for_a_few_steps(path, tmp_path, photos):
    raw = shrunk(yaml.safe_load(path.read_text().replace("path: photos", f"path: {photos}")))
    CALLS.clear()
    raw |= {"output": str(tmp_path), "rewards": [{"name": "tests.runs.test_papers:grades"}]}
    raw |= {"demonstrations": 2, "prompts": 2, "tracking": {"console": "none", "tensorboard": False}}
    del raw["evaluation"]
    for stage in raw.get("stages", []):
        stage.pop("evaluation", None)
    outcome = train(raw)
    assert outcome.summary["finished"]
