"""A run folder with a report, and a browser that measures it."""

import json
import math
import re
import shutil
import subprocess
from html import unescape

from PIL import Image, ImageDraw

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
