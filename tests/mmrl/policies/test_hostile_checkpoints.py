"""Checkpoints of strangers: none of their code runs, nobody is asked, and whatever is odd in them is one line."""

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from mmrl.contracts.errors import CheckpointError
from mmrl.policies import chat_template
from mmrl.policies.loading import load_checkpoint, load_companion, read_config, resolve_device, resolve_dtype
from mmrl.recipe.policies.registry import policy_settings

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


EVIL = "from pathlib import Path\nPath(__file__).with_name('canary').touch()\n"
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
    (folder / "evil.py").write_text(EVIL)
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
    (folder / "evil.py").write_text(EVIL)
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
    class Odd:
        @staticmethod
        def from_pretrained(source, trust_remote_code):
            raise ZeroDivisionError("sizes of 0\nand more")

    with pytest.raises(CheckpointError, match=r"^policy\.path: 'x' does not load: sizes of 0$"):
        load_companion(Odd, "x", "x")


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
