"""Sparse-to-dense evaluation: when samples agree, what stands, what it costs; plain evaluation is a case of it."""

from dataclasses import dataclass, replace

import pytest
import torch
import yaml

from mmrl import train
from mmrl.cli import main
from mmrl.contracts.engine import Completion
from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.types import Sample, StopReason, Trajectory
from mmrl.data.video_digits import VideoDigits
from mmrl.evaluation.runner import evaluate
from mmrl.evaluation.sparse_to_dense import answer_of, at_frames, figures, settle, vote
from mmrl.recipe.data import VideoDigitsData
from mmrl.recipe.evaluation import EvalConfig, SparseToDense
from mmrl.recipe.rewards import RewardConfig
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.rewarding import Rewarder
from mmrl.rollouts.simulators import Simulators
from tests.support.engines import hf
from tests.support.policy import load
from tests.support.videos import video_sample, write_video

# --- a policy whose answers are written down: {row: {frames: what its samples say}}


@dataclass(frozen=True)
class ScriptedPrompt:
    row: int
    frames: int
    length: int = 1


class Scripted:
    """Policy and engine at once; `lengths` are the videos' own frames, `prompts` what was prepared."""

    def __init__(self, script, lengths=(), broken=()):
        self.script, self.lengths, self.broken = script, dict(lengths), set(broken)
        self.prompts, self.temperatures, self.texts = [], [], []

    def prepare(self, samples):
        made = []
        for sample in samples:
            asked = sample.budgets["video"]["max_frames"]
            if (sample.row, asked) in self.broken:
                raise BadSample(sample.where, f"{asked} frames are too many")
            made.append(ScriptedPrompt(sample.row, min(asked, self.lengths.get(sample.row, 10**6))))
        self.prompts += made
        return made

    def localise(self, sample, prompt):
        return replace(sample, coordinates="norm1000")

    def generate(self, requests, sampling, seed):
        self.temperatures.append(sampling.temperature)
        results = []
        for prompt, n in ((request.prompt, request.n) for request in requests):
            said = self.script[prompt.row][prompt.frames]
            assert len(said) == n
            self.texts += said
            tokens = [torch.tensor([len(self.texts) - n + i]) for i in range(n)]
            results.append([Completion(one, torch.zeros(1), StopReason.END) for one in tokens])
        return results

    def decode_text(self, tokens):
        return self.texts[int(tokens)]


def rows(count, answer=3):
    return [replace(video_sample("x", task="counting", target={"count": answer}), row=i) for i in range(count)]


def run(policy, given, /, on_bad="stop", **settings):
    preparer = Preparer(policy, Rewarder([RewardConfig()]))

    def prepare(wanted):
        pairs = []
        for sample in wanted:
            try:
                pairs.append(preparer.make(sample))
            except BadSample:
                if on_bad == "stop":
                    raise
                pairs.append(None)
        return pairs

    config = SparseToDense(**settings)
    return settle(policy, policy, given, config, EvalConfig().sampling.limited(64), prepare, preparer.rewarder, 0)


def info(settled, row):
    (found,) = [reading.outcome().trajectories[0] for reading in settled if reading.sample.row == row]
    return found


def test_agreement_settles_a_video_and_disagreement_doubles_its_frames():
    script = {
        0: {4: ["3", "three", "<answer>3.0</answer>"]},
        1: {4: ["3", "2", "3"], 8: ["2", "2", "2"]},
        2: {4: ["1", "2", "3"], 8: ["2", "3", "3"], 16: ["3", "2", "3"]},
    }
    policy = Scripted(script)
    groups = run(policy, rows(3), start=4, max=16, samples=3)
    assert [(p.row, p.frames) for p in policy.prompts] == [(0, 4), (1, 4), (2, 4), (1, 8), (2, 8), (2, 16)]
    assert [len(reading.outcome().trajectories) for reading in groups] == [1, 1, 1]
    assert [info(groups, row).accuracy for row in range(3)] == [1.0, 0.0, 1.0]
    assert [info(groups, row).info["frames"] for row in range(3)] == [4, 8, 16]
    assert [info(groups, row).info["frames_read"] for row in range(3)] == [4, 12, 28]
    assert policy.temperatures == [0.7] * 3
    assert figures(groups) == {
        "sparse_to_dense/frames": pytest.approx(28 / 3),
        "sparse_to_dense/frames_read": pytest.approx(44 / 3),
        "sparse_to_dense/agreement": pytest.approx((1 + 1 + 2 / 3) / 3),
        "sparse_to_dense/settled_4": pytest.approx(1 / 3),
        "sparse_to_dense/settled_8": pytest.approx(1 / 3),
        "sparse_to_dense/settled_16": pytest.approx(1 / 3),
    }


def test_a_lower_agreement_settles_earlier_and_a_tie_never_does():
    script = {0: {4: ["3", "2", "3", "3"]}, 1: {4: ["2", "3", "3", "2"], 8: ["3"] * 4}}
    policy = Scripted(script)
    groups = run(policy, rows(2), frames=[4, 8], samples=4, agreement=0.5)
    assert [info(groups, row).info["level"] for row in range(2)] == [4, 8]
    assert info(groups, 0).info["agreement"] == 0.75


def test_the_last_level_takes_the_first_of_those_that_tie_and_any_text_where_none_can_be_read():
    script = {0: {4: ["2", "3", "2", "3"]}, 1: {4: ["what", "?", "", "no idea"]}}
    groups = run(Scripted(script), rows(2, answer=2), frames=[4], samples=4)
    assert [info(groups, row).text for row in range(2)] == ["2", "what"]
    assert [info(groups, row).accuracy for row in range(2)] == [1.0, 0.0]
    assert [info(groups, row).info["agreement"] for row in range(2)] == [0.5, 0.0]


def test_what_cannot_be_read_counts_against_every_answer():
    assert (vote(["3", None, None]).share, vote(["3", None, None]).winner) == (pytest.approx(1 / 3), 0)
    assert vote([None, "3", "3"]).winner == 1
    assert vote([None, None]).share == 0.0
    assert vote(["a", "b"]).tied
    assert vote(["a", "b", "c"]).tied
    assert not vote(["a", "b", "b"]).tied


def test_a_video_that_ends_is_not_read_twice():
    """Six frames in all: eight and sixteen would read the same six."""
    policy = Scripted({0: {4: ["1", "3"], 6: ["3", "1"]}}, lengths={0: 6})
    groups = run(policy, rows(1), start=4, max=16, samples=2)
    assert len(policy.temperatures) == 2
    facts = info(groups, 0).info
    assert (facts["level"], facts["frames"], facts["frames_read"], info(groups, 0).accuracy) == (8, 6, 10, 1.0)


def test_a_level_that_cannot_be_prepared_stops_or_counts_as_wrong():
    script = {0: {4: ["1", "3"]}, 1: {4: ["1", "3"], 8: ["3", "3"]}}
    with pytest.raises(BadSample, match="8 frames are too many"):
        run(Scripted(script, broken={(0, 8)}), rows(2), frames=[4, 8], samples=2)
    skipping = Scripted(script, broken={(0, 8)})
    assert [g.sample.row for g in run(skipping, rows(2), on_bad="skip", frames=[4, 8], samples=2)] == [1]
    preparer = Preparer(skipping, Rewarder([RewardConfig()]))
    config = EvalConfig(sparse_to_dense=SparseToDense(frames=[4, 8], samples=2))
    results = evaluate(skipping, skipping, {"v": rows(2)}, config, preparer, Simulators({}), on_bad="skip")
    assert results.accuracy == {"counting": 0.5, "mean": 0.5}


@pytest.mark.parametrize(
    ("facts", "text", "answer"),
    [
        ({"parsed": "Two", "reason": "ok"}, "", "2"),
        ({"parsed": [[0.0, 4.0]], "reason": "ok"}, "", "[[0.0, 4.0]]"),
        ({"parsed": {"b": 1, "a": 2}, "reason": "ok"}, "", '{"a": 2, "b": 1}'),
        ({"parsed": "12 or 13", "reason": "unparsable"}, "", None),
        ({"parsed": None, "reason": "no_answer"}, "", None),
        ({}, "<think>x</think><answer>The Cat.</answer>", "the cat"),
        ({}, "<think>never ends", None),
    ],
)
def test_the_answer_is_what_the_reward_read(facts, text, answer):
    assert answer_of(Trajectory((), text=text, **facts)) == answer


def test_settings_that_contradict_are_refused():
    assert SparseToDense().levels == [32, 64, 128]
    assert SparseToDense(start=6, max=32).levels == [6, 12, 24]
    assert SparseToDense(frames=[2, 16]).levels == [2, 16]
    base = {"name": "v", "policy": {"path": "x"}, "method": "sft", "steps": 1, "data": {"train": [{"type": "digits"}]}}
    for settings, reason in (
        ({"frames": [4, 8], "max": 8}, "frames names the levels"),
        ({"start": 64, "max": 32}, "start 64 is above max 32"),
        ({"frames": [8, 4]}, "rise from level to level"),
        ({"frames": []}, "at least one level"),
        ({"temperature": 0}, "temperature 0 samples one answer 5 times"),
        ({"agreement": 0}, "agreement"),
        ({"frame": [4]}, "frame"),
        ({"frames": [1, 4]}, "1 frames are no whole number of temporal patches of two; take 2"),
        ({"start": 5, "max": 32}, "5 frames are no whole number"),
    ):
        with pytest.raises(UserError, match=reason):
            load_recipe({**base, "evaluation": {"sparse_to_dense": settings}})


# --- a tiny Qwen2.5-VL on video_digits


def digits(folder, **settings):
    return VideoDigits(VideoDigitsData(type="video_digits", folder=str(folder), **{"size": 6, **settings}))


def measured(policy, data, **config):
    settings = {"sampling": {"max_new_tokens": 6}, "batch_size": 4, **config}
    preparer = Preparer(policy, Rewarder([RewardConfig()]))
    return evaluate(policy, hf(policy, 4), {"v": data}, EvalConfig(**settings), preparer, Simulators({}))


@pytest.mark.slow
def test_one_level_and_one_greedy_sample_is_plain_evaluation(tiny_qwen, tmp_path):
    data = digits(tmp_path)
    plain = load(tiny_qwen(), video={"frames": 6})
    other = load(tiny_qwen(), video={"fps": 1.0})
    one = {"frames": [6], "samples": 1, "temperature": 0.0}
    whole, dense = measured(plain, data), measured(other, data, sparse_to_dense=one)
    groups, settled = whole.groups, dense.groups
    assert dense.accuracy == whole.accuracy
    assert [g.sample.id for g in settled] == [g.sample.id for g in groups]
    for a, b in zip(groups, settled):
        assert a.trajectories[0].text == b.trajectories[0].text
        assert torch.equal(
            a.trajectories[0].decisions[0].prompt.input_ids, b.trajectories[0].decisions[0].prompt.input_ids
        )
    assert len({g.trajectories[0].text for g in groups}) > 1
    assert whole.figures == {}
    assert dense.figures["sparse_to_dense/frames"] == 6


def test_levels_read_the_frames_they_name_and_a_short_video_is_read_whole(tiny_qwen, tmp_path):
    policy = load(tiny_qwen(), video={"fps": 1.0, "min_frames": 2, "max_frames": 2})
    (sample,) = [digits(tmp_path)[0]]
    named = [{"frames": 2}, {"all_frames": True}, {"all_frames": False}, {"timestamps": [0.0, 1.0]}]
    own = [replace(sample, budgets={"video": {**one, "min_pixels": 784, "max_pixels": 784}}) for one in named]
    for count, frames in ((2, 2), (8, 8), (16, 16), (64, 16)):
        for one in (sample, *own):
            prompt = policy.prepare([at_frames(one, count)])[0]
            assert prompt.frames == frames
    assert prompt.clips[0].resized == (28, 28)


def test_rows_without_a_video_are_answered_once(tiny_qwen, tmp_path):
    policy = load(tiny_qwen())
    path = write_video(tmp_path / "v.mp4")
    text = Sample("t", ({"role": "user", "content": [{"type": "text", "text": "Hello"}]},), "ocr", {"text": "1"})
    levels = {"frames": [2, 4], "samples": 3, "temperature": 2.0}
    groups = measured(policy, [text, video_sample(path)], sparse_to_dense=levels).groups
    assert [("frames_read" in g.trajectories[0].info, bool(g.sample.videos)) for g in groups] == [
        (False, False),
        (True, True),
    ]
    # Three samples of a wide-awake random model at temperature 2 do not agree.
    assert groups[1].trajectories[0].info["frames_read"] == 6


@pytest.mark.slow
def test_training_logs_what_evaluation_took_and_the_command_prints_it(workplace, tiny_qwen, capsys):
    data = {"type": "video_digits", "tasks": ["counting"], "slots": 2, "folder": str(workplace / "files")}
    recipe = {
        "name": "dense",
        "threads": 1,
        "policy": {"path": str(tiny_qwen())},
        "data": {"train": [{**data, "size": 4}], "eval": [{**data, "size": 3, "split": "test"}]},
        "method": "sft",
        "steps": 1,
        "demonstrations": 2,
        "rollout": {"max_new_tokens": 8},
        "evaluation": {"sampling": {"max_new_tokens": 4}, "sparse_to_dense": {"frames": [2, 4], "samples": 2}},
        "tracking": {"console": "none", "tensorboard": False},
    }
    outcome = train(recipe)
    assert set(outcome.summary["final"]) == {"counting", "mean"}
    lines = [yaml.safe_load(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        shares = [value for key, value in line.items() if key.startswith("sparse_to_dense/settled_")]
        assert sum(shares) == pytest.approx(1.0)
        assert 2 <= line["sparse_to_dense/frames"] <= line["sparse_to_dense/frames_read"] <= 6
    assert main(["eval", str(outcome.folder), "--output", "facts.json"]) == 0
    printed = capsys.readouterr().out
    assert f"sparse_to_dense/frames_read  {lines[-1]['sparse_to_dense/frames_read']:8.3f}" in printed
    facts = yaml.safe_load((workplace / "facts.json").read_text())
    assert set(facts["accuracy"]) == {"counting", "mean"}
    assert facts["figures"]["sparse_to_dense/frames"] == lines[-1]["sparse_to_dense/frames"]
