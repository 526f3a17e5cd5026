"""`mmrl compare`: settings, held-out accuracy, figures and curves of two runs."""

import json

import pytest
import yaml

from mmrl.cli import main
from tests.support.browser import build_run


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def pair(tmp_path):
    """Two runs; the second has another seed, another learning rate in stage two, twice the reward, and no end."""
    runs = [build_run(tmp_path / name) for name in ("a", "b")]
    config = {
        "name": "a",
        "seed": 0,
        "policy": {"path": "x", "dtype": "float32"},
        "stages": [
            {"name": "sft", "method": "sft", "steps": 40, "optim": {"lr": 0.001}},
            {"name": "rl", "method": "grpo", "steps": 60, "optim": {"lr": 0.001}},
        ],
    }
    (runs[0] / "config.yaml").write_text(yaml.safe_dump(config))
    config |= {"name": "b", "seed": 1}
    config["stages"][1]["optim"]["lr"] = 0.0005
    (runs[1] / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [
        line | ({"reward/mean": 2 * line["reward/mean"]} if line.get("reward/mean") is not None else {})
        for line in lines_of(runs[1])
    ]
    (runs[1] / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (runs[1] / "summary.json").unlink()
    return runs


def test_settings_accuracy_and_figures_of_both(pair, capsys):
    assert main(["compare", *map(str, pair)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"a: step 100, {pair[0]}"
    start = lines.index("settings that differ")
    assert lines[start + 1 : start + 4] == ["  seed 0 -> 1", "  stages.rl.optim.lr 0.001 -> 0.0005", ""]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.startswith(("ocr ", "reward/mean "))}
    final = json.loads((pair[0] / "summary.json").read_text())["final"]
    assert rows["ocr"] == [f"{final['ocr']:.4g}", f"{final['ocr']:.4g}", "+0"], "the second's is its latest"
    last = sum([line["reward/mean"] for line in lines_of(pair[0]) if line.get("reward/mean") is not None][-10:]) / 10
    assert rows["reward/mean"] == [f"{last:.4g}", f"{2 * last:.4g}", f"{last:+.4g}"]
    assert "b: The run has not finished: summary.json is missing." in lines


def test_losses_stand_apart_from_accuracies(pair, tmp_path, capsys):
    for run, loss in zip(pair, (0.5, 0.25)):
        last = {"step": 100, "stage": "rl", "time": 1.7e9, "eval/ocr": 0.9, "eval/mean": 0.9}
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(last | {"eval/loss": loss, "eval/loss/talk": 2 * loss}) + "\n")
    (pair[0] / "summary.json").unlink()
    page = tmp_path / "both.html"
    assert main(["compare", *map(str, pair), "--output", str(page)]) == 0
    tables = [block.splitlines() for block in capsys.readouterr().out.split("\n\n")]
    rows = {" ".join(block[0].split()[:2]): [line.split() for line in block[1:]] for block in tables}
    assert rows["held-out accuracy"][-2:] == [["ocr", "0.9", "0.9", "+0"], ["mean", "0.9", "0.9", "+0"]]
    assert rows["held-out loss,"] == [["loss/talk", "1", "0.5", "-0.5"], ["loss", "0.5", "0.25", "-0.25"]]
    parts = page.read_text().split("<section>")
    assert [">loss" in part for part in parts if "<h2>Held-out accuracy</h2>" in part] == [False]
    assert [part.count(">loss") for part in parts if "<h2>Held-out loss" in part and "<table" in part] == [2]


def test_page_has_a_curve_per_run(pair, tmp_path, capsys):
    assert main(["compare", *map(str, pair), "--output", str(tmp_path / "both.html")]) == 0
    assert capsys.readouterr().out.endswith(f"written: {tmp_path / 'both.html'}\n")
    page = (tmp_path / "both.html").read_text()
    figure = next(part for part in page.split("<figure>") if "<h3>reward/mean</h3>" in part)
    for index, label in enumerate("ab", start=1):
        assert f'class="curve s{index}"' in figure
        assert f'<i class="swatch s{index}"></i>{label} <b>' in figure
    assert page.count("Light lines are single steps") == 1
    assert "<code>stages.rl.optim.lr 0.001 -&gt; 0.0005</code>" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_run_beside_itself_differs_in_nothing(pair, capsys):
    assert main(["compare", str(pair[0]), str(pair[0])]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{pair[0]}: step 100"), "runs of one name go by their folders"
    assert "no setting differs" in out


def test_a_folder_that_is_no_run_is_refused(pair, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["compare", str(pair[0]), str(tmp_path / "empty")]) == 2
    assert f"'{tmp_path / 'empty'}' is no run" in capsys.readouterr().err
