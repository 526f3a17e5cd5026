"""`mmrl rewards`: listing, trying and checking, through the command's own entry."""

import json
import subprocess
import sys

import pytest
import yaml
from PIL import Image

from mmrl.cli import main
from mmrl.commands.rewards_draw import ANSWER, GOLD, shapes
from tests.support.paths import ROOT
from vision_rewards import list_rewards


def table(text):
    """The command's lines as a mapping."""
    return {parts[0]: parts[1] for line in text.splitlines() if len(parts := line.split(None, 1)) == 2}


def rows(path, *items):
    path.write_text("\n".join(json.dumps(item) for item in items))
    return str(path)


def row(task="counting", target=None, **more):
    return {
        "id": "r",
        "prompt": "How many?",
        "task": task,
        "target": {"count": 3} if target is None else target,
        **more,
    }


def failure(capsys, *argv):
    assert main(["rewards", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("mmrl: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_list_names_every_reward(capsys):
    assert main(["rewards", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # Each reward is a file.
    files = (ROOT / "vision_rewards" / "rewards").glob("*.py")
    assert [line.split()[0] for line in lines] == sorted(path.stem for path in files if path.stem != "__init__")


def test_try_shows_the_score_and_how_it_came(capsys):
    argv = ["try", "iou", "--completion", "<think>left</think>[0, 0, 10, 7]", "--target", '{"box": [0, 0, 10, 10]}']
    assert main(["rewards", *argv, "--param", "threshold=0.5", "--param", "extract=auto"]) == 0
    shown = table(capsys.readouterr().out)
    assert (shown["score"], shown["accuracy"], shown["reason"]) == ("1", "1", "ok")
    assert shown["iou"] == "0.7"
    assert json.loads(shown["parsed"]) == [0, 0, 10, 7]
    assert json.loads(shown["gold"]) == "[0, 0, 10, 10]"


def test_try_reads_files(capsys, workplace):
    (workplace / "answer.txt").write_text("3 or 4")
    (workplace / "target.yaml").write_text("count: 3\n")
    assert main(["rewards", "try", "counting", "--completion", "@answer.txt", "--target", "@target.yaml"]) == 0
    shown = table(capsys.readouterr().out)
    assert (shown["score"], shown["reason"]) == ("0", "many_numbers")


def test_try_of_a_target_of_another_shape(capsys):
    assert "needs the key 'count'" in failure(
        capsys, "try", "counting", "--completion", "3", "--target", '{"text": "3"}'
    )


@pytest.mark.parametrize("name", sorted(list_rewards()))
def test_demo_shows_the_examples(capsys, name):
    assert main(["rewards", "try", name, "--demo"]) == 0
    printed = capsys.readouterr().out
    for example in list_rewards()[name].examples:
        assert f"# {example.why}\n" in printed
    assert printed.count("\nscore ") == len(list_rewards()[name].examples)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["try", "oocr", "--completion", "x", "--target", "{text: x}"], "unknown reward 'oocr'; did you mean 'ocr'?"),
        (["try", "oocr", "--demo"], "did you mean 'ocr'?"),
        (["try", "ocr"], "give --completion and --target, or --demo"),
        (["try", "ocr", "--completion", "x", "--target", "x"], "--target is str, not a mapping"),
        (["try", "ocr", "--completion", "x", "--target", "{text"], "not valid YAML"),
        (["try", "ocr", "--completion", "@none", "--target", "{text: x}"], "--completion: cannot read 'none'"),
        (["try", "ocr", "--completion", "x", "--target", "{text: ''}"], "'text'"),
        (["try", "ocr", "--completion", "x", "--target", "{text: x}", "--param", "metric"], "not of the form k=v"),
        (["try", "ocr", "--completion", "x", "--target", "{text: x}", "--param", "metric=ned"], "'ned'"),
        (["try", "ocr", "--completion", "x", "--target", "{text: x}", "--draw", "x.png"], "no box, point or polygon"),
        (["check", "none.jsonl"], "none.jsonl"),
        (["check", "none.yaml"], "no recipe at 'none.yaml'"),
        (["check", "none.jsonl", "--limit", "0"], "--limit 0"),
        (["check", "none.jsonl", "--param", "a=1"], "--param needs --reward"),
        (["check", "none.jsonl", "--format", "csv"], "format"),
        (["check", "none.jsonl", "seed=1"], "overrides a recipe"),
    ],
)
def test_mistakes_are_named(capsys, workplace, argv, words):
    assert words in failure(capsys, *argv)


def test_check_of_a_sound_dataset(capsys, workplace):
    path = rows(workplace / "train.jsonl", row(), row("ocr", {"text": "EXIT"}), row("rec", {"box": [0, 0, 5, 5]}))
    assert main(["rewards", "check", path]) == 0
    printed = capsys.readouterr().out
    assert "3 rows, 0 bad" in printed
    assert "  task ocr: 1 can be scored" in printed
    assert printed.endswith("all 3 rows can be scored\n")


def test_check_names_each_bad_row(capsys, workplace):
    path = rows(
        workplace / "train.jsonl",
        row(),
        row(target={"count": -1}),
        row("ocr", {"text": "a</think>b"}),
        row("sortng", {"order": [2, 1]}),
        row("ocr", {"count": 3}),
        row(),
    )
    assert main(["rewards", "check", path]) == 2
    printed = capsys.readouterr().out
    assert "6 rows, 4 bad" in printed
    for number, words in (
        (1, "'count' is '-1'"),
        (2, "cannot be read back"),
        (3, "did you mean 'sorting'"),
        (4, "'text'"),
    ):
        (line,) = [line for line in printed.splitlines() if f"row {number} " in line]
        assert words in line
    assert printed.endswith("4 of 6 rows cannot be scored\n")
    assert main(["rewards", "check", path, "--show", "1"]) == 2
    assert "… and 3 more" in capsys.readouterr().out
    assert main(["rewards", "check", path, "--limit", "1"]) == 0


def test_check_with_a_reward_of_choice(capsys, workplace):
    path = rows(workplace / "train.jsonl", row(target={"count": 3}), row(target={"text": "three"}))
    assert main(["rewards", "check", path, "--reward", "counting"]) == 2
    assert "1 of 2 rows" in capsys.readouterr().out
    raw = rows(workplace / "raw.jsonl", row("ocr", {"text": "<answer>"}))
    assert main(["rewards", "check", raw, "--reward", "ocr"]) == 2
    assert main(["rewards", "check", raw, "--reward", "ocr", "--param", "extract=raw"]) == 0


def test_check_of_a_recipe(capsys, recipe_file):
    assert main(["rewards", "check", str(recipe_file)]) == 0
    printed = capsys.readouterr().out
    assert "train.0: 16 rows, 0 bad" in printed
    assert "eval.0: 4 rows, 0 bad" in printed
    assert printed.endswith("all 20 rows can be scored\n")
    argv = ["check", str(recipe_file), "--limit", "2", "data.train.0.tasks=[ocr]"]
    assert main(["rewards", *argv, "rewards=[{name: counting}]"]) == 2
    printed = capsys.readouterr().out
    assert "needs the key 'count'" in printed
    assert printed.endswith("4 of 4 rows cannot be scored\n")
    assert "--task is for a dataset" in failure(capsys, "check", str(recipe_file), "--task", "ocr")


def test_check_proves_the_rewards_of_a_recipe_together(capsys, workplace, recipe_file):
    recipe = yaml.safe_load(recipe_file.read_text())
    recipe["rewards"] = [{"name": "route", "params": {"extract": "raw"}}, {"name": "format", "weight": 0.1}]
    recipe_file.write_text(yaml.safe_dump(recipe))
    assert main(["rewards", "check", str(recipe_file)]) == 2
    assert "the gold answer" in capsys.readouterr().out, "an answer that is read raw cannot also stand in tags"
    (workplace / "mine.py").write_text("def brevity(completion, sample):\n    return 1.0\n")
    assert main(["rewards", "check", str(recipe_file), "rewards=[{name: 'mine:brevity'}, {name: route}]"]) == 0
    assert (
        "'brevity', a function of yours, gives the demonstrations or right answers of the first rows: 1"
        in capsys.readouterr().out
    )


CAT = '[{"bbox_2d": [1, 2, 30, 40], "label": "cat"}]'
EASY_VIDEO_R1 = {
    "math": "3/4",
    "multiple choice": "B",
    "numerical": "12.5",
    "regression": "3.2",
    "open-ended": "A man opens the red door and leaves.",
    "video qa": "He opens it.",
    "video description": "A man opens the red door and leaves the house.",
    "free-form": "red",
    "ocr": "EXIT 24",
    "boolean": "Yes",
    "llava": "1",
    "critic": "2",
    "spatial grounding": '{"boxes": [10, 20, 110, 220]}',
    "temporal grounding": '{"time": [1.5, 9.0]}',
    "spatial-temporal grounding": '{"time": [1, 2], "boxes": {"1": [0, 0, 5, 5], "2": [0, 0, 5, 6]}}',
    "tracking": '{"boxes": {"1": [0, 0, 5, 5], "2": [0, 0, 5, 6]}}',
}
VLM_R1 = {
    "rec": "[10, 20, 110, 220]",
    "ic": "cat",
    "mcq": "B",
    "yes_no": "no",
    "math": "3/4",
    "all_match": "cat",
    "llm": "a cat",
    "map": f"```json\n{CAT}\n```",
    "od_ap": f"```json\n{CAT}\n```",
    "od_ap50": "None",
    "odLength": f"```json\n{CAT}\n```",
    "weighted_sum": f"```json\n{CAT}\n```",
}


def easy_video_r1(task, solution):
    options = ["A. a cup", "B. a book"] if task == "multiple choice" else []
    more = {"data_type": "text", "options": options, "problem_id": task}
    return {"problem": "What?", "problem_type": task, "solution": f"<answer>{solution}</answer>", **more}


def vlm_r1(method, solution):
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": f"<answer>{solution}</answer>"}]
    return {"id": method, "conversations": turns, "accu_reward_method": method}


@pytest.mark.parametrize(("make", "answers"), [(easy_video_r1, EASY_VIDEO_R1), (vlm_r1, VLM_R1)])
def test_rows_of_peers_can_be_scored(capsys, workplace, make, answers):
    path = rows(workplace / "peer.jsonl", *(make(*pair) for pair in answers.items()))
    judge = "params={judge: {policy: 'tests.support.rewards:grade'}}"
    code = main(["rewards", "check", path, "--reward", "route", "--param", judge])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert f"all {len(answers)} rows" in printed


def test_demonstrations_need_no_target(capsys, workplace, recipe_file):
    rows(workplace / "demos.jsonl", {"id": "d", "prompt": "Say it.", "demonstration": "It."})
    source = "{type: file, path: demos.jsonl, use: demonstrations}"
    assert main(["rewards", "check", str(recipe_file), f"data.train=[{source}, {{type: digits, size: 4}}]"]) == 0
    assert "train.0" not in capsys.readouterr().out


def test_drawing_marks_target_and_answer(capsys, workplace):
    Image.new("RGB", (120, 80), "white").save(workplace / "photo.png")
    argv = ["try", "iou", "--completion", "[60, 10, 100, 50]", "--target", '{"box": [10, 10, 40, 50]}']
    assert main(["rewards", *argv, "--draw", "out.png", "--image", "photo.png"]) == 0
    page = Image.open(workplace / "out.png")
    assert page.size == (120, 80)
    assert (page.getpixel((10, 30)), page.getpixel((60, 30)), page.getpixel((50, 30))) == (
        GOLD,
        ANSWER,
        (255, 255, 255),
    )
    assert main(["rewards", *argv, "--draw", "blank.png"]) == 0
    assert Image.open(workplace / "blank.png").getpixel((10, 30)) == GOLD
    assert "cannot read 'none.png'" in failure(capsys, *argv, "--draw", "x.png", "--image", "none.png")
    assert "cannot write" in failure(capsys, *argv, "--draw", "none/x.png")
    far = ["try", "iou", "--completion", "x", "--target", '{"box": [10, 10, 40000, 50]}', "--draw", "x.png"]
    assert "give the --image" in failure(capsys, *far)


def test_shapes_are_found_at_any_depth():
    value = {"boxes": [{"box": [0, 0, 1, 1], "label": "x"}], "point": (3, 4), "count": 7, "ring": [[0, 0, 1, 0, 1, 1]]}
    assert list(shapes(value)) == [[0, 0, 1, 1], [3, 4], [0, 0, 1, 0, 1, 1]]
    assert list(shapes({"size": [5, 5], "counts": [1, 2, 3, 4]})) == []
    assert list(shapes(None)) == list(shapes("x")) == list(shapes([1, 2, 3])) == list(shapes([True, False])) == []


def test_parser_stays_light():
    code = (
        "import sys, mmrl.cli\n"
        "mmrl.cli.parse(['config'])\n"
        "heavy = {'torch', 'numpy', 'PIL', 'vision_rewards', 'pydantic', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
