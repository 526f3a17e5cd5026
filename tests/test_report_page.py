"""The HTML report: what it says, what it escapes, and how Chromium lays it out."""

import json
import math
import re
import shutil
import subprocess
from html import unescape

import pytest
from PIL import Image, ImageDraw

from mmrl.errors import UserError
from mmrl.tracking.charts import Frame, Series, draw, make_scale, number, thin
from mmrl.tracking.report import write_report
from mmrl.tracking.report_images import Gallery, Picture, find_boxes, to_pixels
from mmrl.tracking.run_files import Span

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TASKS = {"classification": 0.3, "ocr": 0.22, "grounding": 0.05, "counting": 0.18, "multiple_choice": 0.41}
CONFIG = """name: digits-sft-then-rl
seed: 0
policy: {type: qwen_vl, path: quickstart}
stages:
- {name: sft, method: sft, steps: 40}
- {name: rl, method: grpo, steps: 60}
"""


def wave(step: int, phase: float = 0.0) -> float:
    return 0.5 * math.sin(step * 1.7 + phase) + 0.5 * math.sin(step * 0.61 + 2 * phase)


def records(steps: int):
    for step in range(steps + 1):
        stage = "sft" if step <= 40 else "rl"
        line = {"step": step, "stage": stage, "time": 1.7e9 + 21 * step}
        grown = 1 - math.exp(-step / 30)
        if step % 20 == 0:
            figures = {f"eval/{task}": round(low + (0.93 - low) * grown, 4) for task, low in TASKS.items()}
            yield {**line, **figures, "eval/mean": sum(figures.values()) / len(figures)}
        if step == 0:
            continue
        loss = 2.2 * math.exp(-step / 15) + 0.05 * wave(step)
        both = {"loss/total": loss, "optim/lr": 1e-5 * min(1, step / 8), "optim/grad_norm": 0.8 + 0.2 * wave(step, 1)}
        speed = {"throughput/tokens_per_s": 1450 + 90 * wave(step), "time/step": 20 + wave(step), "memory/rss_gb": 3.1}
        if stage == "sft":
            yield {**line, **both, **speed}
            continue
        yield {
            **line,
            **both,
            **speed,
            "reward/mean": 0.45 + 0.4 * grown + 0.05 * wave(step),
            "reward/std": 0.3 - 0.1 * grown,
            "reward/format": min(1.0, 0.9 + step / 1000),
            "reward/iou": 0.4 + 0.3 * grown,
            "accuracy/mean": 0.4 + 0.4 * grown,
            "group/zero_advantage": 0.2 + 0.1 * wave(step),
            "policy/entropy": 0.7 - 0.004 * step + 0.02 * wave(step),
            "policy/kl_ref": 2e-5 * step,
            "policy/clip_low": 0.01 + 0.005 * wave(step),
            "policy/clip_high": 0.02 + 0.005 * wave(step, 1),
            "gap/log_prob_mean": 3e-6 if step != 50 else None,
            "gap/log_prob_max": 5e-5,
            "length/mean": 14 + wave(step),
            "length/max": 40,
            "time/rollout": 11.0,
            "time/update": 8.0,
            "custom/thing": 1.0,
        }


def scene(seed: int) -> tuple[Image.Image, list[int]]:
    image = Image.new("RGB", (320, 240), (236, 232, 222))
    pen = ImageDraw.Draw(image)
    left, top = 40 + 37 * seed % 160, 40 + 53 * seed % 90
    pen.rectangle((left, top, left + 70, top + 60), fill=(70, 110, 150))
    pen.ellipse((220, 150, 300, 220), fill=(180, 90, 70))
    return image, [left, top, left + 70, top + 60]


def rollout_lines(folder, step: int, evil: str = ""):
    for group in range(2):
        image, box = scene(group + step)
        path = f"rollouts/media/{step}_{group}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / path)
        for answer in range(4):
            off = [box[i] + (answer - 1) * (9 + 4 * i) for i in range(4)]
            yield {
                "step": step,
                "stage": "rl",
                "group": group,
                "sample": f"digits-{step}-{group}",
                "dataset": "digits",
                "task": "grounding",
                "prompt": "<image>Where is the blue block? Answer with a box [x1, y1, x2, y2] in <answer> tags.",
                "images": [path],
                "target": {"box": box},
                "coordinates": "pixel",
                "source": "demo" if answer == 3 else "policy",
                "completion": f"<think>The block is left of the disc.</think>\n<answer>{off}</answer>{evil}",
                "reward": 0.9 - 0.3 * answer,
                "parts": {"format": 1.0, "iou": 0.85 - 0.3 * answer, "point": None},
                "advantage": 1.1 - 0.75 * answer,
                "parsed": off,
                "reason": "ok" if answer < 2 else "low_iou",
                "truncated": answer == 2,
                "length": 24 + answer,
            }


def build_run(folder, steps: int = 100, evil: str = ""):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "environment.json").write_text(json.dumps({"mmrl": "0.1.0", "python": "3.11", "device": "cpu"}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in records(steps)))
    for step in (1, 60, 80, 90, 100):
        lines = "".join(json.dumps(line) + "\n" for line in rollout_lines(folder, step, evil))
        (folder / "rollouts" / f"step_{step:06d}.jsonl").write_text(lines)
    evaluations = [
        {k.removeprefix("eval/"): v for k, v in r.items() if k.startswith("eval/")}
        for r in records(100)
        if "eval/ocr" in r
    ]
    columns = {
        "start": evaluations[0],
        "after_sft": evaluations[2],
        "final": evaluations[-1],
    }
    (folder / "summary.json").write_text(json.dumps({**columns, "steps": 100}))
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_report(build_run(tmp_path_factory.mktemp("runs") / "demo"))


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
    }
    (run / "rollouts" / "step_000100.jsonl").write_text(json.dumps(line) + "\n")
    text = write_report(run).read_text()
    assert text.count("<script>") == 1
    assert "<img" not in text
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
    assert to_pixels((500, 100, 1000, 200), "norm1000", 200, 100) == (100, 10, 200, 20)
    assert to_pixels((0.5, 0, 1, 1), "norm1", 200, 100) == (100, 0, 200, 100)
    assert to_pixels((5, 0, 9, 9), "pixel", 200, 100) == (5, 0, 9, 9)


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
        [Series("a", "a", [(0, 0.0), (1, 1.0), (2, None), (3, 1.0), (4, 2.0)])], Frame(0, 4, [Span("s", 0, 4)]), "", ""
    )
    assert re.search(r'class="curve s1" d="([^"]*)"', svg)[1].count("M") == 2
    assert draw([Series("a", "a", [(0, None)])], Frame(0, 4), "", "") == ""


def test_numbers_read_well():
    pairs = {0: "0", 0.8123: "0.812", 12.34: "12.3", 1234: "1,234", 45678: "45.7k", 1e-5: "1.0e-5", -2.5e6: "-2.5M"}
    assert {value: number(value) for value in pairs} == pairs
    assert number(None) == number(float("nan")) == "–"


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


PROBE = """<!doctype html><body style="margin:0"><iframe style="border:0;width:%dpx;height:%dpx" src="%s"></iframe>
<pre id=out></pre><script>onload = () => {
  const page = frames[0].document, root = page.documentElement, charts = [...page.querySelectorAll("svg.chart")];
  const chart = charts.find(c => c.getAttribute("aria-label").startsWith("Loss"));
  const box = chart.getBoundingClientRect();
  const event = new frames[0].PointerEvent("pointermove", { clientX: box.left + box.width * (52 + 336 * .596) / 400 });
  chart.dispatchEvent(event);
  const shown = charts.filter(c => c.getBoundingClientRect().width > 0);
  document.getElementById("out").textContent = "RESULT" + JSON.stringify({ inner: frames[0].innerWidth,
    scroll: root.scrollWidth, ready: root.dataset.ready, charts: charts.length, text: page.body.innerText,
    narrowest: Math.min(...shown.map(c => c.getBoundingClientRect().width)),
    tip: chart.parentNode.querySelector(".tip").textContent }) + "TLUSER";
}</script>"""


def measure(page, folder, width: int, height: int) -> dict:
    # Headless Chromium has no window below 500 pixels; a frame has any width.
    probe = folder / "probe.html"
    probe.write_text(PROBE % (width, height, page.as_uri()))
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}",
        f"--window-size={max(width, 500) + 20},{height}", "--virtual-time-budget=4000", "--dump-dom",
    ]  # fmt: skip
    command = [CHROMIUM, *flags, probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    found = re.search(r"RESULT(.*)TLUSER</pre>", done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(unescape(found[1]))
