"""Answers on the report's page: folded, filtered, sorted, token by token; those of held-out rows."""

import json
import re
import subprocess
from html import unescape

import pytest

from mmrl.tracking.report.answers import Room, fold
from mmrl.tracking.report.images import Gallery
from mmrl.tracking.report.page import write_report
from tests.support.browser import CHROMIUM, build_run

EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def line(completion, reward, accuracy=None, **facts):
    info = {} if accuracy is None else {"accuracy": accuracy}
    base = {"step": 100, "stage": "rl", "group": 0, "sample": "s", "dataset": "d", "task": "ocr", "source": "policy"}
    return {**base, "completion": completion, "reward": reward, "info": info, "length": 2, **facts}


def written(tmp_path, rollouts, heldout=None):
    """The page of a run with these rollouts of its last step, and held-out answers by step."""
    run = build_run(tmp_path / "demo")
    for path in (run / "rollouts").glob("step_*.jsonl"):
        path.unlink()
    (run / "rollouts" / "step_000100.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rollouts))
    for step, rows in (heldout or {}).items():
        (run / "heldout").mkdir(exist_ok=True)
        (run / "heldout" / f"step_{step:06d}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return write_report(run)


def section(page, title):
    return next(part for part in page.read_text().split("<section")[1:] if f"<h2>{title}</h2>" in part)


def test_equal_answers_are_one_and_what_differs_is_not():
    answers = [line("4", 0.0), line("7", 1.0), line("4", 0.0), line("4", 0.5), line("4", 0.0, truncated=True)]
    answers += [line("4", 0.0, source="demo"), line("7", 1.0, advantage=2.0)]
    assert [len(equal) for equal in fold(answers)] == [2, 2, 1, 1, 1]
    assert [equal[0]["completion"] for equal in fold(answers)] == ["4", "7", "4", "4", "4"]


def test_episodes_have_no_text_and_are_only_folded_where_all_is_equal():
    played = [line("", 1.0, info={"episode_len": 5, "success_once": True}, length=n) for n in (5, 6, 5)]
    assert [len(equal) for equal in fold(played)] == [2, 1]


def test_a_count_stands_beside_a_folded_answer(tmp_path):
    text = section(written(tmp_path, [line("4", 0.0)] * 3 + [line("7", 1.0)]), "Sampled rollouts")
    assert text.count('class="answer"') == 2
    assert '<span class="chip times">× 3</span>' in text
    assert text.count('class="chip times"') == 1
    assert "mean reward 0.25" in text, "over all of them"


def test_correct_wrong_and_in_between(tmp_path):
    episode = line("", 1.0, 1.0)
    episode["info"]["episode_len"] = 5
    rows = [line("a", 1.0, 1.0), line("b", 0.0, 0.0), line("c", 0.4, 0.4), line("", 0.0, 0.0), episode, line("e", 0.1)]
    text = section(written(tmp_path, rows), "Sampled rollouts")
    assert text.count(">correct</span>") == 1
    assert text.count(">wrong</span>") == 2
    assert text.count(">success</span>") == 1
    assert "<span>accuracy <b>0.4</b></span>" in text
    assert text.count('<p class="muted">empty answer</p>') == 1
    assert [match or None for match in re.findall(r'data-accuracy="([^"]*)"', text)] == [
        *("1.0", "0.0", "0.4", "0.0", "1.0"),
        None,
    ]


def test_the_prompt_as_the_model_saw_it_is_folded_away_but_in_held_out_answers(tmp_path):
    seen = "<|im_start|>user\n<|image_pad|> x 64"
    rows = [line("a", 1.0), line("b", 1.0, model_prompt=seen)]
    page = written(tmp_path, rows, {100: rows})
    text = "&lt;|im_start|&gt;user\n&lt;|image_pad|&gt; x 64"
    shown = f'<details class="model-prompt"><summary>As the model saw it</summary><pre class="text">{text}</pre>'
    assert shown in section(page, "Sampled rollouts")
    assert f'<h4>Prompt as the model saw it</h4><pre class="text">{text}</pre>' in section(page, "Held-out answers")
    plain = written(tmp_path / "old", [line("a", 1.0)])
    assert "model saw it" not in section(plain, "Sampled rollouts"), "records of before have none"


def spelled(text):
    return [json.loads(unescape(data)) for data in re.findall(r'class="spelled">(.*?)</span>', text)]


def test_log_probs_are_there_where_they_are_recorded(tmp_path):
    rows = [line("<b>", 1.0, tokens=["<b", ">", "</end>"], log_probs=[-0.5, None, -2])]
    rows += [line("c", 1.0), line("d", 1.0, tokens=["d"], log_probs=[-0.5, -0.1]), line("e", 1.0, tokens="e")]
    text = section(written(tmp_path, rows), "Sampled rollouts")
    assert spelled(text) == [{"tokens": ["<b", ">", "</end>"], "log_probs": [-0.5, None, -2], "more": 0}]
    assert text.count('class="spell"') == 1


def test_log_probs_of_long_answers_leave_the_page_small(tmp_path):
    long = line("x", 1.0, tokens=["x"] * 1500, log_probs=[-0.25] * 1500)
    (data,) = spelled(section(written(tmp_path, [long]), "Sampled rollouts"))
    assert (len(data["tokens"]), data["more"]) == (1000, 500)
    room = Room(Gallery(tmp_path, 0), token_chars=10)
    assert [room.take("123456"), room.take("12345"), room.take("1234"), room.take("1")] == [True, False, True, False]


def test_held_out_answers_show_what_became_of_each_question(tmp_path):
    """Five evaluations: the first and the last three are shown, equal answers of a row once, with their steps."""
    answers = {0: ("4", 0.0), 20: ("?", 0.0), 40: ("4", 0.0), 60: ("7", 1.0), 100: ("7", 1.0)}
    rows = {
        step: [line(text, right, right, sample="s1"), line("0", 1.0, 1.0, sample="s2", task="counting")]
        for step, (text, right) in answers.items()
    }
    text = section(written(tmp_path, [], rows), "Held-out answers")
    assert "at the first and last 3 of 5 evaluations" in text
    assert re.findall(r'class="chip times">([^<]*)<', text) == ["steps 0, 40", "steps 60, 100", "steps 0, 40, 60, 100"]
    assert ">?</pre>" not in text
    assert re.findall(r'<article data-task="([^"]*)">', text) == ["ocr", "counting"]
    assert re.findall(r'<option value="(ocr|counting|)">', text)[:3] == ["", "counting", "ocr"]


def test_every_task_has_held_out_cards(tmp_path):
    rows = [line("1", 1.0, 1.0, sample=f"{task}{i}", task=task) for task in "abcdefgh" for i in range(30)]
    text = section(written(tmp_path, [], {100: rows}), "Held-out answers")
    tasks = re.findall(r'<article data-task="([^"]*)">', text)
    assert tasks == [task for task in "abcdefgh" for _ in range(5)]
    assert "at the 1 evaluation;" in text


def test_without_held_out_answers_there_is_no_section(tmp_path):
    assert "Held-out answers" not in written(tmp_path, [line("a", 1.0)]).read_text()


PROBE = """<!doctype html><body><iframe style="border:0;width:390px" src="%s"></iframe>
<pre id=out></pre><script>onload = () => {
  const page = frames[0].document, section = [...page.querySelectorAll(".sifted")].at(-1), seen = {};
  const shown = () => [section.querySelector("output").textContent,
    ...[...section.querySelectorAll("article:not([hidden]) .answer:not([hidden]) pre")].map(pre => pre.innerText)];
  const set = (name, value) => {
    const field = section.querySelector('.sift [name="' + name + '"]');
    field.value = value;
    field.dispatchEvent(new frames[0].Event("input", { bubbles: true }));
  };
  seen.all = shown(); set("order", "down"); seen.down = shown(); set("order", "up"); seen.up = shown();
  set("order", ""); seen.again = shown();
  set("low", "0.5"); seen.low = shown(); set("high", "0.8"); seen.between = shown();
  set("low", ""); set("high", "0"); seen.zero = shown(); set("high", "");
  for (const outcome of ["right", "wrong", "cut", ""]) { set("outcome", outcome); seen["o" + outcome] = shown(); }
  set("task", section.querySelectorAll(".sift [name=task] option")[1].value); seen.task = shown(); set("task", "");
  const button = section.querySelector(".spell"), answer = button.parentNode, plain = answer.querySelector(".text");
  button.click();
  const tokens = [...answer.querySelectorAll(".token")];
  seen.tokens = tokens.map(t => [t.textContent, t.title, t.style.backgroundColor]);
  seen.sum = answer.querySelector(".sum").textContent;
  seen.hidden = [plain.hidden]; button.click(); seen.hidden.push(plain.hidden, tokens[0].closest("div").hidden);
  seen.title = page.title; seen.images = page.querySelectorAll("img").length;
  seen.width = page.documentElement.scrollWidth;
  seen.scripts = page.querySelectorAll("script").length;
  document.getElementById("out").textContent = "RESULT" + JSON.stringify(seen) + "TLUSER";
}</script>"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What a browser shows of two cards while it filters and sorts them, and of the tokens of an answer."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed, so the page's script cannot run")
    folder = tmp_path_factory.mktemp("sifted")
    rows = [line("low", 0.2, 0.0), line("high", 1.0, 1.0), line("low", 0.2, 0.0), line("demo", None, source="demo")]
    tokens = {"tokens": ["", EVIL, "!"], "log_probs": [-1.0, -1.0, -0.1]}
    rows += [
        line("mid", 0.6, 0.6, group=1, task=EVIL, truncated=True),
        line("zero", 0.0, 0.0, group=1, task=EVIL, **tokens),
    ]
    long = line("held-out " * 30, 0.0, 0.0, model_prompt="<|image_pad|>" * 40, dataset="d" * 80, **tokens)
    page = written(folder, rows, {step: [{**long, "sample": f"s{n}"} for n in range(3)] for step in (0, 50, 100)})
    (folder / "probe.html").write_text(PROBE % page.as_uri())
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000"]
    command = [CHROMIUM, *flags, "--dump-dom", (folder / "probe.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    return json.loads(unescape(re.search(r"RESULT(.*)TLUSER</pre>", done.stdout, re.DOTALL)[1]))


@pytest.mark.slow
def test_answers_and_cards_are_sorted_by_reward(seen):
    assert seen["all"] == seen["again"] == ["6 of 6 answers", "low", "high", "demo", "mid", "zero"]
    assert seen["down"] == ["6 of 6 answers", "high", "low", "demo", "mid", "zero"]
    assert seen["up"] == ["6 of 6 answers", "zero", "mid", "low", "high", "demo"], "without a reward: last"


def test_the_cards_fit_a_telephone(seen):
    assert seen["width"] <= 390


def test_answers_are_filtered(seen):
    assert seen["low"] == ["2 of 6 answers", "high", "mid"]
    assert seen["between"] == ["1 of 6 answers", "mid"]
    assert seen["zero"] == ["1 of 6 answers", "zero"]
    assert seen["oright"] == ["1 of 6 answers", "high"]
    assert seen["owrong"] == ["4 of 6 answers", "low", "mid", "zero"]
    assert seen["ocut"] == ["1 of 6 answers", "mid"]
    assert seen["o"] == seen["all"]
    assert seen["task"] == ["2 of 6 answers", "mid", "zero"]


def test_tokens_are_shaded_on_demand_and_stay_text(seen):
    """The first token is a part of a character: its log-prob is counted in the next one's."""
    assert [token[0] for token in seen["tokens"]] == [EVIL, "!"]
    assert seen["tokens"][0][1] == "log p -2.000, p 0.135"
    assert seen["tokens"][0][2] == "rgba(214, 64, 11, 0.3)"
    assert seen["sum"] == "log p of the 3 tokens: -2.10, mean -0.700"
    assert seen["hidden"] == [True, False, True]
    assert (seen["images"], seen["scripts"]) == (0, 1)
    assert seen["title"] == "digits-sft-then-rl · mmrl"
