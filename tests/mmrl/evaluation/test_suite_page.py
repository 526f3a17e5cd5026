"""The page of an evaluation: every answer that is shown is the one on disk, and nothing of it runs."""

import json
import re
from html import unescape

import pytest
import yaml

from mmrl.cli import main
from mmrl.contracts.errors import UserError
from mmrl.evaluation.suite import page as pages
from mmrl.evaluation.suite.folder import stored_in
from mmrl.evaluation.suite.page import write_page
from mmrl.evaluation.suite.runner import open_tasks
from mmrl.evaluation.suite.stored import reopened
from mmrl.recipe.reading import read_yaml
from tests.support.benchmark_rows import write
from tests.support.suite import ask, settings


@pytest.fixture
def pope(tmp_path):
    write(tmp_path, "pope")
    return tmp_path


def page_of(root, answer, tasks=("pope",), output="out", shown=True, **keys):
    config = settings(root / output, tasks, data_root=str(root), **keys)
    opened = open_tasks(config)
    ask(config, answer, opened)
    return write_page(root / output, {task.name: task.rows for task in opened} if shown else {}).read_text()


def test_answers_stand_beside_what_was_asked(pope):
    text = page_of(pope, lambda sample: "<script>yes</script>" if sample.row else "no")
    assert "<script>yes" not in text
    assert "&lt;script&gt;yes&lt;/script&gt;" in text
    assert text.count("<article") == 2
    assert text.count("data:image/png;base64") >= 1
    assert "Is there a dog?" in text
    entry = json.loads((pope / "out" / "results.json").read_text())["tasks"]["pope"]
    assert f"<td>{entry['score']:.3f}" in text
    assert entry["protocol_digest"] in text
    assert '<option value="split">answers disagree</option>' in text


def test_arms_and_draws_of_a_question_stand_on_one_card(pope):
    answers = iter(["yes", "no", "yes", "no", "no", "no", "no", "no"])
    given = {"samples": 2, "sampling": {"temperature": 1.0}}
    text = page_of(pope, lambda sample: next(answers), ["pope", "pope@text_only"], **given)
    assert text.count("<article") == 2
    first, second = text.split("<article")[1:]
    # The first row is "no": its draws disagree, and under the arm both are right.
    assert re.findall(r'class="chip source">(\w+)<', first) == ["plain", "plain", "text_only"]
    assert first.count('data-split="yes"') == 3
    assert "× 2" in first
    assert "pope@text_only" in text
    assert re.findall(r"<th scope=\"col\">(pass@\d|majority)<", text) == ["pass@1", "pass@2", "majority"]
    assert second.count('data-split="yes"') == len(re.findall('class="answer"', second))


def test_failures_are_named_and_pictures_may_be_gone(pope):
    rows = json.loads((pope / "pope.json").read_text())
    for row in rows:
        row.pop("image")
    (pope / "pope").mkdir()
    (pope / "pope" / "a.png").write_bytes(b"no picture")
    (pope / "pope.json").write_text(json.dumps([{**row, "image": "a.png"} for row in rows]))
    text = page_of(pope, lambda sample: "no")
    assert text.count('data-failed="yes"') == 2
    assert "Could not be asked" in text
    assert "a.png" in unescape(text)


def test_a_folder_of_results_is_shown_without_its_rows(pope):
    text = page_of(pope, lambda sample: "no", shown=False)
    assert text.count("<article") == 2
    assert "data:image" not in text
    assert {name: reopened(each, str(pope)).name for name, each in stored_in(pope / "out").items()} == {"pope": "pope"}
    (pope / "pope.json").write_text(json.dumps(json.loads((pope / "pope.json").read_text())[::-1]))
    with pytest.raises(UserError, match="has other rows than those that"):
        reopened(stored_in(pope / "out")["pope"], str(pope))


def test_no_more_rows_are_shown_than_are_said(pope, monkeypatch):
    monkeypatch.setattr(pages, "SHOWN", {"failed": 0, "wrong": 1, "right": 0})
    text = page_of(pope, lambda sample: "yes")
    assert text.count("<article") == 1
    assert "1 of 2 rows" in text


def test_an_evaluation_stands_in_a_file(workplace, capsys, monkeypatch):
    """The command's own settings go before the file's, and a recipe is a recipe."""
    import mmrl.evaluation.suite.opening as opening

    asked = []
    monkeypatch.setattr(opening, "measure_suite", lambda raw, overrides: asked.append((raw, overrides)) or {})
    suite = {"model": "here", "tasks": ["digits"], "limit": 3, "sampling": {"temperature": 0.5}, "output": "there"}
    (workplace / "suite.yaml").write_text(yaml.safe_dump(suite))
    assert main(["eval", "suite.yaml", "--limit", "2", "--max-new-tokens", "9", "seed=4"]) == 0
    sampling = {"temperature": 0.5, "max_new_tokens": 9}
    assert asked == [({**read_yaml(workplace / "suite.yaml"), "limit": 2, "sampling": sampling}, ["seed=4"])]
    assert capsys.readouterr().out.splitlines()[-1] == "written: there/results.json"
    (workplace / "recipe.yaml").write_text("steps: 3\n")
    assert main(["eval", "recipe.yaml", "--limit", "2"]) == 2
    assert "--limit goes with --model and --tasks" in capsys.readouterr().err
    assert main(["eval", "suite.yaml", "--checkpoint", "x"]) == 2
    assert main(["eval", "suite.yaml", "--scorer", "lmms-eval"]) == 2


@pytest.mark.parametrize(
    ("line", "reads"),
    [
        ("merge a b --output c --limit 3", "--limit: `mmrl eval merge` reads --output and --data-root"),
        ("rescore a --output c --limit 0", "--limit: `mmrl eval rescore` reads --output and --data-root and --scorer"),
        ("check digits --samples 2", "--samples: `mmrl eval check` reads --data-root and --limit"),
        ("list --model x", "--model: `mmrl eval list` reads no options"),
        ("list --checkpoint x", "--checkpoint: `mmrl eval list` reads no options"),
    ],
)
def test_a_word_refuses_options_that_it_does_not_read(workplace, capsys, line, reads):
    assert main(["eval", *line.split()]) == 2
    assert reads in capsys.readouterr().err
    assert not any(workplace.iterdir())
