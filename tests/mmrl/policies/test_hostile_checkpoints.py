"""Checkpoints of strangers: none of their code runs, nobody is asked, and whatever is odd in them is one line."""

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from mmrl.contracts.errors import CheckpointError
from mmrl.policies import chat_template, template_trial
from mmrl.policies.loading import load_checkpoint, load_companion, read_config, resolve_device, resolve_dtype
from mmrl.policies.text_policy import end_tokens
from mmrl.recipe.policies.registry import policy_settings
from vision_rewards.pool import Exceeded

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tiny_qwen, tmp_path, monkeypatch):
    """A copy of a tiny checkpoint; asking a question fails the test."""
    shutil.copytree(tiny_qwen("qwen2_5_vl"), tmp_path / "model")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    return tmp_path / "model"


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refusal(folder: Path) -> str:
    config = resolve_dtype(policy_settings(path=str(folder), device="cpu"))
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(config, resolve_device("cpu"))
    assert "\n" not in str(error.value)
    return str(error.value)


# Transformers would run a copy of it that lies elsewhere.
EVIL = "from pathlib import Path\nPath({!r}, 'canary').touch()\n"
CHANGES = {
    "a hidden size that is text": ("config.json", {"text_config": {"hidden_size": "abc"}, "hidden_size": "abc"}),
    "a vision depth that is a list": ("config.json", {"vision_config": [1]}),
    "quantised without its fields": ("config.json", {"quantization_config": {}}),
    "quantised in a way that is none": ("config.json", {"quantization_config": {"quant_method": "x"}}),
    "a model of its own code": (
        "config.json",
        {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForImageTextToText": "evil.Model"}},
    ),
    "a processor of its own code": ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.Processor"}}),
    "a processor class that is none": ("processor_config.json", {"processor_class": 3}),
}


@pytest.mark.parametrize("case", CHANGES)
def test_odd_settings_are_one_line_and_no_code_runs(folder, case):
    name, changes = CHANGES[case]
    (folder / "evil.py").write_text(EVIL.format(str(folder)))
    if not (folder / name).exists():
        (folder / name).write_text("{}")
    edit(folder / name, **changes)
    with suppress(CheckpointError):
        load_checkpoint(resolve_dtype(policy_settings(path=str(folder), device="cpu")), resolve_device("cpu"))
    assert not list(folder.rglob("canary"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", ["[1]", "[]", "{", "3", '"x"'])
def test_files_of_another_kind_are_one_line(folder, name, content):
    if not (folder / name).exists():
        pytest.skip(f"the tiny checkpoint has no {name}")
    (folder / name).write_text(content)
    assert refusal(folder).startswith("policy.path: ")


def test_nobody_is_asked_about_code(folder):
    (folder / "evil.py").write_text(EVIL.format(str(folder)))
    edit(folder / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Config"})
    with pytest.raises(CheckpointError, match="cannot read"):
        read_config(str(folder), "qwen_vl")


def test_code_of_a_checkpoint_is_refused_wherever_transformers_reads_one():
    calls = []
    for path in (ROOT / "mmrl").rglob("*.py"):
        calls += re.findall(r"(?:Auto\w+|cls)\.from_pretrained\((?:[^()]|\([^()]*\))*\)", path.read_text())
    assert len(calls) >= 6
    assert all("trust_remote_code=False" in call for call in calls), calls


def test_errors_of_any_kind_become_one_line():
    trusted = []

    class Odd:
        @staticmethod
        def from_pretrained(source, trust_remote_code):
            trusted.append(trust_remote_code)
            raise ZeroDivisionError("sizes of 0\nand more")

    with pytest.raises(CheckpointError, match=r"^policy\.path: 'x' does not load: sizes of 0$"):
        load_companion(Odd, "x", "x")
    assert trusted == [False]


def write_template(folder: Path, text: str) -> None:
    (folder / "chat_template.jinja").write_text(text)


MARKS = "{% for m in messages %}{% for c in m.content %}{{ c.text or '<|image_pad|>' }}{% endfor %}{% endfor %}"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = b %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ENDLESS, "does not end within 0.2 s"),
        ("{{ 9 ** 9 ** 9 }}", "computes powers"),
        ("{{ raise_exception('no') }}", "fails on a picture and a question: no"),
        ("{% if %}", "fails on a picture"),
        ("{{ messages.__class__.__mro__ }}" + MARKS, "fails on a picture"),
    ],
)
def test_templates_that_fail_or_do_not_end(folder, monkeypatch, text, words):
    monkeypatch.setattr(chat_template, "MOST_SECONDS", 0.2)
    write_template(folder, text)
    assert words in refusal(folder)


def test_keyword_arguments_are_no_powers():
    chat_template.refuse_powers("{{ dict(a=1, **b) }}{{ f(**c) }} 2**3", "x")
    with pytest.raises(CheckpointError, match="computes powers"):
        chat_template.refuse_powers({"default": "x", "tool": "{% set x = y ** 2 %}"}, "x")


SQUARES = "{% set x = 99999999999999999999 %}" + "{% set x = x * x %}" * 40
GROWING = (
    *("{{ 'x' * 99 }}", "{% set x = x ~ x %}", "{% set x %}{{ x }}{{ x }}{% endset %}", "{% set x = [x, x] %}"),
    *("{{ 'a' | center(9) }}", "{{ 'a'['center'](9) }}", "{% set a = a + a %}", "{{ lipsum(9) }}", "{% if %}{{ '"),
    "{% macro f(x) %}{{ x }}{% endmacro %}",
)


@pytest.mark.parametrize("text", GROWING)
def test_what_may_grow_is_told(text):
    assert template_trial.may_grow(text)


@pytest.mark.parametrize(
    "text", [MARKS, ENDLESS, "{% set n.v = n.v + 1 %}", "{% if x is string %}{{ x.strip() }}{% endif %}"]
)
def test_what_cannot_grow_is_tried_nowhere_else(text):
    assert not template_trial.may_grow(text)


def test_one_operation_without_end_is_ended_in_a_process_of_its_own(folder, monkeypatch):
    monkeypatch.setattr(chat_template, "MOST_SECONDS", 0.2)
    write_template(folder, SQUARES + MARKS)
    assert "does not end within 0.2 s" in refusal(folder)


def test_what_may_grow_is_tried_before_it_is_rendered_here(folder, monkeypatch):
    monkeypatch.setattr(chat_template, "ends", lambda template, messages, seconds: f"no end in {seconds:g} s, tried")
    write_template(folder, "{% set n = 2 * 3 %}" + MARKS)
    assert "no end in 10 s, tried" in refusal(folder)


@pytest.mark.parametrize(("kind", "limit"), [("time", "3 s"), ("memory", "1000 MB"), ("crash", "3 s")])
def test_a_trial_that_breaks_a_limit_says_which(monkeypatch, kind, limit):
    def bounded(function, *args, seconds, megabytes):
        assert (function, seconds, megabytes) == (template_trial.render, 3.0, 1000.0)
        raise Exceeded(kind, "why")

    monkeypatch.setattr(template_trial, "bounded", bounded)
    assert template_trial.ends("x", [{"role": "user"}], 3.0) == f"it does not end within {limit}"


def test_a_trial_renders_as_transformers_does():
    assert template_trial.render("{% for m in messages %}{{ m.role }}{% endfor %}", [{"role": "ab"}] * 2) == 4


@pytest.mark.parametrize(("written", "ends"), [(None, []), (7, [7]), ([7, 0], [7, 0]), ([], [])])
def test_end_tokens_are_those_of_the_generation_config(written, ends):
    assert end_tokens(written, "x") == ends


@pytest.mark.parametrize("written", [[[]], "7", [7, "8"], 2.5, True, {"a": 1}])
def test_end_tokens_that_are_none_are_one_line(written):
    with pytest.raises(CheckpointError, match=r"^policy.path: generation_config.json of 'x': eos_token_id is .*$"):
        end_tokens(written, "x")
