"""Held-out loss: chat rows that no reward reads, in the table, the report, the best checkpoint, and before a run."""

import json

import pytest
import torch
import yaml

import mmrl
from mmrl.cli import main
from mmrl.contracts.errors import BadSample
from tests.support.policy import load

CHAT = [
    {"messages": [{"role": "user", "content": "1 + 2?"}, {"role": "assistant", "content": "3"}]},
    {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "It was her, I think."}]},
    {"messages": [{"role": "user", "content": "And now?"}, {"role": "assistant", "content": "Go on."}]},
]


@pytest.fixture
def recipe(workplace, tiny_recipe):
    (workplace / "chat.jsonl").write_text("\n".join(map(json.dumps, CHAT)))
    (workplace / "one.jsonl").write_text(json.dumps(CHAT[1]))
    chat = {"type": "file", "path": "chat.jsonl"}
    tiny_recipe |= {"method": "sft", "rollout": {"max_new_tokens": 40}, "evaluation": {"every": 1}}
    tiny_recipe["data"] = {"train": [chat], "eval": [{**chat, "name": "talk"}]}
    return tiny_recipe


def written(workplace, recipe):
    path = workplace / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return str(path)


def token_losses(policy, row):
    """-log softmax of each token of the answer and of its end, by transformers' own template and forward pass."""
    processor, model = policy.processor, policy.module
    prompt = processor.apply_chat_template(row["messages"][:1], add_generation_prompt=True, tokenize=False)
    ids = processor.tokenizer(prompt)["input_ids"]
    answer = processor.tokenizer(row["messages"][1]["content"] + "<|im_end|>")["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids + answer])).logits[0].float()
    # Placeholders can be no answer, and have no probability.
    logits[:, ~policy.allowed_tokens(None)] = -torch.inf
    log_probs = logits.log_softmax(-1)
    return [-float(log_probs[len(ids) + i - 1, token]) for i, token in enumerate(answer)]


def test_the_loss_is_the_mean_over_the_tokens_of_a_set(recipe):
    policy = load(recipe["policy"]["path"], awake=False)
    losses = [token_losses(policy, row) for row in CHAT]
    assert len({len(values) for values in losses}) > 1
    whole = sum(map(sum, losses)) / sum(map(len, losses))
    assert mmrl.evaluate(recipe) == {"loss": pytest.approx(whole, abs=1e-4)}
    one = {"type": "file", "path": "one.jsonl", "name": "one"}
    recipe["data"]["eval"].append(one)
    single = sum(losses[1]) / len(losses[1])
    expected = {"loss": (whole + single) / 2, "loss/talk": whole, "loss/one": single}
    assert mmrl.evaluate(recipe) == pytest.approx(expected, abs=1e-4)
    one["control"] = True
    assert mmrl.evaluate(recipe) == pytest.approx(expected | {"loss": whole}, abs=1e-4)


def test_a_run_shows_it_and_keeps_the_checkpoint_where_it_is_least(recipe, capsys):
    recipe |= {"steps": 4, "optim": {"lr": 0.02}, "tracking": {"console": "plain", "tensorboard": False}}
    outcome = mmrl.train(recipe)
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["eval/loss"] for line in lines}
    assert list(losses) == [0, 1, 2, 3, 4]
    assert outcome.summary["final"] == {"loss": losses[4]}
    assert losses[4] < losses[0]
    shown = capsys.readouterr().out
    assert "held-out loss" in shown
    assert f"eval/loss {losses[4]:.3f}" in shown
    report = (outcome.folder / "report.html").read_text()
    assert "<h2>Held-out loss</h2>" in report
    assert "nats per token" in report
    place = json.loads((outcome.folder / "checkpoints" / "step_000004" / "state.json").read_text())["place"]
    least = min((loss, step) for step, loss in losses.items() if step)
    assert (place["best"]["score"], place["best"]["step"]) == least


def test_rows_with_a_task_have_both_where_a_stage_learns_them(tiny_recipe):
    tiny_recipe["method"] = "sft"
    results = mmrl.evaluate(tiny_recipe)
    assert set(results) == {"classification", "mean", "loss"}
    assert set(mmrl.evaluate(tiny_recipe, overrides=["method=grpo"])) == {"classification", "mean"}
    assert mmrl.evaluate(tiny_recipe, overrides=["method=grpo", "evaluation.loss=true"]) == results
    assert set(mmrl.evaluate(tiny_recipe, overrides=["evaluation.loss=false"])) == {"classification", "mean"}


def test_what_trains_passes_the_checks_before_it(workplace, recipe, capsys):
    path = written(workplace, recipe)
    assert main(["train", path, "--dry-run"]) == 0
    assert "eval talk: first 3 of 3 rows" in capsys.readouterr().out
    assert main(["rewards", "check", path]) == 0
    shown = capsys.readouterr().out
    assert "not checked: training sets that are learned from and not answered" in shown
    assert "  3 demonstrations without a target, measured by their loss" in shown
    assert "all 0 rows can be scored" in shown
    assert main(["rewards", "check", "chat.jsonl"]) == 0
    assert main(["eval", path, "--output", "eval.json"]) == 0
    assert json.loads((workplace / "eval.json").read_text())["loss"].keys() == {"loss"}


def test_rows_that_nothing_scores_are_refused_where_they_are_answered(workplace, recipe, capsys):
    path = written(workplace, recipe)
    for command in (["train", path, "--dry-run"], ["train", path], ["rewards", "check", path]):
        assert main([*command, "method=grpo"]) == 2
        said = capsys.readouterr()
        assert "has a demonstration and no target, so reward 'route' cannot score answers to it" in said.out + said.err
    recipe["data"]["train"][0]["use"] = "demonstrations"
    recipe["data"]["train"].append({"type": "digits", "size": 4, "tasks": ["ocr"]})
    assert main(["train", written(workplace, recipe), "--dry-run", "method=chord_mu"]) == 0


def test_a_demonstration_that_cannot_be_measured_is_told(recipe, workplace):
    bad = {"messages": [CHAT[0]["messages"][0], {"role": "assistant", "content": "see <|image_pad|>"}]}
    (workplace / "chat.jsonl").write_text("\n".join(map(json.dumps, [CHAT[0], bad])))
    with pytest.raises(BadSample, match=r"row 1 .*placeholder"):
        mmrl.evaluate(recipe)
    results = mmrl.evaluate(recipe, overrides=["data.on_bad_sample=skip"])
    assert results.keys() == {"loss", "unreadable"}
    assert results["unreadable"] == 0.5
