"""`mmrl eval --tasks` as a user runs it: a real checkpoint, the command and Python, batches of any size."""

import json

import pytest

import mmrl
from mmrl.cli import main
from mmrl.evaluation.suite.stored import merge

TASKS = ["digits", "video_digits"]


def ask(model, output, capsys, *more):
    argv = ["eval", "--model", str(model), "--tasks", ",".join(TASKS), "--limit", "5", "--output", str(output)]
    assert main([*argv, "--max-new-tokens", "6", "policy.video.max_pixels=3136", *more]) == 0
    return capsys.readouterr().out


def test_a_checkpoint_is_asked_benchmarks_by_command_and_python(workplace, tiny_qwen, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(workplace / "cache"))
    out = ask(tiny_qwen(), workplace / "one", capsys, "--batch-size", "1", "--log-samples")
    assert "digits: 0." in out
    assert out.splitlines()[-1] == f"written: {workplace / 'one'}/results.json"
    results = mmrl.evaluate(
        model=tiny_qwen(),
        tasks=TASKS,
        limit=5,
        output=str(workplace / "three"),
        batch_size=3,
        sampling={"max_new_tokens": 6},
        policy={"video": {"max_pixels": 3136}},
    )
    stored = json.loads((workplace / "one" / "results.json").read_text())
    assert json.loads(json.dumps(results)) == stored["tasks"]
    for task in TASKS:
        first, second = ((workplace / name / task / "samples.jsonl").read_bytes() for name in ("one", "three"))
        assert first == second
    protocol = stored["tasks"]["video_digits"]["protocol"]
    assert protocol["policy"]["video"]["max_pixels"] == 3136
    assert protocol["decoding"]["max_new_tokens"] == 6
    assert protocol["engine"]["name"] == "hf"
    assert protocol["chat_template"] is not None
    assert stored["tasks"]["video_digits"]["tokens"]["frames"]["max"] > 0
    (logged,) = (workplace / "one").glob("*/samples_digits.jsonl")
    line = json.loads(logged.read_text().splitlines()[0])
    assert {"doc_id", "target", "filtered_resps", "token_counts", "doc_hash", "input"} <= line.keys()


def test_the_robot_checkpoint_plays_the_tabletop(workplace, capsys):
    argv = ["eval", "--model", "quickstart_robot", "--tasks", "tabletop", "--limit", "3", "--output", "out"]
    assert main([*argv, "action_chunk=2"]) == 0
    entry = json.loads((workplace / "out" / "results.json").read_text())["tasks"]["tabletop"]
    assert entry["protocol"]["decoding"]["action_chunk"] == 2
    assert entry["protocol"]["simulators"]["tabletop"]["max_steps"] == 8
    lines = (workplace / "out" / "tabletop" / "samples.jsonl").read_text().splitlines()
    facts = [json.loads(line)["facts"] for line in lines]
    assert [fact["success_once"] for fact in facts].count(True) == round(3 * entry["score"])


def test_words_of_eval_and_bad_input(workplace, capsys):
    assert main(["eval", "list", "digits"]) == 0
    assert "500 rows, split test" in capsys.readouterr().out
    assert main(["eval", "check", "digits", "--limit", "3"]) == 0
    assert capsys.readouterr().out == "digits: 3 rows of 500 published, no media missing, 3 right answers score 1\n"
    for argv, said in [
        (["eval"], "give a recipe, a run, --model and --tasks"),
        (["eval", "check"], "name the benchmarks"),
        (["eval", "check", "digit"], "Did you mean 'digits'"),
        (["eval", "list", "digit"], "Did you mean 'digits'"),
        (["eval", "--tasks", "digits"], "--model is needed beside --tasks"),
        (["eval", "--model", "quickstart", "--tasks", "digit"], "unknown benchmark 'digit'"),
        (["eval", "--model", "nowhere", "--tasks", "digits", "--limit", "1"], "no checkpoint folder at 'nowhere'"),
        (["eval", "--model", "quickstart", "--tasks", "digits", "sampling.temprature=1"], "Did you mean 'temperature'"),
    ]:
        assert main(argv) == 2
        captured = capsys.readouterr()
        assert said in captured.err
        assert len(captured.err.splitlines()) == 1
    assert list(workplace.iterdir()) == []


def test_several_answers_to_each_question(workplace, tiny_qwen):
    """The first is that of a run that asks once, the others differ, and episodes are drawn anew as well."""
    given = {"limit": 2, "sampling": {"temperature": 1.0, "max_new_tokens": 4}}
    for samples, batch in ((1, 32), (3, 2)):
        mmrl.evaluate(
            model=tiny_qwen(), tasks=["digits"], output=f"of{samples}", samples=samples, batch_size=batch, **given
        )
    one, several = (
        [json.loads(line)["answer"] for line in (workplace / f"of{n}/digits/samples.jsonl").read_text().splitlines()]
        for n in (1, 3)
    )
    assert several[::3] == one
    assert len(set(several)) == 6
    played = mmrl.evaluate(
        model="quickstart_robot", tasks=["tabletop"], output="played", samples=2, limit=4, sampling={"temperature": 1.0}
    )["tabletop"]
    assert set(played["draws"]) == {"pass@1", "pass@2"}
    lines = [json.loads(line) for line in (workplace / "played/tabletop/samples.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines[::2]] == [line["id"] for line in lines[1::2]]
    assert [line["facts"] for line in lines[::2]] != [line["facts"] for line in lines[1::2]]


@pytest.mark.slow
def test_drawn_answers_do_not_depend_on_batches_or_shards(workplace, tiny_qwen):
    keys = {
        "model": tiny_qwen(),
        "tasks": ["digits"],
        "limit": 5,
        "sampling": {"temperature": 1.0, "max_new_tokens": 5},
    }
    mmrl.evaluate(output="whole", batch_size=5, **keys)
    for shard in range(2):
        mmrl.evaluate(output=f"part{shard}", batch_size=1 + shard, shard=f"{shard}/2", **keys)
    merge([workplace / "part0", workplace / "part1"], workplace / "merged", None)
    for name in ("results.json", "digits/samples.jsonl", "digits/protocol.json"):
        assert (workplace / "merged" / name).read_bytes() == (workplace / "whole" / name).read_bytes(), name
    lines = map(json.loads, (workplace / "whole/digits/samples.jsonl").read_text().splitlines())
    assert len({line["answer"] for line in lines}) > 1


@pytest.mark.slow
def test_episodes_do_not_depend_on_the_number_of_worlds(workplace):
    keys = {"model": "quickstart_robot", "tasks": ["tabletop"], "limit": 4, "action_chunk": 4}
    for worlds in (1, 3):
        mmrl.evaluate(output=f"worlds{worlds}", simulators={"tabletop": {"num_envs": worlds}}, **keys)
    for name in ("results.json", "tabletop/samples.jsonl"):
        assert (workplace / "worlds1" / name).read_bytes() == (workplace / "worlds3" / name).read_bytes(), name
