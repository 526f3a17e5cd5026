"""The HTML report: what it says, what it escapes, and how Chromium lays it out."""

import json
import re
import shutil
from html import unescape

import pytest
from PIL import Image

from mmrl.contracts.errors import UserError
from mmrl.tracking.report.images import Gallery, Picture, find_boxes, to_pixels
from mmrl.tracking.report.page import write_report
from mmrl.tracking.report.plots import Frame, Series, draw, make_scale, number, thin
from mmrl.tracking.run_files import StageSpan
from tests.support.browser import (
    CHROMIUM,
    build_run,
    measure,
    records,
    rollout_lines,
    wave,
)
from vision_rewards.parsers.boxes import BOX_KEYS, LIST_KEYS


def test_page_holds_everything_and_nothing_from_outside(page):
    text = page.read_text()
    assert page.stat().st_size < 5_000_000
    for heading in (
        "Reward",
        "Held-out accuracy over training",
        "Policy and answers",
        "Optimisation",
        "Speed and memory",
        "Sampled rollouts",
    ):
        assert f"<h2>{heading}</h2>" in text
    assert "Other figures (1)" in text
    assert "custom/thing" in text
    assert text.count('class="chart"') >= 20
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)
    assert "http" not in re.sub(r'http-equiv|data-chart="[^"]*"', "", text)
    assert "1 value not finite" in text
    assert '<td class="final">0.905</td>' in text
    assert "after sft" in text


def test_rollouts_shown_are_first_and_last_with_boxes(page):
    text = page.read_text()
    assert [int(s) for s in re.findall(r"<h3>Step (\d+)</h3>", text)] == [100, 90, 80, 1]
    assert text.count('class="true"') == 8
    assert text.count('class="predicted"') == 32
    assert "cut by length limit" in text
    assert "&lt;answer&gt;" in text


def test_stage_boundaries_are_drawn_and_values_travel_with_the_chart(page):
    text = page.read_text()
    chart = re.search(r'aria-label="Loss: loss by step" data-chart="([^"]*)">(.*?)</svg>', text)
    data = json.loads(unescape(chart[1]))
    assert data["series"][0]["x"] == list(range(1, 101))
    assert data["series"][0]["y"][0] == pytest.approx(list(records(1))[-1]["loss/total"], rel=1e-4)
    assert chart[2].count('class="stage"') == 1
    assert ">sft</text>" in chart[2]


def test_text_of_models_and_configs_is_escaped(tmp_path):
    evil = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'</pre>"
    run = build_run(tmp_path / "run", evil=evil)
    (run / "config.yaml").write_text(f"name: {json.dumps(evil)}\nstages: [{{name: {json.dumps(evil)}, steps: 100}}]\n")
    (run / "environment.json").write_text(json.dumps({evil: evil}))
    with (run / "metrics.jsonl").open("a") as file:
        file.write(
            json.dumps({"step": 100, "stage": evil, "time": 1.7e9, f"reward/{evil}": 1.0, f"eval/{evil}": 1}) + "\n"
        )
    line = next(iter(rollout_lines(run, 100)))
    fields = ("sample", "dataset", "task", "prompt", "source", "completion", "reason", "coordinates")
    hostile = dict.fromkeys(fields, evil)
    line |= {
        **hostile,
        "parts": {evil: 1.0},
        "target": {evil: evil},
        "images": [evil],
        "videos": [evil],
        "info": {evil: evil},
        "model_prompt": evil,
        "tokens": [evil, "</span>"],
        "log_probs": [-1.0, evil],
        "truncated": evil,
    }
    (run / "rollouts" / "step_000100.jsonl").write_text(json.dumps(line) + "\n")
    (run / "heldout").mkdir()
    (run / "heldout" / "step_000100.jsonl").write_text(json.dumps(line) + "\n")
    text = write_report(run).read_text()
    assert text.count("<script") == 1
    assert "<img" not in text
    assert text.count('<option value="&lt;script&gt;') == 2
    assert '"&lt;/span&gt;"],"log_probs":[-1.0,null]' in text
    assert "&lt;script&gt;" in text
    assert not re.search(r'="[^"<>]*<script', text)


@pytest.mark.parametrize("present", ["config.yaml", "metrics.jsonl", "environment.json", "rollouts"])
def test_partial_run_still_gives_a_page_that_says_what_is_missing(tmp_path, present):
    full = build_run(tmp_path / "full")
    part = tmp_path / "part"
    part.mkdir()
    (shutil.copytree if (full / present).is_dir() else shutil.copy)(full / present, part / present)
    text = write_report(part, tmp_path / "out" / "page.html").read_text()
    expected = {"config.yaml": "no recipe", "metrics.jsonl": "No figures yet", "rollouts": "No rollouts yet"}
    for name, words in expected.items():
        assert (words.lower() in text.lower()) == (name != present)
    assert "The run has not finished" in text


def test_damaged_files_are_named_and_do_not_stop_the_page(tmp_path):
    run = build_run(tmp_path / "run")
    for name in ("config.yaml", "environment.json", "summary.json"):
        (run / name).write_text("{[")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('[1]\n{"stage": "rl"}\n{"step": 101, "sta')
    with (run / "rollouts" / "step_000100.jsonl").open("a") as file:
        file.write('{"step": 100, "grou')
    (run / "rollouts" / "media" / "90_0.png").write_bytes(b"no image")
    text = write_report(run).read_text()
    for words in ("config.yaml is damaged", "3 damaged lines", "1 damaged line left out", "missing or unreadable"):
        assert words in text
    assert '<td class="final">0.905</td>' in text, "the table is rebuilt from metrics.jsonl"


def test_no_run_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="is no run"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        write_report(tmp_path / "absent")


@pytest.mark.slow
def test_long_run_stays_small(tmp_path):
    run = tmp_path / "run"
    (run / "rollouts" / "media").mkdir(parents=True)
    with (run / "metrics.jsonl").open("w") as file:
        for step in range(1, 5001):
            figures = {f"reward/part{i}": wave(step, i) for i in range(30)}
            file.write(json.dumps({"step": step, "stage": "rl", "time": 0.0, **figures}) + "\n")
    noise = Image.effect_noise((1200, 900), 90)
    for step in range(1, 6):
        lines = []
        for group in range(6):
            path = f"rollouts/media/{step}{group}.png"
            noise.rotate(step * 10 + group).save(run / path)
            lines += [{"step": step, "group": group, "images": [path] * 4, "completion": "x" * 50_000}] * 16
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (run / "rollouts" / f"step_{step:06d}.jsonl").write_text(text)
    page = write_report(run)
    assert page.stat().st_size < 5_000_000
    assert "left out to keep this page small" in page.read_text()


def test_images_outside_the_run_are_not_inlined(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "secret.png")
    (tmp_path / "run").mkdir()
    assert "outside" in Gallery(tmp_path / "run", 10**6).get("../secret.png")
    assert isinstance(Gallery(tmp_path, 10**6).get("secret.png"), Picture)


def test_boxes_are_found_and_brought_to_pixels():
    assert find_boxes({"box": [1, 2, 3, 4]}) == [(1, 2, 3, 4)]
    assert find_boxes([{"bbox": [1, 2, 3, 4], "label": "a"}, {"bbox": [5, 6, 7, 8]}]) == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert find_boxes([1, 2, 3, 4]) == []
    assert find_boxes([1, 2, 3, 4], bare=True) == [(1, 2, 3, 4)]
    assert find_boxes({"boxes": [[1, 2, 3, 4], [5, 6, 7]]}) == [(1, 2, 3, 4)]
    assert all(find_boxes({key: [1, 2, 3, 4]}) == [(1, 2, 3, 4)] for key in BOX_KEYS)
    assert all(find_boxes({key: [{"bbox_2d": [1, 2, 3, 4], "label": "a"}]}) == [(1, 2, 3, 4)] for key in LIST_KEYS)
    assert to_pixels((500, 100, 1000, 200), "norm1000", 200, 100) == (100, 10, 200, 20)
    assert to_pixels((0.5, 0, 1, 1), "norm1", 200, 100) == (100, 0, 200, 100)
    assert to_pixels((5, 0, 9, 9), "pixel", 200, 100) == (5, 0, 9, 9)
    # As a policy sees a picture of 200 x 100 that it has made smaller.
    assert to_pixels((14, 28, 28, 56), "56x56", 200, 100) == (50, 50, 100, 100)


@pytest.mark.parametrize(
    "values", [[0.0], [1e-5, 1e-5], [0.3, 0.9], [-4.0, 3.0], [1e9, 2e9], [-2.0, -1.9], [0.98, 0.99], [5, 5]]
)
def test_scale_holds_its_values_in_few_ticks(values):
    ticks = make_scale(values).ticks
    assert ticks[0] <= min(values) + 1e-9
    assert ticks[-1] >= max(values) - 1e-9 * abs(max(values))
    assert 2 <= len(ticks) <= 8


def test_thinning_keeps_mean_ends_and_gaps():
    thinned = thin([(i, float(i)) for i in range(1, 1001)], 100)
    assert len(thinned) == 100
    assert thinned[0] == (10, 5.5)
    assert thinned[-1][0] == 1000
    assert thin([(1, None), (2, None), (3, 1.0), (4, None)], 2) == [(2, None), (4, 1.0)]


def test_gap_breaks_the_line():
    svg = draw(
        [Series("a", "a", [(0, 0.0), (1, 1.0), (2, None), (3, 1.0), (4, 2.0)])],
        Frame(0, 4, [StageSpan("s", 0, 4)]),
        "",
        "",
    )
    assert re.search(r'class="curve s1" d="([^"]*)"', svg)[1].count("M") == 2
    assert draw([Series("a", "a", [(0, None)])], Frame(0, 4), "", "") == ""


def test_numbers_read_well():
    pairs = {0: "0", 0.8123: "0.812", 12.34: "12.3", 1234: "1,234", 45678: "45.7k", 1e-5: "1.0e-5", -2.5e6: "-2.5M"}
    assert {value: number(value) for value in pairs} == pairs
    assert number(None) == number(float("nan")) == "–"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed, so the layout cannot be measured")
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_layout_in_chromium(page, tmp_path, width, height):
    seen = measure(page, tmp_path, width, height)
    assert seen["inner"] == width
    assert seen["scroll"] <= width
    assert seen["ready"] == "yes", "the page's own script did not run"
    assert seen["charts"] >= 20
    assert seen["narrowest"] >= 0.75 * min(width, 340), "a chart is too small to read"
    assert "digits-sft-then-rl" in seen["text"]
    assert "after sft" in seen["text"]
    assert "step 60" in seen["tip"], "hovering the middle of a chart names its step"


STARTS = [
    {"number": 1, "step": 0, "time": 1.7e9 - 20, "changes": [], "seconds": 600.0},
    {"number": 2, "step": 60, "time": 1.7e9 + 4000, "changes": ["optim.lr 0.1 -> 0.2 from step 60"], "seconds": 5.0},
    {"number": 3, "step": 40, "time": 1.7e9 + 9000, "changes": [f"{'long.' * 30}key 1 -> <2>"], "seconds": None},
]


@pytest.fixture
def resumed(tmp_path):
    run = build_run(tmp_path / "runs" / "demo")
    (run / "starts.json").write_text(json.dumps(STARTS))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    later = [{**line, "time": line["time"] + (9000 if line["step"] > 40 else 0)} for line in lines]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in later))
    return write_report(run)


def test_starts_are_listed_marked_and_their_time_added_up(resumed):
    """The second start's steps were dropped; the third began at 9000 and wrote its last figure at 9000 + 100 x 21."""
    text = resumed.read_text()
    assert "ran 45m05s in 3 starts" in text
    assert text.count('<g class="change">') == text.count('class="chart"')
    assert text.count("<title>start 3\n") == text.count('class="chart"')
    assert "its steps are gone" in text
    assert "key 1 -&gt; &lt;2&gt;" in text
    assert "<h2>Starts</h2>" in text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed, so the layout cannot be measured")
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_layout_of_starts_in_chromium(resumed, tmp_path, width, height):
    seen = measure(resumed, tmp_path, width, height)
    assert seen["scroll"] <= width
    assert "optim.lr 0.1 -> 0.2 from step 60" in seen["text"]


def test_a_damaged_list_of_starts_is_left_out(tmp_path):
    run = build_run(tmp_path / "demo")
    (run / "starts.json").write_text("[{")
    assert "starts.json is damaged and was left out." in write_report(run).read_text()
